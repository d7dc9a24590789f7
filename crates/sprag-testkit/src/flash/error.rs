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
    /// A unit was programmed twice between two erases, where the part forbids it ([`ProgramRule`](super::ProgramRule)).
    ProgrammedTwice {
        /// The offset of the unit, from the start of the flash.
        offset: u32,
    },
    /// A unit was to be programmed in a sector whose last erase was torn.
    EraseUnfinished {
        /// The offset of the unit, from the start of the flash.
        offset: u32,
    },
    /// The ECC of a unit fails, because its program or its erase was torn or too many of its bits flipped.
    Unreadable {
        /// The offset of the unit, from the start of the flash.
        offset: u32,
    },
    /// The operation failed, as [`SimFlash::disturb`](super::SimFlash::disturb) had asked for.
    Failed,
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
            Self::EraseUnfinished { offset } => {
                write!(f, "flash: the unit at {offset:#x} lies in a sector whose erase was cut off")
            }
            Self::Unreadable { offset } => write!(f, "flash: the unit at {offset:#x} can't be read"),
            Self::Failed => f.write_str("flash: the operation failed"),
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
