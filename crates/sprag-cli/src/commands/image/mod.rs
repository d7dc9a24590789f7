//! `sprag image`.

mod inspect;
mod sign;
mod verify;

use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
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

/// The kind of a file that is no firmware image, by its first bytes, and advice on what to do about it.
fn mistaken_for(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    let text = text.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(text);
    let starts =
        |prefix: &str| text.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()));
    Some(match bytes {
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file (`objcopy -O binary` makes an image of it)",
        [b'U', b'F', b'2', b'\n', 0x57, 0x51, 0x5D, 0x9E, ..] => "a UF2 file",
        [0x1f, 0x8b, ..] => "compressed with gzip",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => "compressed with xz",
        _ if bytes.get(257..262) == Some(b"ustar") => "a tar archive",
        _ if is_intel_hex(text) => "an Intel HEX file (`objcopy -I ihex -O binary` makes an image of it)",
        _ if is_s_record(text) => "an S-record file (`objcopy -I srec -O binary` makes an image of it)",
        _ if starts("<!DOCTYPE html") || starts("<html") => "an HTML page: a server's error, perhaps",
        _ if starts("<?xml") || starts("<Error>") => "an XML document: a storage server's error, perhaps",
        _ if is_base64_of_image(text) => "base64 text (`base64 -d` makes an image of it)",
        _ if starts("-----BEGIN ") => "a PEM file: a key or a certificate",
        // The partition table of ESP-IDF lies at 0x8000, and the bootloader before it: at 0x1000 or 0x2000, or at 0.
        _ if bytes.get(0x8000..0x8002) == Some(&[0xAA, 0x50])
            && [0, 0x1000, 0x2000].iter().any(|at| bytes.get(*at) == Some(&0xE9)) =>
        {
            "a merged ESP image: bootloader, partition table and app in one (only the app can be an update)"
        }
        [0xE9, ..] if bytes.get(32..36) != Some(&0xABCD_5432_u32.to_le_bytes()) => {
            "an ESP image without an app description: a bootloader, perhaps"
        }
        _ if bytes.iter().all(|byte| *byte == 0xFF) => "erased flash",
        _ => return None,
    })
}

/// Text in base64 whose first bytes are those of an MCUboot image, an ESP image or an ELF file.
fn is_base64_of_image(text: &[u8]) -> bool {
    let letters: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let Some(Ok(begin)) = letters.get(..8).map(|begin| BASE64_STANDARD.decode(begin)) else { return false };
    let is_image = [&[0x3d, 0xb8, 0xf3, 0x96][..], b"\x7fELF", &[0xE9]].iter().any(|magic| begin.starts_with(magic));
    is_image && letters.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
}

/// `:`, a record of hexadecimal digits, and its checksum.
fn is_intel_hex(text: &[u8]) -> bool {
    let line = text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let Some(record) = line.strip_prefix(b":").and_then(unhex) else { return false };
    record.len() >= 5
        && record.len() == usize::from(record[0]) + 5
        && record.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// `S`, a digit, and a record of hexadecimal digits with its checksum.
fn is_s_record(text: &[u8]) -> bool {
    let line = text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let [b'S', b'0'..=b'9', digits @ ..] = line else { return false };
    unhex(digits).is_some_and(|record| {
        record.len() >= 3
            && record.len() == usize::from(record[0]) + 1
            && record.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0xFF
    })
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if digits.len().is_multiple_of(2) { digits.chunks_exact(2).map(byte).collect() } else { None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_images_are_named() {
        let at = |at: usize, bytes: &[u8]| {
            let mut file = vec![0xFF; 0x10000];
            file[at..at + bytes.len()].copy_from_slice(bytes);
            file
        };
        let mut merged = at(0x8000, &[0xAA, 0x50]);
        merged[0x1000] = 0xE9;
        let mut merged_c3 = merged.clone();
        merged_c3[0] = 0xE9;
        let bootloader = [&[0xE9, 3, 2, 0x2F][..], &[0; 100]].concat();
        for (file, name) in [
            (&b""[..], "an empty file"),
            (b"\x7fELF\x01\x01\x01", "an ELF file"),
            (b"UF2\n\x57\x51\x5D\x9E\0\0", "a UF2 file"),
            (b"\x1f\x8b\x08\0", "compressed with gzip"),
            (b"PK\x03\x04", "a zip archive"),
            (b"\xFD7zXZ\0", "compressed with xz"),
            (&at(257, b"ustar"), "a tar archive"),
            (b":10010000214601360121470136007EFE09D2190140\r\n:00000001FF\r\n", "an Intel HEX file"),
            (b":020000040800F2\n", "an Intel HEX file"),
            (b"S00F000068656C6C6F202020202000003C\n", "an S-record file"),
            (b"\n  <!doctype HTML><html>", "an HTML page"),
            (b"<html><body>502 Bad Gateway", "an HTML page"),
            (b"\xEF\xBB\xBF<?xml version=\"1.0\"?><Error><Code>AccessDenied", "an XML document"),
            (b"<Error><Code>NoSuchKey", "an XML document"),
            (b"-----BEGIN PUBLIC KEY-----", "a PEM file"),
            (BASE64_STANDARD.encode([0x3d, 0xb8, 0xf3, 0x96, 0, 0, 0, 0]).as_bytes(), "base64 text"),
            (b"\xEF\xBB\xBF6QMCLwAA\r\nAAAA\r\n", "base64 text"),
            (b"f0VMRgEBAQ==\n", "base64 text"),
            (&merged, "a merged ESP image"),
            (&merged_c3, "a merged ESP image"),
            (&bootloader, "an ESP image without an app description"),
            (&[0xFF; 64], "erased flash"),
        ] {
            let found = mistaken_for(file);
            assert!(found.is_some_and(|found| found.starts_with(name)), "{name}: {found:?}");
        }
        let mut app = [0; 64];
        app[0] = 0xE9;
        app[32..36].copy_from_slice(&0xABCD_5432_u32.to_le_bytes());
        for image in [
            &app[..],
            &[0x3d, 0xb8, 0xf3, 0x96, 0, 0],
            // A vector table.
            &[0x00, 0x80, 0x00, 0x20, 0x01, 0x01, 0x00, 0x08],
            b":10",
            b":100100002146013601214701360 7EFE09D2190140",
            b":10010000214601360121470136007EFE09D2190141",
            b"S1",
            b"\xFF\xFF\0",
        ] {
            assert_eq!(mistaken_for(image), None, "{image:x?}");
        }
    }
}
