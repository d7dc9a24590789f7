//! Sequences of calls and resets over ESP-IDF's bootloader: updates in a row, from any otadata, and every call after every
//! cut of every other one.

use std::fmt::Arguments;

use embassy_futures::block_on;
use sprag_boot::esp_idf::{App, Table};
use sprag_boot::{BootControl, Error, EspIdf, State, Swap};
use sprag_testkit::esp_idf::{ABORTED, Build, Entry, INVALID, NEW, PENDING_VERIFY, Partitions, UNDEFINED, VALID};
use sprag_testkit::esp_idf::{App as Started, EspIdf as Bootloader};
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash, Torn};

const SECTOR: u32 = 4096;
const OTADATA: u32 = SECTOR;
const APPS: u32 = 3 * SECTOR;
const TORN: [Torn; 4] = [Torn::Nothing, Torn::Half, Torn::Bits(1), Torn::Bits(2)];
const CALLS: [Call; 5] =
    [Call::Stage(Swap::Test), Call::Stage(Swap::Permanent), Call::Unstage, Call::Confirm, Call::GoBack];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Stage(Swap),
    Unstage,
    Confirm,
    GoBack,
}

/// How a device is built.
#[derive(Debug, Clone, Copy)]
struct Config {
    factory: bool,
    count: u8,
    rollback: bool,
    keep: bool,
}

struct Device {
    config: Config,
    flash: SimFlash,
    table: Table,
    bootloader: Bootloader,
}

impl Device {
    /// A device without images. Each app has a sector.
    fn new(config: Config) -> Self {
        let Config { factory, count, rollback, .. } = config;
        let row = |kind: u8, subtype: u8, offset: u32, size: u32| {
            [&[0xAA, 0x50, kind, subtype][..], &offset.to_le_bytes(), &size.to_le_bytes(), &[0; 20]].concat()
        };
        let mut rows = vec![row(1, 0, OTADATA, 2 * SECTOR)];
        rows.extend(factory.then(|| row(0, 0, APPS, SECTOR)));
        rows.extend((0..count).map(|n| row(0, 0x10 + n, APPS + SECTOR * (u32::from(n) + 1), SECTOR)));
        let capacity = APPS + SECTOR * (u32::from(count) + 1);
        let flash = SimFlash::in_memory(capacity, FlashGeometry { write_size: 4, erase_size: SECTOR, erased: 0xFF });
        flash.load(0, &rows.concat()).unwrap();
        let region = flash.region(0..capacity);
        let table = block_on(Table::read(&mut region.clone(), 0)).unwrap();
        let partitions = Partitions::read(&flash.contents()[..SECTOR as usize], capacity).unwrap();
        let build = if rollback { Build::Rollback } else { Build::Plain };
        let bootloader = Bootloader::new(region, partitions, build, |bytes| bytes[0] == 0xE9);
        Self { config, flash, table, bootloader }
    }

    /// A device whose old app runs by an entry with this number, or from `factory` without an entry.
    fn running(config: Config, seq: Option<u32>) -> (Self, App) {
        let device = Self::new(config);
        let old = match seq {
            Some(seq) => App::Ota((seq.wrapping_sub(1) % u32::from(config.count)) as u8),
            None if config.factory => App::Factory,
            None => App::Ota(0),
        };
        device.put_image(old);
        device.put_entries([seq.map(|seq| Entry::new(seq, VALID)), None]);
        assert_eq!(device.reset(), old, "{config:?}");
        (device, old)
    }

    fn put_image(&self, app: App) {
        self.flash.load(self.table.app(app).unwrap().offset, &[0xE9]).unwrap();
    }

    fn put_entries(&self, entries: [Option<Entry>; 2]) {
        for (at, entry) in [OTADATA, OTADATA + SECTOR].into_iter().zip(entries) {
            self.flash.load(at, &[0xFF; SECTOR as usize]).unwrap();
            self.flash.load(at, &entry.map_or([0xFF; 32], |entry| entry.bytes())).unwrap();
        }
    }

    /// Returns whether the bootloader goes by this entry to another app than `running`.
    fn is_of_other(&self, entry: &Entry, running: App) -> bool {
        let slot = entry.seq.wrapping_sub(1) % u32::from(self.config.count);
        let counts =
            entry.crc_fits() && entry.seq != u32::MAX && ![INVALID, ABORTED, PENDING_VERIFY].contains(&entry.state);
        counts && App::Ota(slot as u8) != running
    }

    fn reset(&self) -> App {
        match self.bootloader.boot().unwrap() {
            Some(Started::Factory) => App::Factory,
            Some(Started::Ota(index)) => App::Ota(index as u8),
            other => panic!("bricked: {other:?}, {:?}", self.bootloader.entries()),
        }
    }

