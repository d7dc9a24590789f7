//! `sprag image inspect`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};
use sprag::verify::Version;
use sprag::verify::mcuboot::TLV_BOARD;

use super::{Failure, Kind, hex, mistaken_for, read};

/// Say what an image says of itself, and whether its digest is right. Nothing is verified: see `sprag image verify`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The image: MCUboot's, ESP-IDF's, or any bytes.
    file: PathBuf,
    /// Print it as a JSON object.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let bytes = read(&self.file)?;
        let kind = Kind::of(&bytes);
        let name = self.file.display();
        if bytes.is_empty() {
            return Err(anyhow!("{name}: an empty file").into());
        }
        let looks_like = mistaken_for(&bytes);
        let described = match kind {
            Kind::McuBoot => mcuboot(&bytes),
            Kind::EspIdf => esp_idf(&bytes),
            Kind::Raw => Some(json!({ "sha256": hex(&Sha256::digest(&bytes)) })),
        };
        let described =
            described.ok_or_else(|| anyhow!("{name}: begins like an image ({}) and is cut short", kind.name()))?;
        let mut object = json!({ "format": kind.name(), "size": bytes.len() });
        if let Some(file) = looks_like {
            object["looks_like"] = json!(file);
        }
        for (name, value) in described.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        if self.json {
            println!("{object}");
        } else {
            tell(&object);
        }
        Ok(())
    }
}

/// The order in which things are told.
const ORDER: [&str; 26] = [
    "format",
    "looks_like",
    "version",
    "project",
    "secure_version",
    "chip",
    "chip_revisions",
    "size",
    "image_size",
    "header_size",
    "payload_size",
    "flags",
    "load_address",
    "sha256",
    "checksum",
    "digest",
    "segments",
    "tlvs",
    "signatures",
    "type",
    "name",
    "protected",
    "value",
    "address",
    "offset",
    "size",
];

