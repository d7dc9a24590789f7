//! IoTConnect (Avnet): the documents of device messages 2.1 and 2.0, their acks, and the
//! conversation about them.

#[cfg(feature = "iotconnect")]
mod session;
#[cfg(feature = "iotconnect")]
mod topics;
#[cfg(feature = "iotconnect-20")]
pub(crate) mod v20;
#[cfg(feature = "iotconnect")]
pub(crate) mod v21;

#[cfg(feature = "iotconnect")]
pub use session::{Event, IotConnect, PAYLOAD_MAX};
#[cfg(feature = "iotconnect")]
pub use topics::{Identity, Topics, identity};
#[cfg(feature = "iotconnect-20")]
pub use v20::{Device, Sdk, Sender, ack_20};
