//! ESP-IDF's otadata and partition table, judged by a model of its bootloader and by `esp-idf-part`.

mod common;

use common::{Campaign, image};
use embassy_futures::block_on;
use esp_idf_part::{AppType, DataType, Flags, Partition, PartitionTable, SubType, Type};
use proptest::prelude::*;
use sprag_boot::esp_idf::{App, Table, chosen};
use sprag_boot::{BootControl, Error, EspIdf, ImageRegion, State, Swap};
use sprag_testkit::cancel;
use sprag_testkit::esp_idf::{self, Build, Entry, EspIdf as Bootloader, Partitions};
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash};
use sprag_testkit::mcuboot::check_image;

const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF };
const TABLE: u32 = 0x8000;
const OTADATA: u32 = 0xD000;
const APPS: u32 = 0x1_0000;
const APP: u32 = 0x1_0000;
const NEW: u32 = 0;
const PENDING: u32 = 1;
const VALID: u32 = 2;
const ABORTED: u32 = 4;

/// A partition table of ESP-IDF's own shape, made by an independent crate.
fn table(factory: bool, count: u8) -> Vec<u8> {
    let mut offset = APPS;
    let mut app = |name: String, subtype| {
        let partition = Partition::new(name, Type::App, subtype, offset, APP, Flags::empty());
        offset += APP;
        partition
    };
    let nvs = Partition::new("nvs", Type::Data, SubType::Data(DataType::Nvs), 0x9000, 0x4000, Flags::empty());
    let otadata = Partition::new("otadata", Type::Data, SubType::Data(DataType::Ota), OTADATA, 0x2000, Flags::empty());
    let mut partitions = vec![nvs, otadata];
    if factory {
        partitions.push(app("factory".to_owned(), SubType::App(AppType::Factory)));
    }
    partitions.extend((0..count).map(|n| app(format!("ota_{n}"), SubType::app(0x10 + n))));
    PartitionTable::new(partitions).to_bin().unwrap()
}

struct Device {
    table: Table,
    bootloader: Bootloader,
}

fn device(factory: bool, count: u8, rollback: bool) -> Device {
    let capacity = APPS + APP * (u32::from(count) + u32::from(factory));
    let flash = SimFlash::in_memory(capacity, GEOMETRY);
    flash.load(TABLE, &table(factory, count)).unwrap();
    let region = flash.region(0..capacity);
    let table = block_on(Table::read(&mut region.clone(), TABLE)).unwrap();
    let range = |app| table.app(app).map(|partition| partition.offset..partition.offset + partition.size);
    let partitions = Partitions::read(&flash.contents()[TABLE as usize..][..4096], capacity).unwrap();
    let slots = (0..count).map(|n| range(App::Ota(n)).unwrap());
    assert_eq!(partitions, Partitions::new(OTADATA, range(App::Factory), slots));
    let build = if rollback { Build::Rollback } else { Build::Plain };
    let bootloader = Bootloader::new(region, partitions, build, |bytes| check_image(bytes, None).is_ok());
    Device { table, bootloader }
}

impl Device {
    fn rollback(&self) -> bool {
        self.bootloader.build != Build::Plain
    }

    fn flash(&self) -> &SimFlash {
        self.bootloader.flash.flash()
    }

    fn boot(&self, running: App) -> EspIdf<Region> {
        let boot = EspIdf::new(self.bootloader.flash.clone(), self.table.clone(), running).unwrap();
        if self.rollback() { boot } else { boot.without_rollback() }
    }

    /// A reset, in which the power is there: the app that runs.
    fn reset(&self) -> App {
        app(self.bootloader.boot().unwrap().expect("the device is bricked"))
    }

    fn state(&self, running: App) -> State {
        block_on(self.boot(running).state()).unwrap()
    }

    fn put_image(&self, app: App, major: u8) {
        self.flash().load(self.table.app(app).unwrap().offset, &image(major)).unwrap();
    }

    fn put_entries(&self, entries: [Option<Entry>; 2]) {
        for (at, entry) in [OTADATA, OTADATA + 4096].into_iter().zip(entries) {
            self.flash().load(at, &[0xFF; 4096]).unwrap();
            self.flash().load(at, &entry.map_or([0xFF; 32], |entry| entry.bytes())).unwrap();
        }
    }

