//! A device on the host, with the agent in it: flash, bootloader, an object to fetch.

use std::cell::RefCell;
use std::rc::Rc;

use ed25519_dalek::SigningKey;
use embassy_futures::select::{Either, select};
use embedded_hal_async::delay::DelayNs;
use sprag::boot::{self, Layout};
use sprag::fetch::{Connector, Fetcher, Scheme, TcpConnectError, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::mqtt::{Agent, Buffers, Cloud, Event, Limits, Reset};
use sprag::verify::{Ed25519Key, Format, McuBoot, Policy, Version};
use sprag::{Error, Updater};
use sprag_testkit::flash::{self, SimFlash};
use sprag_testkit::http::{HttpServer, Refused};
use sprag_testkit::image::{self, McuBootImage};
use sprag_testkit::mcuboot::{Bootloader, Method};
use sprag_testkit::time::VirtualTime;

use super::broker::TestBroker;

const SECTOR: u32 = 1024;
const SLOT: u32 = 8 * SECTOR;
const JOURNAL: u32 = 2 * SECTOR;
const UNIT: u32 = 8;
const GEOMETRY: FlashGeometry = FlashGeometry { write_size: UNIT, erase_size: SECTOR, erased: 0xFF };

/// Far more resets than any test takes.
const RESETS_MAX: u32 = 30;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

pub(crate) fn image_of(major: u8) -> Vec<u8> {
    let version = image::Version { major, minor: 0, revision: 0, build: 0 };
    McuBootImage { version, header_size: 32, payload: &[major; 2500] }.sign(&key())
}

/// `https` without the TLS.
struct Bare<'s>(TcpConnector<'s, HttpServer, HttpServer>);

impl<'s> Connector for Bare<'s> {
    type Error = TcpConnectError<Refused, Refused>;
    type Connection<'c>
        = <TcpConnector<'s, HttpServer, HttpServer> as Connector>::Connection<'c>
    where
        Self: 'c;

    async fn connect<'c>(&'c self, _: Scheme, host: &str, port: u16) -> Result<Self::Connection<'c>, Self::Error> {
        self.0.connect(Scheme::Http, host, port).await
    }
}

pub(crate) struct Device {
    pub(crate) flash: SimFlash,
    pub(crate) server: HttpServer,
    pub(crate) time: VirtualTime,
    /// What happened, over all lives.
    pub(crate) events: Rc<RefCell<Vec<Event>>>,
    /// What the next self-tests come to; `true` when none is left.
    pub(crate) self_tests: Vec<bool>,
    /// How long a self-test takes, in milliseconds.
    pub(crate) test_ms: u32,
    pub(crate) resets: u32,
}

impl Device {
    pub(crate) fn new() -> Self {
        let geometry = flash::FlashGeometry { write_size: UNIT, erase_size: SECTOR, erased: 0xFF };
        let flash = SimFlash::in_memory(2 * SLOT + JOURNAL, geometry);
        flash.program_once();
        flash.load(0, &image_of(1)).unwrap();
        Self {
            flash,
            server: HttpServer::new(image_of(2)).yielding(),
            time: VirtualTime::new(),
            events: Rc::default(),
            self_tests: Vec::new(),
            test_ms: 0,
            resets: 0,
        }
    }

    pub(crate) fn boot(&self) -> Version {
        let (primary, secondary) = (self.flash.region(0..SLOT), self.flash.region(SLOT..2 * SLOT));
        let bootloader = Bootloader::new(primary, secondary, Method::Move);
        let boot = self.flash.spared(|| bootloader.boot()).expect("the device is bricked");
        let image::Version { major, minor, revision, build } = boot.running;
        Version { major, minor, revision, build }
    }

    /// Lives until `done`, through resets; `false` when the power failed before.
    pub(crate) fn live<K: Cloud>(
        &mut self,
        broker: &TestBroker,
        cloud: impl FnMut(u32) -> K,
        done: impl FnMut() -> bool,
        on: impl FnMut(&Event),
    ) -> bool {
        self.live_with(McuBoot, broker, cloud, done, on)
    }

    /// The same, for images of this format.
    pub(crate) fn live_with<K: Cloud>(
        &mut self,
        format: impl Format + Copy,
        broker: &TestBroker,
        mut cloud: impl FnMut(u32) -> K,
        mut done: impl FnMut() -> bool,
        mut on: impl FnMut(&Event),
    ) -> bool {
        for _ in 0..RESETS_MAX {
            self.resets += 1;
            let running = self.boot();
            let passes = self.self_tests.pop().unwrap_or(true);
            let cloud = cloud(self.resets);
            match self.time.clone().block_on(self.run(
                format,
                broker.clone(),
                cloud,
                running,
                passes,
                &mut done,
                &mut on,
            )) {
                None => return true,
                Some(Ok(Reset)) => {}
                Some(Err(_)) if self.flash.is_dead() => return false,
                Some(Err(error)) => panic!("{error}"),
            }
        }
        panic!("no end in sight: {:#?}", self.events.borrow());
    }

    /// One life; `None` when it was done.
    #[allow(clippy::too_many_arguments)]
    async fn run<K: Cloud>(
        &self,
        format: impl Format,
        mut broker: TestBroker,
        cloud: K,
        running: Version,
        passes: bool,
        done: &mut impl FnMut() -> bool,
        on: &mut impl FnMut(&Event),
    ) -> Option<Result<Reset, Error<TcpConnectError<Refused, Refused>>>> {
        let (mut page, mut scratch) = ([0; 256], [0; 256]);
        let key = Ed25519Key::new(key().verifying_key().to_bytes());
        let (primary, secondary) = (self.flash.region(0..SLOT), self.flash.region(SLOT..2 * SLOT));
        let journal = Journal::new(self.flash.region(2 * SLOT..2 * SLOT + JOURNAL), GEOMETRY, &mut scratch);
        let slot = SlotWriter::new(secondary.clone(), GEOMETRY, journal, &mut page);
        let boot = boot::McuBoot::new(
            primary,
            secondary,
            Layout::new(FlashGeometry { write_size: UNIT, erase_size: SECTOR, erased: 0xFF }),
        );
        let fetcher = Fetcher::new(Bare(TcpConnector::new(&self.server, &self.server)), self.time.delay());
        let policy = Policy::signed_by(&key).newer_than(running);
        let mut updater = Updater::new(fetcher, slot, policy, boot).format(format);

        let (time, delay) = (self.time.clone(), self.time.delay());
        let mut agent = Agent::new(cloud, || time.seconds(), delay.clone(), Limits::new(7));
        let (mut document, mut topic, mut payload) = ([0; 1024], [0; 226], [0; 512]);
        let buffers = Buffers { document: &mut document, topic: &mut topic, payload: &mut payload };
        let mut events = |event: Event| {
            on(&event);
            self.events.borrow_mut().push(event);
        };
        let mut test_delay = self.time.delay();
        let self_test = async || {
            DelayNs::delay_ms(&mut test_delay, self.test_ms).await;
            passes
        };
        let life = agent.run(&mut updater, &mut broker, running, buffers, self_test, &mut events);
        let mut delay = delay;
        let watch = async {
            // Looks only when there has been time to do something.
            while !done() {
                assert!(self.time.seconds() < 1_000_000, "no end in sight: {:#?}", self.events.borrow());
                DelayNs::delay_ms(&mut delay, 5_000).await;
            }
        };
        match select(life, watch).await {
            Either::First(result) => Some(result),
            Either::Second(()) => None,
        }
    }
}
