//! Staging and confirming, with the power cut at every operation and again in what follows; judged by the bootloader.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use sprag_boot::{BootControl, Error, Layout, McuBoot, State, Swap};
use sprag_testkit::flash::{Geometry, Region, SimFlash, Torn};
use sprag_testkit::image::{McuBootImage, Version};
use sprag_testkit::mcuboot::{self, Bootloader, Mark};

const SLOT: u32 = 32 * 1024;
const SECTOR: u32 = 2048;
const TORN: [Torn; 4] = [Torn::Nothing, Torn::Half, Torn::Bits(1), Torn::Bits(2)];

struct Device {
    primary: Region,
    secondary: Region,
    layout: Layout,
    bootloader: Bootloader,
}

fn device(align: u32, erased: u8) -> Device {
    let geometry = Geometry { capacity: 2 * SLOT, write_size: align, erase_size: SECTOR, erased };
    let flash = SimFlash::in_memory(geometry);
    // As on parts with ECC; what is legal there is legal everywhere.
    flash.program_once();
    for (major, at) in [(1, 0), (2, SLOT)] {
        let version = Version { major, minor: 0, revision: 0, build: 0 };
        let image = McuBootImage { version, header_size: 32, payload: &[major; 500] };
        flash.load(at, &image.sign(&SigningKey::from_bytes(&[1; 32]))).unwrap();
    }
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let layout = Layout::new(SLOT, align, SECTOR, erased);
    let bootloader = Bootloader { primary: primary.clone(), secondary: secondary.clone(), align, key: None };
    Device { primary, secondary, layout, bootloader }
}

fn devices() -> impl Iterator<Item = Device> {
    [1, 2, 4, 8, 16, 32].into_iter().flat_map(|align| [device(align, 0xFF), device(align, 0x00)])
}

impl Device {
    fn boot(&self) -> McuBoot<Region, Region> {
        McuBoot::new(self.primary.clone(), self.secondary.clone(), self.layout)
    }

    fn reset(&self) -> (mcuboot::Swap, u8) {
        let boot = self.bootloader.boot().unwrap();
        (boot.swap, boot.running.major)
    }

    fn state(&self) -> State {
        block_on(self.boot().state()).unwrap()
    }
}

#[test]
fn a_test_swap_is_confirmed_or_reverted() {
    for device in devices() {
        let mut boot = device.boot();
        assert_eq!(device.state(), State::Settled);
        block_on(boot.stage(Swap::Test)).unwrap();
        assert_eq!(device.state(), State::Staged(Swap::Test));
        block_on(boot.stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        assert_eq!(device.state(), State::Trial);
        assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::OnTrial));
        assert_eq!(block_on(boot.unstage()), Err(Error::OnTrial));
        block_on(boot.go_back()).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Revert, 1));
        assert_eq!(device.state(), State::Settled);
        assert_eq!(block_on(boot.go_back()), Err(Error::NotOnTrial));

        block_on(boot.stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        block_on(boot.confirm()).unwrap();
        block_on(boot.confirm()).unwrap();
        assert_eq!(device.state(), State::Settled);
        assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
    }
}

#[test]
fn a_permanent_swap_needs_no_confirming_and_can_be_taken_back() {
    for device in devices() {
        let mut boot = device.boot();
        block_on(boot.stage(Swap::Permanent)).unwrap();
        assert_eq!(device.state(), State::Staged(Swap::Permanent));
        block_on(boot.unstage()).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::None, 1));
        block_on(boot.stage(Swap::Test)).unwrap();
        block_on(boot.stage(Swap::Permanent)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Permanent, 2));
        assert_eq!((device.state(), device.reset()), (State::Settled, (mcuboot::Swap::None, 2)));
    }
}

/// The bytes are those that MCUboot's own `boot_set_pending` leaves.
#[test]
fn the_trailer_is_byte_for_byte_mcuboots() {
    let device = device(4, 0xFF);
    block_on(device.boot().stage(Swap::Permanent)).unwrap();
    let slot = device.secondary.contents();
    let mut expected = [0xFF; 40];
    expected[0] = 3; // swap_info
    expected[16] = 1; // image_ok
    expected[24..].copy_from_slice(&[
        0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80,
    ]);
    assert_eq!(slot[slot.len() - 40..], expected);
    assert!(slot[SLOT as usize - 4096..slot.len() - 40].iter().all(|byte| *byte == 0xFF));
}

