//! Ed25519 by ed25519-dalek.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, VerifyingKey};

use super::{Algorithm, Key};

/// An Ed25519 public key, worked with by ed25519-dalek. Its 32 bytes are public: they may stand in the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    /// The key in its raw form: the last 32 bytes of the DER that `openssl pkey -pubout -outform DER` writes, or what
    /// `imgtool getpub --encoding raw` prints.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Key for Ed25519Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Ed25519
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// RFC 8032, section 5.1.7, without the cofactor, and as strict as `VerifyingKey::verify_strict`: no keys and no R
    /// of small order, no S that is not reduced. That function hashes the message itself, which must then be in RAM.
    #[allow(clippy::arithmetic_side_effects)] // Of points on a curve.
    fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool {
        let (Ok(key), Ok(hash)) = (VerifyingKey::from_bytes(&self.0), hash.try_into()) else { return false };
        let signature = Signature::from_bytes(signature);
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(*signature.s_bytes())) else { return false };
        let k = Scalar::from_bytes_mod_order_wide(hash);
        let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-key.to_edwards(), &s);
        !key.is_weak() && !r.is_small_order() && r.compress().as_bytes() == signature.r_bytes()
    }
}
