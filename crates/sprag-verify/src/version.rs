//! Versions as MCUboot and `imgtool` write them.

use core::fmt;

/// `major.minor.revision+build`, ordered number by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Version {
    /// First number.
    pub major: u8,
    /// Second number.
    pub minor: u8,
    /// Third number.
    pub revision: u16,
    /// The number after the `+`, which counts in the order too.
    pub build: u32,
}

impl Version {
    /// A version without a build number.
    pub const fn new(major: u8, minor: u8, revision: u16) -> Self {
        Self { major, minor, revision, build: 0 }
    }

    /// As it stands in an image header: 8 bytes, little-endian (MCUboot, `struct image_version`).
    pub const fn to_bytes(self) -> [u8; 8] {
        let [r0, r1] = self.revision.to_le_bytes();
        let [b0, b1, b2, b3] = self.build.to_le_bytes();
        [self.major, self.minor, r0, r1, b0, b1, b2, b3]
    }

    /// The inverse of [`to_bytes`](Self::to_bytes).
    pub const fn from_bytes([major, minor, r0, r1, b0, b1, b2, b3]: [u8; 8]) -> Self {
        let (revision, build) = (u16::from_le_bytes([r0, r1]), u32::from_le_bytes([b0, b1, b2, b3]));
        Self { major, minor, revision, build }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, revision, build } = self;
        write!(f, "{major}.{minor}.{revision}")?;
        if *build > 0 { write!(f, "+{build}") } else { Ok(()) }
    }
}