    fn chosen(&self) -> App {
        block_on(chosen(&mut self.bootloader.flash.clone(), &self.table, self.rollback())).unwrap()
    }
}

fn app(app: esp_idf::App) -> App {
    match app {
        esp_idf::App::Factory => App::Factory,
        esp_idf::App::Test => App::Test,
        esp_idf::App::Ota(index) => App::Ota(index as u8),
    }
}

/// Update after update, from factory and without one, for every number of slots: each goes into the next slot, runs there
/// on trial, and is confirmed; every third one is not, and the one before it is back.
#[test]
fn updates_go_round_for_every_number_of_slots() {
    for (factory, count) in (1..=16).flat_map(|count| [(true, count), (false, count)]) {
        let device = device(factory, count, true);
        let mut running = if factory { App::Factory } else { App::Ota(0) };
        device.put_image(running, 1);
        assert_eq!(device.reset(), running);
        if count == 1 && !factory {
            let mut boot = device.boot(running);
            assert_eq!(boot.image_region().start, boot.image_region().end);
            assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::NoSlot));
            continue;
        }
        for update in 1..40u8 {
            if count == 1 && running != App::Factory {
                break; // The one slot is the running one's now.
            }
            let next = match running {
                App::Ota(index) => App::Ota((index + 1) % count),
                _ => App::Ota(0),
            };
            let mut boot = device.boot(running);
            let partition = device.table.app(next).unwrap();
            let room = boot.image_region();
            assert_eq!(room, ImageRegion { start: partition.offset, end: partition.offset + APP, geometry: GEOMETRY });
            block_on(boot.unstage()).unwrap();
            device.put_image(next, update);
            block_on(boot.stage(Swap::Test)).unwrap();
            assert_eq!(device.state(running), State::Staged(Swap::Test));
            assert_eq!(device.chosen(), next);
            assert_eq!(device.reset(), next);
            assert_eq!(device.state(next), State::Trial);
            let refused = if count > 1 { Error::OnTrial } else { Error::NoSlot };
            assert_eq!(block_on(device.boot(next).stage(Swap::Test)), Err(refused));
            if update % 3 == 0 {
                block_on(device.boot(next).go_back()).unwrap();
                assert_eq!(device.reset(), running, "{count} slots, update {update}");
            } else {
                block_on(device.boot(next).confirm()).unwrap();
                assert_eq!(device.reset(), next);
                running = next;
            }
            assert_eq!(device.state(running), State::Settled);
            assert_eq!(block_on(device.boot(running).go_back()), Err(Error::NotOnTrial));
        }
    }
}

/// Byte for byte what `esp_ota_set_boot_partition` and `esp_ota_mark_app_valid_cancel_rollback` leave.
#[test]
fn entries_are_esp_idfs() {
    let device = device(false, 2, true);
    device.put_image(App::Ota(0), 1);
    device.put_image(App::Ota(1), 2);
    assert_eq!(device.reset(), App::Ota(0));
    block_on(device.boot(App::Ota(0)).stage(Swap::Test)).unwrap();
    let otadata = |at: u32| {
        let at = (OTADATA + at) as usize;
        device.flash().contents()[at..at + 32].to_vec()
    };
    assert_eq!(otadata(0), Entry::new(1, VALID).bytes(), "the running app's, as the bootloader wrote it");
    assert_eq!(otadata(4096), Entry::new(2, NEW).bytes());
    device.reset();
    block_on(device.boot(App::Ota(1)).confirm()).unwrap();
    assert_eq!(otadata(4096), Entry::new(2, VALID).bytes());
}

