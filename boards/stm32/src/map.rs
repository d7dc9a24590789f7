//! What lies where in the flash, for each part and bootloader.

use core::fmt;
use core::ops::Range;

use sprag_boot::mcuboot::Method;
use sprag_boot::{FlashGeometry, Layout, embassy};

use crate::part::{BASE, Ecc, Part};

/// A bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Bootloader {
    /// MCUboot, swapping by offset: `MCUBOOT_SWAP_USING_OFFSET`. For parts without ECC.
    McuBoot,
    /// The same, and its `flash_area_read` returns bytes for units that cannot be read, whatever they are: the handler of the
    /// NMI or the bus fault clears the flags and returns. A torn trailer then reads as on a part without ECC.
    McuBootPastEcc,
    /// MCUboot that copies the new image over the old one, without trials: `MCUBOOT_OVERWRITE_ONLY`. On parts with ECC it
    /// reads past the ECC as well.
    McuBootOverwrite,
    /// embassy-boot.
    EmbassyBoot,
}

/// What lies where in the flash, in bytes from its start. The maps here leave the second bank of dual-bank parts to the
/// update, so that the firmware runs on while that bank is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// The part.
    pub part: Part,
    /// What the bootloader is.
    pub kind: Bootloader,
    /// Where the bootloader lies: at the start.
    pub bootloader: Range<u32>,
    /// What runs: MCUboot's primary slot, embassy-boot's ACTIVE.
    pub active: Range<u32>,
    /// What updates go to: MCUboot's secondary slot, embassy-boot's DFU.
    pub update: Range<u32>,
    /// embassy-boot's STATE; empty for MCUboot.
    pub state: Range<u32>,
    /// Sprag's journal.
    pub journal: Range<u32>,
    /// From the start of the active slot to the vector table: MCUboot's header.
    pub header: u32,
}

/// What is wrong with a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MapError {
    /// A range is not whole sectors of this part, or empty.
    Sectors,
    /// Two ranges overlap.
    Overlap,
    /// The sectors of a slot, or of the journal, differ.
    Uneven,
    /// The journal has fewer than two sectors.
    Journal,
    /// MCUboot's slots differ in size; embassy-boot's DFU is not one sector larger than ACTIVE.
    Slots,
    /// STATE does not hold the progress of a swap.
    State,
    /// The vector table is not aligned as the part wants it.
    Vectors,
    /// A swapping MCUboot stops at every reset when a power cut has left a unit of a trailer unreadable. On a part with ECC
    /// that takes [`Bootloader::McuBootPastEcc`] or [`Bootloader::McuBootOverwrite`].
    Ecc,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sectors => "a range is not whole sectors of this part",
            Self::Overlap => "two ranges overlap",
            Self::Uneven => "the sectors of a slot, or of the journal, differ in size",
            Self::Journal => "the journal has fewer than two sectors",
            Self::Slots => "the slots' sizes do not suit the bootloader",
            Self::State => "STATE does not hold the progress of a swap",
            Self::Vectors => "the vector table is not aligned",
            Self::Ecc => {
                "MCUboot stops at what a power cut left unreadable: read past the ECC, with a swap or with overwrite-only"
            }
        })
    }
}

impl core::error::Error for MapError {}

const fn size(range: &Range<u32>) -> u32 {
    range.end - range.start
}

