#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod boot;
pub mod device;
pub mod fetch;
pub mod key;
pub mod layout;
pub mod make;
pub mod narrate;
pub mod net;
pub mod online;
pub mod s3;
pub mod tally;
