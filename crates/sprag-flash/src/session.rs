//! What the journal remembers of an unfinished image.

use crate::error::Error;
use crate::operation::copy;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Session<'s> {
    /// What tells this image from others, as the caller sees fit: job and ETag, say. Never a URL, which changes.
    pub identity: &'s [u8],
    /// Size of the image in bytes.
    pub total: u32,
    /// Where in the flash it begins, in bytes.
    pub start: u32,
    /// Bytes that are safely in flash: where to go on.
    pub written: u32,
}

/// The payload of a record that the writer keeps.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: [u8; IDENTITY + IDENTITY_MAX],
    length: usize,
}

impl Payload {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; IDENTITY + IDENTITY_MAX], length: 0 }
    }

    #[inline(never)]
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Takes other bytes. Returns whether there is room for all of them.
    pub(crate) fn set(&mut self, bytes: &[u8]) -> bool {
        copy(&mut self.bytes, bytes);
        self.length = bytes.len();
        self.length <= self.bytes.len()
    }

    /// Makes it the record of an image.
    pub(crate) fn set_image(&mut self, image: &Image, identity: &[u8]) -> Result<(), Error> {
        let [t0, t1, t2, t3] = image.total().to_le_bytes();
        let [s0, s1, s2, s3] = image.start.to_le_bytes();
        let [b0, b1, b2, b3] = image.block.to_le_bytes();
        let [n0, n1] = image.number.to_le_bytes();
        let (front, room) = self.bytes.split_at_mut_checked(IDENTITY).unwrap_or_default();
        copy(front, &[t0, t1, t2, t3, s0, s1, s2, s3, b0, b1, b2, b3, n0, n1, image.held_back]);
        copy(room, identity);
        self.length = IDENTITY.saturating_add(identity.len());
        if identity.len() > IDENTITY_MAX { Err(Error::Record) } else { Ok(()) }
    }

    /// Sets the number in the record of an image.
    pub(crate) fn set_number(&mut self, number: u16) {
        let [_, _, _, _, _, _, _, _, _, _, _, _, n0, n1, ..] = &mut self.bytes;
        [*n0, *n1] = number.to_le_bytes();
    }
}

/// A session as its record has it, without the identity of its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Where in the flash it begins: with a sector.
    pub(crate) start: u32,
    /// Where in the flash it ends.
    pub(crate) end: u32,
    /// The largest piece that is programmed at once; no piece crosses a multiple of it, counted from its sector's start.
    pub(crate) block: u32,
    /// Tells its progress from that of the session before.
    pub(crate) number: u16,
    /// Bytes of the image's beginning that are held back.
    pub(crate) held_back: u8,
}

/// Where the identity begins in the record.
pub(crate) const IDENTITY: usize = 4 + 4 + 4 + 2 + 1;

impl Image {
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let &[t0, t1, t2, t3, s0, s1, s2, s3, b0, b1, b2, b3, n0, n1, held_back] = record.first_chunk::<IDENTITY>()?;
        let start = u32::from_le_bytes([s0, s1, s2, s3]);
        let image = Self {
            start,
            end: start.checked_add(u32::from_le_bytes([t0, t1, t2, t3]))?,
            block: u32::from_le_bytes([b0, b1, b2, b3]),
            number: u16::from_le_bytes([n0, n1]),
            held_back,
        };
        (image.block > 0).then_some(image)
    }

    /// Returns its size in bytes.
    pub(crate) fn total(&self) -> u32 {
        self.end.wrapping_sub(self.start)
    }
}

/// The payload of a progress record.
pub(crate) const PROGRESS_SIZE: u16 = 7;

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
    pub(crate) fn encode(self) -> [u8; PROGRESS_SIZE as usize] {
        let ([a, b, c, d], [low, high]) = (self.offset.to_le_bytes(), self.number.to_le_bytes());
        [a, b, c, d, low, high, u8::from(self.erasing)]
    }

    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let &[a, b, c, d, low, high, erasing] = record.first_chunk()?;
        let (offset, number) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([low, high]));
        (erasing <= 1).then_some(Self { offset, number, erasing: erasing == 1 })
    }
}
