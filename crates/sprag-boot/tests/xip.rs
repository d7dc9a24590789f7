//! Images that run where they lie, judged by MCUboot's model.

mod common;

use common::{Campaign, image};
use embassy_futures::block_on;
use sprag_boot::mcuboot::Slot;
use sprag_boot::{BootControl, DirectXip, Error, Layout, State, Swap};
use sprag_testkit::cancel;
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash};
use sprag_testkit::mcuboot::Xip;

const SLOT: u32 = 8 * 1024;
const SECTOR: u32 = 1024;

struct Device {
    layout: Layout,
    bootloader: Xip,
    /// The slot of the old image.
    old: usize,
}

/// A device that runs version 1, confirmed, and has version 2 in its other slot.
fn device(align: u32, erased: u8, old: usize, revert: bool) -> Device {
    let capacity = 2 * SLOT;
    let geometry = FlashGeometry { write_size: align, erase_size: SECTOR, erased };
    let flash = SimFlash::in_memory(capacity, geometry);
    flash.program_once();
    let slots = [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)];
    flash.load(slots[old].range().start, &image(1)).unwrap();
    flash.load(slots[1 - old].range().start, &image(2)).unwrap();
    let layout = Layout::new(geometry);
    let device = Device { layout, bootloader: Xip::new(slots, revert), old };
    if revert {
        // As `imgtool sign --pad --confirm` makes the image that is programmed at the factory: staged for good.
        let slots = &device.bootloader.slots;
        let mut factory = DirectXip::new(slots[1 - old].clone(), slots[old].clone(), Slot::Primary, layout);
        flash.load(slots[1 - old].range().start, &image(0)).unwrap();
        block_on(factory.stage(Swap::Permanent)).unwrap();
        flash.load(slots[1 - old].range().start, &image(2)).unwrap();
    }
    device
}

fn devices(revert: bool) -> impl Iterator<Item = Device> {
    let parts = [1, 4, 8, 16, 32].into_iter().flat_map(|align| [(align, 0xFF), (align, 0x00)]);
    parts.flat_map(move |(align, erased)| [0, 1].map(|old| device(align, erased, old, revert)))
}

impl Device {
    /// The hand-over, as the firmware in this slot makes it.
    fn boot(&self, running: usize) -> DirectXip<Region, Region> {
        let slot = if running == 0 { Slot::Primary } else { Slot::Secondary };
        let [running, other] = [running, 1 - running].map(|slot| self.bootloader.slots[slot].clone());
        let boot = DirectXip::new(running, other, slot, self.layout);
        if self.bootloader.revert { boot } else { boot.without_revert() }
    }

    fn flash(&self) -> &SimFlash {
        self.bootloader.slots[0].flash()
    }

    fn reset(&self) -> (usize, u8) {
        let selected = self.bootloader.boot().unwrap();
        (selected.slot, selected.running.major)
    }
}

#[test]
fn a_new_image_runs_on_trial_and_is_confirmed_or_erased() {
    for device in devices(true) {
        let (old, new) = (device.old, 1 - device.old);
        let start = device.flash().contents();
        for confirm in [true, false] {
            device.flash().load(0, &start).unwrap();
            let mut boot = device.boot(old);
            assert_eq!(block_on(boot.state()), Ok(State::Settled));
            block_on(boot.stage(Swap::Test)).unwrap();
            block_on(boot.stage(Swap::Test)).unwrap();
            assert_eq!(block_on(boot.state()), Ok(State::Staged(Swap::Test)));
            assert_eq!(device.reset(), (new, 2));
            let mut boot = device.boot(new);
            assert_eq!(block_on(boot.state()), Ok(State::Trial));
            assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::OnTrial));
            if confirm {
                block_on(boot.confirm()).unwrap();
                assert_eq!(block_on(boot.state()), Ok(State::Settled));
                assert_eq!(block_on(boot.go_back()), Err(Error::NotOnTrial));
                assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::NotNewest));
                assert_eq!(device.reset(), (new, 2));
            } else {
                block_on(boot.go_back()).unwrap();
                assert_eq!(device.reset(), (old, 1));
                assert_eq!(block_on(device.boot(old).state()), Ok(State::Settled));
            }
        }
    }
}