impl Map {
    /// STM32F429ZI with MCUboot. `MCUBOOT_BOOT_MAX_ALIGN` 8.
    pub const F429_MCUBOOT: Self = Self {
        part: Part::STM32F429ZI,
        kind: Bootloader::McuBoot,
        bootloader: 0x00_0000..0x01_0000,
        active: 0x02_0000..0x10_0000,
        update: 0x12_0000..0x20_0000,
        state: 0..0,
        journal: 0x10_0000..0x10_8000,
        header: 0x200,
    };
    /// STM32F429ZI with embassy-boot.
    pub const F429_EMBASSY: Self = Self {
        part: Part::STM32F429ZI,
        kind: Bootloader::EmbassyBoot,
        bootloader: 0x00_0000..0x00_8000,
        active: 0x02_0000..0x0E_0000,
        update: 0x12_0000..0x20_0000,
        state: 0x00_8000..0x00_C000,
        journal: 0x10_0000..0x10_8000,
        header: 0,
    };
    /// STM32L476RG with MCUboot.
    pub const L476_MCUBOOT: Self = Self {
        part: Part::STM32L476RG,
        kind: Bootloader::McuBootPastEcc,
        bootloader: 0x0_0000..0x1_0000,
        active: 0x1_0000..0x8_0000,
        update: 0x8_0000..0xF_0000,
        state: 0..0,
        journal: 0xF_E000..0x10_0000,
        header: 0x200,
    };
    /// STM32L476RG with embassy-boot.
    pub const L476_EMBASSY: Self = Self {
        part: Part::STM32L476RG,
        kind: Bootloader::EmbassyBoot,
        bootloader: 0x0_0000..0x0_8000,
        active: 0x1_0000..0x8_0000,
        update: 0x8_0000..0xF_0800,
        state: 0x0_8000..0x0_A000,
        journal: 0xF_E000..0x10_0000,
        header: 0,
    };
    /// STM32G0B1RE with MCUboot.
    pub const G0B1_MCUBOOT: Self = Self {
        part: Part::STM32G0B1RE,
        kind: Bootloader::McuBootPastEcc,
        bootloader: 0x0_0000..0x0_A000,
        active: 0x0_A000..0x4_0000,
        update: 0x4_0000..0x7_6000,
        state: 0..0,
        journal: 0x7_E000..0x8_0000,
        header: 0x200,
    };
    /// STM32G0B1RE with embassy-boot.
    pub const G0B1_EMBASSY: Self = Self {
        part: Part::STM32G0B1RE,
        kind: Bootloader::EmbassyBoot,
        bootloader: 0x0_0000..0x0_8000,
        active: 0x0_A000..0x4_0000,
        update: 0x4_0000..0x7_6800,
        state: 0x0_8000..0x0_9000,
        journal: 0x7_E000..0x8_0000,
        header: 0,
    };
    /// STM32H563ZI with MCUboot.
    pub const H563_MCUBOOT: Self = Self {
        part: Part::STM32H563ZI,
        kind: Bootloader::McuBootPastEcc,
        bootloader: 0x00_0000..0x01_0000,
        active: 0x01_0000..0x10_0000,
        update: 0x10_0000..0x1F_0000,
        state: 0..0,
        journal: 0x1F_C000..0x20_0000,
        header: 0x400,
    };
    /// STM32H563ZI with embassy-boot.
    pub const H563_EMBASSY: Self = Self {
        part: Part::STM32H563ZI,
        kind: Bootloader::EmbassyBoot,
        bootloader: 0x00_0000..0x00_E000,
        active: 0x01_0000..0x10_0000,
        update: 0x10_0000..0x1F_2000,
        state: 0x00_E000..0x01_0000,
        journal: 0x1F_C000..0x20_0000,
        header: 0,
    };
    /// STM32U575ZI with MCUboot.
    pub const U575_MCUBOOT: Self = Self { part: Part::STM32U575ZI, ..Self::H563_MCUBOOT };
    /// STM32U575ZI with embassy-boot.
    pub const U575_EMBASSY: Self = Self { part: Part::STM32U575ZI, ..Self::H563_EMBASSY };
    /// STM32H743ZI with MCUboot.
    pub const H743_MCUBOOT: Self = Self {
        part: Part::STM32H743ZI,
        kind: Bootloader::McuBootPastEcc,
        bootloader: 0x00_0000..0x02_0000,
        active: 0x02_0000..0x0E_0000,
        update: 0x10_0000..0x1C_0000,
        state: 0..0,
        journal: 0x1C_0000..0x20_0000,
        header: 0x400,
    };
    /// STM32H743ZI with embassy-boot.
    pub const H743_EMBASSY: Self = Self {
        part: Part::STM32H743ZI,
        kind: Bootloader::EmbassyBoot,
        bootloader: 0x00_0000..0x02_0000,
        active: 0x02_0000..0x0C_0000,
        update: 0x10_0000..0x1C_0000,
        state: 0x0C_0000..0x0E_0000,
        journal: 0x1C_0000..0x20_0000,
        header: 0,
    };

    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::F429_MCUBOOT,
        Self::F429_EMBASSY,
        Self::L476_MCUBOOT,
        Self::L476_EMBASSY,
        Self::G0B1_MCUBOOT,
        Self::G0B1_EMBASSY,
        Self::H563_MCUBOOT,
        Self::H563_EMBASSY,
        Self::U575_MCUBOOT,
        Self::U575_EMBASSY,
        Self::H743_MCUBOOT,
        Self::H743_EMBASSY,
    ];

    /// Whether part, bootloader and ranges go together: for a `const _: () = assert!(MAP.check().is_ok());` beside a map of
    /// your own.
    ///
    /// # Errors
    /// What is wrong with it.
    pub const fn check(&self) -> Result<(), MapError> {
        let Self { part, bootloader, active, update, state, journal, header, .. } = self;
        let ranges = [bootloader, active, update, journal, state];
        let mut one = 0;
        while one < ranges.len() {
            if !part.is_whole(ranges[one]) || (one < 4 && size(ranges[one]) == 0) {
                return Err(MapError::Sectors);
            }
            let mut other = 0;
            while other < one {
                if ranges[one].start < ranges[other].end && ranges[other].start < ranges[one].end {
                    return Err(MapError::Overlap);
                }
                other += 1;
            }
            one += 1;
        }
        if bootloader.start != 0 {
            return Err(MapError::Sectors);
        }
        if !part.is_even(active) || !part.is_even(update) || !part.is_even(journal) {
            return Err(MapError::Uneven);
        }
        if size(journal) < 2 * part.erase_size(journal) {
            return Err(MapError::Journal);
        }
        if !(active.start + *header).is_multiple_of(part.vector_align) {
            return Err(MapError::Vectors);
        }
        // embassy-boot copies in the larger of the two sectors.
        let page = if part.erase_size(active) > part.erase_size(update) {
            part.erase_size(active)
        } else {
            part.erase_size(update)
        };
        match self.kind {
            Bootloader::McuBoot if !matches!(part.ecc, Ecc::None) => Err(MapError::Ecc),
            Bootloader::McuBoot | Bootloader::McuBootPastEcc | Bootloader::McuBootOverwrite
                if size(active) != size(update) || *header == 0 =>
            {
                Err(MapError::Slots)
            }
            Bootloader::McuBoot | Bootloader::McuBootPastEcc | Bootloader::McuBootOverwrite => Ok(()),
            Bootloader::EmbassyBoot if size(update) < size(active) + page || *header != 0 => Err(MapError::Slots),
            // `BootLoader::prepare_boot`: magic, whether progress counts, and four words for each page of ACTIVE.
            Bootloader::EmbassyBoot if size(state) < (2 + 4 * (size(active) / page)) * part.write_size => {
                Err(MapError::State)
            }
            Bootloader::EmbassyBoot => Ok(()),
        }
    }

    /// The addresses that a firmware is linked for: for
    /// [`Policy::linked_within`](https://docs.rs/sprag-verify/latest/sprag_verify/struct.Policy.html#method.linked_within).
    pub const fn addresses(&self) -> Range<u32> {
        BASE + self.active.start + self.header..BASE + self.active.end
    }

    /// The parameters of [`McuBoot`](sprag_boot::McuBoot), over the active slot and the update's: cells are aligned to no
    /// less than the write unit.
    pub const fn mcuboot(&self) -> Layout {
        let Part { write_size, erased, .. } = self.part;
        let erase_size = self.part.erase_size(&self.update);
        let method = match self.kind {
            Bootloader::McuBootOverwrite => Method::Overwrite,
            _ => Method::Offset,
        };
        Layout::new(FlashGeometry { write_size, erase_size, erased }).method(method)
    }

    /// The parameters of [`EmbassyBoot`](sprag_boot::EmbassyBoot), over the STATE partition.
    pub const fn embassy_boot(&self) -> embassy::Layout {
        let Part { write_size, erased, .. } = self.part;
        let erase_size = self.part.erase_size(&self.update);
        let dfu = FlashGeometry { write_size, erase_size, erased };
        let state = FlashGeometry { erase_size: self.part.erase_size(&self.state), ..dfu };
        embassy::Layout { active_size: size(&self.active), dfu, state }
    }
}
