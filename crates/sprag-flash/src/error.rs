//! Why the slot or the journal could not be written.

use core::fmt;

use embedded_storage_async::nor_flash::NorFlashErrorKind;

/// Why the slot or the journal could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The slot's flash failed.
    Slot(#[cfg_attr(feature = "defmt", defmt(Debug2Format))] NorFlashErrorKind),
    /// The journal's flash failed.
    Journal(#[cfg_attr(feature = "defmt", defmt(Debug2Format))] NorFlashErrorKind),
    /// What was written to the slot does not read back, after another erase either: the part is worn out.
    SlotWornOut {
        /// Where, in bytes from the start of the slot.
        offset: u32,
    },
    /// A power cut had torn what lay at the end of the written bytes, or a program failed. The sector has been erased, and
    /// its bytes must come again. Go on from the journal with [`SlotWriter::resume`](crate::SlotWriter::resume), at once.
    SectorLost,
    /// What was written to the journal does not read back, in a fresh sector either: the part is worn out.
    JournalWornOut,
    /// The journal's region does not hold two banks of whole sectors, or its banks do not hold what must be kept.
    JournalTooSmall {
        /// The size that would do, in bytes.
        needed: u32,
    },
    /// The record does not fit into the journal, or its kind is not one of 1 to [`KINDS`](crate::journal::KINDS).
    Record,
    /// Units of zero, or sectors that are no whole number of units.
    Geometry,
    /// A buffer of the caller's is too small.
    Buffer {
        /// The size that would do, in bytes.
        needed: usize,
    },
    /// The image does not fit into the slot.
    TooLarge {
        /// What the slot takes, in bytes, beside the bootloader's own bytes.
        limit: u32,
    },
    /// More bytes were committed than there was room for, or the image was finished before it was whole.
    Length,
    /// The journal holds no session to go on with.
    NoSession,
    /// A write was cut off by a dropped future or an error: go on from the journal with
    /// [`SlotWriter::resume`](crate::SlotWriter::resume).
    Interrupted,
}

impl Error {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Slot(_) => "slot-flash",
            Self::Journal(_) => "journal-flash",
            Self::SlotWornOut { .. } => "slot-worn-out",
            Self::SectorLost => "torn-sector",
            Self::JournalWornOut => "journal-worn-out",
            Self::JournalTooSmall { .. } => "journal-too-small",
            Self::Record => "journal-record",
            Self::Geometry => "flash-geometry",
            Self::Buffer { .. } => "buffer-too-small",
            Self::TooLarge { .. } => "image-too-large",
            Self::Length => "image-length",
            Self::NoSession => "no-session",
            Self::Interrupted => "write-interrupted",
        }
    }

    /// Whether the same call may succeed later, unchanged.
    pub fn is_retryable(&self) -> bool {
        // The wrong alignment or address stays wrong.
        matches!(
            self,
            Self::Slot(NorFlashErrorKind::Other)
                | Self::Journal(NorFlashErrorKind::Other)
                | Self::SectorLost
                | Self::Interrupted
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(kind) => write!(f, "the slot's flash failed ({kind:?})"),
            Self::Journal(kind) => write!(f, "the journal's flash failed ({kind:?})"),
            Self::SlotWornOut { offset } => {
                write!(f, "the slot's flash does not keep what is written to it at {offset}")
            }
            Self::SectorLost => f.write_str("a sector was torn by a power cut and must be fetched again"),
            Self::JournalWornOut => f.write_str("the journal's flash does not keep what is written to it"),
            Self::JournalTooSmall { needed } => {
                write!(f, "the journal's region is too small: {needed} bytes are needed")
            }
            Self::Record => f.write_str("the record does not fit into the journal"),
            Self::Geometry => f.write_str("the flash geometry makes no sense"),
            Self::Buffer { needed } => write!(f, "a buffer is too small: {needed} bytes are needed"),
            Self::TooLarge { limit } => write!(f, "the image does not fit: the slot takes {limit} bytes"),
            Self::Length => f.write_str("the image is longer or shorter than it was said to be"),
            Self::NoSession => f.write_str("the journal holds no session to go on with"),
            Self::Interrupted => f.write_str("a write to the slot was cut off"),
        }
    }
}

impl core::error::Error for Error {}
