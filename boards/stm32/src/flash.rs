//! One flash, shared by the regions that slot, journal and bootloader have of it.

use core::fmt;
use core::ops::Range;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::part::Part;

/// The flash of a part, over any driver of the whole of it: embassy-stm32's, behind `BlockingAsync` where it is blocking.
pub struct Flash<F> {
    driver: Mutex<NoopRawMutex, F>,
    part: &'static Part,
    ready: fn(),
}

impl<F> fmt::Debug for Flash<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flash").field("part", &self.part.name).finish_non_exhaustive()
    }
}

impl<F: NorFlash> Flash<F> {
    /// `ready` is called before and after every write and the erase of every sector: `hal::ready`, which feeds the watchdog and
    /// waits until nothing is under way in the flash.
    pub const fn new(driver: F, part: &'static Part, ready: fn()) -> Self {
        Self { driver: Mutex::new(driver), part, ready }
    }

    /// A region of whole sectors, in bytes from the start of the flash. `ERASE` is the size of the largest one of them,
    /// [`Part::erase_size`].
    ///
    /// # Errors
    /// [`RegionError::NotAligned`] where that is not so, or the driver's units are not those of the part.
    pub fn region<const ERASE: usize>(&self, range: Range<u32>) -> Result<Region<'_, F, ERASE>, RegionError<F::Error>> {
        let whole = self.part.is_whole(&range) && self.part.erase_size(&range) as usize == ERASE;
        if !whole || F::WRITE_SIZE != self.part.write_size as usize {
            return Err(RegionError::NotAligned);
        }
        Ok(Region { flash: self, range })
    }
}

/// A region of a [`Flash`], as slot, journal or state partition.
pub struct Region<'f, F, const ERASE: usize> {
    flash: &'f Flash<F>,
    range: Range<u32>,
}

impl<F, const ERASE: usize> fmt::Debug for Region<'_, F, ERASE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("range", &self.range).finish_non_exhaustive()
    }
}

/// Why a region could not be read or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RegionError<E> {
    /// That is not all within the region.
    OutOfBounds,
    /// Not whole sectors, or not whole units.
    NotAligned,
    /// The driver's own.
    Flash(E),
}

impl<E: fmt::Debug> fmt::Display for RegionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds => f.write_str("not within the region"),
            Self::NotAligned => f.write_str("not whole sectors or units"),
            Self::Flash(error) => write!(f, "the flash failed ({error:?})"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for RegionError<E> {}

impl<E: NorFlashError> NorFlashError for RegionError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::Flash(error) => error.kind(),
        }
    }
}

impl<F: NorFlash, const ERASE: usize> Region<'_, F, ERASE> {
    /// Where this lies in the flash, if it lies in the region.
    fn place(&self, offset: u32, length: usize) -> Result<Range<u32>, RegionError<F::Error>> {
        let start = self.range.start.checked_add(offset);
        let end = start.zip(u32::try_from(length).ok()).and_then(|(start, length)| start.checked_add(length));
        start
            .zip(end)
            .filter(|(_, end)| *end <= self.range.end)
            .map(|(start, end)| start..end)
            .ok_or(RegionError::OutOfBounds)
    }
}

impl<F: NorFlash, const ERASE: usize> ErrorType for Region<'_, F, ERASE> {
    type Error = RegionError<F::Error>;
}

impl<F: NorFlash, const ERASE: usize> ReadNorFlash for Region<'_, F, ERASE> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let place = self.place(offset, bytes.len())?;
        self.flash.driver.lock().await.read(place.start, bytes).await.map_err(RegionError::Flash)
    }

    fn capacity(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }
}

impl<F: NorFlash, const ERASE: usize> NorFlash for Region<'_, F, ERASE> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = ERASE;

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let place = self.place(offset, bytes.len())?;
        if !(offset as usize).is_multiple_of(F::WRITE_SIZE) || !bytes.len().is_multiple_of(F::WRITE_SIZE) {
            return Err(RegionError::NotAligned);
        }
        let mut driver = self.flash.driver.lock().await;
        (self.flash.ready)();
        let written = driver.write(place.start, bytes).await.map_err(RegionError::Flash);
        (self.flash.ready)();
        written
    }

    /// Sector by sector: the watchdog is fed, and other regions may be read, between two of them.
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let length = to.checked_sub(from).ok_or(RegionError::OutOfBounds)?;
        let place = self.place(from, length as usize)?;
        if !self.flash.part.is_whole(&place) {
            return Err(RegionError::NotAligned);
        }
        let mut at = place.start;
        while at < place.end {
            let sector = self.flash.part.sector(at).ok_or(RegionError::OutOfBounds)?;
            let mut driver = self.flash.driver.lock().await;
            (self.flash.ready)();
            let erased = driver.erase(sector.start, sector.end).await;
            (self.flash.ready)();
            erased.map_err(RegionError::Flash)?;
            at = sector.end;
        }
        Ok(())
    }
}
