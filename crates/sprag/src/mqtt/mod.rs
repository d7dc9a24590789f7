//! A device's conversation with its cloud, over any MQTT client.
//!
//! [`Agent::run`] listens for jobs, runs them with an [`Updater`](crate::Updater), and reports each to its one end. It needs
//! a [`Broker`], the seam to an MQTT client, and a [`Cloud`]: `AwsCloud` or `IotConnectCloud` (IoTConnect).
#![cfg_attr(
    feature = "aws-jobs",
    doc = r#"
```
use embedded_hal_async::delay::DelayNs;
use embedded_storage_async::nor_flash::NorFlash;
use sprag::boot::BootControl;
use sprag::fetch::ImageSource;
use sprag::job::aws::{AwsJobs, Settings};
use sprag::mqtt::{Agent, AwsCloud, Broker, Buffers, Event, Limits, Reset};
use sprag::verify::Version;
use sprag::{Error, Updater};

/// The whole life of a device between two resets; the application runs beside it.
async fn keep_up_to_date<C: ImageSource>(
    updater: &mut Updater<'_, '_, C, impl NorFlash, impl NorFlash, impl BootControl>,
    broker: &mut impl Broker,
    running: Version,
    delay: impl DelayNs + Clone,
    uptime_seconds: impl Fn() -> u32,
    serial_number: u32,
) -> Result<Reset, Error<C::Error>> {
    // Tokens that differ after each start keep late answers apart.
    let settings = Settings { first_token: serial_number, step_timeout_minutes: Some(30), ..Settings::default() };
    let jobs = AwsJobs::new("pump-7", settings).expect("the name of a thing");
    let mut agent = Agent::new(AwsCloud::new(jobs), uptime_seconds, delay, Limits::new(serial_number));

    let (mut document, mut topic, mut payload) = ([0; 4096], [0; 226], [0; 512]);
    let buffers = Buffers { document: &mut document, topic: &mut topic, payload: &mut payload };
    let self_test = async || true; // Sensors, actuators, and whether the cloud can be reached.
    let mut events = |event: Event| { /* logs, lamps */ };
    agent.run(updater, broker, running, buffers, self_test, &mut events).await
}
```
"#
)]
//!
//! | what goes wrong | what is done |
//! |---|---|
//! | the broker is away | it is tried again for ever, with growing waits; a download goes on meanwhile, and so do staging, reset, trial and confirmation. What is owed is said when it is back. AWS ends a job whose step timeout passes meanwhile |
//! | the URL has expired | the document is asked for again (AWS: described; IoTConnect: `{"mt":205}`), and the download goes on at its byte |
//! | a run stops (no network, flash) | it is tried again with growing waits, [`Limits::rerun`]; without progress, the job ends as failed in the end |
//! | the document makes no sense, or is not https | it is refused by the job's name |
//! | the cloud cancels, deletes or replaces the job, or times it out | the download stops, nothing is said |
//! | the same job is delivered again | nothing; with a fresh URL it is taken where one is needed |
//! | AWS tries a failed job again, under the id it had | it is done again |
//! | the service is silent for 30 seconds, or busy | what was asked is asked again |
//!
//! AWS hears `FAILED` of what another try may mend, `REJECTED` of what it can't; with `self_test` in the status details:
//! `ready` before the reset, `active` while the new image is on trial, `accepted` or `rejected` at the end.

mod agent;
#[cfg(any(feature = "aws-jobs", feature = "afr-ota"))]
mod aws;
mod client;
mod cloud;
mod event;
mod exchange;
#[cfg(feature = "mqtt-client")]
mod inbox;
#[cfg(feature = "iotconnect")]
mod iotconnect;
mod link;
#[cfg(feature = "mqtt-client")]
mod mqtt_client;
#[cfg(feature = "mqtt-client")]
mod packet;

pub use agent::{Agent, Buffers, Limits, Reset, Waits};
#[cfg(any(feature = "aws-jobs", feature = "afr-ota"))]
pub use aws::AwsCloud;
pub use client::{Broker, Client, Incoming};
pub use cloud::{Cloud, ReadJob};
pub use event::Event;
#[cfg(feature = "iotconnect")]
pub use iotconnect::IotConnectCloud;
#[cfg(feature = "mqtt-client")]
pub use mqtt_client::{Account, MqttBroker, MqttConnection, MqttError, MqttVersion};
