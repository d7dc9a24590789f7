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

pub mod crc;
pub mod geometry;
pub mod mcuboot;
pub mod scan;
pub mod sectors;

pub use geometry::FlashGeometry;
pub use sectors::{SectorMap, Sectors};
