//! Write unit, sector size and erased value of a flash.

use embedded_storage_async::nor_flash::NorFlash;

/// Write unit, sector size and erased value of a flash.
///
/// [`FlashGeometry::of`] reads the sizes from the driver's type. Set the fields where the type does not tell: an erased value
/// of 0x00, or sizes that are known at run time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FlashGeometry {
    /// The unit of programming in bytes. Every program starts at a multiple of it and is a multiple of it long.
    pub write_size: u32,
    /// The size of a sector, the unit of erasing, in bytes. It is a multiple of `write_size`.
    pub erase_size: u32,
    /// The value of an erased byte: 0xFF, or 0x00 on some parts (PSoC 6 internal flash, STM32 L0 and L1).
    pub erased: u8,
}

impl FlashGeometry {
    /// Returns the driver's own sizes, and an erased value of 0xFF.
    pub const fn of<F: NorFlash>() -> Self {
        Self { write_size: size(F::WRITE_SIZE), erase_size: size(F::ERASE_SIZE), erased: 0xFF }
    }

    /// Sets the value of an erased byte.
    #[must_use]
    pub const fn erased(mut self, value: u8) -> Self {
        self.erased = value;
        self
    }

    /// Returns whether the sizes are not 0 and a sector is a whole number of write units.
    pub const fn is_valid(&self) -> bool {
        self.write_size > 0 && self.erase_size > 0 && self.erase_size.is_multiple_of(self.write_size)
    }

    /// Returns whether a driver can program and erase in these units: its own are no larger, and divide them.
    pub const fn suits<F: NorFlash>(&self) -> bool {
        self.write_size.is_multiple_of(size(F::WRITE_SIZE)) && self.erase_size.is_multiple_of(size(F::ERASE_SIZE))
    }

    /// Returns `length` in bytes, rounded down to whole write units; 0 where these are 0.
    pub fn whole_units(&self, length: usize) -> usize {
        let unit = usize::try_from(self.write_size).unwrap_or(usize::MAX);
        length.saturating_sub(length.checked_rem(unit).unwrap_or(length))
    }

    /// Returns `length` in bytes, rounded up to whole write units; `usize::MAX` where that is not possible.
    #[inline(never)] // Each of the callers would have a copy of the division.
    pub fn padded(&self, length: usize) -> usize {
        let unit = usize::try_from(self.write_size).unwrap_or(usize::MAX);
        length.checked_next_multiple_of(unit).unwrap_or(usize::MAX)
    }
}

const fn size(size: usize) -> u32 {
    if size > u32::MAX as usize { u32::MAX } else { size as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_to_write_units() {
        let geometry = FlashGeometry { write_size: 8, erase_size: 4096, erased: 0xFF };
        assert_eq!([0, 7, 8, 9].map(|length| geometry.whole_units(length)), [0, 0, 8, 8]);
        assert_eq!([0, 7, 8, 9].map(|length| geometry.padded(length)), [0, 8, 8, 16]);
        let none = FlashGeometry { write_size: 0, ..geometry };
        assert_eq!((none.whole_units(5), none.padded(5)), (0, usize::MAX));
    }

    #[test]
    fn sectors_are_whole_units() {
        let valid = |write_size, erase_size| FlashGeometry { write_size, erase_size, erased: 0 }.is_valid();
        assert!(valid(1, 1) && valid(8, 4096) && valid(512, 512));
        assert!(!valid(0, 4096) && !valid(8, 0) && !valid(8, 4092) && !valid(8, 4));
    }
}
