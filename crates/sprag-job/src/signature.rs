//! The signature that a document carries for an artifact.

use crate::text::Text;

/// How an artifact is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// `sig-sha256-ecdsa`: ECDSA over SHA-256, the value in DER (AWS code signing, P-256).
    Sha256Ecdsa,
    /// `sig-sha256-rsa`: RSA, PKCS#1 v1.5, over SHA-256.
    Sha256Rsa,
    /// `sig-sha1-ecdsa`: ECDSA over SHA-1, which is broken: not to be trusted.
    Sha1Ecdsa,
    /// `sig-sha1-rsa`: RSA over SHA-1, which is broken: not to be trusted.
    Sha1Rsa,
    /// `ed25519`: Ed25519 (RFC 8032), 64 bytes.
    Ed25519,
}

impl SignatureAlgorithm {
    const ALL: [Self; 5] = [Self::Sha256Ecdsa, Self::Sha256Rsa, Self::Sha1Ecdsa, Self::Sha1Rsa, Self::Ed25519];

    /// Its name: what `afr_ota` calls it, and `ed25519`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sha256Ecdsa => "sig-sha256-ecdsa",
            Self::Sha256Rsa => "sig-sha256-rsa",
            Self::Sha1Ecdsa => "sig-sha1-ecdsa",
            Self::Sha1Rsa => "sig-sha1-rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The algorithm of that [`name`](Self::name); `sig-` may be left out or put before any.
    pub(crate) fn named(name: Text<'_>) -> Option<Self> {
        let bare = |name: &'static str| name.strip_prefix("sig-").unwrap_or(name);
        let is = |algorithm: &Self| {
            let bare = bare(algorithm.name());
            name == bare || name.bytes().eq(b"sig-".iter().chain(bare.as_bytes()).copied())
        };
        Self::ALL.into_iter().find(is)
    }
}

/// A signature that a document carries for an artifact. Nothing has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Signature<'a> {
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) value: Text<'a>,
}

impl<'a> Signature<'a> {
    /// How the artifact is signed.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The signature in base64, as it is in the document: whether it is base64 shows when it is decoded.
    pub fn value(&self) -> Text<'a> {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_known_by_their_names() {
        for algorithm in SignatureAlgorithm::ALL {
            assert_eq!(SignatureAlgorithm::named(Text::new(algorithm.name())), Some(algorithm));
        }
        assert_eq!(SignatureAlgorithm::named(Text::new("sha256-rsa")), Some(SignatureAlgorithm::Sha256Rsa));
        assert_eq!(SignatureAlgorithm::named(Text::new("sig-ed25519")), Some(SignatureAlgorithm::Ed25519));
        for name in ["", "sig-", "sig--", "rsa", "SIG-SHA256-RSA"] {
            assert_eq!(SignatureAlgorithm::named(Text::new(name)), None, "{name}");
        }
    }
}
