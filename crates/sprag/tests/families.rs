//! A whole update for every family of bootloaders, undisturbed and with the power cut all along it: the updater and the
//! slot writer know none of them.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use sprag::boot::esp_idf::{App, Table};
use sprag::boot::mcuboot::{CypressLayout, Slot};
use sprag::boot::{BootControl, Cypress, DirectXip, EmbassyBoot, EspIdf, Layout, McuBoot, Method, embassy};
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::job::Status;
use sprag::verify::{Ed25519Key, Policy, Version};
use sprag::{Outcome, Startup, Updater};
use sprag_testkit::esp_idf;
use sprag_testkit::flash::{self, Region, SimFlash, Torn};
use sprag_testkit::http::{HttpServer, Timers};
use sprag_testkit::image::{self, McuBootImage};
use sprag_testkit::mcuboot::{self, Bootloader, check_image};

const JOB: &[u8] = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"2","urls":[{"url":"http://h/app"}]}"#;

fn image(major: u8, sector: u32) -> Vec<u8> {
    let version = image::Version { major, minor: 0, revision: 0, build: 0 };
    let payload = vec![major; 2 * sector as usize + 13];
    McuBootImage { version, header_size: 32, payload: &payload }.sign(&SigningKey::from_bytes(&[1; 32]))
}

/// A device: its flash, and what its bootloader and its firmware do with it. Where there are several slots that run, the
/// firmware is told which one it runs from.
struct Device<'a, B> {
    flash: SimFlash,
    /// Where the slot writer writes to.
    slot: &'a dyn Fn(usize) -> Region,
    journal: Region,
    /// The bootloader: the slot and the version that run.
    reset: &'a dyn Fn() -> (usize, u8),
    boot: &'a dyn Fn(usize) -> B,
    server: HttpServer,
    /// Images of a higher major version are refused by the policy.
    at_most: u8,
}

impl<B: BootControl> Device<'_, B> {
    /// From one reset to the next: the last report's status when there is nothing left to do; `None` when there is, or
    /// when the power is gone.
    fn live(&self) -> Option<Status> {
        let (slot, major) = self.flash.spared(|| (self.reset)());
        let running = Version::new(major, 0, 0);
        let flash::FlashGeometry { write_size, erase_size, erased, .. } = self.flash.geometry();
        let geometry = FlashGeometry { write_size, erase_size, erased };
        let (mut page, mut scratch) = ([0; 512], [0; 512]);
        let key = Ed25519Key::new(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
        let journal = Journal::new(self.journal.clone(), geometry, &mut scratch);
        let writer = SlotWriter::new((self.slot)(slot), geometry, journal, &mut page);
        let fetcher = Fetcher::new(TcpConnector::new(&self.server, &self.server), Timers);
        let policy = Policy::signed_by(&key).newer_than(running).at_most(Version::new(self.at_most, 0, 0));
        let mut updater = Updater::new(fetcher, writer, policy, (self.boot)(slot));
        block_on(async {
            match updater.start(running).await.ok()? {
                Startup::Staged => return None,
                Startup::Trial => updater.confirm().await.ok()?,
                Startup::Idle | Startup::Unfinished => {}
            }
            if updater.report().await.ok()?.is_some() {
                updater.reported().await.ok()?;
            }
            let job = sprag::job::parse(JOB).unwrap();
            match updater.run(&job, &mut |_| {}).await {
                Ok(Outcome::AlreadyEnded(status)) => Some(status),
                Ok(outcome @ Outcome::AlreadyRuns) => panic!("{outcome:?}"),
                Ok(Outcome::RebootToTest) => None,
                Err(_) if self.flash.is_dead() => None,
                // Refused: the next life says so.
                Err(error) if !error.is_retryable() && running.major > self.at_most.saturating_sub(1) => None,
                Err(error) => panic!("{error}"),
            }
        })
    }

    fn run(&self) -> Status {
        (0..8).find_map(|_| if self.flash.is_dead() { None } else { self.live() }).unwrap_or(Status::Downloading)
    }

    /// Undisturbed, then cut at operations all along. Where a cut may end the trial, the old image may be back.
    fn must_update(&self, step: usize) {
        let before = self.flash.contents();
        assert_eq!(self.run(), Status::Done);
        assert_eq!((self.reset)().1, 2);
        assert_eq!(self.server.requests().len(), 1, "what came once is not fetched again");
        let (mut updated, mut reverted) = (0, 0);
        for cut in (0..).step_by(step) {
            self.flash.load(0, &before).unwrap();
            self.flash.cut_power_after(cut, Torn::Bits(cut));
            self.run();
            let met = self.flash.is_dead();
            self.flash.power_on();
            let status = self.run();
            let (_, running) = (self.reset)();
            match (status, running) {
                (Status::Done, 2) => updated += 1,
                (Status::Failed, 1) => reverted += 1,
                other => panic!("cut at {cut}: {other:?}"),
            }
            if !met {
                break;
            }
        }
        assert!(updated > 5 && reverted < updated / 5, "{updated} updated, {reverted} reverted");
    }
}

