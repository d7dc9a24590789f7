//! ESP-IDF application images: header, segments, checksum, digest, and the signature blocks of secure boot v2.
//!
//! Formats: ESP-IDF, `esp_app_format.h`, `esp_app_desc.h`, `esp_secure_boot.h`, and "Secure Boot v2" of the programming
//! guide, "Signature Block Format".

use embedded_storage_async::nor_flash::ReadNorFlash;
use sprag_core::crc::CRC_32;

use crate::error::Error;
use crate::format::Image;
use crate::hash::{Hash, HashKind};
use crate::key::{Algorithm, has_signed_digest};
use crate::policy::{Claims, Policy};
use crate::promised::{File, Promised};
use crate::reader::Reader;
use crate::version::Version;

/// The numbers that ESP-IDF knows chips by, `esp_chip_id_t`.
pub mod chip {
    /// ESP32.
    pub const ESP32: u16 = 0;
    /// ESP32-S2.
    pub const ESP32S2: u16 = 2;
    /// ESP32-C3.
    pub const ESP32C3: u16 = 5;
    /// ESP32-S3.
    pub const ESP32S3: u16 = 9;
    /// ESP32-C2.
    pub const ESP32C2: u16 = 12;
    /// ESP32-C6.
    pub const ESP32C6: u16 = 13;
    /// ESP32-H2.
    pub const ESP32H2: u16 = 16;
    /// ESP32-P4.
    pub const ESP32P4: u16 = 18;
    /// ESP32-C61.
    pub const ESP32C61: u16 = 20;
    /// ESP32-C5.
    pub const ESP32C5: u16 = 23;
}

pub(crate) const MAGIC: u8 = 0xE9;
const HEADER: u32 = 24;
const SEGMENTS_MAX: u8 = 16;
const SEGMENT_HEADER: u32 = 8;
const SEGMENT_LIMIT: u32 = 1 << 24;
const CHECKSUM_SEED: u8 = 0xEF;
const DIGEST: u32 = 32;

/// The application's description lies at the start of the first segment.
pub(crate) const DESCRIPTION: u32 = HEADER + SEGMENT_HEADER;
const DESCRIPTION_SIZE: u32 = 256;
pub(crate) const DESCRIPTION_MAGIC: u32 = 0xABCD_5432;

/// The signature sector, and the blocks in it.
const SECTOR: u32 = 4096;
const BLOCKS: [u32; 3] = [0, 1216, 2432];
const BLOCK_MAGIC: u8 = 0xE7;
const BLOCK_ECDSA: u8 = 3;
const BLOCK_SHA256: u8 = 0;
const BLOCK_P256: u8 = 2;
/// What is used of a block with ECDSA, and where its checksum is.
const BLOCK: usize = 165;
const BLOCK_CRC: u32 = 1196;

/// The fields of an image header, and where things are, checked against the slot.
struct Header {
    chip: u16,
    revisions: [u16; 2],
    /// What the XOR over the segments' data starts from, so that it may run over the headers between them as well.
    checksum: u8,
    /// Behind the last segment.
    segments: u32,
    /// Behind the checksum, where the digest lies.
    digest: u32,
    /// Behind the digest.
    end: u32,
}

/// What the application says of itself.
struct Description {
    version: Option<Version>,
    secure_version: u32,
    project: [u8; 32],
}

/// Reads the version of the image in a slot without checking anything but its description: what a device that has booted
/// it may trust, because the bootloader checked the rest.
///
/// # Errors
/// [`Error::NotAnImage`], [`Error::Malformed`], [`Error::NoVersion`], [`Error::Flash`], [`Error::Buffer`].
///
/// # Cancellation safety
/// Reads only.
pub async fn version<F: ReadNorFlash>(slot: &mut F, buf: &mut [u8]) -> Result<Version, Error> {
    let mut reader = Reader::new(slot, buf)?;
    header(&mut reader).await?;
    description(&mut reader).await?.version.ok_or(Error::NoVersion)
}

