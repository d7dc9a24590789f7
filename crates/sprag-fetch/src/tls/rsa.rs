//! RSA signatures, verified without alloc (RFC 8017): the public exponent 65537, and moduli of 2048 to 4096 bits, which is
//! what certificates have.

use rustls_pki_types::InvalidSignature;
use sha2_tls::Digest;

use super::der::{INTEGER, SEQUENCE, element};

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
        power(self.modulus, signature, room)
    }
}

/// Raises `signature` to the power of 65537, modulo `modulus`, and returns the number at the end of `buf`, as long as the
/// modulus.
///
/// Montgomery multiplication in limbs of 32 bits, as many as the modulus has (A. Menezes, P. van Oorschot, S. Vanstone,
/// "Handbook of Applied Cryptography", algorithm 14.36). Nothing of it is secret: time may depend on the numbers. The crates
/// for it that need no alloc have the length of a number in its type. Each length would be linked separately, and is a
/// division besides: 13,000 bytes.
fn power<'b>(modulus: &[u8], signature: &[u8], buf: &'b mut [u8; MODULUS_MAX]) -> Option<&'b mut [u8]> {
    let count = modulus.len().div_ceil(LIMB_BYTES);
    let mut limbs = [[0; LIMBS_MAX]; 5];
    let [n, base, x, factor, product] = limbs.each_mut().map(|limbs| limbs.get_mut(..count));
    let (n, base, x, factor, product) = (n?, base?, x?, factor?, product?);
    read(modulus, n);
    read(signature, base);
    if signature.len() != modulus.len() || !is_less(base, n) {
        return None;
    }
    let negated_inverse = negated_inverse(*n.first()?);
    let mut multiply = |a: &[u32], b: &[u32], out: &mut [u32]| {
        multiply(a, b, n, negated_inverse, product);
        out.copy_from_slice(product);
    };

    // What a number is multiplied by to bring it into Montgomery's form is r^2 modulo n, where r is 2 to the number of bits in
    // all limbs. In that form, r is 1 doubled `bits` times. So it is 2^count, squared five times: a limb has 2^5 bits.
    let missing_bytes = count.saturating_mul(LIMB_BYTES).saturating_sub(modulus.len());
    negate(modulus, factor);
    for _ in 0..missing_bytes.saturating_mul(8).saturating_add(count) {
        double(factor, n);
    }
    for _ in 0..5 {
        x.copy_from_slice(factor);
        multiply(x, x, factor);
    }
    multiply(base, factor, x);
    for _ in 0..16 {
        factor.copy_from_slice(x);
        multiply(factor, factor, x);
    }
    // One factor in Montgomery's form and one that is not: the product is not.
    multiply(x, base, factor);

    for (place, limb) in buf.rchunks_exact_mut(LIMB_BYTES).zip(factor.iter()) {
        place.copy_from_slice(&limb.to_be_bytes());
    }
    buf.get_mut(MODULUS_MAX.checked_sub(modulus.len())?..)
}

const LIMB_BYTES: usize = 4;
const LIMBS_MAX: usize = MODULUS_MAX / LIMB_BYTES;

/// Reads a number, most significant byte first, into limbs, least significant limb first.
fn read(bytes: &[u8], limbs: &mut [u32]) {
    for (limb, bytes) in limbs.iter_mut().zip(bytes.rchunks(LIMB_BYTES)) {
        *limb = bytes.iter().fold(0, |limb, byte| limb << 8 | u32::from(*byte));
    }
}

/// Calculates 2^(8 * length) - n for an odd `n` of this length: its bytes inverted, but for the lowest bit.
fn negate(n: &[u8], limbs: &mut [u32]) {
    for (limb, bytes) in limbs.iter_mut().zip(n.rchunks(LIMB_BYTES)) {
        *limb = bytes.iter().fold(0, |limb, byte| limb << 8 | u32::from(!byte));
    }
    if let Some(first) = limbs.first_mut() {
        *first |= 1;
    }
}

/// Calculates -1/n modulo 2^32 for an odd `n`, by Newton's iteration: each step doubles the number of bits that are right, and
/// `n` is its own inverse in the lowest three.
fn negated_inverse(n: u32) -> u32 {
    let inverse = (0..4).fold(n, |x: u32, _| x.wrapping_mul(2u32.wrapping_sub(n.wrapping_mul(x))));
    inverse.wrapping_neg()
}