/// After a rollback the aborted entry has the higher number, and its sector is the free one.
#[test]
fn the_only_valid_entry_is_never_overwritten() {
    let states = [NEW, PENDING, VALID, 3, ABORTED, u32::MAX];
    let torn = |seq| Entry { crc: 0x1234, ..Entry::new(seq, VALID) };
    for count in 2..5 {
        for (running, sector) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let own = Entry::new(u32::from(count) * 3 + running + 1, VALID);
            let others =
                states.map(|state| Entry::new(u32::from(count) * 4 + (running + 1) % u32::from(count) + 1, state));
            for other in others.into_iter().map(Some).chain([None, Some(torn(99))]) {
                let device = device(false, count, true);
                (0..count).for_each(|n| device.put_image(App::Ota(n), n + 1));
                let mut entries = [other, other];
                entries[sector] = Some(own);
                device.put_entries(entries);
                let running = App::Ota(running as u8);
                // Only where that is what runs.
                if device.chosen() != running {
                    continue;
                }
                let before = device.flash().contents();
                for cut in 0.. {
                    device.flash().load(0, &before).unwrap();
                    device.flash().cut_power_after(cut, sprag_testkit::flash::Torn::Bits(cut));
                    let staged = block_on(device.boot(running).stage(Swap::Test)).is_ok();
                    device.flash().power_on();
                    assert_eq!(device.bootloader.entries().unwrap()[sector], own, "{entries:?}, cut at {cut}");
                    if staged {
                        break;
                    }
                }
            }
        }
    }
}

/// Where the numbers end they begin anew, and a cut on the way leaves the running app.
#[test]
fn numbers_go_to_their_end_and_begin_anew() {
    for (count, seq) in
        [(2, u32::MAX - 1), (3, u32::MAX - 1), (3, u32::MAX - 2), (16, u32::MAX - 9), (16, u32::MAX - 1)]
    {
        let device = device(false, count, true);
        let running = App::Ota(((seq - 1) % u32::from(count)) as u8);
        let next = App::Ota((((seq - 1) % u32::from(count) + 1) % u32::from(count)) as u8);
        device.put_image(running, 1);
        device.put_image(next, 2);
        device.put_entries([Some(Entry::new(seq, VALID)), Some(Entry::new(seq - 1, VALID))]);
        assert_eq!(device.chosen(), running);
        let states = Campaign {
            flash: device.flash(),
            call: &|| block_on(device.boot(running).stage(Swap::Test)),
            boot: &|| device.bootloader.boot().is_ok_and(|app| app.expect("the device is bricked") == app.unwrap()),
            cut_boot: true,
            done: &|| {
                assert_eq!(device.state(running), State::Staged(Swap::Test));
                let entries = device.bootloader.entries().unwrap();
                assert!(entries.iter().all(|entry| entry.seq != u32::MAX));
            },
        }
        .run();
        assert!(states > 10, "{states}");
        block_on(device.boot(running).stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), next);
    }
}

/// Each call, cut at each operation in each way, then again when it is made once more and within the bootloader: an image
/// that was running or staged runs, never another one.
#[test]
fn every_call_survives_a_cut_and_a_second_cut() {
    let mut states = 0;
    for (factory, count) in [(true, 1), (true, 2), (false, 2), (false, 3)] {
        let old = if factory { App::Factory } else { App::Ota(0) };
        let fresh = || {
            let device = device(factory, count, true);
            device.put_image(old, 1);
            device.reset();
            device
        };
        let new = fresh().table.next(old).unwrap();
        let campaign = |device: &Device, call: &dyn Fn() -> Result<(), Error>, running, done| {
            Campaign {
                flash: device.flash(),
                call,
                boot: &|| match device.bootloader.boot() {
                    Ok(booted) => {
                        let booted = app(booted.expect("the device is bricked"));
                        assert!(booted == old || booted == new, "{booted:?}");
                        true
                    }
                    Err(_) => false,
                },
                cut_boot: true,
                done: &|| assert_eq!(device.state(running), done, "{:?}", device.bootloader.entries()),
            }
            .run()
        };
        for (swap, done) in [Swap::Test, Swap::Permanent].map(|swap| (swap, State::Staged(swap))) {
            let device = fresh();
            device.put_image(new, 2);
            states += campaign(&device, &|| block_on(device.boot(old).stage(swap)), old, done);
            // Staged otherwise before.
            let other = if swap == Swap::Test { Swap::Permanent } else { Swap::Test };
            let device = fresh();
            device.put_image(new, 2);
            block_on(device.boot(old).stage(other)).unwrap();
            states += campaign(&device, &|| block_on(device.boot(old).stage(swap)), old, done);
            states += campaign(&device, &|| block_on(device.boot(old).unstage()), old, State::Settled);
        }
        let device = fresh();
        device.put_image(new, 2);
        block_on(device.boot(old).stage(Swap::Test)).unwrap();
        device.reset();
        // In ESP-IDF's own way a cut may end the trial: see below.
        states += campaign(&device, &|| block_on(device.boot(new).keeping_the_trial().confirm()), new, State::Settled);
    }
    println!("{states} states");
    assert!(states > 1_000, "{states}");
}

