//! The exhaustive mode: one run of a life, and what each power cut in it would leave behind.

use std::ops::Range;

use super::array::Array;
use super::{SimFlash, Torn};

/// What is about to be done to the flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its number, counted from 0 since the flash was made or [`SimFlash::reset_stats`] was called.
    pub number: u64,
    /// A program of one unit, or else an erase of one sector.
    pub program: bool,
    /// The bytes that it touches, from the start of the flash.
    pub range: Range<u32>,
}

/// An operation just before it is done, and what a power cut in it would leave behind.
///
/// Handed to the observer that [`SimFlash::before_operations`] takes. So one run of a life is enough to try a cut in
/// every operation of it: the flash forks at each.
#[derive(Debug)]
pub struct Cut<'a> {
    pub(super) operation: Operation,
    pub(super) array: &'a Array,
    pub(super) data: &'a [u8],
}

impl Cut<'_> {
    /// The operation that is about to be done.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The flash as the power comes back to it, when it failed in this operation in this way.
    pub fn leaves(&self, torn: Torn) -> Snapshot {
        let mut array = self.array.clone();
        let start = self.operation.range.start as usize;
        if self.operation.program {
            array.program(start, self.data, Some(torn));
        } else if let Some(sector) = array.sector_at(start) {
            array.erase(sector, Some(torn));
        }
        Snapshot { array }
    }
}

/// Everything that a flash keeps without power: its cells, and what refuses to be read or programmed.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) array: Array,
}

impl Snapshot {
    /// The same for the same contents, up to a chance of 2^-64: for leaving out what has been tried.
    pub fn digest(&self) -> u64 {
        self.array.digest()
    }

    /// The bytes, past all ECC.
    pub fn contents(&self) -> &[u8] {
        &self.array.bytes
    }

    /// A part of its own with these contents, in memory and powered.
    pub fn power_on(self) -> SimFlash {
        SimFlash::from_array(self.array, None)
    }
}
