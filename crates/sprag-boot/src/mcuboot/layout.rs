//! How MCUboot was built, as far as its trailers and its room for images depend on it.

use crate::control::Room;
use crate::error::Error;
use crate::mcuboot::trailer::{self, ALIGN_MAX, Cells};

/// How MCUboot was built, as far as its trailers and its room for images depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Layout {
    /// `flash_area_align` of the slots: the write unit in bytes, 1 to 32 and a power of two.
    pub align: u32,
    /// The size of the sectors at the end of the slots, in bytes.
    pub erase_size: u32,
    /// What an erased byte reads as, in both slots.
    pub erased: u8,
    /// `BOOT_MAX_IMG_SECTORS`: the sectors that the swap's status has cells for.
    pub max_sectors: u32,
    /// How the new image comes to run.
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
    /// As MCUboot is built unless told otherwise: status cells for 128 sectors, or for as many as `slot` bytes have where
    /// that is more (Zephyr's automatic setting), and a swap by moving.
    pub const fn new(slot: u32, align: u32, erase_size: u32, erased: u8) -> Self {
        let sectors = match slot.checked_div(erase_size) {
            Some(sectors) if sectors > 128 => sectors,
            _ => 128,
        };
        Self { align, erase_size, erased, max_sectors: sectors, method: Method::Move }
    }

    /// Sets `BOOT_MAX_IMG_SECTORS`.
    #[must_use]
    pub const fn max_sectors(mut self, sectors: u32) -> Self {
        self.max_sectors = sectors;
        self
    }

    /// Sets how the new image comes to run.
    #[must_use]
    pub const fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Where the trailer's fields lie in a slot of this size, if layout and slot go together.
    pub(crate) fn cells(&self, slot: u32) -> Result<Cells, Error> {
        let sound = self.align.is_power_of_two() && self.align <= ALIGN_MAX && self.erase_size > 0;
        Some(slot).filter(|_| sound).and_then(|slot| Cells::new(slot, self.align)).ok_or(Error::Layout)
    }

    /// The trailer in whole sectors, in bytes, so that it can be erased without touching the image. `status_cells` is how
    /// many cells each sector has in the swap's status, `fields` how many cells lie between that and the magic.
    pub(crate) fn trailer_sectors(&self, status_cells: u32, fields: u32) -> u32 {
        let status = self.max_sectors.saturating_mul(status_cells).saturating_mul(self.align);
        let size = status.saturating_add(trailer::front(self.align, fields));
        size.checked_next_multiple_of(self.erase_size).unwrap_or(u32::MAX)
    }

    /// A room with so many bytes of a slot left out at its start and at its end.
    pub(crate) fn room(&self, slot: u32, before: u32, behind: u32) -> Room {
        let end = slot.saturating_sub(behind);
        let end = end.saturating_sub(end.checked_rem(self.erase_size).unwrap_or(0));
        Room { start: before, end: end.max(before), erase_size: self.erase_size, erased: self.erased }
    }
}
