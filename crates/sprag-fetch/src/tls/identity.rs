//! Who the device is, for servers that ask for it: its certificate, and the key to it.

use core::fmt;

use p256_tls::SecretKey;
use p256_tls::ecdsa::signature::{self, SignerMut, hazmat::PrehashSigner};
use p256_tls::ecdsa::{Signature, SigningKey};
use p256_tls::pkcs8::DecodePrivateKey;
use sha2_tls::{Digest, Sha256};

use super::session::WRITE_BUFFER_MIN;

/// What a certificate's record has beside the certificate (RFC 8446): the header of the record, and type and tag of what is
/// encrypted (section 5.2); the header of the message (section 4); the lengths of context, list, certificate and extensions
/// (section 4.4.2).
const AROUND_CERTIFICATE: usize = (5 + 1 + 16) + AROUND_IN_FRAGMENT;
/// What of it counts where records have been agreed to be short (RFC 6066, section 4): all that is encrypted.
pub(super) const AROUND_IN_FRAGMENT: usize = 4 + (1 + 3 + 3 + 2);

/// The private key of a device's certificate, for ECDSA over NIST P-256 with SHA-256 (FIPS 186-5).
///
/// The hashing is done here, so a key may as well be one that never leaves a secure element:
///
/// ```
/// use sprag_fetch::IdentityKey;
///
/// #[derive(Debug)]
/// struct InSecureElement {
///     slot: u8,
/// }
///
/// impl IdentityKey for InSecureElement {
///     fn sign(&self, digest: &[u8; 32]) -> Option<[u8; 64]> {
///         # fn element_sign(_: u8, _: &[u8; 32]) -> Result<[u8; 64], ()> { Err(()) }
///         element_sign(self.slot, digest).ok()
///     }
/// }
/// ```
pub trait IdentityKey: fmt::Debug {
    /// The signature over a digest: r and s, 32 bytes each, most significant first; `None` when there is none to be had.
    ///
    /// It is asked for once in each handshake, which waits for it.
    fn sign(&self, digest: &[u8; 32]) -> Option<[u8; 64]>;
}

/// What a device shows of itself to a server that asks for it: a client certificate (RFC 8446, sections 4.4.2 and 4.4.3).
///
/// The certificate alone is sent, no intermediates: the server must know its issuer, or as AWS IoT does, the certificate
/// itself. Whether the key is the one of the certificate is for the server to see.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'k> {
    pub(super) certificate: &'k [u8],
    pub(super) key: &'k dyn IdentityKey,
}

impl<'k> Identity<'k> {
    /// An identity by an X.509 certificate in DER, for a key over P-256, and that key.
    pub const fn new(certificate: &'k [u8], key: &'k dyn IdentityKey) -> Self {
        Self { certificate, key }
    }

    /// How large a write buffer must be for this certificate, in bytes: it goes out in one record.
    #[allow(clippy::arithmetic_side_effects)] // No slice is that long.
    pub const fn write_buffer(certificate: &[u8]) -> usize {
        let needed = certificate.len() + AROUND_CERTIFICATE;
        if needed > WRITE_BUFFER_MIN { needed } else { WRITE_BUFFER_MIN }
    }
}

/// A private key in memory, with nonces that need no random numbers (RFC 6979). It is wiped when it is dropped.
pub struct P256IdentityKey(SigningKey);

impl fmt::Debug for P256IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("P256IdentityKey").finish_non_exhaustive()
    }
}

impl P256IdentityKey {
    /// The key of this number, most significant byte first; `None` if it is no key's.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(key).ok().map(Self)
    }

    /// A key in DER, as `openssl genpkey` has it (PKCS #8, RFC 5958) or `openssl ecparam -genkey` (SEC 1, RFC 5915); `None`
    /// if it is anything else, or for another curve.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let key = SecretKey::from_pkcs8_der(der).ok().or_else(|| SecretKey::from_sec1_der(der).ok())?;
        Some(Self(key.into()))
    }
}

impl IdentityKey for P256IdentityKey {
    fn sign(&self, digest: &[u8; 32]) -> Option<[u8; 64]> {
        let signature: Signature = self.0.sign_prehash(digest).ok()?;
        Some(signature.to_bytes().into())
    }
}

/// `ECDSA-Sig-Value` in DER (RFC 3279, section 2.2.3), the longest of which has 72 bytes.
pub(super) type DerSignature = heapless::Vec<u8, 72>;

/// Not by `ecdsa`, whose own has a path that panics.
fn to_der(signature: &[u8; 64]) -> Option<DerSignature> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let mut numbers = DerSignature::new();
    for number in signature.chunks(32) {
        // As short as can be, and not to be taken for a negative one. Zero is in no signature.
        let number = number.get(number.iter().position(|byte| *byte != 0)?..)?;
        let sign: &[u8] = if number.first()? < &0x80 { &[] } else { &[0] };
        let length = u8::try_from(sign.len().saturating_add(number.len())).ok()?;
        for part in [&[INTEGER, length], sign, number] {
            numbers.extend_from_slice(part).ok()?;
        }
    }
    let mut der = DerSignature::new();
    der.extend_from_slice(&[SEQUENCE, u8::try_from(numbers.len()).ok()?]).ok()?;
    der.extend_from_slice(&numbers).ok()?;
    Some(der)
}

/// Signs the handshake. `embedded-tls` 0.19 knows no signer that fails: it is noted, and an empty signature goes out, which
/// no server takes.
pub(super) struct Signer<'c> {
    pub(super) key: &'c dyn IdentityKey,
    pub(super) failed: &'c mut bool,
}

