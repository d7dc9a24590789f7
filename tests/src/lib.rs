//! Whole updates against real servers and real tools: the demo's scenarios, and what they are played on.

pub mod bench;
pub mod bootloader;
pub mod broker;
pub mod certificates;
pub mod cloud;
pub mod mosquitto;
pub mod outcome;
pub mod scenario;
