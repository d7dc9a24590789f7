//! Where bootloader, slots, status partition and journal lie in the flash.

use core::ops::Range;

use sprag_boot::mcuboot::CypressLayout;

use crate::part::ROW;

/// A flash map: ranges of offsets from the start of the flash, each on boundaries of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Map {
    /// The bootloader, which the CM0+ runs and stays in.
    pub bootloader: Range<u32>,
    /// The slot that the running image lies in, header and trailer included.
    pub primary: Range<u32>,
    /// The slot for updates, of the same size.
    pub secondary: Range<u32>,
    /// The bootloader's status partition.
    pub status: Range<u32>,
    /// The bootloader's scratch area.
    pub scratch: Range<u32>,
    /// Sprag's journal.
    pub journal: Range<u32>,
    /// How far into a slot the image's vector table lies: the size of its header, in bytes.
    pub header: u32,
}

impl Map {
    /// Infineon's `psoc62_2m_int_swap` as of ota-update 4.5, for parts with 2 MiB: both slots in internal flash, swapped through a scratch
    /// area. The journal is ours, in the 29 KiB that the map leaves free at the end.
    pub const PSOC62_2M_INT_SWAP: Self = Self {
        bootloader: 0..0x2_8000,
        primary: 0x2_8000..0x10_E000,
        secondary: 0x10_E000..0x1F_4000,
        status: 0x1F_4000..0x1F_7C00,
        scratch: 0x1F_7C00..0x1F_8C00,
        journal: 0x1F_8C00..0x1F_CC00,
        header: 0x400,
    };

    /// How the bootloader was built for this map, as far as the hand-over depends on it: one image, `MCUBOOT_MAX_IMG_SECTORS`
    /// the rows of a slot, a scratch area.
    pub const fn layout(&self) -> CypressLayout {
        let slot = self.primary.end.saturating_sub(self.primary.start);
        CypressLayout::new(slot / ROW as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::Part;

    #[test]
    fn regions_follow_each_other_in_whole_rows_within_the_flash() {
        let Map { bootloader, primary, secondary, status, scratch, journal, header } = Map::PSOC62_2M_INT_SWAP;
        assert_eq!(primary.len(), secondary.len());
        let regions = [bootloader, primary, secondary, status, scratch, journal];
        assert_eq!(regions[0].start, 0);
        for pair in regions.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
        for region in &regions {
            assert!(region.start.is_multiple_of(512) && region.end.is_multiple_of(512) && !region.is_empty());
        }
        assert!(regions[5].end <= Part::CY8C6XXA.flash);
        // 16 exceptions and 175 interrupts: the vector table must lie on the next power of two.
        assert!(header.is_multiple_of(0x400));
    }

    /// The status partition takes two copies of so many rows for each of three areas: primary, secondary and scratch.
    #[test]
    fn the_status_partition_holds_the_records_of_all_rows() {
        let map = Map::PSOC62_2M_INT_SWAP;
        let rows_of_a_copy = map.layout().max_sectors.div_ceil(500) + 1;
        assert_eq!(map.status.len(), 3 * 2 * rows_of_a_copy as usize * ROW);
    }
}
