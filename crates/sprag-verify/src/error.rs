//! Why an image may not run here.

use core::fmt;

use embedded_storage_async::nor_flash::NorFlashErrorKind;

use crate::version::Version;

/// Why an image may not run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The slot's flash can't be read.
    Flash(#[cfg_attr(feature = "defmt", defmt(Debug2Format))] NorFlashErrorKind),
    /// The caller's buffer is too small.
    Buffer {
        /// The size that would do, in bytes.
        needed: usize,
    },
    /// What lies in the slot does not begin like an image of this format.
    NotAnImage,
    /// A length or an area of the image contradicts another, or leaves the slot.
    Malformed {
        /// Where in the image, in bytes.
        at: u32,
    },
    /// The image is longer or shorter than what was promised: bytes behind it are covered by no signature.
    Length {
        /// What the image itself says, in bytes.
        image: u32,
        /// What was promised, in bytes.
        promised: u32,
    },
    /// The image is encrypted, compressed or marked as not bootable: header flags that can't be judged here.
    Flags {
        /// `ih_flags` of the header.
        flags: u32,
    },
    /// The image carries no digest of a supported kind.
    NoDigest,
    /// The bytes in the slot are not those that were digested.
    Digest,
    /// The image carries no signature of a supported kind.
    Unsigned,
    /// None of its signatures is by a key that is trusted here.
    UnknownKey,
    /// A trusted key's signature does not fit.
    Signature,
    /// The image is not newer than what it must be newer than.
    NotNewer {
        /// The version of the image.
        image: Version,
        /// The version it had to be newer than.
        running: Version,
    },
}

impl Error {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Flash(_) => "verify-flash",
            Self::Buffer { .. } => "buffer-too-small",
            Self::NotAnImage => "not-an-image",
            Self::Malformed { .. } => "image-malformed",
            Self::Length { .. } => "image-length",
            Self::Flags { .. } => "image-flags",
            Self::NoDigest => "digest-missing",
            Self::Digest => "digest-mismatch",
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "bad-signature",
            Self::NotNewer { .. } => "not-newer",
        }
    }

    /// Whether the same call may succeed later, unchanged.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Flash(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(kind) => write!(f, "the slot can't be read ({kind:?})"),
            Self::Buffer { needed } => write!(f, "the buffer is too small: {needed} bytes are needed"),
            Self::NotAnImage => f.write_str("what lies in the slot is no MCUboot image"),
            Self::Malformed { at } => write!(f, "the image is malformed at byte {at}"),
            Self::Length { image, promised } => {
                write!(f, "the image says it is {image} bytes long, but {promised} were promised")
            }
            Self::Flags { flags } => write!(f, "the image is encrypted, compressed or not bootable (flags {flags:#x})"),
            Self::NoDigest => f.write_str("the image carries no SHA-256"),
            Self::Digest => f.write_str("the image's SHA-256 does not match"),
            Self::Unsigned => f.write_str("the image carries no Ed25519 signature"),
            Self::UnknownKey => f.write_str("the image is not signed by a trusted key"),
            Self::Signature => f.write_str("the image's signature does not match"),
            Self::NotNewer { image, running } => write!(f, "the image is version {image}, not newer than {running}"),
        }
    }
}

impl core::error::Error for Error {}
