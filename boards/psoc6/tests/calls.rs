//! The driver against a model of the channel, the ROM and the flash: what it does, what it refuses, and what it does when
//! the other side misbehaves.

mod model;

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use model::{Chip, Mood, PART, Time, array};
use proptest::prelude::*;
use sprag_psoc6::{Cores, Error, FLASH, Flash, Map, Part, ROW, SRAM};
use sprag_testkit::cancel;

type Driver<const BLOCKING: bool = false> = Flash<Chip<BLOCKING>, Time<BLOCKING>>;

const ROW_BYTES: u32 = ROW as u32;
const SECONDARY: u32 = Map::PSOC62_2M_INT_SWAP.secondary.start;

/// An image of 300 KiB runs from the primary slot, and the CM0+ sleeps in the bootloader.
fn cores() -> Cores {
    let Map { bootloader, primary, .. } = Map::PSOC62_2M_INT_SWAP;
    let start = FLASH + primary.start;
    Cores { cm4: start..start + 300 * 1024, cm0p: FLASH + bootloader.start..FLASH + bootloader.end }
}

fn driver<const BLOCKING: bool>() -> (Chip<BLOCKING>, Driver<BLOCKING>) {
    let chip = Chip::new(array());
    let driver = Flash::new(chip.clone(), chip.time(), PART, cores()).unwrap();
    (chip, driver)
}

fn read(driver: &mut Driver, offset: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xA5; length];
    block_on(driver.read(offset, &mut bytes)).unwrap();
    bytes
}

#[test]
fn rows_are_erased_programmed_and_read_back_past_the_cache() {
    let (chip, mut driver) = driver::<false>();
    let data: Vec<u8> = (0..2 * ROW).map(|at| at as u8 | 1).collect();
    // What is read first is what the cache would go on to say.
    assert_eq!(read(&mut driver, SECONDARY, 2 * ROW), [0; 2 * ROW]);
    block_on(driver.write(SECONDARY, &data)).unwrap();
    assert_eq!(read(&mut driver, SECONDARY, 2 * ROW), data);
    assert_eq!(read(&mut driver, SECONDARY + 511, 3), data[511..514]);
    block_on(driver.erase(SECONDARY, SECONDARY + ROW_BYTES)).unwrap();
    assert_eq!(read(&mut driver, SECONDARY, ROW), [0; ROW]);
    assert_eq!(read(&mut driver, SECONDARY + ROW_BYTES, ROW), data[ROW..]);
    let address = FLASH + SECONDARY;
    let program = |row: u32| [0x0600_0000, 0x100, address + row * ROW_BYTES, SRAM + 0x1010];
    assert_eq!(chip.calls(), [program(0), program(1), [0x1C00_0000, address, 0, 0]]);
}

#[test]
fn eight_rows_on_a_boundary_of_eight_take_one_call() {
    let (chip, mut driver) = driver::<false>();
    let start = 0x11_0000 - 2 * ROW_BYTES;
    block_on(driver.erase(start, start + 12 * ROW_BYTES)).unwrap();
    let calls: Vec<_> = chip.calls().iter().map(|call| (call[0] >> 24, call[1] - FLASH)).collect();
    let row = |row: u32| (0x1C, start + row * ROW_BYTES);
    assert_eq!(calls, [row(0), row(1), (0x1D, 0x11_0000), row(10), row(11)]);
}

#[test]
fn every_refusal_of_the_rom_is_told_and_the_next_call_goes_through() {
    let refusals = [
        (0xF000_0001, Error::Protection),
        (0xF000_0003, Error::PageLatch),
        (0xF000_0004, Error::Address),
        (0xF000_0005, Error::RowProtected),
        (0xF000_0022, Error::Comparison),
        (0xF000_00FF, Error::Unknown { status: 0xF000_00FF }),
        (0, Error::Unknown { status: 0 }),
    ];
    let (chip, mut driver) = driver::<false>();
    for (status, error) in refusals {
        chip.mood(Mood::Refuses(status));
        assert_eq!(block_on(driver.erase(SECONDARY, SECONDARY + 2 * ROW_BYTES)), Err(error));
        assert_eq!(block_on(driver.write(SECONDARY, &[1; 2 * ROW])), Err(error));
        assert_eq!(chip.calls().len(), 2, "nothing is done after a refusal");
        chip.mood(Mood::Sound);
        block_on(driver.erase(SECONDARY, SECONDARY + ROW_BYTES)).unwrap();
        assert_eq!(chip.calls().len(), 1);
    }
}

