//! A slot or the scratch area as MCUboot's flash map has it: `boot/bootutil/src/bootutil_area.c` and `boot_copy_region`.

use std::ops::Range;

use crate::flash::{FlashError, Region};

/// The size of the buffer that regions are copied through.
const BUFFER: u32 = 1024;

/// A region and its sectors.
#[derive(Debug, Clone)]
pub(super) struct Area {
    region: Region,
    sectors: Vec<Range<u32>>,
    erased: u8,
    unit: u32,
    /// True when a unit whose ECC fails fails to read.
    read_errors: bool,
}

impl Area {
    pub(super) fn new(region: &Region, read_errors: bool) -> Self {
        Self { sectors: region.sectors(), read_errors, ..Self::without_sectors(region) }
    }

    /// Makes an area that is only read, and may begin or end within a sector.
    pub(super) fn without_sectors(region: &Region) -> Self {
        let geometry = region.flash().geometry();
        let (erased, unit) = (geometry.erased, geometry.write_size);
        Self { region: region.clone(), sectors: Vec::new(), erased, unit, read_errors: false }
    }

    /// Returns the address of the area in the flash.
    pub(super) fn address(&self) -> u32 {
        self.region.range().start
    }

    pub(super) fn size(&self) -> u32 {
        let range = self.region.range();
        range.end - range.start
    }

    pub(super) fn erased(&self) -> u8 {
        self.erased
    }

    pub(super) fn sector_count(&self) -> usize {
        self.sectors.len()
    }

    /// Returns the size of a sector, and 0 for one behind the last, as MCUboot's zeroed array has it.
    pub(super) fn sector_size(&self, index: usize) -> u32 {
        self.sectors.get(index).map_or(0, |sector| sector.end - sector.start)
    }

    pub(super) fn sector_offset(&self, index: usize) -> Result<u32, FlashError> {
        self.sectors.get(index).map(|sector| sector.start).ok_or_else(|| self.outside(self.size(), 0))
    }

    /// Returns the index of the sector that holds the byte at `offset`.
    pub(super) fn sector_at(&self, offset: u32) -> Option<usize> {
        self.sectors.iter().position(|sector| sector.contains(&offset))
    }

    /// Returns the first of the sectors at the end of the area that hold its last `size` bytes.
    pub(super) fn first_of_last(&self, size: u32) -> Option<usize> {
        self.size().checked_sub(size).and_then(|offset| self.sector_at(offset.min(self.size() - 1)))
    }

    fn outside(&self, offset: u32, length: u32) -> FlashError {
        FlashError::OutOfBounds { offset: self.address().wrapping_add(offset), length }
    }

    fn check(&self, offset: u32, length: u32) -> Result<(), FlashError> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size());
        if inside { Ok(()) } else { Err(self.outside(offset, length)) }
    }

    pub(super) fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.check(offset, bytes.len() as u32)?;
        if self.read_errors { self.region.read_checked_now(offset, bytes) } else { self.region.read_now(offset, bytes) }
    }

    pub(super) fn bytes<const N: usize>(&self, offset: u32) -> Result<[u8; N], FlashError> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Programs whole units. Units that stay erased are left out: they change nothing.
    pub(super) fn write(&self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.check(offset, bytes.len() as u32)?;
        let unit = self.unit as usize;
        let blank = |unit: &[u8]| unit.iter().all(|byte| *byte == self.erased);
        let mut at = 0;
        for data in bytes.chunks(unit) {
            if !blank(data) {
                self.region.write_now(offset + at, data)?;
            }
            at += data.len() as u32;
        }
        Ok(())
    }

    /// `boot_erase_region`: erases the sectors that hold the range, from the first one up or from the last one down.
    pub(super) fn erase(&self, offset: u32, size: u32, backwards: bool) -> Result<(), FlashError> {
        self.check(offset, size)?;
        let end = offset + size;
        let touched = |sector: &&Range<u32>| sector.start < end && sector.end > offset;
        let mut sectors: Vec<_> = self.sectors.iter().filter(touched).collect();
        if backwards {
            sectors.reverse();
        }
        sectors.into_iter().try_for_each(|sector| self.region.erase_now(sector.start, sector.end))
    }

    pub(super) fn erase_all(&self, backwards: bool) -> Result<(), FlashError> {
        self.erase(0, self.size(), backwards)
    }

    /// `boot_copy_region`: copies `size` bytes of another area to here, a buffer at a time.
    pub(super) fn copy_from(&self, source: &Self, from: u32, to: u32, size: u32) -> Result<(), FlashError> {
        let mut buffer = [0; BUFFER as usize];
        let mut done = 0;
        while done < size {
            let chunk = &mut buffer[..BUFFER.min(size - done) as usize];
            source.read(from.wrapping_add(done), chunk)?;
            self.write(to.wrapping_add(done), chunk)?;
            done += chunk.len() as u32;
        }
        Ok(())
    }
}
