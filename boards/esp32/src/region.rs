//! A part of the flash, which nothing gets out of.

use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::mutex::Mutex;
use embedded_storage::nor_flash::NorFlash as Driver;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag_boot::esp_idf::Partition;

use crate::error::FlashError;
use crate::flash::{ERASE_SIZE, Flash, WRITE_SIZE};

/// One partition of the shared flash. What lies outside is refused, whatever is asked for.
///
/// # Cancellation safety
/// As [`Flash`]'s: the flash is free again when a call's future is dropped.
pub struct Region<'f, M: RawMutex, D, W> {
    flash: &'f Mutex<M, Flash<D, W>>,
    partition: Partition,
    /// What callers call its first byte.
    first: u32,
}

impl<'f, M: RawMutex, D, W> Region<'f, M, D, W> {
    /// The partition, its bytes counted from 0.
    pub fn new(flash: &'f Mutex<M, Flash<D, W>>, partition: Partition) -> Self {
        Self { flash, partition, first: 0 }
    }

    /// The partition, its bytes counted from the start of the flash: for those who speak of the whole flash, and need no
    /// more than this of it.
    pub fn in_place(flash: &'f Mutex<M, Flash<D, W>>, partition: Partition) -> Self {
        Self { flash, partition, first: partition.offset }
    }

    /// Where these bytes lie in the flash.
    fn place<E>(&self, offset: u32, length: usize) -> Result<u32, FlashError<E>> {
        let length = u32::try_from(length).map_err(|_| FlashError::OutOfBounds)?;
        let from = offset.checked_sub(self.first).ok_or(FlashError::OutOfBounds)?;
        let end = from.checked_add(length).ok_or(FlashError::OutOfBounds)?;
        let place = self.partition.offset.checked_add(from).ok_or(FlashError::OutOfBounds)?;
        if end <= self.partition.size { Ok(place) } else { Err(FlashError::OutOfBounds) }
    }
}

impl<M: RawMutex, D, W> Clone for Region<'_, M, D, W> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<M: RawMutex, D, W> core::fmt::Debug for Region<'_, M, D, W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Region").field("partition", &self.partition).field("first", &self.first).finish_non_exhaustive()
    }
}

impl<M: RawMutex, D: Driver, W> ErrorType for Region<'_, M, D, W> {
    type Error = FlashError<D::Error>;
}

impl<M: RawMutex, D: Driver, W: FnMut()> ReadNorFlash for Region<'_, M, D, W> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let place = self.place(offset, bytes.len())?;
        self.flash.lock().await.read(place, bytes).await
    }

    /// The end of the region, as its callers count.
    fn capacity(&self) -> usize {
        self.first.saturating_add(self.partition.size) as usize
    }
}

impl<M: RawMutex, D: Driver, W: FnMut()> NorFlash for Region<'_, M, D, W> {
    const WRITE_SIZE: usize = WRITE_SIZE;
    const ERASE_SIZE: usize = ERASE_SIZE;

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let place = self.place(offset, bytes.len())?;
        self.flash.lock().await.write(place, bytes).await
    }

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds)?;
        let place = self.place(from, length as usize)?;
        self.flash.lock().await.erase(place, place + length).await
    }
}
