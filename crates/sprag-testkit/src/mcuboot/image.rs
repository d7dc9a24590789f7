//! Images: the header, and what makes an image one that may run.
//!
//! Written from MCUboot's `docs/design.md` ("Image format"), `boot/bootutil/src/image_validate.c`, `tlv.c`,
//! `bootutil_img_hash.c`, `bootutil_find_key.c` and `loader.c` (`boot_check_header_valid`).

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256};

use super::area::Area;
use super::{Release, Settings};
use crate::image::{PublicKey, Version};

const MAGIC: [u8; 4] = [0x3d, 0xb8, 0xf3, 0x96];
const NON_BOOTABLE: u32 = 0x10;
const ROM_FIXED: u32 = 0x100;
const ENCRYPTED: u32 = 0x4 | 0x8;
const COMPRESSED: u32 = 0x200 | 0x400 | 0x800;

/// The magic of the area of unprotected TLVs, and of protected ones.
const UNPROTECTED: u16 = 0x6907;
const PROTECTED: u16 = 0x6908;

const KEY_HASH: u16 = 0x01;
const SHA256: u16 = 0x10;
const ECDSA: u16 = 0x22;
const ED25519: u16 = 0x24;
/// The TLVs that `MCUBOOT_USE_TLV_ALLOW_LIST` allows where no signature covers it: keys, digests, signatures and
/// encrypted keys of all kinds.
const ALLOWED: [u16; 13] = [0x01, 0x02, 0x10, 0x11, 0x12, 0x20, 0x22, 0x23, 0x24, 0x30, 0x31, 0x32, 0x33];

/// The 32 bytes that an image begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header([u8; 32]);

impl Header {
    pub(super) const SIZE: usize = 32;

    pub(super) fn new(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    pub(super) fn has_magic(&self) -> bool {
        self.0[..4] == MAGIC
    }

    pub(super) fn is_erased(&self, erased: u8) -> bool {
        self.0[..4] == [erased; 4]
    }

    pub(super) fn is_non_bootable(&self) -> bool {
        self.u32(16) & NON_BOOTABLE != 0
    }

    /// The address in the header, where the image may run from nowhere else.
    pub(super) fn fixed_address(&self) -> Option<u32> {
        (self.u32(16) & ROM_FIXED != 0).then(|| self.u32(4))
    }

    /// The size of the payload: `ih_img_size`.
    pub(super) fn payload_size(&self) -> u32 {
        self.u32(12)
    }

    /// The end of the payload, from the beginning of the image: `BOOT_TLV_OFF`.
    fn payload_end(&self) -> u32 {
        u32::from(self.u16(8)).wrapping_add(self.payload_size())
    }

    pub(super) fn protected_size(&self) -> u32 {
        self.u16(10).into()
    }

    /// The size of header, payload and protected TLVs.
    pub(super) fn covered(&self) -> u32 {
        self.payload_end().wrapping_add(self.protected_size())
    }

    pub(super) fn version(&self) -> Version {
        Version { major: self.0[20], minor: self.0[21], revision: self.u16(22), build: self.u32(24) }
    }

    /// `boot_compare_version`, without the build number.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        let order = |header: &Self| (header.0[20], header.0[21], header.u16(22));
        order(self) > order(other)
    }

    /// `boot_check_header_valid`.
    pub(super) fn is_valid(&self, slot: u32, release: Release) -> bool {
        let mut size = self.payload_size().checked_add(self.u16(8).into());
        if release >= Release::V2_2_0 {
            size = size.and_then(|size| size.checked_add(self.protected_size()));
        }
        let refused = if release >= Release::V2_2_0 { ENCRYPTED | COMPRESSED } else { 0 };
        self.has_magic() && size.is_some_and(|size| size < slot) && self.u32(16) & refused == 0
    }

