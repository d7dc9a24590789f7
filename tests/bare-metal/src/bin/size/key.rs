//! Whose signatures images must have.

use core::hint::black_box;

use sprag_verify::Key;

/// A key whose arithmetic is done elsewhere, by an accelerator or a secure element.
#[cfg(feature = "key-elsewhere")]
pub fn key() -> impl Key {
    use sprag_verify::Algorithm;

    #[derive(Debug)]
    struct Elsewhere;
    impl Key for Elsewhere {
        fn algorithm(&self) -> Algorithm {
            black_box(Algorithm::EcdsaP256)
        }

        fn bytes(&self) -> &[u8] {
            black_box(&[])
        }

        fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool {
            black_box((hash, signature));
            black_box(false)
        }
    }
    Elsewhere
}

#[cfg(feature = "key-ed25519-dalek")]
pub fn key() -> impl Key {
    sprag_verify::Ed25519Key::new(black_box([0; 32]))
}

#[cfg(feature = "key-salty")]
pub fn key() -> impl Key {
    sprag_verify::SaltyKey::new(black_box([0; 32]))
}

#[cfg(feature = "key-p256")]
pub fn key() -> impl Key {
    sprag_verify::P256Key::new(black_box([0; 65]))
}

#[cfg(feature = "key-p256-of-tls")]
pub fn key() -> impl Key {
    use sprag_verify::Algorithm;

    /// `sprag::TlsP256Key`, without `sprag`.
    #[derive(Debug)]
    struct TlsP256Key([u8; 65]);
    impl Key for TlsP256Key {
        fn algorithm(&self) -> Algorithm {
            Algorithm::EcdsaP256
        }

        fn bytes(&self) -> &[u8] {
            &self.0
        }

        fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool {
            sprag_fetch::verify_p256(&self.0, hash, signature)
        }
    }
    TlsP256Key(black_box([0; 65]))
}
