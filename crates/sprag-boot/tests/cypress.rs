//! Infineon's line of MCUboot, judged by its model: rows of 512 bytes, a status partition, internal and external slots.

mod common;

use common::{Campaign, image};
use embassy_futures::block_on;
use sprag_boot::mcuboot::{CypressLayout, Units};
use sprag_boot::{BootControl, Cypress, Error, State, Swap};
use sprag_testkit::cancel;
use sprag_testkit::flash::{Geometry, Region, SimFlash};
use sprag_testkit::mcuboot::{self, Cypress as Bootloader, Mark, Trailer};

const SLOT: u32 = 8 * 1024;
const STATUS: u32 = 16 * 1024;
const MAGIC: [u8; 16] =
    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];

struct Device {
    layout: CypressLayout,
    bootloader: Bootloader,
}

/// A device that runs version 1 and has version 2 in its other slot, in external flash where units are given.
fn device(external: Option<Units>, trailer_in_primary: bool, max_sectors: u32) -> Device {
    let Units { write_size, erase_size, erased } = Units::INTERNAL;
    let internal = SimFlash::in_memory(Geometry { capacity: 2 * SLOT + STATUS, write_size, erase_size, erased });
    internal.program_once();
    let mut layout = CypressLayout::new(max_sectors);
    let secondary = match external {
        Some(units) => {
            let Units { write_size, erase_size, erased } = units;
            layout = layout.external(units);
            let flash = SimFlash::in_memory(Geometry { capacity: SLOT, write_size, erase_size, erased });
            flash.program_once();
            flash.region(0..SLOT)
        }
        None => internal.region(SLOT..2 * SLOT),
    };
    internal.load(0, &image(1)).unwrap();
    secondary.flash().load(secondary.range().start, &image(2)).unwrap();
    let bootloader = Bootloader {
        primary: internal.region(0..SLOT),
        secondary,
        status: internal.region(2 * SLOT..2 * SLOT + STATUS),
        max_sectors,
        trailer_in_primary,
    };
    Device { layout, bootloader }
}

const EXTERNAL: [Units; 3] = [
    Units { write_size: 1, erase_size: 2048, erased: 0xFF },
    Units { write_size: 8, erase_size: 1024, erased: 0xFF },
    Units { write_size: 512, erase_size: 2048, erased: 0xFF },
];

fn devices() -> impl Iterator<Item = Device> {
    let external = [None].into_iter().chain(EXTERNAL.map(Some));
    external.flat_map(|external| [false, true].map(|in_primary| device(external, in_primary, 32)))
}

impl Device {
    /// Makes a call with a row of its own.
    fn with<T>(&self, call: impl AsyncFnOnce(&mut Cypress<'_, Region, Region, Region>) -> T) -> T {
        let mut row = [0; 2048];
        let Bootloader { primary, secondary, status, .. } = self.bootloader.clone();
        block_on(call(&mut Cypress::new(primary, secondary, status, self.layout, &mut row)))
    }

    fn state(&self) -> State {
        self.with(async |boot| boot.state().await).unwrap()
    }

    fn stage(&self, swap: Swap) -> Result<(), Error> {
        self.with(async |boot| boot.stage(swap).await)
    }

    fn reset(&self) -> (mcuboot::Swap, u8) {
        let boot = self.bootloader.boot().unwrap();
        (boot.swap, boot.running.major)
    }
}

#[test]
fn a_test_swap_is_confirmed_or_reverted() {
    for device in devices() {
        assert_eq!(device.state(), State::Settled);
        device.stage(Swap::Test).unwrap();
        device.stage(Swap::Test).unwrap();
        assert_eq!(device.state(), State::Staged(Swap::Test));
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        assert_eq!(device.state(), State::Trial);
        assert_eq!(device.stage(Swap::Test), Err(Error::OnTrial));
        device.with(async |boot| boot.go_back().await).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Revert, 1));
        assert_eq!(device.state(), State::Settled);
        assert_eq!(device.with(async |boot| boot.go_back().await), Err(Error::NotOnTrial));

        device.stage(Swap::Test).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        device.with(async |boot| boot.confirm().await).unwrap();
        assert_eq!(device.state(), State::Settled);
        for _ in 0..2 {
            assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
            assert_eq!(device.state(), State::Settled);
        }
    }
}

/// The bytes are those of ota-bootloader-abstraction: an internal slot takes the magic and nothing else.
#[test]
fn an_internal_slot_takes_only_the_magic_and_an_external_one_all() {
    let internal = device(None, false, 32);
    assert_eq!(internal.stage(Swap::Permanent), Err(Error::NoPermanent));
    internal.stage(Swap::Test).unwrap();
    let mut expected = [0; 512];
    expected[496..].copy_from_slice(&MAGIC);
    assert_eq!(internal.bootloader.secondary.contents()[SLOT as usize - 512..], expected);
    for units in EXTERNAL {
        let device = device(Some(units), false, 32);
        for (swap, info, image_ok) in [(Swap::Test, 2, 0xFF), (Swap::Permanent, 3, 1)] {
            device.stage(swap).unwrap();
            let mut expected = [0xFF; 512];
            (expected[472], expected[488]) = (info, image_ok);
            expected[496..].copy_from_slice(&MAGIC);
            assert_eq!(device.bootloader.secondary.contents()[SLOT as usize - 512..], expected);
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
            device.stage(Swap::Test).unwrap();
            device.bootloader.take_over().unwrap();
            let end = device.layout.external.map_or(0, |units| units.erased);
            let trailer = device.bootloader.secondary.contents()[SLOT as usize - 40..].to_vec();
            assert_eq!(trailer, [end; 40], "moved");
            assert_eq!(device.state(), State::Staged(Swap::Test), "{times}");
            device.with(async |boot| boot.unstage().await).unwrap();
            assert_eq!(device.state(), State::Settled);
            assert_eq!(device.reset(), (mcuboot::Swap::None, 1));
        }
        device.stage(Swap::Test).unwrap();
        device.bootloader.take_over().unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
    }
}

