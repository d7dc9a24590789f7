//! MCUboot with two slots that are swapped.

use std::ops::Range;

use ed25519_dalek::SigningKey;
use sprag::boot::{Layout, McuBoot};
use sprag_testkit::flash::{Part, Region};
use sprag_testkit::image::{McuBootImage, Version};
use sprag_testkit::mcuboot::{Bootloader, Swap};

use super::{Booted, Family, Slots};
use crate::case::{Image, KEY};

/// A swap by moving, which leaves less room than one by scratch and is the same otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swapping;

impl Family for Swapping {
    type Boot = McuBoot<Region, Region>;

    fn name(&self) -> &'static str {
        "mcuboot-swap"
    }

    fn fits(&self, part: &Part) -> bool {
        part.write_size <= 32
    }

    fn slot_size(&self, part: &Part, sector: u32, image: u32) -> u32 {
        // Three status cells for each of 128 sectors, four more cells, the magic; and the sector to move by.
        let trailer = 128 * 3 * part.write_size + 4 * part.write_size.max(8) + part.write_size.max(16);
        image.next_multiple_of(sector) + trailer.next_multiple_of(sector) + sector
    }

    fn image(&self, major: u8, image: Image, blank: Range<usize>, erased: u8) -> Vec<u8> {
        const HEADER: usize = 32;
        let version = Version { major, minor: 0, revision: 0, build: 0 };
        let key = SigningKey::from_bytes(&if image.is_forged() { [9; 32] } else { KEY });
        let sign = |payload: &[u8]| McuBootImage { version, header_size: HEADER as u16, payload }.sign(&key);
        let byte = |n: usize| match n + HEADER {
            at if blank.contains(&at) => erased,
            _ => (n as u8).wrapping_mul(major | 1) ^ (n >> 5) as u8,
        };
        sign(&(0..image.length as usize - sign(&[]).len()).map(byte).collect::<Vec<u8>>())
    }

    fn control(&self, slots: &Slots) -> Self::Boot {
        let geometry = slots.secondary.flash().geometry();
        let size = slots.secondary.range().end - slots.secondary.range().start;
        let layout = Layout::new(size, geometry.write_size, geometry.erase_size, geometry.erased);
        McuBoot::new(slots.primary.clone(), slots.secondary.clone(), layout)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let align = slots.primary.flash().geometry().write_size;
        // Digests do: a bootloader that takes forgeries is the harder judge of a firmware that must not hand them over.
        let (primary, secondary) = (slots.primary.clone(), slots.secondary.clone());
        let bootloader = Bootloader { primary, secondary, align, key: None };
        let boot = bootloader.boot().map_err(|error| error.to_string())?;
        Ok(Booted {
            running: boot.running.major,
            reverted: boot.swap == Swap::Revert,
            refused: boot.swap == Swap::Refused,
        })
    }
}

/// A swap by moving, which leaves less room than one by scratch and is the same otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByOffset;

impl Family for ByOffset {
    type Boot = McuBoot<Region, Region>;

    fn name(&self) -> &'static str {
        "mcuboot-offset"
    }

    fn fits(&self, part: &Part) -> bool {
        part.write_size <= 32
    }

    fn slot_size(&self, part: &Part, sector: u32, image: u32) -> u32 {
        // Three status cells for each of 128 sectors, four more cells, the magic; and the sector to move by.
        let trailer = 128 * 2 * part.write_size + 5 * part.write_size.max(8) + part.write_size.max(16);
        image.next_multiple_of(sector) + trailer.next_multiple_of(sector) + sector
    }

    fn image_start(&self, sector: u32) -> u32 {
        sector
    }

    fn image(&self, major: u8, image: Image, blank: Range<usize>, erased: u8) -> Vec<u8> {
        const HEADER: usize = 32;
        let version = Version { major, minor: 0, revision: 0, build: 0 };
        let key = SigningKey::from_bytes(&if image.is_forged() { [9; 32] } else { KEY });
        let sign = |payload: &[u8]| McuBootImage { version, header_size: HEADER as u16, payload }.sign(&key);
        let byte = |n: usize| match n + HEADER {
            at if blank.contains(&at) => erased,
            _ => (n as u8).wrapping_mul(major | 1) ^ (n >> 5) as u8,
        };
        sign(&(0..image.length as usize - sign(&[]).len()).map(byte).collect::<Vec<u8>>())
    }

    fn control(&self, slots: &Slots) -> Self::Boot {
        let geometry = slots.secondary.flash().geometry();
        let size = slots.secondary.range().end - slots.secondary.range().start;
        let layout = Layout::new(size, geometry.write_size, geometry.erase_size, geometry.erased)
            .method(sprag::boot::Method::Offset);
        McuBoot::new(slots.primary.clone(), slots.secondary.clone(), layout)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let align = slots.primary.flash().geometry().write_size;
        // Digests do: a bootloader that takes forgeries is the harder judge of a firmware that must not hand them over.
        let (primary, secondary) = (slots.primary.clone(), slots.secondary.clone());
        let bootloader = Bootloader { primary, secondary, align, key: None };
        let boot = bootloader.boot_by(sprag_testkit::mcuboot::Method::Offset).map_err(|error| error.to_string())?;
        Ok(Booted {
            running: boot.running.major,
            reverted: boot.swap == Swap::Revert,
            refused: boot.swap == Swap::Refused,
        })
    }
}

