//! A part of a flash, to read.

use core::ops::Range;

use embedded_storage_async::nor_flash::{ErrorType, ReadNorFlash};

use crate::session::HELD_BACK_MAX;

/// The beginning of an image that is not in the slot yet.
pub(crate) type Head = heapless::Vec<u8, HELD_BACK_MAX>;

/// A part of a flash, addressed from 0.
#[derive(Debug)]
pub struct FlashView<'f, F> {
    flash: &'f mut F,
    start: u32,
    size: u32,
    /// Reads as these bytes at the beginning, whatever the flash has there.
    head: Head,
}

impl<'f, F: ReadNorFlash> FlashView<'f, F> {
    /// The bytes of `flash` in `range`, as far as it has them.
    pub fn new(flash: &'f mut F, range: Range<u32>) -> Self {
        let capacity = u32::try_from(flash.capacity()).unwrap_or(u32::MAX);
        let size = range.end.min(capacity).saturating_sub(range.start);
        Self { flash, start: range.start, size, head: Head::new() }
    }

    /// Shows these bytes at the beginning in the place of what the flash has there.
    pub(crate) fn with_head(mut self, head: Head) -> Self {
        self.head = head;
        self
    }
}

impl<F: ErrorType> ErrorType for FlashView<'_, F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> ReadNorFlash for FlashView<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let end = u32::try_from(bytes.len()).ok().and_then(|length| offset.checked_add(length));
        // Beyond its end there may be flash still: the driver is given an address that it has to refuse.
        let at = if end.is_some_and(|end| end <= self.size) { self.start.checked_add(offset) } else { None };
        self.flash.read(at.unwrap_or(u32::MAX), bytes).await?;
        let held = self.head.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        bytes.iter_mut().zip(held).for_each(|(byte, held)| *byte = *held);
        Ok(())
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }
}
