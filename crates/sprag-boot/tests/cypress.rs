//! Infineon's line of MCUboot, judged by its model: rows of 512 bytes, a status partition, internal and external slots.

mod common;

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use common::image;
use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use sprag_boot::mcuboot::{CypressLayout, PSOC6_INTERNAL, WholeSectors};
use sprag_boot::{BootControl, Cypress, Error, State, Swap};
use sprag_testkit::cancel;
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash, SizedRegion, Snapshot, Torn};
use sprag_testkit::mcuboot::{self, BootError, Cypress as Bootloader, Halt, InfineonRelease, Mark, Trailer};

const SLOT: u32 = 8 * 1024;
const STATUS: u32 = 12 * 512;
const SCRATCH: u32 = 4 * 1024;
const MAX_SECTORS: u32 = 64;
const MAGIC: [u8; 16] =
    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];

/// A device that runs version 1 and has version 2 in its other slot.
#[derive(Clone)]
struct Device {
    layout: CypressLayout,
    bootloader: Bootloader,
    /// The flash of the device, and of the slot for updates where that is another one.
    chips: Vec<SimFlash>,
}

/// Where the slot for updates lies: its units, and the range in the external flash.
type External = (FlashGeometry, Range<u32>);

fn device(external: Option<External>) -> Device {
    let size = external.as_ref().map_or(SLOT, |(_, range)| range.end - range.start);
    device_of(size, external, STATUS, MAX_SECTORS)
}

fn device_of(size: u32, external: Option<External>, status_size: u32, max_sectors: u32) -> Device {
    let FlashGeometry { write_size, erase_size, erased } = PSOC6_INTERNAL;
    let capacity = 2 * size + status_size + SCRATCH;
    let internal = SimFlash::in_memory(capacity, FlashGeometry { write_size, erase_size, erased });
    internal.program_once();
    let mut layout = CypressLayout::new(max_sectors);
    let mut chips = vec![internal.clone()];
    let status = internal.region(2 * size..2 * size + status_size);
    let (secondary, scratch) = match external {
        Some((units, range)) => {
            let FlashGeometry { write_size, erase_size, erased } = units;
            layout = layout.external(units, range.start);
            let scratch = range.end.next_multiple_of(erase_size);
            let capacity = scratch + erase_size.max(SCRATCH);
            let flash = SimFlash::in_memory(capacity, FlashGeometry { write_size, erase_size, erased });
            flash.program_once();
            chips.push(flash.clone());
            (flash.region(range), flash.region(scratch..capacity))
        }
        None => (internal.region(size..2 * size), internal.region(2 * size + status_size..capacity)),
    };
    internal.load(0, &image(1)).unwrap();
    secondary.flash().load(secondary.range().start, &image(2)).unwrap();
    let bootloader = Bootloader::new(internal.region(0..size), secondary, status, scratch, max_sectors);
    Device { layout, bootloader, chips }
}

fn units(write_size: u32, erase_size: u32) -> FlashGeometry {
    FlashGeometry { write_size, erase_size, erased: 0xFF }
}

/// External flash of each kind. The last two are the shapes of Infineon's `psoc6_swap_single_smif` (the trailer alone in the
/// last sector) and `psoc62_2m_ext_swap_single` (which begins within a sector, so that the trailer is alone as well).
fn externals() -> [External; 6] {
    [
        (units(1, 2048), 0..SLOT),
        (units(8, 1024), 0..SLOT),
        (units(256, 4096), 4096..4096 + SLOT),
        (units(512, 2048), 0..SLOT),
        (units(16, 4096), 0..SLOT + 512),
        (units(1, 4096), 512..512 + SLOT),
    ]
}

fn devices() -> impl Iterator<Item = Device> {
    [None].into_iter().chain(externals().map(Some)).map(device)
}

type Control<'b> = Cypress<'b, Region, WholeSectors<Region>, Region>;