const SECTOR: u32 = 1024;
const SLOT: u32 = 16 * SECTOR;

/// A part with two slots and a journal behind them, and the old image in the first slot.
fn part(write_size: u32, erase_size: u32, erased: u8, slot: u32, rest: u32) -> SimFlash {
    let capacity = 2 * slot + rest;
    let flash = SimFlash::in_memory(capacity, flash::FlashGeometry { write_size, erase_size, erased });
    // As on parts with ECC; what is legal there is legal everywhere.
    flash.program_once();
    flash.load(0, &image(1, erase_size)).unwrap();
    flash
}

#[test]
fn mcuboot_swapping_and_overwriting() {
    for (method, model) in [
        (Method::Scratch, mcuboot::Method::Move),
        (Method::Move, mcuboot::Method::Move),
        (Method::Offset, mcuboot::Method::Offset),
        (Method::Overwrite, mcuboot::Method::Overwrite),
    ] {
        let flash = part(8, SECTOR, 0xFF, SLOT, 2 * SECTOR);
        let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
        let loader = Bootloader::new(primary.clone(), secondary.clone(), model);
        let layout = Layout::new(FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF }).method(method);
        Device {
            slot: &|_| secondary.clone(),
            journal: flash.region(2 * SLOT..2 * SLOT + 2 * SECTOR),
            reset: &|| (0, loader.boot().unwrap().running.major),
            boot: &|_| McuBoot::new(primary.clone(), secondary.clone(), layout),
            server: HttpServer::new(image(2, SECTOR)),
            at_most: 2,
            flash: flash.clone(),
        }
        .must_update(11);
    }
}

/// The update goes into the slot that the firmware does not run from, and MCUboot erases what is not whole: after a cut it
/// begins anew.
#[test]
fn mcuboot_where_images_lie() {
    let flash = part(8, SECTOR, 0xFF, SLOT, 2 * SECTOR);
    let slots = [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)];
    let layout = Layout::new(FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF });
    let boot = |running: usize| {
        let slot = if running == 0 { Slot::Primary } else { Slot::Secondary };
        DirectXip::new(slots[running].clone(), slots[1 - running].clone(), slot, layout)
    };
    // The old image is programmed with a confirmed trailer.
    block_on(boot(1).stage(sprag::boot::Swap::Permanent)).unwrap();
    let loader = mcuboot::Xip::new(slots.clone(), true);
    Device {
        slot: &|running| slots[1 - running].clone(),
        journal: flash.region(2 * SLOT..2 * SLOT + 2 * SECTOR),
        reset: &|| {
            let selected = loader.boot().unwrap();
            (selected.slot, selected.running.major)
        },
        boot: &boot,
        server: HttpServer::new(image(2, SECTOR)),
        at_most: 2,
        flash: flash.clone(),
    }
    .must_update(11);
}

