//! Why the bootloader could not be told or asked.

use core::fmt;

use embedded_storage_async::nor_flash::NorFlashErrorKind;

/// One of the two slots of a swapping bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Slot {
    /// The one that runs.
    Primary,
    /// The one that updates are put into.
    Secondary,
}

/// Why the bootloader could not be told or asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// A slot's flash failed.
    Flash {
        /// Which slot's.
        slot: Slot,
        /// How.
        #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
        kind: NorFlashErrorKind,
    },
    /// The layout makes no sense, or the slot is too small for it.
    Layout,
    /// The running image is on trial: until it is confirmed or gone, the other slot holds the only way back.
    OnTrial,
    /// There is no image on trial that could be given up.
    NotOnTrial,
    /// What the bootloader left in the running image's slot can't be read: neither set nor erased.
    Trailer,
}

impl Error {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Flash { slot: Slot::Primary, .. } => "primary-flash",
            Self::Flash { slot: Slot::Secondary, .. } => "secondary-flash",
            Self::Layout => "boot-layout",
            Self::OnTrial => "on-trial",
            Self::NotOnTrial => "not-on-trial",
            Self::Trailer => "boot-trailer",
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
            Self::Flash { slot: Slot::Primary, kind } => write!(f, "the primary slot's flash failed ({kind:?})"),
            Self::Flash { slot: Slot::Secondary, kind } => write!(f, "the secondary slot's flash failed ({kind:?})"),
            Self::Layout => f.write_str("the bootloader's layout does not fit the slots"),
            Self::OnTrial => f.write_str("the running image is on trial and not confirmed yet"),
            Self::NotOnTrial => f.write_str("no image is on trial"),
            Self::Trailer => f.write_str("the primary slot's trailer is neither set nor erased"),
        }
    }
}

impl core::error::Error for Error {}
