//! Why the journal is not `sequential-storage`: both keep the records of the same updates, and their erases are counted.
//!
//! `cargo test -p sprag-flash --test sequential_storage -- --nocapture` prints the table of the README.

use embassy_futures::block_on;
use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapConfigError, MapStorage};
use sprag_flash::{CONVERSATION, FlashGeometry, JOB, Journal};
use sprag_testkit::flash::{self, SimFlash, SizedRegion};

const SECTOR: u32 = 4096;
const SIZE: u32 = 2 * SECTOR;
/// Sectors of an image.
const SECTORS: u32 = 1024;
const UPDATES: usize = 8;

/// The kinds of the slot writer, whose own they are.
const SESSION: u8 = 1;
const PROGRESS: u8 = 2;

/// The records of one update: the job, the session, the progress, the job's phases, the conversation with the cloud.
fn records(every: u32, mut put: impl FnMut(u8, &[u8])) {
    put(JOB, &[1; 90]);
    put(SESSION, &[2; 60]);
    for sector in (0..SECTORS).step_by(every as usize) {
        put(PROGRESS, &[&sector.to_le_bytes()[..], &[1, 0, 0]].concat());
    }
    for phase in 0..4 {
        put(JOB, &[phase; 90]);
    }
    put(CONVERSATION, &[4; 65]);
    put(JOB, &[5; 90]);
}

fn part(write_size: u32) -> SimFlash {
    SimFlash::in_memory(SIZE, flash::FlashGeometry { write_size, erase_size: SECTOR, erased: 0xFF })
}

fn erases(flash: &SimFlash) -> u32 {
    flash.stats().erases_per_sector.iter().sum()
}

/// The fewest and the most erases of an update, once the sectors are in use.
fn spread(flash: &SimFlash, mut update: impl FnMut()) -> (u32, u32) {
    update();
    let counts = (0..UPDATES).map(|_| {
        let before = erases(flash);
        update();
        erases(flash) - before
    });
    counts.fold((u32::MAX, 0), |(least, most), count| (least.min(count), most.max(count)))
}

fn ours(write_size: u32, every: u32) -> (u32, u32) {
    let flash = part(write_size);
    let mut scratch = [0; 1024];
    let geometry = FlashGeometry { write_size, erase_size: SECTOR, erased: 0xFF };
    let mut journal = Journal::new(flash.region(0..SIZE), geometry, &mut scratch);
    spread(&flash, || records(every, |kind, payload| block_on(journal.put(kind, payload)).unwrap()))
}

fn theirs<const WRITE: usize>(every: u32) -> (u32, u32) {
    let flash = part(WRITE as u32);
    let region: SizedRegion<WRITE, { SECTOR as usize }> = flash.region(0..SIZE).sized();
    let mut map = MapStorage::<u8, _, _>::new(region, MapConfig::new(0..SIZE), Cache::new_uncached());
    let mut buffer = [0; 256];
    spread(&flash, || {
        records(every, |kind, payload| block_on(map.store_item(&mut buffer, &kind, &payload)).unwrap());
    })
}

#[test]
fn erases_of_both_are_what_the_readme_says() {
    let row = |what: &str, cells: [(u32, u32); 4]| {
        println!("| {what} | {} |", cells.map(|(least, most)| format!("{least} to {most}")).join(" | "));
    };
    let each = [theirs::<4>(1), theirs::<8>(1), theirs::<16>(1), theirs::<32>(1)];
    let some = [theirs::<4>(32), theirs::<8>(32), theirs::<16>(32), theirs::<32>(32)];
    let own = [4, 8, 16, 32].map(|write_size| ours(write_size, 32));
    println!("| | unit 4 | unit 8 | unit 16 | unit 32 |\n|---|---|---|---|---|");
    row("sequential-storage, a record for each sector", each);
    row("sequential-storage, every 32 sectors", some);
    row("this journal, every 32 sectors", own);
    assert!(each.iter().all(|(least, _)| *least > 2), "more than an update may cost: {each:?}");
    assert!(own.iter().all(|(_, most)| *most <= 2), "{own:?}");
}

#[test]
fn it_does_not_take_rows_of_512_bytes() {
    type Rows = SizedRegion<512, 4096>;
    let refused = MapConfig::<Rows>::try_new(0..SIZE).err();
    assert!(matches!(refused, Some(MapConfigError::WordSizeTooLarge | MapConfigError::PagesTooSmall)));
    // The same region for the journal: eight rows a sector.
    let (least, most) = ours(512, 512);
    println!("this journal with rows of 512 bytes, every 512 sectors: {least} to {most}");
    assert!(most <= 2, "{most}");
}
