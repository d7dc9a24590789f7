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
#![cfg_attr(all(feature = "iotconnect", feature = "aws-jobs"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "iotconnect", feature = "aws-jobs")),
    doc = "OTA job documents in, status reports out: see the README."
)]

#[cfg(test)]
extern crate std;

mod artifact;
mod artifacts;
#[cfg(feature = "aws")]
pub mod aws;
mod depth;
mod dialect;
mod digest;
mod error;
mod escape;
mod field;
mod identity;
#[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
pub mod iotconnect;
mod job;
mod json;
mod location;
#[cfg(feature = "ota-update")]
pub mod ota_update;
mod out;
mod parse;
mod path;
mod protocols;
mod publish;
mod report;
mod signature;
mod status;
mod text;
#[cfg(any(feature = "aws", feature = "iotconnect"))]
mod thinning;
mod url;

pub use artifact::Artifact;
pub use artifacts::Artifacts;
pub use depth::MAX_DEPTH;
pub use dialect::Dialect;
pub use digest::{Digest, DigestAlgorithm};
pub use error::{ParseError, ParseErrorKind};
pub use job::Job;
pub use location::{Location, LocationBytes, Scheme};
pub use out::TooSmall;
pub use parse::{detect, parse};
pub use path::Path;
pub use protocols::Protocols;
pub use publish::{NoRoom, Publish};
pub use report::report;
pub use signature::{Signature, SignatureAlgorithm};
pub use status::Status;
pub use text::{Bytes, Text};
