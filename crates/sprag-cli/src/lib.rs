#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![doc = include_str!("../README.md")]

pub mod boot;
pub mod device;
pub mod fetch;
pub mod job_file;
pub mod key;
pub mod layout;
pub mod loader;
pub mod make;
pub mod narrate;
pub mod net;
pub mod online;
pub mod output_file;
mod partial_file;
pub mod s3;
pub mod scenario;
pub mod tally;
