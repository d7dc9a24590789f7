//! Keys in files, in the forms that people have: Ed25519 and ECDSA P-256, in PEM or DER.
//!
//! | form | made by |
//! |---|---|
//! | `PRIVATE KEY` (PKCS#8) | `openssl genpkey`, `imgtool keygen`, `sprag keygen` |
//! | `EC PRIVATE KEY` (SEC 1) | `openssl ecparam -genkey`, `espsecure generate-signing-key`, MCUboot's `root-ec-p256.pem` |
//! | `PUBLIC KEY` (SubjectPublicKeyInfo) | `openssl pkey -pubout`, `imgtool getpub --encoding pem` |
//! | `CERTIFICATE` (X.509) | AWS code signing; its key is taken, and nothing else of it is checked |

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::{DecodePublicKey, EncodePublicKey};
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use sprag::verify::{Ed25519Key, Key, P256Key};
use sprag_testkit::image::Signer;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// DER tags.
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// The tag of an element with a number of its own, `[0]`.
const CONTEXT_0: u8 = 0xA0;
/// The object identifier of P-256, 1.2.840.10045.3.1.7, with its tag.
const P256_OID: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Reads a public key, takes the public half of a private one, or takes the key of a certificate.
///
/// # Errors
/// The file can't be read, or holds no such key.
pub fn read_public(path: &Path) -> Result<Box<dyn Key>> {
    match read(path)? {
        Found::Private(signer) => Ok(public(&signer)),
        Found::Public(key) => Ok(key),
    }
}

/// Reads a private key.
///
/// # Errors
/// The file can't be read, or holds no such key.
pub fn read_private(path: &Path) -> Result<Signer> {
    match read(path)? {
        Found::Private(signer) => Ok(*signer),
        Found::Public(_) => bail!("{}: a public key, where a private one is needed", path.display()),
    }
}

/// The key in a file.
enum Found {
    Private(Box<Signer>),
    Public(Box<dyn Key>),
}

fn read(path: &Path) -> Result<Found> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    parse(&bytes).with_context(|| path.display().to_string())
}

/// Reads PEM, with whatever is before the first boundary (RFC 7468, section 2), or DER.
fn parse(bytes: &[u8]) -> Result<Found> {
    ensure!(!bytes.is_empty(), "the file is empty");
    ensure!(!bytes.starts_with(&[0xFF, 0xFE]) && !bytes.starts_with(&[0xFE, 0xFF]), "UTF-16: save it as UTF-8");
    let text = String::from_utf8_lossy(bytes);
    let mut blocks = blocks(&text).peekable();
    if blocks.peek().is_none() {
        return match bytes {
            [SEQUENCE, ..] => der(bytes),
            _ => bail!("no key: neither PEM nor DER"),
        };
    }
    // Others come along: EC PARAMETERS before a key, a chain behind a certificate.
    let known = ["PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE"];
    let mut labels = Vec::new();
    for (label, contents) in blocks {
        if label == "ENCRYPTED PRIVATE KEY" || contents.contains("ENCRYPTED") {
            bail!("the key is encrypted: `openssl pkey -in FILE -out OTHER` decrypts it");
        }
        if known.contains(&label) {
            let base64: String = contents.split_ascii_whitespace().collect();
            return der(&STANDARD.decode(base64).with_context(|| format!("{label}: the base64 is damaged"))?);
        }
        labels.push(label);
    }
    bail!("{}: not an Ed25519 or P-256 key ({} in PEM are read)", labels.join(", "), known.join(", "))
}

/// The blocks of a PEM file: labels, and what is between the boundaries.
fn blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (label, behind) = rest.split_once(BEGIN)?.1.split_once(DASHES)?;
        let (contents, behind) = behind.split_once(END)?;
        rest = behind;
        Some((label, contents))
    })
}

