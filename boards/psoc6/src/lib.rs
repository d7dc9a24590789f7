#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

mod call;
mod error;
mod flash;
mod map;
mod part;
mod serial_nor;
#[cfg(any(feature = "psoc6-01", feature = "psoc6-02", feature = "psoc6-03", feature = "psoc6-04"))]
pub mod silicon;

pub use call::Call;
pub use error::Error;
pub use flash::{Cores, Flash, SystemCalls, offset};
pub use map::Map;
pub use part::{ERASED, FLASH, Part, ROW, SRAM};
pub use serial_nor::{SerialError, SerialNor};
