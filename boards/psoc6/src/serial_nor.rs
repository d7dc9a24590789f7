//! A serial NOR flash of Infineon's S25FL-S family, on any SPI device: the slot for updates outside the chip.
//!
//! Source: S25FL512S data sheet (001-98284), commands with addresses of 4 bytes, and its status register 1.

use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::spi::{Operation, SpiDevice};
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

const READ: u8 = 0x13;
const PROGRAM: u8 = 0x12;
const ERASE: u8 = 0xDC;
const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const CLEAR_STATUS: u8 = 0x30;

/// Busy, or an error that has not been cleared.
const BUSY: u8 = 1 << 0;
const WRITE_ENABLED: u8 = 1 << 1;
const ERASE_FAILED: u8 = 1 << 5;
const PROGRAM_FAILED: u8 = 1 << 6;

/// What the page buffer of the smallest of them holds. A command does not reach across its boundary.
const PAGE: usize = 256;
/// The unit that has an ECC of its own: to be programmed once between two erases.
const UNIT: usize = 16;
/// An erase takes 2.6 s at most, a program 0.75 ms.
const ERASE_LOOKS: (u32, u32) = (10_000, 400);
const PROGRAM_LOOKS: (u32, u32) = (100, 100);

/// Why a serial NOR flash could not be read or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SerialError<E> {
    /// Not on the boundaries of units of 16 bytes, or of sectors.
    NotAligned,
    /// Outside the flash.
    OutOfBounds,
    /// The bus fails.
    Bus(E),
    /// It does not take the command that enables writing: no such part, not wired, or protected.
    NotEnabled,
    /// It stays busy for longer than its data sheet allows.
    Timeout,
    /// It says that a sector could not be erased.
    EraseFailed,
    /// It says that bytes could not be programmed.
    ProgramFailed,
}

impl<E: core::fmt::Debug> core::fmt::Display for SerialError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAligned => f.write_str("not on the boundaries of units or sectors"),
            Self::OutOfBounds => f.write_str("outside the flash"),
            Self::Bus(error) => write!(f, "the bus fails: {error:?}"),
            Self::NotEnabled => f.write_str("the flash does not let itself be written to"),
            Self::Timeout => f.write_str("the flash stays busy"),
            Self::EraseFailed => f.write_str("the flash could not erase a sector"),
            Self::ProgramFailed => f.write_str("the flash could not program"),
        }
    }
}

impl<E: core::fmt::Debug> core::error::Error for SerialError<E> {}

impl<E: core::fmt::Debug> NorFlashError for SerialError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// A serial NOR flash, programmed in units of 16 bytes, erased to 0xFF in sectors of `SECTOR` bytes: 256 KiB on an
/// S25FL512S.
///
/// # Cancellation safety
/// Every future may be dropped. What the flash was doing it goes on with, and whatever is done next waits for that.
#[derive(Debug)]
pub struct SerialNor<B, D, const SECTOR: usize> {
    bus: B,
    delay: D,
    capacity: u32,
}

impl<B: SpiDevice, D: DelayNs, const SECTOR: usize> SerialNor<B, D, SECTOR> {
    /// A flash of so many bytes, of which there are at most 2^32 less one.
    pub fn new(bus: B, delay: D, capacity: u32) -> Self {
        Self { bus, delay, capacity }
    }

    fn check(&self, offset: u32, length: usize, unit: usize) -> Result<(), SerialError<B::Error>> {
        let (offset, capacity) = (u64::from(offset), u64::from(self.capacity));
        let (length, unit) = (length as u64, unit as u64);
        if !offset.is_multiple_of(unit) || !length.is_multiple_of(unit) {
            return Err(SerialError::NotAligned);
        }
        if offset.saturating_add(length) > capacity { Err(SerialError::OutOfBounds) } else { Ok(()) }
    }

