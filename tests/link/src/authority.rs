//! The server's certificates: an authority, one below it, and a leaf; with signatures of one length, so that the bytes on
//! the wire are as many in every run.

use std::sync::Arc;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ResolvesServerCert, ServerConfig};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{SignatureScheme, version};

/// What most signatures with ECDSA over P-256 are long, in DER: one of its two numbers has a zero in front.
const SIGNATURE: usize = 71;

/// The time by the device's and the server's clock, in seconds of Unix.
pub const NOW: u64 = 1_795_764_480;

/// What the server shows, and what the device trusts.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The server's side.
    pub config: Arc<ServerConfig>,
    /// The device's.
    pub root: CertificateDer<'static>,
}

impl Authority {
    /// One for this host.
    ///
    /// # Errors
    /// When no certificates can be made.
    pub fn new(host: &str) -> anyhow::Result<Self> {
        let root_key = Fixed(KeyPair::generate()?);
        let root = authority("Root", 1)?;
        let root_der = root.self_signed(&root_key)?.der().clone();
        let root = Issuer::new(root, root_key);

        let middle_key = Fixed(KeyPair::generate()?);
        let middle = authority("Intermediate", 2)?;
        let middle_der = middle.signed_by(&middle_key, &root)?.der().clone();
        let middle = Issuer::new(middle, middle_key);

        let leaf_key = Fixed(KeyPair::generate()?);
        let mut leaf = CertificateParams::new([host.to_owned()])?;
        leaf.serial_number = Some(SerialNumber::from(3u64));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_der = leaf.signed_by(&leaf_key, &middle)?.der().clone();

        let provider = Arc::new(default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.0.serialize_der()));
        let config = server_config(provider, vec![leaf_der, middle_der], key)?;
        Ok(Self { config: Arc::new(config), root: root_der })
    }
}

fn authority(name: &str, serial: u64) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("Sprag's {name} of the bench"));
    params.serial_number = Some(SerialNumber::from(serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn server_config(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<ServerConfig> {
    let key = FixedKey(provider.key_provider.load_private_key(key)?);
    let resolver: Arc<dyn ResolvesServerCert> =
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, Arc::new(key))));
    let builder = ServerConfig::builder_with_details(provider, Arc::new(Clock));
    let builder = builder.with_protocol_versions(&[&version::TLS13]).context("no TLS 1.3")?;
    Ok(builder.with_no_client_auth().with_cert_resolver(resolver))
}

/// A clock that stands still.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW)))
    }
}

/// Signs until the signature has the length that it is to have.
fn signed<E>(mut sign: impl FnMut() -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
    loop {
        let signature = sign()?;
        if signature.len() == SIGNATURE {
            return Ok(signature);
        }
    }
}

/// A key of an authority.
struct Fixed(KeyPair);

impl PublicKeyData for Fixed {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for Fixed {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        signed(|| self.0.sign(message))
    }
}

/// The server's key.
#[derive(Debug)]
struct FixedKey(Arc<dyn SigningKey>);

impl SigningKey for FixedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(FixedSigner(self.0.choose_scheme(offered)?)))
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct FixedSigner(Box<dyn Signer>);

impl Signer for FixedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        signed(|| self.0.sign(message))
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}
