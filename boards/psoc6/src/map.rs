//! Where bootloader, slots, status partition and journal lie in the flash.

use core::ops::Range;

use sprag_boot::FlashGeometry;
use sprag_boot::mcuboot::CypressLayout;

use crate::part::ROW;

/// A flash map: ranges of offsets from the start of the flash, each on boundaries of rows.
///
/// With a serial flash, the secondary slot and the scratch area lie there, and their ranges are offsets from its
/// start. The bootloader erases the sectors that these reach into as a whole: nothing else may lie in them.
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
    /// The serial flash, where the secondary slot and the scratch area lie in one.
    pub serial: Option<FlashGeometry>,
}

impl Map {
    /// Infineon's `psoc62_2m_int_swap` as of ota-update 4.5, for parts with 2 MiB: both slots in internal flash, swapped
    /// through a scratch area. The journal is ours, in the 29 KiB that the map leaves free at the end.
    pub const PSOC62_2M_INT_SWAP: Self = Self {
        bootloader: 0..0x2_8000,
        primary: 0x2_8000..0x10_E000,
        secondary: 0x10_E000..0x1F_4000,
        status: 0x1F_4000..0x1F_7C00,
        scratch: 0x1F_7C00..0x1F_8C00,
        journal: 0x1F_8C00..0x1F_CC00,
        header: 0x400,
        serial: None,
    };

    /// The sectors of 256 KiB and the units of 16 bytes of an S25FL512S, which the kits have.
    pub const S25FL512S: FlashGeometry = FlashGeometry { write_size: 16, erase_size: 0x4_0000, erased: 0xFF };

    /// The secondary slot of Infineon's `psoc6_swap_single_smif`: a sector, and 512 bytes for the trailer in the next
    /// one. A journal of 16 KiB, which is ours, lies behind the status partition.
    ///
    /// The slot is handed over as [`WholeSectors`](sprag_boot::mcuboot::WholeSectors).
    pub const PSOC6_SWAP_SINGLE_SMIF: Self = Self {
        bootloader: 0..0x1_8000,
        primary: 0x1_8000..0x5_8200,
        secondary: 0..0x4_0200,
        status: 0x5_8200..0x5_BE00,
        scratch: 0x44_0000..0x4C_0000,
        journal: 0x5_BE00..0x5_FE00,
        header: 0x400,
        serial: Some(Self::S25FL512S),
    };

    /// The secondary slot of Infineon's `psoc62_2m_ext_swap_single`: it begins 512 bytes into a sector, so that the trailer
    /// lies alone in its last one. A journal of 16 KiB, which is ours, lies behind the status partition.
    ///
    /// The slot is handed over as [`WholeSectors`](sprag_boot::mcuboot::WholeSectors), and the slot writer is told of its
    /// first sector by [`Map::first_sector`].
    pub const PSOC62_2M_EXT_SWAP_SINGLE: Self = Self {
        bootloader: 0..0x2_8000,
        primary: 0x2_8000..0x1E_8000,
        secondary: 0x200..0x1C_0200,
        status: 0x1E_8000..0x1E_EC00,
        scratch: 0x44_0000..0x4C_0000,
        journal: 0x1E_EC00..0x1F_2C00,
        header: 0x400,
        serial: Some(Self::S25FL512S),
    };

    /// The size of what of its first sector lies in the secondary slot, in bytes. Where that is not a whole sector, it is
    /// for `SlotWriter::sectors`, as one sector of this size.
    pub const fn first_sector(&self) -> u32 {
        let sector = match self.serial {
            Some(geometry) => geometry.erase_size,
            None => ROW as u32,
        };
        match self.secondary.start.checked_rem(sector) {
            Some(into) => sector.saturating_sub(into),
            None => 0,
        }
    }

    /// How the bootloader was built for this map, as far as the hand-over depends on it: one image,
    /// `MCUBOOT_MAX_IMG_SECTORS` the rows of a slot, a scratch area.
    pub const fn layout(&self) -> CypressLayout {
        let slot = self.primary.end.saturating_sub(self.primary.start);
        let layout = CypressLayout::new(slot / ROW as u32);
        match self.serial {
            Some(geometry) => layout.external(geometry, self.secondary.start),
            None => layout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::Part;

    #[test]
    fn regions_follow_each_other_in_whole_rows_within_the_flash() {
        let Map { bootloader, primary, secondary, status, scratch, journal, header, serial } = Map::PSOC62_2M_INT_SWAP;
        assert_eq!(serial, None);
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

    /// In the internal flash the regions follow each other; in the serial one no sector is shared.
    #[test]
    fn what_lies_in_serial_flash_shares_no_sector() {
        for (map, first) in
            [(Map::PSOC6_SWAP_SINGLE_SMIF, 0x4_0000), (Map::PSOC62_2M_EXT_SWAP_SINGLE, 0x4_0000 - 0x200)]
        {
            assert_eq!(map.first_sector(), first);
            let Map { bootloader, primary, secondary, status, scratch, journal, serial, .. } = map;
            assert_eq!(primary.len(), secondary.len());
            let internal = [bootloader, primary, status, journal];
            for pair in internal.windows(2) {
                assert_eq!(pair[0].end, pair[1].start);
            }
            assert!(internal.iter().all(|region| region.start % 512 == 0 && region.end % 512 == 0));
            assert!(internal[3].end <= Part::CY8C6XXA.flash);
            let sector = serial.unwrap().erase_size;
            assert!(secondary.end.next_multiple_of(sector) <= scratch.start);
            assert!(scratch.start.is_multiple_of(sector) && scratch.len() as u32 >= sector);
        }
    }

    /// The status partition takes two copies of so many rows for each of three areas: primary, secondary and scratch.
    #[test]
    fn the_status_partition_holds_the_records_of_all_rows() {
        for (map, spare) in
            [(Map::PSOC62_2M_INT_SWAP, 0), (Map::PSOC6_SWAP_SINGLE_SMIF, 0x1800), (Map::PSOC62_2M_EXT_SWAP_SINGLE, 0)]
        {
            let rows_of_a_copy = map.layout().max_sectors.div_ceil(500) + 1;
            assert_eq!(map.status.len(), 3 * 2 * rows_of_a_copy as usize * ROW + spare);
        }
    }
}