#[test]
fn a_channel_that_somebody_else_holds_is_waited_for_but_not_for_ever() {
    let (chip, mut driver) = driver::<false>();
    chip.taken_for_us(150_000);
    block_on(driver.write(SECONDARY, &[1; ROW])).unwrap();
    chip.taken_for_us(1_000_000);
    let begun = chip.now_us();
    chip.calls();
    assert_eq!(block_on(driver.write(SECONDARY + ROW_BYTES, &[1; ROW])), Err(Error::Busy));
    assert_eq!((chip.now_us() - begun, chip.calls().len()), (200_000, 0));
    // Reading needs no channel.
    assert_eq!(read(&mut driver, SECONDARY, ROW), [1; ROW]);
}

#[test]
fn a_call_that_does_not_end_is_given_up_and_nothing_is_begun_before_it_has() {
    let (chip, mut driver) = driver::<false>();
    chip.mood(Mood::Sleeps { until_us: 10_000_000 });
    let begun = chip.now_us();
    assert_eq!(block_on(driver.erase(SECONDARY, SECONDARY + ROW_BYTES)), Err(Error::Timeout));
    assert_eq!(chip.now_us() - begun, 200_000);
    // The row is still being erased: neither that sector nor the call's memory may be touched.
    assert_eq!(block_on(driver.write(SECONDARY, &[1; ROW])), Err(Error::Timeout));
    assert_eq!(block_on(driver.read(SECONDARY, &mut [0])), Err(Error::Timeout));
    assert_eq!(block_on(driver.idle()), Err(Error::Timeout));
    assert_eq!(chip.calls().len(), 1);
    chip.mood(Mood::Sound);
    block_on(driver.write(SECONDARY, &[1; ROW])).unwrap();
    assert_eq!(read(&mut driver, SECONDARY, ROW), [1; ROW]);
}

/// In partially blocking mode the status may say "in progress" while the channel is free again.
#[test]
fn in_progress_is_not_done() {
    let (chip, mut driver) = driver::<false>();
    chip.mood(Mood::LetsGoEarly);
    block_on(driver.write(SECONDARY, &[7; 3 * ROW])).unwrap();
    assert_eq!(read(&mut driver, SECONDARY, 3 * ROW), [7; 3 * ROW]);
    chip.mood(Mood::Sound);
    // For ever in progress is a time-out as well.
    chip.mood(Mood::Refuses(0xA000_0009));
    assert_eq!(block_on(driver.erase(SECONDARY, SECONDARY + ROW_BYTES)), Err(Error::Timeout));
}

#[test]
fn what_is_not_whole_rows_within_the_flash_never_reaches_the_rom() {
    let (chip, mut driver) = driver::<false>();
    let end = PART.flash;
    for (from, to, error) in [
        (SECONDARY + 1, SECONDARY + 1 + ROW_BYTES, Error::NotAligned),
        (SECONDARY, SECONDARY + 511, Error::NotAligned),
        (end - ROW_BYTES, end + ROW_BYTES, Error::OutOfBounds),
        (end, end + ROW_BYTES, Error::OutOfBounds),
        (u32::MAX - 511, u32::MAX, Error::NotAligned),
        (SECONDARY + ROW_BYTES, SECONDARY, Error::OutOfBounds),
    ] {
        assert_eq!(block_on(driver.erase(from, to)), Err(error), "{from:#x}..{to:#x}");
        if let Some(length) = to.checked_sub(from) {
            let data = vec![1; length as usize];
            assert_eq!(block_on(driver.write(from, &data)), Err(error), "{from:#x}..{to:#x}");
        }
    }
    assert_eq!(block_on(driver.read(end - 1, &mut [0; 2])), Err(Error::OutOfBounds));
    assert_eq!(block_on(driver.read(u32::MAX, &mut [0; 2])), Err(Error::OutOfBounds));
    assert_eq!(block_on(driver.erase(SECONDARY, SECONDARY)), Ok(()));
    assert_eq!(block_on(driver.write(SECONDARY, &[])), Ok(()));
    assert_eq!(chip.calls().len(), 0);
}

