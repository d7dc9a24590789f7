//! Who may sign, and what an image must be to run here.

use crate::error::Error;
use crate::key::PublicKey;
use crate::version::Version;

/// What an image must be to run here. There is none without a key: what is not signed is refused.
///
/// ```
/// # use sprag_verify::{Policy, PublicKey, Version};
/// const KEY: PublicKey = PublicKey::ed25519([0x11; 32]);
/// let policy = Policy::signed_by(&KEY).newer_than(Version::new(1, 4, 2));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Policy<'k> {
    keys: &'k [PublicKey],
    newer_than: Option<Version>,
}

impl<'k> Policy<'k> {
    /// The image must be signed with this key.
    pub const fn signed_by(key: &'k PublicKey) -> Self {
        Self::signed_by_any(core::slice::from_ref(key))
    }

    /// The image must be signed with one of these keys. Several make a rotation possible.
    pub const fn signed_by_any(keys: &'k [PublicKey]) -> Self {
        Self { keys, newer_than: None }
    }

    /// The image must be of a later version than this, the one that runs. Without it, older images are taken too.
    #[must_use]
    pub const fn newer_than(mut self, running: Version) -> Self {
        self.newer_than = Some(running);
        self
    }

    pub(crate) fn key(&self, hash: &[u8]) -> Option<&'k PublicKey> {
        self.keys.iter().find(|key| key.hash() == *hash)
    }

    pub(crate) fn check_version(&self, image: Version) -> Result<(), Error> {
        match self.newer_than {
            Some(running) if image <= running => Err(Error::NotNewer { image, running }),
            _ => Ok(()),
        }
    }
}
