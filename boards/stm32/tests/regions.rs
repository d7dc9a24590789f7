//! Regions of a shared flash: arithmetic at every sector of every part, and a whole download into the slot of every map.

use std::cell::Cell;

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use sprag_flash::{Error, Journal, SlotWriter};
use sprag_stm32::{Flash, Map, Part, RegionError};
use sprag_testkit::flash::{self, SimFlash};

/// The whole flash of a part, with NOR's rules.
fn sim(part: &Part) -> SimFlash {
    let geometry = flash::FlashGeometry { write_size: part.write_size, erase_size: 1024, erased: 0xFF };
    SimFlash::of(flash::Part::uniform(part.size(), geometry).sectors(part.sectors))
}

thread_local! {
    /// How often this test's flash was made ready.
    static READY: Cell<u32> = const { Cell::new(0) };
}

fn ready() {
    READY.set(READY.get() + 1);
}

/// Erases exactly the sectors that are named, whatever their sizes, and feeds the watchdog before and after each.
#[test]
fn an_uneven_region_sector_by_sector() {
    const PART: Part = Part::STM32F429ZI;
    const K: u32 = 1024;
    // From the last sectors of the first bank to the first large one of the second.
    let (from, to) = (0x0E_0000, 0x14_0000);
    let sectors = [128 * K, 16 * K, 16 * K, 16 * K, 16 * K, 64 * K, 128 * K];
    let starts: Vec<u32> = sectors.iter().scan(0, |at, size| Some(std::mem::replace(at, *at + size))).collect();
    for (first, start) in starts.iter().copied().enumerate() {
        for count in 1..=sectors.len() - first {
            let end = start + sectors[first..first + count].iter().sum::<u32>();
            let part = sim(&PART);
            part.load(0, &vec![0x5A; part.capacity() as usize]).unwrap();
            let shared = Flash::new(part.region(0..PART.size()).sized::<4, { 128 * 1024 }>(), &PART, ready);
            let mut region = shared.region::<{ 128 * 1024 }>(from..to).unwrap();
            assert_eq!(region.capacity(), 0x06_0000);
            let before = READY.get();
            block_on(region.erase(start, end)).unwrap();
            assert_eq!(READY.get() - before, 2 * count as u32);
            let contents = part.contents();
            for (at, byte) in contents.iter().enumerate() {
                let erased = (from + start..from + end).contains(&(at as u32));
                assert_eq!(*byte, if erased { 0xFF } else { 0x5A }, "{at:#x}");
            }
            // Half a sector, at either end.
            for (from, to) in [(start + 8 * K, end), (start, end - 8 * K)] {
                assert_eq!(block_on(region.erase(from, to)), Err(RegionError::NotAligned));
            }
        }
    }
}

#[test]
fn nothing_outside_the_region_is_reached() {
    const PART: Part = Part::STM32H563ZI;
    let part = sim(&PART);
    let shared = Flash::new(part.region(0..PART.size()).sized::<16, 8192>(), &PART, ready);
    let mut region = shared.region::<8192>(0x10_0000..0x10_8000).unwrap();
    let mut bytes = [0; 32];
    let is = |error: RegionError<flash::FlashError>| error.kind();
    for offset in [0x7FF0, 0x8000, u32::MAX - 15, u32::MAX - 0x10_0000] {
        assert_eq!(block_on(region.read(offset, &mut bytes)).map_err(is), Err(NorFlashErrorKind::OutOfBounds));
        assert_eq!(block_on(region.write(offset, &bytes)).map_err(is), Err(NorFlashErrorKind::OutOfBounds));
    }
    for (from, to) in [(0, 0xA000), (0x8000, 0xA000), (0x2000, 0), (u32::MAX - 0x1FFF, u32::MAX)] {
        assert_eq!(block_on(region.erase(from, to)).map_err(is), Err(NorFlashErrorKind::OutOfBounds));
    }
    for (offset, length) in [(8, 16), (0, 8)] {
        assert_eq!(block_on(region.write(offset, &bytes[..length])).map_err(is), Err(NorFlashErrorKind::NotAligned));
    }
    block_on(region.erase(0x8000, 0x8000)).unwrap();
    assert_eq!((part.stats().erases, part.violations()), (0, vec![]));
    block_on(region.write(0x7FE0, &bytes)).unwrap();
    assert_eq!(part.contents()[0x10_7FE0..0x10_8000], bytes);
}

