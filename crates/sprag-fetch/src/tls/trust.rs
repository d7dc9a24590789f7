//! Who is believed to be who: chain, host name and possession of the key, checked while the handshake goes on.

use core::fmt;
use core::net::IpAddr;

use embedded_tls::{
    Certificate, CertificateEntryRef, CertificateRef, CertificateVerifyRef, CryptoProvider, CryptoRngCore,
    SignatureScheme, TlsError, TlsVerifier,
};
use p256_tls::ecdsa::signature::SignerMut;
use rustls_pki_types::{
    self as pki_types, CertificateDer, DnsName, ServerName, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
    alg_id,
};
use sha2_tls::{Digest, Sha256};
use webpki::{EndEntityCert, RawPublicKeyEntity, anchor_from_trusted_cert};

use super::der::{SEQUENCE, element};
use super::identity::{DerSignature, Identity, Signer};
use super::key_usage::{Use, allows};
use super::path::{Chain, Work};
use super::signatures;
use super::suite::CheckedSuite;
use crate::address;

/// As many certificates as `embedded-tls` takes from a server.
const CHAIN_MAX: usize = 16;
/// The longest public key that is kept: RSA with 4096 bits takes 550 bytes, P-384 120.
const KEY_MAX: usize = if cfg!(feature = "tls-rsa") { 560 } else { 128 };

/// Which servers are believed, and on which day.
#[derive(Clone, Copy)]
pub struct Trust<'r> {
    roots: &'r [&'r [u8]],
    clock: Option<&'r dyn Fn() -> u64>,
}

impl fmt::Debug for Trust<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("roots", &self.roots.len()).field("clock", &self.clock.is_some()).finish()
    }
}

