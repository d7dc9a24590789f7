//! What an operation leaves behind that the power fails in.

use std::fmt;
use std::str::FromStr;

/// What an operation leaves behind that the power fails in: a program of one unit, or an erase of one sector.
///
/// A unit that was torn counts as programmed on parts that allow one program; a sector whose erase was torn must be erased
/// again before it is programmed, however blank it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    /// Nothing of it: the power failed just before.
    Nothing,
    /// It began, and not one bit of it can be seen.
    Began,
    /// Its first half, in bytes.
    Half,
    /// Its first bytes.
    Bytes(u32),
    /// Each of its bits or not, as drawn from the seed.
    Bits(u64),
    /// Nearly all of its bits: one in 32 is missing, as drawn from the seed.
    Almost(u64),
    /// All of it can be seen, but it never came to its end.
    Whole,
    /// On parts with ECC, what it touched fails to read until the next erase, and reads as drawn from the seed by those who
    /// look past the ECC. Elsewhere the same as [`Bits`](Self::Bits).
    Unreadable(u64),
    /// An erase, while the part still programs the cells that it is about to erase, as PSoC 6 does in a write of a row: each
    /// of its bits is programmed or not, as drawn from the seed. For a program the same as [`Bits`](Self::Bits). None of
    /// the [`WAYS`](Self::WAYS).
    Preprogrammed(u64),
}

impl Torn {
    /// Every way that is common to all parts, with two draws of the one that draws most.
    pub const WAYS: [Self; 8] = [
        Self::Nothing,
        Self::Began,
        Self::Half,
        Self::Bits(1),
        Self::Bits(2),
        Self::Almost(3),
        Self::Whole,
        Self::Unreadable(4),
    ];

    /// Brings `current` as far to `target` as the operation came. `at` keeps draws of different places apart.
    pub(super) fn apply(self, current: &mut [u8], target: &[u8], at: usize) {
        let first = |current: &mut [u8], count: usize| current[..count].copy_from_slice(&target[..count]);
        match self {
            Self::Nothing | Self::Began => {}
            Self::Half => first(current, target.len() / 2),
            Self::Bytes(count) => first(current, target.len().min(count as usize)),
            Self::Whole => first(current, target.len()),
            Self::Bits(seed) | Self::Unreadable(seed) | Self::Preprogrammed(seed) => {
                let mut random = seed ^ (at as u64) << 8;
                for (byte, target) in current.iter_mut().zip(target) {
                    let mask = splitmix(&mut random) as u8;
                    *byte = (*byte & !mask) | (target & mask);
                }
            }
            Self::Almost(seed) => {
                let mut random = seed ^ (at as u64) << 8;
                for (byte, target) in current.iter_mut().zip(target) {
                    let draw = splitmix(&mut random);
                    let missing = if draw & 3 == 0 { 1u8 << (draw >> 8 & 7) } else { 0 };
                    *byte = (*byte & missing) | (target & !missing);
                }
            }
        }
    }
}

/// `before`, `began`, `half`, `bytes=N`, `bits=SEED`, `almost=SEED`, `whole`, `unreadable=SEED` or `preprogrammed=SEED`.
impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("before"),
            Self::Began => f.write_str("began"),
            Self::Half => f.write_str("half"),
            Self::Bytes(count) => write!(f, "bytes={count}"),
            Self::Bits(seed) => write!(f, "bits={seed}"),
            Self::Almost(seed) => write!(f, "almost={seed}"),
            Self::Whole => f.write_str("whole"),
            Self::Unreadable(seed) => write!(f, "unreadable={seed}"),
            Self::Preprogrammed(seed) => write!(f, "preprogrammed={seed}"),
        }
    }
}

/// A text that names no way to tear an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownWay;

impl fmt::Display for UnknownWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "none of before, began, half, bytes=N, bits=SEED, almost=SEED, whole, unreadable=SEED, preprogrammed=SEED",
        )
    }
}

impl std::error::Error for UnknownWay {}

impl FromStr for Torn {
    type Err = UnknownWay;

    fn from_str(text: &str) -> Result<Self, UnknownWay> {
        let (way, value) = text.split_once('=').unwrap_or((text, ""));
        let seed = || value.parse().map_err(|_| UnknownWay);
        Ok(match way {
            "bytes" => Self::Bytes(value.parse().map_err(|_| UnknownWay)?),
            "bits" => Self::Bits(seed()?),
            "almost" => Self::Almost(seed()?),
            "unreadable" => Self::Unreadable(seed()?),
            "preprogrammed" => Self::Preprogrammed(seed()?),
            _ if text.contains('=') => return Err(UnknownWay),
            "before" => Self::Nothing,
            "began" => Self::Began,
            "half" => Self::Half,
            "whole" => Self::Whole,
            _ => return Err(UnknownWay),
        })
    }
}

/// splitmix64 (Steele, Lea and Flood, 2014): a step of a random sequence.
pub(super) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
