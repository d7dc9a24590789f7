//! MCUboot images: header, payload, and the TLVs that vouch for them.
//!
//! Formats: MCUboot, `docs/design.md` ("Image format") and `boot/bootutil/include/bootutil/image.h`.

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::digest;
use crate::error::Error;
use crate::key::PublicKey;
use crate::policy::Policy;
use crate::reader::Reader;
use crate::version::Version;

const MAGIC: u32 = 0x96f3_b83d;
const HEADER: u32 = 32;
/// AES-encrypted, not bootable, LZMA-compressed: what lies in the slot is not what would run.
const FLAGS_REFUSED: u32 = 0x4 | 0x8 | 0x10 | 0x200 | 0x400;

const INFO: u32 = 4;
const INFO_MAGIC: u16 = 0x6907;
const PROTECTED_INFO_MAGIC: u16 = 0x6908;

const TLV_KEYHASH: u16 = 0x01;
const TLV_SHA256: u16 = 0x10;
const TLV_ED25519: u16 = 0x24;

/// What is known of an image that may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Image {
    /// The version in its header.
    pub version: Version,
    /// Its size with header and TLVs, in bytes.
    pub size: u32,
    /// SHA-256 over header, payload and protected TLVs, as computed from the flash.
    pub digest: [u8; 32],
}

/// The fields of an image header, checked against each other and against the slot.
#[derive(Debug, Clone, Copy)]
struct Header {
    version: Version,
    protected: u32,
    /// Header and payload, in bytes: where the TLVs start.
    body: u32,
    /// What the digest covers: the protected TLVs too.
    covered: u32,
}

/// Reads the version of the image in a slot without checking anything but its header: what a device that has booted it
/// may trust, because the bootloader checked the rest.
///
/// # Errors
/// [`Error::NotAnImage`], [`Error::Malformed`], [`Error::Flags`], [`Error::Flash`], [`Error::Buffer`].
///
/// # Cancellation safety
/// Reads only.
pub async fn version<F: ReadNorFlash>(slot: &mut F, buf: &mut [u8]) -> Result<Version, Error> {
    let mut reader = Reader::new(slot, buf)?;
    Ok(header(&mut reader).await?.version)
}

/// Verifies the image in a slot, as it lies in flash: structure, length, digest, signature and version.
///
/// `promised` is the size in bytes that was downloaded; the image must be exactly that long. `buf` is for reading: the
/// larger, the fewer reads; 128 bytes are the least.
///
/// Signatures are over the 32-byte digest, as `imgtool sign` makes them for Ed25519 keys. Each signature TLV belongs to
/// the key hash before it; the signature of a trusted key must fit, those of others are skipped.
///
/// # Errors
/// See [`Error`]: each refusal is its own, with a stable [`Error::reason`].
///
/// # Cancellation safety
/// Reads only.
pub async fn verify<F: ReadNorFlash>(
    slot: &mut F,
    promised: u32,
    policy: &Policy<'_>,
    buf: &mut [u8],
) -> Result<Image, Error> {
    let mut reader = Reader::new(slot, buf)?;
    let header = header(&mut reader).await?;
    if header.protected > 0 {
        let size = area(&mut reader, header.body, PROTECTED_INFO_MAGIC).await?;
        if size != header.protected {
            return Err(Error::Malformed { at: header.body });
        }
        check_tlvs(&mut reader, header.body, header.covered).await?;
    }
    let size = area(&mut reader, header.covered, INFO_MAGIC).await?;
    let end = header.covered.checked_add(size).ok_or(Error::Malformed { at: header.covered })?;
    if end != promised {
        return Err(Error::Length { image: end, promised });
    }
    let digest = digest::of(&mut reader, header.covered).await?;
    judge(&mut reader, header.covered, end, &digest, policy).await?;
    policy.check_version(header.version)?;
    Ok(Image { version: header.version, size: end, digest })
}

