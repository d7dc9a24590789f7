//! A certificate authority and a server certificate, made on the spot.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, version::TLS13};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a TLS server needs, and what its clients need to trust it.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) ca_pem: String,
}

impl Tls {
    /// For `host`, `localhost`, 127.0.0.1 and ::1. The keys (ECDSA P-256) exist in memory only.
    pub(super) fn new(host: &str) -> Result<Self> {
        let ca_key = KeyPair::generate().context("cannot make a key for the certificate authority")?;
        let mut ca = params(Vec::new(), "Sprag local test CA").context("cannot describe the certificate authority")?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&ca_key).context("cannot make the certificate authority")?;

        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
        if !names.iter().any(|name| name == host) {
            names.push(host.into());
        }
        let key = KeyPair::generate().context("cannot make a key for the server")?;
        let mut server =
            params(names, "Sprag local S3").with_context(|| format!("no certificate can name {host:?}"))?;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let certificate =
            server.signed_by(&key, &Issuer::new(ca, ca_key)).context("cannot make the server's certificate")?;

        Ok(Self { acceptor: acceptor(&certificate, &key)?, ca_pem: ca_certificate.pem() })
    }
}

/// Valid from yesterday, for clocks that run late, for a year: clients on devices may not take far-off dates.
fn params(names: Vec<String>, common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 365 * DAY).into();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn acceptor(certificate: &Certificate, key: &KeyPair) -> Result<TlsAcceptor> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .context("TLS 1.3 is not available")?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .context("the server's certificate does not fit its key")?;
    config.alpn_protocols = vec![b"http/1.1".into()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
