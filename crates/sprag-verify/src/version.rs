//! Versions as MCUboot and `imgtool` write them.

use core::fmt;
use core::str::FromStr;

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

/// A text that is no version, or one whose order can't be told: with a suffix such as `-rc1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoVersion;

impl fmt::Display for NoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no version such as 1.2.3+4, 1.2 or v1")
    }
}

impl core::error::Error for NoVersion {}

impl FromStr for Version {
    type Err = NoVersion;

    /// `1`, `1.2`, `1.2.3` or `1.2.3+4`, as `imgtool` takes them; and with a `v` before it, as tags have it.
    ///
    /// The output of `git describe` for such a tag counts too: `v1.2.3-5-gabcdef0`, 5 commits after `v1.2.3`, is 1.2.3+5.
    /// With `-dirty` it does not: two different programs would have one version.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, commits) = match text.split_once('-') {
            Some((tag, described)) if !tag.contains('+') => (tag, Some(commits(described)?)),
            Some(_) => return Err(NoVersion),
            None => (text, None),
        };
        let text = text.as_bytes();
        let mut parts = text.splitn(2, |byte| *byte == b'+');
        let (numbers, build) = (parts.next().unwrap_or_default(), parts.next());
        let mut numbers = numbers.split(|byte| *byte == b'.');
        let major = number(numbers.next().unwrap_or_default())?;
        let minor = numbers.next().map_or(Ok(0), number)?;
        let third = numbers.next();
        let revision = third.map_or(Ok(0), number)?;
        let build = match build {
            Some(build) if third.is_some() => number(build)?,
            Some(_) => return Err(NoVersion),
            None => commits.unwrap_or(0),
        };
        if numbers.next().is_some() { Err(NoVersion) } else { Ok(Self { major, minor, revision, build }) }
    }
}

/// The number of commits after a tag, and the commit: `5-gabcdef0`.
fn commits(described: &str) -> Result<u32, NoVersion> {
    let (commits, commit) = described.split_once('-').ok_or(NoVersion)?;
    let commit = commit.strip_prefix('g').ok_or(NoVersion)?;
    let is_hash = commit.len() >= 4 && commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hash { number(commits.as_bytes()) } else { Err(NoVersion) }
}

/// Decimal digits without leading zeros, for there is to be one way to write a version.
fn number<N: TryFrom<u32>>(digits: &[u8]) -> Result<N, NoVersion> {
    let next = |number: u32, digit: &u8| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    };
    let plain = matches!(digits, [b'0'] | [b'1'..=b'9', ..]);
    let number = digits.iter().try_fold(0, next).filter(|_| plain).ok_or(NoVersion)?;
    N::try_from(number).map_err(|_| NoVersion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn texts_are_read_as_imgtool_reads_them() {
        let version = |major, minor, revision, build| Ok(Version { major, minor, revision, build });
        for (text, expected) in [
            ("1", version(1, 0, 0, 0)),
            ("1.2", version(1, 2, 0, 0)),
            ("v1.2.3", version(1, 2, 3, 0)),
            ("255.255.65535+4294967295", version(255, 255, 65535, u32::MAX)),
            // `git describe --tags`, `git describe --long`.
            ("v1.2.3-5-gabcdef0", version(1, 2, 3, 5)),
            ("1.2-14-g0123456789abcdef0123456789abcdef01234567", version(1, 2, 0, 14)),
            ("v1.2.3-0-gabcd", version(1, 2, 3, 0)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in [
            "",
            "v",
            "+",
            "1.",
            ".1",
            "1.2.3.4",
            "256",
            "1.2.65536",
            "1.2+3",
            "1.2.3+",
            "1.2.3-rc1",
            "01",
            "1.+2",
            " 1",
            "-1",
            // `git describe --always --dirty`, and what only looks like it.
            "a1b2c3d",
            "v5.1.2-dirty",
            "1.2.3-5-gabcdef0-dirty",
            "1.2.3-rc1-5-gabcdef0",
            "1.2.3+4-5-gabcdef0",
            "1.2.3-5-gabcdef0+4",
            "1.2.3-05-gabcdef0",
            "1.2.3-5-gabc",
            "1.2.3-5-gABCDEF0",
            "1.2.3-5",
            "1.2.3-",
            "01.002.3",
            "V1.2.3",
        ] {
            assert_eq!(text.parse::<Version>(), Err(NoVersion), "{text}");
        }
        let version = Version { build: 7, ..Version::new(1, 2, 3) };
        assert_eq!(version.to_string().parse(), Ok(version));
    }
}
