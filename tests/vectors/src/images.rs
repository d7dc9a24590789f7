//! Images: the verdict of `sprag-verify` against MCUboot's.
//!
//! An image that MCUboot refuses and `sprag-verify` accepts is wrong. `sprag-verify` is stricter in the ways that
//! [`Stricter`] lists and its README documents under "Stricter than MCUboot". A refusal of an image that MCUboot accepts
//! is wrong unless the image, read here once more without code of `sprag-verify`, is of one of those kinds.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sprag_testkit::flash::{FlashGeometry, SimFlash};
use sprag_verify::{Ed25519Key, Error, P256Key, Policy, mcuboot};

use crate::Outcome;
use crate::keys::{Key, Keys};

/// The size of the slot that the image was put into.
const SLOT: u32 = 32 * 1024;

#[derive(Deserialize)]
struct Vector {
    mcuboot: String,
    config: Settings,
    key: String,
    image: String,
    accepted: bool,
}

/// What MCUboot was built with.
#[derive(Deserialize)]
struct Settings {
    allow_list: bool,
    /// The security counter of the device.
    counter: Option<u32>,
    pure: bool,
}

/// Judges one vector.
pub(crate) fn judge(line: &str, keys: &Keys) -> Result<Outcome> {
    let vector: Vector = serde_json::from_str(line)?;
    let image = STANDARD.decode(&vector.image).context("the image is not base64")?;
    let key = keys.get(&vector.key)?;
    let verdict = verify(&image, &vector.config, key)?;
    Ok(match (verdict, vector.accepted) {
        (Ok(()), true) | (Err(_), false) => Outcome::Reproduced,
        (Ok(()), false) => Outcome::Wrong(format!("MCUboot {} refuses it, sprag-verify accepts it", vector.mcuboot)),
        (Err(error), true) => match reason(error, &image, &vector.config, key) {
            Some(reason) => Outcome::LeftOut(reason),
            None => Outcome::Wrong(format!("MCUboot {} accepts it, sprag-verify: {error}", vector.mcuboot)),
        },
    })
}

fn verify(image: &[u8], settings: &Settings, key: &Key) -> Result<core::result::Result<(), Error>> {
    let der = key.der()?;
    let key: Box<dyn sprag_verify::Key> = match key {
        Key::Ed25519 { .. } => Box::new(Ed25519Key::new(last(&der)?)),
        Key::P256 { .. } => Box::new(P256Key::new(last(&der)?)),
    };
    let mut config = mcuboot::Config::new();
    if settings.pure {
        config = config.pure();
    }
    if !settings.allow_list {
        config = config.without_allow_list();
    }
    let mut policy = Policy::signed_by(&*key).mcuboot_config(config);
    if let Some(counter) = settings.counter {
        policy = policy.counter_at_least(counter);
    }
    let flash = SimFlash::in_memory(SLOT, FlashGeometry { write_size: 1, erase_size: 4096, erased: 0xFF });
    flash.load(0, image).ok().context("the image is larger than the slot")?;
    let mut slot = flash.region(0..SLOT);
    let mut buf = vec![0; 0x10000];
    let mut future = pin!(mcuboot::verify(&mut slot, image.len() as u32, &policy, &mut buf));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => Ok(verdict.map(|_| ())),
        Poll::Pending => bail!("flash in memory is always ready"),
    }
}

fn last<const N: usize>(der: &[u8]) -> Result<[u8; N]> {
    der.last_chunk().copied().context("a key is too short")
}

/// A TLV where MCUboot's walk finds it.
struct Tlv<'a> {
    at: u32,
    kind: u16,
    value: &'a [u8],
    protected: bool,
    /// It ends within its area.
    fits: bool,
}

/// An image as MCUboot reads it.
struct Image<'a> {
    header_size: usize,
    flags: u32,
    /// Where the unprotected area ends.
    end: usize,
    tlvs: Vec<Tlv<'a>>,
}

