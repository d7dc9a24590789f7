//! A whole update by this board's regions, as the firmware makes it: undisturbed, with the power cut all along it, and with
//! an image that never gets itself confirmed.

mod common;

use std::sync::LazyLock;

use common::driver;
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use esp_idf_part::{AppType, DataType, Flags, PartitionTable, SubType, Type};
use p256::ecdsa::SigningKey;
use sprag::boot::esp_idf::Table;
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{Journal, SlotWriter};
use sprag::job::Status;
use sprag::verify::{EspIdf, P256Key, Policy, Version, esp_idf};
use sprag::{Outcome, Startup, Updater};
use sprag_esp32::{Flash, GEOMETRY, JOURNAL, Map};
use sprag_testkit::esp_idf::{App, Build, Entry, EspIdf as Bootloader, Partitions};
use sprag_testkit::flash::{SimFlash, Torn};
use sprag_testkit::http::{HttpServer, Timers};
use sprag_testkit::image::{EspIdfImage, sign_secure_boot};

const JOB: &[u8] = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"2","urls":[{"url":"http://h/app"}]}"#;
const SLOTS: [u32; 2] = [0x1_0000, 0x2_0000];
const SLOT: u32 = 0x1_0000;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_slice(&[1; 32]).unwrap());
/// The old one and the new one.
static IMAGES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    ["1.0.0", "2.0.0"].map(|version| {
        let (data, program) = (version.as_bytes()[0..1].repeat(600), version.as_bytes()[0..1].repeat(30_000));
        let (chip, revisions) = (esp_idf::chip::ESP32C3, [0, 199]);
        let image = EspIdfImage {
            chip,
            revisions,
            version,
            secure_version: 0,
            project: "test",
            data: &data,
            program: &program,
        };
        sign_secure_boot(image.build(), &[&KEY])
    })
});

struct Device {
    flash: SimFlash,
    bootloader: Bootloader,
    server: HttpServer,
}

/// ota_0 runs, and a server has an update.
fn device() -> Device {
    let flash = common::sim(0x4_0000);
    let row = |name, kind, subtype, offset, size| {
        esp_idf_part::Partition::new(name, kind, subtype, offset, size, Flags::empty())
    };
    let table = PartitionTable::new(vec![
        row("otadata", Type::Data, SubType::Data(DataType::Ota), 0xD000, 0x2000),
        row("ota_0", Type::App, SubType::App(AppType::Ota_0), SLOTS[0], SLOT),
        row("ota_1", Type::App, SubType::App(AppType::Ota_1), SLOTS[1], SLOT),
        row(JOURNAL, Type::Data, SubType::Data(DataType::Undefined), 0x3_0000, 0x2000),
    ]);
    flash.load(Table::OFFSET, &table.to_bin().unwrap()).unwrap();
    flash.load(0xD000, &Entry::new(1, 2).bytes()).unwrap();
    flash.load(SLOTS[0], &IMAGES[0]).unwrap();
    let partitions = Partitions::new(0xD000, None, SLOTS.map(|at| at..at + SLOT));
    let may_run = |bytes: &[u8]| IMAGES.iter().any(|image| bytes.starts_with(image));
    let bootloader = Bootloader::new(flash.region(0..0x4_0000), partitions, Build::Rollback, may_run);
    Device { flash, bootloader, server: HttpServer::new(IMAGES[1].clone()) }
}

impl Device {
    /// A reset: where what runs lies.
    fn reset(&self) -> u32 {
        let Some(App::Ota(index)) = self.flash.spared(|| self.bootloader.boot().unwrap()) else {
            panic!("bricked");
        };
        SLOTS[index]
    }

