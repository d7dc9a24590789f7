//! The public keys that the bootloaders of the vectors were built with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A public key.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind")]
pub enum Key {
    /// ECDSA over P-256.
    #[serde(rename = "ecdsa-p256")]
    P256 {
        /// SubjectPublicKeyInfo as base64.
        der: String,
    },
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519 {
        /// SubjectPublicKeyInfo as base64.
        der: String,
    },
}

impl Key {
    /// Returns the key as a SubjectPublicKeyInfo, the form whose SHA-256 MCUboot's key hash TLV holds.
    ///
    /// # Errors
    /// The text is not base64.
    pub fn der(&self) -> Result<Vec<u8>> {
        let (Self::P256 { der } | Self::Ed25519 { der }) = self;
        STANDARD.decode(der).context("a key is not base64")
    }
}

/// Public keys by their names.
#[derive(Debug, Clone, Default)]
pub struct Keys(BTreeMap<String, Key>);

impl Keys {
    /// Reads `keys.json` and `keys-2.json`, those of them that are in `folder`.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut keys = BTreeMap::new();
        for name in ["keys.json", "keys-2.json"] {
            let path = folder.join(name);
            if path.exists() {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let more: BTreeMap<String, Key> =
                    serde_json::from_str(&text).with_context(|| format!("{} holds no keys", path.display()))?;
                keys.extend(more);
            }
        }
        Ok(Self(keys))
    }

    /// Returns the key of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<&Key> {
        self.0.get(name).with_context(|| format!("no key {name:?} in keys.json or keys-2.json beside the vectors"))
    }
}
