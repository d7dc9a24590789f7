//! Authorities and certificates, made for one test.

use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
};

const DAY: u64 = 24 * 60 * 60;

/// Of what kind a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RSA, with so many bits.
    Rsa(u32),
    P256,
    P384,
}

impl Kind {
    fn key(self) -> KeyPair {
        match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key"),
            Self::Rsa(bits) => {
                let bits = format!("rsa_keygen_bits:{bits}");
                let output = Command::new("openssl")
                    .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &bits])
                    .output()
                    .expect("openssl is not installed: this test needs it");
                let pem = String::from_utf8(output.stdout).expect("PEM");
                KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).expect("a key")
            }
        }
    }
}

/// A key for a server. RSA's take their time to make: one of each size is enough.
fn server_key(kind: Kind) -> KeyPair {
    static MADE: Mutex<Vec<(Kind, String)>> = Mutex::new(Vec::new());
    if !matches!(kind, Kind::Rsa(_)) {
        return kind.key();
    }
    let mut made = MADE.lock().expect("no test panicked");
    let at = made.iter().position(|(of, _)| *of == kind).unwrap_or_else(|| {
        made.push((kind, kind.key().serialize_pem()));
        made.len() - 1
    });
    KeyPair::from_pem_and_sign_algo(&made[at].1, &PKCS_RSA_SHA256).expect("a key")
}

/// What is said of a server. By default: `localhost`, from yesterday to in a month.
#[derive(Debug)]
pub(crate) struct Leaf<'n> {
    pub(crate) name: &'n str,
    pub(crate) days: (i64, i64),
    pub(crate) usage: ExtendedKeyUsagePurpose,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self { name: "localhost", days: (-1, 30), usage: ExtendedKeyUsagePurpose::ServerAuth }
    }
}

/// A certificate, and the key to it.
pub(crate) trait Certified {
    fn certificate_pem(&self) -> String;
    fn key_pem(&self) -> String;
}

pub(crate) struct Authority {
    params: CertificateParams,
    certificate: Certificate,
    key: KeyPair,
}

pub(crate) struct Server {
    params: CertificateParams,
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn root(kind: Kind, name: &str) -> Self {
        let (params, key) = (authority(name, (-4000, 4000)), kind.key());
        let certificate = params.self_signed(&key).expect("a root");
        Self { params, certificate, key }
    }

    pub(crate) fn intermediate(&self, kind: Kind, name: &str) -> Self {
        self.sign(authority(name, (-4000, 4000)), kind.key())
    }

    pub(crate) fn intermediate_that_expired(&self, kind: Kind) -> Self {
        self.sign(authority("A late one", (-40, -1)), kind.key())
    }

    /// The other authority's name and key, in a certificate by this one.
    pub(crate) fn cross_signed(&self, other: &Self) -> Self {
        let key = KeyPair::from_pem_and_sign_algo(&other.key.serialize_pem(), other.key.algorithm()).expect("a key");
        self.sign(other.params.clone(), key)
    }

    fn sign(&self, params: CertificateParams, key: KeyPair) -> Self {
        let certificate = params.signed_by(&key, &self.issuer()).expect("a certificate");
        Self { params, certificate, key }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(crate) fn leaf(&self, kind: Kind, leaf: &Leaf<'_>) -> Server {
        let mut params = CertificateParams::new([leaf.name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        (params.not_before, params.not_after) = (day(leaf.days.0).into(), day(leaf.days.1).into());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![leaf.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        let key = server_key(kind);
        let certificate = params.signed_by(&key, &self.issuer()).expect("a certificate");
        Server { params, certificate, key }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }
}

impl Server {
    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Whoever has the key can sign with it: an authority that it is not.
    pub(crate) fn misused_as_authority(&self) -> Authority {
        let key = KeyPair::from_pem_and_sign_algo(&self.key.serialize_pem(), self.key.algorithm()).expect("a key");
        Authority { params: self.params.clone(), certificate: self.certificate.clone(), key }
    }
}

impl Certified for Authority {
    fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl Certified for Server {
    fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

fn authority(name: &str, days: (i64, i64)) -> CertificateParams {
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (day(days.0).into(), day(days.1).into());
    params
}

/// So many days from now.
fn day(days: i64) -> SystemTime {
    let time = Duration::from_secs(DAY * days.unsigned_abs());
    if days < 0 { SystemTime::now() - time } else { SystemTime::now() + time }
}
