//! Why there is no update on this device, and why its flash refused.

use core::fmt;

use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};
use sprag_boot::esp_idf::Partition;

use crate::map::{JOURNAL, JOURNAL_MIN};

/// Why a device's partition table is not one that updates can be made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MapError {
    /// The table can't be read, or is malformed.
    Table(sprag_boot::Error),
    /// The running code lies in no app partition of it: this is not the table that the device was started by.
    NotRunning {
        /// Where the running code lies, in bytes from the start of the flash.
        address: u32,
    },
    /// It has no otadata: nothing says which app is to run.
    NoOtadata,
    /// It has no `ota_n` beside the app that runs.
    NoSlot,
    /// It has no partition for the journal, labelled [`JOURNAL`].
    NoJournal,
    /// An app partition does not begin at a page of the MMU, [`PAGE`](crate::PAGE): what is in it can't run.
    SlotUnaligned(Partition),
    /// The journal's partition is not whole sectors.
    JournalUnaligned(Partition),
    /// The journal's partition is smaller than [`JOURNAL_MIN`].
    JournalTooSmall(Partition),
    /// The journal's partition overlaps an app or otadata.
    JournalOverlaps(Partition),
    /// The flash is encrypted, which these drivers are not made for: what they wrote would not boot.
    Encrypted,
}

impl MapError {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Table(error) => error.reason(),
            Self::NotRunning { .. } => "not-in-table",
            Self::NoOtadata => "no-otadata",
            Self::NoSlot => "no-update-slot",
            Self::NoJournal => "no-journal",
            Self::SlotUnaligned(_) => "slot-unaligned",
            Self::JournalUnaligned(_) => "journal-unaligned",
            Self::JournalTooSmall(_) => "journal-too-small",
            Self::JournalOverlaps(_) => "journal-overlaps",
            Self::Encrypted => "flash-encrypted",
        }
    }
}

impl From<sprag_boot::Error> for MapError {
    fn from(error: sprag_boot::Error) -> Self {
        Self::Table(error)
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => write!(f, "{error}"),
            Self::NotRunning { address } => {
                write!(f, "the running code, at {address:#x} of the flash, is in no app partition of the table")
            }
            Self::NoOtadata => f.write_str("the partition table has no otadata"),
            Self::NoSlot => f.write_str("the partition table has no ota partition beside the running app's"),
            Self::NoJournal => write!(f, "the partition table has no partition labelled {JOURNAL}"),
            Self::SlotUnaligned(at) => write!(f, "the app partition at {:#x} does not begin at a page", at.offset),
            Self::JournalUnaligned(at) => {
                write!(f, "the journal, {:#x} bytes at {:#x}, is not whole sectors", at.size, at.offset)
            }
            Self::JournalTooSmall(at) => {
                write!(f, "the journal has {:#x} bytes, {JOURNAL_MIN:#x} are needed", at.size)
            }
            Self::JournalOverlaps(at) => write!(f, "the journal at {:#x} overlaps an app or otadata", at.offset),
            Self::Encrypted => f.write_str("the flash is encrypted, which is not supported"),
        }
    }
}

impl core::error::Error for MapError {}

/// Why the flash refused. `E` is the driver's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FlashError<E> {
    /// Not whole units of the flash.
    NotAligned,
    /// Outside the flash, or outside the region.
    OutOfBounds,
    /// The driver's.
    Driver(E),
}

impl<E: NorFlashError> NorFlashError for FlashError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::Driver(error) => error.kind(),
        }
    }
}

impl<E: fmt::Debug> fmt::Display for FlashError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned => f.write_str("not whole units of the flash"),
            Self::OutOfBounds => f.write_str("outside the region"),
            Self::Driver(error) => write!(f, "the flash failed ({error:?})"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for FlashError<E> {}
