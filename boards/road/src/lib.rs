//! The road that the example firmwares have in common: MQTT job, TLS, range fetch, slot, verify, stage, reset, self-test,
//! confirm, report. **A page to copy from**: [`run`] is what a firmware of yours does, too.
//!
//! A board gives what only it can know, [`Board`]; what names a site or is a secret comes from the environment of the build,
//! [`Settings`]. Everything that the road remembers lies in the flash, so that a reset at any point is no harm.
#![no_std]
#![forbid(unsafe_code)]

mod cloud;
mod pem;
mod random;
mod settings;

use core::cell::RefCell;
use core::fmt;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embedded_hal_async::delay::DelayNs;
use embedded_nal_async::{Dns, TcpConnect};
use embedded_storage_async::nor_flash::NorFlash;
use rand_core::CryptoRngCore;
use sprag::Updater;
use sprag::boot::BootControl;
use sprag::fetch::{Fetcher, READ_BUFFER_FULL, RetryPolicy, Tls, TlsConnector, Trust, WRITE_BUFFER_MIN};
use sprag::flash::{FlashGeometry, Journal, Sectors, SlotWriter};
use sprag::mqtt::{self, Agent, Cloud, Event, Limits, MqttBroker, Reset};
use sprag::verify::{Format, Policy, Version};

pub use cloud::{aws, iotconnect};
pub use settings::{BadSetting, Broker, Device, PublicKey, Settings, Wifi};

use random::Shared;

/// How long a new image may take to show that it works: to pass its self-test, and to reach the broker. Without the broker
/// it could never be replaced, so an image that does not find it is given up.
const TRIAL_MS: u32 = 5 * 60 * 1000;

/// The write buffer for the broker: a certificate of the device's of up to 1,501 bytes goes out in one record; AWS's have
/// some 900.
pub const BROKER_WRITE_BUFFER: usize = 1536;

/// What a board gives.
pub struct Board<'b, T, N, S, J, B, F, R, D> {
    /// Sockets, two at a time: embassy-net's `TcpClient`, say.
    pub tcp: &'b T,
    /// Names: embassy-net's `DnsSocket`, say.
    pub dns: &'b N,
    /// Where images go: the secondary slot, the DFU partition, the whole flash of an ESP32. As the bootloader's part takes it.
    pub slot: S,
    /// Units of the slot. `erase_size` is that of the sectors behind `slot_sectors`.
    pub slot_geometry: FlashGeometry,
    /// Where the sectors of the slot differ; else empty.
    pub slot_sectors: &'b [Sectors],
    /// The journal: two sectors or more of their own.
    pub journal: J,
    /// Units of the journal.
    pub journal_geometry: FlashGeometry,
    /// The hand-over to the bootloader.
    pub boot: B,
    /// What images are: MCUboot's, ESP-IDF's, raw.
    pub format: F,
    /// The version that runs, as its image has it.
    pub running: Version,
    /// What the board asks of an image beside signature and version: its board, its chip, its addresses.
    pub policy: for<'k> fn(Policy<'k>) -> Policy<'k>,
    /// The chip's random numbers, fit for cryptography.
    pub random: R,
    /// Time to wait.
    pub delay: D,
    /// Seconds from any start.
    pub seconds: fn() -> u32,
    /// Seconds since 1970, where the board knows them: the dates of certificates are looked at then.
    pub unix_seconds: Option<&'b dyn Fn() -> u64>,
}

impl<T, N, S, J, B, F, R, D> fmt::Debug for Board<'_, T, N, S, J, B, F, R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("running", &self.running).finish_non_exhaustive()
    }
}

/// The memory of the road, some 48 KiB of which TLS has the most: to be put into a `static`.
#[allow(missing_debug_implementations)] // Nothing but bytes.
pub struct Buffers {
    /// TLS records, for the broker and for the image's server: both connections are open during a download.
    read: [[u8; READ_BUFFER_FULL]; 2],
    write_broker: [u8; BROKER_WRITE_BUFFER],
    write_server: [u8; WRITE_BUFFER_MIN],
    /// What arrives is programmed from one page while the other one fills.
    pages: [[u8; 1024]; 2],
    /// A record of the journal, or one write unit.
    record: [u8; 512],
    /// The longest job document that is taken.
    document: [u8; 4096],
    /// The longest MQTT packet that is taken.
    message: [u8; 5120],
    outgoing: [u8; 256],
    topic: [u8; 256],
    payload: [u8; 512],
}