/// Each call, cut at each operation in each way, then again at each operation when it is made once more: at any time
/// the bootloader boots the old image or the new one, and the call can be made again.
#[test]
fn every_call_survives_a_cut_and_a_second_cut() {
    let stage_test = |device: &Device| block_on(device.boot().stage(Swap::Test));
    let stage_permanent = |device: &Device| block_on(device.boot().stage(Swap::Permanent));
    let unstage = |device: &Device| block_on(device.boot().unstage());
    let confirm = |device: &Device| block_on(device.boot().confirm());
    type Call<'a> = &'a dyn Fn(&Device) -> Result<(), Error>;
    let nothing: Call<'_> = &|_| Ok(());
    let trial: Call<'_> = &|device| {
        stage_test(device)?;
        device.reset();
        Ok(())
    };
    // A foreign trailer, full of another bootloader's bytes.
    let dirty: Call<'_> = &|device| {
        let flash = device.secondary.flash();
        flash.load(2 * SLOT - 3 * SECTOR, &[0x5A; 3 * SECTOR as usize]).unwrap();
        Ok(())
    };
    let calls: [(Call<'_>, Call<'_>, State); 6] = [
        (nothing, &stage_test, State::Staged(Swap::Test)),
        (dirty, &stage_test, State::Staged(Swap::Test)),
        (&stage_permanent, &stage_test, State::Staged(Swap::Test)),
        (dirty, &stage_permanent, State::Staged(Swap::Permanent)),
        (&stage_test, &unstage, State::Settled),
        (trial, &confirm, State::Settled),
    ];
    let mut states = 0u32;
    for (prepare, call, done) in calls {
        for fresh in devices() {
            prepare(&fresh).unwrap();
            let prepared = fresh.secondary.flash().contents();
            let flash = fresh.secondary.flash();
            let mut cut = |from: &[u8], at: u64, torn: Torn| {
                flash.load(0, from).unwrap();
                flash.cut_power_after(at, torn);
                let cut = call(&fresh).is_err();
                flash.power_on();
                let after = flash.contents();
                let (_, running) = fresh.reset();
                assert!(running == 1 || running == 2);
                states += 1;
                // The bootloader may have moved on; the call is made again as if it had not.
                flash.load(0, &after).unwrap();
                cut.then_some(after)
            };
            for torn in TORN {
                for first in 0.. {
                    let Some(after) = cut(&prepared, first, torn) else { break };
                    for second in 0.. {
                        if cut(&after, second, torn).is_none() {
                            break;
                        }
                    }
                    flash.load(0, &after).unwrap();
                    call(&fresh).unwrap();
                    assert_eq!(fresh.state(), done);
                }
            }
        }
    }
    println!("{states} states");
    assert!(states > 1_000, "{states}");
}

/// Each call, dropped at each of its awaits: the same call made again does what it is to do.
#[test]
fn every_call_survives_being_dropped() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    for (align, swap) in [1, 8, 32].into_iter().flat_map(|align| [(align, Swap::Test), (align, Swap::Permanent)]) {
        for drop_at in 1.. {
            let device = device(align, 0xFF);
            device.secondary.flash().yield_before_operations();
            let mut polls = 0;
            // As often as there are polls left; whether it came to its end.
            let mut drive = |mut call: std::pin::Pin<&mut dyn Future<Output = Result<(), Error>>>| loop {
                polls += 1;
                if polls == drop_at {
                    return false;
                }
                if let Poll::Ready(result) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    result.unwrap();
                    return true;
                }
            };
            let mut boot = device.boot();
            let staged = drive(pin!(boot.stage(swap)));
            block_on(boot.stage(swap)).unwrap();
            assert_eq!(device.state(), State::Staged(swap), "dropped at poll {drop_at}");
            device.reset();
            let confirmed = !staged || drive(pin!(boot.confirm()));
            block_on(boot.confirm()).unwrap();
            assert_eq!((device.state(), device.reset()), (State::Settled, (mcuboot::Swap::None, 2)));
            if staged && confirmed {
                break;
            }
        }
    }
}

/// What was staged for test only must not become permanent by a cut, whatever lay in the trailer.
#[test]
fn a_cut_never_makes_a_test_permanent() {
    for device in devices() {
        let flash = device.secondary.flash();
        let prepared = flash.contents();
        for torn in TORN {
            for cut in 0..100 {
                flash.load(0, &prepared).unwrap();
                flash.cut_power_after(cut, torn);
                let done = block_on(device.boot().stage(Swap::Test)).is_ok();
                flash.power_on();
                let trailer = device.bootloader.trailer(&device.secondary).unwrap();
                assert!(trailer.magic != Mark::Good || trailer.image_ok == Mark::Unset);
                if done {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_layout_that_cannot_be_is_refused() {
    let device = device(8, 0xFF);
    for align in [0, 3, 64] {
        let mut layout = device.layout;
        layout.align = align;
        let mut boot = McuBoot::new(device.primary.clone(), device.secondary.clone(), layout);
        assert_eq!(block_on(boot.state()), Err(Error::Layout));
    }
    let tiny = Layout::new(SLOT, 8, SECTOR, 0xFF).max_sectors(10_000);
    let mut boot = McuBoot::new(device.primary.clone(), device.secondary.clone(), tiny);
    assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::Layout), "a trailer larger than the slot");
    let small = device.secondary.flash().region(SLOT..SLOT + SECTOR);
    let mut boot = McuBoot::new(device.primary.clone(), small, device.layout);
    assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::Layout));
}
