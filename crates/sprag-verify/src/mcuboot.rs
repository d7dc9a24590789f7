//! MCUboot images: header, payload, and the TLVs that vouch for them.
//!
//! Formats: MCUboot, `docs/design.md` ("Image format") and `boot/bootutil/include/bootutil/image.h`.

use embedded_storage_async::nor_flash::ReadNorFlash;
use sha2::Digest as _;

use crate::error::Error;
use crate::format::Image;
use crate::hash::Hash;
use crate::key::{Algorithm, Key, ed25519_hash, has_signed_digest};
use crate::policy::{Claims, Policy};
use crate::promised::{File, Promised};
use crate::reader::Reader;
use crate::signature::{DER_MAX, from_der};
use crate::version::Version;

const MAGIC: u32 = 0x96f3_b83d;
const HEADER: u32 = 32;
/// AES-encrypted, not bootable, LZMA-compressed: what lies in the slot is not what would run.
const FLAGS_REFUSED: u32 = 0x4 | 0x8 | 0x10 | 0x200 | 0x400;
/// The load address means something: the image is copied there (`RAM_LOAD`), or lies there (`ROM_FIXED`).
const FLAGS_ADDRESS: u32 = 0x20 | 0x100;

const INFO: u32 = 4;
const INFO_MAGIC: u16 = 0x6907;
const PROTECTED_INFO_MAGIC: u16 = 0x6908;

const TLV_KEYHASH: u16 = 0x01;
const TLV_SHA256: u16 = 0x10;
const TLV_SHA384: u16 = 0x11;
const TLV_SHA512: u16 = 0x12;
const TLV_ECDSA: u16 = 0x22;
const TLV_ED25519: u16 = 0x24;
const TLV_SIG_PURE: u16 = 0x25;
const TLV_DEPENDENCY: u16 = 0x40;
const TLV_SEC_CNT: u16 = 0x50;
const TLV_UUID_CID: u16 = 0x75;

/// The protected TLV that names the board an image is for, in UTF-8: one of those that MCUboot reserves for vendors.
/// `imgtool sign --custom-tlv 0x53a0 NAME` writes it, and so does `sprag image sign --board NAME`.
pub const TLV_BOARD: u16 = 0x53a0;

/// The fields of an image header, checked against each other and against the slot.
#[derive(Debug, Clone, Copy)]
struct Header {
    version: Version,
    /// Where the program begins, in bytes.
    size: u32,
    protected: u32,
    /// Header and payload, in bytes: where the TLVs start.
    body: u32,
    /// What the digest covers: the protected TLVs too.
    covered: u32,
    address: Option<u32>,
}

/// What the unprotected TLVs say before the image is read.
struct Vouchers {
    /// How the image is digested, and keys are named.
    hash: Hash,
    /// Where the digest is: there need not be one beside a signature over the whole image.
    digest: Option<u32>,
    /// Signatures are over the whole image, not over its digest.
    pure: bool,
    /// There is a signature of a supported kind.
    signed: bool,
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

/// Verifies the image in a slot, as it lies in flash: structure, length, digest, signature, and what the policy asks for.
///
/// `promised` is what was downloaded: a size in bytes, which the image must have exactly, or more than that, see
/// [`Promised`]. `buf` is for reading: the larger, the fewer reads; 128 bytes are the least.
///
/// - The digest is SHA-256, SHA-384 or SHA-512.
/// - Each signature belongs to the key hash before it. That of a trusted key must fit, those of others are skipped. It is
///   over the digest, as `imgtool sign` makes it, or over the whole image (`imgtool sign --pure`); of those an image may
///   carry one.
/// - An image without any signature is vouched for by the job's, see [`Promised::signature`].
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
    if header.protected > 0 {
        let size = area(&mut reader, header.body, PROTECTED_INFO_MAGIC).await?;
        if size != header.protected {
            return Err(Error::Malformed { at: header.body });
        }
        check_tlvs(&mut reader, header.body, header.covered).await?;
    }
    let size = area(&mut reader, header.covered, INFO_MAGIC).await?;
    let end = header.covered.checked_add(size).ok_or(Error::Malformed { at: header.covered })?;
    if end != promised.size {
        return Err(Error::Length { image: end, promised: promised.size });
    }
    let vouchers = vouchers(&mut reader, header.covered, end).await?;
    let mut file = File::new(&promised, policy, vouchers.signed)?;
    let mut signatures = Signatures::new(&vouchers, policy, header.covered, end);
    let mut next = signatures.next(&mut reader).await?;
    if next.is_none() && vouchers.signed {
        return Err(signatures.refusal);
    }

