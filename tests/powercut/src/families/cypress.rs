//! Infineon's line of MCUboot on PSoC 6's internal flash: rows of 512 bytes, erased to zeros, and a status partition.

use sprag::boot::Cypress as Control;
use sprag::boot::mcuboot::CypressLayout;
use sprag_testkit::flash::{Part, Region};
use sprag_testkit::mcuboot as model;

use super::mcuboot::booted;
use super::{Booted, Family, Slots};

/// The rows of a slot whose states one row of the status partition holds.
const SECTORS_MAX: u32 = 500;
const ROW: u32 = 512;
/// Rows of the status partition: three areas of two copies of two rows.
const STATUS_ROWS: u32 = 12;
const SCRATCH_ROWS: u32 = 4;

/// Infineon's line, both slots internal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cypress;

impl Family for Cypress {
    type Boot = Control<'static, Region, Region, Region>;
    type Format = sprag::verify::McuBoot;

    fn name(&self) -> &'static str {
        "cypress"
    }

    fn fits(&self, part: &Part) -> bool {
        part.write_size == 512
    }

    fn slot_size(&self, _: &Part, sector: u32, image: u32) -> u32 {
        // The trailer is the end of the last row.
        image.next_multiple_of(sector) + sector
    }

    fn state_sectors(&self) -> u32 {
        STATUS_ROWS + SCRATCH_ROWS
    }

    fn format(&self) -> Self::Format {
        sprag::verify::McuBoot
    }

    fn control(&self, slots: &Slots, _: Booted) -> Self::Boot {
        // A row for each life: what a firmware has in a static.
        let row = Box::leak(vec![0; 512].into_boxed_slice());
        let [primary, secondary, state] = [&slots.primary, &slots.secondary, &slots.state].map(Clone::clone);
        Control::new(primary, secondary, state, CypressLayout::new(SECTORS_MAX), row)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let [primary, secondary] = [&slots.primary, &slots.secondary].map(Clone::clone);
        let (flash, state) = (slots.state.flash(), slots.state.range());
        let middle = state.start + STATUS_ROWS * ROW;
        let [status, scratch] = [state.start..middle, middle..state.end].map(|range| flash.region(range));
        let bootloader = model::Cypress::new(primary, secondary, status, scratch, SECTORS_MAX);
        bootloader.boot().map(booted).map_err(|error| error.to_string())
    }
}