impl SignerMut<DerSignature> for Signer<'_> {
    fn try_sign(&mut self, message: &[u8]) -> Result<DerSignature, signature::Error> {
        Ok(self.sign(message))
    }

    // What it is by default panics at an error.
    fn sign(&mut self, message: &[u8]) -> DerSignature {
        let signature = self.key.sign(&Sha256::digest(message).into());
        signature.and_then(|signature| to_der(&signature)).unwrap_or_else(|| {
            *self.failed = true;
            DerSignature::new()
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use p256_tls::ecdsa::VerifyingKey;
    use p256_tls::ecdsa::signature::hazmat::PrehashVerifier;
    use proptest::prelude::*;
    use std::format;
    use std::vec::Vec;

    // RFC 6979, A.2.5: the key, its public one, and the signature over "sample" with SHA-256.
    const X: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    const U: &str = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
        7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
    const SAMPLE: &str = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
        f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

    fn hex(digits: &str) -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(digit).collect()
    }

    fn key(x: &str) -> Option<P256IdentityKey> {
        P256IdentityKey::new(&hex(x).try_into().unwrap())
    }

    /// As `openssl ec -outform der` writes it.
    fn sec1() -> Vec<u8> {
        hex(&format!("30770201010420{X}a00a06082a8648ce3d030107a14403420004{U}"))
    }

    /// As `openssl pkcs8 -topk8 -nocrypt -outform der` writes it.
    fn pkcs8() -> Vec<u8> {
        let algorithm = "301306072a8648ce3d020106082a8648ce3d030107";
        hex(&format!("308187020100{algorithm}046d306b0201010420{X}a14403420004{U}"))
    }

    #[test]
    fn the_vector_of_rfc_6979_whatever_the_key_came_in() {
        let digest = Sha256::digest(b"sample").into();
        for key in [key(X), P256IdentityKey::from_der(&sec1()), P256IdentityKey::from_der(&pkcs8())] {
            let signature = key.unwrap().sign(&digest).unwrap();
            assert_eq!(signature.as_slice(), hex(SAMPLE));
            let public = VerifyingKey::from_sec1_bytes(&[&[4], hex(U).as_slice()].concat()).unwrap();
            public.verify_prehash(&digest, &Signature::from_slice(&signature).unwrap()).unwrap();
            public.verify_prehash(&[0; 32], &Signature::from_slice(&signature).unwrap()).unwrap_err();
        }
    }

    #[test]
    fn what_is_no_key() {
        // Zero, and the order of the curve.
        assert!(key(&"0".repeat(64)).is_none());
        assert!(key("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").is_none());
        // On secp256k1; with a public key that is another's; in the encoding of the other curve.
        let other = "30740201010420ec9c9dfad42e07e4f7bff12e0d8dfc1198b1ef8e98f5095b2d0d3320b76d11a3a00706052b8104000aa1440342\
            0004da9163a65630771fc35cfad7e2a909b61c5200cc42ce16bad2943cd7c0957e06fb54dfc8e71f668bf3cceb38397507c7b95df7815b3b\
            feb1d34dbc8254c3716a";
        assert!(P256IdentityKey::from_der(&hex(other)).is_none());
        for good in [sec1(), pkcs8()] {
            assert!((0..good.len()).all(|length| P256IdentityKey::from_der(&good[..length]).is_none()));
            let x = good.windows(4).position(|bytes| bytes == &hex(X)[..4]).unwrap();
            let mut bad = good.clone();
            bad[x] ^= 1;
            assert!(P256IdentityKey::from_der(&bad).is_none());
        }
        assert!(P256IdentityKey::from_der(b"-----BEGIN PRIVATE KEY-----").is_none());
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = key(X).unwrap();
        let identity = Identity::new(&[0x30], &key);
        assert_eq!(format!("{key:?}"), "P256IdentityKey { .. }");
        assert!(!format!("{identity:?}").contains("201"), "the first byte of the key");
    }

    #[derive(Debug)]
    struct Says(Option<[u8; 64]>);

    impl IdentityKey for Says {
        fn sign(&self, _: &[u8; 32]) -> Option<[u8; 64]> {
            self.0
        }
    }

    #[test]
    fn what_a_key_says_becomes_der_or_is_noted() {
        let sign = |says| {
            let mut failed = false;
            let signature = Signer { key: &Says(says), failed: &mut failed }.sign(b"a handshake");
            (signature.to_vec(), failed)
        };
        let short = [[0; 31].as_slice(), &[1], &[0x80], &[0; 31]].concat().try_into().unwrap();
        let der = [hex("3026020101022100"), [&[0x80], [0; 31].as_slice()].concat()].concat();
        assert_eq!(sign(Some(short)), (der, false));
        assert_eq!(sign(Some([0xff; 64])).0.len(), 72);
        for none in [None, Some([0; 64])] {
            assert_eq!(sign(none), (Vec::new(), true));
        }
    }

    proptest! {
        #[test]
        fn der_is_what_p256_makes_of_it(mut signature: [u8; 64], r in 0..32_usize, s in 32..64_usize) {
            signature[..r].fill(0);
            signature[32..s].fill(0);
            if let Ok(known) = Signature::from_slice(&signature) {
                assert_eq!(to_der(&signature).unwrap(), known.to_der().as_bytes());
            }
        }
    }
}
