//! Reads that survive what can't be read.
//!
//! On a part with ECC, a unit whose program was cut off by the power may be broken: reading it is a non-maskable interrupt or
//! a bus fault, and after either of them a firmware that expects neither stands still. Slot, journal and trailers are read
//! after every start, so it would stand still for ever.

use core::fmt;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::part::BASE;

/// A unit can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a unit of flash can't be read")
    }
}

impl core::error::Error for Unreadable {}

/// Memory that is read by its address and may refuse: `hal::FlashMemory`.
pub trait Memory {
    /// Reads from an address, all of which is flash.
    ///
    /// # Errors
    /// [`Unreadable`]: what `bytes` has then means nothing.
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), Unreadable>;
}

/// A driver whose reads are errors where a unit can't be read. Erases and programs are the driver's own.
#[derive(Debug)]
pub struct Tolerant<F, M> {
    driver: F,
    memory: M,
}

impl<F, M> Tolerant<F, M> {
    /// Reads through `memory`, from the start of the flash on.
    pub const fn new(driver: F, memory: M) -> Self {
        Self { driver, memory }
    }
}

/// Why the flash could not be read or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TolerantError<E> {
    /// A unit can't be read.
    Unreadable,
    /// That is not all in the flash.
    OutOfBounds,
    /// The driver's own.
    Driver(E),
}

impl<E: fmt::Debug> fmt::Display for TolerantError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => Unreadable.fmt(f),
            Self::OutOfBounds => f.write_str("not within the flash"),
            Self::Driver(error) => write!(f, "the driver failed ({error:?})"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for TolerantError<E> {}

impl<E: NorFlashError> NorFlashError for TolerantError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Unreadable => NorFlashErrorKind::Other,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::Driver(error) => error.kind(),
        }
    }
}

impl<F: NorFlash, M: Memory> ErrorType for Tolerant<F, M> {
    type Error = TolerantError<F::Error>;
}

impl<F: NorFlash, M: Memory> ReadNorFlash for Tolerant<F, M> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let end = (offset as usize).checked_add(bytes.len());
        if end.is_none_or(|end| end > self.driver.capacity()) {
            return Err(TolerantError::OutOfBounds);
        }
        self.memory.read(BASE + offset, bytes).map_err(|Unreadable| TolerantError::Unreadable)
    }

    fn capacity(&self) -> usize {
        self.driver.capacity()
    }
}

impl<F: NorFlash, M: Memory> NorFlash for Tolerant<F, M> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.driver.erase(from, to).await.map_err(TolerantError::Driver)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.driver.write(offset, bytes).await.map_err(TolerantError::Driver)
    }
}
