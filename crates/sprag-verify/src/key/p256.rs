//! ECDSA over NIST P-256 by p256.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};

use super::{Algorithm, Key};

/// A P-256 public key, worked with by p256. Its 65 bytes are public: they may stand in the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct P256Key([u8; 65]);

impl P256Key {
    /// The key as an uncompressed point (SEC 1, section 2.3.3), 0x04 and the coordinates x and y: the last 65 bytes of
    /// the DER that `openssl pkey -pubout -outform DER` writes, or what `imgtool getpub --encoding raw` prints.
    pub const fn new(bytes: [u8; 65]) -> Self {
        Self(bytes)
    }
}

impl Key for P256Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaP256
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool {
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(&self.0), Signature::from_slice(signature))
        else {
            return false;
        };
        key.verify_prehash(hash, &signature).is_ok()
    }
}