#[test]
fn sectors_that_a_core_executes_from_are_left_alone() {
    let (chip, mut driver) = driver::<false>();
    // Code reaches to 0x73400: sectors 0 and 1. The bootloader is in sector 0.
    for (offset, sector) in [(0, 0), (0x3_FE00, 0), (0x4_0000, 1), (0x7_FE00, 1)] {
        assert_eq!(block_on(driver.erase(offset, offset + ROW_BYTES)), Err(Error::Executing { sector }));
        assert_eq!(block_on(driver.write(offset, &[1; ROW])), Err(Error::Executing { sector }));
    }
    assert_eq!(block_on(driver.erase(0x7_FE00, 0x8_0200)), Err(Error::Executing { sector: 1 }));
    assert_eq!(chip.calls().len(), 0);
    // The primary slot's last row, where an image is confirmed, is in sector 4.
    block_on(driver.erase(SECONDARY - ROW_BYTES, SECONDARY)).unwrap();
}

#[test]
fn in_blocking_mode_nobody_executes_from_flash_and_every_sector_may_be_changed() {
    let (chip, mut driver) = driver::<true>();
    block_on(driver.write(0x4_0000, &[1; ROW])).unwrap();
    assert_eq!(chip.calls()[0][0], 0x0600_0100);
    assert!(!chip.is_busy(), "the call returns when it is done");
    let mut bytes = [0; ROW];
    block_on(driver.read(0x4_0000, &mut bytes)).unwrap();
    assert_eq!(bytes, [1; ROW]);
}

#[test]
fn memory_for_the_calls_must_be_in_sram() {
    for (addresses, wrong) in [
        ([SRAM + 1, SRAM + 0x1010], SRAM + 1),
        ([FLASH, SRAM + 0x1010], FLASH),
        ([SRAM, SRAM + PART.sram - 508], SRAM + PART.sram - 508),
        ([SRAM, 0], 0),
    ] {
        let chip = Chip::<false>::new(array());
        chip.place(addresses);
        let made = Flash::new(chip.clone(), chip.time(), PART, cores());
        assert_eq!(made.err(), Some(Error::NotInSram { address: wrong }));
    }
    // A part with less SRAM.
    let chip = Chip::<false>::new(array());
    chip.place([SRAM, SRAM + 0x4_0000]);
    let made = Flash::new(chip.clone(), chip.time(), Part::CY8C6XX5, cores());
    assert_eq!(made.err(), Some(Error::NotInSram { address: SRAM + 0x4_0000 }));
}

/// The model panics where the ROM's memory is written to, or its sector read, while it is at work.
#[test]
fn a_future_dropped_at_any_await_leaves_a_driver_that_waits_for_the_rom() {
    let mut dropped = 0;
    for times in 1.. {
        let (chip, mut driver) = driver::<false>();
        block_on(driver.write(SECONDARY, &[1; 4 * ROW])).unwrap();
        let change = async {
            driver.erase(SECONDARY, SECONDARY + 2 * ROW_BYTES).await?;
            driver.write(SECONDARY, &[2; 2 * ROW]).await
        };
        if block_on(cancel::after(&mut { times }, change)) == Some(Ok(())) {
            break;
        }
        dropped += u32::from(chip.is_busy());
        let untouched = read(&mut driver, SECONDARY + 2 * ROW_BYTES, 2 * ROW);
        assert_eq!(untouched, [1; 2 * ROW]);
        block_on(driver.erase(SECONDARY, SECONDARY + 4 * ROW_BYTES)).unwrap();
        block_on(driver.write(SECONDARY, &[3; 2 * ROW])).unwrap();
        assert_eq!(read(&mut driver, SECONDARY, 2 * ROW), [3; 2 * ROW]);
    }
    assert!(dropped > 50, "dropped with a call under way: {dropped}");
}

