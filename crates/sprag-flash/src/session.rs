//! What the journal remembers of an unfinished image.

use crate::error::Error;

/// Record kinds of the journal.
pub(crate) const SESSION: u8 = 1;
pub(crate) const PROGRESS: u8 = 2;
/// The beginning of an image that is held back: see [`SlotWriter::hold_back`](crate::SlotWriter::hold_back).
pub(crate) const HEAD: u8 = 5;
/// The record that belongs to the caller: what of a job must survive the reboot.
pub const JOB: u8 = 3;
/// A second record that belongs to the caller: what of the conversation with the cloud must survive the reboot.
pub const CONVERSATION: u8 = 4;

/// The most bytes that an identity may have.
pub const IDENTITY_MAX: usize = 96;
/// The most bytes of an image's beginning that can be held back.
pub const HELD_BACK_MAX: usize = 32;

/// Which image is being written: what must be the same for the bytes in the slot to be of use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Session {
    /// What tells this image from others, as the caller sees fit: job and ETag, say. Never a URL, which changes.
    pub identity: heapless::Vec<u8, IDENTITY_MAX>,
    /// Size of the image in bytes.
    pub total: u32,
    /// Where in the flash it begins, in bytes.
    pub start: u32,
    /// Bytes that are safely in flash: where to go on.
    pub written: u32,
}

/// A session as its record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    pub(crate) total: u32,
    /// Where in the flash it begins: with a sector.
    pub(crate) start: u32,
    /// The largest piece that is programmed at once; no piece crosses a multiple of it, counted from its sector's start.
    pub(crate) block: u32,
    /// Tells its progress from that of the session before.
    pub(crate) number: u16,
    /// Bytes of the image's beginning that are held back.
    pub(crate) held_back: u8,
    pub(crate) identity: heapless::Vec<u8, IDENTITY_MAX>,
}

const FIXED: usize = 4 + 4 + 4 + 2 + 1;

impl SessionRecord {
    pub(crate) fn encode(&self) -> Result<heapless::Vec<u8, { IDENTITY_MAX + FIXED }>, Error> {
        let mut record = heapless::Vec::new();
        let (words, number) = ([self.total, self.start, self.block].map(u32::to_le_bytes), self.number.to_le_bytes());
        for piece in [words.as_flattened(), &number, &[self.held_back], &self.identity] {
            record.extend_from_slice(piece).map_err(|_| Error::Record)?;
        }
        Ok(record)
    }

    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let (total, rest) = record.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (block, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (&held_back, identity) = rest.split_first()?;
        let [total, start, block] = [total, start, block].map(|word| u32::from_le_bytes(*word));
        let (number, identity) = (u16::from_le_bytes(*number), heapless::Vec::from_slice(identity).ok()?);
        (block > 0).then_some(Self { total, start, block, number, held_back, identity })
    }

    /// Where in the flash it ends.
    pub(crate) fn end(&self) -> u32 {
        self.start.saturating_add(self.total)
    }
}

/// How far a session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// All bytes before this one, from the start of the flash, are written. The start of a sector or a block, or the
    /// image's end.
    pub(crate) offset: u32,
    /// The session that it belongs to.
    pub(crate) number: u16,
    /// The sector that begins there is about to be erased; else it was erased before anything was written to it.
    pub(crate) erasing: bool,
}

impl Progress {
    pub(crate) fn encode(self) -> [u8; 7] {
        let ([a, b, c, d], [low, high]) = (self.offset.to_le_bytes(), self.number.to_le_bytes());
        [a, b, c, d, low, high, u8::from(self.erasing)]
    }

    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let &[a, b, c, d, low, high, erasing] = record.first_chunk()?;
        let (offset, number) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([low, high]));
        (erasing <= 1).then_some(Self { offset, number, erasing: erasing == 1 })
    }
}
