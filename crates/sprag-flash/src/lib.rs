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

pub mod blocking;
mod error;
mod flash_view;
pub mod journal;
mod operation;
mod recovery;
mod session;
mod slot;
mod slot_io;
mod transfer;
mod write_cursor;
mod writer;

pub use error::Error;
pub use flash_view::FlashView;
pub use journal::Journal;
pub use session::{CONVERSATION, HELD_BACK_MAX, IDENTITY_MAX, JOB, Session};
pub use sprag_core::{FlashGeometry, Sectors};
pub use transfer::{FeedError, Transfer};
pub use writer::SlotWriter;