#[test]
fn a_region_is_whole_sectors_of_the_part_that_the_driver_is_for() {
    const PART: Part = Part::STM32L476RG;
    let part = sim(&PART);
    let wrong = Flash::new(part.region(0..PART.size()).sized::<16, 2048>(), &PART, ready);
    assert!(wrong.region::<2048>(0..4096).is_err());
    let shared = Flash::new(part.region(0..PART.size()).sized::<8, 2048>(), &PART, ready);
    assert!(shared.region::<2048>(0..4096).is_ok());
    assert!(shared.region::<4096>(0..4096).is_err());
    for range in [1024..4096, 0..3072, 0..PART.size() + 2048] {
        assert!(shared.region::<2048>(range).is_err());
    }
}

/// A download that is cut off and goes on, into the slot and with the journal of each map, by regions of one shared flash.
#[test]
fn a_download_into_every_map() {
    fn download<const WRITE: usize, const SLOT: usize, const JOURNAL: usize>(map: &'static Map) {
        let part = sim(&map.part);
        let context = format!("{} {:?}", map.part.name, map.kind);
        let image: Vec<u8> = (0..150_003u32).map(|at| ((at * 31) >> 3) as u8).collect();
        let shared = Flash::new(part.region(0..map.part.size()).sized::<WRITE, SLOT>(), &map.part, ready);
        let room = 0..map.active.end - map.active.start;
        for most in [100_000, image.len()] {
            let slot = shared.region::<SLOT>(map.update.clone()).unwrap();
            let journal = shared.region::<JOURNAL>(map.journal.clone()).unwrap();
            let (mut record, mut page, mut second) = ([0; 512], [0; 1024], [0; 1024]);
            let journal = Journal::new(journal, map.part.geometry(&map.journal), &mut record);
            let mut writer = SlotWriter::new(slot, map.part.geometry(&map.update), journal, &mut page);
            writer = writer.second_buffer(&mut second);
            block_on(async {
                let mut transfer = match writer.session().await.unwrap() {
                    Some(_) => writer.resume().await.unwrap(),
                    None => writer.begin(b"x", image.len() as u64, room.clone(), 0).await.unwrap(),
                };
                let mut offset = transfer.offset() as usize;
                assert!(most < image.len() || offset > 0, "{context}: nothing of it was kept");
                let fed = transfer
                    .feed(async |room: &mut [u8]| {
                        let rest = &image[offset..most];
                        if rest.is_empty() && most < image.len() {
                            return Err(Error::NoSession);
                        }
                        let count = room.len().min(rest.len());
                        room[..count].copy_from_slice(&rest[..count]);
                        offset += count;
                        Ok(count)
                    })
                    .await;
                assert_eq!(fed.is_ok(), most == image.len(), "{context}");
                if most == image.len() {
                    transfer.finish().unwrap();
                }
            });
        }
        let start = map.update.start as usize;
        assert!(part.contents()[start..start + image.len()] == image, "{context}");
        assert_eq!(part.violations(), [], "{context}");
    }
    for map in Map::ALL {
        match map.part.name {
            "STM32F429ZI" => download::<4, { 128 * 1024 }, { 16 * 1024 }>(map),
            "STM32H743ZI" => download::<32, { 128 * 1024 }, { 128 * 1024 }>(map),
            _ if map.part.write_size == 16 => download::<16, 8192, 8192>(map),
            _ => download::<8, 2048, 2048>(map),
        }
    }
}
