//! Why the bootloader could not be told or asked.

use core::fmt;

use embedded_storage_async::nor_flash::NorFlashErrorKind;

/// A part of the flash that the bootloader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Area {
    /// The slot that runs.
    Primary,
    /// The slot that updates are put into.
    Secondary,
    /// The partition in which the bootloader keeps its state, apart from the slots.
    State,
    /// ESP-IDF's partition table.
    PartitionTable,
}

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary slot",
            Self::Secondary => "secondary slot",
            Self::State => "state partition",
            Self::PartitionTable => "partition table",
        }
    }
}

/// Why the bootloader could not be told or asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// An area's flash failed.
    Flash {
        /// Which area's.
        area: Area,
        /// How.
        #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
        kind: NorFlashErrorKind,
    },
    /// The layout makes no sense, or an area is too small for it.
    Layout,
    /// The layout's write unit or sector size is no multiple of the flash driver's: driver and bootloader were not told of the
    /// same flash.
    Geometry,
    /// An area does not read as the layout's erased value after it was erased. The layout has the wrong value, or the flash is
    /// worn out.
    NotErased {
        /// Which area.
        area: Area,
    },
    /// The slot for updates begins or ends within a sector of its flash, which erases whole ones: hand it over as
    /// [`WholeSectors`](crate::mcuboot::WholeSectors).
    PartialSector,
    /// A buffer of the caller's is too small.
    Buffer {
        /// The size that would do, in bytes.
        needed: usize,
    },
    /// The running image is on trial: until it is confirmed or gone, the other slot holds the only way back.
    OnTrial,
    /// There is no image on trial that could be given up.
    NotOnTrial,
    /// The bootloader was cut off in the middle of a swap: it must complete it at a reset before anything else is done.
    SwapInterrupted,
    /// The bootloader runs no image for good that was not tried.
    NoPermanent,
    /// The bootloader runs the newest image, and the one in the other slot is not newer than the running one.
    NotNewest,
    /// The partition table is malformed.
    Table {
        /// Where, in bytes from its start.
        at: u32,
    },
    /// The partition table's MD5 does not fit.
    TableDigest,
    /// The partition table has no otadata, or no app partition for an update beside the running one.
    NoSlot,
}

impl Error {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Flash { area: Area::Primary, .. } => "primary-flash",
            Self::Flash { area: Area::Secondary, .. } => "secondary-flash",
            Self::Flash { area: Area::State, .. } => "boot-state-flash",
            Self::Flash { area: Area::PartitionTable, .. } => "partition-table-flash",
            Self::Layout => "boot-layout",
            Self::Geometry => "boot-geometry",
            Self::NotErased { .. } => "not-erased",
            Self::PartialSector => "slot-partial-sector",
            Self::Buffer { .. } => "buffer-too-small",
            Self::OnTrial => "on-trial",
            Self::NotOnTrial => "not-on-trial",
            Self::SwapInterrupted => "swap-interrupted",
            Self::NoPermanent => "no-permanent-swap",
            Self::NotNewest => "not-newest",
            Self::Table { .. } => "partition-table",
            Self::TableDigest => "partition-table-digest",
            Self::NoSlot => "no-update-slot",
        }
    }

    /// Whether the same call may succeed later, unchanged.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Flash { kind: NorFlashErrorKind::Other, .. } | Self::OnTrial)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash { area, kind } => write!(f, "the {}'s flash failed ({kind:?})", area.name()),
            Self::Layout => f.write_str("the bootloader's layout does not fit the flash"),
            Self::Geometry => {
                f.write_str("the bootloader's write unit or sector size is no multiple of the flash driver's")
            }
            Self::NotErased { area } => write!(
                f,
                "the {} does not read as erased after an erase: check the erased value of the bootloader's layout",
                area.name()
            ),
            Self::PartialSector => f.write_str("the slot for updates begins or ends within a sector of its flash"),
            Self::Buffer { needed } => write!(f, "the buffer is too small: {needed} bytes are needed"),
            Self::OnTrial => f.write_str("the running image is on trial and not confirmed yet"),
            Self::NotOnTrial => f.write_str("no image is on trial"),
            Self::SwapInterrupted => f.write_str(
                "the bootloader was cut off in the middle of a swap: let it complete the swap at a reset first",
            ),
            Self::NoPermanent => f.write_str("this bootloader runs no image for good that was not tried"),
            Self::NotNewest => f.write_str("the bootloader runs the newest image, and the new one is not newer"),
            Self::Table { at } => write!(f, "the partition table is malformed at byte {at}"),
            Self::TableDigest => f.write_str("the partition table's MD5 does not match"),
            Self::NoSlot => f.write_str("the partition table has no place for an update"),
        }
    }
}

impl core::error::Error for Error {}