    /// From one reset to the next, as the firmware lives: the last report's status and reason when there is nothing left to
    /// do; `None` when there is, or when the power is gone.
    fn live(&self, works: bool) -> Option<(Status, String)> {
        let address = self.reset();
        block_on(async {
            let mut flash = Flash::new(driver(&self.flash), || {});
            let map = Map::read(&mut flash, Table::OFFSET, address).await.ok()?;
            let flash = Mutex::<NoopRawMutex, _>::new(flash);
            let mut regions = map.regions(&flash).ok()?;
            let (mut page, mut scratch) = ([0; 1024], [0; 512]);
            let running = esp_idf::version(&mut regions.app, &mut scratch).await.ok()?;
            let journal = Journal::new(regions.journal, GEOMETRY, &mut scratch);
            let slot = SlotWriter::new(regions.slot, GEOMETRY, journal, &mut page);
            let fetch = Fetcher::new(TcpConnector::new(&self.server, &self.server), Timers);
            let key = P256Key::new(*KEY.verifying_key().to_sec1_point(false).as_bytes().last_chunk().unwrap());
            let policy = Policy::signed_by(&key).newer_than(running).for_chip(esp_idf::chip::ESP32C3);
            let boot = regions.boot.keeping_the_trial();
            let mut updater = Updater::new(fetch, slot, policy, boot).format(EspIdf);
            match updater.start(running).await.ok()? {
                Startup::Trial if works => updater.confirm().await.ok()?,
                Startup::Staged | Startup::Trial => return None,
                Startup::Idle | Startup::Unfinished => {}
            }
            if let Some(report) = updater.report().await.ok()? {
                let ended = (report.status(), report.reason().to_owned());
                updater.reported().await.ok()?;
                return Some(ended);
            }
            let job = sprag::job::parse(JOB).unwrap();
            match updater.run(&job, &mut |_| {}).await {
                Ok(Outcome::AlreadyEnded(status)) => Some((status, String::new())),
                Ok(outcome @ Outcome::AlreadyRuns) => panic!("{outcome:?}"),
                Ok(Outcome::RebootToTest) => None,
                Err(_) if self.flash.is_dead() => None,
                Err(error) => panic!("{error}"),
            }
        })
    }

    fn run(&self, works: bool) -> Option<(Status, String)> {
        (0..8).find_map(|_| if self.flash.is_dead() { None } else { self.live(works) })
    }

    fn version(&self) -> Version {
        let slot = self.reset();
        let mut region = self.flash.region(slot..slot + SLOT);
        block_on(esp_idf::version(&mut region, &mut [0; 256])).unwrap()
    }
}

#[test]
fn an_update_comes_to_its_end() {
    let device = device();
    assert_eq!(device.run(true), Some((Status::Done, String::new())));
    assert_eq!((device.reset(), device.version()), (SLOTS[1], Version::new(2, 0, 0)));
    assert_eq!(device.server.requests().len(), 1);
    assert!(device.flash.violations().is_empty(), "{:?}", device.flash.violations());
    // The old image is what it was.
    assert!(device.flash.contents()[SLOTS[0] as usize..].starts_with(&IMAGES[0]));
}

#[test]
fn an_image_that_does_not_work_is_gone_after_the_next_reset() {
    let device = device();
    assert_eq!(device.run(false), Some((Status::Failed, "reverted".to_owned())));
    assert_eq!((device.reset(), device.version()), (SLOTS[0], Version::new(1, 0, 0)));
}

/// Some 8,000 operations, cut at every 97th. A confirm of this board keeps the trial: no cut brings the old image back.
#[test]
fn power_cuts_all_along_an_update_do_no_harm() {
    let device = device();
    let before = device.flash.contents();
    for cut in (0..).step_by(97) {
        device.flash.load(0, &before).unwrap();
        device.flash.cut_power_after(cut, Torn::Bits(cut));
        device.run(true);
        let met = device.flash.is_dead();
        device.flash.power_on();
        assert_eq!(device.run(true), Some((Status::Done, String::new())), "cut at {cut}");
        assert_eq!(device.version(), Version::new(2, 0, 0), "cut at {cut}");
        if !met {
            assert!(cut > 7000, "{cut} operations are less than an image has");
            return;
        }
    }
}