    async fn status(&mut self) -> Result<u8, SerialError<B::Error>> {
        let mut status = [0];
        let mut operations = [Operation::Write(&[READ_STATUS]), Operation::Read(&mut status)];
        self.bus.transaction(&mut operations).await.map_err(SerialError::Bus)?;
        Ok(status[0])
    }

    /// Waits until it is no longer busy, and says whether what it did has worked.
    async fn idle(&mut self, (every_us, looks): (u32, u32)) -> Result<(), SerialError<B::Error>> {
        for _ in 0..looks {
            let status = self.status().await?;
            let failed = match status & (ERASE_FAILED | PROGRAM_FAILED) {
                0 => None,
                // A bus that nobody answers on reads as ones.
                _ if status == u8::MAX => None,
                ERASE_FAILED => Some(SerialError::EraseFailed),
                _ => Some(SerialError::ProgramFailed),
            };
            if let Some(error) = failed {
                // It stays busy until the error is cleared.
                self.bus.write(&[CLEAR_STATUS]).await.map_err(SerialError::Bus)?;
                return Err(error);
            }
            if status & BUSY == 0 {
                return Ok(());
            }
            self.delay.delay_us(every_us).await;
        }
        Err(SerialError::Timeout)
    }

    /// Waits for what a dropped future has left; how that ended is of no interest any more.
    async fn settle(&mut self) -> Result<(), SerialError<B::Error>> {
        match self.idle(ERASE_LOOKS).await {
            Err(SerialError::EraseFailed | SerialError::ProgramFailed) => self.idle(PROGRAM_LOOKS).await,
            settled => settled,
        }
    }

    async fn enable(&mut self) -> Result<(), SerialError<B::Error>> {
        self.bus.write(&[WRITE_ENABLE]).await.map_err(SerialError::Bus)?;
        if self.status().await? & WRITE_ENABLED == 0 { Err(SerialError::NotEnabled) } else { Ok(()) }
    }
}

fn header(command: u8, address: u32) -> [u8; 5] {
    let [a, b, c, d] = address.to_be_bytes();
    [command, a, b, c, d]
}

impl<B: SpiDevice, D, const SECTOR: usize> ErrorType for SerialNor<B, D, SECTOR> {
    type Error = SerialError<B::Error>;
}

impl<B: SpiDevice, D: DelayNs, const SECTOR: usize> ReadNorFlash for SerialNor<B, D, SECTOR> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.check(offset, bytes.len(), 1)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.settle().await?;
        let mut operations = [Operation::Write(&header(READ, offset)), Operation::Read(bytes)];
        self.bus.transaction(&mut operations).await.map_err(SerialError::Bus)
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX)
    }
}

impl<B: SpiDevice, D: DelayNs, const SECTOR: usize> NorFlash for SerialNor<B, D, SECTOR> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let length = to.checked_sub(from).ok_or(SerialError::OutOfBounds)?;
        self.check(from, usize::try_from(length).map_err(|_| SerialError::OutOfBounds)?, SECTOR)?;
        for address in (from..to).step_by(SECTOR) {
            self.settle().await?;
            self.enable().await?;
            self.bus.write(&header(ERASE, address)).await.map_err(SerialError::Bus)?;
            self.idle(ERASE_LOOKS).await?;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.check(offset, bytes.len(), UNIT)?;
        let (mut address, mut left) = (offset, bytes);
        while !left.is_empty() {
            let room = PAGE - address as usize % PAGE;
            let (page, rest) = left.split_at(room.min(left.len()));
            self.settle().await?;
            self.enable().await?;
            let header = header(PROGRAM, address);
            let mut operations = [Operation::Write(&header), Operation::Write(page)];
            self.bus.transaction(&mut operations).await.map_err(SerialError::Bus)?;
            self.idle(PROGRAM_LOOKS).await?;
            (address, left) = (address.wrapping_add(page.len() as u32), rest);
        }
        Ok(())
    }
}
