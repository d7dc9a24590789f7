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
pub(super) static IN_CERTIFICATES: [&dyn SignatureVerificationAlgorithm; 7] = [
    &ECDSA_P256_SHA256,
    &ECDSA_P256_SHA384,
    &ECDSA_P384_SHA256,
    &ECDSA_P384_SHA384,
    &RSA_PKCS1_SHA256,
    &RSA_PKCS1_SHA384,
    &RSA_PKCS1_SHA512,
];

fn p256<H: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
    use p256::ecdsa::signature::hazmat::PrehashVerifier;
    let verify = || {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
        let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
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