async fn header<F: ReadNorFlash>(reader: &mut Reader<'_, F>) -> Result<Header, Error> {
    if reader.capacity() < HEADER {
        return Err(Error::NotAnImage);
    }
    // Magic, load address, header size, protected TLVs' size, payload size, flags, version, padding: image.h.
    let [m0, m1, m2, m3, _, _, _, _, h0, h1, p0, p1, s0, s1, s2, s3, f0, f1, f2, f3, version @ .., _, _, _, _] =
        reader.exactly::<32>(0).await?;
    if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC {
        return Err(Error::NotAnImage);
    }
    let flags = u32::from_le_bytes([f0, f1, f2, f3]);
    if flags & FLAGS_REFUSED != 0 {
        return Err(Error::Flags { flags });
    }
    let header_size = u32::from(u16::from_le_bytes([h0, h1]));
    let protected = u32::from(u16::from_le_bytes([p0, p1]));
    let payload = u32::from_le_bytes([s0, s1, s2, s3]);
    let body = header_size.checked_add(payload).filter(|_| header_size >= HEADER);
    let body = body.ok_or(Error::Malformed { at: 8 })?;
    let covered = body.checked_add(protected).filter(|covered| *covered < reader.capacity());
    let covered = covered.ok_or(Error::Malformed { at: 12 })?;
    Ok(Header { version: Version::from_bytes(version), protected, body, covered })
}

/// The size of a TLV area, its 4-byte head included.
async fn area<F: ReadNorFlash>(reader: &mut Reader<'_, F>, at: u32, magic: u16) -> Result<u32, Error> {
    let malformed = Error::Malformed { at };
    let end = at.checked_add(INFO).ok_or(malformed)?;
    if end > reader.capacity() {
        return Err(malformed);
    }
    let [m0, m1, s0, s1] = reader.exactly::<4>(at).await?;
    let size = u32::from(u16::from_le_bytes([s0, s1]));
    let fits = at.checked_add(size).is_some_and(|end| end <= reader.capacity());
    if u16::from_le_bytes([m0, m1]) == magic && size >= INFO && fits { Ok(size) } else { Err(malformed) }
}

/// A TLV: its type, where its value is, and where the next one is.
struct Tlv {
    kind: u16,
    length: u32,
    value: u32,
    next: u32,
}

async fn tlv<F: ReadNorFlash>(reader: &mut Reader<'_, F>, at: u32, end: u32) -> Result<Tlv, Error> {
    let malformed = Error::Malformed { at };
    let value = at.checked_add(4).filter(|value| *value <= end).ok_or(malformed)?;
    let [k0, k1, l0, l1] = reader.exactly::<4>(at).await?;
    let length = u32::from(u16::from_le_bytes([l0, l1]));
    let next = value.checked_add(length).filter(|next| *next <= end).ok_or(malformed)?;
    Ok(Tlv { kind: u16::from_le_bytes([k0, k1]), length, value, next })
}

/// Walks an area whose values don't matter here, so that they fit into it.
async fn check_tlvs<F: ReadNorFlash>(reader: &mut Reader<'_, F>, area: u32, end: u32) -> Result<(), Error> {
    let mut at = area.saturating_add(INFO);
    while at < end {
        at = tlv(reader, at, end).await?.next;
    }
    Ok(())
}

/// Walks the TLVs that vouch for the image: every digest must match, and a trusted key must have signed.
async fn judge<F: ReadNorFlash>(
    reader: &mut Reader<'_, F>,
    area: u32,
    end: u32,
    digest: &[u8; 32],
    policy: &Policy<'_>,
) -> Result<(), Error> {
    let (mut digested, mut seen, mut signed) = (false, false, false);
    let mut key: Option<&PublicKey> = None;
    let mut at = area.saturating_add(INFO);
    while at < end {
        let tlv = tlv(reader, at, end).await?;
        let wrong_length = Error::Malformed { at };
        match (tlv.kind, tlv.length) {
            (TLV_SHA256, 32) => {
                if reader.exactly::<32>(tlv.value).await? != *digest {
                    return Err(Error::Digest);
                }
                digested = true;
            }
            (TLV_KEYHASH, 32) => key = policy.key(&reader.exactly::<32>(tlv.value).await?),
            (TLV_ED25519, 64) => {
                seen = true;
                if let Some(key) = key.take() {
                    let signature = reader.exactly::<64>(tlv.value).await?;
                    if !key.has_signed(digest, &signature) {
                        return Err(Error::Signature);
                    }
                    signed = true;
                }
            }
            (TLV_SHA256 | TLV_KEYHASH | TLV_ED25519, _) => return Err(wrong_length),
            _ => {}
        }
        at = tlv.next;
    }
    match (digested, seen, signed) {
        (false, ..) => Err(Error::NoDigest),
        (true, false, _) => Err(Error::Unsigned),
        (true, true, false) => Err(Error::UnknownKey),
        (true, true, true) => Ok(()),
    }
}
