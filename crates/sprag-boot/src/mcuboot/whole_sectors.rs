//! A slot that begins or ends within a sector of its flash.

use core::fmt;
use core::ops::Range;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

/// A slot that begins or ends within a sector, as the slot writer and the hand-over need it: addressed from 0, its first and
/// its last sector as short as the slot has them.
///
/// Infineon's external maps have such slots: their last sector holds the trailer alone. An erase of a short sector erases the
/// **whole sector of the flash**, with what lies beside the slot in it. The bootloader does the same whenever it swaps, so
/// that a sector which a slot reaches into is the slot's alone: no journal, settings or other slot may lie there.
///
/// # Cancellation safety
/// As the flash's.
#[derive(Debug)]
pub struct WholeSectors<F> {
    flash: F,
    slot: Range<u32>,
    erase_size: u32,
}

impl<F: NorFlash> WholeSectors<F> {
    /// The slot that lies in this range of the flash, whose sectors are of `erase_size` bytes and counted from its start.
    pub fn new(flash: F, slot: Range<u32>, erase_size: u32) -> Self {
        Self { flash, slot, erase_size }
    }

    /// The size of the slot's first sector in bytes: what of it lies in the slot. The others, up to the last one, are whole.
    pub fn first_sector(&self) -> u32 {
        let into = self.slot.start.checked_rem(self.erase_size).unwrap_or(0);
        self.erase_size.saturating_sub(into).min(self.size())
    }

    fn size(&self) -> u32 {
        self.slot.end.saturating_sub(self.slot.start)
    }

    /// Returns the address in the flash of so many bytes at an offset in the slot.
    fn place(&self, offset: u32, length: usize) -> Result<u32, PartialSectorError<F::Error>> {
        let length = u32::try_from(length).map_err(|_| PartialSectorError::OutOfBounds)?;
        let end = offset.checked_add(length).filter(|end| *end <= self.size());
        end.and_then(|_| self.slot.start.checked_add(offset)).ok_or(PartialSectorError::OutOfBounds)
    }
}

/// An error of a slot that begins or ends within a sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PartialSectorError<E> {
    /// Not on the boundaries of sectors, or of the slot.
    NotAligned,
    /// Outside the slot.
    OutOfBounds,
    /// The flash failed.
    Flash(E),
}

impl<E: fmt::Debug> fmt::Display for PartialSectorError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned => f.write_str("not on the boundaries of sectors"),
            Self::OutOfBounds => f.write_str("outside the slot"),
            Self::Flash(error) => write!(f, "the flash failed: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for PartialSectorError<E> {}

impl<E: NorFlashError> NorFlashError for PartialSectorError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::Flash(error) => error.kind(),
        }
    }
}

impl<F: NorFlash> ErrorType for WholeSectors<F> {
    type Error = PartialSectorError<F::Error>;
}

impl<F: NorFlash> ReadNorFlash for WholeSectors<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let at = self.place(offset, bytes.len())?;
        self.flash.read(at, bytes).await.map_err(PartialSectorError::Flash)
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.size()).unwrap_or(usize::MAX)
    }
}

impl<F: NorFlash> NorFlash for WholeSectors<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    /// Short sectors are whole write units.
    const ERASE_SIZE: usize = F::WRITE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let length = to.checked_sub(from).and_then(|length| usize::try_from(length).ok());
        let at = self.place(from, length.ok_or(PartialSectorError::OutOfBounds)?)?;
        let end = self.slot.start.saturating_add(to);
        let before = at.checked_rem(self.erase_size).ok_or(PartialSectorError::NotAligned)?;
        if before != 0 && from != 0 {
            return Err(PartialSectorError::NotAligned);
        }
        if !end.is_multiple_of(self.erase_size) && end != self.slot.end {
            return Err(PartialSectorError::NotAligned);
        }
        let end = end.checked_next_multiple_of(self.erase_size).ok_or(PartialSectorError::OutOfBounds)?;
        self.flash.erase(at.saturating_sub(before), end).await.map_err(PartialSectorError::Flash)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let at = self.place(offset, bytes.len())?;
        self.flash.write(at, bytes).await.map_err(PartialSectorError::Flash)
    }
}
