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
// Without a dialect there is nobody to call the scanner, and `Dialect` has no value.
#![cfg_attr(not(feature = "iotconnect"), allow(dead_code, unreachable_code, unused_imports, unused_variables))]
// The examples of the front page need the dialect they show.
#![cfg_attr(feature = "iotconnect", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "iotconnect"), doc = "OTA job documents in, status reports out. No dialect is enabled.")]

#[cfg(test)]
extern crate std;

mod dialect;
mod error;
mod escape;
mod field;
mod identity;
#[cfg(feature = "iotconnect")]
mod iotconnect;
mod job;
mod json;
mod out;
mod path;
mod status;
mod text;
mod url;

pub use dialect::{Dialect, parse, report};
pub use error::{ParseError, ParseErrorKind};
pub use job::{Artifact, Artifacts, Job};
pub use json::MAX_DEPTH;
pub use out::TooSmall;
pub use path::Path;
pub use status::Status;
pub use text::{Bytes, Text};