fn is_less(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// Subtracts `n` from `a`, which is less than twice `n`, if `a` with this `carry` above it is not less than `n`.
fn reduce(a: &mut [u32], carry: bool, n: &[u32]) {
    if carry || !is_less(a, n) {
        let mut borrow = false;
        for (a, n) in a.iter_mut().zip(n) {
            (*a, borrow) = borrowing_sub(*a, *n, borrow);
        }
    }
}

fn borrowing_sub(a: u32, b: u32, borrow: bool) -> (u32, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(borrow.into());
    (difference, first || second)
}

/// Doubles `a` modulo `n`.
fn double(a: &mut [u32], n: &[u32]) {
    let mut carry = 0;
    for limb in a.iter_mut() {
        (*limb, carry) = (*limb << 1 | carry, *limb >> 31);
    }
    reduce(a, carry != 0, n);
}

/// Calculates a * b / r modulo n, where r is 2 to the number of bits in all limbs. `a` and `b` are less than `n`.
fn multiply(a: &[u32], b: &[u32], n: &[u32], negated_inverse: u32, out: &mut [u32]) {
    out.fill(0);
    let mut top = 0u32;
    for b in b {
        let mut limbs = out.iter_mut().zip(a).zip(n);
        let Some(((mut place, a), n)) = limbs.next() else { return };
        // With this multiple of n, the lowest limb becomes zero. Everything moves down by one limb then.
        let mut product_carry = add_product(*place, *a, *b, 0);
        let multiple = product_carry.0.wrapping_mul(negated_inverse);
        let mut multiple_carry = add_product(product_carry.0, *n, multiple, 0);
        for ((next, a), n) in limbs {
            product_carry = add_product(*next, *a, *b, product_carry.1);
            multiple_carry = add_product(product_carry.0, *n, multiple, multiple_carry.1);
            *place = multiple_carry.0;
            place = next;
        }
        let sum = u64::from(product_carry.1).wrapping_add(multiple_carry.1.into()).wrapping_add(top.into());
        (*place, top) = halves(sum);
    }
    reduce(out, top != 0, n);
}

/// Calculates sum + a * b + carry, which fits: the lower half and the new carry.
fn add_product(sum: u32, a: u32, b: u32, carry: u32) -> (u32, u32) {
    let product = u64::from(a).wrapping_mul(b.into());
    halves(product.wrapping_add(sum.into()).wrapping_add(carry.into()))
}

#[allow(clippy::cast_possible_truncation)] // Each half is taken.
fn halves(number: u64) -> (u32, u32) {
    (number as u32, (number >> 32) as u32)
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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crypto_bigint::{NonZero, U4096};
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// The same by `crypto-bigint`, by division.
    fn expected(modulus: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
        let number = |bytes: &[u8]| {
            let mut padded = [0; MODULUS_MAX];
            padded[MODULUS_MAX - bytes.len()..].copy_from_slice(bytes);
            U4096::from_be_slice(&padded)
        };
        let (n, s) = (number(modulus), number(signature));
        if signature.len() != modulus.len() || s >= n {
            return None;
        }
        let n = NonZero::new(n).unwrap();
        let power = (0..16).fold(s, |m, _| m.square_mod_vartime(&n)).mul_mod_vartime(&s, &n);
        let bytes: Vec<u8> = power.to_limbs().iter().rev().flat_map(|limb| limb.0.to_be_bytes()).collect();
        Some(bytes[MODULUS_MAX - modulus.len()..].to_vec())
    }

    fn check(modulus: &[u8], signature: &[u8]) {
        let mut buf = [0xA5; MODULUS_MAX];
        let found = power(modulus, signature, &mut buf).map(|power| power.to_vec());
        assert_eq!(found, expected(modulus, signature));
    }

    #[test]
    fn numbers_at_the_ends_of_their_ranges() {
        for length in [256, 257, 258, 259, 260, 383, 384, 509, 510, 511, 512] {
            let ones = vec![0xFF; length];
            let mut least = vec![0; length];
            (least[0], least[length - 1]) = (0x80, 1);
            let mut sparse = ones.clone();
            sparse[1..length - 1].fill(0);
            for modulus in [&ones, &least, &sparse] {
                let mut less = modulus.clone();
                less[length - 1] -= 1;
                let mut one = vec![0; length];
                one[length - 1] = 1;
                let zero = vec![0; length];
                let mut half = modulus.clone();
                half[0] >>= 1;
                for signature in [&zero, &one, &half, &less, modulus, &ones, &one[1..].to_vec()] {
                    check(modulus, signature);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_power_is_what_division_makes_of_it(
            mut modulus in prop::collection::vec(any::<u8>(), MODULUS_MIN..=MODULUS_MAX),
            mut signature in prop::collection::vec(any::<u8>(), MODULUS_MAX),
        ) {
            let length = modulus.len();
            (modulus[0], modulus[length - 1]) = (modulus[0] | 0x80, modulus[length - 1] | 1);
            signature.truncate(length);
            check(&modulus, &signature);
        }
    }
}
