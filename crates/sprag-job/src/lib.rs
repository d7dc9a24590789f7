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
// What one dialect has no use for, another has.
#![cfg_attr(
    not(all(
        feature = "iotconnect",
        feature = "iotconnect-20",
        feature = "aws-jobs",
        feature = "afr-ota",
        feature = "ota-update"
    )),
    allow(dead_code, unreachable_code, unused_imports, unused_variables, clippy::match_single_binding)
)]
// The examples of the front page need the dialects they show.
#![cfg_attr(all(feature = "iotconnect", feature = "serde"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "iotconnect", feature = "serde")),
    doc = "OTA job documents in, status reports out: see the README."
)]

#[cfg(test)]
extern crate std;

mod artifact;
#[cfg(feature = "aws")]
pub mod aws;
mod dialect;
mod error;
mod field;
#[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
pub mod iotconnect;
mod job;
mod json;
mod location;
#[cfg(feature = "ota-update")]
pub mod ota_update;
mod out;
mod parse;
#[cfg(any(feature = "aws", feature = "iotconnect"))]
mod progress;
mod report;
mod signature;
mod spans;
mod text;

pub use artifact::{Artifact, Protocols};
pub use dialect::Dialect;
pub use error::{ParseError, ParseErrorKind, Path};
pub use job::{Artifacts, Job};
pub use json::MAX_DEPTH;
pub use location::{Location, LocationBytes, Scheme};
pub use out::TooSmall;
pub use parse::{detect, parse};
pub use report::{NoRoom, Publish, Status, report};
pub use signature::{Digest, DigestAlgorithm, Signature, SignatureAlgorithm};
pub use spans::JobSpans;
pub use text::{Bytes, Text};
