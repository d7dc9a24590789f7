//! The digest that a document promises for an artifact.

use crate::text::Text;

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
    use std::vec::Vec;

    #[test]
    fn hexadecimal_is_checked_and_read() {
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
