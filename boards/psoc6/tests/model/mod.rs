//! A PSoC 6 as the driver sees it: the IPC channel, the ROM behind it, the flash with its cache, and time.
//!
//! Written from the technical reference manual's rules and Infineon's driver library. Whatever would be a hard fault or
//! would corrupt memory on silicon is a panic here.

#![allow(dead_code)] // Each of the tests uses a part of it.

pub(crate) mod serial;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use embassy_futures::yield_now;
use embedded_hal_async::delay::DelayNs;
use sprag_psoc6::{Call, FLASH, Part, ROW, SRAM, SystemCalls};
use sprag_testkit::flash::{Part as Rules, Region, Sectors, SimFlash};

pub(crate) const PART: Part = Part::CY8C6XXA;
pub(crate) const SUCCESS: u32 = 0xA000_0000;
const IN_PROGRESS: u32 = 0xA000_0009;
const ERASE_US: u64 = 11_000;
const PROGRAM_US: u64 = 5_000;

/// How the ROM behaves other than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Sound,
    /// Ends every call with this status, without doing anything.
    Refuses(u32),
    /// Lets go of the channel at once, the status says that it goes on.
    LetsGoEarly,
    /// Never ends a call before this time.
    Sleeps {
        until_us: u64,
    },
}

struct State {
    flash: SimFlash,
    now_us: u64,
    /// Until when somebody else holds the channel.
    taken_until_us: u64,
    locked: bool,
    context: [u32; 4],
    row: [u8; ROW],
    addresses: [u32; 2],
    running: Option<(u64, [u32; 4])>,
    /// What the cache still says of rows that have changed.
    cached: BTreeMap<u32, [u8; ROW]>,
    mood: Mood,
    fed_at_us: Option<u64>,
    calls: Vec<[u32; 4]>,
}

/// The chip; its clones are the same one. `BLOCKING` is how it makes its calls.
#[derive(Clone)]
pub(crate) struct Chip<const BLOCKING: bool>(Rc<RefCell<State>>);

/// The chip's time, which passes only while somebody waits.
#[derive(Clone)]
pub(crate) struct Time<const BLOCKING: bool>(Chip<BLOCKING>);

/// The flash array of a part with 2 MiB, by the rules of its rows.
pub(crate) fn array() -> SimFlash {
    let rows = PART.flash / ROW as u32;
    SimFlash::of(Rules::psoc6().sectors(&[Sectors { count: rows, size: ROW as u32 }]))
}

impl<const BLOCKING: bool> Chip<BLOCKING> {
    pub(crate) fn new(flash: SimFlash) -> Self {
        Self(Rc::new(RefCell::new(State {
            flash,
            now_us: 0,
            taken_until_us: 0,
            locked: false,
            context: [0; 4],
            row: [0; ROW],
            addresses: [SRAM + 0x1000, SRAM + 0x1010],
            running: None,
            cached: BTreeMap::new(),
            mood: Mood::Sound,
            fed_at_us: None,
            calls: Vec::new(),
        })))
    }

    pub(crate) fn time(&self) -> Time<BLOCKING> {
        Time(self.clone())
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.0.borrow_mut().mood = mood;
    }

    pub(crate) fn taken_for_us(&self, us: u64) {
        let mut state = self.0.borrow_mut();
        state.taken_until_us = state.now_us + us;
    }

    pub(crate) fn place(&self, addresses: [u32; 2]) {
        self.0.borrow_mut().addresses = addresses;
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.0.borrow().now_us
    }

    /// The calls that were made since the last time, as the ROM found them.
    pub(crate) fn calls(&self) -> Vec<[u32; 4]> {
        std::mem::take(&mut self.0.borrow_mut().calls)
    }

    /// The array as it is, past cache and driver.
    pub(crate) fn region(&self, range: std::ops::Range<u32>) -> Region {
        self.0.borrow().flash.region(range)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.0.borrow().running.is_some()
    }
}

impl State {
    fn pass(&mut self, us: u64) {
        self.now_us += us;
        let Some((ends_at, words)) = self.running else { return };
        let asleep = matches!(self.mood, Mood::Sleeps { until_us } if self.now_us < until_us);
        if self.now_us < ends_at || asleep {
            return;
        }
        self.running = None;
        // Without power the ROM ends nothing, and nobody is there to see it.
        if let Some(status) = self.perform(words) {
            self.context[0] = status;
            self.locked = false;
        }
    }

