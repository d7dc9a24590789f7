//! A whole update with the power cut at every flash operation, in every way, and once more during the recovery; and with
//! every future dropped at every await. The device always boots, the update always ends, and the cloud hears of it.

use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use sprag::boot::{Layout, McuBoot};
use sprag::fetch::{Fetcher, TcpConnectError, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::job::Status;
use sprag::verify::{Ed25519Key, Policy, Version};
use sprag::{Error, Event, Outcome, Startup, Updater};
use sprag_testkit::cancel;
use sprag_testkit::flash::{self, SimFlash, Torn};
use sprag_testkit::http::{HttpServer, NoTime, Refused};
use sprag_testkit::image::{self, McuBootImage};
use sprag_testkit::mcuboot::{Bootloader, Method, Swap};

const SECTOR: u32 = 512;
const SLOT: u32 = 12 * SECTOR;
const JOURNAL: u32 = 2 * SECTOR;
const PAGE: usize = 200;
/// Write unit and erased value.
const PARTS: [(u32, u8); 2] = [(8, 0xFF), (4, 0x00)];
const JOB: &[u8] = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"2.0.0","hw":"1","urls":[{"url":"http:\/\/h/app?a=1\u0026b=2","fileName":"app"}]}"#;
const TORN: [Torn; 4] = [Torn::Nothing, Torn::Half, Torn::Bits(1), Torn::Bits(2)];

type TestError = Error<TcpConnectError<Refused, Refused>>;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn image_of(major: u8) -> Vec<u8> {
    static IMAGES: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| [0, 1, 2].map(signed));
    IMAGES[usize::from(major)].clone()
}

fn signed(major: u8) -> Vec<u8> {
    let version = image::Version { major, minor: 0, revision: 0, build: 0 };
    // Ends in the middle of a unit and of a sector.
    let payload: Vec<u8> = (0..2 * SECTOR + 13).map(|n| (n as u8).wrapping_mul(major)).collect();
    McuBootImage { version, header_size: 32, payload: &payload }.sign(&key())
}

/// A device: what survives a power cut. Reports are what the cloud has heard.
struct Device {
    part: (u32, u8),
    flash: SimFlash,
    server: HttpServer,
    reports: Vec<(String, Status)>,
    fetched: u64,
    /// The power failed while the new image was on trial, so that the bootloader brought the old one back.
    reverted: bool,
}

impl Device {
    fn new(part @ (write_size, erased): (u32, u8)) -> Self {
        let capacity = 2 * SLOT + JOURNAL;
        let geometry = flash::FlashGeometry { write_size, erase_size: SECTOR, erased };
        let flash = SimFlash::in_memory(capacity, geometry);
        // As on parts with ECC; what is legal there is legal everywhere.
        flash.program_once();
        flash.load(0, &image_of(1)).unwrap();
        Self { part, flash, server: HttpServer::new(image_of(2)), reports: Vec::new(), fetched: 0, reverted: false }
    }

    /// The bootloader starts an image.
    fn boot(&mut self) -> Version {
        let (primary, secondary) = (self.flash.region(0..SLOT), self.flash.region(SLOT..2 * SLOT));
        // Digests do for a bootloader that meets no forgery here.
        let bootloader = Bootloader::new(primary, secondary, Method::Move);
        let boot = self.flash.spared(|| bootloader.boot()).expect("the device is bricked");
        self.reverted |= boot.swap == Swap::Revert;
        let image::Version { major, minor, revision, build } = boot.running;
        Version { major, minor, revision, build }
    }

    /// From one reset to the next: `Ok(true)` when there is nothing left to do.
    async fn live(&mut self, running: Version) -> Result<bool, TestError> {
        let (write_size, erased) = self.part;
        let geometry = FlashGeometry { write_size, erase_size: SECTOR, erased };
        let layout = Layout::new(FlashGeometry { write_size, erase_size: SECTOR, erased });
        let (mut page, mut scratch) = ([0; PAGE], [0; 256]);
        let key = Ed25519Key::new(key().verifying_key().to_bytes());
        let journal = Journal::new(self.flash.region(2 * SLOT..2 * SLOT + JOURNAL), geometry, &mut scratch);
        let slot = SlotWriter::new(self.flash.region(SLOT..2 * SLOT), geometry, journal, &mut page);
        let boot = McuBoot::new(self.flash.region(0..SLOT), self.flash.region(SLOT..2 * SLOT), layout);
        let connector = TcpConnector::new(&self.server, &self.server);
        let fetcher = Fetcher::new(connector, NoTime);
        let mut updater = Updater::new(fetcher, slot, Policy::signed_by(&key).newer_than(running), boot);
        match updater.start(running).await? {
            Startup::Staged => return Ok(false),
            Startup::Trial => updater.confirm().await?,
            Startup::Idle | Startup::Unfinished => {}
        }
        if let Some(report) = updater.report().await? {
            self.reports.push((report.id().to_owned(), report.status()));
            updater.reported().await?;
        }
        let job = sprag::job::parse(JOB).unwrap();
        let (mut offset, fetched) = (0, &mut self.fetched);
        let mut count = |event| match event {
            Event::Downloading { offset: from } => offset = u64::from(from),
            Event::Progress { received, .. } => {
                *fetched += received - offset;
                offset = received;
            }
            _ => {}
        };
        match updater.run(&job, &mut count).await? {
            Outcome::RebootToTest => Ok(false),
            Outcome::AlreadyEnded(_) => Ok(true),
            outcome @ Outcome::AlreadyRuns => panic!("{outcome:?}"),
        }
    }

