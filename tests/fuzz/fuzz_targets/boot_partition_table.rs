//! ESP-IDF's partition table, whatever lies in its place: it is refused, or all that it names lies within the flash.
#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sprag_boot::esp_idf::{App, Table};
use sprag_testkit::flash::{FlashGeometry, SimFlash};

const FLASH: u32 = 0x1_0000;

fuzz_target!(|bytes: &[u8]| {
    let flash = SimFlash::in_memory(FLASH, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF });
    flash.load(0, &bytes[..bytes.len().min(FLASH as usize)]).unwrap();
    let Ok(table) = block_on(Table::read(&mut flash.region(0..FLASH), 0)) else { return };
    let slots = (0..table.ota_count()).map(App::Ota);
    for app in slots.clone() {
        assert!(table.app(app).is_some());
    }
    let apps = [App::Factory, App::Test].into_iter().chain(slots).filter_map(|app| table.app(app));
    for partition in apps.chain(table.otadata()) {
        assert!(partition.offset.checked_add(partition.size).is_some_and(|end| end <= FLASH));
    }
});