    /// Reads both areas of TLVs: where the unprotected one begins, and its size; `None` when they are malformed. `start` is
    /// where the image begins, and `read` reads at an offset in the slot.
    pub(super) fn tlvs<E>(
        &self,
        start: u32,
        read: impl Fn(u32) -> Result<[u8; 4], E>,
    ) -> Result<Option<(u32, u32)>, E> {
        let info = |offset: u32| {
            let bytes = read(offset)?;
            Ok((u16::from_le_bytes([bytes[0], bytes[1]]), u32::from(u16::from_le_bytes([bytes[2], bytes[3]]))))
        };
        let mut offset = self.payload_end().wrapping_add(start);
        let (mut magic, mut size) = info(offset)?;
        if magic == PROTECTED {
            if size != self.protected_size() {
                return Ok(None);
            }
            offset = offset.wrapping_add(size);
            (magic, size) = info(offset)?;
        } else if self.protected_size() != 0 {
            return Ok(None);
        }
        Ok((magic == UNPROTECTED).then_some((offset, size)))
    }

    /// `bootutil_img_validate`, of the image that begins at `start` and may be `limit` bytes long.
    pub(super) fn validate(
        &self,
        area: &Area,
        start: u32,
        limit: u32,
        settings: &Settings,
    ) -> Result<(), &'static str> {
        let covered = self.covered();
        let digest = digest(area, start, covered).ok_or("larger than the slot")?;
        let (unprotected, size) = self.tlvs(start, |at| area.bytes(at)).ok().flatten().ok_or("no TLVs")?;
        let end = unprotected.wrapping_add(size);
        if end.wrapping_sub(start) > limit {
            return Err("reaches into the trailer");
        }
        let allow_list = settings.tlv_allow_list || settings.release.has_allow_list();
        let signature_tlv = settings.key.as_ref().map(|key| match key {
            PublicKey::Ed25519(_) => ED25519,
            PublicKey::P256(_) => ECDSA,
        });
        let mut at = self.payload_end().wrapping_add(start).wrapping_add(4);
        let mut intact = false;
        let mut known = false;
        let mut signed = false;
        while at < end {
            if self.protected_size() > 0 && at == unprotected {
                at += 4;
            }
            let tlv: [u8; 4] = area.bytes(at).map_err(|_| "TLVs cut off")?;
            let kind = u16::from_le_bytes([tlv[0], tlv[1]]);
            let length = u32::from(u16::from_le_bytes([tlv[2], tlv[3]]));
            let value_at = at + 4;
            at = value_at + length;
            // Earlier releases read a last TLV that reaches over the end.
            if settings.release >= Release::V2_4_0 && at > end {
                return Err("TLVs cut off");
            }
            if allow_list && value_at >= unprotected && !ALLOWED.contains(&kind) {
                return Err("a TLV that is not allowed where no signature covers it");
            }
            let value = |longest: usize| {
                let mut bytes = vec![0; length as usize];
                if bytes.len() > longest {
                    return Err("a TLV that is too long");
                }
                area.read(value_at, &mut bytes).map_err(|_| "TLVs cut off")?;
                Ok(bytes)
            };
            match (kind, &settings.key) {
                (SHA256, _) => {
                    if value(32)? != digest {
                        return Err("the digest does not match");
                    }
                    intact = true;
                }
                // As many bytes of it as are there.
                (KEY_HASH, Some(key)) => known = key.hash().starts_with(&value(32)?),
                (_, Some(key)) if Some(kind) == signature_tlv && known => {
                    known = false;
                    let signature = value(128)?;
                    if kind == ED25519 && signature.len() != 64 {
                        return Err("a signature of another length");
                    }
                    signed = verifies(key, &digest, &signature);
                }
                _ => {}
            }
        }
        match (intact, signed || settings.key.is_none()) {
            (true, true) => Ok(()),
            (false, _) => Err("no digest"),
            (true, false) => Err("not signed by the key"),
        }
    }
}

