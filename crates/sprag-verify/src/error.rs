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
    /// The image reaches into the bytes that belong to the bootloader.
    TooLarge {
        /// Its size in bytes.
        image: u32,
        /// What the slot has room for, in bytes.
        room: u32,
    },
    /// The image is encrypted, compressed or marked as not bootable: header flags that can't be judged here.
    Flags {
        /// `ih_flags` of the header.
        flags: u32,
    },
    /// The image carries a TLV in the unprotected area that the bootloader allows only in the protected one, or not at
    /// all: MCUboot would refuse the image and erase it.
    TlvNotAllowed {
        /// The type of the TLV.
        kind: u16,
    },
    /// The image carries no digest of the kind that the bootloader checks.
    NoDigest,
    /// The bytes in the slot are not those that were digested.
    Digest,
    /// The XOR over the segments' bytes is not the one in the image.
    Checksum,
    /// The file is not the one that the job promised: its SHA-256 is another.
    FileDigest,
    /// There is no signature of a supported kind, neither in the image nor beside it.
    Unsigned,
    /// None of its signatures is by a key that is trusted here.
    UnknownKey,
    /// It is signed by a key that was trusted once.
    RevokedKey,
    /// A trusted key's signature does not fit.
    Signature,
    /// A signature is not encoded as its kind is: base64, DER, or its length.
    SignatureEncoding,
    /// Neither the image nor the job says a version that can be compared.
    NoVersion,
    /// The image is older than what it must be newer than.
    NotNewer {
        /// The version of the image.
        image: Version,
        /// The version it had to be newer than.
        running: Version,
    },
    /// The image is of the version that it must be newer than.
    SameVersion {
        /// That version.
        version: Version,
    },
    /// The image is older than the oldest that may run.
    TooOld {
        /// The version of the image.
        image: Version,
        /// The oldest that may run.
        minimum: Version,
    },
    /// The image is newer than the newest that may run.
    TooNew {
        /// The version of the image.
        image: Version,
        /// The newest that may run.
        limit: Version,
    },
    /// The image has no security counter.
    NoCounter,
    /// The image's security counter is lower than what the device has burnt.
    CounterTooLow {
        /// That of the image.
        image: u32,
        /// The lowest that may run.
        least: u32,
    },
    /// The image's security counter is higher than what may be burnt.
    CounterTooHigh {
        /// That of the image.
        image: u32,
        /// The highest that may run.
        most: u32,
    },
    /// The image depends on another one that does not run here, or not in this version.
    Dependency {
        /// The number of the other image.
        image: u8,
        /// The oldest version of it that would do.
        needs: Version,
    },
    /// The image does not say which board it is for.
    NoBoard,
    /// The image is for another board.
    Board,
    /// The image does not say which class it is of.
    NoClass,
    /// The image is of another class.
    Class,
    /// The image does not say which chip it is for.
    NoChip,
    /// The image is for another chip.
    Chip {
        /// The chip that it is for, in ESP-IDF's numbers.
        image: u16,
        /// The chip it had to be for.
        expected: u16,
    },
    /// The image is for other revisions of the chip.
    ChipRevision {
        /// The lowest that it is for.
        least: u16,
        /// The highest that it is for.
        most: u16,
        /// The chip's.
        revision: u16,
    },
    /// The image is made for another address, or does not say for which.
    Address {
        /// What it says.
        image: Option<u32>,
        /// The address it had to be made for.
        expected: u32,
    },
    /// Images of this format have no reset vector.
    NoVector,
    /// The image is linked for another slot.
    Slot {
        /// Its reset vector.
        vector: u32,
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
            Self::TooLarge { .. } => "image-too-large",
            Self::Flags { .. } => "image-flags",
            Self::TlvNotAllowed { .. } => "tlv-not-allowed",
            Self::NoDigest => "digest-missing",
            Self::Digest => "digest-mismatch",
            Self::Checksum => "checksum-mismatch",
            Self::FileDigest => "file-digest-mismatch",
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown-key",
            Self::RevokedKey => "revoked-key",
            Self::Signature => "bad-signature",
            Self::SignatureEncoding => "signature-encoding",
            Self::NoVersion => "version-missing",
            Self::NotNewer { .. } => "not-newer",
            Self::SameVersion { .. } => "same-version",
            Self::TooOld { .. } => "version-too-old",
            Self::TooNew { .. } => "version-too-new",
            Self::NoCounter => "counter-missing",
            Self::CounterTooLow { .. } => "counter-too-low",
            Self::CounterTooHigh { .. } => "counter-too-high",
            Self::Dependency { .. } => "dependency",
            Self::NoBoard => "board-missing",
            Self::Board => "wrong-board",
            Self::NoClass => "class-missing",
            Self::Class => "wrong-class",
            Self::NoChip => "chip-missing",
            Self::Chip { .. } => "wrong-chip",
            Self::ChipRevision { .. } => "wrong-chip-revision",
            Self::Address { .. } => "wrong-address",
            Self::NoVector => "reset-vector-missing",
            Self::Slot { .. } => "wrong-slot",
        }
    }

    /// Returns whether bytes that went bad in the slot may be the cause: everything that is found before a trusted key's
    /// signature fits. An image that was downloaded in several runs may be right when it is downloaded once more.
    pub fn is_damage(&self) -> bool {
        match self {
            // Lengths that went bad ask for a larger buffer.
            Self::Flash(_) | Self::Buffer { .. } => true,
            Self::NotAnImage | Self::Malformed { .. } | Self::Length { .. } | Self::Flags { .. } => true,
            Self::TlvNotAllowed { .. } | Self::NoDigest | Self::Digest | Self::Checksum | Self::FileDigest => true,
            Self::Unsigned | Self::UnknownKey | Self::RevokedKey | Self::Signature | Self::SignatureEncoding => true,
            _ => false,
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
            Self::NotAnImage => f.write_str("what lies in the slot is no image of this format"),
            Self::Malformed { at } => write!(f, "the image is malformed at byte {at}"),
            Self::Length { image, promised } => {
                write!(f, "the image says it is {image} bytes long, but {promised} were promised")
            }
            Self::TooLarge { image, room } => {
                write!(f, "the image of {image} bytes is too large: there is room for {room}")
            }
            Self::Flags { flags } => write!(f, "the image is encrypted, compressed or not bootable (flags {flags:#x})"),
            Self::TlvNotAllowed { kind } => {
                write!(f, "the bootloader refuses images with TLV {kind:#06x} in the unprotected area")
            }
            Self::NoDigest => f.write_str("the image carries no digest of the kind that the bootloader checks"),
            Self::Digest => f.write_str("the image's digest does not match"),
            Self::Checksum => f.write_str("the image's checksum does not match"),
            Self::FileDigest => f.write_str("the file is not the one that was promised: its SHA-256 does not match"),
            Self::Unsigned => f.write_str("the image is not signed in a supported way"),
            Self::UnknownKey => f.write_str("the image is not signed by a trusted key"),
            Self::RevokedKey => f.write_str("the image is signed by a key that is trusted no more"),
            Self::Signature => f.write_str("the image's signature does not match"),
            Self::SignatureEncoding => f.write_str("the signature is not encoded as it should be"),
            Self::NoVersion => f.write_str("the image says no version that can be compared"),
            Self::NotNewer { image, running } => write!(f, "the image is version {image}, not newer than {running}"),
            Self::SameVersion { version } => write!(f, "the image is version {version}, which runs already"),
            Self::TooOld { image, minimum } => write!(f, "the image is version {image}, older than {minimum}"),
            Self::TooNew { image, limit } => write!(f, "the image is version {image}, newer than {limit}"),
            Self::NoCounter => f.write_str("the image has no security counter"),
            Self::CounterTooLow { image, least } => {
                write!(f, "the image's security counter is {image}, lower than {least}")
            }
            Self::CounterTooHigh { image, most } => {
                write!(f, "the image's security counter is {image}, higher than {most}")
            }
            Self::Dependency { image, needs } => write!(f, "the image needs image {image} in version {needs} or later"),
            Self::NoBoard => f.write_str("the image does not say which board it is for"),
            Self::Board => f.write_str("the image is for another board"),
            Self::NoClass => f.write_str("the image does not say which class it is of"),
            Self::Class => f.write_str("the image is of another class"),
            Self::NoChip => f.write_str("the image does not say which chip it is for"),
            Self::Chip { image, expected } => write!(f, "the image is for chip {image}, not {expected}"),
            Self::ChipRevision { least, most, revision } => {
                write!(f, "the image is for revisions {least} to {most} of the chip, not {revision}")
            }
            Self::Address { image: Some(image), expected } => {
                write!(f, "the image is made for address {image:#x}, not {expected:#x}")
            }
            Self::Address { image: None, expected } => {
                write!(f, "the image does not say that it is made for address {expected:#x}")
            }
            Self::NoVector => f.write_str("images of this format have no reset vector"),
            Self::Slot { vector } => write!(f, "the image is linked for another slot (reset vector {vector:#x})"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;

    /// One of each.
    fn all() -> [Error; 36] {
        let version = Version::new(1, 2, 3);
        [
            Error::Flash(NorFlashErrorKind::Other),
            Error::Buffer { needed: 1 },
            Error::NotAnImage,
            Error::Malformed { at: 1 },
            Error::Length { image: 1, promised: 2 },
            Error::TooLarge { image: 1, room: 2 },
            Error::Flags { flags: 1 },
            Error::TlvNotAllowed { kind: 0x50 },
            Error::NoDigest,
            Error::Digest,
            Error::Checksum,
            Error::FileDigest,
            Error::Unsigned,
            Error::UnknownKey,
            Error::RevokedKey,
            Error::Signature,
            Error::SignatureEncoding,
            Error::NoVersion,
            Error::NotNewer { image: version, running: version },
            Error::SameVersion { version },
            Error::TooOld { image: version, minimum: version },
            Error::TooNew { image: version, limit: version },
            Error::NoCounter,
            Error::CounterTooLow { image: 1, least: 2 },
            Error::CounterTooHigh { image: 1, most: 2 },
            Error::Dependency { image: 1, needs: version },
            Error::NoBoard,
            Error::Board,
            Error::NoClass,
            Error::Class,
            Error::NoChip,
            Error::Chip { image: 1, expected: 2 },
            Error::ChipRevision { least: 1, most: 2, revision: 3 },
            Error::Address { image: None, expected: 1 },
            Error::NoVector,
            Error::Slot { vector: 1 },
        ]
    }

    #[test]
    fn each_has_a_reason_of_its_own_that_the_front_page_names() {
        let reasons: BTreeSet<&str> = all().iter().map(Error::reason).collect();
        assert_eq!(reasons.len(), all().len());
        for reason in reasons {
            assert!(reason.len() <= 24, "{reason}");
            assert!(include_str!("../README.md").contains(&format!("`{reason}`")), "{reason}");
        }
        let sentences: BTreeSet<_> = all().iter().map(|error| format!("{error}")).collect();
        assert_eq!(sentences.len(), all().len());
        assert!(all().iter().filter(|error| error.is_retryable()).eq(&[Error::Flash(NorFlashErrorKind::Other)]));
    }
}