/// Verifies the image in a slot, as it lies in flash: structure, length, checksum, digest, signature, and what the policy
/// asks for.
///
/// `promised` is what was downloaded: a size in bytes, which the image must have exactly, or more than that, see
/// [`Promised`]. `buf` is for reading: the larger, the fewer reads; 128 bytes are the least, and 165 for an image with a
/// signature sector.
///
/// - With a signature sector behind it, as `espsecure sign-data --version 2` appends it, each block of a trusted key must
///   fit and there must be one; ECDSA with P-256 is supported. Blocks of other keys and kinds are skipped.
/// - Without one, the job's signature vouches for the image, see [`Promised::signature`].
/// - The version is `esp_app_desc_t`'s, where it is one that can be compared: see [`Version`], [`Error::NoVersion`].
///
/// # Errors
/// See [`Error`]: each refusal is its own, with a stable [`Error::reason`].
///
/// # Cancellation safety
/// Reads only.
pub async fn verify<'p, F: ReadNorFlash>(
    slot: &mut F,
    promised: impl Into<Promised<'p>>,
    policy: &Policy<'_>,
    buf: &mut [u8],
) -> Result<Image, Error> {
    let promised = promised.into();
    let mut reader = Reader::new(slot, buf)?;
    let header = header(&mut reader).await?;
    let description = description(&mut reader).await?;
    let sector = header.end.checked_next_multiple_of(SECTOR).ok_or(Error::Malformed { at: header.end })?;
    let signed = sector.checked_add(SECTOR).is_some_and(|end| end == promised.size && end <= reader.capacity());
    if !signed && promised.size != header.end {
        return Err(Error::Length { image: header.end, promised: promised.size });
    }

    let mut file = File::new(&promised, policy, signed)?;
    let (mut hash, mut checksum) = (Hash::new(HashKind::Sha256), header.checksum);
    let mut read = |bytes: &[u8]| {
        hash.update(bytes);
        file.update(bytes);
    };
    let mut read_segments = |bytes: &[u8]| {
        read(bytes);
        checksum = xor(checksum, bytes);
    };
    reader.feed(0, header.segments, &mut read_segments).await?;
    reader.feed(header.segments, header.digest, &mut read).await?;
    if !reader.holds(header.digest.saturating_sub(1), &[checksum]).await? {
        return Err(Error::Checksum);
    }
    if !reader.holds(header.digest, hash.clone().finalize().as_bytes()).await? {
        return Err(Error::Digest);
    }
    let covered = if signed { sector } else { header.end };
    let mut read = |bytes: &[u8]| {
        hash.update(bytes);
        file.update(bytes);
    };
    reader.feed(header.digest, covered, &mut read).await?;
    reader.feed(covered, promised.size, &mut |bytes| file.update(bytes)).await?;

    if signed {
        judge(&mut reader, sector, hash.finalize().as_bytes(), policy).await?;
    }
    file.judge(&mut reader).await?;
    policy.check_size(promised.size, reader.capacity())?;
    let version = description.version.ok_or(Error::NoVersion)?;
    let counter = Some(description.secure_version);
    policy.check_chip(header.chip, header.revisions)?;
    policy.check_no_vector()?;
    let right_board = Some(policy.is_board(text(&description.project)));
    policy.check(&Claims { counter, right_board, ..Claims::new(version) })?;
    Ok(Image { version, size: promised.size, counter })
}

async fn header<F: ReadNorFlash>(reader: &mut Reader<'_, F>) -> Result<Header, Error> {
    if reader.capacity() < HEADER {
        return Err(Error::NotAnImage);
    }
    // Magic, segments, SPI mode, speed and size, entry, WP pin, drive strengths, chip, lowest revision in its old form,
    // lowest and highest revision, reserved, whether there is a digest: esp_app_format.h.
    let bytes = reader.exactly::<24>(0).await?;
    let [magic, segments, _, _, _, _, _, _, _, _, _, _, c0, c1, _, l0, l1, h0, h1, _, _, _, _, digested] = bytes;
    if magic != MAGIC {
        return Err(Error::NotAnImage);
    }
    if segments == 0 || segments > SEGMENTS_MAX {
        return Err(Error::Malformed { at: 1 });
    }
    match digested {
        1 => {}
        0 => return Err(Error::NoDigest),
        _ => return Err(Error::Malformed { at: 23 }),
    }
    let mut checksum = xor(CHECKSUM_SEED, &bytes);
    let mut at = HEADER;
    for _ in 0..segments {
        let malformed = Error::Malformed { at };
        let data = at.checked_add(SEGMENT_HEADER).filter(|data| *data <= reader.capacity()).ok_or(malformed)?;
        let bytes = reader.exactly::<8>(at).await?;
        let [_, _, _, _, length @ ..] = bytes;
        let length = u32::from_le_bytes(length);
        let next = data.checked_add(length).filter(|next| *next <= reader.capacity()).ok_or(malformed)?;
        // The first one begins with the application's description.
        if length % 4 != 0 || length >= SEGMENT_LIMIT || (at == HEADER && length < DESCRIPTION_SIZE) {
            return Err(malformed);
        }
        checksum = xor(checksum, &bytes);
        at = next;
    }
    // Zeros up to the last byte of a line of 16, which is the checksum.
    let digest = at.checked_add(1).and_then(|end| end.checked_next_multiple_of(16));
    let end = digest.and_then(|digest| digest.checked_add(DIGEST)).filter(|end| *end <= reader.capacity());
    let (Some(digest), Some(end)) = (digest, end) else { return Err(Error::Malformed { at }) };
    let [chip, least, most] = [[c0, c1], [l0, l1], [h0, h1]].map(u16::from_le_bytes);
    Ok(Header { chip, revisions: [least, most], checksum, segments: at, digest, end })
}

