//! MCUboot images: header, payload, and the TLVs that vouch for them.
//!
//! Formats: MCUboot, `docs/design.md` ("Image format") and `boot/bootutil/include/bootutil/image.h`.

use embedded_storage_async::nor_flash::ReadNorFlash;
#[cfg(feature = "ed25519")]
use sha2::Digest as _;
use sprag_core::mcuboot::{HEADER_SIZE, ImageHeader, PROTECTED_TLV_INFO_MAGIC, TLV_INFO_MAGIC};

use crate::error::Error;
use crate::format::Image;
#[cfg(feature = "ed25519")]
use crate::hash::Digest;
use crate::hash::{Hash, HashKind};
#[cfg(feature = "ed25519")]
use crate::key::ed25519_hash;
use crate::key::{Algorithm, Key, has_signed_digest};
use crate::policy::{Claims, Policy};
use crate::promised::{File, Promised};
use crate::reader::Reader;
use crate::signature::from_der;
use crate::version::Version;

const HEADER: u32 = 32;
/// AES-encrypted, not bootable, compressed (LZMA1, LZMA2, the filter for Arm Thumb code): what lies in the slot is not
/// what would run.
const FLAGS_REFUSED: u32 = 0x4 | 0x8 | 0x10 | 0x200 | 0x400 | 0x800;
/// The load address means something: the image is copied there (`RAM_LOAD`), or lies there (`ROM_FIXED`).
const FLAGS_ADDRESS: u32 = 0x20 | 0x100;

const INFO: u32 = 4;

const TLV_KEYHASH: u16 = 0x01;
const TLV_PUBKEY: u16 = 0x02;
const TLV_SHA256: u16 = 0x10;
const TLV_SHA384: u16 = 0x11;
const TLV_SHA512: u16 = 0x12;
const TLV_ECDSA: u16 = 0x22;
const TLV_ED25519: u16 = 0x24;
const TLV_SIG_PURE: u16 = 0x25;
/// Encryption keys, of the kinds that MCUboot's allow list has.
const TLV_ENC_FIRST: u16 = 0x30;
const TLV_ENC_LAST: u16 = 0x33;
const TLV_DEPENDENCY: u16 = 0x40;
const TLV_SEC_CNT: u16 = 0x50;
const TLV_UUID_CID: u16 = 0x75;

/// The protected TLV that names the board an image is for, in UTF-8: one of those that MCUboot reserves for vendors.
/// `imgtool sign --custom-tlv 0x53a0 NAME` writes it, and so does `sprag image sign --board NAME`.
pub const TLV_BOARD: u16 = 0x53a0;

/// The longest ECDSA signature that MCUboot reads: `SIG_BUF_SIZE`.
const ECDSA_MAX: usize = 128;
/// The longest whole public keys that MCUboot reads: `KEY_BUF_SIZE` with `MCUBOOT_HW_KEY`.
const ED25519_KEY_MAX: usize = 64 + 24;
const ECDSA_KEY_MAX: usize = ECDSA_MAX + 24;

/// The settings that the device's MCUboot was built with, as far as they decide which images it boots.
///
/// An image that needs other settings is refused: MCUboot would refuse it too, and erase it. [`Config::new`] is what
/// MCUboot's ports have by default.
///
/// ```
/// # use sprag_verify::{Ed25519Key, Policy, mcuboot::Config};
/// # const KEY: Ed25519Key = Ed25519Key::new([0x11; 32]);
/// // Zephyr: CONFIG_BOOT_SIGNATURE_TYPE_ED25519=y, CONFIG_BOOT_IMG_HASH_ALG_SHA512=y
/// let policy = Policy::signed_by(&KEY).mcuboot_config(Config::new().sha512());
/// ```
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config {
    /// `None` takes each.
    digest: Option<HashKind>,
    pure: Option<bool>,
    whole_key: Option<bool>,
    allow_list: bool,
}

impl Config {
    /// SHA-256, a signature over the digest, keys named by their hashes, and the allow list.
    pub const fn new() -> Self {
        Self { digest: Some(HashKind::Sha256), pure: Some(false), whole_key: Some(false), allow_list: true }
    }

    /// Takes images for any of these settings, except that the allow list is on. For tools that don't know the
    /// bootloader; a device should name its own.
    pub const fn any() -> Self {
        Self { digest: None, pure: None, whole_key: None, allow_list: true }
    }

    /// Digests and key hashes are SHA-384: `MCUBOOT_SIGN_EC384`, `MCUBOOT_SHA384`.
    #[cfg(feature = "sha512")]
    #[must_use]
    pub const fn sha384(mut self) -> Self {
        self.digest = Some(HashKind::Sha384);
        self
    }

