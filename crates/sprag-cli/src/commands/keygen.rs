//! `sprag keygen`.

use std::fs::{self, File, OpenOptions};
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
        let (private, public) = (key::private_pem(&signer)?, key::public_pem(&signer)?);
        let public = self.public.as_ref().map(|path| NewFile::create(path, false).map(|file| (file, public)));
        // Both files are created, or neither is.
        let public = public.transpose()?;
        NewFile::create(&self.output, true)?.write(&private)?;
        if let Some((file, text)) = public {
            file.write(&text)?;
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

/// A new file that is removed on drop unless it was written completely. An existing file is never opened: it may be the only
/// copy of a key.
struct NewFile<'p> {
    path: &'p Path,
    file: Option<File>,
}

impl<'p> NewFile<'p> {
    fn create(path: &'p Path, secret: bool) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if secret {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let file = options.open(path).with_context(|| path.display().to_string())?;
        Ok(Self { path, file: Some(file) })
    }

    fn write(mut self, text: &str) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| self.path.display().to_string())?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // An error here has the same cause as the one that is reported.
            let _ = fs::remove_file(self.path);
        }
    }
}
