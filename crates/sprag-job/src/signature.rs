//! The digest and the signature that a document carries for an artifact.

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

    /// The signature in base64 with padding (RFC 4648, section 4), as it is in the document.
    pub fn value(&self) -> Text<'a> {
        self.value
    }
}

/// The expected form of a signature, for errors.
#[cfg(feature = "aws")]
pub(crate) const BASE64: &str = "base64 with padding";

/// Returns whether the text is base64 with padding whose unused bits are zero, as a device's decoder requires.
#[cfg(feature = "aws")]
pub(crate) fn is_base64(text: Text<'_>) -> bool {
    let (mut length, mut padding, mut last) = (0u32, 0u8, 0u8);
    for byte in text.bytes() {
        length = length.wrapping_add(1);
        match byte {
            b'=' if padding < 2 => padding = padding.saturating_add(1),
            _ if padding > 0 => return false,
            b'A'..=b'Z' => last = byte.wrapping_sub(b'A'),
            b'a'..=b'z' => last = byte.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => last = byte.wrapping_sub(b'0').wrapping_add(52),
            b'+' => last = 62,
            b'/' => last = 63,
            _ => return false,
        }
    }
    let unused = match padding {
        0 => 0,
        1 => 0b11,
        _ => 0b1111,
    };
    length > 0 && length & 3 == 0 && last & unused == 0
}

/// How a digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DigestAlgorithm {
    /// SHA-256 (FIPS 180-4) over the artifact's bytes.
    Sha256,
}

impl DigestAlgorithm {
    /// `sha256`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
        }
    }
}

/// A digest that a document gives: `sha256` of the dialect `aws-jobs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Digest<'a> {
    algorithm: DigestAlgorithm,
    hex: Text<'a>,
}

impl<'a> Digest<'a> {
    /// A SHA-256 in 64 hexadecimal digits of either case.
    pub(crate) fn sha256(hex: Text<'a>) -> Option<Self> {
        let sound = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        sound.then_some(Self { algorithm: DigestAlgorithm::Sha256, hex })
    }

    /// How it is computed.
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The digest in hexadecimal, 64 digits for SHA-256, upper or lower case as the document has it.
    pub fn hex(&self) -> Text<'a> {
        self.hex
    }

    /// The digest's bytes, 32 for SHA-256.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        let mut digits = self.hex.bytes();
        core::iter::from_fn(move || {
            let mut digit = || u8::try_from(char::from(digits.next()?).to_digit(16)?).ok();
            Some(digit()? << 4 | digit()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of up to five characters of these: what is taken is what base64ct, the devices' decoder, takes.
    #[test]
    #[cfg(feature = "aws")]
    fn base64_is_what_a_device_decodes() {
        use base64ct::{Base64, Encoding};
        use std::{string::String, vec, vec::Vec};
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            let longer = |text: &String| {
                "AQgw8+/=-_\n".chars().map(|last| [text.as_str(), &String::from(last)].concat()).collect::<Vec<_>>()
            };
            texts.extend(texts.iter().flat_map(longer).collect::<Vec<_>>());
            texts.sort();
            texts.dedup();
        }
        assert!(texts.len() > 100_000);
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let decoded = Base64::decode_vec(text).is_ok();
            assert_eq!(is_base64(Text::new(text)), decoded, "{text:?}");
        }
        assert!(!is_base64(Text::new("")));
    }

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

    #[test]
    fn hexadecimal_is_checked_and_read() {
        use std::vec::Vec;
        let hex = "00fFa5".repeat(10) + r"\u0031234";
        let digest = Digest::sha256(Text::new(&hex)).unwrap();
        let bytes = digest.bytes().collect::<Vec<_>>();
        assert_eq!((bytes.len(), &bytes[..3], &bytes[30..]), (32, &[0, 0xff, 0xa5][..], &[0x12, 0x34][..]));
        assert_eq!(digest.algorithm().name(), "sha256");
        for bad in ["", &hex[..20], &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(Digest::sha256(Text::new(bad)), None);
        }
    }
}
