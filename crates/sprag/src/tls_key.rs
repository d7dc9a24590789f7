//! Keys of images that are worked with by the arithmetic that TLS brings.

use sprag_verify::{Algorithm, Key};

/// A P-256 public key of images, for firmware with TLS. Its 65 bytes are public: they may stand in the firmware.
///
/// `verify::P256Key` does the same by another release of the `p256` crate than the one that TLS has. In a firmware with TLS,
/// this one takes 16 KB less code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TlsP256Key([u8; 65]);

impl TlsP256Key {
    /// Returns the key of an uncompressed point (SEC 1, section 2.3.3), 0x04 and the coordinates x and y: the last 65 bytes of
    /// the DER that `openssl pkey -pubout -outform DER` writes, or what `imgtool getpub --encoding raw` prints.
    pub const fn new(bytes: [u8; 65]) -> Self {
        Self(bytes)
    }
}

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
