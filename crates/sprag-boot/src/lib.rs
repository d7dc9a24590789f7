#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]
#![doc = include_str!("../README.md")]

mod control;
mod error;
mod mcuboot;
mod trailer;

pub use control::{BootControl, State, Swap};
pub use error::{Error, Slot};
pub use mcuboot::{Layout, McuBoot, Method};