/// Reads a key in DER, whichever structure it is in.
fn der(bytes: &[u8]) -> Result<Found> {
    if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(bytes) {
        return Ok(Found::Private(Box::new(Signer::Ed25519(key))));
    }
    if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_der(bytes) {
        return Ok(Found::Private(Box::new(Signer::P256(key))));
    }
    if let Some(key) = sec1(bytes) {
        return Ok(Found::Private(Box::new(Signer::P256(key))));
    }
    if let Some(key) = spki(bytes) {
        return Ok(Found::Public(key));
    }
    if let Some(info) = certified(bytes) {
        let key = spki(info).context("a certificate whose key is neither Ed25519 nor P-256")?;
        return Ok(Found::Public(key));
    }
    bail!("no Ed25519 or P-256 key: RSA and other curves are not supported")
}

/// A SubjectPublicKeyInfo.
fn spki(bytes: &[u8]) -> Option<Box<dyn Key>> {
    if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_der(bytes) {
        return Some(Box::new(Ed25519Key::new(key.to_bytes())));
    }
    p256::PublicKey::from_public_key_der(bytes).ok().map(|key| point(&key))
}

/// ECPrivateKey (RFC 5915, section 3). The curve may be left out: a length of 32 bytes is P-256 then.
fn sec1(bytes: &[u8]) -> Option<p256::ecdsa::SigningKey> {
    let (body, _, _) = element(bytes, SEQUENCE)?;
    let (version, _, rest) = element(body, INTEGER)?;
    let (scalar, _, rest) = element(rest, OCTET_STRING)?;
    let is_p256 = element(rest, CONTEXT_0).is_none_or(|(curve, _, _)| curve == P256_OID);
    if version == [1] && is_p256 { p256::ecdsa::SigningKey::from_slice(scalar).ok() } else { None }
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280, section 4.1).
fn certified(bytes: &[u8]) -> Option<&[u8]> {
    let (certificate, _, _) = element(bytes, SEQUENCE)?;
    let (body, _, _) = element(certificate, SEQUENCE)?;
    // The version may be left out.
    let rest = element(body, CONTEXT_0).map_or(body, |(_, _, rest)| rest);
    let (_, _, rest) = element(rest, INTEGER)?;
    // Signature algorithm, issuer, validity, subject.
    let mut rest = rest;
    for _ in 0..4 {
        (_, _, rest) = element(rest, SEQUENCE)?;
    }
    element(rest, SEQUENCE).map(|(_, whole, _)| whole)
}

/// The first element, if its tag is this one: its contents, the whole of it, and what is behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (contents, behind) = rest.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - behind.len())?;
    (found == tag).then_some((contents, whole, behind))
}

/// The public half of a private key.
pub fn public(signer: &Signer) -> Box<dyn Key> {
    match signer {
        Signer::Ed25519(key) => Box::new(Ed25519Key::new(key.verifying_key().to_bytes())),
        Signer::P256(key) => point(&key.verifying_key().into()),
    }
}

/// A private key in PEM.
///
/// # Errors
/// It can't be encoded.
pub fn private_pem(signer: &Signer) -> anyhow::Result<String> {
    Ok(match signer {
        // Without the public half, as openssl and imgtool write it: not every reader knows PKCS#8 in version 2.
        Signer::Ed25519(key) => ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }
            .to_pkcs8_pem(LineEnding::LF)?
            .to_string(),
        Signer::P256(key) => p256::SecretKey::from(key).to_pkcs8_pem(LineEnding::LF)?.to_string(),
    })
}

/// The public half of a private key in PEM.
///
/// # Errors
/// It can't be encoded.
pub fn public_pem(signer: &Signer) -> anyhow::Result<String> {
    Ok(match signer {
        Signer::Ed25519(key) => key.verifying_key().to_public_key_pem(LineEnding::LF)?,
        Signer::P256(key) => p256::PublicKey::from(key.verifying_key()).to_public_key_pem(LineEnding::LF)?,
    })
}

fn point(key: &p256::PublicKey) -> Box<dyn Key> {
    let mut bytes = [0; 65];
    bytes.copy_from_slice(key.to_sec1_point(false).as_bytes());
    Box::new(P256Key::new(bytes))
}
