//! The serial NOR driver against a model of the part: commands, status bits, pages, what goes wrong.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embassy_futures::{block_on, yield_now};
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::spi::{ErrorType, Operation, SpiDevice};
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use sprag_psoc6::{SerialError, SerialNor};
use sprag_testkit::flash::{Part, Sectors, SimFlash};

const SECTOR: usize = 4096;
const SECTORS: u32 = 8;
const CAPACITY: u32 = SECTORS * SECTOR as u32;
const ERASE_US: u64 = 520_000;
const PROGRAM_US: u64 = 340;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Sound,
    /// Nobody on the bus: everything reads as ones.
    Absent,
    /// Takes no write-enable.
    Protected,
    /// Every operation ends with its error bit.
    Fails,
    /// Never ends an operation.
    Hangs,
}

struct State {
    flash: SimFlash,
    now_us: u64,
    enabled: bool,
    errors: u8,
    busy_until: Option<u64>,
    mood: Mood,
}

/// The part, as its pins see it; its clones are the same one.
#[derive(Clone)]
struct Chip(Rc<RefCell<State>>);

impl Chip {
    fn new() -> Self {
        let flash = SimFlash::of(Part::s25fl().sectors(&[Sectors { count: SECTORS, size: SECTOR as u32 }]));
        flash.program_once();
        let state = State { flash, now_us: 0, enabled: false, errors: 0, busy_until: None, mood: Mood::Sound };
        Self(Rc::new(RefCell::new(state)))
    }

    fn mood(&self, mood: Mood) {
        self.0.borrow_mut().mood = mood;
    }

    fn driver(&self) -> SerialNor<Self, Self, SECTOR> {
        SerialNor::new(self.clone(), self.clone(), CAPACITY)
    }

    fn contents(&self) -> Vec<u8> {
        self.0.borrow().flash.contents()
    }
}

impl State {
    fn status(&mut self) -> u8 {
        if self.busy_until.is_some_and(|until| self.now_us >= until) && self.mood != Mood::Hangs {
            self.busy_until = None;
        }
        let busy = self.busy_until.is_some() || self.errors != 0;
        self.errors | u8::from(self.enabled) << 1 | u8::from(busy)
    }

    /// One selection of the chip: what went in, and what is read after it.
    fn selected(&mut self, sent: &[u8], read: &mut [u8]) {
        if self.mood == Mood::Absent {
            read.fill(0xFF);
            return;
        }
        let busy = self.status() & 1 != 0;
        let (command, rest) = sent.split_first().expect("an empty selection");
        if busy && !matches!(command, 0x05 | 0x30) {
            panic!("command {command:#x} while the part is busy: it ignores it");
        }
        let address = || u32::from_be_bytes(*rest.first_chunk().expect("an address of 4 bytes"));
        match (command, rest.len()) {
            (0x05, 0) => {
                let status = self.status();
                read.fill(status);
            }
            (0x30, 0) => self.errors = 0,
            (0x06, 0) => self.enabled = self.mood != Mood::Protected,
            (0x13, 4) => self.flash.region(address()..address() + read.len() as u32).read_now(0, read).unwrap(),
            (0xDC, 4) => {
                assert!(std::mem::take(&mut self.enabled), "not enabled");
                self.busy_until = Some(self.now_us + ERASE_US);
                if self.mood == Mood::Fails {
                    self.errors = 1 << 5;
                    return;
                }
                let start = address() - address() % SECTOR as u32;
                self.flash.region(start..start + SECTOR as u32).erase_now(0, SECTOR as u32).unwrap();
            }
            (0x12, 5..) => {
                assert!(std::mem::take(&mut self.enabled), "not enabled");
                self.busy_until = Some(self.now_us + PROGRAM_US);
                if self.mood == Mood::Fails {
                    self.errors = 1 << 6;
                    return;
                }
                let (start, data) = (address(), &rest[4..]);
                assert!(start % 256 + data.len() as u32 <= 256, "it wraps around within the page");
                self.flash.region(start..start + data.len() as u32).write_now(0, data).unwrap();
            }
            other => panic!("no such command: {other:?}"),
        }
    }
}

impl ErrorType for Chip {
    type Error = Infallible;
}

impl SpiDevice for Chip {
    async fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        yield_now().await;
        let mut sent = Vec::new();
        let mut nothing = [];
        let mut read: &mut [u8] = &mut nothing;
        for operation in operations {
            match operation {
                Operation::Write(bytes) => sent.extend_from_slice(bytes),
                Operation::Read(bytes) => read = bytes,
                other => panic!("SMIF can't do {other:?}"),
            }
        }
        self.0.borrow_mut().selected(&sent, read);
        Ok(())
    }
}

impl DelayNs for Chip {
    async fn delay_ns(&mut self, ns: u32) {
        yield_now().await;
        self.0.borrow_mut().now_us += u64::from(ns / 1000);
    }
}

#[test]
fn what_is_written_across_pages_and_sectors_is_read_back() {
    let chip = Chip::new();
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
    let chip = Chip::new();
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
    let chip = Chip::new();
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
    let chip = Chip::new();
    let mut driver = chip.driver();
    chip.mood(Mood::Absent);
    assert_eq!(block_on(driver.read(0, &mut [0])), Err(SerialError::Timeout));
    chip.mood(Mood::Hangs);
    let begun = chip.0.borrow().now_us;
    assert_eq!(block_on(driver.erase(0, SECTOR as u32)), Err(SerialError::Timeout));
    assert_eq!(chip.0.borrow().now_us - begun, 4_000_000);
    assert_eq!(block_on(driver.write(SECTOR as u32, &[0; 16])), Err(SerialError::Timeout));
    chip.mood(Mood::Sound);
    block_on(driver.write(SECTOR as u32, &[0; 16])).unwrap();
}

fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

/// The model panics where a command comes while it is busy.
#[test]
fn a_future_dropped_at_any_await_leaves_a_driver_that_waits() {
    for times in 1.. {
        let chip = Chip::new();
        let mut driver = chip.driver();
        let change = async {
            driver.erase(0, SECTOR as u32).await?;
            driver.write(0, &[1; 512]).await
        };
        if poll_times(change, times) == Some(Ok(())) {
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
