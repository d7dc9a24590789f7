//! The memory that packets arrive in.

use core::num::NonZero;

use super::packet::{FIXED_HEADER_MAX, FixedHeader, Malformed, message_id};

/// The bytes that have arrived, and the packet that they begin with.
///
/// Bytes go in with [`spare`](Self::spare) and [`filled`](Self::filled). [`next`](Self::next) says when a packet is whole;
/// [`take`](Self::take) gives it out, and [`release`](Self::release) makes room for the next one. A message that is larger than
/// the memory is skipped, never cut short.
pub(super) struct Inbox<'m> {
    memory: &'m mut [u8],
    /// How many bytes of the memory have arrived.
    length: usize,
    /// How many of them were given out.
    taken: usize,
    /// The message that is being skipped.
    skipped: Option<Skipped>,
}

#[derive(Debug, Clone, Copy)]
struct Skipped {
    total: usize,
    id: Option<NonZero<u16>>,
    /// How many bytes of it are still to come.
    left: usize,
}

/// What has arrived as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    /// A packet of so many bytes.
    Packet(usize),
    /// A message that does not fit into the memory, and is gone.
    TooLarge { needed: usize, id: Option<NonZero<u16>> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InboxError {
    /// These bytes are no packet.
    Malformed,
    /// A packet that is no message does not fit into the memory.
    TooSmall { needed: usize },
}

impl From<Malformed> for InboxError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl<'m> Inbox<'m> {
    pub(super) fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, length: 0, taken: 0, skipped: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets what was given out.
    pub(super) fn release(&mut self) {
        let taken = core::mem::take(&mut self.taken);
        let arrived = self.memory.get_mut(..self.length).unwrap_or_default();
        let taken = taken.min(arrived.len());
        if taken > 0 {
            arrived.copy_within(taken.., 0);
            self.length = self.length.saturating_sub(taken);
        }
    }

    /// Returns the room for more bytes. Not empty after [`next`](Self::next) gave none.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        let spare = self.memory.get_mut(self.length..).unwrap_or_default();
        let limit = self.skipped.map_or(spare.len(), |skipped| skipped.left.min(spare.len()));
        spare.get_mut(..limit).unwrap_or_default()
    }

    /// Notes that so many bytes were put into [`spare`](Self::spare).
    pub(super) fn filled(&mut self, count: usize) {
        match &mut self.skipped {
            Some(skipped) => skipped.left = skipped.left.saturating_sub(count),
            None => self.length = self.length.saturating_add(count).min(self.memory.len()),
        }
    }

    /// Returns what has arrived; none if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Arrived>, InboxError> {
        if let Some(Skipped { total, id, left }) = self.skipped {
            if left > 0 {
                return Ok(None);
            }
            self.skipped = None;
            return Ok(Some(Arrived::TooLarge { needed: total, id }));
        }
        let bytes = self.memory.get(..self.length).unwrap_or_default();
        let is_full = self.length == self.memory.len();
        match FixedHeader::read(bytes)? {
            None if is_full => Err(InboxError::TooSmall { needed: FIXED_HEADER_MAX }),
            None => Ok(None),
            Some(header) if header.total <= self.length => Ok(Some(Arrived::Packet(header.total))),
            Some(header) if header.total <= self.memory.len() => Ok(None),
            Some(header) if !header.is_publish() => Err(InboxError::TooSmall { needed: header.total }),
            // The memory fills up, so that as much as possible is there to find the identifier in.
            Some(_) if !is_full => Ok(None),
            Some(header) => {
                let left = header.total.saturating_sub(self.length);
                self.skipped = Some(Skipped { total: header.total, id: message_id(bytes), left });
                self.length = 0;
                Ok(None)
            }
        }
    }

    /// Gives out the packet of so many bytes, until [`release`](Self::release).
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        self.taken = length;
        self.memory.get(..length).unwrap_or_default()
    }

    /// Returns the memory while nothing has arrived, to be used for something else.
    pub(super) fn memory(&mut self) -> &mut [u8] {
        self.memory
    }
}