impl<'r> Trust<'r> {
    /// Believes servers whose certificate leads to one of `roots`, at the time that `clock` tells.
    ///
    /// The roots are X.509 certificates in DER, as certificate authorities publish them: for Amazon S3, Amazon Root CA 1
    /// to 4. Of each only subject, key and name constraints count. The clock tells seconds since 1970; a clock that is
    /// not set yet makes every certificate one of the future.
    pub const fn new(roots: &'r [&'r [u8]], clock: &'r dyn Fn() -> u64) -> Self {
        Self { roots, clock: Some(clock) }
    }

    /// The same for a device that does not know what time it is: **a certificate that expired years ago is believed**, and
    /// so is whoever came by its key since. All else is checked; all certificates of a chain must have been valid at one
    /// and the same moment.
    pub const fn without_clock(roots: &'r [&'r [u8]]) -> Self {
        Self { roots, clock: None }
    }

    /// Checks what can be checked before there is a server.
    ///
    /// # Errors
    /// [`CertificateError::Root`].
    pub(super) fn check_roots(&self) -> Result<(), CertificateError> {
        let are_certificates =
            self.roots.iter().all(|root| anchor_from_trusted_cert(&CertificateDer::from(*root)).is_ok());
        if are_certificates && !self.roots.is_empty() { Ok(()) } else { Err(CertificateError::Root) }
    }

    /// Checks a chain, leaf first: the leaf's public key.
    pub(super) fn chain(
        &self,
        host: &str,
        chain: &[CertificateDer<'_>],
        work: &Work,
    ) -> Result<SubjectKey, CertificateError> {
        let (leaf, sent) = chain.split_first().ok_or(CertificateError::Missing)?;
        // `ServerName::try_from` would link another parser of addresses.
        let name = match address::parse(host) {
            Some(IpAddr::V4(address)) => ServerName::IpAddress(pki_types::IpAddr::V4(address.octets().into())),
            Some(IpAddr::V6(address)) => ServerName::IpAddress(pki_types::IpAddr::V6(address.segments().into())),
            None => ServerName::DnsName(DnsName::try_from(host).map_err(|_| CertificateError::OtherHost)?),
        };
        // Before all that takes time.
        EndEntityCert::try_from(leaf)?.verify_is_valid_for_subject_name(&name)?;
        if !allows(leaf, Use::Handshake) {
            return Err(CertificateError::Unfit);
        }
        let now = self.clock.map(|clock| clock());
        let chain = Chain::choose(leaf, sent);
        let mut refused = CertificateError::UnknownIssuer;
        for root in self.roots {
            let root = CertificateDer::from(*root);
            let anchor = anchor_from_trusted_cert(&root).map_err(|_| CertificateError::Root)?;
            match chain.leads_to(&anchor, now, work) {
                Ok(()) => return SubjectKey::of(leaf),
                // Another root may do; what is wrong beyond that is worth telling.
                Err(CertificateError::UnknownIssuer) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// A public key as a `SubjectPublicKeyInfo` in DER.
pub(super) struct SubjectKey(heapless::Vec<u8, KEY_MAX>);

impl SubjectKey {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        // What makes an anchor of a certificate finds the key in it; the header before it is left out there.
        let anchor = anchor_from_trusted_cert(certificate)?;
        let body = anchor.subject_public_key_info.as_ref();
        let (algorithm, _) = element(body, SEQUENCE).ok_or(CertificateError::Unfit)?;
        if cfg!(not(feature = "tls-rsa")) && algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
            return Err(CertificateError::NeedsRsa);
        }
        if cfg!(not(feature = "tls-p384")) && algorithm == alg_id::ECDSA_P384.as_ref() {
            return Err(CertificateError::NeedsP384);
        }
        let length = u16::try_from(body.len()).map_err(|_| CertificateError::Unsupported)?.to_be_bytes();
        let header: &[u8] = match length {
            [0, short @ 0..0x80] => &[0x30, short],
            [0, long] => &[0x30, 0x81, long],
            [high, low] => &[0x30, 0x82, high, low],
        };
        let mut key = heapless::Vec::new();
        key.extend_from_slice(header)
            .and_then(|()| key.extend_from_slice(body))
            .map_err(|_| CertificateError::Unsupported)?;
        Ok(Self(key))
    }

    fn verify(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CertificateError> {
        let key = SubjectPublicKeyInfoDer::from(self.0.as_slice());
        Ok(RawPublicKeyEntity::try_from(&key)?.verify_signature(algorithm, message, signature)?)
    }
}

/// A certificate that is good. With the key in it, the server has to sign the handshake up to there.
struct Shown {
    key: SubjectKey,
    transcript: [u8; 32],
}

/// Checks one server, in one handshake; and says who the device is.
pub(super) struct Check<'a, R> {
    trust: Trust<'a>,
    identity: Option<Identity<'a>>,
    host: &'a str,
    rng: R,
    shown: Option<Shown>,
    proved: bool,
    refused: Option<CertificateError>,
    unsigned: bool,
}

impl<'a, R: CryptoRngCore> Check<'a, R> {
    pub(super) fn new(trust: Trust<'a>, identity: Option<Identity<'a>>, host: &'a str, rng: R) -> Self {
        Self { trust, identity, host, rng, shown: None, proved: false, refused: None, unsigned: false }
    }

    /// Why the certificate was refused, if it was.
    pub(super) fn refused(&self) -> Option<CertificateError> {
        self.refused
    }

    /// **That the server has proved who it is**, and so has the device if it was asked. To be asked after the handshake:
    /// `embedded-tls` 0.19 takes one in which the server shows no certificate at all for complete, and knows no key that
    /// doesn't sign.
    pub(super) fn passed(&self) -> Result<(), super::TlsError> {
        if !self.proved {
            return Err(super::TlsError::Certificate(CertificateError::Missing));
        }
        if self.unsigned { Err(super::TlsError::Identity) } else { Ok(()) }
    }

    fn certificate(&mut self, transcript: &Sha256, shown: &CertificateRef<'_>) -> Result<(), CertificateError> {
        if self.shown.is_some() || self.proved {
            return Err(CertificateError::Unfit);
        }
        let mut chain = heapless::Vec::<CertificateDer<'_>, CHAIN_MAX>::new();
        for entry in &shown.entries {
            let CertificateEntryRef::X509(certificate) = entry else { return Err(CertificateError::Unsupported) };
            chain.push(CertificateDer::from(*certificate)).map_err(|_| CertificateError::Unsupported)?;
        }
        let key = self.trust.chain(self.host, &chain, &Work::default())?;
        self.shown = Some(Shown { key, transcript: transcript.clone().finalize().into() });
        Ok(())
    }

    /// `CertificateVerify` (RFC 8446, section 4.4.3).
    fn signature(&mut self, scheme: SignatureScheme, signature: &[u8]) -> Result<(), CertificateError> {
        let Shown { key, transcript } = self.shown.take().ok_or(CertificateError::Missing)?;
        let algorithm = match scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => &signatures::ECDSA_P256_SHA256,
            SignatureScheme::EcdsaSecp384r1Sha384 => &signatures::ECDSA_P384_SHA384,
            SignatureScheme::RsaPssRsaeSha256 => &signatures::RSA_PSS_SHA256,
            SignatureScheme::RsaPssRsaeSha384 => &signatures::RSA_PSS_SHA384,
            SignatureScheme::RsaPssRsaeSha512 => &signatures::RSA_PSS_SHA512,
            _ => return Err(CertificateError::Unsupported),
        };
        algorithm.is_built_in()?;
        const CONTEXT: &[u8; 34] = b"TLS 1.3, server CertificateVerify\0";
        let mut message = [b' '; 64 + CONTEXT.len() + 32];
        let signed = [CONTEXT.as_slice(), &transcript].into_iter().flatten();
        message.iter_mut().skip(64).zip(signed).for_each(|(place, byte)| *place = *byte);
        key.verify(algorithm, &message, signature)?;
        self.proved = true;
        Ok(())
    }

    fn note(&mut self, result: Result<(), CertificateError>) -> Result<(), TlsError> {
        result.map_err(|error| {
            self.refused = Some(error);
            TlsError::InvalidCertificate
        })
    }
}

impl<R: CryptoRngCore> TlsVerifier<CheckedSuite> for Check<'_, R> {
    fn set_hostname_verification(&mut self, _: &str) -> Result<(), TlsError> {
        // Known from the beginning, in its full length.
        Ok(())
    }

    fn verify_certificate(&mut self, transcript: &Sha256, shown: CertificateRef<'_>) -> Result<(), TlsError> {
        let result = self.certificate(transcript, &shown);
        self.note(result)
    }

    fn verify_signature(&mut self, verify: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        let result = self.signature(verify.signature_scheme, verify.signature);
        self.note(result)
    }
}

