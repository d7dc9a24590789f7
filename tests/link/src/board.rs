//! The devices: a flash part each, with a slot for a megabyte and a journal.

use std::ops::Range;

use sprag_flash::Sectors;
use sprag_testkit::flash::{self, Part, SimFlash};

const MIB: u32 = 1 << 20;

/// A device's flash, and how it is divided.
#[derive(Debug, Clone)]
pub struct Board {
    /// The part, with the sectors of a member of its family that has room for two images.
    pub part: Part,
    /// Where the image goes.
    pub slot: Range<u32>,
    /// Where the journal is.
    pub journal: Range<u32>,
    /// The sectors of the slot, where they are not all of one size.
    pub runs: &'static [Sectors],
    /// The size of the journal's sectors.
    pub journal_sector: u32,
    /// The size of one of the writer's two buffers.
    pub block: usize,
}

impl Board {
    /// The five of the grid.
    pub fn all() -> [Self; 5] {
        [Self::stm32f4(), Self::stm32h5(), Self::esp32(), Self::psoc6(), Self::s25fl()]
    }

    /// STM32F42x with 2 MiB: the slot is the second bank, which can be erased while code runs from the first.
    fn stm32f4() -> Self {
        const BANK: [Sectors; 3] = [
            Sectors { count: 4, size: 16 << 10 },
            Sectors { count: 1, size: 64 << 10 },
            Sectors { count: 7, size: 128 << 10 },
        ];
        let bank = BANK.map(|Sectors { count, size }| flash::Sectors { count, size });
        let part = Part::stm32f4().sectors(&[bank, bank].concat());
        Self { runs: &BANK, journal: 16 << 10..48 << 10, journal_sector: 16 << 10, ..Self::plain(part, MIB) }
    }

    /// STM32H56x with 2 MiB: the slot is the second bank.
    fn stm32h5() -> Self {
        Self::plain(Part::stm32h5(), MIB)
    }

    /// ESP32 with 4 MiB of SPI NOR.
    fn esp32() -> Self {
        Self::plain(Part::esp32(), 2 * MIB)
    }

    /// PSoC 62 with 2 MiB.
    fn psoc6() -> Self {
        let part = Part::psoc6().sectors(&[flash::Sectors { count: 4096, size: 512 }]);
        Self { journal: MIB - 16 * 1024..MIB, block: 512, ..Self::plain(part, MIB) }
    }

    /// S25FL512S beside the controller; only the sectors that are used.
    fn s25fl() -> Self {
        let part = Part::s25fl().sectors(&[flash::Sectors { count: 6, size: 256 << 10 }]);
        Self::plain(part, MIB / 2)
    }

    /// A slot of a megabyte with the journal in the two sectors before it.
    fn plain(part: Part, slot: u32) -> Self {
        let sector = part.geometry().erase_size;
        let journal = slot.saturating_sub(2 * sector)..slot;
        Self { part, slot: slot..slot + MIB, journal, runs: &[], journal_sector: sector, block: 1024 }
    }

    /// The flash, erased.
    pub fn flash(&self) -> SimFlash {
        SimFlash::of(self.part.clone())
    }

    /// What erasing the sectors of an image and programming its units takes, in nanoseconds.
    pub fn write_ns(&self, image: u32) -> u64 {
        let timing = self.part.timing;
        let (mut at, mut total) = (0, 0);
        for run in &self.part.sectors {
            for _ in 0..run.count {
                if at >= self.slot.start && at < self.slot.start + image {
                    total += timing.erase_of(run.size as usize);
                }
                at += run.size;
            }
        }
        total + u64::from(image.div_ceil(self.part.write_size)) * timing.program_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_journals_begin_and_end_with_sectors() {
        for board in Board::all() {
            let flash = board.flash();
            for range in [&board.slot, &board.journal] {
                flash.region(range.clone()).erase_now(0, range.end - range.start).unwrap();
            }
            let bank = (board.journal.end - board.journal.start) / 2;
            assert!(bank.is_multiple_of(board.journal_sector) && bank >= 512, "{}", board.part.name);
        }
    }

    #[test]
    fn times_of_a_megabyte() {
        let seconds = Board::all().map(|board| (board.part.name, board.write_ns(MIB) as f64 / 1e9));
        let expected =
            [("stm32f4", 12.744), ("stm32h5", 2.288), ("esp32", 14.387), ("psoc6", 32.768), ("s25fl", 2.776)];
        for ((name, found), (expected_name, expected)) in seconds.into_iter().zip(expected) {
            assert_eq!(name, expected_name);
            assert!((found - expected).abs() < 0.001, "{name}: {found}");
        }
    }
}