/// A swap by moving, which leaves less room than one by scratch and is the same otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overwriting;

impl Family for Overwriting {
    type Boot = McuBoot<Region, Region>;

    fn name(&self) -> &'static str {
        "mcuboot-overwrite"
    }

    fn fits(&self, part: &Part) -> bool {
        part.write_size <= 32
    }

    fn slot_size(&self, part: &Part, sector: u32, image: u32) -> u32 {
        // Three status cells for each of 128 sectors, four more cells, the magic; and the sector to move by.
        let trailer = 128 * 3 * part.write_size + 4 * part.write_size.max(8) + part.write_size.max(16);
        image.next_multiple_of(sector) + trailer.next_multiple_of(sector) + sector
    }

    fn image(&self, major: u8, image: Image, blank: Range<usize>, erased: u8) -> Vec<u8> {
        const HEADER: usize = 32;
        let version = Version { major, minor: 0, revision: 0, build: 0 };
        let key = SigningKey::from_bytes(&if image.is_forged() { [9; 32] } else { KEY });
        let sign = |payload: &[u8]| McuBootImage { version, header_size: HEADER as u16, payload }.sign(&key);
        let byte = |n: usize| match n + HEADER {
            at if blank.contains(&at) => erased,
            _ => (n as u8).wrapping_mul(major | 1) ^ (n >> 5) as u8,
        };
        sign(&(0..image.length as usize - sign(&[]).len()).map(byte).collect::<Vec<u8>>())
    }

    fn control(&self, slots: &Slots) -> Self::Boot {
        let geometry = slots.secondary.flash().geometry();
        let size = slots.secondary.range().end - slots.secondary.range().start;
        let layout = Layout::new(size, geometry.write_size, geometry.erase_size, geometry.erased)
            .method(sprag::boot::Method::Overwrite);
        McuBoot::new(slots.primary.clone(), slots.secondary.clone(), layout)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let align = slots.primary.flash().geometry().write_size;
        // Digests do: a bootloader that takes forgeries is the harder judge of a firmware that must not hand them over.
        let (primary, secondary) = (slots.primary.clone(), slots.secondary.clone());
        let bootloader = Bootloader { primary, secondary, align, key: None };
        let boot = bootloader.boot_by(sprag_testkit::mcuboot::Method::Overwrite).map_err(|error| error.to_string())?;
        Ok(Booted {
            running: boot.running.major,
            reverted: boot.swap == Swap::Revert,
            refused: boot.swap == Swap::Refused,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Infineon;

impl Family for Infineon {
    type Boot = sprag::boot::Cypress<'static, Region, Region, Region>;

    fn name(&self) -> &'static str {
        "cypress"
    }

    fn fits(&self, part: &Part) -> bool {
        part.write_size == 512
    }

    fn slot_size(&self, _: &Part, sector: u32, image: u32) -> u32 {
        image.next_multiple_of(sector) + sector
    }

    fn state_sectors(&self) -> u32 {
        16
    }

    fn image(&self, major: u8, image: Image, blank: Range<usize>, erased: u8) -> Vec<u8> {
        Swapping.image(major, image, blank, erased)
    }

    fn control(&self, slots: &Slots) -> Self::Boot {
        let row = Box::leak(vec![0; 512].into_boxed_slice());
        let layout = sprag::boot::mcuboot::CypressLayout::new(32);
        sprag::boot::Cypress::new(slots.primary.clone(), slots.secondary.clone(), slots.state.clone(), layout, row)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let bootloader = sprag_testkit::mcuboot::Cypress {
            primary: slots.primary.clone(),
            secondary: slots.secondary.clone(),
            status: slots.state.clone(),
            max_sectors: 32,
            trailer_in_primary: false,
        };
        let boot = bootloader.boot().map_err(|error| error.to_string())?;
        Ok(Booted {
            running: boot.running.major,
            reverted: boot.swap == Swap::Revert,
            refused: boot.swap == Swap::Refused,
        })
    }
}
