//! The SHA-2 digests that images carry.

use sha2::digest::{FixedOutputReset, Output};
use sha2::{Digest as _, Sha256};
#[cfg(feature = "sha512")]
use sha2::{Sha384, Sha512};

use crate::key::Key;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum HashKind {
    Sha256,
    #[cfg(feature = "sha512")]
    Sha384,
    #[cfg(feature = "sha512")]
    Sha512,
}

impl HashKind {
    /// Returns the length of its digests in bytes.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            #[cfg(feature = "sha512")]
            Self::Sha384 => 48,
            #[cfg(feature = "sha512")]
            Self::Sha512 => 64,
        }
    }
}

/// A digest under way.
#[derive(Clone)]
pub(crate) enum Hash {
    Sha256(Sha256),
    #[cfg(feature = "sha512")]
    Sha384(Sha384),
    #[cfg(feature = "sha512")]
    Sha512(Sha512),
}

/// Its value.
pub(crate) struct Digest {
    bytes: [u8; 64],
    length: usize,
}

impl Hash {
    pub(crate) fn new(kind: HashKind) -> Self {
        match kind {
            HashKind::Sha256 => Self::Sha256(Sha256::new()),
            #[cfg(feature = "sha512")]
            HashKind::Sha384 => Self::Sha384(Sha384::new()),
            #[cfg(feature = "sha512")]
            HashKind::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            #[cfg(feature = "sha512")]
            Self::Sha384(hash) => hash.update(bytes),
            #[cfg(feature = "sha512")]
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// See [`Digest::of`].
    pub(crate) fn finalize(&mut self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::of(hash),
            #[cfg(feature = "sha512")]
            Self::Sha384(hash) => Digest::of(hash),
            #[cfg(feature = "sha512")]
            Self::Sha512(hash) => Digest::of(hash),
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
    /// Of what was hashed, which is forgotten with it.
    pub(crate) fn of<D: FixedOutputReset>(hash: &mut D) -> Self {
        let (mut bytes, length) = ([0; 64], D::output_size());
        // There is room for the longest.
        if let Some(out) = bytes.get_mut(..length).and_then(|out| <&mut Output<D>>::try_from(out).ok()) {
            hash.finalize_into_reset(out);
        }
        Self { bytes, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
