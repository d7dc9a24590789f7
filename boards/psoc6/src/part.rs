//! Where a part's flash is, in which sectors and rows, and what may be changed while code runs from it.

use core::ops::Range;

use crate::error::Error;

/// A row in bytes: the unit of programming, and the smallest one of erasing.
pub const ROW: usize = 512;
/// What an erased byte reads as.
pub const ERASED: u8 = 0x00;
/// Where the application flash of every part begins.
pub const FLASH: u32 = 0x1000_0000;
/// Where the SRAM of every part begins.
pub const SRAM: u32 = 0x0800_0000;

const ROW_BYTES: u32 = 512;
/// Eight rows, which one system call erases in the time of one.
const SUBSECTOR: u32 = 8 * ROW_BYTES;

/// The application flash of a part: its size, and that of its sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Part {
    /// The flash in bytes, a multiple of `sector`.
    pub flash: u32,
    /// A sector in bytes: what can't be read while a row of it is changed. A multiple of 4096.
    pub sector: u32,
    /// The SRAM in bytes.
    pub sram: u32,
    /// Whether the pairs of sectors 0 and 1, 2 and 3, can't be read while a row of either is changed.
    pub paired: bool,
}

impl Part {
    /// CY8C6xx7: 1 MiB. The CY8C6xx6 have half of it.
    pub const CY8C6XX7: Self = Self { flash: 0x10_0000, sector: 0x4_0000, sram: 288 * 1024, paired: true };
    /// CY8C6xxA: 2 MiB, as on the CY8CPROTO-062-4343W and the CY8CPROTO-062S2-43439.
    pub const CY8C6XXA: Self = Self { flash: 0x20_0000, sector: 0x4_0000, sram: 0x10_0000, paired: false };
    /// CY8C6xx8: 1 MiB of the same die.
    pub const CY8C6XX8: Self = Self { flash: 0x10_0000, sram: 0x8_0000, ..Self::CY8C6XXA };
    /// CY8C6xx5: 512 KiB.
    pub const CY8C6XX5: Self = Self { flash: 0x8_0000, sector: 0x4_0000, sram: 0x4_0000, paired: false };
    /// CY8C6xx4: 256 KiB.
    pub const CY8C6XX4: Self = Self { flash: 0x4_0000, sector: 0x2_0000, sram: 0x2_0000, paired: false };

    /// The address of a range of so many bytes at `offset`, if that is within the flash and on boundaries of `unit`.
    pub(crate) fn address(self, offset: u32, length: usize, unit: u32) -> Result<u32, Error> {
        let length = u32::try_from(length).map_err(|_| Error::OutOfBounds)?;
        if !offset.is_multiple_of(unit) || !length.is_multiple_of(unit) {
            return Err(Error::NotAligned);
        }
        match offset.checked_add(length) {
            Some(end) if end <= self.flash => Ok(FLASH.wrapping_add(offset)),
            _ => Err(Error::OutOfBounds),
        }
    }

    /// Whether `length` bytes at an address are words in SRAM.
    pub(crate) fn is_sram(self, address: u32, length: u32) -> bool {
        let end = address.checked_sub(SRAM).and_then(|offset| offset.checked_add(length));
        address.is_multiple_of(4) && end.is_some_and(|end| end <= self.sram)
    }

    /// The first sector of `target` that can't be changed while `code` is executed: both are ranges of addresses.
    pub(crate) fn collision(self, code: &Range<u32>, target: &Range<u32>) -> Option<u32> {
        let (code, target) = (self.sectors(code), self.sectors(target));
        let unit = |sector: u32| if self.paired { sector / 2 } else { sector };
        target.into_iter().find(|sector| code.clone().any(|code| unit(code) == unit(*sector)))
    }

    /// The sectors that a range of addresses touches, as far as it is one of flash.
    fn sectors(self, range: &Range<u32>) -> Range<u32> {
        let [start, end] = [range.start, range.end].map(|at| at.saturating_sub(FLASH).min(self.flash));
        if start >= end {
            return 0..0;
        }
        start / self.sector..end.div_ceil(self.sector)
    }
}

