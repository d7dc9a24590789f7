#![no_std]
#![doc = include_str!("../README.md")]

mod ecc;
mod flash;
#[cfg(all(
    target_os = "none",
    any(feature = "f4", feature = "l4", feature = "g0", feature = "h5", feature = "h7", feature = "u5")
))]
pub mod hal;
mod linker;
mod map;
mod part;

pub use ecc::{Memory, Tolerant, TolerantError, Unreadable};
pub use flash::{Flash, Region, RegionError};
pub use linker::{MemoryX, VERSION_AT};
pub use map::{Bootloader, Map, MapError};
pub use part::{BASE, Ecc, Part, Ram};
