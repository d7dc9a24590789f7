//! RSA signatures, verified without alloc (RFC 8017): the public exponent 65537, and moduli of 2048 to 4096 bits, which is
//! what certificates have.

use crypto_bigint::{Limb, NonZero, Uint};
use rustls_pki_types::InvalidSignature;
use sha2_tls::Digest;

/// The longest modulus, in bytes: ISRG Root X1 and others have it.
const MODULUS_MAX: usize = 512;
/// The shortest, in bytes.
const MODULUS_MIN: usize = 256;

/// A public key of at most [`MODULUS_MAX`].
struct PublicKey<'k> {
    /// Without leading zeros.
    modulus: &'k [u8],
}

impl<'k> PublicKey<'k> {
    /// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017, appendix A.1.1).
    fn from_der(der: &'k [u8]) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        const INTEGER: u8 = 0x02;
        let (body, rest) = element(der, SEQUENCE)?;
        let (modulus, exponent) = element(body, INTEGER)?;
        let (exponent, end) = element(exponent, INTEGER)?;
        // A first bit that is set would make it negative: hence the zero before it.
        let modulus = modulus.strip_prefix(&[0])?;
        let sound = rest.is_empty()
            && end.is_empty()
            && exponent == [1, 0, 1]
            && (MODULUS_MIN..=MODULUS_MAX).contains(&modulus.len())
            && modulus.first().is_some_and(|byte| byte & 0x80 != 0)
            && modulus.last().is_some_and(|byte| byte & 1 == 1);
        sound.then_some(Self { modulus })
    }

    /// The message representative that `signature` was made of (RSAVP1, section 5.2.2), as long as the modulus.
    fn open<'b>(&self, signature: &[u8], room: &'b mut [u8; MODULUS_MAX]) -> Option<&'b mut [u8]> {
        // Most keys have 2048 bits, and a number of twice that size takes four times as long.
        if self.modulus.len() <= MODULUS_MIN {
            power::<{ MODULUS_MIN / Limb::BYTES }, MODULUS_MIN>(self.modulus, signature, room)
        } else {
            power::<{ MODULUS_MAX / Limb::BYTES }, MODULUS_MAX>(self.modulus, signature, room)
        }
    }
}

/// The content of the DER element of this tag that `der` begins with, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7F => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
        0x82 => rest.split_first_chunk().map(|(&length, rest)| (usize::from(u16::from_be_bytes(length)), rest))?,
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// `signature` to the power of 65537, modulo `modulus`, in numbers of `BYTES` bytes.
#[inline(never)] // Short keys need not have the stack of long ones.
fn power<'b, const LIMBS: usize, const BYTES: usize>(
    modulus: &[u8],
    signature: &[u8],
    room: &'b mut [u8; MODULUS_MAX],
) -> Option<&'b mut [u8]> {
    let number = |bytes: &[u8]| {
        let mut padded = [0; BYTES];
        padded.get_mut(BYTES.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
        Some(Uint::<LIMBS>::from_be_slice(&padded))
    };
    let (n, s) = (number(modulus)?, number(signature)?);
    if signature.len() != modulus.len() || s >= n {
        return None;
    }
    // Nothing of it is secret: time may depend on it. And no Montgomery form: a few numbers more of this size would be the
    // largest thing on the stack, for seventeen multiplications.
    let n = NonZero::new(n).into_option()?;
    let m = (0..16).fold(s, |m, _| m.square_mod_vartime(&n)).mul_mod_vartime(&s, &n);
    let room = room.get_mut(..BYTES)?;
    for (place, limb) in room.chunks_exact_mut(Limb::BYTES).zip(m.as_limbs().iter().rev()) {
        place.copy_from_slice(&limb.0.to_be_bytes());
    }
    room.get_mut(BYTES.checked_sub(modulus.len())?..)
}

/// A digest, and the DER that stands before its value in a PKCS #1 signature (RFC 8017, section 9.2, note 1).
pub(super) trait Hash: Digest {
    const DIGEST_INFO: [u8; 19];
}

impl Hash for sha2_tls::Sha256 {
    const DIGEST_INFO: [u8; 19] = digest_info(1, 32);
}

impl Hash for sha2_tls::Sha384 {
    const DIGEST_INFO: [u8; 19] = digest_info(2, 48);
}

impl Hash for sha2_tls::Sha512 {
    const DIGEST_INFO: [u8; 19] = digest_info(3, 64);
}

/// `SEQUENCE { SEQUENCE { OID 2.16.840.1.101.3.4.2.n, NULL }, OCTET STRING of length bytes }`, up to the string's value.
const fn digest_info(n: u8, length: u8) -> [u8; 19] {
    let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, n];
    let [a, b, c, d, e, f, g, h, i] = oid;
    let whole = length.saturating_add(17);
    [0x30, whole, 0x30, 0x0D, 0x06, 0x09, a, b, c, d, e, f, g, h, i, 0x05, 0x00, 0x04, length]
}

/// RSASSA-PKCS1-v1_5 (section 8.2.2): what is in the signature must be, byte for byte, what belongs there.
pub(super) fn verify_pkcs1<H: Hash>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    let verify = || {
        let mut room = [0; MODULUS_MAX];
        let encoded = PublicKey::from_der(key)?.open(signature, &mut room)?;
        let digest = H::digest(message);
        let rest = encoded.strip_suffix(digest.as_slice())?.strip_suffix(&H::DIGEST_INFO)?;
        let padding = rest.strip_prefix(&[0, 1])?.strip_suffix(&[0])?;
        // RFC 8017 has at least eight; the modulus is far longer than the rest.
        (padding.len() >= 8 && padding.iter().all(|byte| *byte == 0xFF)).then_some(())
    };
    verify().ok_or(InvalidSignature)
}

/// RSASSA-PSS (sections 8.1.2 and 9.1.2) with MGF1 over the same digest and a salt as long as it: what TLS 1.3 has
/// (RFC 8446, section 4.2.3).
pub(super) fn verify_pss<H: Hash>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    let verify = || {
        let mut room = [0; MODULUS_MAX];
        // The modulus has a multiple of eight bits, so that the encoded message is as long as it and begins with a 0 bit.
        let encoded = PublicKey::from_der(key)?.open(signature, &mut room)?;
        let size = <H as Digest>::output_size();
        let end = encoded.len().checked_sub(size)?.checked_sub(1)?;
        let (masked, rest) = encoded.split_at_mut_checked(end)?;
        let (seed, trailer) = rest.split_at_checked(size)?;
        if trailer != [0xBC] || masked.first()? & 0x80 != 0 {
            return None;
        }
        for (counter, block) in (0u32..).zip(masked.chunks_mut(size)) {
            let mask = H::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
            block.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        *masked.first_mut()? &= 0x7F;
        let (padding, salt) = masked.split_at_checked(masked.len().checked_sub(size)?)?;
        let (one, zeros) = padding.split_last()?;
        let expected = H::new().chain_update([0; 8]).chain_update(H::digest(message)).chain_update(salt).finalize();
        let sound = *one == 1 && zeros.iter().all(|byte| *byte == 0) && expected.as_slice() == seed;
        sound.then_some(())
    };
    verify().ok_or(InvalidSignature)
}