impl Buffers {
    /// Memory with nothing in it.
    pub const fn new() -> Self {
        Self {
            read: [[0; READ_BUFFER_FULL]; 2],
            write_broker: [0; BROKER_WRITE_BUFFER],
            write_server: [0; WRITE_BUFFER_MIN],
            pages: [[0; 1024]; 2],
            record: [0; 512],
            document: [0; 4096],
            message: [0; 5120],
            outgoing: [0; 256],
            topic: [0; 256],
            payload: [0; 512],
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// Why the road can't be gone. The board says so, and resets: an image on trial is given up by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stop {
    /// A setting is missing from the build, or makes no sense.
    Setting(BadSetting),
    /// Flash or bootloader fail; a stable word.
    Failed(&'static str),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(bad) => bad.fmt(f),
            Self::Failed(reason) => write!(f, "flash or bootloader fail: {reason}"),
        }
    }
}

impl core::error::Error for Stop {}

impl From<BadSetting> for Stop {
    fn from(bad: BadSetting) -> Self {
        Self::Setting(bad)
    }
}

/// From the start of the device to its next reset, however long that takes: to be called once, first thing after the start,
/// without waiting for the network; the application goes on in tasks of its own.
///
/// `settings` are [`Settings::built_in`], or come from elsewhere than from the build: what makes each of a fleet another.
/// `cloud` is [`aws`] or [`iotconnect`]. `self_test` says of an image on trial whether its sensors, actuators and whatever
/// else matters work. `events` is for logs and lamps.
///
/// # Errors
/// See [`Stop`].
///
/// # Cancellation safety
/// Dropping the future is like a power cut: the next start goes on.
pub async fn run<T, N, S, J, B, F, R, D, K>(
    settings: &Settings,
    board: Board<'_, T, N, S, J, B, F, R, D>,
    cloud: impl FnOnce(&Settings, u32) -> Result<K, BadSetting>,
    buffers: &'static mut Buffers,
    self_test: impl AsyncFnOnce() -> bool,
    mut events: impl FnMut(&Event),
) -> Result<Reset, Stop>
where
    T: TcpConnect,
    N: Dns,
    S: NorFlash,
    J: NorFlash,
    B: BootControl,
    F: Format,
    R: CryptoRngCore,
    D: DelayNs + Clone,
    K: Cloud,
{
    let random = RefCell::new(board.random);
    // Differs between devices and between starts: a fleet does not come back together, old answers are told from new ones.
    let seed = random.borrow_mut().next_u32();

    let trust = match board.unix_seconds {
        Some(clock) => Trust::new(&settings.roots, clock),
        None => Trust::without_clock(&settings.roots),
    };
    let [mut to_broker, to_server] = [(); 2].map(|()| Tls::new(board.tcp, board.dns, trust));
    // Who the device is, is the broker's business alone.
    if let Some(device) = &settings.device {
        to_broker = to_broker.identity(device.identity());
    }
    let [read_broker, read_server] = &mut buffers.read;
    let broker_sessions = pin!(to_broker.sessions(Shared(&random), read_broker, &mut buffers.write_broker));
    let server_sessions = pin!(to_server.sessions(Shared(&random), read_server, &mut buffers.write_server));

    let connector = TlsConnector::new(&to_broker, broker_sessions);
    let mut broker = MqttBroker::new(connector, settings.account(), &mut buffers.message, &mut buffers.outgoing);

    let retry = RetryPolicy { seed, ..RetryPolicy::default() };
    let fetch = Fetcher::new(TlsConnector::new(&to_server, server_sessions), board.delay.clone()).retry(retry);
    let journal = Journal::new(board.journal, board.journal_geometry, &mut buffers.record);
    let [page, second] = &mut buffers.pages;
    let slot = SlotWriter::new(board.slot, board.slot_geometry, journal, page)
        .second_buffer(second)
        .sectors(board.slot_sectors);
    let policy = (board.policy)(Policy::signed_by(settings.key.as_key()).newer_than(board.running));
    let mut updater = Updater::new(fetch, slot, policy, board.boot).format(board.format);

    let connected = Signal::<NoopRawMutex, ()>::new();
    let mut delay = board.delay.clone();
    let trial = async || {
        let works = async {
            let passed = self_test().await;
            if passed {
                connected.wait().await;
            }
            passed
        };
        matches!(select(works, delay.delay_ms(TRIAL_MS)).await, Either::First(true))
    };
    let mut on_event = |event: Event| {
        if event == Event::Connected {
            connected.signal(());
        }
        events(&event);
    };
    let lent =
        mqtt::Buffers { document: &mut buffers.document, topic: &mut buffers.topic, payload: &mut buffers.payload };
    let mut agent = Agent::new(cloud(settings, seed)?, board.seconds, board.delay, Limits::new(seed));
    let ended = agent.run(&mut updater, &mut broker, board.running, lent, trial, &mut on_event).await;
    ended.map_err(|error| Stop::Failed(error.reason()))
}
