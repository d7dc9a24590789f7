//! A part of a flash, to read.

use core::ops::Range;

use embedded_storage_async::nor_flash::{ErrorType, ReadNorFlash};

use crate::operation::{copy, length, size};

/// A part of a flash, addressed from 0.
#[derive(Debug)]
pub struct FlashView<'f, F> {
    flash: &'f mut F,
    start: u32,
    size: u32,
    /// Reads as these bytes at the beginning, whatever the flash has there.
    head: &'f [u8],
}

impl<'f, F: ReadNorFlash> FlashView<'f, F> {
    /// The bytes of `flash` in `range`, as far as it has them.
    pub fn new(flash: &'f mut F, range: Range<u32>) -> Self {
        let capacity = flash.capacity();
        Self::with_head(flash, capacity, range, &[])
    }
}

impl<'f, F> FlashView<'f, F> {
    /// Shows `head` at the beginning in the place of what the flash has there.
    pub(crate) fn with_head(flash: &'f mut F, capacity: usize, range: Range<u32>, head: &'f [u8]) -> Self {
        let size = range.end.min(length(capacity)).saturating_sub(range.start);
        Self { flash, start: range.start, size, head }
    }

    /// Returns where the flash is to be read. Beyond the end of the view there may be flash still: the driver is given an
    /// address that it has to refuse.
    fn place(&self, offset: u32, bytes: usize) -> u32 {
        let end = offset.checked_add(length(bytes)).filter(|end| *end <= self.size);
        end.and_then(|_| self.start.checked_add(offset)).unwrap_or(u32::MAX)
    }

    fn show_head(&self, offset: u32, bytes: &mut [u8]) {
        copy(bytes, self.head.get(size(offset)..).unwrap_or_default());
    }
}

impl<F: ErrorType> ErrorType for FlashView<'_, F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> ReadNorFlash for FlashView<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.flash.read(self.place(offset, bytes.len()), bytes).await?;
        self.show_head(offset, bytes);
        Ok(())
    }

    fn capacity(&self) -> usize {
        size(self.size)
    }
}

impl<F: embedded_storage::nor_flash::ReadNorFlash> embedded_storage::nor_flash::ReadNorFlash for FlashView<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.flash.read(self.place(offset, bytes.len()), bytes)?;
        self.show_head(offset, bytes);
        Ok(())
    }

    fn capacity(&self) -> usize {
        size(self.size)
    }
}