    fn boot(&self, running: App) -> EspIdf<Region> {
        let mut boot = EspIdf::new(self.bootloader.flash.clone(), self.table.clone(), running).unwrap();
        if self.config.keep {
            boot = boot.keeping_the_trial();
        }
        if self.config.rollback { boot } else { boot.without_rollback() }
    }

    fn state(&self, running: App) -> State {
        block_on(self.boot(running).state()).unwrap()
    }

    fn call(&self, running: App, call: Call) -> Result<(), Error> {
        let mut boot = self.boot(running);
        block_on(async {
            match call {
                Call::Stage(swap) => boot.stage(swap).await,
                Call::Unstage => boot.unstage().await,
                Call::Confirm => boot.confirm().await,
                Call::GoBack => boot.go_back().await,
            }
        })
    }

    /// Asserts that `running` runs from now on, and that the hand-over says so.
    fn must_stay(&self, running: App, context: Arguments<'_>) {
        for _ in 0..2 {
            assert_eq!(self.state(running), State::Settled, "{context}: {:?}", self.bootloader.entries());
            assert_eq!(self.reset(), running, "{context}: {:?}", self.bootloader.entries());
        }
    }

    /// Makes a call while `running` runs, and asserts that it does what it says. The flash is then what it left.
    fn must_do(&self, running: App, call: Call, context: Arguments<'_>) {
        let before = self.state(running);
        let target = self.table.next(running);
        if let (Call::Stage(_), Some(target), true) = (call, target, before != State::Trial) {
            self.put_image(target);
        }
        let contents = self.flash.contents();
        let result = self.call(running, call);
        let context = format_args!("{context}, then {call:?} in {running:?} ({before:?})");
        let after = self.flash.snapshot();
        match call {
            Call::Stage(_) if target.is_none() => assert_eq!(result, Err(Error::NoSlot), "{context}"),
            Call::Stage(_) | Call::Unstage if before == State::Trial => {
                assert_eq!(result, Err(Error::OnTrial), "{context}");
                assert!(self.flash.contents() == contents, "{context}");
            }
            Call::Stage(swap) => {
                assert_eq!(result, Ok(()), "{context}");
                let target = target.unwrap();
                let swap = if self.config.rollback { swap } else { Swap::Permanent };
                assert_eq!(self.state(running), State::Staged(swap), "{context}");
                assert_eq!(self.reset(), target, "{context}");
                if swap == Swap::Permanent {
                    self.must_stay(target, context);
                } else {
                    assert_eq!(self.state(target), State::Trial, "{context}");
                    let trial = self.flash.snapshot();
                    assert_eq!(self.reset(), running, "{context}, unconfirmed");
                    self.must_stay(running, context);
                    self.flash.restore(&trial).unwrap();
                    assert_eq!(self.call(target, Call::Confirm), Ok(()), "{context}");
                    self.must_stay(target, context);
                }
            }
            Call::Unstage => {
                assert_eq!(result, Ok(()), "{context}");
                self.must_stay(running, context);
            }
            Call::Confirm => {
                assert_eq!(result, Ok(()), "{context}");
                if before == State::Trial {
                    self.must_stay(running, context);
                } else {
                    assert!(self.flash.contents() == contents, "{context}");
                }
            }
            Call::GoBack if before == State::Trial => {
                assert_eq!(result, Ok(()), "{context}");
                // A confirm that keeps the trial costs the old app's entry, and with it the way back to it.
                let back =
                    self.bootloader.entries().unwrap().into_iter().any(|entry| self.is_of_other(&entry, running));
                let factory = self.table.app(App::Factory).map(|partition| partition.offset as usize);
                if back || factory.is_some_and(|at| self.flash.contents()[at] == 0xE9) {
                    assert_ne!(self.reset(), running, "{context}");
                } else {
                    assert!(self.config.keep, "{context}");
                }
            }
            Call::GoBack => assert_eq!(result, Err(Error::NotOnTrial), "{context}"),
        }
        self.flash.restore(&after).unwrap();
    }
}

/// The tables: with a factory app and without one.
fn configs() -> impl Iterator<Item = Config> {
    let tables = [(true, 1), (true, 2), (false, 2), (true, 3), (false, 3), (true, 5), (false, 5), (false, 16)];
    tables.into_iter().flat_map(|(factory, count)| {
        [(true, false), (true, true), (false, false)].map(|(rollback, keep)| Config { factory, count, rollback, keep })
    })
}

