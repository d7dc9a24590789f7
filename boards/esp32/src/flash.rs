//! The flash of the chip as an async one: strict NOR calls, aligned buffers, a sector at a time.

use core::ops::Range;

use embassy_futures::yield_now;
use embedded_storage::nor_flash::NorFlash as Driver;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag_flash::FlashGeometry;

use crate::error::FlashError;

/// What is programmed at once, in bytes.
pub const WRITE_SIZE: usize = 4;
/// What is erased at once, in bytes.
pub const ERASE_SIZE: usize = 4096;
/// The same, as the slot writer and the journal want to be told.
pub const GEOMETRY: FlashGeometry =
    FlashGeometry { write_size: WRITE_SIZE as u32, erase_size: ERASE_SIZE as u32, erased: 0xFF };
/// The flash's own page. Buffers that are not aligned are copied through one.
const COPY: usize = 256;

/// A copy of bytes where the ROM wants them: at a word.
#[repr(align(4))]
struct Copied([u8; COPY]);

/// The whole flash, over a blocking driver `D`: `esp_storage::FlashStorage`, of which only the strict NOR calls are used.
/// Its other `write` reads a sector, erases it and writes it again: a cut in it loses what was there.
///
/// - Any bytes can be read. A buffer that is not word-aligned goes through a copy of 256 bytes in here, where `esp-storage`
///   would put 4 KiB on the stack.
/// - It is erased a sector at a time, and the watchdog is fed by `feed` before each; in between, other tasks run.
///   `esp-storage` by itself takes blocks of 64 KiB: interrupts are off for as long as each of them takes.
///
/// # Cancellation safety
/// An erase that is dropped has erased whole sectors, from the first one on.
pub struct Flash<D, W> {
    driver: D,
    feed: W,
    copied: Copied,
}

impl<D, W> core::fmt::Debug for Flash<D, W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Flash").finish_non_exhaustive()
    }
}

impl<D: Driver, W: FnMut()> Flash<D, W> {
    /// The flash behind `driver`. `feed` feeds the watchdog.
    pub fn new(driver: D, feed: W) -> Self {
        const {
            assert!(WRITE_SIZE.is_multiple_of(D::READ_SIZE), "reads of words");
            assert!(WRITE_SIZE.is_multiple_of(D::WRITE_SIZE), "programs of words");
            assert!(ERASE_SIZE.is_multiple_of(D::ERASE_SIZE), "erases of sectors");
        }
        Self { driver, feed, copied: Copied([0; COPY]) }
    }

    /// The bytes from `offset` on, where the flash has as many.
    fn within(&self, offset: u32, length: usize) -> Result<Range<u32>, FlashError<D::Error>> {
        let end = u32::try_from(length).ok().and_then(|length| offset.checked_add(length));
        let capacity = self.driver.capacity();
        match end {
            Some(end) if usize::try_from(end).is_ok_and(|end| end <= capacity) => Ok(offset..end),
            _ => Err(FlashError::OutOfBounds),
        }
    }
}

/// How many of the bytes can be moved without a copy: whole words, where address and buffer are aligned.
fn direct(offset: u32, bytes: &[u8]) -> usize {
    let aligned = offset.is_multiple_of(WRITE_SIZE as u32) && bytes.as_ptr().addr().is_multiple_of(WRITE_SIZE);
    if aligned { bytes.len() - bytes.len() % WRITE_SIZE } else { 0 }
}

impl<D: Driver, W> ErrorType for Flash<D, W> {
    type Error = FlashError<D::Error>;
}

impl<D: Driver, W: FnMut()> ReadNorFlash for Flash<D, W> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let mut at = self.within(offset, bytes.len())?.start;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let count = match direct(at, bytes) {
                0 => {
                    let skip = at as usize % WRITE_SIZE;
                    let count = bytes.len().min(COPY - skip);
                    let words = &mut self.copied.0[..(skip + count).next_multiple_of(WRITE_SIZE)];
                    self.driver.read(at - skip as u32, words).map_err(FlashError::Driver)?;
                    bytes[..count].copy_from_slice(&words[skip..skip + count]);
                    count
                }
                count => {
                    self.driver.read(at, &mut bytes[..count]).map_err(FlashError::Driver)?;
                    count
                }
            };
            at += count as u32;
            bytes = &mut bytes[count..];
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.driver.capacity()
    }
}

impl<D: Driver, W: FnMut()> NorFlash for Flash<D, W> {
    const WRITE_SIZE: usize = WRITE_SIZE;
    const ERASE_SIZE: usize = ERASE_SIZE;

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let mut at = self.within(offset, bytes.len())?.start;
        if !offset.is_multiple_of(WRITE_SIZE as u32) || !bytes.len().is_multiple_of(WRITE_SIZE) {
            return Err(FlashError::NotAligned);
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let count = match direct(at, bytes) {
                0 => {
                    let count = bytes.len().min(COPY);
                    let words = &mut self.copied.0[..count];
                    words.copy_from_slice(&bytes[..count]);
                    self.driver.write(at, words).map_err(FlashError::Driver)?;
                    count
                }
                count => {
                    self.driver.write(at, &bytes[..count]).map_err(FlashError::Driver)?;
                    count
                }
            };
            at += count as u32;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds)?;
        self.within(from, length as usize)?;
        if !from.is_multiple_of(ERASE_SIZE as u32) || !to.is_multiple_of(ERASE_SIZE as u32) {
            return Err(FlashError::NotAligned);
        }
        for sector in (from..to).step_by(ERASE_SIZE) {
            (self.feed)();
            self.driver.erase(sector, sector + ERASE_SIZE as u32).map_err(FlashError::Driver)?;
            yield_now().await;
        }
        Ok(())
    }
}