impl<'a> Image<'a> {
    /// Reads an image that MCUboot accepts. `slot` is the image with erased flash behind it.
    fn read(slot: &'a [u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(slot.get(at..at + 2)?.try_into().ok()?)));
        let u32_at = |at: usize| Some(u32::from_le_bytes(slot.get(at..at + 4)?.try_into().ok()?));
        let header_size = u16_at(8)?;
        let protected = u16_at(10)?;
        let begin = header_size + u32_at(12)? as usize;
        let border = begin + protected;
        let end = border + u16_at(border + 2)?;
        let mut tlvs = Vec::new();
        let mut at = begin + 4;
        while at < end {
            if protected > 0 && at == border {
                at += 4;
            }
            let length = u16_at(at + 2)?;
            // MCUboot does not read values that it ignores: they may end behind the slot.
            let value = slot.get(at + 4..(at + 4 + length).min(slot.len()))?;
            let is_protected = at < border;
            let fits = at + 4 + length <= if is_protected { border } else { end };
            tlvs.push(Tlv { at: at as u32, kind: u16_at(at)? as u16, value, protected: is_protected, fits });
            at += 4 + length;
        }
        Some(Self { header_size, flags: u32_at(16)?, end, tlvs })
    }

    /// Returns the TLV that is malformed in the eyes of `sprag-verify`, and those before it.
    fn malformed(&self, error: Error) -> Option<(&[Tlv<'a>], &Tlv<'a>)> {
        let Error::Malformed { at } = error else { return None };
        let index = self.tlvs.iter().position(|tlv| tlv.at == at)?;
        Some((self.tlvs.get(..index)?, self.tlvs.get(index)?))
    }

    fn count(&self, kind: u16) -> usize {
        self.tlvs.iter().filter(|tlv| tlv.kind == kind && !tlv.protected).count()
    }

    /// Returns whether a signature of another kind stands between a key hash and the signature that it is for.
    fn is_key_far(&self, signature: u16) -> bool {
        let mut key = false;
        let mut other = false;
        for tlv in &self.tlvs {
            match tlv.kind {
                KEY_HASH => (key, other) = (true, false),
                kind if kind == signature && key && other => return true,
                kind if kind == signature => key = false,
                ECDSA | ED25519 => other = true,
                _ => {}
            }
        }
        false
    }
}

const KEY_HASH: u16 = 0x01;
const PUBLIC_KEY: u16 = 0x02;
const SHA256: u16 = 0x10;
const SHA512: u16 = 0x12;
const ECDSA: u16 = 0x22;
const ED25519: u16 = 0x24;
const PURE: u16 = 0x25;
const DEPENDENCY: u16 = 0x40;
const COUNTER: u16 = 0x50;
const CLASS: u16 = 0x75;

/// Returns by which of its stricter readings `sprag-verify` refuses an image that MCUboot accepts.
fn reason(error: Error, image: &[u8], settings: &Settings, key: &Key) -> Option<&'static str> {
    let mut slot = image.to_vec();
    slot.resize(2 * SLOT as usize, 0xFF);
    let read = Image::read(&slot)?;
    let signature = if matches!(key, Key::Ed25519 { .. }) { ED25519 } else { ECDSA };
    let look = Look { size: image.len(), settings, signature };
    STRICTER.iter().find(|row| (row.holds)(error, &read, &look)).map(|row| row.name)
}

/// What else decides.
struct Look<'a> {
    size: usize,
    settings: &'a Settings,
    /// The kind of signature that MCUboot knows.
    signature: u16,
}

/// A way in which `sprag-verify` is stricter than MCUboot.
struct Stricter {
    /// As in the table of its README.
    name: &'static str,
    /// Returns whether that is why the image was refused.
    holds: fn(Error, &Image<'_>, &Look<'_>) -> bool,
}