/// One line a value; one line an object of a list.
fn tell(object: &Value) {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let told = |object: &Value| -> Vec<(&str, Value)> {
        let mut object = object.clone();
        let mut take = |name| object.as_object_mut().and_then(|object| object.remove(name));
        ORDER.into_iter().filter_map(|name| Some((name, take(name).filter(|value| !value.is_null())?))).collect()
    };
    for (name, value) in told(object) {
        match value {
            Value::Array(list) => {
                let one = name.trim_end_matches('s');
                for item in &list {
                    let words: Vec<String> =
                        told(item).iter().map(|(name, value)| format!("{name} {}", word(value))).collect();
                    println!("{one:15} {}", words.join(", "));
                }
            }
            value => println!("{name:15} {}", word(&value)),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// MCUboot, `boot/bootutil/include/bootutil/image.h`.
fn mcuboot(bytes: &[u8]) -> Option<Value> {
    let version = |at: usize| Some(Version::from_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (header, protected) = (u16_at(bytes, 8)?, u16_at(bytes, 10)?);
    let (payload, flags) = (u32_at(bytes, 12)?, u32_at(bytes, 16)?);
    let body = usize::from(header).checked_add(payload as usize)?;
    let covered = body.checked_add(protected.into())?;
    let end = covered.checked_add(u16_at(bytes, covered + 2)?.into())?;
    let mut tlvs = Vec::new();
    let mut digest = "missing";
    for (area, protected, end) in [(body, true, covered), (covered, false, end)] {
        let mut at = area + 4;
        while at < end {
            let (kind, length) = (u16_at(bytes, at)?, usize::from(u16_at(bytes, at + 2)?));
            let value = bytes.get(at + 4..at + 4 + length)?;
            let computed = match kind {
                0x10 => Some(Sha256::digest(&bytes[..covered]).to_vec()),
                0x11 => Some(Sha384::digest(&bytes[..covered]).to_vec()),
                0x12 => Some(Sha512::digest(&bytes[..covered]).to_vec()),
                _ => None,
            };
            if let Some(computed) = computed {
                digest = if computed == value { "right" } else { "wrong" };
            }
            let said = match (kind, value) {
                (0x40, [image, _, _, _, needs @ ..]) if length == 12 => {
                    let needs = Version::from_bytes(needs.try_into().ok()?);
                    format!("image {image} in version {needs} or later")
                }
                (0x50, value) if length == 4 => u32_at(value, 0)?.to_string(),
                (TLV_BOARD, value) => String::from_utf8_lossy(value).into_owned(),
                (_, value) => hex(value),
            };
            tlvs.push(json!({ "type": format!("{kind:#06x}"), "name": tlv_name(kind), "protected": protected.then_some(true), "value": said }));
            at += 4 + length;
        }
    }
    Some(json!({
        "version": version(20)?.to_string(),
        "header_size": header,
        "payload_size": payload,
        "image_size": end,
        "flags": format!("{flags:#x}"),
        "load_address": Some(u32_at(bytes, 4)?).filter(|_| flags & 0x120 != 0).map(|at| format!("{at:#x}")),
        "digest": digest,
        "tlvs": tlvs,
    }))
}

fn tlv_name(kind: u16) -> &'static str {
    match kind {
        0x01 => "key hash",
        0x02 => "public key",
        0x10 => "SHA-256",
        0x11 => "SHA-384",
        0x12 => "SHA-512",
        0x20 => "RSA-2048",
        0x22 => "ECDSA",
        0x23 => "RSA-3072",
        0x24 => "Ed25519",
        0x25 => "signature over the image",
        0x30..=0x34 => "encryption key",
        0x40 => "dependency",
        0x50 => "security counter",
        0x60 => "boot record",
        0x70..=0x73 => "compression",
        0x74 => "vendor",
        0x75 => "class",
        TLV_BOARD => "board",
        _ => "unknown",
    }
}

/// ESP-IDF, `esp_app_format.h`, `esp_app_desc.h`, `esp_secure_boot.h`.
fn esp_idf(bytes: &[u8]) -> Option<Value> {
    let text = |at: usize| {
        let field = bytes.get(at..at + 32)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(field).into_owned())
    };
    let mut segments = Vec::new();
    let (mut at, mut sum) = (24, 0xEF);
    for _ in 0..*bytes.get(1)? {
        let (address, length) = (u32_at(bytes, at)?, u32_at(bytes, at + 4)?);
        let data = bytes.get(at + 8..(at + 8).checked_add(length as usize)?)?;
        sum = data.iter().fold(sum, |sum, byte| sum ^ byte);
        segments.push(json!({ "address": format!("{address:#010x}"), "offset": at + 8, "size": length }));
        at += 8 + data.len();
    }
    let checked = (at + 1).next_multiple_of(16);
    let right = |is: bool| if is { "right" } else { "wrong" };
    let digest = match *bytes.get(23)? {
        0 => "missing",
        _ => right(*bytes.get(checked..checked + 32)? == Sha256::digest(&bytes[..checked])[..]),
    };
    let described = u32_at(bytes, 32)? == 0xABCD_5432;
    let [chip, least, most] = [u16_at(bytes, 12)?, u16_at(bytes, 15)?, u16_at(bytes, 17)?];
    Some(json!({
        "version": text(48).filter(|_| described),
        "project": text(80).filter(|_| described),
        "secure_version": u32_at(bytes, 36).filter(|_| described),
        "chip": chip,
        "chip_revisions": format!("{least} to {most}"),
        "image_size": if digest == "missing" { checked } else { checked + 32 },
        "checksum": right(bytes.get(checked - 1) == Some(&sum)),
        "digest": digest,
        "segments": segments,
        "signatures": signatures(bytes, checked),
    }))
}

/// The blocks of a signature sector, if there is one.
fn signatures(bytes: &[u8], from: usize) -> Vec<Value> {
    let sector = (from + 32).next_multiple_of(4096);
    let blocks = bytes.get(sector..sector + 4096).unwrap_or_default().chunks_exact(1216);
    blocks
        .filter_map(|block| match block {
            [0xE7, 2, ..] => Some(json!({ "name": "RSA-3072" })),
            [0xE7, 3, ..] => {
                let curve = match (block[2], block[36], block[52]) {
                    (0, 1, _) => "ECDSA P-192",
                    (0, 2, _) => "ECDSA P-256",
                    (1, _, 3) => "ECDSA P-384",
                    _ => "ECDSA",
                };
                Some(json!({ "name": curve }))
            }
            _ => None,
        })
        .collect()
}
