//! Bytes on their way into the caller's buffer.

use core::fmt;

use crate::text::{Bytes, Text};

/// The buffer is too small. Nothing is ever truncated; `needed` bytes would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TooSmall {
    /// The size in bytes that would have done. `usize::MAX` when none would: a report for AWS with a message that AWS
    /// does not take (see [`Job::report`](crate::Job::report)).
    pub needed: usize,
}

impl TooSmall {
    /// `buffer-too-small`, for status reports.
    pub fn reason(&self) -> &'static str {
        "buffer-too-small"
    }

    /// `false`: the same buffer will not do the next time either.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer too small: {} bytes needed", self.needed)
    }
}

impl core::error::Error for TooSmall {}

/// A string on its way out, as the caller gave it or as the document had it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Words<'a> {
    Plain(&'a str),
    Quoted(Text<'a>),
}

impl<'a> From<&'a str> for Words<'a> {
    fn from(text: &'a str) -> Self {
        Self::Plain(text)
    }
}

impl<'a> Words<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) => text.is_empty(),
            Self::Quoted(text) => text.is_empty(),
        }
    }

    pub(crate) fn bytes(&self) -> Bytes<'a> {
        match self {
            Self::Plain(text) => Bytes::plain(text),
            Self::Quoted(text) => text.bytes(),
        }
    }
}

/// Writes into a buffer and goes on counting when it is full.
pub(crate) struct Out<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Out<'b> {
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    #[inline(never)]
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.len) {
            *place = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    pub(crate) fn extend(&mut self, bytes: impl Iterator<Item = u8>) {
        bytes.for_each(|byte| self.push(byte));
    }

    /// Bytes as they are.
    #[inline(never)]
    pub(crate) fn raw(&mut self, text: &str) {
        for byte in text.bytes() {
            self.push(byte);
        }
    }

    /// A number in decimal. `core::fmt` would bring 1.5 KB of code for it, and its 64-bit division 400 bytes.
    pub(crate) fn number(&mut self, number: u64) {
        let mut rest = number;
        let mut leading = true;
        for unit in UNITS {
            let mut digit = b'0';
            while let Some(less) = rest.checked_sub(unit) {
                rest = less;
                digit = digit.wrapping_add(1);
            }
            leading &= digit == b'0' && unit > 1;
            if !leading {
                self.push(digit);
            }
        }
    }

    /// A JSON string, quotes included.
    #[inline(never)]
    pub(crate) fn string(&mut self, words: Words<'_>) {
        self.push(b'"');
        for byte in words.bytes() {
            match byte {
                b'"' | b'\\' => self.push(b'\\'),
                0..0x20 => {
                    self.raw(r"\u00");
                    self.push(hex(byte >> 4));
                    self.push(hex(byte & 0xf));
                    continue;
                }
                _ => {}
            }
            self.push(byte);
        }
        self.push(b'"');
    }

    pub(crate) fn finish(self) -> Result<&'b str, TooSmall> {
        let Self { buffer, len } = self;
        let too_small = TooSmall { needed: len };
        let written: &'b [u8] = buffer.get(..len).ok_or(too_small)?;
        // Only whole strings go in, so this is UTF-8 once all of it fits.
        core::str::from_utf8(written).map_err(|_| too_small)
    }
}

/// A digit in hexadecimal.
fn hex(nibble: u8) -> u8 {
    match nibble {
        0..10 => nibble | b'0',
        _ => nibble.wrapping_sub(10).wrapping_add(b'a'),
    }
}

/// What a digit in each place of a `u64` counts, the highest first.
const UNITS: [u64; 20] = {
    let mut units = [1; 20];
    let mut place = 19;
    while place > 0 {
        #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Evaluated by the compiler.
        {
            units[place - 1] = units[place] * 10;
            place -= 1;
        }
    }
    units
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn numbers_are_written_as_fmt_writes_them() {
        let edges = UNITS.iter().flat_map(|unit| [unit - 1, *unit, unit + 1, unit.wrapping_mul(9)]);
        for number in edges.chain([u64::MAX, u64::MAX - 1]) {
            let mut buffer = [0; 20];
            let mut out = Out::new(&mut buffer);
            out.number(number);
            assert_eq!(out.finish().unwrap(), number.to_string());
        }
    }

    #[test]
    fn what_must_be_escaped_is() {
        for (text, escaped) in [("a", "a"), ("\"", r#"\""#), ("\\", r"\\"), ("\n", r"\u000a"), ("\u{1f}", r"\u001f")] {
            let mut buffer = [0; 8];
            let mut out = Out::new(&mut buffer);
            out.string(Words::Plain(text));
            assert_eq!(out.finish().unwrap(), std::format!("\"{escaped}\""));
        }
    }
}
