//! An S25FL-S as its pins see it: commands, status bits, pages. What it would ignore or get wrong is a panic here.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use embassy_futures::yield_now;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::spi::{ErrorType, Operation, SpiDevice};
use sprag_psoc6::SerialNor;
use sprag_testkit::flash::{Part, Sectors, SimFlash};

pub(crate) const SECTOR: usize = 4096;
const ERASE_US: u64 = 520_000;
const PROGRAM_US: u64 = 340;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
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

/// The array of a part with so many sectors.
pub(crate) fn array(sectors: u32) -> SimFlash {
    let flash = SimFlash::of(Part::s25fl().sectors(&[Sectors { count: sectors, size: SECTOR as u32 }]));
    flash.program_once();
    flash
}

/// The part, as its pins see it; its clones are the same one.
#[derive(Clone)]
pub(crate) struct Chip(Rc<RefCell<State>>);

impl Chip {
    pub(crate) fn new(flash: SimFlash) -> Self {
        let state = State { flash, now_us: 0, enabled: false, errors: 0, busy_until: None, mood: Mood::Sound };
        Self(Rc::new(RefCell::new(state)))
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.0.borrow_mut().mood = mood;
    }

    pub(crate) fn driver(&self) -> SerialNor<Self, Self, SECTOR> {
        let capacity = self.0.borrow().flash.capacity();
        SerialNor::new(self.clone(), self.clone(), capacity)
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.0.borrow().now_us
    }

    pub(crate) fn contents(&self) -> Vec<u8> {
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