    /// Digests and key hashes are SHA-512: `MCUBOOT_SHA512`.
    #[cfg(feature = "sha512")]
    #[must_use]
    pub const fn sha512(mut self) -> Self {
        self.digest = Some(HashKind::Sha512);
        self
    }

    /// Signatures are over the whole image instead of its digest: `MCUBOOT_SIGN_PURE`. `imgtool sign --pure` names the
    /// key by SHA-512, for which the bootloader needs [`Config::sha512`] as well.
    #[cfg(feature = "ed25519")]
    #[must_use]
    pub const fn pure(mut self) -> Self {
        self.pure = Some(true);
        self
    }

    /// Images carry the whole public key instead of its hash: `MCUBOOT_HW_KEY`.
    #[must_use]
    pub const fn whole_key(mut self) -> Self {
        self.whole_key = Some(true);
        self
    }

    /// Any TLV may lie in the unprotected area: built without `MCUBOOT_USE_TLV_ALLOW_LIST`, which is on by default in
    /// every port. MCUboot v1.9.0 and v2.0.0 have no list, v2.1.0 and v2.2.0 always have one.
    #[must_use]
    pub const fn without_allow_list(mut self) -> Self {
        self.allow_list = false;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

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
/// [`Promised`]. `buf` is for reading: the larger, the fewer reads. Each of the two areas of TLVs must fit into it:
/// [`Error::Buffer`] names the size that does, 144 bytes for an Ed25519 signature and nothing besides.
///
/// - The digest is SHA-256, SHA-384 or SHA-512.
/// - Each signature belongs to the key hash before it, or to the key itself. That of a trusted key must fit, those of others are skipped. It is
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
    let mut claims = Claims { address: header.address, ..Claims::new(header.version) };
    if header.protected > 0 {
        let area = reader.load(header.body, header.protected).await?;
        claims.read(Tlvs::new(area, header.body, PROTECTED_TLV_INFO_MAGIC)?, policy)?;
    }
    let size = area_size(&mut reader, header.covered).await?;
    let end = header.covered.saturating_add(size);
    if end != promised.size {
        return Err(Error::Length { image: end, promised: promised.size });
    }
    let vouchers =
        Vouchers::read(Tlvs::new(reader.load(header.covered, size).await?, header.covered, TLV_INFO_MAGIC)?, policy)?;

    // What is hashed for a signature over the whole image begins with the signature.
    #[cfg(feature = "ed25519")]
    let mut pure = vouchers.first.filter(|_| vouchers.pure).map(|(key, signature)| ed25519_hash(key, &signature));
    let mut file = File::new(&promised, policy, vouchers.signed)?;
    let mut hash = Hash::new(vouchers.hash);
    let mut read = |bytes: &[u8]| {
        hash.update(bytes);
        file.update(bytes);
        #[cfg(feature = "ed25519")]
        if let Some(pure) = &mut pure {
            pure.update(bytes);
        }
    };
    reader.feed(0, header.covered, &mut read).await?;
    reader.feed(header.covered, end, &mut |bytes| file.update(bytes)).await?;

    let digest = hash.finalize();
    let tlvs = Tlvs::new(reader.load(header.covered, size).await?, header.covered, TLV_INFO_MAGIC)?;
    vouchers.judge(tlvs, digest.as_bytes(), policy)?;
    #[cfg(feature = "ed25519")]
    if let (Some((key, signature)), Some(hash)) = (&vouchers.first, &mut pure)
        && !key.has_signed(Digest::of(hash).as_bytes(), signature)
    {
        return Err(Error::Signature);
    }
    file.judge(&mut reader).await?;
    policy.check_size(end, reader.capacity())?;
    policy.check_vector(&mut reader, header.size).await?;
    policy.check_no_chip()?;
    policy.check(&claims)?;
    Ok(Image { version: header.version, size: end, counter: claims.counter })
}

async fn header<F: ReadNorFlash>(reader: &mut Reader<'_, F>) -> Result<Header, Error> {
    if reader.capacity() < HEADER {
        return Err(Error::NotAnImage);
    }
    let raw = ImageHeader::new(reader.exactly::<HEADER_SIZE>(0).await?);
    if !raw.has_magic() {
        return Err(Error::NotAnImage);
    }
    let flags = raw.flags();
    if flags & FLAGS_REFUSED != 0 {
        return Err(Error::Flags { flags });
    }
    let size = u32::from(raw.header_size());
    let body = raw.payload_end().filter(|_| size >= HEADER).ok_or(Error::Malformed { at: 8 })?;
    // Behind it, there is space for the head of the TLVs.
    let covered = raw.tlv_offset();
    let covered = covered.filter(|covered| covered.checked_add(INFO).is_some_and(|end| end <= reader.capacity()));
    let covered = covered.ok_or(Error::Malformed { at: 12 })?;
    let address = (flags & FLAGS_ADDRESS != 0).then_some(raw.load_address());
    let (major, minor, revision, build) = raw.version();
    let version = Version { major, minor, revision, build };
    Ok(Header { version, size, protected: raw.protected_size().into(), body, covered, address })
}

/// The size of the unprotected TLVs, their 4-byte head included, which must lie within the slot.
async fn area_size<F: ReadNorFlash>(reader: &mut Reader<'_, F>, at: u32) -> Result<u32, Error> {
    let [m0, m1, s0, s1] = reader.exactly::<4>(at).await?;
    let size = u32::from(u16::from_le_bytes([s0, s1]));
    let fits = u16::from_le_bytes([m0, m1]) == TLV_INFO_MAGIC
        && size >= INFO
        && at.checked_add(size).is_some_and(|end| end <= reader.capacity());
    if fits { Ok(size) } else { Err(Error::Malformed { at }) }
}

/// The TLVs of an area, one behind the other: each begins where the one before ends, and ends within the area.
#[derive(Clone, Copy)]
struct Tlvs<'a> {
    rest: &'a [u8],
    at: u32,
}

