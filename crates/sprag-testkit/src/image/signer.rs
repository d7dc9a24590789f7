//! The keys that images are signed with.

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};

/// What stands before an Ed25519 key in its DER encoding (RFC 8410, section 4).
pub(super) const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before an uncompressed P-256 key in its DER encoding (RFC 5480, section 2).
pub(super) const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A private key.
#[derive(Debug, Clone)]
pub enum Signer {
    /// Ed25519.
    Ed25519(ed25519_dalek::SigningKey),
    /// ECDSA over P-256, deterministic (RFC 6979).
    P256(p256::ecdsa::SigningKey),
}

impl From<&ed25519_dalek::SigningKey> for Signer {
    fn from(key: &ed25519_dalek::SigningKey) -> Self {
        Self::Ed25519(key.clone())
    }
}

impl From<&p256::ecdsa::SigningKey> for Signer {
    fn from(key: &p256::ecdsa::SigningKey) -> Self {
        Self::P256(key.clone())
    }
}

impl Signer {
    /// The public key: 32 bytes of Ed25519, or the 65 of an uncompressed point.
    pub fn public(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
            Self::P256(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
        }
    }

    /// The public key in DER, `SubjectEd25519KeyInfo`: what MCUboot's key hashes are of.
    pub fn public_der(&self) -> Vec<u8> {
        let spki = match self {
            Self::Ed25519(_) => &ED25519_SPKI[..],
            Self::P256(_) => &P256_SPKI,
        };
        [spki, &self.public()].concat()
    }

    /// Signs bytes: Ed25519 in its 64 bytes, ECDSA over their SHA-256 in DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::P256(_) => self.sign_digest(&Sha256::digest(message)),
        }
    }

    /// Signs a digest: as a message of its own for Ed25519, as what it is for ECDSA.
    ///
    /// # Panics
    /// When the digest is shorter than half of what the key's kind wants.
    pub fn sign_digest(&self, digest: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(digest).to_bytes().to_vec(),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(digest).expect("a digest of 16 bytes or more");
                signature.to_der().as_bytes().to_vec()
            }
        }
    }
}

/// SHA-256 of an Ed25519 key's DER encoding, which MCUboot looks keys up by.
pub fn key_hash(public_key: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(ED25519_SPKI).chain_update(public_key).finalize().into()
}
