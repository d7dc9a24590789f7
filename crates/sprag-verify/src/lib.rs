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

#[cfg(test)]
extern crate std;

mod error;
pub mod esp_idf;
mod format;
mod hash;
mod key;
pub mod mcuboot;
mod policy;
mod promised;
pub mod raw;
mod reader;
mod signature;
mod version;

pub use error::Error;
pub use format::{EspIdf, Format, Image, McuBoot, Raw};
#[cfg(feature = "ed25519-dalek")]
pub use key::Ed25519Key;
#[cfg(feature = "p256")]
pub use key::P256Key;
#[cfg(feature = "salty")]
pub use key::SaltyKey;
pub use key::{Algorithm, Key};
pub use policy::Policy;
pub use promised::Promised;
pub use raw::VersionAt;
pub use signature::Signature;
pub use version::{NoVersion, Version};
