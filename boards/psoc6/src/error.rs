//! Why the flash could not be read or changed.

use core::fmt;

use embedded_storage_async::nor_flash::{NorFlashError, NorFlashErrorKind};

/// Why the flash could not be read or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// Not on the boundaries of rows, which are 512 bytes.
    NotAligned,
    /// Outside the flash that the driver was given.
    OutOfBounds,
    /// One of the cores executes from this sector, so that nothing may be changed in it: that would be a hard fault.
    Executing {
        /// The sector, counted from the start of the flash.
        sector: u32,
    },
    /// The system calls' context or row lies outside SRAM, where the ROM does not take them from: see the linker's map.
    NotInSram {
        /// Where it lies.
        address: u32,
    },
    /// Somebody else holds the channel for system calls, and has not let go of it for 200 ms.
    Busy,
    /// The ROM has not ended a system call within 200 ms. It may yet: nothing else is begun before it has.
    Timeout,
    /// The device's protection state forbids it (0xF0000001).
    Protection,
    /// The page latch's address is invalid (0xF0000003).
    PageLatch,
    /// The ROM takes the address for none of flash (0xF0000004).
    Address,
    /// The row is write-protected (0xF0000005).
    RowProtected,
    /// What was programmed does not read back (0xF0000022).
    Comparison,
    /// A status that no document of ours names.
    Unknown {
        /// The first word of the context, as the ROM left it.
        status: u32,
    },
}

impl Error {
    /// Whether it may work the next time, without anything being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::Timeout | Self::Comparison)
    }

    /// A stable word for status reports, at most 24 bytes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAligned => "flash-not-aligned",
            Self::OutOfBounds => "flash-out-of-bounds",
            Self::Executing { .. } => "flash-executing",
            Self::NotInSram { .. } => "flash-not-in-sram",
            Self::Busy => "flash-busy",
            Self::Timeout => "flash-timeout",
            Self::Protection => "flash-protection",
            Self::PageLatch => "flash-page-latch",
            Self::Address => "flash-address",
            Self::RowProtected => "flash-row-protected",
            Self::Comparison => "flash-comparison",
            Self::Unknown { .. } => "flash-unknown",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned => f.write_str("not on the boundaries of 512-byte rows"),
            Self::OutOfBounds => f.write_str("outside the flash"),
            Self::Executing { sector } => write!(f, "code runs from flash sector {sector}"),
            Self::NotInSram { address } => write!(f, "memory for system calls at {address:#010x}, which is not SRAM"),
            Self::Busy => f.write_str("the channel for system calls is taken"),
            Self::Timeout => f.write_str("a system call does not end"),
            Self::Protection => f.write_str("the device's protection state forbids it"),
            Self::PageLatch => f.write_str("invalid page latch address"),
            Self::Address => f.write_str("not an address of flash"),
            Self::RowProtected => f.write_str("the row is write-protected"),
            Self::Comparison => f.write_str("what was programmed does not read back"),
            Self::Unknown { status } => write!(f, "unknown status {status:#010x} of a system call"),
        }
    }
}

impl core::error::Error for Error {}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}