/// Where the bootloader runs whatever it finds, an image that the policy refuses never runs either: with the power cut in
/// every operation and in every way, at any reset.
#[test]
fn a_refused_image_never_runs_where_images_lie() {
    for revert in [true, false] {
        let flash = part(8, SECTOR, 0xFF, SLOT, 2 * SECTOR);
        let slots = [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)];
        let layout = Layout::new(FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF });
        let boot = |running: usize| {
            let slot = if running == 0 { Slot::Primary } else { Slot::Secondary };
            let boot = DirectXip::new(slots[running].clone(), slots[1 - running].clone(), slot, layout);
            if revert { boot } else { boot.without_revert() }
        };
        if revert {
            block_on(boot(1).stage(sprag::boot::Swap::Permanent)).unwrap();
        }
        let loader = mcuboot::Xip::new(slots.clone(), revert);
        let device = Device {
            slot: &|running| slots[1 - running].clone(),
            journal: flash.region(2 * SLOT..2 * SLOT + 2 * SECTOR),
            reset: &|| {
                let selected = loader.boot().unwrap();
                assert_eq!(selected.running.major, 1, "a refused image runs");
                (selected.slot, selected.running.major)
            },
            boot: &boot,
            server: HttpServer::new(image(2, SECTOR)),
            at_most: 1,
            flash: flash.clone(),
        };
        let before = flash.snapshot();
        for torn in [Torn::Nothing, Torn::Half, Torn::Whole, Torn::Bits(3)] {
            for cut in 0.. {
                flash.restore(&before).unwrap();
                flash.cut_power_after(cut, torn);
                device.run();
                let met = flash.is_dead();
                flash.power_on();
                assert_eq!(device.run(), Status::Refused, "{torn:?} in operation {cut}");
                if !met {
                    break;
                }
            }
        }
    }
}

#[test]
fn infineons_mcuboot() {
    const ROW: u32 = 512;
    /// Three areas of two copies of two rows, and the scratch area behind them.
    const STATUS: u32 = 12 * ROW;
    const SCRATCH: u32 = 4 * ROW;
    let flash = part(ROW, ROW, 0x00, SLOT, STATUS + SCRATCH + 8 * ROW);
    let [primary, secondary] = [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)];
    let status = flash.region(2 * SLOT..2 * SLOT + STATUS);
    let scratch = flash.region(2 * SLOT + STATUS..2 * SLOT + STATUS + SCRATCH);
    let journal = 2 * SLOT + STATUS + SCRATCH;
    let loader = mcuboot::Cypress::new(primary.clone(), secondary.clone(), status.clone(), scratch, SLOT / ROW);
    Device {
        slot: &|_| secondary.clone(),
        journal: flash.region(journal..journal + 8 * ROW),
        reset: &|| (0, loader.boot().unwrap().running.major),
        boot: &|_| {
            let row = Box::leak(Box::new([0; ROW as usize]));
            Cypress::new(primary.clone(), secondary.clone(), status.clone(), CypressLayout::new(SLOT / ROW), row)
        },
        server: HttpServer::new(image(2, ROW)),
        at_most: 2,
        flash: flash.clone(),
    }
    .must_update(1);
}

/// One flash for everything, as it is on these chips: the table in it says where the image goes.
#[test]
fn esp_idf_from_factory_and_from_slot_to_slot() {
    const APP: u32 = 0x5000;
    let row = |kind: u8, subtype: u8, offset: u32, size: u32| {
        let mut row = vec![0xAA, 0x50, kind, subtype];
        row.extend(offset.to_le_bytes().into_iter().chain(size.to_le_bytes()).chain([0; 20]));
        row
    };
    for (factory, keep) in [(true, false), (false, false), (false, true)] {
        let capacity = 0x2_4000;
        let geometry = flash::FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF };
        let flash = SimFlash::in_memory(capacity, geometry);
        let first = [row(1, 0, 0xD000, 0x2000), if factory { row(0, 0, 0x1_0000, APP) } else { vec![] }].concat();
        let slots = [row(0, 0x10, 0x1_5000, APP), row(0, 0x11, 0x1_A000, APP)].concat();
        flash.load(0x8000, &[first, slots].concat()).unwrap();
        flash.load(if factory { 0x1_0000 } else { 0x1_5000 }, &image(1, 4096)).unwrap();
        let whole = flash.region(0..0x2_4000);
        let table = block_on(Table::read(&mut whole.clone(), Table::OFFSET)).unwrap();
        let partitions = esp_idf::Partitions::read(&flash.contents()[0x8000..0x9000], 0x2_4000).unwrap();
        let may_run = |bytes: &[u8]| check_image(bytes, None).is_ok();
        let loader = esp_idf::EspIdf::new(whole.clone(), partitions, esp_idf::Build::Rollback, may_run);
        // 0 is the factory app, 1 is ota_0, and so on.
        let starts = [0x1_0000, 0x1_5000, 0x1_A000];
        Device {
            slot: &|_| whole.clone(),
            journal: flash.region(0x2_0000..0x2_2000),
            reset: &|| {
                let slot = match loader.boot().unwrap().expect("the device is bricked") {
                    esp_idf::App::Factory => 0,
                    esp_idf::App::Ota(index) => index + 1,
                    esp_idf::App::Test => panic!("there is no test app"),
                };
                (slot, check_image(&flash.contents()[starts[slot] as usize..], None).unwrap().major)
            },
            boot: &|slot| {
                let running = if slot == 0 { App::Factory } else { App::Ota(slot as u8 - 1) };
                let boot = EspIdf::new(whole.clone(), table.clone(), running).unwrap();
                if keep { boot.keeping_the_trial() } else { boot }
            },
            server: HttpServer::new(image(2, 4096)),
            at_most: 2,
            flash: flash.clone(),
        }
        .must_update(97);
    }
}

