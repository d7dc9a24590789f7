//! The flash and its regions, over a driver as strict as the chip's.

mod common;

use std::cell::Cell;

use common::{driver, sim};
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_storage_async::nor_flash::{NorFlash, NorFlashErrorKind, ReadNorFlash};
use proptest::prelude::*;
use sprag_boot::esp_idf::Partition;
use sprag_esp32::{Flash, FlashError, Region};
use sprag_testkit::flash::FlashError as Simulated;

const CAPACITY: u32 = 0x40_0000;

type Shared<W> = Mutex<NoopRawMutex, Flash<common::Driver, W>>;

#[test]
fn the_watchdog_is_fed_before_each_sector_and_others_run_in_between() {
    let (flash, fed) = (sim(CAPACITY), Cell::new(0u64));
    let mut over = Flash::new(driver(&flash), || fed.set(fed.get() + 1));
    let mut erase = Box::pin(over.erase(0x1_0000, 0x1_5000));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for sector in 1..=5 {
        assert!(erase.as_mut().poll(&mut context).is_pending());
        assert_eq!((fed.get(), flash.stats().erases), (sector, sector));
    }
    assert!(erase.as_mut().poll(&mut context).is_ready());
}

#[test]
fn what_is_not_whole_units_is_refused_before_anything_is_done() {
    let flash = sim(CAPACITY);
    let mut over = Flash::new(driver(&flash), || {});
    let refused = |result: Result<(), FlashError<Simulated>>, error| assert_eq!(result, Err(error));
    refused(block_on(over.write(2, &[0; 4])), FlashError::NotAligned);
    refused(block_on(over.write(4, &[0; 6])), FlashError::NotAligned);
    refused(block_on(over.erase(0, 2048)), FlashError::NotAligned);
    refused(block_on(over.erase(2048, 8192)), FlashError::NotAligned);
    refused(block_on(over.erase(8192, 4096)), FlashError::OutOfBounds);
    refused(block_on(over.erase(CAPACITY - 4096, CAPACITY + 4096)), FlashError::OutOfBounds);
    refused(block_on(over.erase(0xFFFF_F000, 0xFFFF_FFFF)), FlashError::OutOfBounds);
    refused(block_on(over.write(CAPACITY - 4, &[0; 8])), FlashError::OutOfBounds);
    refused(block_on(over.write(0xFFFF_FFFC, &[0; 8])), FlashError::OutOfBounds);
    refused(block_on(over.read(CAPACITY - 3, &mut [0; 4])), FlashError::OutOfBounds);
    refused(block_on(over.read(u32::MAX, &mut [0; 4])), FlashError::OutOfBounds);
    assert_eq!((flash.stats().erases, flash.stats().programs), (0, 0));
    assert_eq!(block_on(over.read(CAPACITY, &mut [])), Ok(()));
    assert_eq!(block_on(over.erase(CAPACITY, CAPACITY)), Ok(()));
}

#[test]
fn a_driver_that_fails_is_heard() {
    let flash = sim(CAPACITY);
    let mut over = Flash::new(driver(&flash), || {});
    block_on(over.write(0, &[0; 4])).unwrap();
    // Programming brings no bit back, and nobody erases a sector behind the caller's back.
    let again = block_on(over.write(0, &[0xFF; 4])).unwrap_err();
    assert!(matches!(again, FlashError::Driver(Simulated::NotErased { offset: 0 })), "{again:?}");
    use embedded_storage_async::nor_flash::NorFlashError;
    assert_eq!(again.kind(), NorFlashErrorKind::Other);
}

