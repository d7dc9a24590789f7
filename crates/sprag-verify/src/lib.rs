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

mod digest;
mod error;
mod key;
pub mod mcuboot;
mod policy;
mod reader;
mod version;

pub use digest::sha256;
pub use error::Error;
pub use key::PublicKey;
pub use policy::Policy;
pub use version::Version;
