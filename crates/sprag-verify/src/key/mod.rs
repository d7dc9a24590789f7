//! Keys whose signatures are trusted, behind one small trait.

#[cfg(feature = "ed25519-dalek")]
mod ed25519;
#[cfg(feature = "p256")]
mod p256;
#[cfg(feature = "salty")]
mod salty;

use core::fmt;

#[cfg(feature = "ed25519")]
use sha2::Sha512;
use sha2::{Digest, Sha256};

#[cfg(feature = "ed25519-dalek")]
pub use self::ed25519::Ed25519Key;
#[cfg(feature = "p256")]
pub use self::p256::P256Key;
#[cfg(feature = "salty")]
pub use self::salty::SaltyKey;

/// What stands before the 32 bytes of an Ed25519 key in its DER encoding (RFC 8410, section 4).
#[cfg(feature = "ed25519")]
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before the 65 bytes of a P-256 key in its DER encoding (RFC 5480, section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A kind of signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519 (RFC 8032, section 5.1): the signature is R and S, 64 bytes.
    #[cfg(feature = "ed25519")]
    Ed25519,
    /// ECDSA over NIST P-256 (FIPS 186-5): the signature is r and s, 32 bytes each, most significant first.
    EcdsaP256,
}

impl Algorithm {
    /// What stands before the bytes of a [`Key`] in its DER encoding, `SubjectPublicKeyInfo`.
    pub(crate) const fn spki(self) -> &'static [u8] {
        match self {
            #[cfg(feature = "ed25519")]
            Self::Ed25519 => &ED25519_SPKI,
            Self::EcdsaP256 => &P256_SPKI,
        }
    }
}

/// A public key: what its signatures are verified with.
///
/// The hashing is done here, in one pass over the flash; the arithmetic of the curve is the key's. So a key may as well
/// be one that a chip's accelerator or secure element works with:
///
/// ```
/// use sprag_verify::{Algorithm, Key};
///
/// #[derive(Debug)]
/// struct InHardware([u8; 65]);
///
/// impl Key for InHardware {
///     fn algorithm(&self) -> Algorithm {
///         Algorithm::EcdsaP256
///     }
///     fn bytes(&self) -> &[u8] {
///         &self.0
///     }
///     fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool {
///         # fn pka_verify(_: &[u8], _: &[u8], _: &[u8]) -> bool { false }
///         pka_verify(&self.0, hash, signature)
///     }
/// }
/// ```
pub trait Key: fmt::Debug + Sync {
    /// The kind of its signatures.
    fn algorithm(&self) -> Algorithm;

    /// The public key: the 32 bytes of an Ed25519 key; 65 bytes of a P-256 key, 0x04 and the coordinates x and y
    /// (SEC 1, section 2.3.3, uncompressed).
    fn bytes(&self) -> &[u8];

    /// Whether `signature` is this key's.
    ///
    /// `hash` is what its algorithm makes of the message. ECDSA: the message's digest, 32 bytes or more, of which the
    /// first 32 count. Ed25519: the 64 bytes of SHA-512 over R, the key and the message (RFC 8032, section 5.1.7).
    fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool;

    /// SHA-256 of the key's DER encoding, by which images name the key they are signed with and a
    /// [`Policy`](crate::Policy) the keys that it revokes.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.algorithm().spki());
        hash.update(self.bytes());
        hash.finalize().into()
    }
}

/// Whether `signature` is the key's over a digest: of what is hashed for ECDSA, of the message itself for Ed25519.
pub(crate) fn has_signed_digest(key: &dyn Key, digest: &[u8], signature: &[u8; 64]) -> bool {
    match key.algorithm() {
        #[cfg(feature = "ed25519")]
        Algorithm::Ed25519 => {
            let mut hash = ed25519_hash(key, signature);
            hash.update(digest);
            key.has_signed(crate::hash::Digest::of(&mut hash).as_bytes(), signature)
        }
        Algorithm::EcdsaP256 => key.has_signed(digest, signature),
    }
}

/// The hash that an Ed25519 signature is about, as far as it is known before the message.
#[cfg(feature = "ed25519")]
pub(crate) fn ed25519_hash(key: &dyn Key, signature: &[u8; 64]) -> Sha512 {
    let r = signature.split_at(32).0;
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(key.bytes());
    hash
}
