//! ESP-IDF's otadata, whatever lies in it: an update can be staged and confirmed, and the bootloader starts what it is to.
//! The first byte says how many slots there are and whether there is a factory app; then come the two entries.
#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sprag_boot::esp_idf::{App, Table};
use sprag_boot::{BootControl, EspIdf, State, Swap};
use sprag_testkit::esp_idf;
use sprag_testkit::flash::{FlashGeometry, SimFlash};

const APPS: u32 = 0x3000;

fuzz_target!(|bytes: &[u8]| {
    let Some((&built, entries)) = bytes.split_first() else { return };
    let (factory, count) = (built & 0x80 != 0, u32::from(built % 16) + 1);
    let capacity = APPS + 17 * 4096;
    let flash = SimFlash::in_memory(capacity, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF });
    let row = |kind: u8, subtype: u8, offset: u32, size: u32| {
        let mut row = vec![0xAA, 0x50, kind, subtype];
        row.extend(offset.to_le_bytes().into_iter().chain(size.to_le_bytes()).chain([0; 20]));
        row
    };
    let app = |index: u32| APPS + index * 4096..APPS + (index + 1) * 4096;
    let mut table = row(1, 0, 0x1000, 0x2000);
    table.extend((0..count).flat_map(|n| row(0, 0x10 + n as u8, app(n).start, 4096)));
    if factory {
        table.extend(row(0, 0, app(16).start, 4096));
    }
    flash.load(0, &table).unwrap();
    for (at, entry) in [0x1000, 0x2000].into_iter().zip(entries.chunks(32)) {
        flash.load(at, entry).unwrap();
    }
    let whole = flash.region(0..capacity);
    let table = block_on(Table::read(&mut whole.clone(), 0)).unwrap();
    let partitions = esp_idf::Partitions::new(0x1000, factory.then(|| app(16)), (0..count).map(app));
    let loader = esp_idf::EspIdf::new(whole.clone(), partitions, esp_idf::Build::Rollback, |_| true);
    let reset = || match loader.boot().unwrap().unwrap() {
        esp_idf::App::Factory => App::Factory,
        esp_idf::App::Ota(index) => App::Ota(index as u8),
        esp_idf::App::Test => App::Test,
    };
    let running = reset();
    let mut boot = EspIdf::new(whole.clone(), table.clone(), running).unwrap();
    if block_on(boot.state()) == Ok(State::Trial) {
        block_on(boot.confirm()).unwrap();
    }
    let Some(next) = table.next(running) else { return };
    block_on(boot.stage(Swap::Test)).unwrap();
    assert_eq!(reset(), next);
    let mut boot = EspIdf::new(whole, table, next).unwrap().keeping_the_trial();
    block_on(boot.confirm()).unwrap();
    assert_eq!(reset(), next);
});
