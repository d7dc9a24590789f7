//! The serial NOR driver against a model of the part: commands, status bits, pages, what goes wrong.

mod model;

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use model::serial::{Chip, Mood, SECTOR, array};
use sprag_psoc6::SerialError;
use sprag_testkit::cancel;

const SECTORS: u32 = 8;
const CAPACITY: u32 = SECTORS * SECTOR as u32;

fn chip() -> Chip {
    Chip::new(array(SECTORS))
}

#[test]
fn what_is_written_across_pages_and_sectors_is_read_back() {
    let chip = chip();
    let mut driver = chip.driver();
    let data: Vec<u8> = (0..5 * 1024).map(|at: u32| (at % 251) as u8).collect();
    block_on(driver.erase(0, 2 * SECTOR as u32)).unwrap();
    block_on(driver.write(16, &data)).unwrap();
    let mut read = vec![0; data.len() + 2];
    block_on(driver.read(15, &mut read)).unwrap();
    assert_eq!((read[0], &read[1..=data.len()], read[data.len() + 1]), (0xFF, &data[..], 0xFF));
    block_on(driver.erase(SECTOR as u32, 2 * SECTOR as u32)).unwrap();
    let contents = chip.contents();
    assert_eq!(contents[16..SECTOR], data[..SECTOR - 16]);
    assert_eq!(contents[SECTOR..2 * SECTOR], [0xFF; SECTOR]);
}

#[test]
fn what_is_not_whole_units_or_sectors_within_the_flash_never_reaches_the_bus() {
    let chip = chip();
    chip.mood(Mood::Absent);
    let mut driver = chip.driver();
    assert_eq!(block_on(driver.erase(0, 100)), Err(SerialError::NotAligned));
    assert_eq!(block_on(driver.erase(16, SECTOR as u32 + 16)), Err(SerialError::NotAligned));
    assert_eq!(block_on(driver.erase(CAPACITY, CAPACITY + SECTOR as u32)), Err(SerialError::OutOfBounds));
    assert_eq!(block_on(driver.erase(SECTOR as u32, 0)), Err(SerialError::OutOfBounds));
    assert_eq!(block_on(driver.write(8, &[0; 16])), Err(SerialError::NotAligned));
    assert_eq!(block_on(driver.write(0, &[0; 15])), Err(SerialError::NotAligned));
    assert_eq!(block_on(driver.write(u32::MAX - 15, &[0; 32])), Err(SerialError::OutOfBounds));
    assert_eq!(block_on(driver.read(CAPACITY - 1, &mut [0; 2])), Err(SerialError::OutOfBounds));
    assert_eq!(block_on(driver.read(CAPACITY, &mut [])), Ok(()));
    assert_eq!(block_on(driver.write(0, &[])), Ok(()));
}

#[test]
fn a_part_that_fails_says_so_and_works_again() {
    let chip = chip();
    let mut driver = chip.driver();
    chip.mood(Mood::Fails);
    assert_eq!(block_on(driver.erase(0, SECTOR as u32)), Err(SerialError::EraseFailed));
    assert_eq!(block_on(driver.write(0, &[0; 16])), Err(SerialError::ProgramFailed));
    chip.mood(Mood::Protected);
    assert_eq!(block_on(driver.write(0, &[0; 16])), Err(SerialError::NotEnabled));
    chip.mood(Mood::Sound);
    block_on(driver.write(0, &[0; 16])).unwrap();
    assert_eq!(chip.contents()[..17], [[0; 16].as_slice(), &[0xFF]].concat());
}

#[test]
fn a_part_that_stays_busy_or_is_not_there_is_given_up() {
    let chip = chip();
    let mut driver = chip.driver();
    chip.mood(Mood::Absent);
    assert_eq!(block_on(driver.read(0, &mut [0])), Err(SerialError::Timeout));
    chip.mood(Mood::Hangs);
    let begun = chip.now_us();
    assert_eq!(block_on(driver.erase(0, SECTOR as u32)), Err(SerialError::Timeout));
    assert_eq!(chip.now_us() - begun, 4_000_000);
    assert_eq!(block_on(driver.write(SECTOR as u32, &[0; 16])), Err(SerialError::Timeout));
    chip.mood(Mood::Sound);
    block_on(driver.write(SECTOR as u32, &[0; 16])).unwrap();
}

/// The model panics where a command comes while it is busy.
#[test]
fn a_future_dropped_at_any_await_leaves_a_driver_that_waits() {
    for times in 1.. {
        let chip = chip();
        let mut driver = chip.driver();
        let change = async {
            driver.erase(0, SECTOR as u32).await?;
            driver.write(0, &[1; 512]).await
        };
        if block_on(cancel::after(&mut { times }, change)) == Some(Ok(())) {
            assert!(times > 50);
            break;
        }
        block_on(driver.erase(0, SECTOR as u32)).unwrap();
        block_on(driver.write(0, &[2; 512])).unwrap();
        let mut read = [0; 513];
        block_on(driver.read(0, &mut read)).unwrap();
        assert_eq!((&read[..512], read[512]), (&[2; 512][..], 0xFF));
    }
}
