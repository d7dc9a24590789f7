//! A signature that is no part of the image, and the encodings that signatures come in.

use base64ct::{Base64, Encoding};

use crate::error::Error;
use crate::key::Algorithm;

/// The longest DER of an ECDSA signature over P-256: two integers of 33 bytes.
pub(crate) const DER_MAX: usize = 72;

/// A signature over a whole file that came beside it, in the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Signature {
    pub(crate) algorithm: Algorithm,
    pub(crate) bytes: [u8; 64],
}

impl Signature {
    /// An Ed25519 signature over the file's bytes (RFC 8032), as `openssl pkeyutl -sign -rawin` makes it.
    #[cfg(feature = "ed25519")]
    pub const fn ed25519(bytes: [u8; 64]) -> Self {
        Self { algorithm: Algorithm::Ed25519, bytes }
    }

    /// An ECDSA signature over the file's SHA-256 with a P-256 key, in DER, as AWS code signing and
    /// `openssl dgst -sha256 -sign` make it.
    ///
    /// # Errors
    /// [`Error::SignatureEncoding`].
    pub fn ecdsa_p256(der: &[u8]) -> Result<Self, Error> {
        let bytes = from_der(der)
            .filter(|_| der.get(1).is_some_and(|size| usize::from(*size).checked_add(2) == Some(der.len())));
        Ok(Self { algorithm: Algorithm::EcdsaP256, bytes: bytes.ok_or(Error::SignatureEncoding)? })
    }

    /// Either of them in base64 with padding (RFC 4648, section 4), as job documents carry it: `sig-sha256-ecdsa` of
    /// AWS's `afr_ota`.
    ///
    /// # Errors
    /// [`Error::SignatureEncoding`].
    pub fn from_base64(algorithm: Algorithm, text: &str) -> Result<Self, Error> {
        let mut bytes = [0; DER_MAX];
        let bytes = Base64::decode(text, &mut bytes).map_err(|_| Error::SignatureEncoding)?;
        match algorithm {
            #[cfg(feature = "ed25519")]
            Algorithm::Ed25519 => bytes.try_into().map(Self::ed25519).map_err(|_| Error::SignatureEncoding),
            Algorithm::EcdsaP256 => Self::ecdsa_p256(bytes),
        }
    }
}

/// r and s, 32 bytes each, of an ECDSA signature in DER (RFC 3279, section 2.2.3). What lies behind it is left alone:
/// older `imgtool`s fill up to a fixed size with zeros.
pub(crate) fn from_der(der: &[u8]) -> Option<[u8; 64]> {
    let (_, body) = element(der, 0x30).filter(|(rest, _)| rest.iter().all(|byte| *byte == 0))?;
    let (body, r) = element(body, 0x02)?;
    let (body, s) = element(body, 0x02)?;
    let mut bytes = [0; 64];
    let (into_r, into_s) = bytes.split_at_mut(32);
    (body.is_empty() && number(r, into_r) && number(s, into_s)).then_some(bytes)
}

/// The rest behind the first element, which is of this kind, and its contents. Short lengths are all there is here.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, size], rest) = der.split_first_chunk()?;
    let (contents, rest) = rest.split_at_checked(size.into())?;
    (found == kind && size < 0x80).then_some((rest, contents))
}

/// A positive integer in as few bytes as it takes, to one of a fixed size.
fn number(der: &[u8], out: &mut [u8]) -> bool {
    let digits = match der {
        [0, digits @ ..] if digits.first().is_some_and(|byte| *byte >= 0x80) => digits,
        [first, ..] if (1..0x80).contains(first) => der,
        _ => return false,
    };
    let Some(out) = out.len().checked_sub(digits.len()).and_then(|zeros| out.get_mut(zeros..)) else { return false };
    out.iter_mut().zip(digits).for_each(|(out, digit)| *out = *digit);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn sequence(contents: &[u8]) -> Vec<u8> {
        [&[0x30, contents.len() as u8], contents].concat()
    }

    #[test]
    fn numbers_are_minimal_and_positive() {
        let one = [0x02, 1, 1];
        let largest = [&[0x02, 33, 0][..], &[0xFF; 32]].concat();
        let read = |r: &[u8]| from_der(&sequence(&[r, &one].concat()));
        assert_eq!(read(&one).map(|bytes| (bytes[31], bytes[63])), Some((1, 1)));
        assert_eq!(read(&largest).map(|bytes| bytes[..32].to_vec()), Some(vec![0xFF; 32]));
        assert!(read(&[0x02, 2, 0, 0x80]).is_some());
        let too_long = [&[0x02, 33, 1][..], &[0; 32]].concat();
        for bad in [&[0x02, 0][..], &[0x02, 1, 0], &[0x02, 1, 0x80], &[0x02, 2, 0, 0x7F], &[0x03, 1, 1], &too_long] {
            assert_eq!(read(bad), None, "{bad:x?}");
        }
    }

    #[test]
    fn what_lies_behind_is_zeros_or_refused() {
        let der = sequence(&[0x02, 1, 1, 0x02, 1, 2]);
        assert!(from_der(&[&der[..], &[0, 0]].concat()).is_some());
        assert!(from_der(&[&der[..], &[0, 1]].concat()).is_none());
        assert_eq!(Signature::ecdsa_p256(&[&der[..], &[0]].concat()), Err(Error::SignatureEncoding));
        assert!(from_der(&sequence(&[0x02, 1, 1, 0x02, 1, 2, 0])).is_none());
        (0..der.len()).for_each(|cut| assert_eq!(from_der(&der[..cut]), None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The same signatures as the crate that `p256` itself reads them with, apart from zeros, which no signature has.
        #[test]
        fn der_is_read_as_others_read_it(bytes in proptest::array::uniform32(any::<u8>()), zeros in 0usize..32, flip in any::<(u8, u8)>()) {
            let mut scalars = [bytes, bytes].concat();
            scalars[32..32 + zeros].fill(0);
            let Ok(theirs) = p256::ecdsa::Signature::from_slice(&scalars) else { return Ok(()) };
            let mut der = theirs.to_der().as_bytes().to_vec();
            prop_assert_eq!(from_der(&der).map(|ours| ours.to_vec()), Some(scalars));
            let at = usize::from(flip.0) % der.len();
            der[at] ^= flip.1;
            let theirs = p256::ecdsa::Signature::from_der(&der).ok().map(|theirs| theirs.to_bytes().to_vec());
            prop_assert!(theirs.is_none() || from_der(&der).map(|ours| ours.to_vec()) == theirs);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,120}") {
            let _ = Signature::from_base64(Algorithm::EcdsaP256, &text);
            let _ = Signature::from_base64(Algorithm::Ed25519, &text);
        }
    }
}
