//! The cloud's side of the conversations, over a real broker.

pub mod aws;
pub mod iotconnect;
pub mod session;