/// One of them: where it lies in the image, its type, and its value.
struct Tlv<'a> {
    at: u32,
    kind: u16,
    value: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// The head says what the area is and how large, itself included.
    fn new(area: &'a [u8], at: u32, magic: u16) -> Result<Self, Error> {
        let [m0, m1] = magic.to_le_bytes();
        match area {
            [k0, k1, s0, s1, rest @ ..]
                if [*k0, *k1] == [m0, m1] && usize::from(u16::from_le_bytes([*s0, *s1])) == area.len() =>
            {
                Ok(Self { rest, at: at.saturating_add(INFO) })
            }
            _ => Err(Error::Malformed { at }),
        }
    }

    fn next(&mut self) -> Result<Option<Tlv<'a>>, Error> {
        let at = self.at;
        match self.rest {
            [] => Ok(None),
            [k0, k1, l0, l1, rest @ ..] => {
                let length = u16::from_le_bytes([*l0, *l1]);
                let (value, rest) = rest.split_at_checked(length.into()).ok_or(Error::Malformed { at })?;
                (self.rest, self.at) = (rest, at.saturating_add(u32::from(length)).saturating_add(4));
                Ok(Some(Tlv { at, kind: u16::from_le_bytes([*k0, *k1]), value }))
            }
            _ => Err(Error::Malformed { at }),
        }
    }
}