/// What one system call erases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Erase {
    /// A row.
    Row(u32),
    /// Eight rows on a boundary of eight.
    Subsector(u32),
}

/// The system calls that erase a range of addresses on boundaries of rows, in order.
pub(crate) fn erases(range: Range<u32>) -> impl Iterator<Item = Erase> {
    let mut at = range.start;
    core::iter::from_fn(move || {
        let left = range.end.checked_sub(at).filter(|left| *left > 0)?;
        let (erase, length) = if at.is_multiple_of(SUBSECTOR) && left >= SUBSECTOR {
            (Erase::Subsector(at), SUBSECTOR)
        } else {
            (Erase::Row(at), ROW_BYTES)
        };
        at = at.checked_add(length)?;
        Some(erase)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [Part; 5] = [Part::CY8C6XX7, Part::CY8C6XXA, Part::CY8C6XX8, Part::CY8C6XX5, Part::CY8C6XX4];

    #[test]
    fn every_part_is_whole_sectors_of_whole_subsectors() {
        for part in PARTS {
            assert!(part.flash.is_multiple_of(part.sector) && part.sector.is_multiple_of(SUBSECTOR), "{part:?}");
        }
    }

    #[test]
    fn addresses_are_of_whole_units_within_the_flash() {
        for part in PARTS {
            let last = part.flash - ROW_BYTES;
            assert_eq!(part.address(last, ROW, ROW_BYTES), Ok(FLASH + last));
            assert_eq!(part.address(last, 2 * ROW, ROW_BYTES), Err(Error::OutOfBounds));
            assert_eq!(part.address(part.flash, 0, 1), Ok(FLASH + part.flash));
            assert_eq!(part.address(part.flash, 1, 1), Err(Error::OutOfBounds));
            assert_eq!(part.address(u32::MAX, 1, 1), Err(Error::OutOfBounds));
            assert_eq!(part.address(1, ROW, ROW_BYTES), Err(Error::NotAligned));
            assert_eq!(part.address(0, 1, ROW_BYTES), Err(Error::NotAligned));
        }
    }

    #[test]
    fn memory_for_system_calls_is_words_in_sram() {
        let part = Part::CY8C6XXA;
        assert!(part.is_sram(SRAM, 512) && part.is_sram(SRAM + part.sram - 512, 512));
        for address in [SRAM + 1, SRAM + part.sram - 508, SRAM - 4, FLASH, 0, u32::MAX - 3] {
            assert!(!part.is_sram(address, 512), "{address:#x}");
        }
    }

    /// The map of psoc62_2m_int_swap: the end of the primary slot and the start of the secondary one share sector 4.
    #[test]
    fn an_image_that_reaches_into_the_other_slots_sector_keeps_it_from_being_changed() {
        let part = Part::CY8C6XXA;
        let first_row = 0x1010_E000..0x1010_E200;
        assert_eq!(part.collision(&(0x1002_8400..0x1010_0000), &first_row), None);
        assert_eq!(part.collision(&(0x1002_8400..0x1010_0001), &first_row), Some(4));
        assert_eq!(part.collision(&(0x1014_0000..0x1014_0001), &(0x1010_0000..0x1018_0000)), Some(5));
        // Code in SRAM, and none at all.
        assert_eq!(part.collision(&(SRAM..SRAM + 0x1000), &first_row), None);
        assert_eq!(part.collision(&(0..0), &first_row), None);
    }

    #[test]
    fn on_the_1_mib_die_a_pair_of_sectors_is_busy_at_once() {
        let collision = |code: u32, target: u32| {
            let [code, target] = [code, target].map(|sector| FLASH + sector * 0x4_0000);
            Part::CY8C6XX7.collision(&(code..code + 4), &(target..target + ROW_BYTES))
        };
        assert_eq!([collision(0, 1), collision(1, 0), collision(2, 3)], [Some(1), Some(0), Some(3)]);
        assert_eq!([collision(0, 2), collision(1, 2), collision(3, 1)], [None; 3]);
    }
}
