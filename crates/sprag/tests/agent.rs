//! A device and its cloud, with the broker's connections ending before and after every message, and the power failing at
//! every flash operation: no job is done twice, none is lost, every job comes to one end.

#[path = "agent/aws.rs"]
mod aws;
#[path = "agent/aws_odds.rs"]
mod aws_odds;
#[path = "agent/broker.rs"]
mod broker;
#[path = "agent/device.rs"]
mod device;
#[path = "agent/iotconnect.rs"]
mod iotconnect;
