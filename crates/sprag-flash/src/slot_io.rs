//! Scans, programs and erases of the slot: a state machine that splits each call into operations of the flash.
//!
//! | state | the last operation | next |
//! |---|---|---|
//! | `Scan` | none | `Piece`, or the end of the range |
//! | `Piece` | a piece was read | `Scan`, or the end at the first byte that is not as expected |
//! | `Write` | none | `Written` |
//! | `Written` | the data was programmed | `Scan` when it is to be read back |
//! | `Erase` | none | `Erased` |
//! | `Erased` | the range was erased | `Scan` when it is to be read back |
//!
//! The end of a scan is the end of the call, except that a range which does not read as erased is erased once more.

use sprag_core::FlashGeometry;
use sprag_core::sectors::Sector;

use crate::error::Error;
use crate::operation::{Action, Operation, Outcome, length, prefix, run_of, size};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Scan,
    Piece,
    Write,
    Written,
    Erase,
    Erased,
}

/// What a scan expects to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The erased value.
    Blank,
    /// The caller's data.
    Data,
    /// Anything. Units that a cut has torn may fail to be read on parts with ECC.
    Readable,
}

/// Scans, programs and erases of the slot.
#[derive(Debug)]
pub(crate) struct SlotIo {
    pub(crate) geometry: FlashGeometry,
    pub(crate) read_back: bool,
    pub(crate) trust_blank: bool,
    /// The operation to execute.
    pub(crate) operation: Operation,
    /// Where in the flash the caller's data begins.
    pub(crate) data_at: u32,
    state: State,
    expected: Expected,
    /// The range of the call.
    from: u32,
    to: u32,
    /// How many bytes from the start of the range on are as expected.
    same: u32,
    /// How often the range may still be erased, when it is to be erased.
    erases: Option<u8>,
}

impl SlotIo {
    pub(crate) fn new(geometry: FlashGeometry) -> Self {
        Self {
            geometry,
            read_back: true,
            trust_blank: false,
            operation: Operation::NONE,
            data_at: 0,
            state: State::Scan,
            expected: Expected::Blank,
            from: 0,
            to: 0,
            same: 0,
            erases: None,
        }
    }

    #[inline(never)]
    fn call(&mut self, state: State, expected: Expected, from: u32, to: u32) {
        self.state = state;
        self.expected = expected;
        self.from = from;
        self.to = to;
        self.same = 0;
        self.erases = None;
    }

    /// Looks for the first byte of a range that is not as expected.
    pub(crate) fn scan(&mut self, expected: Expected, from: u32, to: u32) {
        self.call(State::Scan, expected, from, to);
    }

    /// Programs a range of the caller's data.
    pub(crate) fn write(&mut self, from: u32, to: u32) {
        self.call(State::Write, Expected::Data, from, to);
    }

    /// Erases a sector; twice, when it does not read as erased then.
    pub(crate) fn erase(&mut self, sector: Sector) {
        let state = if self.trust_blank { State::Scan } else { State::Erase };
        self.call(state, Expected::Blank, sector.start, sector.end);
        self.erases = Some(2);
    }

    /// Returns whether all of the range of the last call is as expected.
    pub(crate) fn is_whole(&self) -> bool {
        self.same >= self.to.saturating_sub(self.from)
    }

    /// Returns how many bytes of the last scan's range are as expected, in whole units.
    pub(crate) fn same(&self) -> u32 {
        length(self.geometry.whole_units(size(self.same)))
    }

    /// Returns the part of the caller's data that belongs to the operation.
    pub(crate) fn part<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        data.get(size(self.operation.at.saturating_sub(self.data_at))..).unwrap_or_default()
    }

    /// Sets `operation` to the next one, given the outcome of the one before. Returns false when the call is done.
    pub(crate) fn step(&mut self, scratch: &[u8], data: &[u8], outcome: Outcome) -> Result<bool, Error> {
        loop {
            match self.state {
                State::Scan => {
                    let at = self.from.wrapping_add(self.same);
                    let piece = length(self.geometry.whole_units(scratch.len())).min(self.to.saturating_sub(at));
                    if piece == 0 {
                        return self.end_scan();
                    }
                    return Ok(self.operate(State::Piece, Action::Read, at, piece));
                }
                State::Piece => {
                    let read = size(self.operation.length);
                    let same = match self.expected {
                        _ if outcome.is_err() => 0,
                        Expected::Readable => read,
                        Expected::Blank => run_of(scratch, self.geometry.erased).min(read),
                        Expected::Data => prefix(scratch, self.part(data)).min(read),
                    };
                    self.same = self.same.wrapping_add(length(same));
                    if length(same) < self.operation.length {
                        return self.end_scan();
                    }
                    self.state = State::Scan;
                }
                State::Write => {
                    let length = self.to.saturating_sub(self.from);
                    return Ok(self.operate(State::Written, Action::Program, self.from, length));
                }
                State::Erase => return self.end_scan(),
                State::Written | State::Erased => {
                    outcome.map_err(Error::Slot)?;
                    if !self.read_back {
                        self.same = self.operation.length;
                        return Ok(false);
                    }
                    self.same = 0;
                    self.state = State::Scan;
                }
            }
        }
    }

    fn operate(&mut self, state: State, action: Action, at: u32, length: u32) -> bool {
        self.state = state;
        self.operation = Operation { action, at, length };
        true
    }

    fn end_scan(&mut self) -> Result<bool, Error> {
        match self.erases {
            Some(left) if !self.is_whole() => {
                self.erases = Some(left.checked_sub(1).ok_or(Error::SlotWornOut { offset: self.from })?);
                let length = self.to.saturating_sub(self.from);
                Ok(self.operate(State::Erased, Action::Erase, self.from, length))
            }
            _ => Ok(false),
        }
    }
}