#[test]
fn staged_for_good_it_needs_no_confirming_and_can_be_taken_back() {
    for device in devices(true) {
        let (old, new) = (device.old, 1 - device.old);
        let mut boot = device.boot(old);
        block_on(boot.stage(Swap::Permanent)).unwrap();
        assert_eq!(block_on(boot.state()), Ok(State::Staged(Swap::Permanent)));
        block_on(boot.stage(Swap::Test)).unwrap();
        block_on(boot.unstage()).unwrap();
        assert_eq!(block_on(boot.state()), Ok(State::Settled));
        let unstaged = device.flash().contents();
        assert_eq!(device.reset(), (old, 1));
        device.flash().load(0, &unstaged).unwrap();
        block_on(boot.stage(Swap::Permanent)).unwrap();
        assert_eq!(device.reset(), (new, 2));
        assert_eq!(block_on(device.boot(new).state()), Ok(State::Settled));
        assert_eq!(device.reset(), (new, 2));
    }
}

/// Whatever is newest and whole runs: all that can be done is to take it away.
#[test]
fn without_revert_the_newest_image_is_staged_by_being_there() {
    for device in devices(false) {
        let (old, new) = (device.old, 1 - device.old);
        let start = device.flash().contents();
        let mut boot = device.boot(old);
        assert_eq!(block_on(boot.state()), Ok(State::Staged(Swap::Permanent)));
        block_on(boot.stage(Swap::Test)).unwrap();
        assert_eq!(device.flash().contents(), start, "nothing to write");
        block_on(boot.unstage()).unwrap();
        assert_eq!(block_on(boot.state()), Ok(State::Settled));
        assert_eq!(device.reset(), (old, 1));
        device.flash().load(0, &start).unwrap();
        assert_eq!(device.reset(), (new, 2));
        let mut boot = device.boot(new);
        assert_eq!((block_on(boot.state()), block_on(boot.confirm())), (Ok(State::Settled), Ok(())));
        assert_eq!(block_on(boot.stage(Swap::Permanent)), Err(Error::NotNewest));
    }
}

/// Of two images of one version the primary slot's runs, so that only there it can take over.
#[test]
fn an_image_of_the_same_version_takes_over_in_the_primary_slot_only() {
    for old in [0, 1] {
        let device = device(8, 0xFF, old, true);
        device.flash().load(device.bootloader.slots[1 - old].range().start, &image(1)).unwrap();
        let staged = block_on(device.boot(old).stage(Swap::Test));
        assert_eq!(staged, if old == 1 { Ok(()) } else { Err(Error::NotNewest) });
        assert_eq!(device.reset().0, 0);
    }
}

/// Whatever lies in both trailers, the state says which image the next reset runs.
#[test]
fn the_state_is_what_the_bootloader_selects() {
    let bytes = [1, 0xFF, 0x55];
    for old in [0, 1] {
        let device = device(8, 0xFF, old, true);
        let fresh = device.flash().contents();
        for case in 0..3usize.pow(6) {
            let digit = |n: u32| case / 3usize.pow(n) % 3;
            device.flash().load(0, &fresh).unwrap();
            for (slot, first) in [(old, 0), (1 - old, 3)] {
                let end = device.bootloader.slots[slot].range().end;
                let mut magic =
                    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
                match digit(first) {
                    0 => {}
                    1 => magic = [0xFF; 16],
                    _ => magic[3] ^= 1,
                }
                device.flash().load(end - 16, &magic).unwrap();
                device.flash().load(end - 24, &[bytes[digit(first + 1)]]).unwrap();
                device.flash().load(end - 32, &[bytes[digit(first + 2)]]).unwrap();
            }
            let state = block_on(device.boot(old).state()).unwrap();
            let ran = [(); 3].map(|()| device.bootloader.boot().map(|selected| selected.slot).ok());
            match state {
                State::Staged(Swap::Permanent) => assert_eq!(ran, [Some(1 - old); 3], "{case}"),
                State::Staged(Swap::Test) => assert_eq!(ran[0], Some(1 - old), "{case}"),
                // Not noted as selected yet, it runs once more before it is erased; another one may run before that.
                State::Trial => assert_ne!(ran[2], Some(old), "{case}"),
                // What runs without a magic is not what this bootloader would have run.
                State::Settled | State::Interrupted => assert!(ran[0] == Some(old) || digit(0) != 0, "{case}: {ran:?}"),
            }
        }
    }
}