proptest! {
    /// Whatever is read, from wherever and into whatever buffer, is what lies there.
    #[test]
    fn any_bytes_can_be_read(at in 0u32..2000, length in 0usize..1500, shift in 0usize..4) {
        let flash = sim(0x2_0000);
        let bytes: Vec<u8> = (0..4096u32).map(|n| (n * 7 % 251) as u8).collect();
        flash.load(0, &bytes).unwrap();
        let mut over = Flash::new(driver(&flash), || {});
        let mut buffer = vec![0; 1504];
        let room = &mut buffer[shift..shift + length];
        block_on(over.read(at, room)).unwrap();
        prop_assert_eq!(&*room, &bytes[at as usize..at as usize + length]);
    }

    /// Whole words can be written from any buffer, and no more is programmed than that.
    #[test]
    fn words_can_be_written_from_any_buffer(at in 0u32..500, words in 0usize..400, shift in 0usize..4) {
        let flash = sim(0x2_0000);
        let mut over = Flash::new(driver(&flash), || {});
        let bytes: Vec<u8> = (0..2000u32).map(|n| (n * 11 % 253) as u8).collect();
        let bytes = &bytes[shift..shift + words * 4];
        block_on(over.write(at * 4, bytes)).unwrap();
        let there = flash.contents();
        let (from, end) = (at as usize * 4, at as usize * 4 + bytes.len());
        prop_assert_eq!(&there[from..end], bytes);
        prop_assert!(there[..from].iter().chain(&there[end..8192]).all(|byte| *byte == 0xFF));
    }

    /// A region reaches every byte of its partition and none outside, counted from 0 or from the start of the flash.
    #[test]
    fn nothing_gets_out_of_a_region(
        (sector, sectors) in (1u32..20, 1u32..12),
        in_place: bool,
        (at, length) in (0u32..0x2_4000, 0usize..9000),
    ) {
        let flash = sim(0x2_0000);
        let partition = Partition { offset: sector * 4096, size: sectors * 4096 };
        flash.load(partition.offset, &vec![0x5A; partition.size as usize]).unwrap();
        let shared: Shared<_> = Mutex::new(Flash::new(driver(&flash), || {}));
        let (mut region, first) = if in_place {
            (Region::in_place(&shared, partition), partition.offset)
        } else {
            (Region::new(&shared, partition), 0)
        };
        let within = at >= first && u64::from(at) + length as u64 <= u64::from(first + partition.size);
        let mut bytes = vec![0; length];
        let read = block_on(region.read(at, &mut bytes));
        prop_assert_eq!(read, if within { Ok(()) } else { Err(FlashError::OutOfBounds) });
        prop_assert!(!within || bytes.iter().all(|byte| *byte == 0x5A));

        let (from, to) = (at & !0xFFF, (at + length as u32) & !0xFFF);
        let erased = block_on(region.erase(from, to));
        let within = from >= first && to <= first + partition.size;
        prop_assert_eq!(erased, if within { Ok(()) } else { Err(FlashError::OutOfBounds) });
        prop_assert_eq!(flash.stats().erases, if within { u64::from((to - from) / 4096) } else { 0 });
        let there = flash.contents();
        let erased = (from - first.min(from) + partition.offset) as usize;
        for (at, byte) in there.iter().enumerate() {
            let mine = (partition.offset as usize..(partition.offset + partition.size) as usize).contains(&at);
            let gone = within && (erased..erased + (to - from) as usize).contains(&at);
            prop_assert_eq!(*byte, if mine && !gone { 0x5A } else { 0xFF });
        }
        prop_assert_eq!(region.capacity(), (first + partition.size) as usize);
    }
}

#[test]
fn regions_at_the_ends_of_the_numbers_overflow_nowhere() {
    let flash = sim(CAPACITY);
    let shared: Shared<_> = Mutex::new(Flash::new(driver(&flash), || {}));
    let last = Partition { offset: CAPACITY - 4096, size: 4096 };
    let beyond = Partition { offset: 0xFFFF_F000, size: 4096 };
    for (region, at) in [
        (Region::new(&shared, last), u32::MAX),
        (Region::in_place(&shared, last), 0),
        (Region::in_place(&shared, last), u32::MAX),
        (Region::new(&shared, beyond), 0),
        (Region::in_place(&shared, beyond), 0xFFFF_F000),
    ] {
        let mut region = region;
        assert_eq!(block_on(region.read(at, &mut [0; 8])), Err(FlashError::OutOfBounds), "{region:?} at {at:#x}");
        assert_eq!(block_on(region.write(at, &[0; 8])), Err(FlashError::OutOfBounds), "{region:?} at {at:#x}");
    }
    assert_eq!(block_on(Region::new(&shared, last).erase(0, 4096)), Ok(()));
    assert_eq!(block_on(Region::new(&shared, last).erase(4096, 0)), Err(FlashError::OutOfBounds));
}

/// At each end of a region, one byte or unit further than it goes.
#[test]
fn the_byte_before_a_region_and_the_byte_behind_it_are_out_of_reach() {
    let flash = sim(0x1_0000);
    let shared: Shared<_> = Mutex::new(Flash::new(driver(&flash), || {}));
    let partition = Partition { offset: 0x4000, size: 0x2000 };
    for (mut region, first) in
        [(Region::new(&shared, partition), 0), (Region::in_place(&shared, partition), partition.offset)]
    {
        let end = first + partition.size;
        assert_eq!(block_on(region.read(end - 1, &mut [0])), Ok(()));
        assert_eq!(block_on(region.read(end, &mut [])), Ok(()));
        assert_eq!(block_on(region.read(end - 1, &mut [0; 2])), Err(FlashError::OutOfBounds));
        assert_eq!(block_on(region.read(end, &mut [0])), Err(FlashError::OutOfBounds));
        assert_eq!(block_on(region.write(end - 4, &[0xFF; 4])), Ok(()));
        assert_eq!(block_on(region.write(end - 4, &[0xFF; 8])), Err(FlashError::OutOfBounds));
        assert_eq!(block_on(region.erase(end - 4096, end)), Ok(()));
        assert_eq!(block_on(region.erase(end - 4096, end + 4096)), Err(FlashError::OutOfBounds));
        if let Some(before) = first.checked_sub(1) {
            assert_eq!(block_on(region.read(before, &mut [0; 2])), Err(FlashError::OutOfBounds));
            assert_eq!(block_on(region.erase(first - 4096, first)), Err(FlashError::OutOfBounds));
        }
    }
}
