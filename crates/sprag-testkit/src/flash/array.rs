//! The cells of a part: what lies in them, and what the last operation on each left behind.

use std::ops::Range;
use std::sync::Arc;

use super::torn::splitmix;
use super::{FlashError, Part, ProgramRule, Torn};

/// Marks of a unit.
const PROGRAMMED: u8 = 1;
/// Its program was torn.
const TORN: u8 = 2;
/// Its ECC fails.
const UNREADABLE: u8 = 4;
/// The last erase of it was torn.
const WEAK: u8 = 8;

#[derive(Debug, Clone)]
pub(super) struct Array {
    pub(super) part: Arc<Part>,
    /// Where each sector begins, and where the last one ends.
    pub(super) starts: Arc<[usize]>,
    pub(super) bytes: Vec<u8>,
    /// One a unit.
    marks: Vec<u8>,
    rule: ProgramRule,
}

impl Array {
    pub(super) fn new(part: Part, bytes: Vec<u8>) -> Self {
        let unit = part.write_size;
        assert!(unit > 0 && part.capacity() > 0, "no size may be zero: {part:?}");
        let mut starts = vec![0];
        for run in &part.sectors {
            assert!(run.size > 0 && run.size % unit == 0, "a sector must be whole units: {part:?}");
            let from: usize = starts[starts.len() - 1];
            starts.extend((1..=run.count as usize).map(|n| from + n * run.size as usize));
        }
        let marks = vec![0; bytes.len() / unit as usize];
        let mut array = Self { rule: part.rule, part: Arc::new(part), starts: starts.into(), bytes, marks };
        array.mark_as_found(0..array.bytes.len());
        array
    }

    pub(super) fn unit(&self) -> usize {
        self.part.write_size as usize
    }

    pub(super) fn program_once(&mut self) {
        self.rule = ProgramRule::Once;
    }

    fn units(&self, range: &Range<usize>) -> Range<usize> {
        range.start / self.unit()..range.end.div_ceil(self.unit())
    }

    /// What is not erased has been programmed, somehow.
    pub(super) fn mark_as_found(&mut self, range: Range<usize>) {
        let (unit, erased, units) = (self.unit(), self.part.erased, self.units(&range));
        let bytes = &self.bytes[units.start * unit..units.end * unit];
        for (mark, bytes) in self.marks[units].iter_mut().zip(bytes.chunks_exact(unit)) {
            let blank = bytes.iter().all(|byte| *byte == erased);
            *mark = if blank { 0 } else { PROGRAMMED };
        }
    }

    /// The index of the sector that begins here.
    pub(super) fn sector_at(&self, start: usize) -> Option<usize> {
        self.starts.binary_search(&start).ok()
    }

    /// Whether the ECC of all units lets them be read.
    pub(super) fn check_readable(&self, range: &Range<usize>) -> Result<(), FlashError> {
        let bad = self.units(range).find(|n| self.marks[*n] & UNREADABLE != 0);
        bad.map_or(Ok(()), |n| Err(FlashError::Unreadable { offset: (n * self.unit()) as u32 }))
    }

    /// Whether a unit may be programmed so: an error, and whether it is the caller's fault.
    pub(super) fn check_program(&self, at: usize, data: &[u8]) -> Result<(), (FlashError, bool)> {
        let (erased, mark) = (self.part.erased, self.marks[at / self.unit()]);
        if mark & WEAK != 0 {
            return Err((FlashError::EraseUnfinished { offset: at as u32 }, true));
        }
        let all = || data.iter().all(|byte| *byte == !erased);
        let once = self.rule == ProgramRule::Once || (self.rule == ProgramRule::OnceOrAll && !all());
        if once && mark & (PROGRAMMED | TORN) != 0 {
            // Nothing tells a torn unit that reads as erased.
            return Err((FlashError::ProgrammedTwice { offset: at as u32 }, mark & PROGRAMMED != 0));
        }
        if self.rule == ProgramRule::Unchecked {
            return Ok(());
        }
        // What programming can't do is bring a bit back to its erased state.
        let kept = |(old, new): (&u8, &u8)| (old ^ erased) & !(new ^ erased) != 0;
        match self.bytes[at..at + data.len()].iter().zip(data).position(kept) {
            Some(byte) => Err((FlashError::NotErased { offset: (at + byte) as u32 }, mark & TORN == 0)),
            None => Ok(()),
        }
    }

    pub(super) fn program(&mut self, at: usize, data: &[u8], torn: Option<Torn>) {
        let current = &mut self.bytes[at..at + data.len()];
        let merged: Vec<u8>;
        let data = if self.rule == ProgramRule::Unchecked {
            let keep = |(old, new): (&u8, &u8)| if self.part.erased == 0 { old | new } else { old & new };
            merged = current.iter().zip(data).map(keep).collect();
            &merged[..]
        } else {
            data
        };
        torn.unwrap_or(Torn::Whole).apply(current, data, at);
        let mark = match torn {
            Some(Torn::Nothing) => return,
            None | Some(Torn::Whole) => PROGRAMMED,
            Some(Torn::Unreadable(_)) if self.part.ecc => TORN | UNREADABLE,
            Some(_) => TORN,
        };
        let unit = self.unit();
        self.marks[at / unit] |= mark;
    }

    pub(super) fn erase(&mut self, sector: usize, torn: Option<Torn>) {
        if torn == Some(Torn::Nothing) {
            return;
        }
        let range = self.starts[sector]..self.starts[sector + 1];
        let erased = self.part.erased;
        let target = if matches!(torn, Some(Torn::Preprogrammed(_))) { !erased } else { erased };
        let target = vec![target; range.len()];
        torn.unwrap_or(Torn::Whole).apply(&mut self.bytes[range.clone()], &target, range.start);
        for n in self.units(&range) {
            match torn {
                None => self.marks[n] = 0,
                Some(Torn::Unreadable(_)) if self.part.ecc => self.marks[n] |= WEAK | UNREADABLE,
                Some(_) => self.marks[n] |= WEAK,
            }
        }
    }

    /// Flips bits at rest; a part with ECC corrects one bit of a unit and gives up on two.
    pub(super) fn rot(&mut self, at: usize, bits: u8) {
        let unit = self.unit();
        if !self.part.ecc {
            self.bytes[at] ^= bits;
        } else if bits.count_ones() > 1 {
            self.bytes[at] ^= bits;
            self.marks[at / unit] |= UNREADABLE;
        }
    }

    /// The same for the same cells and marks.
    pub(super) fn digest(&self) -> u64 {
        let mut hash = 0x5370_7261_675f_3634u64;
        for bytes in [&self.bytes, &self.marks] {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                hash = (hash.rotate_left(25) ^ u64::from_le_bytes(word)).wrapping_mul(0x9fb2_1c65_1e98_df25);
                hash ^= hash >> 32;
            }
        }
        splitmix(&mut hash)
    }
}
