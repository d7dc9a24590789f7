//! `sprag image sign`.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};
use sprag::verify::{Version, mcuboot::TLV_BOARD};
use sprag_cli::{key, output_file};
use sprag_testkit::image::{self, Extras, McuBootImage, Signer, pad, trailer_size};

use super::{Failure, hex, number, read};

/// Sign an image: for MCUboot, byte for byte as `imgtool sign` does; or a raw one, with a signature beside it.
///
/// ECDSA signatures are deterministic (RFC 6979), `imgtool`'s are random: those differ, and both are good.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The program, as the linker made it.
    input: PathBuf,
    /// The signed image; for raw ones the signature alone, in base64, as job documents carry it.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What to make.
    #[arg(long, value_enum)]
    format: Format,
    /// The private key, Ed25519 or P-256, in PEM or DER: PKCS#8 or SEC 1.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The version in the image's header, as major.minor.revision+build.
    #[arg(long, value_name = "V", required_if_eq("format", "mcuboot"))]
    version: Option<Version>,
    /// The size of the header, 32 or more. The program must begin with so many zeros.
    #[arg(long, value_name = "N", value_parser = number, required_if_eq("format", "mcuboot"))]
    header_size: Option<u32>,
    /// Puts the header before the program instead.
    #[arg(long)]
    pad_header: bool,
    /// The security counter: a number, or `auto` for one made of the version.
    #[arg(long, value_name = "N", value_parser = counter)]
    security_counter: Option<Counter>,
    /// The board that the image is for.
    #[arg(long, value_name = "B")]
    board: Option<String>,
    /// The unit that the flash is written in: 1, 2, 4, 8, 16 or 32.
    #[arg(long, value_name = "N", default_value_t = 1)]
    align: u32,
    /// The size of the slot: image and trailer must fit.
    #[arg(long, value_name = "N", value_parser = number)]
    slot_size: Option<u32>,
    /// Fills the slot, with a trailer that asks for a test.
    #[arg(long, requires = "slot_size")]
    pad: bool,
    /// Fills the slot, with a trailer that says the image is confirmed.
    #[arg(long, requires = "slot_size")]
    confirm: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Header, digest, key hash and signature.
    #[value(name = "mcuboot")]
    McuBoot,
    /// A signature over the file as it is.
    Raw,
}

#[derive(Debug, Clone, Copy)]
enum Counter {
    Auto,
    Is(u32),
}

fn counter(text: &str) -> Result<Counter, std::num::ParseIntError> {
    if text == "auto" { Ok(Counter::Auto) } else { number(text).map(Counter::Is) }
}

impl Sign {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let input = read(&self.input)?;
        let signer = key::read_private(&self.key)?;
        let name = self.output.display().to_string();
        let output = match self.format {
            Format::McuBoot => self.mcuboot(&input, &signer)?,
            Format::Raw => STANDARD.encode(signer.sign(&input)).into_bytes(),
        };
        output_file::write(&self.output, &output)?;
        match self.format {
            Format::McuBoot => println!("{name}: {} bytes", output.len()),
            // What a job document has to say of it.
            Format::Raw => {
                println!("size       {}", input.len());
                println!("sha256     {}", hex(&Sha256::digest(&input)));
                let algorithm = if matches!(signer, Signer::Ed25519(_)) { "ed25519" } else { "sig-sha256-ecdsa" };
                println!("{algorithm:10} {}", String::from_utf8_lossy(&output));
            }
        }
        Ok(())
    }

    fn mcuboot(&self, input: &[u8], signer: &Signer) -> anyhow::Result<Vec<u8>> {
        let (Some(version), Some(header_size)) = (self.version, self.header_size) else {
            bail!("--version and --header-size are needed");
        };
        let header_size = u16::try_from(header_size).ok().filter(|size| *size >= 32);
        let header_size = header_size.context("--header-size: not 32 to 65535")?;
        ensure!([1, 2, 4, 8, 16, 32].contains(&self.align), "--align: {} is not 1, 2, 4, 8, 16 or 32", self.align);
        let (payload, fill) = if self.pad_header {
            (input, 0xFF)
        } else {
            let (room, program) = input.split_at_checked(header_size.into()).unwrap_or((input, &[]));
            ensure!(
                room.len() == usize::from(header_size) && room.iter().all(|byte| *byte == 0),
                "{}: does not begin with {header_size} zeros, where the header goes; --pad-header puts it before",
                self.input.display()
            );
            (program, 0)
        };
        let Version { major, minor, revision, build } = version;
        let counter = self.security_counter.map(|counter| match counter {
            Counter::Auto => u32::from(major) << 24 | u32::from(minor) << 16 | u32::from(revision),
            Counter::Is(counter) => counter,
        });
        let board = self.board.as_ref().map(|name| (TLV_BOARD, name.as_bytes()));
        let extras = Extras { fill, security_counter: counter, custom: board.as_slice(), ..Extras::default() };
        let version = image::Version { major, minor, revision, build };
        let mut image = McuBootImage { version, header_size, payload }.sign_with(signer, &extras);
        if let Some(slot) = self.slot_size {
            let (slot, align) = (slot as usize, self.align as usize);
            let needed = image.len() + trailer_size(align);
            ensure!(needed <= slot, "--slot-size: {slot} bytes, but image and trailer need {needed}");
            if self.pad || self.confirm {
                pad(&mut image, slot, align, 0xFF, self.confirm);
            }
        }
        u32::try_from(image.len()).map_err(|_| anyhow!("the image is larger than 4 GiB"))?;
        Ok(image)
    }
}