    // What is hashed for a signature over the whole image begins with the signature.
    let mut pure = next.filter(|_| vouchers.pure).map(|(key, signature)| ed25519_hash(key, &signature));
    let mut hash = vouchers.hash.clone();
    let mut read = |bytes: &[u8]| {
        hash.update(bytes);
        file.update(bytes);
        if let Some(pure) = &mut pure {
            pure.update(bytes);
        }
    };
    reader.feed(0, header.covered, &mut read).await?;
    reader.feed(header.covered, end, &mut |bytes| file.update(bytes)).await?;

    let digest = hash.finalize();
    if let Some(at) = vouchers.digest
        && !reader.holds(at, digest.as_bytes()).await?
    {
        return Err(Error::Digest);
    }
    while let Some((key, signature)) = next {
        let signed = match pure.take() {
            Some(hash) => key.has_signed(&hash.finalize(), &signature),
            // A second one over the whole image would take a second pass.
            None => !vouchers.pure && has_signed_digest(key, digest.as_bytes(), &signature),
        };
        if !signed {
            return Err(Error::Signature);
        }
        next = signatures.next(&mut reader).await?;
    }
    file.judge(&mut reader).await?;
    policy.check_size(end, reader.capacity())?;
    let counter = check_claims(&mut reader, &header, policy).await?;
    Ok(Image { version: header.version, size: end, counter })
}

