//! A job id that outlives the message it came in.

use core::fmt;

use super::execution::JOB_ID_MAX;

/// A job id: 1 to 64 of `a-z A-Z 0-9 _ -`. Kept across the reboot with [`Saved`](super::Saved).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobId {
    bytes: [u8; JOB_ID_MAX],
    len: u8,
}

impl JobId {
    /// `None` for what the service would not take as one.
    pub fn new(id: &str) -> Option<Self> {
        Self::from_bytes(id.bytes())
    }

    pub(crate) fn from_bytes(id: impl Iterator<Item = u8>) -> Option<Self> {
        let mut this = Self { bytes: [0; JOB_ID_MAX], len: 0 };
        for byte in id {
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
                return None;
            }
            *this.bytes.get_mut(usize::from(this.len))? = byte;
            this.len = this.len.checked_add(1)?;
        }
        (this.len > 0).then_some(this)
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for JobId {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}