impl<R: CryptoRngCore> CryptoProvider for Check<'_, R> {
    type CipherSuite = CheckedSuite;
    type Signature = DerSignature;

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<CheckedSuite>, TlsError> {
        Ok(self)
    }

    fn signer(&mut self) -> Result<(impl SignerMut<DerSignature>, SignatureScheme), TlsError> {
        let Identity { key, .. } = self.identity.ok_or(TlsError::InvalidPrivateKey)?;
        Ok((Signer { key, failed: &mut self.unsigned }, SignatureScheme::EcdsaSecp256r1Sha256))
    }

    fn client_cert(&mut self) -> Option<Certificate<impl AsRef<[u8]>>> {
        // Asked for as well where the server has not shown who it is: that one is told nothing.
        let identity = self.identity.filter(|_| self.proved)?;
        Some(Certificate::X509(identity.certificate))
    }
}

/// For the fuzz targets: whatever is shown, it must not be believed without the root's signature.
#[cfg(fuzzing)]
pub fn fuzz_chain(root: &[u8], chain: &[&[u8]], host: &str) -> Result<(), CertificateError> {
    let certificates: heapless::Vec<CertificateDer<'_>, CHAIN_MAX> =
        chain.iter().take(CHAIN_MAX).map(|certificate| CertificateDer::from(*certificate)).collect();
    Trust::without_clock(&[root]).chain(host, &certificates, &Work::default()).map(|_| ())
}

