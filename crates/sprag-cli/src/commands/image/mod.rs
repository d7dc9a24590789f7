//! `sprag image`.

mod inspect;
mod sign;
mod verify;

use std::path::Path;

use anyhow::Context;
use clap::Subcommand;

use super::Failure;

/// Firmware images: MCUboot's, ESP-IDF's, and raw ones.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    Sign(sign::Sign),
}

impl Image {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Inspect(inspect) => inspect.run(),
            Self::Verify(verify) => verify.run().await,
            Self::Sign(sign) => sign.run(),
        }
    }
}

/// What an image is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    McuBoot,
    EspIdf,
    Raw,
}

impl Kind {
    fn of(image: &[u8]) -> Self {
        match image {
            [0x3d, 0xb8, 0xf3, 0x96, ..] => Self::McuBoot,
            [0xe9, ..] => Self::EspIdf,
            _ => Self::Raw,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::McuBoot => "mcuboot",
            Self::EspIdf => "esp-idf",
            Self::Raw => "raw",
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number as it is written in programs: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
}