/// Numbers to begin with: none, the lowest ones, and those near the end.
fn numbers(count: u8) -> Vec<Option<u32>> {
    let end = (1..=u32::from(count) + 1).map(|below| u32::MAX - below);
    [0, 1, 2].into_iter().chain(end).map(Some).chain([None]).collect()
}

/// Each call is cut at each operation in each way. Then, with zero, one and two resets in between, each call does what it
/// says.
#[test]
fn every_call_works_after_every_cut_of_every_other_one() {
    let mut sequences = 0;
    for config in configs() {
        let wide = config.count > 3;
        for seq in numbers(config.count).into_iter().filter(|seq| !wide || seq.is_none_or(|seq| seq % 7 == 0)) {
            for call in CALLS {
                sequences += cut_and_call(config, seq, call, wide);
            }
        }
    }
    println!("{sequences} sequences");
    assert!(sequences > 50_000, "{sequences}");
}

/// Cuts a call. `Confirm` and `GoBack` are made on trial; `Unstage` after a staging; others also after the other staging.
fn cut_and_call(config: Config, seq: Option<u32>, call: Call, coarse: bool) -> u32 {
    let before: &[Option<Call>] = match call {
        Call::Stage(Swap::Test) => &[None, Some(Call::Stage(Swap::Permanent))],
        Call::Stage(Swap::Permanent) => &[None, Some(Call::Stage(Swap::Test))],
        Call::Unstage => &[Some(Call::Stage(Swap::Test)), Some(Call::Stage(Swap::Permanent))],
        Call::Confirm | Call::GoBack => &[Some(Call::Stage(Swap::Test))],
    };
    let mut sequences = 0;
    for before in before {
        let (device, old) = Device::running(config, seq);
        let Some(new) = device.table.next(old) else { return 0 };
        device.put_image(new);
        let mut running = old;
        if let Some(before) = before {
            device.call(old, *before).unwrap();
        }
        if matches!(call, Call::Confirm | Call::GoBack) {
            running = device.reset();
            assert_eq!(running, new);
        }
        let start = device.flash.snapshot();
        for torn in TORN.into_iter().filter(|torn| !coarse || *torn == Torn::Bits(1)) {
            for cut in 0.. {
                device.flash.restore(&start).unwrap();
                device.flash.cut_power_after(cut, torn);
                let result = device.call(running, call);
                let dead = device.flash.is_dead();
                device.flash.power_on();
                if !dead {
                    assert!(result.is_ok() || call == Call::GoBack && !config.rollback, "{result:?}");
                    break;
                }
                let context = format_args!("{config:?} {seq:?}: {before:?}, {call:?} cut at {cut} {torn:?}");
                // What a power cut leaves is seen after a reset; without one, the call failed for another reason.
                let mut runs = running;
                for resets in 0..3 {
                    if resets > 0 {
                        runs = device.reset();
                        assert!(runs == old || runs == new, "{context}: {runs:?}");
                    }
                    let left = device.flash.snapshot();
                    for next in CALLS {
                        device.must_do(runs, next, format_args!("{context}, {resets} resets"));
                        device.flash.restore(&left).unwrap();
                        sequences += 1;
                    }
                }
            }
        }
    }
    sequences
}

/// Every sequence of four updates, each of them confirmed, not confirmed, taken back, staged without a trial, or with an
/// image that does not start.
#[test]
fn updates_in_a_row_end_as_they_should() {
    const KINDS: u32 = 5;
    for config in configs().filter(|config| config.count > 1) {
        for seq in
            numbers(config.count).into_iter().filter(|seq| config.count < 5 || seq.is_none_or(|seq| seq % 7 == 0))
        {
            for kinds in 0..KINDS.pow(4) {
                let (device, mut running) = Device::running(config, seq);
                for at in 0..4 {
                    let kind = kinds / KINDS.pow(at) % KINDS;
                    let context = format_args!("{config:?} {seq:?}: {kinds} at {at}");
                    let new = device.table.next(running).unwrap();
                    device.call(running, Call::Unstage).unwrap();
                    let bootable = if kind == 4 { 0x00 } else { 0xE9 };
                    device.flash.load(device.table.app(new).unwrap().offset, &[bootable]).unwrap();
                    assert_eq!(device.state(running), State::Settled, "{context}");
                    let swap = if kind == 3 { Swap::Permanent } else { Swap::Test };
                    device.call(running, Call::Stage(swap)).unwrap();
                    if kind == 2 {
                        device.call(running, Call::Unstage).unwrap();
                        device.must_stay(running, context);
                        continue;
                    }
                    let runs = device.reset();
                    if kind == 4 {
                        // The bootloader falls back by its own order, and may start another app than the one before.
                        if runs != running {
                            break;
                        }
                        device.call(running, Call::Unstage).unwrap();
                        device.must_stay(running, context);
                        continue;
                    }
                    assert_eq!(runs, new, "{context}");
                    match kind {
                        0 => device.call(new, Call::Confirm).unwrap(),
                        1 if config.rollback => {
                            assert_eq!(device.state(new), State::Trial, "{context}");
                            assert_eq!(device.reset(), running, "{context}");
                            device.must_stay(running, context);
                            continue;
                        }
                        _ => {}
                    }
                    device.must_stay(new, context);
                    running = new;
                }
            }
        }
    }
}

