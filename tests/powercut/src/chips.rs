//! The flash chips of a device, which lose their power at the same time.

use std::sync::{Arc, Mutex, PoisonError};

use sprag_testkit::flash::{Cut, FlashError, Operation, Part, Region, SimFlash, Snapshot, Torn};

/// The flash chips of a device: one that holds everything, or one of the microcontroller's own and an external one.
#[derive(Debug)]
pub(crate) struct Chips(Vec<SimFlash>);

/// Everything that the chips keep without power.
#[derive(Debug, Clone)]
pub(crate) struct ChipsSnapshot(Vec<Snapshot>);

/// An operation of one of the chips, just before it is done.
pub(crate) struct ChipsCut<'a> {
    cut: &'a Cut<'a>,
    chip: usize,
    others: &'a [SimFlash],
    operation: Operation,
}

impl Chips {
    pub(crate) fn of(parts: Vec<Part>) -> Self {
        Self(parts.into_iter().map(SimFlash::of).collect())
    }

    /// The chip that holds everything, or the one of the microcontroller's own.
    pub(crate) fn first(&self) -> &SimFlash {
        &self.0[0]
    }

    /// The chip that holds everything, or the external one.
    pub(crate) fn last(&self) -> &SimFlash {
        &self.0[self.0.len() - 1]
    }

    /// Calls `observer` before each operation of any of them. It must not use these chips, only what it is handed.
    pub(crate) fn before_operations(&self, observer: impl FnMut(&ChipsCut<'_>) + Send + 'static) {
        let observer = Arc::new(Mutex::new(observer));
        for (chip, flash) in self.0.iter().enumerate() {
            let observer = observer.clone();
            let others = self.0[..chip].iter().chain(&self.0[chip + 1..]).cloned().collect::<Vec<_>>();
            flash.before_operations(move |cut| {
                let done = |flash: &SimFlash| {
                    let stats = flash.stats();
                    stats.programs + stats.erases
                };
                let number = cut.operation().number + others.iter().map(done).sum::<u64>();
                let operation = Operation { number, ..cut.operation().clone() };
                let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
                observer(&ChipsCut { cut, chip, others: &others, operation });
            });
        }
    }

    pub(crate) fn unobserved(&self) {
        self.0.iter().for_each(SimFlash::unobserved);
    }

    pub(crate) fn yield_before_operations(&self) {
        self.0.iter().for_each(SimFlash::yield_before_operations);
    }

    pub(crate) fn reset_stats(&self) {
        self.0.iter().for_each(SimFlash::reset_stats);
    }

    pub(crate) fn snapshot(&self) -> ChipsSnapshot {
        ChipsSnapshot(self.0.iter().map(SimFlash::snapshot).collect())
    }

    /// Runs `life` unobserved.
    pub(crate) fn spared<T>(&self, life: impl FnOnce() -> T) -> T {
        match self.0.as_slice() {
            [one] => one.spared(life),
            [one, other] => one.spared(|| other.spared(life)),
            _ => unreachable!("a device has one chip or two"),
        }
    }

    /// Erases of each sector, those of the first chip first.
    pub(crate) fn erases_per_sector(&self) -> Vec<u32> {
        self.0.iter().flat_map(|flash| flash.stats().erases_per_sector).collect()
    }

    /// The sectors in the same order: the index of the chip, the offset in it and the size.
    pub(crate) fn sectors(&self) -> Vec<(usize, u32, u32)> {
        let mut sectors = Vec::new();
        for (chip, flash) in self.0.iter().enumerate() {
            let mut at = 0;
            for run in flash.part().sectors {
                for _ in 0..run.count {
                    sectors.push((chip, at, run.size));
                    at += run.size;
                }
            }
        }
        sectors
    }

    /// The first thing that was asked of one of them and is forbidden.
    pub(crate) fn violation(&self) -> Option<FlashError> {
        self.0.iter().find_map(|flash| flash.violations().into_iter().next())
    }
}

/// The observer of each chip has handles to the others.
impl Drop for Chips {
    fn drop(&mut self) {
        self.unobserved();
    }
}

impl ChipsCut<'_> {
    /// The operation, with its number among those of all chips.
    pub(crate) fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The chips as the power comes back to them, when it failed in this operation in this way.
    pub(crate) fn leaves(&self, torn: Torn) -> ChipsSnapshot {
        let mut left: Vec<Snapshot> = self.others.iter().map(SimFlash::snapshot).collect();
        left.insert(self.chip, self.cut.leaves(torn));
        ChipsSnapshot(left)
    }
}

impl ChipsSnapshot {
    /// The same for the same contents, up to a chance of 2^-64.
    pub(crate) fn digest(&self) -> u64 {
        let add = |all: u64, one: u64| all.rotate_left(25).wrapping_mul(0x9fb2_1c65_1e98_df25) ^ one;
        self.0.iter().map(Snapshot::digest).fold(0, add)
    }

    /// Chips of their own with these contents, powered.
    pub(crate) fn power_on(self) -> Chips {
        Chips(self.0.into_iter().map(Snapshot::power_on).collect())
    }
}

/// Puts bytes into a region as a programmer on the bench would.
pub(crate) fn load(region: &Region, bytes: &[u8]) {
    assert!(bytes.len() <= region.range().len(), "the region is too small");
    region.flash().load(region.range().start, bytes).expect("a flash in memory");
}
