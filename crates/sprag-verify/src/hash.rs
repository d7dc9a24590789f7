//! The SHA-2 digests that images carry.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::key::Key;

/// Which of them.
#[derive(Clone, Copy)]
pub(crate) enum HashKind {
    Sha256,
    Sha384,
    Sha512,
}

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
    pub(crate) fn new(kind: HashKind) -> Self {
        match kind {
            HashKind::Sha256 => Self::Sha256(Sha256::new()),
            HashKind::Sha384 => Self::Sha384(Sha384::new()),
            HashKind::Sha512 => Self::Sha512(Sha512::new()),
        }
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
    pub(crate) fn of_key(kind: HashKind, key: &dyn Key) -> Digest {
        let mut hash = Self::new(kind);
        hash.update(key.algorithm().spki());
        hash.update(key.bytes());
        hash.finalize()
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
