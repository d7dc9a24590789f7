//! Keys in PEM, as `openssl` and `imgtool` write them: Ed25519 and ECDSA P-256, private ones in PKCS#8 and public ones in
//! SPKI.

use std::path::Path;

use anyhow::{Context, bail};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::{DecodePublicKey, EncodePublicKey};
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use sprag::verify::{Ed25519Key, Key, P256Key};
use sprag_testkit::image::Signer;

/// Reads a public key (`PUBLIC KEY`, as `openssl pkey -pubout` and `imgtool getpub --encoding pem` write it), or takes the
/// public half of a private one (`PRIVATE KEY`, as `openssl genpkey` and `imgtool keygen` write it).
///
/// # Errors
/// The file can't be read, or holds no such key.
pub fn read_public(path: &Path) -> anyhow::Result<Box<dyn Key>> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    if let Some(signer) = private(&pem) {
        return Ok(public(&signer));
    }
    if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(&pem) {
        return Ok(Box::new(Ed25519Key::new(key.to_bytes())));
    }
    if let Ok(key) = p256::PublicKey::from_public_key_pem(&pem) {
        return Ok(point(&key));
    }
    bail!("{}: no Ed25519 or P-256 key in PEM (PUBLIC KEY, or PRIVATE KEY in PKCS#8)", path.display())
}

/// Reads a private key (`PRIVATE KEY`, as `openssl genpkey` and `imgtool keygen` write it).
///
/// # Errors
/// The file can't be read, or holds no such key.
pub fn read_private(path: &Path) -> anyhow::Result<Signer> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    private(&pem).with_context(|| format!("{}: no Ed25519 or P-256 PRIVATE KEY in PEM (PKCS#8)", path.display()))
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

fn private(pem: &str) -> Option<Signer> {
    let ed25519 = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(Signer::Ed25519);
    ed25519.ok().or_else(|| p256::ecdsa::SigningKey::from_pkcs8_pem(pem).map(Signer::P256).ok())
}

fn point(key: &p256::PublicKey) -> Box<dyn Key> {
    let mut bytes = [0; 65];
    bytes.copy_from_slice(key.to_sec1_point(false).as_bytes());
    Box::new(P256Key::new(bytes))
}
