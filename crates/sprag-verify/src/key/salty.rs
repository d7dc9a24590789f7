//! Ed25519 by salty.

use salty::{CompressedY, EdwardsPoint, Scalar};

use super::{Algorithm, Key};

/// An Ed25519 public key, worked with by salty: slower than ed25519-dalek, and smaller. The signatures are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SaltyKey([u8; 32]);

impl SaltyKey {
    /// The key in its raw form: the last 32 bytes of the DER that `openssl pkey -pubout -outform DER` writes, or what
    /// `imgtool getpub --encoding raw` prints.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Key for SaltyKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Ed25519
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// RFC 8032, section 5.1.7, without the cofactor: `salty::PublicKey::verify` hashes the message itself, which must
    /// then be in RAM. S must be reduced, which salty does not ask for.
    #[allow(clippy::arithmetic_side_effects)] // Of points on a curve, and of numbers modulo its order.
    fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool {
        let (Some((r, s)), Ok(hash)) = (signature.split_first_chunk::<32>(), hash.try_into()) else { return false };
        let (Ok(s), Ok(a)) = (s.try_into().map(Scalar::from_bytes), CompressedY(self.0).decompressed()) else {
            return false;
        };
        let k = Scalar::from_u512_le(hash);
        let expected = &(&s * &EdwardsPoint::basepoint()) + &(&k * &-&a);
        s.is_canonical() && expected.compressed().as_bytes() == r
    }
}
