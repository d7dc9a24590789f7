//! `sprag keygen`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use sprag_cli::key;
use sprag_testkit::image::Signer;

use super::Failure;

/// Make a key to sign images with. Prints what the firmware needs to know of it.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to put the private key (PKCS#8 in PEM): a file that is not there yet.
    #[arg(short, long, value_name = "PEM")]
    output: PathBuf,
    /// Where to put the public key as well (SPKI in PEM).
    #[arg(long, value_name = "PEM")]
    public: Option<PathBuf>,
    /// What kind of key.
    #[arg(long = "type", value_enum, default_value_t = Kind::Ed25519)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Ed25519,
    P256,
}

impl Keygen {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let signer = generate(self.kind)?;
        write_new(&self.output, &key::private_pem(&signer)?, true)?;
        if let Some(public) = &self.public {
            write_new(public, &key::public_pem(&signer)?, false)?;
        }
        let key = key::public(&signer);
        let hash: String = key.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        let kind = match self.kind {
            Kind::Ed25519 => "Ed25519Key",
            Kind::P256 => "P256Key",
        };
        println!("hash       {hash}");
        let bytes: Vec<String> = key.bytes().iter().map(|byte| format!("{byte:#04x}")).collect();
        println!("const KEY: {kind} = {kind}::new([{}]);", bytes.join(", "));
        Ok(())
    }
}

fn generate(kind: Kind) -> anyhow::Result<Signer> {
    let mut seed = [0; 32];
    loop {
        getrandom::fill(&mut seed).map_err(|error| anyhow!("no random numbers: {error}"))?;
        match kind {
            Kind::Ed25519 => return Ok(Signer::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))),
            // One number in four billion is none of the curve's.
            Kind::P256 => {
                if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&seed) {
                    return Ok(Signer::P256(key));
                }
            }
        }
    }
}

/// Never over a file that is there already: it may be the only copy of a key.
fn write_new(path: &Path, text: &str, secret: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut file = options.open(path).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}
