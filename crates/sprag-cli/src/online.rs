//! A device that is told what to do over MQTT.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::time::Instant;

use anyhow::{anyhow, bail};
use sprag::mqtt::{Account, Agent, Broker, Buffers, Cloud, Event, Limits, MqttBroker, Reset, Waits};
use tokio::sync::Notify;

use crate::device::{Device, Happening, SelfTest, version};
use crate::net::{HostConnector, TokioDelay};

/// The longest job document that is taken.
const DOCUMENT: usize = 32 * 1024;
/// The memory of the MQTT client, in bytes: for the longest packet that is sent at once, and the longest that is taken.
pub const BROKER_MEMORY: usize = OUTGOING + 40 * 1024;
const OUTGOING: usize = 256;

/// Returns a broker that is dialled through `connector`. `memory` has [`BROKER_MEMORY`] bytes.
pub fn broker<'a>(
    connector: &'a HostConnector,
    account: Account<'a>,
    memory: &'a mut [u8],
) -> MqttBroker<'a, &'a HostConnector> {
    let (outgoing, incoming) = memory.split_at_mut(OUTGOING.min(memory.len()));
    MqttBroker::new(connector, account, incoming, outgoing)
}

/// Limits for a host, whose broker is near: patience for seconds, not for minutes.
pub fn limits() -> Limits {
    Limits {
        reconnect: Waits { first_ms: 100, longest_ms: 2_000 },
        rerun: Waits { first_ms: 500, longest_ms: 10_000 },
        reruns: 8,
        ..Limits::new(std::process::id())
    }
}

/// Runs a device for ever, through all its resets: it listens for jobs and does them.
///
/// `cloud` makes the conversation anew after each reset. Dropping the future is a power cut.
///
/// # Errors
/// The device does not boot, or its flash fails: the power was cut, say.
pub async fn serve<M: Broker, K: Cloud>(
    device: &Device,
    broker: &mut M,
    connector: &HostConnector,
    limits: Limits,
    mut cloud: impl FnMut() -> K,
    on: &mut dyn FnMut(Happening),
) -> anyhow::Result<Infallible> {
    let on = RefCell::new(on);
    let tell = |happening| (on.borrow_mut())(happening);
    let (mut document, mut topic, mut payload) = (vec![0; DOCUMENT], [0; 256], [0; 1024]);
    let start = Instant::now();
    loop {
        let boot = device.reset()?;
        tell(Happening::Booted(boot));
        let running = version(boot.running);
        let mut ram = device.ram();
        let mut updater = device.updater(&mut ram, connector, running, boot.place).await?;
        let seconds = move || u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX);
        let mut agent = Agent::new(cloud(), seconds, TokioDelay, limits);
        let watchdog = Notify::new();
        let self_test = async || {
            tell(Happening::SelfTest(device.settings.self_test));
            if device.settings.self_test == SelfTest::Hang {
                watchdog.notify_one();
                pending::<()>().await;
            }
            true
        };
        let power_fails = Notify::new();
        let mut events = |event| {
            if device.flash().is_dead() {
                return power_fails.notify_one();
            }
            match event {
                Event::Update(event) => tell(Happening::Update(event)),
                Event::SelfTest { .. } => {}
                event => tell(Happening::Cloud(event)),
            }
        };
        let buffers = Buffers { document: &mut document, topic: &mut topic, payload: &mut payload };
        tokio::select! {
            ended = agent.run(&mut updater, broker, running, buffers, self_test, &mut events) => {
                let Reset = ended.map_err(|error| anyhow!("{error}"))?;
            }
            () = watchdog.notified() => {}
            () = power_fails.notified() => bail!("the power failed"),
        }
    }
}
