//! The registers: all that is `unsafe` in this crate, on Infineon's own register crates.
//!
//! A module for each die, behind the feature of its name; the features may be combined, and a firmware takes the type of
//! the part that it is built for.

#![allow(unsafe_code)]

mod core_m4;
mod memory;
mod smif;
mod spi;
mod syscall;
#[cfg(any(feature = "psoc6-02", feature = "psoc6-03", feature = "psoc6-04"))]
mod trng;

pub use core_m4::{executes, reset};
pub use smif::SmifError;

/// CY8C6xx6 and CY8C6xx7: the 1 MiB die.
#[cfg(feature = "psoc6-01")]
pub mod psoc6_01 {
    pub use super::smif::die_01::Smif;
    pub use super::spi::die_01::Spi;
    pub use super::syscall::die_01::{Silicon, feed_watchdog};
}

/// CY8C6xx8 and CY8C6xxA: the 2 MiB die.
#[cfg(feature = "psoc6-02")]
pub mod psoc6_02 {
    pub use super::smif::die_02::Smif;
    pub use super::spi::die_02::Spi;
    pub use super::syscall::die_02::{Silicon, feed_watchdog};
    pub use super::trng::die_02::Trng;
}

/// CY8C6xx5: the 512 KiB die.
#[cfg(feature = "psoc6-03")]
pub mod psoc6_03 {
    pub use super::smif::die_03::Smif;
    pub use super::spi::die_03::Spi;
    pub use super::syscall::die_03::{Silicon, feed_watchdog};
    pub use super::trng::die_03::Trng;
}

/// CY8C6xx4: the 256 KiB die.
#[cfg(feature = "psoc6-04")]
pub mod psoc6_04 {
    pub use super::smif::die_04::Smif;
    pub use super::spi::die_04::Spi;
    pub use super::syscall::die_04::{Silicon, feed_watchdog};
    pub use super::trng::die_04::Trng;
}
