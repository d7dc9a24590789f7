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
#[cfg(feature = "embassy-boot")]
pub mod embassy;
mod error;
#[cfg(feature = "esp-idf")]
pub mod esp_idf;
#[cfg(any(feature = "mcuboot", feature = "esp-idf", feature = "embassy-boot"))]
mod flash;
#[cfg(feature = "mcuboot")]
pub mod mcuboot;

pub use control::{BootControl, ImageRegion, State, Swap};
#[cfg(feature = "embassy-boot")]
pub use embassy::EmbassyBoot;
pub use error::{Area, Error};
#[cfg(feature = "esp-idf")]
pub use esp_idf::EspIdf;
#[cfg(feature = "mcuboot")]
pub use mcuboot::{Cypress, DirectXip, Layout, McuBoot, Method};
pub use sprag_core::FlashGeometry;