/// The bootloader's own note that it selected the image may be missing: its write is allowed to fail.
#[test]
fn an_image_whose_selection_was_not_noted_is_confirmed_or_given_up_all_the_same() {
    for confirm in [true, false] {
        let device = device(8, 0xFF, 0, true);
        block_on(device.boot(0).stage(Swap::Test)).unwrap();
        assert_eq!(block_on(device.boot(1).state()), Ok(State::Trial));
        let mut boot = device.boot(1);
        block_on(async { if confirm { boot.confirm().await } else { boot.go_back().await } }).unwrap();
        let expected = if confirm { (1, 2) } else { (0, 1) };
        assert_eq!((device.reset(), device.reset()), (expected, expected));
    }
}

#[test]
fn every_call_survives_a_cut_and_a_second_cut() {
    let mut states = 0;
    for device in devices(true) {
        let (old, new) = (device.old, 1 - device.old);
        let flash = device.flash().clone();
        let fresh = flash.contents();
        let mut campaign = |running: usize, call: &dyn Fn() -> Result<(), Error>, done: State| {
            states += Campaign {
                flash: &flash,
                call,
                boot: &|| {
                    let (slot, version) = device.reset();
                    assert_eq!(version, if slot == old { 1 } else { 2 });
                    true
                },
                cut_boot: false,
                done: &|| assert_eq!(block_on(device.boot(running).state()), Ok(done)),
            }
            .run();
        };
        // After the reset of a cut call another image may run, and that one makes other calls.
        let or_gone = |result| if result == Err(Error::NotNewest) { Ok(()) } else { result };
        campaign(old, &|| or_gone(block_on(device.boot(old).stage(Swap::Test))), State::Staged(Swap::Test));
        flash.load(0, &fresh).unwrap();
        let permanent = State::Staged(Swap::Permanent);
        campaign(old, &|| or_gone(block_on(device.boot(old).stage(Swap::Permanent))), permanent);
        flash.load(0, &fresh).unwrap();
        block_on(device.boot(old).stage(Swap::Test)).unwrap();
        campaign(old, &|| block_on(device.boot(old).unstage()), State::Settled);
        flash.load(0, &fresh).unwrap();
        block_on(device.boot(old).stage(Swap::Test)).unwrap();
        device.reset();
        campaign(new, &|| block_on(device.boot(new).confirm()), State::Settled);
    }
    println!("{states} states");
    assert!(states > 2_000, "{states}");
}

#[test]
fn every_call_survives_being_dropped() {
    for budget in 0.. {
        let device = device(8, 0xFF, 0, true);
        device.flash().yield_before_operations();
        let mut left = budget;
        let staged = block_on(cancel::after(&mut left, device.boot(0).stage(Swap::Test)));
        block_on(device.boot(0).stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (1, 2));
        let confirmed = staged.and_then(|_| block_on(cancel::after(&mut left, device.boot(1).confirm())));
        block_on(device.boot(1).confirm()).unwrap();
        assert_eq!(device.reset(), (1, 2));
        if confirmed.is_some() {
            break;
        }
    }
}
