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

mod error;
#[cfg(feature = "mqtt")]
pub mod mqtt;
mod record;
mod report;
#[cfg(feature = "embedded-tls")]
mod tls_key;
mod updater;
mod wear;

pub use error::Error;
pub use record::{ID_MAX, JobRecord, Phase, REASON_MAX};
pub use report::Report;
#[cfg(feature = "embedded-tls")]
pub use tls_key::TlsP256Key;
pub use updater::{Event, Outcome, Startup, Updater};
pub use wear::WearLimits;

pub use sprag_boot as boot;
pub use sprag_fetch as fetch;
pub use sprag_flash as flash;
pub use sprag_job as job;
pub use sprag_verify as verify;
