//! Where an update's flash is, by tables that an independent crate makes, and an update by that map.

mod common;

use common::{driver, sim};
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use esp_idf_part::{AppType, DataType, Flags, PartitionTable, SubType, Type};
use sprag_boot::esp_idf::{App, Partition, Table};
use sprag_boot::{BootControl, Error, State, Swap};
use sprag_esp32::{Flash, FlashError, JOURNAL, Map, MapError};
use sprag_testkit::esp_idf::{App as Started, Build, Entry, EspIdf as Bootloader, Partitions};
use sprag_testkit::flash::SimFlash;

/// 4 MiB, the example's.
const CAPACITY: u32 = 0x40_0000;
/// The example's partition table, as users get it.
const EXAMPLE: &str = include_str!("../partitions.csv");

const OTA_0: Partition = Partition { offset: 0x1_0000, size: 0x1F_0000 };
const OTA_1: Partition = Partition { offset: 0x20_0000, size: 0x1F_0000 };
const JOURNAL_AT: Partition = Partition { offset: 0x3F_0000, size: 0x4000 };

/// A row of a table: what it is, where, and how large.
type Row = (&'static str, Type, SubType, u32, u32);

const OTADATA: Row = ("otadata", Type::Data, SubType::Data(DataType::Ota), 0xD000, 0x2000);
const SLOTS: [Row; 2] = [
    ("ota_0", Type::App, SubType::App(AppType::Ota_0), 0x1_0000, 0x1F_0000),
    ("ota_1", Type::App, SubType::App(AppType::Ota_1), 0x20_0000, 0x1F_0000),
];

fn journal(offset: u32, size: u32) -> Row {
    (JOURNAL, Type::Data, SubType::Data(DataType::Undefined), offset, size)
}

/// The table as its bytes lie in flash, made without the checks that a careful tool makes.
fn bytes(rows: &[Row]) -> Vec<u8> {
    let row = |(name, kind, subtype, offset, size): Row| {
        esp_idf_part::Partition::new(name, kind, subtype, offset, size, Flags::empty())
    };
    PartitionTable::new(rows.iter().copied().map(row).collect()).to_bin().unwrap()
}

fn load(table: &[u8]) -> SimFlash {
    let flash = sim(CAPACITY);
    flash.load(Table::OFFSET, table).unwrap();
    flash
}

fn map(table: &[u8], address: u32) -> Result<Map, MapError> {
    block_on(Map::read(&mut Flash::new(driver(&load(table)), || {}), Table::OFFSET, address))
}

fn rows(rows: &[Row]) -> Result<Map, MapError> {
    map(&bytes(rows), 0x1_0000)
}

#[test]
fn the_examples_table_has_all_of_it() {
    let example = PartitionTable::try_from_str(EXAMPLE).unwrap();
    example.validate().unwrap();
    let table = example.to_bin().unwrap();
    // From either slot the other one is the update's.
    for (address, running, slot) in [(0x1_0020, App::Ota(0), OTA_1), (0x20_0000, App::Ota(1), OTA_0)] {
        let map = map(&table, address).unwrap();
        assert_eq!((map.running(), map.slot(), map.journal()), (running, slot, JOURNAL_AT));
    }
}

#[test]
fn from_factory_an_update_goes_to_ota_0() {
    let factory = ("factory", Type::App, SubType::App(AppType::Factory), 0x1_0000, 0x10_0000);
    let ota_0 = ("ota_0", Type::App, SubType::App(AppType::Ota_0), 0x20_0000, 0x10_0000);
    let whole = bytes(&[OTADATA, factory, ota_0, journal(0x3F_0000, 0x2000)]);
    let from = map(&whole, 0x1_0000).unwrap();
    assert_eq!((from.running(), from.slot().offset), (App::Factory, 0x20_0000));
    // ota_0 has no other ota_n, and the factory app is nobody's to overwrite.
    assert_eq!(map(&whole, 0x20_0000), Err(MapError::NoSlot));
    assert_eq!(rows(&[OTADATA, factory, journal(0x3F_0000, 0x2000)]), Err(MapError::NoSlot));
    assert_eq!(rows(&[factory, ota_0, journal(0x3F_0000, 0x2000)]), Err(MapError::NoOtadata));
}

#[test]
fn what_is_missing_is_named() {
    let [first, second] = SLOTS;
    let journal = journal(0x3F_0000, 0x4000);
    assert!(rows(&[OTADATA, first, second, journal]).is_ok());
    assert_eq!(rows(&[first, second, journal]), Err(MapError::NoOtadata));
    assert_eq!(rows(&[OTADATA, first, journal]), Err(MapError::NoSlot));
    assert_eq!(rows(&[OTADATA, first, second]), Err(MapError::NoJournal));
    // The label is the whole label.
    let (_, kind, subtype, offset, size) = journal;
    for name in ["sprag_journa", "sprag_journal2"] {
        assert_eq!(rows(&[OTADATA, first, second, (name, kind, subtype, offset, size)]), Err(MapError::NoJournal));
    }
}

#[test]
fn a_table_that_is_not_the_running_one_is_refused() {
    let [first, second] = SLOTS;
    let table = bytes(&[OTADATA, first, second, journal(0x3F_0000, 0x4000)]);
    // Before the apps, behind them, and in the journal.
    for address in [0, 0xFFFF, 0x3F_0000, CAPACITY, u32::MAX] {
        assert_eq!(map(&table, address), Err(MapError::NotRunning { address }));
    }
}

#[test]
fn a_table_that_is_none_is_refused() {
    assert_eq!(map(&[0xFF; 64], 0x1_0000), Err(MapError::Table(Error::Table { at: 0 })), "nothing there");
    assert_eq!(map(b"not a partition table, but text.", 0x1_0000), Err(MapError::Table(Error::Table { at: 0 })));
    let [first, second] = SLOTS;
    let good = bytes(&[OTADATA, first, second, journal(0x3F_0000, 0x4000)]);
    let mut rotten = good.clone();
    rotten[3 * 32 + 8] ^= 0x10; // The size of the journal.
    assert_eq!(map(&rotten, 0x1_0000), Err(MapError::Table(Error::TableDigest)));
    // A table for a larger flash.
    let far = rows(&[OTADATA, first, second, journal(0x3F_F000, 0x2000)]);
    assert_eq!(far, Err(MapError::Table(Error::Table { at: 96 })));
    let short = ("otadata", Type::Data, SubType::Data(DataType::Ota), 0xD000, 0x1000);
    assert_eq!(rows(&[short, first, second]), Err(MapError::Table(Error::Table { at: 0 })), "otadata of one sector");
    let odd = ("ota_1", Type::App, SubType::App(AppType::Ota_1), 0x20_0000, 0x1F_0800);
    assert_eq!(rows(&[OTADATA, first, odd]), Err(MapError::Table(Error::Table { at: 64 })), "half a sector");
}

#[test]
fn what_is_out_of_place_is_named() {
    let [first, second] = SLOTS;
    let with = |at, size| rows(&[OTADATA, first, second, journal(at, size)]);
    let there = |offset, size| Partition { offset, size };
    assert_eq!(with(0x3F_0800, 0x2000), Err(MapError::JournalUnaligned(there(0x3F_0800, 0x2000))));
    assert_eq!(with(0x3F_0000, 0x2800), Err(MapError::JournalUnaligned(there(0x3F_0000, 0x2800))));
    assert_eq!(with(0x3F_0000, 0x1000), Err(MapError::JournalTooSmall(there(0x3F_0000, 0x1000))));
    assert_eq!(with(0x3F_0000, 0), Err(MapError::JournalTooSmall(there(0x3F_0000, 0))));
    assert!(with(0x3F_0000, 0x2000).is_ok());
    // Over each of the others: the bootloader and the table, otadata, the slots.
    for at in [0x0000, 0x7000, 0x8000, 0xC000, 0xE000, 0xF000, 0x1F_F000, 0x20_0000, 0x3E_F000] {
        assert_eq!(with(at, 0x2000), Err(MapError::JournalOverlaps(there(at, 0x2000))), "{at:#x}");
    }
    assert!(with(0x9000, 0x4000).is_ok(), "between the table and otadata");
    // What does not begin at a page of the MMU can't be run, by whichever of the two this is.
    let skewed = ("ota_1", Type::App, SubType::App(AppType::Ota_1), 0x20_1000, 0x1E_0000);
    let table = bytes(&[OTADATA, first, skewed, journal(0x3F_0000, 0x4000)]);
    for address in [0x1_0000, 0x20_1000] {
        assert_eq!(map(&table, address), Err(MapError::SlotUnaligned(there(0x20_1000, 0x1E_0000))));
    }
}

#[test]
fn every_refusal_has_a_word_of_its_own() {
    let somewhere = Partition { offset: 0, size: 0 };
    let all = [
        MapError::Table(Error::TableDigest),
        MapError::NotRunning { address: 0 },
        MapError::NoOtadata,
        MapError::NoSlot,
        MapError::NoJournal,
        MapError::SlotUnaligned(somewhere),
        MapError::JournalUnaligned(somewhere),
        MapError::JournalTooSmall(somewhere),
        MapError::JournalOverlaps(somewhere),
        MapError::Encrypted,
    ];
    let mut reasons = all.map(|error| error.reason());
    assert!(reasons.iter().all(|reason| (1..=24).contains(&reason.len())));
    reasons.sort_unstable();
    assert!(reasons.windows(2).all(|pair| pair[0] != pair[1]), "{reasons:?}");
    let mut messages = all.map(|error| error.to_string());
    messages.sort_unstable();
    assert!(messages.windows(2).all(|pair| pair[0] != pair[1]));
}

/// An update by the map alone, and a model of ESP-IDF's bootloader that starts what it says: from ota_0 to ota_1 and back,
/// and once not confirmed.
#[test]
fn the_bootloader_starts_what_is_handed_over() {
    let table = PartitionTable::try_from_str(EXAMPLE).unwrap().to_bin().unwrap();
    let flash = load(&table);
    flash.load(0xD000, &Entry::new(1, 2).bytes()).unwrap();
    let range = |partition: Partition| partition.offset..partition.offset + partition.size;
    let partitions = Partitions::read(&table, CAPACITY).unwrap();
    assert_eq!(partitions, Partitions::new(0xD000, None, [range(OTA_0), range(OTA_1)]));
    let bootloader = Bootloader::new(flash.region(0..CAPACITY), partitions, Build::Rollback, |bytes| bytes[0] == 0xE9);
    flash.load(OTA_0.offset, &[0xE9]).unwrap();
    let mut runs = bootloader.boot().unwrap();
    assert_eq!(runs, Some(Started::Ota(0)));
    for confirmed in [true, false, true, true] {
        let Some(Started::Ota(index)) = runs else { panic!("bricked") };
        let [here, there] = if index == 0 { [OTA_0, OTA_1] } else { [OTA_1, OTA_0] };
        let over = Mutex::<NoopRawMutex, _>::new(Flash::new(driver(&flash), || {}));
        let map = block_on(async { Map::read(&mut *over.lock().await, Table::OFFSET, here.offset).await }).unwrap();
        let mut regions = map.regions(&over).unwrap();
        assert_eq!(range(there), regions.boot.image_region().start..regions.boot.image_region().end);

        // Neither the running app nor anything else can be written through the slot's region.
        let outside = block_on(regions.slot.erase(here.offset, here.offset + 4096));
        assert_eq!(outside, Err(FlashError::OutOfBounds));
        block_on(regions.slot.erase(there.offset, there.offset + 4096)).unwrap();
        block_on(regions.slot.write(there.offset, &[0xE9, index as u8, 0, 0])).unwrap();
        let mut first = [0];
        block_on(regions.app.read(0, &mut first)).unwrap();
        assert_eq!(first, [0xE9]);

        block_on(regions.boot.unstage()).unwrap();
        block_on(regions.boot.stage(Swap::Test)).unwrap();
        runs = bootloader.boot().unwrap();
        assert_eq!(runs, Some(Started::Ota(1 - index)));

        let map = block_on(async { Map::read(&mut *over.lock().await, Table::OFFSET, there.offset).await }).unwrap();
        let mut boot = map.regions(&over).unwrap().boot.keeping_the_trial();
        assert_eq!(block_on(boot.state()), Ok(State::Trial));
        if confirmed {
            block_on(boot.confirm()).unwrap();
            assert_eq!(block_on(boot.state()), Ok(State::Settled));
        }
        let stays = if confirmed { 1 - index } else { index };
        runs = bootloader.boot().unwrap();
        assert_eq!(runs, Some(Started::Ota(stays)));
    }
    assert!(flash.violations().is_empty(), "{:?}", flash.violations());
}
