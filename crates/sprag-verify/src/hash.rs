//! The SHA-2 digests that images carry.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::key::Key;

/// A digest under way.
#[derive(Clone)]
pub(crate) enum Hash {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

/// Its value.
pub(crate) enum Digest {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

impl Hash {
    pub(crate) fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    pub(crate) fn sha384() -> Self {
        Self::Sha384(Sha384::new())
    }

    pub(crate) fn sha512() -> Self {
        Self::Sha512(Sha512::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finalize(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(hash.finalize().into()),
            Self::Sha384(hash) => Digest::Sha384(hash.finalize().into()),
            Self::Sha512(hash) => Digest::Sha512(hash.finalize().into()),
        }
    }

    /// Of a key's DER encoding.
    pub(crate) fn of_key(mut self, key: &dyn Key) -> Digest {
        self.update(key.algorithm().spki());
        self.update(key.bytes());
        self.finalize()
    }
}

impl Digest {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }
}
