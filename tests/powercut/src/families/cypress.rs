//! Infineon's line of MCUboot on PSoC 6: a swap by scratch, with a status partition in rows of 512 bytes that are erased to
//! zeros.

use sprag::boot::Cypress as Control;
use sprag::boot::FlashGeometry;
use sprag::boot::mcuboot::{CypressLayout, PSOC6_INTERNAL};
use sprag_testkit::flash::{Part, Region, Torn};
use sprag_testkit::mcuboot as model;

use super::mcuboot::booted;
use super::{Booted, Family, Slots};
use crate::planted::PlantedRows;

/// The rows of a slot whose states one row of the status partition holds.
const SECTORS_MAX: u32 = 500;
/// Rows of the status partition: three areas of two copies of two rows.
const STATUS_ROWS: u32 = 12;
/// What the scratch area has at least, in bytes.
const SCRATCH: u32 = 2048;
/// The sectors of the external flash.
const EXTERNAL_SECTOR: u32 = 1024;

/// The ways that are common to all parts, and the one of a row that is programmed before it is erased.
const WAYS: [Torn; 9] = {
    let [a, b, c, d, e, f, g, h] = Torn::WAYS;
    [a, b, c, d, e, f, g, h, Torn::Preprogrammed(5)]
};

/// Infineon's line, v1.9.7-cypress. The slot for updates and the scratch area lie in the internal flash, or in an external
/// one.
///
/// The bootloader's own operations are cut as well. Nothing is left out, because the bootloader survives everything:
///
/// | cut in the bootloader's own operations | left out |
/// |---|---|
/// | first cut, in every way, rows cut while they are programmed before their erase included | nothing |
/// | second cut, in the recovery | nothing: each record has two copies, and a row is erased before it is programmed |
///
/// What the bootloader does, and the campaign takes into account:
///
/// - A test swap that is cut behind its last operation is reverted at the next reset. The new image has never run then.
/// - A download whose TLV sizes are torn counts as larger than the slot. The bootloader erases it, and it is fetched again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cypress {
    pub(super) is_external: bool,
}

impl Family for Cypress {
    type Boot = Control<'static, PlantedRows, Region, PlantedRows>;
    type Format = sprag::verify::McuBoot;

    fn name(&self) -> &'static str {
        if self.is_external { "cypress-external" } else { "cypress" }
    }

    fn fits(&self, part: &Part) -> bool {
        part.name == if self.is_external { "s25fl" } else { "psoc6" }
    }

    fn sector(&self, part: &Part) -> u32 {
        if self.is_external { EXTERNAL_SECTOR } else { crate::case::sector(part) }
    }

    fn slot_size(&self, _: &Part, sector: u32, image: u32) -> u32 {
        // The trailer is the end of the last row.
        image.next_multiple_of(sector) + sector
    }

    fn state_sectors(&self) -> u32 {
        STATUS_ROWS
    }

    fn scratch_sectors(&self) -> u32 {
        if self.is_external { SCRATCH / EXTERNAL_SECTOR } else { SCRATCH / PSOC6_INTERNAL.erase_size }
    }

    fn internal(&self) -> Option<Part> {
        self.is_external.then(Part::psoc6)
    }

    fn ways(&self) -> &'static [Torn] {
        &WAYS
    }

    fn format(&self) -> Self::Format {
        sprag::verify::McuBoot
    }

    fn control(&self, slots: &Slots, _: Booted) -> Self::Boot {
        // A row for each life: what a firmware has in a static.
        let row = Box::leak(vec![0; 512].into_boxed_slice());
        let mut layout = CypressLayout::new(SECTORS_MAX);
        if self.is_external {
            let geometry = FlashGeometry { erase_size: EXTERNAL_SECTOR, ..slots.secondary.flash().geometry() };
            layout = layout.external(geometry, slots.secondary.range().start);
        }
        let primary = PlantedRows::primary(slots.primary.clone(), slots.bug);
        let status = PlantedRows::status(slots.state.clone(), slots.bug);
        Control::new(primary, slots.secondary.clone(), status, layout, row)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let [primary, secondary, status, scratch] =
            [&slots.primary, &slots.secondary, &slots.state, &slots.scratch].map(Clone::clone);
        let bootloader = model::Cypress::new(primary, secondary, status, scratch, SECTORS_MAX);
        bootloader.run().map(booted).map_err(|halt| halt.to_string())
    }

    fn may_be_cut(&self) -> bool {
        true
    }

    fn swaps(&self) -> bool {
        true
    }

    fn has_permanent(&self) -> bool {
        self.is_external
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use embassy_futures::block_on;
    use sprag::boot::{BootControl, State, Swap};

    use super::*;
    use crate::book::Book;
    use crate::case::{Case, History, Image, Kind};
    use crate::life::{Device, Plan};

    /// The last record of a test swap says that it is done, and the older copy of that record is erased then. A cut behind
    /// that record, before the new image starts, leaves a trial: the next reset reverts it, and the image has never run.
    #[test]
    fn a_test_swap_that_is_cut_at_its_very_end_is_reverted() {
        for (is_external, part) in [(false, Part::psoc6()), (true, Part::s25fl())] {
            let family = Cypress { is_external };
            let sector = Family::sector(&family, &part);
            let image = Image { length: 2 * sector, kind: Kind::Plain };
            let history = History::Factory;
            let case = Case { part, sector, family: 0, image, history, is_even: false, board: None };
            let plan = Arc::new(Plan::new(family, &case, None));
            let device = plan.downloaded().unwrap();
            let booted = device.boot().unwrap();
            block_on(device.control(booted).stage(Swap::Test)).unwrap();
            let left = Arc::new(Mutex::new(Vec::new()));
            let catch = left.clone();
            device.flash.before_operations(move |cut| catch.lock().unwrap().push(cut.leaves(Torn::Whole)));
            assert_eq!(device.boot().unwrap().running, 2);
            device.flash.unobserved();
            let left = std::mem::take(&mut *left.lock().unwrap());
            let runs = left.into_iter().map(|left| {
                let device = Device::revive(&plan, left, Book::default());
                let is_trial = block_on(device.control(booted).state()) == Ok(State::Trial);
                let running = device.boot().unwrap().running;
                assert_eq!(is_trial, running == 1, "a trial is reverted, and nothing else is");
                running
            });
            let runs: Vec<u8> = runs.collect();
            let (swapped, reverted) = runs.split_at(runs.len() - 2);
            assert!(!swapped.is_empty() && swapped.iter().all(|running| *running == 2), "{runs:?}");
            assert_eq!(reverted, [1, 1]);
        }
    }
}