impl Device {
    /// Makes a call with a row of its own.
    fn with<T>(&self, call: impl AsyncFnOnce(&mut Control<'_>) -> T) -> T {
        let mut row = [0; 512];
        let Bootloader { primary, secondary, status, .. } = self.bootloader.clone();
        let chip = secondary.flash().region(0..secondary.flash().capacity());
        let erase_size = chip.flash().geometry().erase_size;
        let secondary = WholeSectors::new(chip, secondary.range(), erase_size);
        block_on(call(&mut Cypress::new(primary, secondary, status, self.layout, &mut row)))
    }

    fn state(&self) -> State {
        self.with(async |boot| boot.state().await).unwrap()
    }

    fn call(&self, call: Call) -> Result<(), Error> {
        self.with(async |boot| match call {
            Call::Stage(swap) => boot.stage(swap).await,
            Call::Unstage => boot.unstage().await,
            Call::Confirm => boot.confirm().await,
            Call::GoBack => boot.go_back().await,
        })
    }

    /// A reset that comes to its end: what was done, and the version that runs. A firmware that runs never reads
    /// "interrupted".
    fn reset(&self) -> (mcuboot::Swap, u8) {
        let boot = self.bootloader.run().unwrap();
        assert_ne!(self.state(), State::Interrupted);
        (boot.swap, boot.running.major)
    }

    fn save(&self) -> Vec<Snapshot> {
        self.chips.iter().map(SimFlash::snapshot).collect()
    }

    fn restore(&self, saved: &[Snapshot]) {
        for (chip, saved) in self.chips.iter().zip(saved) {
            chip.power_on();
            chip.restore(saved).unwrap();
        }
    }

    /// Cuts the power in every operation of `life`, in every way, and hands each state that is left to `look`, once.
    fn cut(&self, start: &[Snapshot], life: impl Fn(), mut look: impl FnMut()) -> usize {
        let mut seen = HashSet::new();
        for chip in &self.chips {
            for torn in Torn::WAYS {
                for at in 0.. {
                    self.restore(start);
                    chip.cut_power_after(at, torn);
                    life();
                    if !chip.is_dead() {
                        break;
                    }
                    chip.power_on();
                    let left: Vec<_> = self.save().iter().map(Snapshot::digest).collect();
                    if seen.insert(left) {
                        look();
                    }
                }
            }
        }
        self.restore(start);
        seen.len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Stage(Swap),
    Unstage,
    Confirm,
    GoBack,
}

const CALLS: [Call; 5] =
    [Call::Stage(Swap::Test), Call::Stage(Swap::Permanent), Call::Unstage, Call::Confirm, Call::GoBack];

#[test]
fn a_test_swap_is_confirmed_or_reverted() {
    for device in devices() {
        assert_eq!(device.state(), State::Settled);
        device.call(Call::Stage(Swap::Test)).unwrap();
        device.call(Call::Stage(Swap::Test)).unwrap();
        assert_eq!(device.state(), State::Staged(Swap::Test));
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        assert_eq!(device.state(), State::Trial);
        assert_eq!(device.call(Call::Stage(Swap::Test)), Err(Error::OnTrial));
        device.call(Call::GoBack).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Revert, 1));
        assert_eq!(device.state(), State::Settled);
        assert_eq!(device.call(Call::GoBack), Err(Error::NotOnTrial));

        device.call(Call::Stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        device.call(Call::Confirm).unwrap();
        assert_eq!(device.state(), State::Settled);
        for _ in 0..2 {
            assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
            assert_eq!(device.state(), State::Settled);
        }
    }
}

/// Updates one after another: tested and confirmed, reverted, for good, with a new image in the slot each time.
#[test]
fn updates_follow_each_other() {
    let lives = [[2, 2, 2], [2, 1, 2], [1, 2, 2], [1, 1, 2], [3, 2, 1], [2, 3, 2], [3, 3, 3], [1, 3, 1]];
    for (device, life) in devices().flat_map(|device| lives.map(|life| (device.clone(), life))) {
        let start = device.save();
        let mut running = 1;
        for (update, kind) in life.into_iter().enumerate() {
            let version = update as u8 + 2;
            device.call(Call::Unstage).unwrap();
            device.download(&image(version));
            let permanent = kind == 3 && device.layout.external.is_some();
            let swap = if permanent { Swap::Permanent } else { Swap::Test };
            device.call(Call::Stage(swap)).unwrap();
            assert_eq!(device.state(), State::Staged(swap));
            let did = if permanent { mcuboot::Swap::Permanent } else { mcuboot::Swap::Test };
            assert_eq!(device.reset(), (did, version));
            if permanent {
                running = version;
            } else {
                assert_eq!(device.state(), State::Trial);
                if kind == 1 {
                    assert_eq!(device.reset(), (mcuboot::Swap::Revert, running));
                } else {
                    device.call(Call::Confirm).unwrap();
                    running = version;
                }
            }
            assert_eq!((device.state(), device.reset()), (State::Settled, (mcuboot::Swap::None, running)), "{life:?}");
        }
        device.restore(&start);
    }
}

impl Device {
    /// Puts an image into the slot for updates as the slot writer does: the sectors of the room are erased, and written.
    fn download(&self, image: &[u8]) {
        let Bootloader { secondary, .. } = &self.bootloader;
        let (write_size, erased) = (secondary.flash().geometry().write_size, secondary.flash().geometry().erased);
        let mut padded = image.to_vec();
        padded.resize(image.len().next_multiple_of(write_size as usize), erased);
        let room = self.with(async |boot| boot.image_region());
        assert!(padded.len() as u32 <= room.end - room.start);
        let chip = secondary.flash().region(0..secondary.flash().capacity());
        let erase_size = chip.flash().geometry().erase_size;
        let mut slot = WholeSectors::new(chip, secondary.range(), erase_size);
        block_on(async {
            slot.erase(room.start, room.end).await.unwrap();
            slot.write(room.start, &padded).await.unwrap();
        });
    }
}

/// The bytes are those of ota-bootloader-abstraction: an internal slot takes the magic and nothing else.
#[test]
fn an_internal_slot_takes_only_the_magic_and_an_external_one_all() {
    let internal = device(None);
    assert_eq!(internal.call(Call::Stage(Swap::Permanent)), Err(Error::NoPermanent));
    internal.call(Call::Stage(Swap::Test)).unwrap();
    let mut expected = [0; 512];
    expected[496..].copy_from_slice(&MAGIC);
    assert_eq!(internal.bootloader.secondary.contents()[SLOT as usize - 512..], expected);
    for external in externals() {
        let device = device(Some(external));
        for (swap, info, image_ok) in [(Swap::Test, 2, 0xFF), (Swap::Permanent, 3, 1)] {
            device.call(Call::Stage(swap)).unwrap();
            let mut expected = [0xFF; 512];
            (expected[472], expected[488]) = (info, image_ok);
            expected[496..].copy_from_slice(&MAGIC);
            let contents = device.bootloader.secondary.contents();
            assert_eq!(contents[contents.len() - 512..], expected);
            assert_eq!(device.state(), State::Staged(swap));
        }
        assert_eq!(device.reset(), (mcuboot::Swap::Permanent, 2));
        assert_eq!((device.state(), device.reset()), (State::Settled, (mcuboot::Swap::None, 2)));
    }
}

/// What the bootloader has taken over into the status partition, before a reset cut it off, is found there, and taken
/// back there.
#[test]
fn what_was_moved_into_the_status_partition_counts() {
    for device in devices() {
        for times in 1..4 {
            device.call(Call::Stage(Swap::Test)).unwrap();
            device.bootloader.take_over().unwrap();
            let erased = device.layout.external.map_or(0, |units| units.erased);
            let contents = device.bootloader.secondary.contents();
            assert_eq!(contents[contents.len() - 40..], [erased; 40], "moved");
            assert_eq!(device.state(), State::Staged(Swap::Test), "{times}");
            device.call(Call::Unstage).unwrap();
            assert_eq!(device.state(), State::Settled);
            assert_eq!(device.reset(), (mcuboot::Swap::None, 1));
        }
        device.call(Call::Stage(Swap::Test)).unwrap();
        device.bootloader.take_over().unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
    }
}

/// Whatever lies in the status partition and in the slots' own trailers, the state is what the bootloader does at the next
/// reset. What was on trial can be given up: the reset brings the old image back.
#[test]
fn the_state_is_what_the_bootloader_does() {
    let marks = [Mark::Good, Mark::Unset, Mark::Bad];
    let device = device(None);
    let flash = device.bootloader.primary.flash().clone();
    let fresh = device.save();
    let slot_row = |magic: Mark, image_ok: Mark| {
        let mut row = [0; 32];
        row[8] = match image_ok {
            Mark::Good => 1,
            Mark::Unset => 0,
            Mark::Bad => 0x54,
        };
        if magic != Mark::Unset {
            row[16..].copy_from_slice(&MAGIC);
            row[20] ^= if magic == Mark::Bad { 0x10 } else { 0 };
        }
        row
    };
    let mut given_up = 0;
    // Fields that decide nothing are left out: the secondary slot's copy_done, the primary slot's own magic.
    for case in 0..3usize.pow(8) {
        let mark = |digit: u32| marks[case / 3usize.pow(digit) % 3];
        device.restore(&fresh);
        let primary = Trailer { magic: mark(0), image_ok: mark(1), copy_done: mark(2) };
        let secondary = Trailer { magic: mark(3), image_ok: mark(4), copy_done: Mark::Unset };
        let unset = Trailer { magic: Mark::Unset, image_ok: Mark::Unset, copy_done: Mark::Unset };
        for (slot, trailer) in [(0, primary), (1, secondary)] {
            if trailer != unset {
                device.bootloader.put_status(slot, trailer).unwrap();
            }
        }
        flash.load(2 * SLOT - 32, &slot_row(mark(5), mark(6))).unwrap();
        flash.load(SLOT - 32, &slot_row(Mark::Unset, mark(7))).unwrap();
        let saved = device.save();
        let state = device.state();
        let did = match device.reset().0 {
            mcuboot::Swap::Test => State::Staged(Swap::Test),
            mcuboot::Swap::Permanent => State::Staged(Swap::Permanent),
            mcuboot::Swap::Revert => State::Trial,
            _ => State::Settled,
        };
        assert_eq!(state, did, "{case}: {primary:?}, {secondary:?}, {:?}, {:?}, {:?}", mark(5), mark(6), mark(7));
        device.restore(&saved);
        if device.call(Call::GoBack).is_ok() {
            given_up += 1;
            assert_eq!(device.reset().0, mcuboot::Swap::Revert, "{case}: given up");
        }
    }
    assert!(given_up > 0);
}

/// A flag of the primary slot that is neither erased nor set: the bootloader reverts at no reset, and so nothing is on trial.
#[test]
fn a_torn_flag_of_the_running_image_leaves_nothing_on_trial() {
    for flag in [0x55, 0x03, 0x80, 0xFF] {
        for device in devices() {
            device.call(Call::Stage(Swap::Test)).unwrap();
            assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
            let primary = device.bootloader.primary.range();
            device.chips[0].load(primary.end - 24, &[flag]).unwrap();
            assert_eq!(device.state(), State::Settled);
            assert_eq!(device.call(Call::GoBack), Err(Error::NotOnTrial));
            device.call(Call::Confirm).unwrap();
            for _ in 0..3 {
                assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
            }
            device.call(Call::Unstage).unwrap();
            device.call(Call::Stage(Swap::Test)).unwrap();
            assert_eq!(device.reset(), (mcuboot::Swap::Test, 1));
            assert_eq!(device.reset(), (mcuboot::Swap::Revert, 2));
        }
    }
}

/// A row with a fitting CRC and another magic is no record.
#[test]
fn a_record_without_its_magic_does_not_count() {
    let device = device(None);
    let status = device.bootloader.status.range().start;
    device
        .bootloader
        .put_status(1, Trailer { magic: Mark::Good, image_ok: Mark::Good, copy_done: Mark::Unset })
        .unwrap();
    assert_eq!(device.state(), State::Staged(Swap::Permanent));
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let contents = device.bootloader.status.contents();
    for at in (0..contents.len()).step_by(512) {
        let mut row = contents[at..at + 512].to_vec();
        row[500] ^= 0x11;
        let sum = crc.checksum(&row[..508]);
        row[508..].copy_from_slice(&sum.to_le_bytes());
        device.chips[0].load(status + at as u32, &row).unwrap();
    }
    assert_eq!(device.state(), State::Settled);
    assert_eq!(device.reset(), (mcuboot::Swap::None, 1));
}

/// What must come of a call that was not cut, made by a firmware of version `running`. Returns whether it was refused.
fn judge(device: &Device, call: Call, running: u8) -> bool {
    let other = 3 - running;
    let state = device.state();
    match (call, device.call(call)) {
        (Call::Stage(swap), Ok(())) => {
            assert_eq!(device.state(), State::Staged(swap));
            let did = if swap == Swap::Test { mcuboot::Swap::Test } else { mcuboot::Swap::Permanent };
            assert_eq!(device.reset(), (did, other));
            if swap == Swap::Test {
                assert_eq!(device.state(), State::Trial);
                assert_eq!(device.reset(), (mcuboot::Swap::Revert, running), "not confirmed");
            } else {
                assert_eq!(device.reset(), (mcuboot::Swap::None, other));
            }
        }
        (Call::Unstage, Ok(())) => {
            assert_eq!(device.state(), State::Settled);
            for _ in 0..2 {
                assert_eq!(device.reset(), (mcuboot::Swap::None, running));
            }
        }
        (Call::Confirm, Ok(())) if matches!(state, State::Staged(_)) => assert_eq!(device.state(), state),
        (Call::Confirm, Ok(())) => {
            assert_eq!(device.state(), State::Settled);
            for _ in 0..2 {
                assert_eq!(device.reset(), (mcuboot::Swap::None, running));
            }
        }
        (Call::GoBack, Ok(())) => assert_eq!(device.reset(), (mcuboot::Swap::Revert, other)),
        (Call::Stage(Swap::Permanent), Err(Error::NoPermanent)) => assert_eq!(device.layout.external, None),
        (Call::Stage(_) | Call::Unstage, Err(Error::OnTrial)) => assert_eq!(state, State::Trial),
        (Call::GoBack, Err(Error::NotOnTrial)) => assert_ne!(state, State::Trial),
        (call, result) => panic!("{call:?} in {state:?}: {result:?}"),
    }
    assert_eq!(device.state(), device.state());
    matches!(device.state(), State::Settled)
}

/// Every call, cut at every operation; then none, one or two resets; then each call, and what comes of it.
#[test]
fn after_a_cut_call_any_other_does_what_it_says() {
    let mut states = 0;
    for device in devices() {
        for (prepared, running) in [(None, 1), (Some(Call::Stage(Swap::Test)), 1), (Some(Call::Confirm), 2)] {
            // On trial where it is to be confirmed.
            let fresh = device.save();
            match prepared {
                Some(Call::Confirm) => {
                    device.call(Call::Stage(Swap::Test)).unwrap();
                    device.reset();
                }
                Some(call) => device.call(call).unwrap(),
                None => {}
            }
            let start = device.save();
            for cut in CALLS {
                let life = || {
                    let _ = device.call(cut);
                };
                states += device.cut(&start, life, || {
                    let left = device.save();
                    for resets in 0..3 {
                        let mut runs = running;
                        device.restore(&left);
                        for _ in 0..resets {
                            runs = device.reset().1;
                        }
                        let reached = device.save();
                        for call in CALLS {
                            device.restore(&reached);
                            judge(&device, call, runs);
                        }
                    }
                    device.restore(&left);
                });
            }
            device.restore(&fresh);
        }
    }
    println!("{states} states");
    assert!(states > 100, "{states}");
}

/// `stage(Permanent)`, cut behind its flags and before its magic: the bootloader moves `image_ok` into its record at the next
/// reset, without any magic. A staging for a test after that is one for a test.
#[test]
fn a_test_after_a_cut_permanent_staging_ends_as_it_should() {
    let mut taken_over = 0;
    for device in externals().map(|external| device(Some(external))) {
        let start = device.save();
        let life = || {
            let _ = device.call(Call::Stage(Swap::Permanent));
        };
        device.cut(&start, life, || {
            let left = device.save();
            for unstage in [false, true] {
                device.restore(&left);
                if device.reset() != (mcuboot::Swap::None, 1) {
                    continue;
                }
                let record = device.bootloader.state(1).unwrap().trailer;
                taken_over += u32::from(record.image_ok == Mark::Good);
                if unstage {
                    device.call(Call::Unstage).unwrap();
                    device.download(&image(2));
                }
                device.call(Call::Stage(Swap::Test)).unwrap();
                assert_eq!(device.state(), State::Staged(Swap::Test));
                assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
                assert_eq!(device.state(), State::Trial);
                assert_eq!(device.reset(), (mcuboot::Swap::Revert, 1));
            }
            device.restore(&left);
        });
    }
    assert!(taken_over > 0, "no cut left a flag without a magic");
}

/// The power is cut in every operation of a swap, of a revert and of a swap for good. The state that is left reads as it is,
/// and nothing may be changed in a swap under way; the next reset completes it, or has never begun it.
#[test]
fn a_swap_that_was_cut_off_is_interrupted_and_completed() {
    let mut interrupted = 0;
    // In large units: each of them is an operation to be cut.
    let devices = [None, Some((units(512, 2048), 0..SLOT)), Some((units(512, 4096), 512..512 + SLOT))].map(device);
    for (index, device) in devices.into_iter().enumerate() {
        for kind in [Call::Stage(Swap::Test), Call::Stage(Swap::Permanent), Call::GoBack] {
            let fresh = device.save();
            let (new, done) = match kind {
                Call::Stage(Swap::Permanent) if device.layout.external.is_none() => continue,
                Call::Stage(swap) => {
                    device.call(kind).unwrap();
                    (2, if swap == Swap::Test { State::Trial } else { State::Settled })
                }
                _ => {
                    device.call(Call::Stage(Swap::Test)).unwrap();
                    device.reset();
                    (1, State::Settled)
                }
            };
            let start = device.save();
            let life = || match device.bootloader.boot() {
                Ok(_) | Err(BootError::Flash(_)) => {}
                Err(error) => panic!("{error}"),
            };
            device.cut(&start, life, || {
                let left = device.save();
                let state = device.state();
                if state == State::Interrupted {
                    interrupted += 1;
                    for call in CALLS {
                        let refused = match call {
                            Call::Stage(Swap::Permanent) if device.layout.external.is_none() => Error::NoPermanent,
                            _ => Error::SwapInterrupted,
                        };
                        assert_eq!(device.call(call), Err(refused), "{call:?}");
                    }
                }
                assert_eq!(
                    device.save().iter().map(Snapshot::digest).collect::<Vec<_>>(),
                    left.iter().map(Snapshot::digest).collect::<Vec<_>>(),
                    "a call that is refused writes nothing"
                );
                // A test that was complete, before the new image came to run, is reverted.
                let end = if state == State::Trial { (1, State::Settled) } else { (new, done) };
                let (_, runs) = device.reset();
                assert_eq!((runs, device.state()), end, "{index} {kind:?} {state:?}");
                device.restore(&left);
            });
            device.restore(&fresh);
        }
    }
    println!("{interrupted} states of an interrupted swap");
    assert!(interrupted > 100, "{interrupted}");
}

#[test]
fn every_call_survives_being_dropped() {
    for budget in 0.. {
        let device = device(None);
        device.bootloader.primary.flash().yield_before_operations();
        let mut left = budget;
        let staged = device.with(async |boot| cancel::after(&mut left, boot.stage(Swap::Test)).await);
        device.call(Call::Stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        let confirmed = staged.and_then(|_| device.with(async |boot| cancel::after(&mut left, boot.confirm()).await));
        device.call(Call::Confirm).unwrap();
        assert_eq!((device.state(), device.reset()), (State::Settled, (mcuboot::Swap::None, 2)));
        if confirmed.is_some() {
            break;
        }
    }
}

/// Older releases of the line, and one that bootstraps.
#[test]
fn every_release_ends_a_test_in_the_same_way() {
    for release in [InfineonRelease::V1_9_0, InfineonRelease::V1_9_4, InfineonRelease::V1_9_7] {
        for bootstrap in [false, true] {
            let mut device = device(None);
            (device.bootloader.release, device.bootloader.bootstrap) = (release, bootstrap);
            device.call(Call::Stage(Swap::Test)).unwrap();
            assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
            assert_eq!(device.reset(), (mcuboot::Swap::Revert, 1));
            device.call(Call::Stage(Swap::Test)).unwrap();
            assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
            device.call(Call::Confirm).unwrap();
            assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
            // The image in the slot that runs is gone.
            device.bootloader.primary.erase_now(0, 512).unwrap();
            match device.bootloader.run() {
                Ok(boot) => assert_eq!((bootstrap, boot.running.major), (true, 1)),
                Err(halt) => assert_eq!((bootstrap, halt), (false, Halt::NoBootableImage("no image"))),
            }
        }
    }
}

/// The room ends where the sectors of the trailer begin, counted from the start of the flash.
#[test]
fn the_room_is_everything_before_the_trailers_sectors() {
    let rooms =
        devices().map(|device| device.with(async |boot| boot.image_region())).map(|room| (room.start, room.end));
    let expected = [SLOT - 512, SLOT - 2048, SLOT - 1024, SLOT - 4096, SLOT - 2048, SLOT, SLOT - 512];
    assert_eq!(rooms.collect::<Vec<_>>(), expected.map(|end| (0, end)));
}

/// Infineon's own external maps, with their sectors of 256 KiB: `psoc6_swap_single_smif` and `psoc62_2m_ext_swap_single`.
#[test]
fn infineons_external_maps_can_be_staged() {
    const SECTOR: u32 = 0x4_0000;
    for (slot, room, first, max_sectors) in
        [(0..0x4_0200, 0x4_0000, SECTOR, 1024), (0x200..0x1C_0200, 0x1B_FE00, SECTOR - 0x200, 3600)]
    {
        let copies = 6 * 512 * (max_sectors / 500 + 2);
        let device = device_of(slot.end - slot.start, Some((units(256, SECTOR), slot.clone())), copies, max_sectors);
        let chip = device.chips[1].region(0..device.chips[1].capacity());
        assert_eq!(WholeSectors::new(chip, slot, SECTOR).first_sector(), first);
        assert_eq!(device.with(async |boot| boot.image_region()).end, room);
        device.call(Call::Unstage).unwrap();
        device.call(Call::Stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        assert_eq!(device.state(), State::Trial);
        assert_eq!(device.reset(), (mcuboot::Swap::Revert, 1));
        device.call(Call::Stage(Swap::Permanent)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Permanent, 2));
        assert!(device.chips.iter().all(|chip| chip.violations().is_empty()));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let internal = device(None);
    let Bootloader { primary, secondary, status, .. } = internal.bootloader.clone();
    let mut row = [0; 511];
    let mut small = Cypress::new(primary.clone(), secondary.clone(), status.clone(), internal.layout, &mut row);
    assert_eq!(block_on(small.stage(Swap::Test)), Err(Error::Buffer { needed: 512 }));
    let mut row = [0; 512];
    let many = CypressLayout::new(u32::MAX);
    let mut boot = Cypress::new(primary, secondary, status, many, &mut row);
    assert!(block_on(boot.state()).is_err(), "a status partition larger than 4 GiB");

    // A driver that erases whole sectors, over a slot that is not made of them.
    let device = device(Some((units(16, 4096), 0..SLOT + 512)));
    let Bootloader { primary, secondary, status, .. } = device.bootloader.clone();
    let secondary: SizedRegion<16, 4096> = secondary.sized();
    let mut boot = Cypress::new(primary, secondary, status, device.layout, &mut row);
    for call in [block_on(boot.stage(Swap::Test)), block_on(boot.unstage())] {
        assert_eq!(call, Err(Error::PartialSector));
    }
    assert_eq!(device.chips[1].stats().erases, 0);
}

/// What erases a short sector erases all of it, and what begins or ends elsewhere is refused.
#[test]
fn a_slot_in_whole_sectors() {
    let flash = SimFlash::in_memory(4 * 4096, FlashGeometry { write_size: 16, erase_size: 4096, erased: 0xFF });
    flash.load(0, &[0; 4 * 4096]).unwrap();
    let slot = RefCell::new(WholeSectors::new(flash.region(0..4 * 4096), 512..8192 + 1024, 4096));
    let erase = |from, to| block_on(slot.borrow_mut().erase(from, to)).is_ok();
    assert_eq!((slot.borrow().capacity(), slot.borrow().first_sector()), (8192 + 512, 4096 - 512));
    for (from, to) in [(512, 3584), (0, 3000), (0, 4096), (3584, 8192), (0, 8192 + 1024), (8192, 7680)] {
        assert!(!erase(from, to), "{from}..{to}");
    }
    assert_eq!(flash.stats().erases, 0);
    let erased = || flash.contents().chunks(4096).map(|sector| sector == [0xFF; 4096]).collect::<Vec<_>>();
    assert!(erase(7680, 8704));
    assert_eq!(erased(), [false, false, true, false]);
    assert!(erase(0, 3584));
    assert_eq!(erased(), [true, false, true, false]);
    assert!(block_on(slot.borrow_mut().write(16, &[7; 16])).is_ok());
    assert!(block_on(slot.borrow_mut().write(8704, &[7; 16])).is_err());
    let mut read = [0; 16];
    block_on(slot.borrow_mut().read(16, &mut read)).unwrap();
    assert_eq!((read, flash.contents()[528]), ([7; 16], 7));
}
