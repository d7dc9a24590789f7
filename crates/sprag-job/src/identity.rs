//! A number that a job keeps when it is sent again.

use crate::job::Job;
use crate::text::Text;

/// See [`Job::identity`].
pub(crate) fn of(job: &Job<'_>) -> u64 {
    let mut identity = Identity::new();
    identity.str(job.dialect().name());
    #[cfg(feature = "aws")]
    if crate::aws::documents::has(job.dialect()) && !job.id.is_empty() {
        identity.text(Some(job.id));
        return identity.finish();
    }
    #[cfg(feature = "ota-update")]
    if job.dialect() == crate::Dialect::OtaUpdate {
        identity.text(crate::ota_update::product(job.source.scope().object));
    }
    identity.text(job.version);
    identity.text(job.hardware);
    for artifact in job.artifacts() {
        identity.text(artifact.name);
        identity.text(artifact.tag);
    }
    identity.finish()
}

/// A number for a text.
pub(crate) fn of_text(text: Text<'_>) -> u64 {
    let mut identity = Identity::new();
    identity.text(Some(text));
    identity.finish()
}

/// See [`Job::key`], from what was kept of the job.
#[cfg(feature = "iotconnect")]
pub(crate) fn key(id: &str, identity: u64) -> u64 {
    if id.is_empty() {
        return identity.max(1);
    }
    let mut key = Identity::new();
    key.str(id);
    key.finish().max(1)
}

/// FNV-1a, 64 bits, over fields that are kept apart.
struct Identity(u64);

impl Identity {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn str(&mut self, text: &str) {
        self.bytes(text.bytes());
    }

    /// Hashes a field with its end, or its absence: 0xFF and 0xFE occur in no UTF-8, so fields can't run together.
    fn text(&mut self, text: Option<Text<'_>>) {
        match text {
            Some(text) => self.bytes(text.bytes()),
            None => self.byte(0xfe),
        }
    }

    fn finish(self) -> u64 {
        self.0
    }

    fn bytes(&mut self, bytes: impl Iterator<Item = u8>) {
        bytes.for_each(|byte| self.byte(byte));
        self.byte(0xff);
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}
