//! Keys whose signatures are trusted.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

/// What stands before the 32 bytes of an Ed25519 key in its DER encoding (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key. Its 32 bytes are public: they may stand in the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key in its raw form: the last 32 bytes of the DER that `openssl pkey -pubout -outform DER` writes, or what
    /// `imgtool getpub --encoding raw` prints.
    pub const fn ed25519(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// SHA-256 of the key's DER encoding, by which images name the key they are signed with.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::new().chain_update(SPKI).chain_update(self.0).finalize().into()
    }

    /// Whether `signature` is this key's over `message`. Strict: no small-order keys, no malleable signatures.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}