    /// What the ROM makes of a call.
    fn perform(&mut self, words: [u32; 4]) -> Option<u32> {
        if let Mood::Refuses(status) = self.mood {
            return Some(status);
        }
        let (rows, address) = match (words[0] >> 24, words[1]) {
            (0x1C, address) => (1, address),
            (0x1D, address) => (8, address),
            (0x06, 0x100) => (1, words[2]),
            _ => return Some(0xF000_000B),
        };
        let length = rows * ROW as u32;
        let offset = address.wrapping_sub(FLASH);
        if offset >= PART.flash || !offset.is_multiple_of(length) {
            return Some(0xF000_0004);
        }
        let region = self.flash.region(offset..offset + length);
        for row in 0..rows {
            let mut bytes = [0; ROW];
            region.read_now(row * ROW as u32, &mut bytes).ok()?;
            self.cached.entry(offset + row * ROW as u32).or_insert(bytes);
        }
        let done = if words[0] >> 24 == 0x06 {
            if words[3] != self.addresses[1] {
                return Some(0xF000_0003);
            }
            region.write_now(0, &self.row)
        } else {
            region.erase_now(0, length)
        };
        match done {
            Ok(()) => Some(SUCCESS),
            Err(_) if self.flash.is_dead() => None,
            Err(error) => panic!("what the data sheet forbids: {error}"),
        }
    }
}

impl<const BLOCKING: bool> SystemCalls for Chip<BLOCKING> {
    const BLOCKING: bool = BLOCKING;

    fn acquire(&mut self) -> bool {
        let mut state = self.0.borrow_mut();
        if state.locked || state.now_us < state.taken_until_us {
            return false;
        }
        state.locked = true;
        true
    }

    fn start(&mut self, call: Call) {
        let mut state = self.0.borrow_mut();
        assert!(state.locked, "the channel was not acquired");
        assert!(state.running.is_none(), "the ROM is at work, and its context is overwritten");
        assert_eq!(state.fed_at_us, Some(state.now_us), "the watchdog may bite in the middle of a row");
        let words = call.words();
        assert_eq!(words[0] & 0x100 != 0, BLOCKING);
        state.context = words;
        state.calls.push(words);
        let length = if words[0] >> 24 == 0x06 { PROGRAM_US } else { ERASE_US };
        state.running = Some((state.now_us + length, words));
        if state.mood == Mood::LetsGoEarly {
            state.locked = false;
            state.context[0] = IN_PROGRESS;
        }
        if BLOCKING {
            state.pass(length);
        }
    }

    fn is_locked(&mut self) -> bool {
        self.0.borrow().locked
    }

    fn status(&mut self) -> u32 {
        self.0.borrow().context[0]
    }

    fn set_row(&mut self, data: &[u8; ROW]) {
        let mut state = self.0.borrow_mut();
        assert!(state.running.is_none(), "the ROM reads the row, and it is overwritten");
        state.row = *data;
    }

    fn addresses(&self) -> [u32; 2] {
        self.0.borrow().addresses
    }

    fn read(&mut self, address: u32, bytes: &mut [u8]) {
        let state = self.0.borrow();
        if let Some((_, words)) = state.running {
            let target = if words[0] >> 24 == 0x06 { words[2] } else { words[1] };
            let sectors = [target, address].map(|address| (address - FLASH) / PART.sector);
            assert_ne!(sectors[0], sectors[1], "hard fault: a sector is read while a row of it is changed");
        }
        let offset = address - FLASH;
        state.flash.region(offset..offset + bytes.len() as u32).read_now(0, bytes).unwrap();
        for (at, byte) in (offset..).zip(bytes) {
            if let Some(row) = state.cached.get(&(at - at % ROW as u32)) {
                *byte = row[at as usize % ROW];
            }
        }
    }

    fn clear_cache(&mut self) {
        self.0.borrow_mut().cached.clear();
    }

    fn feed_watchdog(&mut self) {
        let mut state = self.0.borrow_mut();
        state.fed_at_us = Some(state.now_us);
    }
}

impl<const BLOCKING: bool> DelayNs for Time<BLOCKING> {
    async fn delay_ns(&mut self, ns: u32) {
        yield_now().await;
        self.0.0.borrow_mut().pass(u64::from(ns.div_ceil(1000)));
    }
}
