//! A number that a job keeps when it is sent again.

use crate::text::Text;

/// FNV-1a, 64 bits, over fields that are kept apart.
pub(crate) struct Identity(u64);

impl Identity {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn str(&mut self, text: &str) {
        self.bytes(text.bytes());
    }

    /// Hashes a field with its end, or its absence: 0xFF and 0xFE occur in no UTF-8, so fields can't run together.
    pub(crate) fn text(&mut self, text: Option<Text<'_>>) {
        match text {
            Some(text) => self.bytes(text.bytes()),
            None => self.byte(0xfe),
        }
    }

    pub(crate) fn finish(self) -> u64 {
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
