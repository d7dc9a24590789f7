//! `sprag image verify`.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use sprag::verify::mcuboot::Config;
use sprag::verify::{Algorithm, Error, EspIdf, Format, McuBoot, Policy, Promised, Raw, Signature, Version, VersionAt};
use sprag_cli::key;
use sprag_testkit::flash::{FlashGeometry, SimFlash};

use super::{Failure, Kind, mistaken_for, read};

/// Say whether an image may run, as a device decides it: format, lengths, digest, signature, version, board.
///
/// A refusal ends with exit code 1, and the reason that a device would report.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The image: MCUboot's (padded to its slot or not), ESP-IDF's, or any bytes.
    file: PathBuf,
    /// The key that it must be signed with, Ed25519 or P-256: a public or private key, or a certificate, in PEM or
    /// DER. More than one makes each of them do.
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The version that it must be newer than.
    #[arg(long, value_name = "V")]
    newer_than: Option<Version>,
    /// The board that it must be for.
    #[arg(long, value_name = "B")]
    board: Option<String>,
    /// The signature beside it, in base64, for images that carry none: what a job would say.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The version of a raw image: what a job would say.
    #[arg(long, value_name = "V")]
    version: Option<Version>,
}

impl Verify {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let bytes = read(&self.file)?;
        let name = self.file.display();
        let keys = self.key.iter().map(|path| key::read_public(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let keys: Vec<_> = keys.iter().map(|key| &**key).collect();
        // Which bootloader the image is for, it says itself.
        // The caller names the version of a raw image.
        let mut policy = Policy::signed_by_any(&keys).mcuboot_config(Config::any()).trusting_the_job();
        if let Some(running) = self.newer_than {
            policy = policy.newer_than(running);
        }
        if let Some(board) = &self.board {
            policy = policy.for_board(board);
        }
        let mut promised = Promised::size(u32::try_from(bytes.len()).map_err(|_| anyhow!("{name}: more than 4 GiB"))?);
        if let Some(path) = &self.signature {
            promised = promised.signature(signature(path)?);
        }
        if let Some(version) = self.version {
            promised = promised.version(version);
        } else if self.newer_than.is_none() {
            // Nobody asks.
            promised = promised.version(Version::default());
        }

        let kind = Kind::of(&bytes);
        let checked = match kind {
            Kind::McuBoot => match check(McuBoot, &bytes, promised, &policy).await {
                // A whole slot: what follows the image is erased flash and the trailer.
                Err(Error::Length { image, promised: file }) if image < file && is_slot(&bytes[image as usize..]) => {
                    check(McuBoot, &bytes, Promised::size(image), &policy).await
                }
                checked => checked,
            },
            Kind::EspIdf => check(EspIdf, &bytes, promised, &policy).await,
            Kind::Raw => check(Raw(VersionAt::Job), &bytes, promised, &policy).await,
        };
        let image = checked.map_err(|refusal| {
            let reason = refusal.reason();
            Failure::Ended(match (mistaken_for(&bytes), refusal) {
                (Some(file), _) => format!("{name}: no firmware image, but {file} ({reason})"),
                (None, Error::Length { image, promised: file }) => {
                    format!("{name}: {} ({reason})", length(image, file))
                }
                (None, refusal) => format!("{name}: {refusal} ({reason})"),
            })
        })?;
        let version = if kind == Kind::Raw { self.version } else { Some(image.version) };
        let version = version.map_or_else(String::new, |version| format!(" {version}"));
        println!("{name}: {}{version}, {} bytes, may run", kind.name(), image.size);
        Ok(())
    }
}

/// Through the very code that a device runs, over flash that holds the file.
async fn check<F: Format>(
    format: F,
    bytes: &[u8],
    promised: Promised<'_>,
    policy: &Policy<'_>,
) -> Result<sprag::verify::Image, Error> {
    // A slot is larger than what lies in it, and never empty.
    let capacity = (bytes.len() + 1).next_multiple_of(4096) as u32;
    let flash = SimFlash::in_memory(capacity, FlashGeometry { write_size: 1, erase_size: 4096, erased: 0xFF });
    flash.load(0, bytes).map_err(|_| Error::Malformed { at: 0 })?;
    // The largest area of TLVs fits.
    format.verify(&mut flash.region(0..capacity), promised, policy, &mut vec![0; 0x10000]).await
}

/// Says what is wrong with the length of a file. Nobody promised one.
fn length(image: u32, file: u32) -> String {
    match file.checked_sub(image) {
        Some(more) => format!(
            "the image ends at byte {image}, and the file has {more} bytes more, which no signature covers; a device \
             refuses such a download"
        ),
        None => format!("the image says it is {image} bytes long, and the file has {file}: it is cut short"),
    }
}

/// Whether this is what `--pad` appends: erased flash, and a trailer that ends with MCUboot's magic.
fn is_slot(rest: &[u8]) -> bool {
    rest.ends_with(&[0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80])
        || rest.ends_with(&[0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a])
}

/// A signature as `sprag image sign --format raw` writes it: 64 bytes are Ed25519's, DER is ECDSA's.
fn signature(path: &std::path::Path) -> anyhow::Result<Signature> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let eddsa = Signature::from_base64(Algorithm::Ed25519, text.trim());
    let either = eddsa.or_else(|_| Signature::from_base64(Algorithm::EcdsaP256, text.trim()));
    either.with_context(|| path.display().to_string())
}
