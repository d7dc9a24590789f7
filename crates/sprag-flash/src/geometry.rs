//! What the crates must know of a flash part beyond its `NorFlash` implementation.

use embedded_storage_async::nor_flash::NorFlash;

/// Units and erased value of a flash region.
///
/// [`Geometry::of`] reads the units off the driver's type. State them yourself where the type says too little: an erased
/// value of 0x00, or sizes that are only known at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    /// The unit of programming in bytes. Every program starts at a multiple of it and is a multiple of it long.
    pub write_size: u32,
    /// The size of a sector, the unit of erasing, in bytes; a multiple of `write_size`. Where the sectors of a slot differ,
    /// [`SlotWriter::sectors`](crate::SlotWriter::sectors) says how.
    pub erase_size: u32,
    /// What an erased byte reads as: 0xFF, or 0x00 on some parts (PSoC 6 internal flash, STM32 L0 and L1).
    pub erased: u8,
}

impl Geometry {
    /// The driver's own units, and an erased value of 0xFF.
    pub fn of<F: NorFlash>() -> Self {
        let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        Self { write_size: size(F::WRITE_SIZE), erase_size: size(F::ERASE_SIZE), erased: 0xFF }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.write_size > 0 && self.erase_size > 0 && self.erase_size.is_multiple_of(self.write_size)
    }

    /// `length` rounded down to whole units.
    pub(crate) fn whole_units(&self, length: usize) -> usize {
        let unit = usize::try_from(self.write_size).unwrap_or(usize::MAX);
        length.saturating_sub(length.checked_rem(unit).unwrap_or(length))
    }

    /// `length` rounded up to whole units.
    #[inline(never)] // Else each of its callers has a copy of the division.
    pub(crate) fn padded(&self, length: usize) -> usize {
        let unit = usize::try_from(self.write_size).unwrap_or(usize::MAX);
        length.checked_next_multiple_of(unit).unwrap_or(usize::MAX)
    }
}