/// Whatever lies in the status partition and in the slots' own trailers, the state is what the bootloader does at the next
/// reset. What a torn cell in a slot keeps it from reverting, it reverts one reset later: it erases the cell.
#[test]
fn the_state_is_what_the_bootloader_does() {
    let marks = [Mark::Good, Mark::Unset, Mark::Bad];
    let device = device(None, false, 32);
    let flash = device.bootloader.primary.flash().clone();
    let fresh = flash.contents();
    let mut trials = 0;
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
    // Fields that decide nothing are left out: the secondary slot's copy_done, the primary slot's own magic.
    for case in 0..3usize.pow(8) {
        let mark = |digit: u32| marks[case / 3usize.pow(digit) % 3];
        flash.load(0, &fresh).unwrap();
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
        let state = device.state();
        let (swap, _) = device.reset();
        let did = match swap {
            mcuboot::Swap::Test => State::Staged(Swap::Test),
            mcuboot::Swap::Permanent => State::Staged(Swap::Permanent),
            mcuboot::Swap::Revert => State::Trial,
            _ => State::Settled,
        };
        let torn = mark(5) == Mark::Bad || mark(6) == Mark::Bad || mark(7) == Mark::Bad;
        if torn && state == State::Trial && did == State::Settled {
            trials += 1;
            assert_eq!(device.reset().0, mcuboot::Swap::Revert, "{case}");
        } else {
            assert_eq!(state, did, "{case}: {primary:?}, {secondary:?}, {:?}, {:?}, {:?}", mark(5), mark(6), mark(7));
        }
    }
    assert!(trials > 0);
}

#[test]
fn every_call_survives_a_cut_and_a_second_cut() {
    type Call<'a> = &'a dyn Fn(&Device) -> Result<(), Error>;
    let nothing: Call<'_> = &|_| Ok(());
    let stage: Call<'_> = &|device| device.stage(Swap::Test);
    let trial: Call<'_> = &|device| {
        device.stage(Swap::Test)?;
        device.reset();
        Ok(())
    };
    let dirty: Call<'_> = &|device| {
        let secondary = &device.bootloader.secondary;
        secondary.flash().load(secondary.range().end - 512, &[0x5A; 512]).unwrap();
        Ok(())
    };
    let unstage: Call<'_> = &|device| device.with(async |boot| boot.unstage().await);
    let confirm: Call<'_> = &|device| device.with(async |boot| boot.confirm().await);
    let moved: Call<'_> = &|device| {
        device.stage(Swap::Test)?;
        device.bootloader.take_over().unwrap();
        Ok(())
    };
    let calls: [(Call<'_>, Call<'_>, State); 5] = [
        (moved, unstage, State::Settled),
        (nothing, stage, State::Staged(Swap::Test)),
        (dirty, stage, State::Staged(Swap::Test)),
        (stage, unstage, State::Settled),
        (trial, confirm, State::Settled),
    ];
    let mut states = 0;
    for (prepare, call, done) in calls {
        for in_primary in [false, true] {
            let device = device(None, in_primary, 32);
            prepare(&device).unwrap();
            states += Campaign {
                flash: device.bootloader.primary.flash(),
                call: &|| call(&device),
                boot: &|| matches!(device.reset(), (_, 1 | 2)),
                cut_boot: false,
                done: &|| assert_eq!(device.state(), done),
            }
            .run();
        }
        // The slot for updates, alone in external flash.
        for units in EXTERNAL.into_iter().filter(|_| done != State::Settled) {
            let device = device(Some(units), false, 32);
            prepare(&device).unwrap();
            let primary = device.bootloader.primary.flash().clone();
            let before = primary.contents();
            states += Campaign {
                flash: device.bootloader.secondary.flash(),
                call: &|| call(&device),
                boot: &|| {
                    let boots = matches!(device.reset(), (_, 1 | 2));
                    primary.load(0, &before).unwrap();
                    boots
                },
                cut_boot: false,
                done: &|| assert_eq!(device.state(), done),
            }
            .run();
        }
    }
    println!("{states} states");
    assert!(states > 100, "{states}");
}

#[test]
fn every_call_survives_being_dropped() {
    for budget in 0.. {
        let device = device(None, true, 32);
        device.bootloader.primary.flash().yield_before_operations();
        let mut left = budget;
        let staged = device.with(async |boot| cancel::after(&mut left, boot.stage(Swap::Test)).await);
        device.stage(Swap::Test).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        let confirmed = staged.and_then(|_| device.with(async |boot| cancel::after(&mut left, boot.confirm()).await));
        device.with(async |boot| boot.confirm().await).unwrap();
        assert_eq!((device.state(), device.reset()), (State::Settled, (mcuboot::Swap::None, 2)));
        if confirmed.is_some() {
            break;
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let device = device(None, false, 32);
    let Bootloader { primary, secondary, status, .. } = device.bootloader.clone();
    let mut row = [0; 511];
    let mut small = Cypress::new(primary.clone(), secondary.clone(), status.clone(), device.layout, &mut row);
    assert_eq!(block_on(small.stage(Swap::Test)), Err(Error::Buffer { needed: 512 }));
    let mut row = [0; 512];
    let many = CypressLayout::new(u32::MAX);
    let mut boot = Cypress::new(primary, secondary, status, many, &mut row);
    assert!(block_on(boot.state()).is_err(), "a status partition larger than 4 GiB");
}
