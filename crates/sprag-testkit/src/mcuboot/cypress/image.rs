//! Headers and the check of an image.

use sha2::{Digest, Sha256};

use super::Fault;
use super::area::Area;
use crate::image::{PublicKey, Version};

pub(super) const IMAGE_MAGIC: u32 = 0x96f3_b83d;
const NON_BOOTABLE: u32 = 0x10;
const TLV_MAGIC: u16 = 0x6907;
const PROTECTED_TLV_MAGIC: u16 = 0x6908;
const KEY_HASH: u16 = 0x01;
const SHA256: u16 = 0x10;
const ECDSA: u16 = 0x22;
const ED25519: u16 = 0x24;

/// An image's header, as far as the bootloader looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) magic: u32,
    header_size: u16,
    protected_size: u16,
    pub(super) image_size: u32,
    flags: u32,
    pub(super) version: Version,
}

impl Header {
    pub(super) fn read(area: Area<'_>) -> Result<Self, Fault> {
        let mut bytes = [0; 32];
        area.read(0, &mut bytes)?;
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Ok(Self {
            magic: word(0),
            header_size: half(8),
            protected_size: half(10),
            image_size: word(12),
            flags: word(16),
            version: Version { major: bytes[20], minor: bytes[21], revision: half(22), build: word(24) },
        })
    }

    pub(super) fn has_magic(&self) -> bool {
        self.magic == IMAGE_MAGIC
    }

    pub(super) fn is_erased(&self, erased: u8) -> bool {
        self.magic.to_le_bytes() == [erased; 4]
    }

    pub(super) fn is_non_bootable(&self) -> bool {
        self.flags & NON_BOOTABLE != 0
    }

    fn tlvs(&self) -> u32 {
        u32::from(self.header_size).wrapping_add(self.image_size)
    }

    /// `boot_read_image_size`: with all TLVs.
    pub(super) fn total_size(&self, area: Area<'_>) -> Result<u32, Fault> {
        let info = |at: u32| {
            let mut bytes = [0; 4];
            area.read(at, &mut bytes)?;
            let [low, high, size_low, size_high] = bytes;
            Ok::<_, Fault>((u16::from_le_bytes([low, high]), u16::from_le_bytes([size_low, size_high])))
        };
        let at = self.tlvs();
        let (mut magic, mut size) = info(at)?;
        if magic == PROTECTED_TLV_MAGIC {
            if size != self.protected_size {
                return Err(Fault::Failed);
            }
            (magic, size) = info(at.wrapping_add(u32::from(size)))?;
        } else if self.protected_size != 0 {
            return Err(Fault::Failed);
        }
        if magic != TLV_MAGIC {
            return Err(Fault::Failed);
        }
        Ok(at.wrapping_add(u32::from(self.protected_size)).wrapping_add(u32::from(size)))
    }

    /// `boot_is_header_valid` and `bootutil_img_validate`. Without a key the signature is not looked at.
    pub(super) fn check(&self, area: Area<'_>, key: Option<&PublicKey>) -> Result<(), &'static str> {
        if !self.has_magic() {
            return Err("no image magic");
        }
        let end = self.image_size.checked_add(u32::from(self.header_size));
        if end.is_none_or(|end| end >= area.size()) {
            return Err("larger than the slot");
        }
        let bytes = area.0.contents();
        let covered = self.tlvs() as usize + usize::from(self.protected_size);
        let digest: [u8; 32] = Sha256::digest(bytes.get(..covered).ok_or("larger than the slot")?).into();
        let half = |at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let mut areas = vec![(covered, TLV_MAGIC)];
        if self.protected_size > 0 {
            areas.insert(0, (self.tlvs() as usize, PROTECTED_TLV_MAGIC));
        }
        let (mut intact, mut known, mut signed) = (false, false, false);
        for (start, magic) in areas {
            if half(start) != Some(magic) {
                return Err("no TLVs");
            }
            let end = start + usize::from(half(start + 2).ok_or("TLVs cut off")?);
            let mut at = start + 4;
            while at < end {
                let kind = half(at).ok_or("TLVs cut off")?;
                let length = usize::from(half(at + 2).ok_or("TLVs cut off")?);
                let value = bytes.get(at + 4..at + 4 + length).ok_or("TLVs cut off")?;
                at += 4 + length;
                match kind {
                    SHA256 if value != digest => return Err("the digest does not match"),
                    SHA256 => intact = true,
                    KEY_HASH => known = key.is_some_and(|key| key.hash() == value),
                    ECDSA | ED25519 if known => {
                        signed |= key.is_some_and(|key| key.verifies(&digest, trimmed(key, value)));
                        known = false;
                    }
                    _ => {}
                }
            }
        }
        match (intact, signed || key.is_none()) {
            (true, true) => Ok(()),
            (false, _) => Err("no digest"),
            (true, false) => Err("not signed by the key"),
        }
    }
}

/// A DER signature without what pads it.
fn trimmed<'a>(key: &PublicKey, signature: &'a [u8]) -> &'a [u8] {
    match (key, signature) {
        (PublicKey::P256(_), [0x30, length, ..]) => signature.get(..2 + usize::from(*length)).unwrap_or(signature),
        _ => signature,
    }
}
