//! Why an operation on the flash was refused.

use std::fmt;

use embedded_storage_async::nor_flash::{NorFlashError, NorFlashErrorKind};

/// Why an operation was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlashError {
    /// Offset or length is no multiple of the unit.
    NotAligned {
        /// The offset, from the start of the flash.
        offset: u32,
        /// The length in bytes.
        length: u32,
        /// The unit in bytes.
        unit: u32,
    },
    /// The operation leaves the region.
    OutOfBounds {
        /// The offset, from the start of the flash.
        offset: u32,
        /// The length in bytes.
        length: u32,
    },
    /// Programming would have to bring a bit back that only an erase brings back.
    NotErased {
        /// The offset of the byte, from the start of the flash.
        offset: u32,
    },
    /// A unit was programmed twice between two erases, where [`SimFlash::program_once`](super::SimFlash::program_once) forbids it.
    ProgrammedTwice {
        /// The offset of the unit, from the start of the flash.
        offset: u32,
    },
    /// The power is gone, see [`SimFlash::cut_power_after`](super::SimFlash::cut_power_after).
    PowerLost,
    /// The file behind the flash could not be written.
    File(String),
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned { offset, length, unit } => {
                write!(f, "flash: {length} bytes at {offset:#x} are not aligned to {unit}")
            }
            Self::OutOfBounds { offset, length } => write!(f, "flash: {length} bytes at {offset:#x} leave the region"),
            Self::NotErased { offset } => write!(f, "flash: the byte at {offset:#x} was programmed without an erase"),
            Self::ProgrammedTwice { offset } => write!(f, "flash: the unit at {offset:#x} was programmed twice"),
            Self::PowerLost => f.write_str("flash: the power is gone"),
            Self::File(error) => write!(f, "flash: {error}"),
        }
    }
}

impl std::error::Error for FlashError {}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned { .. } => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds { .. } => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}