/// A cut in ESP-IDF's own way to confirm may bring the old image back; in the other way it never does.
#[test]
fn a_confirm_that_keeps_the_trial_never_loses_it() {
    for keep in [false, true] {
        let device = device(false, 2, true);
        device.put_image(App::Ota(0), 1);
        device.reset();
        device.put_image(App::Ota(1), 2);
        block_on(device.boot(App::Ota(0)).stage(Swap::Test)).unwrap();
        device.reset();
        let trial = device.flash().contents();
        let mut reverted = 0;
        for torn in common::TORN {
            for cut in 0.. {
                device.flash().load(0, &trial).unwrap();
                device.flash().cut_power_after(cut, torn);
                let boot = device.boot(App::Ota(1));
                let confirmed = block_on(if keep { boot.keeping_the_trial() } else { boot }.confirm()).is_ok();
                device.flash().power_on();
                let untouched = device.flash().contents() == trial;
                if confirmed {
                    assert_eq!(device.reset(), App::Ota(1));
                    assert_eq!(device.state(App::Ota(1)), State::Settled);
                    break;
                }
                if device.reset() == App::Ota(0) {
                    reverted += u32::from(!untouched);
                } else if device.state(App::Ota(1)) == State::Trial {
                    // On trial once more: it is confirmed all the same.
                    block_on(device.boot(App::Ota(1)).confirm()).unwrap();
                    assert_eq!(device.reset(), App::Ota(1));
                }
            }
        }
        assert_eq!(reverted == 0, keep, "{reverted}");
    }
}

/// The state of an aborted image is not covered by its CRC: within the erase of its entry it could read as another one.
/// Its CRC is gone before that.
#[test]
fn an_aborted_image_does_not_come_back_while_its_entry_is_erased() {
    let device = device(false, 2, true);
    device.put_image(App::Ota(0), 1);
    device.put_image(App::Ota(1), 2);
    device.put_entries([Some(Entry::new(3, VALID)), Some(Entry::new(4, ABORTED))]);
    device.flash().cut_power_after(1, sprag_testkit::flash::Torn::Nothing);
    block_on(device.boot(App::Ota(0)).stage(Swap::Test)).unwrap_err();
    device.flash().power_on();
    // The erase has begun, and has reached the state only.
    device.flash().load(OTADATA + 4096 + 24, &[0xFF; 4]).unwrap();
    assert_eq!(device.reset(), App::Ota(0));
}

#[test]
fn a_bootloader_without_rollback_has_no_trials() {
    let device = device(true, 2, false);
    device.put_image(App::Factory, 1);
    for (running, next) in [(App::Factory, App::Ota(0)), (App::Ota(0), App::Ota(1)), (App::Ota(1), App::Ota(0))] {
        device.put_image(next, 2);
        block_on(device.boot(running).stage(Swap::Test)).unwrap();
        assert_eq!(device.state(running), State::Staged(Swap::Permanent));
        assert_eq!(device.reset(), next);
        assert_eq!(device.state(next), State::Settled);
        assert_eq!(block_on(device.boot(next).go_back()), Err(Error::NotOnTrial));
        assert_eq!(device.reset(), next);
    }
}