async fn header<F: ReadNorFlash>(reader: &mut Reader<'_, F>) -> Result<Header, Error> {
    if reader.capacity() < HEADER {
        return Err(Error::NotAnImage);
    }
    // Magic, load address, header size, protected TLVs' size, payload size, flags, version, padding: image.h.
    let [m0, m1, m2, m3, a0, a1, a2, a3, h0, h1, p0, p1, s0, s1, s2, s3, f0, f1, f2, f3, version @ .., _, _, _, _] =
        reader.exactly::<32>(0).await?;
    if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC {
        return Err(Error::NotAnImage);
    }
    let flags = u32::from_le_bytes([f0, f1, f2, f3]);
    if flags & FLAGS_REFUSED != 0 {
        return Err(Error::Flags { flags });
    }
    let size = u32::from(u16::from_le_bytes([h0, h1]));
    let protected = u32::from(u16::from_le_bytes([p0, p1]));
    let payload = u32::from_le_bytes([s0, s1, s2, s3]);
    let body = size.checked_add(payload).filter(|_| size >= HEADER).ok_or(Error::Malformed { at: 8 })?;
    let covered = body.checked_add(protected).filter(|covered| *covered < reader.capacity());
    let covered = covered.ok_or(Error::Malformed { at: 12 })?;
    let address = (flags & FLAGS_ADDRESS != 0).then_some(u32::from_le_bytes([a0, a1, a2, a3]));
    Ok(Header { version: Version::from_bytes(version), size, protected, body, covered, address })
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

/// A TLV: its type, where its value is, and where the next one is, which is always behind it.
#[derive(Clone, Copy)]
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

/// Walks the protected TLVs, so that they fit into their area and those that are known have their length.
async fn check_tlvs<F: ReadNorFlash>(reader: &mut Reader<'_, F>, area: u32, end: u32) -> Result<(), Error> {
    let mut at = area.saturating_add(INFO);
    while at < end {
        let tlv = tlv(reader, at, end).await?;
        match (tlv.kind, tlv.length) {
            (TLV_SEC_CNT, 4) | (TLV_DEPENDENCY, 12) | (TLV_UUID_CID, 16) => {}
            (TLV_SEC_CNT | TLV_DEPENDENCY | TLV_UUID_CID, _) => return Err(Error::Malformed { at }),
            _ => {}
        }
        at = tlv.next;
    }
    Ok(())
}

/// Walks the TLVs that vouch for the image, to know what it has to be read for.
async fn vouchers<F: ReadNorFlash>(reader: &mut Reader<'_, F>, area: u32, end: u32) -> Result<Vouchers, Error> {
    let (mut digest, mut pure, mut eddsa, mut ecdsa) = (None, false, false, false);
    let mut at = area.saturating_add(INFO);
    while at < end {
        let tlv = tlv(reader, at, end).await?;
        let malformed = Error::Malformed { at };
        match (tlv.kind, tlv.length) {
            // One digest, of one kind: no bootloader knows two.
            (TLV_SHA256 | TLV_SHA384 | TLV_SHA512, _) if digest.is_some() => return Err(malformed),
            (TLV_SHA256, 32) => digest = Some((Hash::sha256(), tlv.value)),
            (TLV_SHA384, 48) => digest = Some((Hash::sha384(), tlv.value)),
            (TLV_SHA512, 64) => digest = Some((Hash::sha512(), tlv.value)),
            (TLV_SIG_PURE, 1) if reader.holds(tlv.value, &[1]).await? => pure = true,
            (TLV_ED25519, 64) => eddsa = true,
            (TLV_ECDSA, 1..) => ecdsa = true,
            (TLV_SHA256 | TLV_SHA384 | TLV_SHA512 | TLV_SIG_PURE | TLV_ED25519 | TLV_ECDSA, _) => {
                return Err(malformed);
            }
            _ => {}
        }
        at = tlv.next;
    }
    let (hash, digest) = match digest {
        Some((hash, at)) => (hash, Some(at)),
        None if pure => (Hash::sha512(), None),
        None => return Err(Error::NoDigest),
    };
    Ok(Vouchers { hash, digest, pure, signed: eddsa || (ecdsa && !pure) })
}

/// The signatures by trusted keys, one after the other.
struct Signatures<'v, 'k> {
    vouchers: &'v Vouchers,
    policy: &'v Policy<'k>,
    at: u32,
    end: u32,
    /// Why others were skipped.
    refusal: Error,
}

impl<'v, 'k> Signatures<'v, 'k> {
    fn new(vouchers: &'v Vouchers, policy: &'v Policy<'k>, area: u32, end: u32) -> Self {
        Self { vouchers, policy, at: area.saturating_add(INFO), end, refusal: Error::UnknownKey }
    }

    /// Each belongs to the key hash before it, and each key hash to one signature (MCUboot, `bootutil_img_validate`).
    async fn next<F: ReadNorFlash>(
        &mut self,
        reader: &mut Reader<'_, F>,
    ) -> Result<Option<(&'k dyn Key, [u8; 64])>, Error> {
        let mut key = Err(Error::UnknownKey);
        while self.at < self.end {
            let tlv = tlv(reader, self.at, self.end).await?;
            self.at = tlv.next;
            let algorithm = match tlv.kind {
                TLV_KEYHASH => {
                    let mut name = [0; 64];
                    let name = usize::try_from(tlv.length).ok().and_then(|length| name.get_mut(..length));
                    let name = name.ok_or(Error::Malformed { at: tlv.value })?;
                    reader.fill(tlv.value, name).await?;
                    key = self.policy.key_named(name, &self.vouchers.hash);
                    continue;
                }
                TLV_ED25519 => Algorithm::Ed25519,
                TLV_ECDSA if !self.vouchers.pure => Algorithm::EcdsaP256,
                _ => continue,
            };
            match core::mem::replace(&mut key, Err(Error::UnknownKey)) {
                Ok(key) if key.algorithm() == algorithm => return Ok(Some((key, signature(reader, &tlv).await?))),
                Err(Error::RevokedKey) => self.refusal = Error::RevokedKey,
                _ => {}
            }
        }
        Ok(None)
    }
}

/// 64 bytes, whatever the encoding.
async fn signature<F: ReadNorFlash>(reader: &mut Reader<'_, F>, tlv: &Tlv) -> Result<[u8; 64], Error> {
    if tlv.kind == TLV_ED25519 {
        return reader.exactly(tlv.value).await;
    }
    let mut der = [0; DER_MAX];
    let der = usize::try_from(tlv.length).ok().and_then(|length| der.get_mut(..length));
    let der = der.ok_or(Error::SignatureEncoding)?;
    reader.fill(tlv.value, der).await?;
    from_der(der).ok_or(Error::SignatureEncoding)
}

/// Holds what the header and the protected TLVs say against the policy; the security counter, if there is one.
async fn check_claims<F: ReadNorFlash>(
    reader: &mut Reader<'_, F>,
    header: &Header,
    policy: &Policy<'_>,
) -> Result<Option<u32>, Error> {
    let mut claims = Claims { version: header.version, counter: None, address: header.address };
    let (mut board, mut class, mut dependencies) = (None, None, Ok(()));
    let mut at = header.body.saturating_add(INFO);
    while at < header.covered {
        let tlv = tlv(reader, at, header.covered).await?;
        match tlv.kind {
            TLV_SEC_CNT => claims.counter = Some(u32::from_le_bytes(reader.exactly(tlv.value).await?)),
            TLV_DEPENDENCY => {
                let [image, _, _, _, needs @ ..] = reader.exactly::<12>(tlv.value).await?;
                dependencies = dependencies.and(policy.check_dependency(image, Version::from_bytes(needs)));
            }
            TLV_UUID_CID => class = Some(reader.exactly::<16>(tlv.value).await?),
            TLV_BOARD => board = Some(tlv),
            _ => {}
        }
        at = tlv.next;
    }
    policy.check(&claims)?;
    policy.check_no_chip()?;
    policy.check_vector(reader, header.size).await?;
    match (policy.board, board) {
        (Some(_), None) => return Err(Error::NoBoard),
        (Some(name), Some(tlv)) => {
            let same = u32::try_from(name.len()) == Ok(tlv.length) && reader.holds(tlv.value, name.as_bytes()).await?;
            if !same {
                return Err(Error::Board);
            }
        }
        (None, _) => {}
    }
    match (policy.class, class) {
        (Some(_), None) => Err(Error::NoClass),
        (expected @ Some(_), found) if expected != found => Err(Error::Class),
        _ => dependencies.map(|()| claims.counter),
    }
}
