//! The bootloader's flash map: areas of PSoC 6's own flash and of a serial NOR.

use super::{Fault, Halt};
use crate::flash::Region;

/// A flash area. The bootloader addresses it from its start, and computes rows and sectors from the start of the chip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area<'a>(pub(super) &'a Region);

/// A sector of an area as the bootloader sees it: its offset in the area, and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sector {
    pub(super) offset: u32,
    pub(super) size: u32,
}

impl Area<'_> {
    pub(super) fn size(&self) -> u32 {
        let range = self.0.range();
        range.end - range.start
    }

    pub(super) fn erased(&self) -> u8 {
        self.0.flash().geometry().erased
    }

    /// `flash_area_align`: the size of a row or sector.
    pub(super) fn erase_size(&self) -> u32 {
        self.0.flash().geometry().erase_size
    }

    /// Returns whether this is PSoC 6's own flash, where writing a row erases it first.
    pub(super) fn is_internal(&self) -> bool {
        let geometry = self.0.flash().geometry();
        geometry.write_size == geometry.erase_size && geometry.erased == 0
    }

    /// The whole chip, and where an offset in the area lies in it.
    fn chip(&self, offset: u32) -> (Region, u32) {
        let flash = self.0.flash();
        (flash.region(0..flash.capacity()), self.0.range().start + offset)
    }

    /// `flash_area_read`, which does not stop at the end of the area. Past the end of the chip the driver of an external one
    /// fails; of the internal one nothing is there to be read.
    pub(super) fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let (chip, at) = self.chip(offset);
        if u64::from(at) + bytes.len() as u64 > u64::from(chip.range().end) {
            return Err(if self.is_internal() { Fault::Halt(Halt::MemoryFault) } else { Fault::Failed });
        }
        Ok(chip.read_now(at, bytes)?)
    }

    /// `flash_area_write`, which does not stop at the end of the area either. A row of internal flash is erased and
    /// programmed.
    pub(super) fn write(&self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let (chip, at) = self.chip(offset);
        if !self.is_internal() {
            return Ok(chip.write_now(at, bytes)?);
        }
        let row = self.erase_size();
        if !at.is_multiple_of(row) || !bytes.len().is_multiple_of(row as usize) {
            return Err(Fault::Failed);
        }
        for (at, bytes) in (at..).step_by(row as usize).zip(bytes.chunks(row as usize)) {
            chip.erase_now(at, at + row)?;
            chip.write_now(at, bytes)?;
        }
        Ok(())
    }

    /// `flash_area_erase`. Internal: the rows from the one of the first byte up to the one of the end, from the last one
    /// down, and at least one. External: as many sectors as the length has, from the one of the first byte up.
    pub(super) fn erase(&self, offset: u32, length: u32) -> Result<(), Fault> {
        let (chip, at) = self.chip(offset);
        let sector = self.erase_size();
        let first = at / sector * sector;
        let count = if self.is_internal() {
            ((at + length) / sector * sector).saturating_sub(first).div_ceil(sector).max(1)
        } else {
            length.div_ceil(sector)
        };
        let mut sectors: Vec<_> = (0..count).map(|index| first + index * sector).collect();
        if self.is_internal() {
            sectors.reverse();
        }
        for at in sectors {
            chip.erase_now(at, at + sector)?;
        }
        Ok(())
    }

    /// `flash_area_get_sectors`: cut at the sectors of the chip, of twice the size where there are too many of them.
    ///
    /// Returns `None` where there are too many all the same.
    pub(super) fn sectors(&self, max: u32) -> Option<Vec<Sector>> {
        let mut sector = self.erase_size();
        if self.size().div_ceil(sector) > max {
            sector *= 2;
        }
        let start = self.0.range().start;
        let mut sectors = Vec::new();
        let mut offset = 0;
        while offset < self.size() {
            let size = (sector - (start + offset) % sector).min(self.size() - offset);
            sectors.push(Sector { offset, size });
            offset += size;
        }
        (sectors.len() <= max as usize).then_some(sectors)
    }
}