/// The new image does not start, and the bootloader falls back: the old one sees that nothing is staged any more, and
/// does not confirm what it is not.
#[test]
fn an_image_that_the_bootloader_refuses_is_not_on_trial() {
    let device = device(false, 2, true);
    device.put_image(App::Ota(0), 1);
    device.reset();
    block_on(device.boot(App::Ota(0)).stage(Swap::Test)).unwrap();
    assert_eq!(device.reset(), App::Ota(0), "there is no image in ota_1");
    assert_eq!(device.state(App::Ota(0)), State::Settled);
    block_on(device.boot(App::Ota(0)).confirm()).unwrap();
    device.put_image(App::Ota(1), 2);
    assert_eq!(device.reset(), App::Ota(0));
    block_on(device.boot(App::Ota(0)).stage(Swap::Test)).unwrap();
    assert_eq!(device.reset(), App::Ota(1));
}

#[test]
fn every_call_survives_being_dropped() {
    for keep in [false, true] {
        for budget in 0.. {
            let device = device(false, 2, true);
            device.put_image(App::Ota(0), 1);
            device.reset();
            device.put_image(App::Ota(1), 2);
            device.flash().yield_before_operations();
            let mut left = budget;
            let staged = block_on(cancel::after(&mut left, device.boot(App::Ota(0)).stage(Swap::Test)));
            block_on(device.boot(App::Ota(0)).stage(Swap::Test)).unwrap();
            assert_eq!(device.reset(), App::Ota(1));
            let mut boot = device.boot(App::Ota(1));
            if keep {
                boot = boot.keeping_the_trial();
            }
            let confirmed = staged.and_then(|_| block_on(cancel::after(&mut left, boot.confirm())));
            block_on(boot.confirm()).unwrap();
            assert_eq!(device.state(App::Ota(1)), State::Settled);
            if confirmed.is_some() {
                assert_eq!(device.reset(), App::Ota(1));
                break;
            }
        }
    }
}

#[test]
fn a_table_is_checked_as_the_bootloader_does() {
    let good = table(true, 3);
    let read = |bytes: &[u8]| {
        let capacity = APPS + APP * 4;
        let flash = SimFlash::in_memory(capacity, GEOMETRY);
        flash.load(TABLE, bytes).unwrap();
        block_on(Table::read(&mut flash.region(0..capacity), TABLE))
    };
    let parsed = read(&good).unwrap();
    assert_eq!((parsed.ota_count(), parsed.otadata().unwrap().offset), (3, OTADATA));
    assert_eq!(parsed.app_at(APPS + APP + 5), Some(App::Ota(0)));
    assert_eq!((parsed.app_at(APPS - 1), parsed.app_at(APPS)), (None, Some(App::Factory)));
    // Six entries and the MD5, but for what stands before it, which the bootloader does not look at.
    for byte in (0..7 * 32).filter(|byte| !(6 * 32 + 2..6 * 32 + 16).contains(byte)) {
        let mut bytes = good.clone();
        bytes[byte] ^= 1;
        let result = read(&bytes);
        assert!(matches!(result, Err(Error::Table { .. } | Error::TableDigest)), "byte {byte}: {result:?}");
    }
    let entry = |n: usize| n * 32..(n + 1) * 32;
    let without_md5 = [&good[..6 * 32], &[0xFF; 32][..]].concat();
    assert_eq!(read(&without_md5).unwrap(), parsed, "CONFIG_PARTITION_TABLE_MD5 can be off");
    let gap = [&without_md5[..3 * 32], &without_md5[entry(4)], &[0xFF; 32][..]].concat();
    assert_eq!(read(&gap), Err(Error::Table { at: 0 }), "ota_1 without ota_0");
    let twice = [&without_md5[..4 * 32], &without_md5[entry(3)], &[0xFF; 32][..]].concat();
    assert_eq!(read(&twice), Err(Error::Table { at: 128 }));
    let mut outside = without_md5.clone();
    outside[5 * 32 + 4..5 * 32 + 8].copy_from_slice(&0xFFFF_F000_u32.to_le_bytes());
    assert_eq!(read(&outside), Err(Error::Table { at: 160 }));
    let mut behind = good.clone();
    behind[7 * 32..8 * 32].copy_from_slice(&good[entry(5)]);
    behind[8 * 32..9 * 32].fill(0xFF);
    assert_eq!(read(&behind), Err(Error::Table { at: 7 * 32 }), "a row behind the MD5");
    let mut odd = without_md5.clone();
    odd[2 * 32 + 8..2 * 32 + 12].copy_from_slice(&0x1234_u32.to_le_bytes());
    assert!(read(&odd).is_ok(), "factory is never written, and may have any size");
    odd[3 * 32 + 8..3 * 32 + 12].copy_from_slice(&0x1234_u32.to_le_bytes());
    assert_eq!(read(&odd), Err(Error::Table { at: 96 }), "ota_0 is erased by sectors");
    let endless = without_md5[entry(0)].repeat(96);
    assert_eq!(read(&endless), Err(Error::Table { at: 0xC00 }));
    assert_eq!(read(&[0xFF; 32]), Err(Error::Table { at: 0 }), "an empty table is none");
}