/// Why a server is not believed to be who it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CertificateError {
    /// The server showed none, or did not show that it has the key to it.
    Missing,
    /// One of the chain has expired.
    Expired,
    /// One of the chain is not valid yet; or the clock of the device is not set.
    NotYetValid,
    /// It is for another host.
    OtherHost,
    /// The chain leads to none of the roots; or the certificate vouches for itself.
    UnknownIssuer,
    /// A signature in the chain, or the one over the handshake, does not fit.
    Signature,
    /// A kind of key, signature or extension that is not known here.
    Unsupported,
    /// A key or a signature is RSA, and this crate was built without its feature `tls-rsa`.
    NeedsRsa,
    /// A key is for P-384, or an ECDSA signature is by SHA-384, and this crate was built without its feature `tls-p384`.
    NeedsP384,
    /// It is for something else than a server, or an authority's, or not as X.509 has it.
    Unfit,
    /// Its path to a root takes more than four intermediate certificates, or more than six checks of signatures: what leads to
    /// nothing counts as well.
    TooComplex,
    /// One of the roots passed to [`Trust`] is no certificate, or there is none. Nothing is connected to then.
    Root,
}

impl CertificateError {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "cert-missing",
            Self::Expired => "cert-expired",
            Self::NotYetValid => "cert-not-yet-valid",
            Self::OtherHost => "cert-other-host",
            Self::UnknownIssuer => "cert-unknown-issuer",
            Self::Signature => "cert-signature",
            Self::Unsupported => "cert-unsupported",
            Self::NeedsRsa => "cert-needs-tls-rsa",
            Self::NeedsP384 => "cert-needs-tls-p384",
            Self::Unfit => "cert-unfit",
            Self::TooComplex => "cert-too-complex",
            Self::Root => "root-malformed",
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the server proved no certificate its own",
            Self::Expired => "the server's certificate has expired",
            Self::NotYetValid => "the server's certificate is not valid yet",
            Self::OtherHost => "the server's certificate is for another host",
            Self::UnknownIssuer => "the server's certificate is by none of the authorities that are trusted",
            Self::Signature => "a signature of the server or its certificates is wrong",
            Self::Unsupported => "the server's certificate has a key or a signature of a kind that is not supported",
            Self::NeedsRsa => "the server's certificates need RSA, and this firmware has it not (feature `tls-rsa`)",
            Self::NeedsP384 => {
                "the server's certificates need P-384, and this firmware has it not (feature `tls-p384`)"
            }
            Self::Unfit => "the server's certificate is not one for a server",
            Self::TooComplex => "the server's certificates are too many to be checked",
            Self::Root => "no root is trusted, or one that is no X.509 certificate",
        })
    }
}

impl core::error::Error for CertificateError {}

impl From<webpki::Error> for CertificateError {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            E::CertNotValidForName(_) => Self::OtherHost,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::InvalidSignatureForPublicKey | E::SignatureAlgorithmMismatch => Self::Signature,
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | E::UnsupportedCriticalExtension
            | E::UnsupportedCertVersion => Self::Unsupported,
            _ => Self::Unfit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{IdentityKey, TlsError};

    #[derive(Debug)]
    struct Nothing;

    impl IdentityKey for Nothing {
        fn sign(&self, _: &[u8; 32]) -> Option<[u8; 64]> {
            None
        }
    }

    struct NoDice;

    impl rand_core::CryptoRng for NoDice {}

    impl rand_core::RngCore for NoDice {
        fn next_u32(&mut self) -> u32 {
            0
        }

        fn next_u64(&mut self) -> u64 {
            0
        }

        fn fill_bytes(&mut self, _: &mut [u8]) {}

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), rand_core::Error> {
            Ok(())
        }
    }

    /// `embedded-tls` asks for the device's certificate even where the server showed none; and goes on when the key fails.
    #[test]
    fn who_the_device_is_hears_only_who_has_proved_who_it_is() {
        let identity = Identity::new(&[0x30], &Nothing);
        let mut check = Check::new(Trust::without_clock(&[]), Some(identity), "a.example", NoDice);
        assert!(check.client_cert().is_none());
        assert_eq!(check.passed(), Err(TlsError::Certificate(CertificateError::Missing)));
        check.proved = true;
        assert!(check.client_cert().is_some());
        assert_eq!(check.passed(), Ok(()));
        assert!(check.signer().is_ok_and(|(mut signer, _)| signer.sign(b"a handshake").is_empty()));
        assert_eq!(check.passed(), Err(TlsError::Identity));
    }
}