const STRICTER: &[Stricter] = &[
    Stricter {
        name: "header size below 32 bytes",
        holds: |error, image, _| error == Error::Malformed { at: 8 } && image.header_size < 32,
    },
    Stricter {
        name: "bytes behind the image",
        holds: |error, image, look| matches!(error, Error::Length { .. }) && look.size > image.end,
    },
    Stricter {
        name: "image that ends behind the download",
        holds: |error, image, look| matches!(error, Error::Length { .. }) && look.size < image.end,
    },
    Stricter {
        name: "flags of encrypted or compressed images",
        holds: |error, image, _| matches!(error, Error::Flags { flags } if flags == image.flags && flags & 0xE0C != 0),
    },
    Stricter {
        name: "TLV over the border of its area",
        holds: |error, image, _| image.malformed(error).is_some_and(|(_, tlv)| !tlv.fits),
    },
    Stricter {
        name: "digest, key, signature or SIG_PURE TLV in the protected area",
        holds: |error, image, _| {
            image.malformed(error).is_some_and(|(_, tlv)| {
                tlv.protected && matches!(tlv.kind, KEY_HASH | PUBLIC_KEY | SHA256..=SHA512 | ECDSA | ED25519 | PURE)
            })
        },
    },
    Stricter {
        name: "two counters or two classes",
        holds: |error, image, _| {
            image.malformed(error).is_some_and(|(before, tlv)| {
                matches!(tlv.kind, COUNTER | CLASS) && before.iter().any(|other| other.kind == tlv.kind)
            })
        },
    },
    Stricter {
        name: "counter, dependency or class of a wrong length",
        holds: |error, image, _| {
            image.malformed(error).is_some_and(|(_, tlv)| {
                let length = match tlv.kind {
                    COUNTER => 4,
                    DEPENDENCY => 12,
                    CLASS => 16,
                    _ => return false,
                };
                tlv.protected && tlv.value.len() != length
            })
        },
    },
    Stricter {
        name: "two digests",
        holds: |error, image, _| {
            let is_digest = |tlv: &Tlv<'_>| matches!(tlv.kind, SHA256..=SHA512);
            image.malformed(error).is_some_and(|(before, tlv)| is_digest(tlv) && before.iter().any(is_digest))
        },
    },
    Stricter {
        name: "digest of a wrong length, beside the right one",
        holds: |error, image, _| {
            image.malformed(error).is_some_and(|(_, tlv)| {
                matches!((tlv.kind, tlv.value.len()), (SHA256, length) if length != 32)
                    || matches!((tlv.kind, tlv.value.len()), (0x11, length) if length != 48)
                    || matches!((tlv.kind, tlv.value.len()), (SHA512, length) if length != 64)
            })
        },
    },
    Stricter {
        name: "shortened key hash",
        holds: |error, image, _| {
            image.malformed(error).is_some_and(|(_, tlv)| tlv.kind == KEY_HASH && tlv.value.len() < 32)
        },
    },
    Stricter {
        name: "signature TLV of a wrong length, beside a good one",
        holds: |error, image, _| {
            image.malformed(error).is_some_and(|(_, tlv)| match tlv.kind {
                ED25519 => tlv.value.len() != 64,
                ECDSA => tlv.value.is_empty() || tlv.value.len() > 128,
                _ => false,
            })
        },
    },
    Stricter {
        name: "SIG_PURE in a build without",
        holds: |error, image, look| {
            let malformed = image.malformed(error).is_some_and(|(_, tlv)| tlv.kind == PURE);
            !look.settings.pure && (malformed || error == Error::TlvNotAllowed { kind: PURE })
        },
    },
    Stricter {
        name: "second SIG_PURE of another value",
        holds: |error, image, look| {
            look.settings.pure
                && image.malformed(error).is_some_and(|(before, tlv)| {
                    tlv.kind == PURE && before.iter().any(|other| other.kind == PURE && other.value == [1])
                })
        },
    },
    Stricter {
        name: "counter or class in the unprotected area",
        holds: |error, image, _| matches!(error, Error::TlvNotAllowed { kind: kind @ (COUNTER | CLASS) } if image.count(kind) > 0),
    },
    Stricter {
        name: "TLV that not every version's allow list has",
        holds: |error, image, look| {
            let Error::TlvNotAllowed { kind } = error else { return false };
            // The longer list of the two.
            look.settings.allow_list && image.count(kind) > 0 && matches!(kind, KEY_HASH | PUBLIC_KEY | 0x20..=ED25519)
        },
    },
    Stricter {
        name: "signature of another kind between a key hash and its signature",
        holds: |error, image, look| error == Error::UnknownKey && image.is_key_far(look.signature),
    },
    Stricter {
        name: "first signature of the key bad, second good",
        holds: |error, image, look| {
            !look.settings.pure
                && matches!(error, Error::Signature | Error::SignatureEncoding)
                && image.count(look.signature) > 1
        },
    },
    Stricter {
        name: "ECDSA signature that is not DER",
        holds: |error, image, look| {
            error == Error::SignatureEncoding && look.signature == ECDSA && image.count(ECDSA) == 1
        },
    },
    Stricter {
        name: "pure: two signatures",
        holds: |error, image, look| look.settings.pure && error == Error::Signature && image.count(look.signature) > 1,
    },
    Stricter {
        name: "pure: digest that does not match, or of another kind",
        holds: |error, image, look| {
            look.settings.pure
                && matches!(error, Error::Digest | Error::NoDigest)
                && image.tlvs.iter().any(|tlv| matches!(tlv.kind, SHA256..=SHA512))
        },
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The table of the README and this one have the same rows.
    #[test]
    fn every_stricter_reading_is_documented() {
        let readme = include_str!("../../../crates/sprag-verify/README.md");
        let table = readme.split_once("### Stricter than MCUboot").unwrap().1.split("\n#").next().unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
        // What is in brackets explains.
        let name = |row: &str| row.split('|').nth(1).unwrap().split(" (").next().unwrap().trim().to_owned();
        let documented: BTreeSet<String> = rows.map(name).collect();
        let judged: BTreeSet<String> = STRICTER.iter().map(|row| row.name.to_owned()).collect();
        assert_eq!(documented, judged);
    }

    fn settings(allow_list: bool) -> Settings {
        Settings { allow_list, counter: None, pure: false }
    }

    /// A refusal that no row explains is wrong: a good image has none of the reasons.
    #[test]
    fn a_refusal_must_have_its_reason_in_the_image() {
        let key = Key::Ed25519 { der: String::new() };
        let mut image = vec![0x3d, 0xb8, 0xf3, 0x96, 0, 0, 0, 0, 32, 0, 0, 0, 4, 0, 0, 0];
        image.resize(36, 0);
        image.extend([0x07, 0x69, 4 + 36 + 36 + 68, 0]);
        for (kind, length) in [(SHA256, 32_u16), (KEY_HASH, 32), (ED25519, 64)] {
            image.extend(kind.to_le_bytes());
            image.extend(length.to_le_bytes());
            image.extend(vec![0; length.into()]);
        }
        for allow_list in [true, false] {
            for error in [
                Error::Malformed { at: 8 },
                Error::Malformed { at: 40 },
                Error::Malformed { at: 76 },
                Error::Malformed { at: 112 },
                Error::Length { image: 1, promised: 1 },
                Error::Flags { flags: 4 },
                Error::TlvNotAllowed { kind: COUNTER },
                Error::TlvNotAllowed { kind: PUBLIC_KEY },
                Error::UnknownKey,
                Error::Signature,
                Error::SignatureEncoding,
                Error::Digest,
                Error::NoDigest,
                Error::Unsigned,
            ] {
                assert_eq!(reason(error, &image, &settings(allow_list), &key), None, "{error}");
            }
        }
        let error = Error::Length { image: 184, promised: 185 };
        image.push(0);
        assert_eq!(reason(error, &image, &settings(true), &key), Some("bytes behind the image"));
    }
}
