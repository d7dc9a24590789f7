#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod flash;
pub mod image;
pub mod mcuboot;
