//! A device's conversation with its cloud, over any MQTT client.
//!
//! [`Agent::run`] listens for jobs, runs them with an [`Updater`](crate::Updater), and reports each to its one end. It needs
//! a [`Broker`], the seam to an MQTT client, and a [`Cloud`]: [`AwsIot`] or [`Avnet`] (IoTConnect).

mod agent;
#[cfg(any(feature = "aws-jobs", feature = "afr-ota"))]
mod aws;
mod backoff;
mod client;
mod cloud;
mod event;
mod exchange;
#[cfg(feature = "iotconnect")]
mod iotconnect;
mod link;
#[cfg(feature = "rust-mqtt")]
mod rust_mqtt;

#[cfg(feature = "rust-mqtt")]
pub use self::rust_mqtt::{Account, RustMqtt, RustMqttClient, RustMqttError};
pub use agent::{Agent, Buffers, Limits, Reset};
#[cfg(any(feature = "aws-jobs", feature = "afr-ota"))]
pub use aws::AwsIot;
pub use client::{Broker, Client, Incoming};
pub use cloud::{Cloud, ReadJob};
pub use event::Event;
#[cfg(feature = "iotconnect")]
pub use iotconnect::Avnet;