/// A model of embassy-boot's swap that does all of it at once: its own code judges `sprag-boot` in that crate's tests.
#[test]
fn embassy_boot() {
    const ACTIVE: u32 = 8 * SECTOR;
    const DFU: u32 = ACTIVE + SECTOR;
    let rest = 4 * SECTOR;
    let flash = part(4, SECTOR, 0xFF, ACTIVE, SECTOR + rest);
    let (active, dfu) = (flash.region(0..ACTIVE), flash.region(ACTIVE..ACTIVE + DFU));
    let state = flash.region(ACTIVE + DFU..ACTIVE + DFU + SECTOR);
    let reset = || {
        let bytes = state.contents();
        if bytes[..4] == [0xF0; 4] {
            let swapped = bytes[8..12] == [0; 4];
            if bytes[4..8] == [0xFF; 4] {
                let (old, new) = (active.contents(), dfu.contents());
                flash.load(0, &new[..ACTIVE as usize]).unwrap();
                flash.load(ACTIVE, &old).unwrap();
            }
            if swapped || bytes[4..8] != [0xFF; 4] {
                flash.load(ACTIVE + DFU, &[0xFF; SECTOR as usize]).unwrap();
                flash.load(ACTIVE + DFU, &[0xC0; 4]).unwrap();
            } else {
                flash.load(ACTIVE + DFU + 8, &[0; 4 * 2 * 8]).unwrap();
            }
        }
        (0, check_image(&active.contents(), None).expect("the device is bricked").major)
    };
    let geometry = FlashGeometry { write_size: 4, erase_size: SECTOR, erased: 0xFF };
    let layout = embassy::Layout { active_size: ACTIVE, dfu: geometry, state: geometry };
    Device {
        slot: &|_| dfu.clone(),
        journal: flash.region(ACTIVE + DFU + SECTOR..ACTIVE + DFU + 3 * SECTOR),
        reset: &reset,
        boot: &|_| EmbassyBoot::new(state.clone(), layout),
        server: HttpServer::new(image(2, SECTOR)),
        at_most: 2,
        flash: flash.clone(),
    }
    .must_update(23);
}

/// Slot writer and hand-over must have been given the same sectors and the same erased value.
#[test]
fn a_slot_and_a_bootloader_that_contradict_each_other_are_refused() {
    let flash = part(8, SECTOR, 0xFF, SLOT, 2 * SECTOR);
    let before = flash.contents();
    let server = HttpServer::new(image(2, SECTOR));
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let key = Ed25519Key::new(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
    let geometry = FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF };
    let larger = FlashGeometry { erase_size: 2 * SECTOR, ..geometry };
    for layout in [larger, geometry.erased(0x00)].map(Layout::new) {
        let (mut page, mut scratch) = ([0; 512], [0; 512]);
        let journal = Journal::new(flash.region(2 * SLOT..2 * SLOT + 2 * SECTOR), geometry, &mut scratch);
        let slot = SlotWriter::new(secondary.clone(), geometry, journal, &mut page);
        let boot = McuBoot::new(primary.clone(), secondary.clone(), layout);
        let fetcher = Fetcher::new(TcpConnector::new(&server, &server), Timers);
        let mut updater = Updater::new(fetcher, slot, Policy::signed_by(&key), boot);
        let refused = block_on(updater.start(Version::new(1, 0, 0))).unwrap_err();
        assert_eq!(refused.reason(), "boot-geometry");
        let job = sprag::job::parse(JOB).unwrap();
        assert_eq!(block_on(updater.run(&job, &mut |_| {})).unwrap_err().reason(), "not-started");
        assert_eq!(flash.contents(), before);
    }
    assert!(server.requests().is_empty());
}
