//! The build settings of MCUboot that its trailers and its image region depend on.

use embedded_storage_async::nor_flash::NorFlash;
use sprag_core::FlashGeometry;

use crate::control::ImageRegion;
use crate::error::Error;
use crate::mcuboot::trailer::{self, ALIGN_MAX, Cells};

/// The build settings of MCUboot that its trailers and its image region depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Layout {
    /// The geometry of both slots. The write unit is MCUboot's `flash_area_align`, 1 to 32 bytes and a power of two; sectors
    /// are those at the end of the slots.
    pub geometry: FlashGeometry,
    /// `BOOT_MAX_IMG_SECTORS`: the sectors that the swap's status has cells for. `None` stands for 128, or for as many as the
    /// larger slot has where that is more (Zephyr's automatic setting).
    pub max_sectors: Option<u32>,
    /// How MCUboot activates the new image.
    pub method: Method,
}

/// How the new image comes to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Method {
    /// `MCUBOOT_SWAP_USING_SCRATCH`: swapped through a scratch area.
    Scratch,
    /// `MCUBOOT_SWAP_USING_MOVE`: swapped by moving the old image up one sector, which must be left free.
    Move,
    /// `MCUBOOT_SWAP_USING_OFFSET`: swapped with the new image one sector up in the secondary slot.
    Offset,
    /// `MCUBOOT_OVERWRITE_ONLY`: copied over the old image, which is gone. There are no trials.
    Overwrite,
}

impl Layout {
    /// A swap by moving over slots of this geometry, with the automatic number of sectors.
    pub const fn new(geometry: FlashGeometry) -> Self {
        Self { geometry, max_sectors: None, method: Method::Move }
    }

    /// As [`new`](Self::new), with the geometry of the slots' driver: see [`FlashGeometry::of`].
    pub const fn of<S: NorFlash>() -> Self {
        Self::new(FlashGeometry::of::<S>())
    }

    /// Sets `BOOT_MAX_IMG_SECTORS`.
    #[must_use]
    pub const fn max_sectors(mut self, sectors: u32) -> Self {
        self.max_sectors = Some(sectors);
        self
    }

    /// Sets how the new image comes to run.
    #[must_use]
    pub const fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the automatic number of sectors for slots of these sizes, unless a number was set.
    pub(crate) fn sized(mut self, slots: [u32; 2]) -> Self {
        let sectors = slots.map(|slot| slot.checked_div(self.geometry.erase_size).unwrap_or(0));
        let automatic = sectors.into_iter().fold(128, u32::max);
        self.max_sectors = Some(self.max_sectors.unwrap_or(automatic));
        self
    }

    /// Returns whether the drivers of both slots can program and erase in these units.
    pub(crate) fn suits<P: NorFlash, S: NorFlash>(&self) -> bool {
        self.geometry.suits::<P>() && self.geometry.suits::<S>()
    }

    /// Returns where the trailer's fields lie in a slot of this size.
    pub(crate) fn cells(&self, slot: u32) -> Result<Cells, Error> {
        let align = self.geometry.write_size;
        let is_valid = align.is_power_of_two() && align <= ALIGN_MAX && self.geometry.erase_size > 0;
        Some(slot).filter(|_| is_valid).and_then(|slot| Cells::new(slot, align)).ok_or(Error::Layout)
    }

    /// Returns the size of the trailer in whole sectors, in bytes, so that it can be erased without touching the image.
    /// `status_cells` is the number of cells that each sector has in the swap's status, `fields` the number of cells between
    /// the status and the magic.
    pub(crate) fn trailer_sectors(&self, status_cells: u32, fields: u32) -> u32 {
        let FlashGeometry { write_size, erase_size, .. } = self.geometry;
        let sectors = self.max_sectors.unwrap_or(128);
        let status = sectors.saturating_mul(status_cells).saturating_mul(write_size);
        let size = status.saturating_add(trailer::front(write_size, fields));
        size.checked_next_multiple_of(erase_size).unwrap_or(u32::MAX)
    }

    /// Returns the region of a slot for images, without so many bytes at its start and at its end.
    pub(crate) fn image_region(&self, slot: u32, before: u32, behind: u32) -> ImageRegion {
        let geometry = self.geometry;
        let end = slot.saturating_sub(behind);
        let end = end.saturating_sub(end.checked_rem(geometry.erase_size).unwrap_or(0));
        ImageRegion { start: before, end: end.max(before), geometry }
    }
}
