#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

#[cfg(all(
    any(target_arch = "riscv32", target_arch = "xtensa"),
    any(feature = "esp32", feature = "esp32c3", feature = "esp32c6", feature = "esp32s2", feature = "esp32s3")
))]
mod chip;
mod error;
mod flash;
mod map;
mod region;

#[cfg(all(
    any(target_arch = "riscv32", target_arch = "xtensa"),
    any(feature = "esp32", feature = "esp32c3", feature = "esp32c6", feature = "esp32s2", feature = "esp32s3")
))]
pub use chip::{Board, Watchdog, reset};
pub use error::{FlashError, MapError};
pub use flash::{ERASE_SIZE, Flash, GEOMETRY, WRITE_SIZE};
pub use map::{JOURNAL, JOURNAL_MIN, Map, PAGE, Regions};
pub use region::Region;