    /// Runs through resets until there is nothing left to do, or the power fails: whether it got there.
    fn run(&mut self) -> bool {
        for _ in 0..6 {
            let running = self.boot();
            match block_on(self.live(running)) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) if self.flash.is_dead() => return false,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no end in sight");
    }

    /// The new image runs and is confirmed; or the power failed while it was on trial, and the old one runs again. The
    /// cloud heard which: once, or again with the same words when the power failed between the report and its record.
    fn must_be_done(&mut self, cuts: usize, context: &str) {
        let running = self.boot();
        let (major, status) = match running {
            running if running == Version::new(2, 0, 0) => (2, Status::Done),
            _ => (1, Status::Failed),
        };
        assert!(major == 2 || self.reverted, "{context}: {running} runs");
        let image = image_of(major);
        assert_eq!(self.flash.contents()[..image.len()], image, "{context}");
        assert!((1..=1 + cuts).contains(&self.reports.len()), "{context}: {:?}", self.reports);
        assert!(
            self.reports.iter().all(|report| *report == ("7d".to_owned(), status)),
            "{context}: {:?}",
            self.reports
        );
        // A sector comes again, and once more the block that showed that it was torn.
        let limit = image.len() as u64 + cuts as u64 * (u64::from(SECTOR) + PAGE as u64);
        assert!(self.fetched <= limit, "{context}: {} bytes fetched, more than {limit}", self.fetched);
    }
}

#[test]
fn undisturbed_each_sector_is_erased_once_and_one_report_is_made() {
    for part in PARTS {
        let mut device = Device::new(part);
        assert!(device.run());
        assert!(!device.reverted);
        device.must_be_done(0, "undisturbed");
        assert_eq!(device.server.requests().len(), 1);
    }
}

#[test]
fn cut_at_every_operation_and_again_in_the_recovery() {
    let mut states = 0u32;
    for (n, (part, torn)) in PARTS.into_iter().flat_map(|part| TORN.map(|torn| (part, torn))).enumerate() {
        // A third of the operations in each way; all in every way are what `cargo xtask powercut` is for.
        for first in (n as u64 % 3..).step_by(3) {
            let mut device = Device::new(part);
            device.flash.cut_power_after(first, torn);
            if device.run() {
                break; // There was no such operation any more.
            }
            device.flash.power_on();
            let (left_behind, reports, fetched) = (device.flash.contents(), device.reports.clone(), device.fetched);
            let reverted = device.reverted;
            assert!(device.run());
            device.must_be_done(1, &format!("cut at {first}, {torn:?}"));
            states += 1;

            // A second cut, at operations spread over the recovery: all of them are met over the whole run.
            for second in (first % 131..).step_by(131) {
                device.flash.load(0, &left_behind).unwrap();
                (device.reports, device.fetched, device.reverted) = (reports.clone(), fetched, reverted);
                device.flash.cut_power_after(second, torn);
                let met = !device.run();
                device.flash.power_on();
                assert!(device.run());
                device.must_be_done(2, &format!("cut at {first} and {second}, {torn:?}"));
                if !met {
                    break;
                }
                states += 1;
            }
        }
    }
    println!("{states} states");
    assert!(states > 1_500, "{states}");
}

/// The firmware's task is dropped at each of its awaits that waits for something, and the device reset.
#[test]
fn dropped_at_every_await() {
    for budget in 0.. {
        let mut device = Device::new(PARTS[0]);
        device.flash.yield_before_operations();
        device.server = device.server.yielding();
        let mut left = budget;
        let mut dropped = false;
        for _ in 0..6 {
            let running = device.boot();
            match block_on(cancel::after(&mut left, device.live(running))) {
                Some(ended) if !ended.as_ref().unwrap() => {}
                ended => {
                    dropped = ended.is_none();
                    break;
                }
            }
        }
        assert!(device.run());
        device.must_be_done(1, &format!("dropped at poll {budget}"));
        if !dropped {
            break;
        }
    }
}

/// Bits flip in what lies in the slot while the power is off: the image is fetched anew, and the update ends.
#[test]
fn bits_that_flip_at_rest_cost_a_download_and_no_more() {
    for part in PARTS {
        let total = image_of(2).len() as u32;
        for at in (0..total).step_by(3) {
            let mut device = Device::new(part);
            // Deep in the download, or around its end.
            let units = u64::from(total / part.0);
            device.flash.cut_power_after(if at % 2 == 0 { units * 2 / 3 } else { units * 7 / 6 }, Torn::Nothing);
            assert!(!device.run());
            device.flash.power_on();
            device.flash.rot(SLOT + at, 0x40).unwrap();
            assert!(device.run());
            assert_eq!(device.boot(), Version::new(2, 0, 0), "{at}");
            assert_eq!(device.reports, [("7d".to_owned(), Status::Done)], "{at}");
            assert!(device.fetched <= 2 * u64::from(total) + u64::from(SECTOR), "{at}");
        }
    }
}