impl Claims {
    /// Reads what the protected TLVs say: nothing is believed before the image is.
    fn read(&mut self, mut tlvs: Tlvs<'_>, policy: &Policy<'_>) -> Result<(), Error> {
        while let Some(Tlv { at, kind, value }) = tlvs.next()? {
            let malformed = Error::Malformed { at };
            // By its value's place, MCUboot takes an empty one at the end for one of the unprotected area.
            if value.is_empty() && tlvs.rest.is_empty() && policy.mcuboot().allow_list {
                return Err(Error::TlvNotAllowed { kind });
            }
            match kind {
                // MCUboot reads both areas in one walk. There, a digest in this area never matches, and a key hash names
                // the key of the next signature, in whichever area that is. No tool writes them here.
                TLV_KEYHASH | TLV_PUBKEY | TLV_SHA256..=TLV_SHA512 | TLV_ECDSA | TLV_ED25519 | TLV_SIG_PURE => {
                    return Err(malformed);
                }
                // MCUboot compares each of several.
                TLV_SEC_CNT if self.counter.is_some() => return Err(malformed),
                TLV_UUID_CID if self.class.is_some() => return Err(malformed),
                TLV_SEC_CNT => self.counter = Some(u32::from_le_bytes(value.try_into().map_err(|_| malformed)?)),
                TLV_DEPENDENCY => {
                    let [image, _, _, _, needs @ ..]: [u8; 12] = value.try_into().map_err(|_| malformed)?;
                    let verdict = policy.check_dependency(image, Version::from_bytes(needs));
                    self.dependencies = self.dependencies.and(verdict);
                }
                TLV_UUID_CID => self.class = Some(value.try_into().map_err(|_| malformed)?),
                TLV_BOARD => self.right_board = Some(policy.is_board(value)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Which TLVs lie in the unprotected area.
#[derive(Default)]
struct Seen {
    digest: Option<HashKind>,
    pure: bool,
    ed25519: bool,
    ecdsa: bool,
}

impl Seen {
    fn add(&mut self, tlv: &Tlv<'_>, config: &Config) -> Result<(), Error> {
        let Tlv { at, kind, value } = *tlv;
        let length = value.len();
        let malformed = Error::Malformed { at };
        let refused = Error::TlvNotAllowed { kind };
        match kind {
            TLV_SHA256..=TLV_SHA512 => {
                // One digest, of one kind: no bootloader knows two.
                let found = match (kind, length) {
                    _ if self.digest.is_some() => return Err(malformed),
                    (TLV_SHA256, 32) => HashKind::Sha256,
                    #[cfg(feature = "sha512")]
                    (TLV_SHA384, 48) => HashKind::Sha384,
                    #[cfg(feature = "sha512")]
                    (TLV_SHA512, 64) => HashKind::Sha512,
                    // Of a kind that is not built in, and that the bootloader is not built for.
                    #[cfg(not(feature = "sha512"))]
                    (TLV_SHA384, 48) | (TLV_SHA512, 64) => return Err(Error::NoDigest),
                    _ => return Err(malformed),
                };
                self.digest = Some(found);
            }
            TLV_SIG_PURE if value != [1] => return Err(malformed),
            TLV_SIG_PURE if config.pure == Some(false) || cfg!(not(feature = "ed25519")) => return Err(refused),
            TLV_SIG_PURE => self.pure = true,
            TLV_ED25519 if length != 64 => return Err(malformed),
            TLV_ECDSA if !(1..=ECDSA_MAX).contains(&length) => return Err(malformed),
            TLV_ED25519 | TLV_ECDSA => {
                self.ed25519 |= kind == TLV_ED25519;
                self.ecdsa |= kind == TLV_ECDSA;
                // MCUboot is built for one kind of signature, and its list has no other.
                if config.allow_list && self.ed25519 && self.ecdsa {
                    return Err(refused);
                }
            }
            // See `check`.
            TLV_KEYHASH | TLV_PUBKEY => {}
            // MCUboot believes them in this area too, where no signature covers them.
            TLV_SEC_CNT | TLV_UUID_CID => return Err(refused),
            TLV_ENC_FIRST..=TLV_ENC_LAST => {}
            _ if config.allow_list => return Err(refused),
            _ => {}
        }
        Ok(())
    }

    /// Checks what depends on several TLVs: the keys.
    fn check(&self, mut tlvs: Tlvs<'_>, hash: HashKind, config: &Config) -> Result<(), Error> {
        if config.pure == Some(true) && !self.pure {
            return Err(Error::Unsigned);
        }
        // A bootloader without keys has none of them on its list, one with keys has either.
        let signed = self.ed25519 || self.ecdsa;
        let mut whole_key = config.whole_key;
        let longest = if self.ecdsa && !self.ed25519 { ECDSA_KEY_MAX } else { ED25519_KEY_MAX };
        while let Some(Tlv { at, kind, value }) = tlvs.next()? {
            let is_whole = kind == TLV_PUBKEY;
            if !is_whole && kind != TLV_KEYHASH {
                continue;
            }
            if config.allow_list && (!signed || whole_key.is_some_and(|whole| whole != is_whole)) {
                return Err(Error::TlvNotAllowed { kind });
            }
            // MCUboot compares a shorter hash with the beginning of the key's.
            let fits = if is_whole { value.len() <= longest } else { value.len() == hash.length() };
            // Where keys are hashes, it skips whole ones, and the other way round.
            if !fits && config.whole_key.is_none_or(|whole| whole == is_whole) {
                return Err(Error::Malformed { at });
            }
            whole_key = whole_key.or(Some(is_whole));
        }
        Ok(())
    }
}

/// What the unprotected TLVs say before the image is read: how it has to be read, and who vouches for it.
struct Vouchers<'k> {
    /// How the image is digested, and keys are named.
    hash: HashKind,
    /// There is a signature of a supported kind.
    signed: bool,
    /// Signatures are over the whole image instead of its digest.
    pure: bool,
    /// The first signature of a trusted key. It is read where signatures may be over the whole image.
    #[cfg_attr(not(feature = "ed25519"), allow(dead_code))]
    first: Option<Signed<'k>>,
}

impl<'k> Vouchers<'k> {
    #[inline(never)]
    fn read(tlvs: Tlvs<'_>, policy: &Policy<'k>) -> Result<Self, Error> {
        let config = policy.mcuboot();
        let mut seen = Seen::default();
        let mut walk = tlvs;
        while let Some(tlv) = walk.next()? {
            seen.add(&tlv, config)?;
        }
        let pure = config.pure.unwrap_or(seen.pure);
        let hash = match (seen.digest, config.digest) {
            (Some(found), Some(expected)) if found != expected => return Err(Error::NoDigest),
            (Some(found), _) => found,
            // There need not be one beside a signature over the whole image.
            (None, Some(expected)) if pure => expected,
            #[cfg(feature = "sha512")]
            (None, None) if pure => HashKind::Sha512,
            (None, _) => return Err(Error::NoDigest),
        };
        seen.check(tlvs, hash, config)?;
        let mut signatures = Signatures::new(tlvs, hash, pure, policy);
        let first = signatures.next()?;
        let signed = seen.ed25519 || (seen.ecdsa && !pure);
        if signed && first.is_none() {
            return Err(signatures.refusal);
        }
        // A second one over the whole image would take a second pass.
        if pure && signatures.next()?.is_some() {
            return Err(Error::Signature);
        }
        Ok(Self { hash, signed, pure, first })
    }

    /// Every digest must match, and the signature of every trusted key. One over the whole image is judged elsewhere.
    fn judge(&self, tlvs: Tlvs<'_>, digest: &[u8], policy: &Policy<'k>) -> Result<(), Error> {
        let mut walk = tlvs;
        while let Some(Tlv { kind, value, .. }) = walk.next()? {
            if matches!(kind, TLV_SHA256..=TLV_SHA512) && value != digest {
                return Err(Error::Digest);
            }
        }
        let mut signatures = Signatures::new(tlvs, self.hash, self.pure, policy);
        // What was there before the image was read must be there still: flash outside the chip may be swapped meanwhile.
        let mut vouched = !self.signed;
        while let Some((key, signature)) = signatures.next()? {
            if !self.pure && !has_signed_digest(key, digest, &signature) {
                return Err(Error::Signature);
            }
            vouched = true;
        }
        if vouched { Ok(()) } else { Err(signatures.refusal) }
    }
}

/// A trusted key, and what is to be its signature.
type Signed<'k> = (&'k dyn Key, [u8; 64]);

/// The signatures by trusted keys, one after the other.
struct Signatures<'a, 'v, 'k> {
    tlvs: Tlvs<'a>,
    hash: HashKind,
    pure: bool,
    policy: &'v Policy<'k>,
    /// Why others were skipped.
    refusal: Error,
}

impl<'a, 'v, 'k> Signatures<'a, 'v, 'k> {
    fn new(tlvs: Tlvs<'a>, hash: HashKind, pure: bool, policy: &'v Policy<'k>) -> Self {
        Self { tlvs, hash, pure, policy, refusal: Error::UnknownKey }
    }

    /// Each belongs to the key hash or the key before it, and each of those to one signature (MCUboot,
    /// `bootutil_img_validate`).
    fn next(&mut self) -> Result<Option<Signed<'k>>, Error> {
        let whole_key = self.policy.mcuboot().whole_key;
        let mut key = Err(Error::UnknownKey);
        while let Some(Tlv { kind, value, .. }) = self.tlvs.next()? {
            let algorithm = match kind {
                TLV_KEYHASH if whole_key != Some(true) => {
                    key = self.policy.key_named(value, self.hash);
                    continue;
                }
                TLV_PUBKEY if whole_key != Some(false) => {
                    key = self.policy.key_of_der(value);
                    continue;
                }
                #[cfg(feature = "ed25519")]
                TLV_ED25519 => Algorithm::Ed25519,
                TLV_ECDSA if !self.pure => Algorithm::EcdsaP256,
                _ => continue,
            };
            match core::mem::replace(&mut key, Err(Error::UnknownKey)) {
                Ok(key) if key.algorithm() == algorithm => {
                    let signature = match algorithm {
                        #[cfg(feature = "ed25519")]
                        Algorithm::Ed25519 => value.try_into().ok(),
                        Algorithm::EcdsaP256 => from_der(value),
                    };
                    return Ok(Some((key, signature.ok_or(Error::SignatureEncoding)?)));
                }
                Err(Error::RevokedKey) => self.refusal = Error::RevokedKey,
                _ => {}
            }
        }
        Ok(None)
    }
}