fn xor(seed: u8, bytes: &[u8]) -> u8 {
    bytes.iter().fold(seed, |sum, byte| sum ^ byte)
}

async fn description<F: ReadNorFlash>(reader: &mut Reader<'_, F>) -> Result<Description, Error> {
    // Magic, secure version, reserved, version, project name: esp_app_desc.h.
    let bytes = reader.exactly::<80>(DESCRIPTION).await?;
    let [m0, m1, m2, m3, s0, s1, s2, s3, _, _, _, _, _, _, _, _, texts @ ..] = bytes;
    if u32::from_le_bytes([m0, m1, m2, m3]) != DESCRIPTION_MAGIC {
        return Err(Error::Malformed { at: DESCRIPTION });
    }
    let (version, project) = texts.split_at(32);
    let version = core::str::from_utf8(text(version)).ok().and_then(|version| version.parse().ok());
    let project = *project.first_chunk().ok_or(Error::Malformed { at: DESCRIPTION })?;
    Ok(Description { version, secure_version: u32::from_le_bytes([s0, s1, s2, s3]), project })
}

/// What comes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Holds the blocks of a signature sector against the digest of everything before it.
async fn judge<F: ReadNorFlash>(
    reader: &mut Reader<'_, F>,
    sector: u32,
    digest: &[u8],
    policy: &Policy<'_>,
) -> Result<(), Error> {
    let mut verdict = Err(Error::Unsigned);
    for offset in BLOCKS {
        let at = sector.saturating_add(offset);
        // Magic, version, hash, padding, digest, curve, point, r and s.
        let [magic, version, sha, _, rest @ ..] = reader.exactly::<BLOCK>(at).await?;
        let (signed, rest) = rest.split_at(32);
        let Some(([curve], rest)) = rest.split_first_chunk() else { continue };
        let Some((point, signature)) = rest.split_first_chunk() else { continue };
        let known = [magic, version, sha, *curve] == [BLOCK_MAGIC, BLOCK_ECDSA, BLOCK_SHA256, BLOCK_P256];
        if !known || !sound(reader, at).await? {
            continue;
        }
        if signed != digest {
            return Err(Error::Digest);
        }
        let mut key = [4; 65];
        key[1..].copy_from_slice(&big_endian(*point));
        match policy.key_of(Algorithm::EcdsaP256, &key) {
            Ok(key) => {
                let signature = signature.try_into().map(big_endian).map_err(|_| Error::SignatureEncoding)?;
                if !has_signed_digest(key, digest, &signature) {
                    return Err(Error::Signature);
                }
                verdict = Ok(());
            }
            Err(refusal) => {
                verdict = verdict.map_err(|before| if before == Error::RevokedKey { before } else { refusal })
            }
        }
    }
    verdict
}

/// Whether the checksum of a block is right: an unused one is erased flash.
async fn sound<F: ReadNorFlash>(reader: &mut Reader<'_, F>, at: u32) -> Result<bool, Error> {
    let mut crc = CRC_32.digest();
    let end = at.saturating_add(BLOCK_CRC);
    reader.feed(at, end, &mut |bytes| crc.update(bytes)).await?;
    reader.holds(end, &crc.finalize().to_le_bytes()).await
}

/// Two numbers of 32 bytes, each turned round: blocks have them least significant byte first.
fn big_endian(mut numbers: [u8; 64]) -> [u8; 64] {
    let (first, second) = numbers.split_at_mut(32);
    first.reverse();
    second.reverse();
    numbers
}