#[test]
fn a_partition_is_found_by_its_label_in_a_table_that_is_sound() {
    let found = |bytes: &[u8], label| {
        let capacity = APPS + APP * 4;
        let flash = SimFlash::in_memory(capacity, GEOMETRY);
        flash.load(TABLE, bytes).unwrap();
        block_on(Table::labelled(&mut flash.region(0..capacity), TABLE, label))
            .map(|partition| partition.map(|partition| (partition.offset, partition.size)))
    };
    let mut good = table(true, 3);
    assert_eq!(found(&good, "nvs"), Ok(Some((0x9000, 0x4000))));
    assert_eq!(found(&good, "ota_2"), Ok(Some((APPS + 3 * APP, APP))));
    assert_eq!((found(&good, "ota_"), found(&good, "ota_22"), found(&good, "")), (Ok(None), Ok(None), Ok(None)));
    good[12] ^= 1;
    assert_eq!(found(&good, "nvs"), Err(Error::TableDigest), "what is found before the MD5 does not count without it");
    // A label that takes all of its 16 bytes has no zero behind it.
    let full =
        [&[0xAA, 0x50, 1, 6], &0xF000_u32.to_le_bytes()[..], &0x1000_u32.to_le_bytes(), b"sixteen-letters!", &[0; 4]];
    assert_eq!(found(&[full.concat(), vec![0xFF; 32]].concat(), "sixteen-letters!"), Ok(Some((0xF000, 0x1000))));
}

proptest! {
    /// Whatever lies in otadata, the app that is said to be chosen is the one that the bootloader tries first.
    #[test]
    fn the_choice_is_the_bootloaders(
        entries in prop::array::uniform2((0u32..20, 0u32..7, any::<bool>())),
        (factory, count, rollback) in (any::<bool>(), 1u8..6, any::<bool>()),
    ) {
        let device = device(factory, count, rollback);
        (0..count).map(App::Ota).chain(factory.then_some(App::Factory)).for_each(|app| device.put_image(app, 1));
        device.put_entries(entries.map(|(seq, state, sound)| {
            let state = if state == 6 { u32::MAX } else { state };
            let entry = Entry::new(if seq == 19 { u32::MAX } else { seq }, state);
            Some(if sound { entry } else { Entry { crc: !entry.crc, ..entry } })
        }));
        let chosen = device.chosen();
        prop_assert_eq!(device.reset(), chosen);
    }

    /// From whatever lies in otadata, an update can be staged, runs, and can be confirmed.
    #[test]
    fn an_update_is_possible_from_any_otadata(
        entries in prop::array::uniform2((any::<u32>(), 0u32..7, any::<bool>())),
        (factory, count) in (any::<bool>(), 2u8..6),
    ) {
        let device = device(factory, count, true);
        (0..count).map(App::Ota).chain(factory.then_some(App::Factory)).for_each(|app| device.put_image(app, 1));
        device.put_entries(entries.map(|(seq, state, sound)| {
            let entry = Entry::new(seq, if state == 6 { u32::MAX } else { state });
            Some(if sound { entry } else { Entry { crc: !entry.crc, ..entry } })
        }));
        let running = device.reset();
        if device.state(running) == State::Trial {
            block_on(device.boot(running).confirm()).unwrap();
        }
        let next = device.table.next(running).unwrap();
        block_on(device.boot(running).stage(Swap::Test)).unwrap();
        prop_assert_eq!(device.reset(), next);
        block_on(device.boot(next).confirm()).unwrap();
        prop_assert_eq!(device.reset(), next);
    }
}
