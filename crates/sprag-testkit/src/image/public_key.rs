//! The keys that bootloaders check signatures with.

use ed25519_dalek::VerifyingKey;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256};

use super::signer::{ED25519_SPKI, P256_SPKI};

/// A public key as a bootloader has it built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519: the 32 bytes of RFC 8032.
    Ed25519([u8; 32]),
    /// ECDSA over P-256: the uncompressed point of 65 bytes.
    P256([u8; 65]),
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in DER (RFC 8410 for Ed25519, RFC 5480 with an uncompressed point for P-256).
    ///
    /// Returns `None` for any other key.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let ed25519 = der.strip_prefix(&ED25519_SPKI).and_then(|key| key.try_into().ok()).map(Self::Ed25519);
        ed25519.or_else(|| der.strip_prefix(&P256_SPKI).and_then(|key| key.try_into().ok()).map(Self::P256))
    }

    /// Returns SHA-256 over the key's SubjectPublicKeyInfo: the value of MCUboot's key hash TLV.
    pub fn hash(&self) -> [u8; 32] {
        match self {
            Self::Ed25519(key) => Sha256::new().chain_update(ED25519_SPKI).chain_update(key).finalize().into(),
            Self::P256(point) => Sha256::new().chain_update(P256_SPKI).chain_update(point).finalize().into(),
        }
    }

    /// Returns whether the key signed this digest: as a message for Ed25519, as the prehash for ECDSA (DER signature,
    /// with nothing behind it).
    pub fn verifies(&self, digest: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                let key = VerifyingKey::from_bytes(key).ok();
                let signature = ed25519_dalek::Signature::from_slice(signature).ok();
                key.zip(signature).is_some_and(|(key, signature)| key.verify_strict(digest, &signature).is_ok())
            }
            Self::P256(point) => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok();
                let signature = p256::ecdsa::Signature::from_der(signature).ok();
                key.zip(signature).is_some_and(|(key, signature)| key.verify_prehash(digest, &signature).is_ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Signer;

    #[test]
    fn a_key_verifies_what_its_private_half_signed() {
        for signer in [
            Signer::from(&ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
            Signer::from(&p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()),
        ] {
            let key = PublicKey::from_der(&signer.public_der()).unwrap();
            let digest: [u8; 32] = Sha256::digest(b"image").into();
            let mut signature = signer.sign_digest(&digest);
            assert!(key.verifies(&digest, &signature));
            assert!(!key.verifies(&[0; 32], &signature));
            assert_eq!(key.hash(), *Sha256::digest(signer.public_der()));
            signature[10] ^= 1;
            assert!(!key.verifies(&digest, &signature));
            assert_eq!(PublicKey::from_der(&signer.public_der()[1..]), None);
        }
    }
}