#[test]
fn before_a_reset_the_call_under_way_is_waited_for() {
    let (chip, mut driver) = driver::<false>();
    assert!(block_on(cancel::after(&mut 2, driver.write(SECONDARY, &[9; ROW]))).is_none());
    assert!(chip.is_busy());
    block_on(driver.idle()).unwrap();
    assert!(!chip.is_busy());
    let mut row = [0; ROW];
    chip.region(SECONDARY..SECONDARY + ROW_BYTES).read_now(0, &mut row).unwrap();
    assert_eq!(row, [9; ROW]);
}

/// What somebody does with a few rows, some of it nonsense.
#[derive(Debug, Clone)]
enum Action {
    Erase { from: u32, to: u32 },
    Write { row: u32, rows: usize, value: u8 },
    Read { offset: u32, length: usize },
    Dropped { row: u32, polls: u64 },
}

fn action() -> impl Strategy<Value = Action> {
    let rows = 20u32;
    prop_oneof![
        (0..rows * ROW_BYTES, 0..rows * ROW_BYTES, any::<bool>()).prop_map(|(from, to, whole)| {
            let [from, to] = if whole { [from, to].map(|at| at - at % ROW_BYTES) } else { [from, to] };
            Action::Erase { from, to }
        }),
        (0..rows, 0..4usize, 1..=255u8).prop_map(|(row, rows, value)| Action::Write { row, rows, value }),
        (0..rows * ROW_BYTES, 0..1500usize).prop_map(|(offset, length)| Action::Read { offset, length }),
        (0..rows, 0..30u64).prop_map(|(row, polls)| Action::Dropped { row, polls }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked, in whatever order, the flash is what a plain array of rows would be.
    #[test]
    fn the_flash_is_what_was_asked_of_it(actions in prop::collection::vec(action(), 1..40)) {
        let (_, mut driver) = driver::<false>();
        let mut expected = vec![Some(0u8); 24 * ROW];
        for action in actions {
            match action {
                Action::Erase { from, to } => {
                    let result = block_on(driver.erase(SECONDARY + from, SECONDARY + to));
                    let aligned = from % ROW_BYTES == 0 && to % ROW_BYTES == 0;
                    let error = if to < from { Some(Error::OutOfBounds) } else { (!aligned).then_some(Error::NotAligned) };
                    prop_assert_eq!(result, error.map_or(Ok(()), Err));
                    if error.is_none() {
                        expected[from as usize..to as usize].fill(Some(0));
                    }
                }
                Action::Write { row, rows, value } => {
                    let range = row as usize * ROW..(row as usize + rows) * ROW;
                    // Only erased rows may be programmed; the model panics where they are not.
                    let start = SECONDARY + row * ROW_BYTES;
                    block_on(driver.erase(start, start + rows as u32 * ROW_BYTES)).unwrap();
                    block_on(driver.write(start, &vec![value; rows * ROW])).unwrap();
                    expected[range].fill(Some(value));
                }
                Action::Read { offset, length } => {
                    let found = read(&mut driver, SECONDARY + offset, length);
                    for (found, expected) in found.iter().zip(&expected[offset as usize..]) {
                        prop_assert!(expected.is_none_or(|expected| expected == *found));
                    }
                }
                Action::Dropped { row, polls } => {
                    let start = SECONDARY + row * ROW_BYTES;
                    let _ = block_on(cancel::after(&mut { polls }, driver.erase(start, start + ROW_BYTES)));
                    let range = row as usize * ROW..(row as usize + 1) * ROW;
                    // Erased, or as it was: what is not known is asked of no one.
                    expected[range].iter_mut().filter(|byte| **byte != Some(0)).for_each(|byte| *byte = None);
                }
            }
        }
    }
}