/// From any two entries, and with any one image missing: a download is not started before it is staged, and an image that
/// is not confirmed gives way to the app that staged it.
#[test]
fn an_update_from_any_otadata_has_a_way_back() {
    let mut tried = 0;
    for config in configs().filter(|config| config.count > 1 && config.count < 16) {
        let count = u32::from(config.count);
        let end = [u32::MAX - 1, u32::MAX - 2, u32::MAX - count, u32::MAX - count - 1];
        let seqs: Vec<u32> = [0, 1, 2, count, count + 1].into_iter().chain(end).collect();
        let states = [NEW, PENDING_VERIFY, VALID, INVALID, ABORTED, UNDEFINED];
        let sound = seqs.iter().flat_map(|seq| states.map(|state| Some(Entry::new(*seq, state))));
        let entries: Vec<_> = sound.chain([None, Some(Entry { crc: 1, ..Entry::new(9, VALID) })]).collect();
        let apps: Vec<App> = (0..config.count).map(App::Ota).chain(config.factory.then_some(App::Factory)).collect();
        for (index, first) in entries.iter().enumerate() {
            for (other, second) in entries.iter().enumerate() {
                // Which image is missing: another one for each pair, and none for some.
                let missing = apps.get((index + other * 3) % (apps.len() + 1));
                let device = Device::new(config);
                apps.iter().filter(|app| Some(*app) != missing).for_each(|app| device.put_image(*app));
                device.put_entries([*first, *second]);
                let context = format_args!("{config:?} {first:?} {second:?}, without {missing:?}");
                let running = device.reset();
                if device.state(running) == State::Trial {
                    device.must_do(running, Call::Confirm, context);
                    device.call(running, Call::Confirm).unwrap();
                }
                device.must_do(running, Call::Unstage, context);
                device.call(running, Call::Unstage).unwrap();
                device.put_image(device.table.next(running).unwrap());
                device.must_stay(running, format_args!("{context}, downloaded"));
                for swap in [Swap::Test, Swap::Permanent] {
                    device.must_do(running, Call::Stage(swap), context);
                }
                tried += 1;
            }
        }
    }
    println!("{tried} pairs of entries");
    assert!(tried > 10_000, "{tried}");
}

/// Staged by `esp_ota_set_boot_partition`, which gives the running app no entry, an image has a way back once it is staged
/// again.
#[test]
fn what_esp_idf_staged_without_a_way_back_is_staged_anew() {
    let config = Config { factory: false, count: 2, rollback: true, keep: false };
    let device = Device::new(config);
    device.put_image(App::Ota(1));
    device.put_entries([None, Some(Entry::new(5, INVALID))]);
    assert_eq!(device.reset(), App::Ota(1));
    device.put_image(App::Ota(0));
    device.bootloader.set_boot_partition(Started::Ota(0)).unwrap();
    let staged = device.flash.snapshot();
    assert_eq!(device.reset(), App::Ota(0));
    assert_eq!(device.reset(), App::Ota(0), "ESP-IDF's own way has no way back");
    device.flash.restore(&staged).unwrap();
    device.must_do(App::Ota(1), Call::Stage(Swap::Test), format_args!("staged by ESP-IDF"));
    device.must_do(App::Ota(1), Call::Unstage, format_args!("staged by ESP-IDF"));
}

/// Number 0 counts, and stands for the app that 2^32 would stand for.
#[test]
fn a_trial_with_number_0_is_confirmed_for_its_own_app() {
    for (count, keep) in [2, 3, 5, 16].into_iter().flat_map(|count| [(count, false), (count, true)]) {
        let device = Device::new(Config { factory: false, count, rollback: true, keep });
        (0..count).for_each(|index| device.put_image(App::Ota(index)));
        device.put_entries([Some(Entry::new(0, NEW)), None]);
        let running = device.reset();
        assert_eq!(running, App::Ota((u32::MAX % u32::from(count)) as u8));
        device.must_do(running, Call::Confirm, format_args!("{count} slots, {keep}"));
    }
}