/// `bootutil_img_hash`.
fn digest(area: &Area, start: u32, size: u32) -> Option<[u8; 32]> {
    if start.checked_add(size)? > area.size() {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    area.read(start, &mut bytes).ok()?;
    Some(Sha256::digest(bytes).into())
}

fn verifies(key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
    match key {
        PublicKey::Ed25519(_) => key.verifies(digest, signature),
        PublicKey::P256(point) => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok();
            let scalars = ecdsa_scalars(signature);
            let signature = scalars.and_then(|(r, s)| p256::ecdsa::Signature::from_scalars(r, s).ok());
            key.zip(signature).is_some_and(|(key, signature)| key.verify_prehash(digest, &signature).is_ok())
        }
    }
}

/// Reads an ECDSA signature as `bootutil/crypto/ecdsa.h` does: DER, but with lengths in any form, the last 32 bytes of each
/// number whatever its sign, and whatever there is behind them.
fn ecdsa_scalars(der: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    // MCUboot checks the length of the sequence and then reads on to the end of the signature.
    let (_, inside) = der_head(der, 0x30)?;
    let (length, r) = der_head(inside, 0x02)?;
    let (r, rest) = r.split_at(length);
    let (length, s) = der_head(rest, 0x02)?;
    let s = &s[..length];
    let number = |bytes: &[u8]| {
        let mut number = [0; 32];
        let last = &bytes[bytes.len().saturating_sub(32)..];
        number[32 - last.len()..].copy_from_slice(last);
        number
    };
    Some((number(r), number(s)))
}

/// Reads tag and length: the length, and all that is behind them, which is as long at least.
fn der_head(bytes: &[u8], tag: u8) -> Option<(usize, &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if *first & 0x80 != 0 {
        let count = usize::from(first & 0x7F);
        if !(1..=4).contains(&count) {
            return None;
        }
        let digits = rest.get(..count)?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = &rest[count..];
    }
    (*found == tag && length <= rest.len()).then_some((length, rest))
}

/// Returns the version of the image that `bytes` begin with, if it may run: whole, and signed by the key where there is
/// one. Neither the size of a slot nor flags matter.
///
/// # Errors
/// A few words on what is wrong with the image.
pub fn check_image(bytes: &[u8], key: Option<&PublicKey>) -> Result<Version, &'static str> {
    let header = bytes.first_chunk().copied().map(Header).filter(Header::has_magic).ok_or("no image magic")?;
    let flash = crate::flash::SimFlash::in_memory(
        bytes.len() as u32,
        crate::flash::FlashGeometry { write_size: 1, erase_size: bytes.len() as u32, erased: 0xFF },
    );
    flash.load(0, bytes).map_err(|_| "cannot be read")?;
    let settings = Settings { key: key.cloned(), ..Settings::default() };
    header.validate(&Area::new(&flash.region(0..bytes.len() as u32), false), 0, u32::MAX, &settings)?;
    Ok(header.version())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_as_leniently_as_mcuboot_reads_them() {
        let expected = Some(([1; 32], [2; 32]));
        let number = |head: &[u8], byte: u8| [&[2], head, &[byte; 32]].concat();
        let sequence = |head: &[u8], inside: &[u8]| [&[0x30], head, inside].concat();
        let strict = [number(&[32], 1), number(&[32], 2)].concat();
        assert_eq!(ecdsa_scalars(&sequence(&[68], &strict)), expected);
        assert_eq!(ecdsa_scalars(&sequence(&[0x81, 68], &strict)), expected, "a long form");
        let behind = [&strict[..], &[9, 9]].concat();
        assert_eq!(ecdsa_scalars(&sequence(&[68], &behind)), expected, "something behind");
        let padded = [number(&[35, 0, 0, 0], 1), number(&[33, 7], 2)].concat();
        assert_eq!(ecdsa_scalars(&sequence(&[72], &padded)), expected, "longer than 32 bytes");
        let short = [vec![2, 1, 5], number(&[32], 2)].concat();
        let mut five = [0; 32];
        five[31] = 5;
        assert_eq!(ecdsa_scalars(&sequence(&[37], &short)), Some((five, [2; 32])));
        assert_eq!(ecdsa_scalars(&sequence(&[69], &strict)), None, "shorter than it says");
        assert_eq!(ecdsa_scalars(&strict), None);
    }
}
