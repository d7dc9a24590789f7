#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

#[cfg(all(feature = "_chip", any(target_arch = "riscv32", target_arch = "xtensa")))]
mod chip;
mod error;
mod flash;
mod map;
mod region;

#[cfg(all(feature = "_chip", any(target_arch = "riscv32", target_arch = "xtensa")))]
pub use chip::{Board, Watchdog, reset};
pub use error::{FlashError, MapError};
pub use flash::{ERASE_SIZE, Flash, GEOMETRY, WRITE_SIZE};
pub use map::{JOURNAL, JOURNAL_MIN, Map, PAGE, Regions};
pub use region::Region;
