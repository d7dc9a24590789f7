//! Ed25519 keys from the PEM files that `openssl` and `imgtool` write.

use std::path::Path;

use anyhow::{Context, bail};
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{SigningKey, VerifyingKey};

/// Reads a public key (`PUBLIC KEY`, as `openssl pkey -pubout` writes it), or takes the public half of a private one
/// (`PRIVATE KEY`, as `imgtool keygen -t ed25519` writes it).
///
/// # Errors
/// The file can't be read, or holds no Ed25519 key.
pub fn read_public(path: &Path) -> anyhow::Result<[u8; 32]> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    if let Ok(key) = VerifyingKey::from_public_key_pem(&pem) {
        return Ok(key.to_bytes());
    }
    if let Ok(key) = SigningKey::from_pkcs8_pem(&pem) {
        return Ok(key.verifying_key().to_bytes());
    }
    bail!("{}: no Ed25519 key in PEM (PUBLIC KEY, or PRIVATE KEY in PKCS#8)", path.display())
}
