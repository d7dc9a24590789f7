//! Staging and confirming where images are swapped or copied, with the power cut at every operation and again in what
//! follows; judged by the bootloader.

mod common;

use common::{Campaign, TORN, image};
use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag_boot::{Area, BootControl, Error, ImageRegion, Layout, McuBoot, Method, State, Swap};
use sprag_testkit::cancel;
use sprag_testkit::flash::{FlashError, FlashGeometry, Region, SimFlash, Torn};
use sprag_testkit::mcuboot::{self, Bootloader, Mark, Trailer};

const SLOT: u32 = 32 * 1024;
const SECTOR: u32 = 2048;
const SCRATCH: u32 = 2 * SECTOR;

struct Device {
    primary: Region,
    secondary: Region,
    layout: Layout,
    bootloader: Bootloader,
}

fn device(align: u32, erased: u8, method: Method) -> Device {
    let capacity = 2 * SLOT + SCRATCH;
    let geometry = FlashGeometry { write_size: align, erase_size: SECTOR, erased };
    let flash = SimFlash::in_memory(capacity, geometry);
    // As on parts with ECC; what is legal there is legal everywhere.
    flash.program_once();
    let layout = Layout::new(geometry).method(method);
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let room = McuBoot::new(primary.clone(), secondary.clone(), layout).image_region();
    flash.load(0, &image(1)).unwrap();
    flash.load(SLOT + room.start, &image(2)).unwrap();
    let model = match method {
        Method::Offset => mcuboot::Method::Offset,
        Method::Overwrite => mcuboot::Method::Overwrite,
        Method::Scratch => mcuboot::Method::Scratch(flash.region(2 * SLOT..2 * SLOT + SCRATCH)),
        _ => mcuboot::Method::Move,
    };
    let bootloader = Bootloader::new(primary.clone(), secondary.clone(), model);
    Device { primary, secondary, layout, bootloader }
}

const SWAPPING: [Method; 3] = [Method::Move, Method::Scratch, Method::Offset];

fn devices(methods: &[Method]) -> impl Iterator<Item = Device> {
    let parts = [1, 2, 4, 8, 16, 32].into_iter().flat_map(|align| [(align, 0xFF), (align, 0x00)]);
    parts.flat_map(|(align, erased)| methods.iter().map(move |method| device(align, erased, *method)))
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
    for device in devices(&SWAPPING) {
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
    for device in devices(&SWAPPING) {
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

/// There is no trial, however it was asked for, and the state says so.
#[test]
fn what_is_copied_over_the_old_image_stays() {
    for device in devices(&[Method::Overwrite]) {
        for swap in [Swap::Test, Swap::Permanent] {
            let mut boot = device.boot();
            block_on(boot.stage(swap)).unwrap();
            assert_eq!(device.state(), State::Staged(Swap::Permanent));
            block_on(boot.unstage()).unwrap();
            assert_eq!(device.reset(), (mcuboot::Swap::None, 1));
        }
        block_on(device.boot().stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Permanent, 2));
        assert_eq!(device.state(), State::Settled);
        block_on(device.boot().confirm()).unwrap();
        assert_eq!(block_on(device.boot().go_back()), Err(Error::NotOnTrial));
        assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
    }
}

/// Whatever lies in both trailers, the state is what MCUboot's table decides at the next reset.
#[test]
fn the_state_is_what_mcuboots_table_decides() {
    let marks = [Mark::Good, Mark::Unset, Mark::Bad];
    let trailers: Vec<Trailer> = marks
        .iter()
        .flat_map(|magic| marks.iter().flat_map(|image_ok| marks.map(|copy_done| (*magic, *image_ok, copy_done))))
        .map(|(magic, image_ok, copy_done)| Trailer { magic, image_ok, copy_done })
        .collect();
    for device in devices(&[Method::Move, Method::Offset, Method::Overwrite]) {
        let (align, erased) = (device.layout.geometry.write_size, device.layout.geometry.erased);
        let cell = align.max(8);
        let image_ok = (SLOT - 16 - cell) / cell * cell;
        let blank = vec![erased; (SLOT - image_ok + cell) as usize];
        let put = |slot: &Region, trailer: &Trailer| {
            let (flash, start) = (slot.flash(), slot.range().start);
            flash.load(start + image_ok - cell, &blank).unwrap();
            let byte = |mark| match mark {
                Mark::Good => 1,
                Mark::Unset => erased,
                Mark::Bad => 0x55,
            };
            let mut magic = match trailer.magic {
                Mark::Unset => vec![erased; 16],
                _ => expected_magic(align),
            };
            magic[7] ^= if trailer.magic == Mark::Bad { 0x10 } else { 0 };
            flash.load(start + image_ok, &[byte(trailer.image_ok)]).unwrap();
            flash.load(start + image_ok - cell, &[byte(trailer.copy_done)]).unwrap();
            flash.load(start + SLOT - 16, &magic).unwrap();
        };
        for (primary, secondary) in trailers.iter().flat_map(|p| trailers.iter().map(move |s| (p, s))) {
            put(&device.primary, primary);
            put(&device.secondary, secondary);
            let decided = match device.bootloader.decide(*primary, *secondary) {
                mcuboot::Swap::Test | mcuboot::Swap::Permanent if device.layout.method == Method::Overwrite => {
                    State::Staged(Swap::Permanent)
                }
                mcuboot::Swap::Test => State::Staged(Swap::Test),
                mcuboot::Swap::Permanent => State::Staged(Swap::Permanent),
                // The secondary slot is marked for the revert.
                mcuboot::Swap::Revert
                    if device.layout.method == Method::Offset
                        && (secondary.magic, secondary.image_ok, secondary.copy_done)
                            == (Mark::Good, Mark::Unset, Mark::Good) =>
                {
                    State::Interrupted
                }
                mcuboot::Swap::Revert => State::Trial,
                _ => State::Settled,
            };
            assert_eq!(device.state(), decided, "{primary:?}, {secondary:?}, {:?}", device.layout);
        }
    }
}

/// MCUboot, `docs/design.md`: the classic magic, or the alignment and another one.
fn expected_magic(align: u32) -> Vec<u8> {
    match align {
        16 | 32 => {
            vec![align as u8, 0, 0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a]
        }
        _ => vec![0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80],
    }
}

/// The bytes are those that MCUboot's own `boot_set_pending` leaves.
#[test]
fn the_trailer_is_byte_for_byte_mcuboots() {
    for method in [Method::Move, Method::Scratch, Method::Offset, Method::Overwrite] {
        let device = device(4, 0xFF, method);
        block_on(device.boot().stage(Swap::Permanent)).unwrap();
        let slot = device.secondary.contents();
        let mut expected = [0xFF; 40];
        expected[0] = 3; // swap_info
        expected[16] = 1; // image_ok
        expected[24..].copy_from_slice(&expected_magic(4));
        assert_eq!(slot[slot.len() - 40..], expected);
        assert!(slot[SLOT as usize - 4096..slot.len() - 40].iter().all(|byte| *byte == 0xFF));
    }
}

/// What MCUboot needs beside the image, worked out by hand from `boot_trailer_sz`: 128 sectors of this alignment.
#[test]
fn the_room_is_what_mcuboot_leaves() {
    for (align, method, expected) in [
        (8, Method::Scratch, 0..SLOT - 2 * SECTOR), // 128 * 3 * 8 + 4 * 8 + 16 = 3120
        (8, Method::Move, 0..SLOT - 3 * SECTOR),    // and one sector
        (8, Method::Offset, SECTOR..SLOT - 2 * SECTOR), // 128 * 2 * 8 + 5 * 8 + 16 = 2104
        (8, Method::Overwrite, 0..SLOT - SECTOR),
        (32, Method::Scratch, 0..SLOT - 7 * SECTOR), // 128 * 3 * 32 + 4 * 32 + 32 = 12448
        (32, Method::Offset, SECTOR..SLOT - 5 * SECTOR), // 128 * 2 * 32 + 5 * 32 + 32 = 8384
    ] {
        let ImageRegion { start, end, geometry } = device(align, 0xFF, method).boot().image_region();
        assert_eq!((start..end, geometry.erase_size, geometry.erased), (expected, SECTOR, 0xFF), "{method:?}, {align}");
    }
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
        // The campaign (tests/powercut) has the rest.
        let devices = [(1, 0xFF), (8, 0x00), (8, 0xFF), (32, 0xFF)].into_iter().flat_map(|(align, erased)| {
            [Method::Move, Method::Scratch, Method::Offset, Method::Overwrite]
                .map(|method| device(align, erased, method))
        });
        for fresh in devices {
            let done = match done {
                State::Staged(_) if fresh.layout.method == Method::Overwrite => State::Staged(Swap::Permanent),
                done => done,
            };
            prepare(&fresh).unwrap();
            states += Campaign {
                flash: fresh.secondary.flash(),
                call: &|| call(&fresh),
                boot: &|| matches!(fresh.reset(), (_, 1 | 2)),
                cut_boot: false,
                done: &|| assert_eq!(fresh.state(), done),
            }
            .run();
        }
    }
    println!("{states} states");
    assert!(states > 1_000, "{states}");
}

/// Each call, dropped at each of its awaits: the same call made again does what it is to do.
#[test]
fn every_call_survives_being_dropped() {
    for (align, swap) in [1, 8, 32].into_iter().flat_map(|align| [(align, Swap::Test), (align, Swap::Permanent)]) {
        for budget in 0.. {
            let device = device(align, 0xFF, Method::Move);
            device.secondary.flash().yield_before_operations();
            let (mut boot, mut left) = (device.boot(), budget);
            let staged = block_on(cancel::after(&mut left, boot.stage(swap)));
            block_on(boot.stage(swap)).unwrap();
            assert_eq!(device.state(), State::Staged(swap), "dropped after {budget} polls");
            device.reset();
            let confirmed = staged.and_then(|_| block_on(cancel::after(&mut left, boot.confirm())));
            block_on(boot.confirm()).unwrap();
            assert_eq!((device.state(), device.reset()), (State::Settled, (mcuboot::Swap::None, 2)));
            if confirmed.is_some() {
                break;
            }
        }
    }
}

/// What was staged for test only must not become permanent by a cut, whatever lay in the trailer.
#[test]
fn a_cut_never_makes_a_test_permanent() {
    for device in devices(&SWAPPING) {
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

/// A cell that was torn may read as erased and yet refuse to be programmed: then the magic is erased instead, and the
/// image stays all the same. Not where the image reaches into its sector.
#[test]
fn a_torn_flag_is_no_obstacle_to_confirming() {
    for (payload, expected) in [(500, Ok(())), (SLOT as usize - 2000, Err("primary-flash"))] {
        for device in devices(&SWAPPING) {
            block_on(device.boot().stage(Swap::Test)).unwrap();
            device.reset();
            let flash = device.primary.flash();
            // Nothing of a program was done, but it was begun: the test kit's flash has no such cut, so it is programmed
            // with the value that it has.
            let cell = match device.layout.geometry.write_size {
                16 => SLOT - 32,
                32 => SLOT - 64,
                _ => SLOT - 24,
            };
            device
                .primary
                .write_now(cell, &vec![device.layout.geometry.erased; device.layout.geometry.write_size as usize])
                .unwrap();
            flash.load(12, &(payload as u32).to_le_bytes()).unwrap();
            let confirmed = block_on(device.boot().confirm());
            assert_eq!(confirmed.map_err(|error| error.reason()), expected);
            flash.load(12, &500u32.to_le_bytes()).unwrap();
            let boots = if expected.is_ok() { (mcuboot::Swap::None, 2) } else { (mcuboot::Swap::Revert, 1) };
            assert_eq!(device.reset(), boots);
        }
    }
}

/// A torn flag that can be read reverts nothing, and an erase could be cut off: it is left alone.
#[test]
fn a_torn_flag_that_can_be_read_is_left_alone() {
    for device in devices(&SWAPPING) {
        block_on(device.boot().stage(Swap::Test)).unwrap();
        device.reset();
        let cell = match device.layout.geometry.write_size {
            16 => SLOT - 32,
            32 => SLOT - 64,
            _ => SLOT - 24,
        };
        let flash = device.primary.flash();
        flash.load(cell, &[0x81]).unwrap();
        let torn = flash.contents();
        assert_eq!(device.state(), State::Settled);
        block_on(device.boot().confirm()).unwrap();
        assert!(flash.contents() == torn);
        assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
    }
}

/// By offset, an image header in the first sector of the secondary slot makes MCUboot refuse what is staged and erase the
/// slot. It is gone before a magic is there, at every cut, and whichever of the two calls comes first.
#[test]
fn by_offset_nothing_is_staged_over_an_image_in_the_first_sector() {
    let has_old_image = |device: &Device| device.secondary.contents()[..4] == image(1)[..4];
    for device in devices(&[Method::Offset]) {
        let flash = device.secondary.flash();
        flash.load(SLOT, &image(1)).unwrap();
        let prepared = flash.contents();
        block_on(device.boot().unstage()).unwrap();
        assert!(!has_old_image(&device));
        let erases = flash.stats().erases;
        block_on(device.boot().unstage()).unwrap();
        assert_eq!(flash.stats().erases, erases, "a blank sector is left alone");
        for (before, after) in [(None, Swap::Test), (None, Swap::Permanent), (Some(Swap::Test), Swap::Permanent)] {
            for torn in TORN {
                for cut in 0..100 {
                    flash.load(0, &prepared).unwrap();
                    if let Some(swap) = before {
                        block_on(device.boot().stage(swap)).unwrap();
                        // Staged by something that knows nothing of the first sector.
                        flash.load(SLOT, &image(1)).unwrap();
                    }
                    flash.cut_power_after(cut, torn);
                    let done = block_on(device.boot().stage(after)).is_ok();
                    flash.power_on();
                    let staged = matches!(device.state(), State::Staged(swap) if before != Some(swap));
                    assert!(!(staged && has_old_image(&device)), "{after:?}, cut {cut}, {torn:?}");
                    if done {
                        assert!(staged);
                        break;
                    }
                }
            }
        }
        // The same is staged already: only the sector is missing.
        flash.load(0, &prepared).unwrap();
        block_on(device.boot().stage(Swap::Test)).unwrap();
        flash.load(SLOT, &image(1)).unwrap();
        block_on(device.boot().stage(Swap::Test)).unwrap();
        assert!(!has_old_image(&device));
    }
}

/// The primary slot's trailer of a swap that has begun: every call is refused. An image that was padded by `imgtool` for the
/// primary slot has no `swap_info`, and is not taken for one.
#[test]
fn a_swap_under_way_is_left_alone() {
    for device in devices(&SWAPPING) {
        let flash = device.primary.flash();
        let swap_info = match device.layout.geometry.write_size {
            16 => SLOT - 64,
            32 => SLOT - 128,
            _ => SLOT - 40,
        };
        flash.load(SLOT - 16, &expected_magic(device.layout.geometry.write_size)).unwrap();
        assert_eq!(device.state(), State::Settled, "padded");
        for (byte, expected) in [(2, true), (3, true), (4, true), (0x12, true), (1, false), (5, false), (0x0F, false)] {
            flash.load(swap_info, &[byte]).unwrap();
            assert_eq!(device.state() == State::Interrupted, expected, "{byte}");
        }
        flash.load(swap_info, &[4]).unwrap();
        let before = flash.contents();
        for swap in [Swap::Test, Swap::Permanent] {
            assert_eq!(block_on(device.boot().stage(swap)), Err(Error::SwapInterrupted));
        }
        assert_eq!(block_on(device.boot().unstage()), Err(Error::SwapInterrupted));
        assert_eq!(block_on(device.boot().confirm()), Err(Error::SwapInterrupted));
        assert!(flash.contents() == before);
    }
}

/// An overwrite-only MCUboot took the place of one that swaps: it copies what is in the secondary slot over the image of a
/// trial that was not confirmed.
#[test]
fn a_trial_of_another_bootloader_is_confirmed_where_images_are_copied() {
    for align in [1, 8, 16, 32] {
        let swapping = device(align, 0xFF, Method::Scratch);
        block_on(swapping.boot().stage(Swap::Test)).unwrap();
        swapping.reset();
        let layout = swapping.layout.method(Method::Overwrite);
        let mut boot = McuBoot::new(swapping.primary.clone(), swapping.secondary.clone(), layout);
        let (primary, secondary) = (swapping.primary.clone(), swapping.secondary.clone());
        let bootloader = Bootloader::new(primary, secondary, mcuboot::Method::Overwrite);
        let decided = || bootloader.swap_type().unwrap();
        assert_eq!(decided(), mcuboot::Swap::Revert);
        assert_eq!(block_on(boot.state()), Ok(State::Trial));
        assert_eq!(block_on(boot.unstage()), Err(Error::OnTrial));
        block_on(boot.confirm()).unwrap();
        assert_eq!(decided(), mcuboot::Swap::None);
        assert_eq!(block_on(boot.state()), Ok(State::Settled));
        block_on(boot.unstage()).unwrap();
    }
}

/// A slot that is one sector larger: the secondary one by offset, the primary one by moving.
#[test]
fn an_image_fits_into_both_slots() {
    let capacity = 2 * SLOT + SECTOR;
    let part = FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF };
    let flash = SimFlash::in_memory(capacity, part);
    for (method, primary, expected) in [
        (Method::Offset, SLOT, SECTOR..SLOT - SECTOR),
        (Method::Move, SLOT + SECTOR, 0..SLOT - 2 * SECTOR),
        (Method::Move, SLOT, 0..SLOT - 3 * SECTOR),
        (Method::Scratch, SLOT, 0..SLOT - 2 * SECTOR),
    ] {
        let layout = Layout::new(FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF }).method(method);
        let (first, second) = (flash.region(0..primary), flash.region(primary..capacity));
        let ImageRegion { start, end, .. } = McuBoot::new(first, second, layout).image_region();
        assert_eq!(start..end, expected, "{method:?}, {primary:#x}");
    }
}

/// A region with cells that can't be read until they are erased: what a cut leaves on some parts with ECC.
struct Unreadable {
    region: Region,
    cells: std::ops::Range<u32>,
}

impl ErrorType for Unreadable {
    type Error = FlashError;
}

impl ReadNorFlash for Unreadable {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        if offset < self.cells.end && self.cells.start < offset + bytes.len() as u32 {
            return Err(FlashError::NotErased { offset });
        }
        self.region.read_now(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.region.capacity()
    }
}

impl NorFlash for Unreadable {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        if (from..to).contains(&self.cells.start) {
            self.cells = 0..0;
        }
        self.region.erase_now(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.region.write_now(offset, bytes)
    }
}

/// A trailer that can't be read is no obstacle to staging: it is erased.
#[test]
fn a_torn_trailer_that_cannot_be_read_is_cleaned() {
    for cells in [SLOT - 16..SLOT, SLOT - 24..SLOT - 16, SLOT - 40..SLOT - 32] {
        let device = device(8, 0xFF, Method::Move);
        let torn = Unreadable { region: device.secondary.clone(), cells };
        let mut boot = McuBoot::new(device.primary.clone(), torn, device.layout);
        assert_eq!(block_on(boot.state()), Ok(State::Settled));
        block_on(boot.stage(Swap::Test)).unwrap();
        assert_eq!(block_on(boot.state()), Ok(State::Staged(Swap::Test)));
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
    }
}

/// A flag of the running image that can't be read reverts nothing, and is gone once the image is confirmed.
#[test]
fn a_running_slot_with_a_torn_flag_settles() {
    for confirm in [true, false] {
        let device = device(8, 0xFF, Method::Move);
        block_on(device.boot().stage(Swap::Test)).unwrap();
        device.reset();
        let torn = Unreadable { region: device.primary.clone(), cells: SLOT - 24..SLOT - 16 };
        let mut boot = McuBoot::new(torn, device.secondary.clone(), device.layout);
        assert_eq!(block_on(boot.state()), Ok(State::Settled));
        if confirm {
            block_on(boot.confirm()).unwrap();
            assert_eq!(device.reset(), (mcuboot::Swap::None, 2));
        }
    }
}

/// Updates in a row, as an updater makes them: each is downloaded over what the last swap left, staged, tried, and kept or
/// not. Whichever it is, the next one runs.
#[test]
fn updates_in_a_row_all_run() {
    for device in devices(&[Method::Move, Method::Scratch, Method::Offset, Method::Overwrite]) {
        let has_trials = device.layout.method != Method::Overwrite;
        let mut running = 1;
        for (new, swap, keep) in [
            (2, Swap::Test, true),
            (3, Swap::Test, true),
            (4, Swap::Test, false),
            (5, Swap::Permanent, true),
            (6, Swap::Test, true),
            (7, Swap::Permanent, true),
        ] {
            let mut boot = device.boot();
            block_on(boot.unstage()).unwrap();
            let ImageRegion { start, end, .. } = boot.image_region();
            device.secondary.erase_now(start, end).unwrap();
            device.secondary.flash().load(SLOT + start, &image(new)).unwrap();
            block_on(boot.stage(swap)).unwrap();
            assert_eq!(device.reset().1, new, "{:?}", device.layout);
            let trial = has_trials && swap == Swap::Test;
            assert_eq!(device.state(), if trial { State::Trial } else { State::Settled });
            if keep {
                block_on(device.boot().confirm()).unwrap();
            }
            running = if keep || !trial { new } else { running };
            assert_eq!(device.reset().1, running, "{:?}", device.layout);
            assert_eq!(device.state(), State::Settled);
        }
        assert_eq!(device.secondary.flash().violations(), []);
    }
}

/// By scratch, the trailer being longer than a sector: a flag that can't be read or programmed costs the whole trailer, and at
/// each of the erases the image boots.
#[test]
fn a_flag_that_cannot_be_read_costs_the_whole_trailer() {
    for device in devices(&[Method::Scratch]) {
        block_on(device.boot().stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), (mcuboot::Swap::Test, 2));
        let flash = device.primary.flash();
        let cell = match device.layout.geometry.write_size {
            16 => SLOT - 32,
            32 => SLOT - 64,
            _ => SLOT - 24,
        };
        flash.load(cell, &[0x81]).unwrap();
        let torn = flash.contents();
        let trailer = SLOT - (128 * 3 * device.layout.geometry.write_size).next_multiple_of(SECTOR);
        for cut in 0.. {
            flash.load(0, &torn).unwrap();
            let primary = Unreadable { region: device.primary.clone(), cells: cell..cell + 8 };
            let mut boot = McuBoot::new(primary, device.secondary.clone(), device.layout);
            flash.cut_power_after(cut, Torn::Nothing);
            let done = block_on(boot.confirm()).is_ok();
            flash.power_on();
            assert_eq!(device.reset(), (mcuboot::Swap::None, 2), "cut {cut}, {:?}", device.layout);
            if done {
                let left = device.primary.contents();
                assert!(left[trailer as usize..].iter().all(|byte| *byte == device.layout.geometry.erased));
                break;
            }
        }
    }
}

/// Two images, each with a pair of slots of its own, in one flash.
#[test]
fn images_are_staged_one_by_one() {
    let capacity = 4 * SLOT;
    let geometry = FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF };
    let flash = SimFlash::in_memory(capacity, geometry);
    let slot = |n: u32| flash.region(n * SLOT..(n + 1) * SLOT);
    (0..4).for_each(|n| flash.load(n * SLOT, &image(n as u8 + 1)).unwrap());
    let pairs = [0, 2].map(|first| {
        let bootloader = Bootloader::new(slot(first), slot(first + 1), mcuboot::Method::Move);
        (
            McuBoot::new(
                slot(first),
                slot(first + 1),
                Layout::new(FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF }),
            ),
            bootloader,
        )
    });
    let [(mut first, first_loader), (mut second, second_loader)] = pairs;
    block_on(second.stage(Swap::Test)).unwrap();
    assert_eq!(block_on(first.state()), Ok(State::Settled));
    assert_eq!(first_loader.boot().unwrap().running.major, 1);
    assert_eq!(second_loader.boot().unwrap().running.major, 4);
    block_on(first.stage(Swap::Permanent)).unwrap();
    assert_eq!(block_on(second.state()), Ok(State::Trial));
    assert_eq!(first_loader.boot().unwrap().running.major, 2);
    assert_eq!(second_loader.boot().unwrap().running.major, 3);
}

#[test]
fn a_layout_that_cannot_be_is_refused() {
    let device = device(8, 0xFF, Method::Move);
    for align in [0, 3, 64] {
        let mut layout = device.layout;
        layout.geometry.write_size = align;
        let mut boot = McuBoot::new(device.primary.clone(), device.secondary.clone(), layout);
        assert_eq!(block_on(boot.state()), Err(Error::Layout));
    }
    let tiny = Layout::new(FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF }).max_sectors(10_000);
    let mut boot = McuBoot::new(device.primary.clone(), device.secondary.clone(), tiny);
    assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::Layout), "a trailer larger than the slot");
    assert_eq!(boot.image_region().end, boot.image_region().start, "leaves no room");
    let small = device.secondary.flash().region(SLOT..SLOT + SECTOR);
    let mut boot = McuBoot::new(device.primary.clone(), small, device.layout);
    assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::Layout));
}

/// Every part with its own erased value is refused by a layout with the other one, before anything is staged; and so is a
/// layout whose units the driver cannot program or erase.
#[test]
fn a_layout_that_contradicts_the_flash_is_refused() {
    for (erased, method) in [0xFF, 0x00].into_iter().flat_map(|erased| {
        [Method::Move, Method::Scratch, Method::Offset, Method::Overwrite].map(|method| (erased, method))
    }) {
        let device = device(8, erased, method);
        let mut wrong = device.layout;
        wrong.geometry.erased = !erased;
        let mut boot = McuBoot::new(device.primary.clone(), device.secondary.clone(), wrong);
        for swap in [Swap::Test, Swap::Permanent] {
            assert_eq!(block_on(boot.stage(swap)), Err(Error::NotErased { area: Area::Secondary }), "{method:?}");
        }
        assert_eq!(block_on(device.boot().state()), Ok(State::Settled), "{method:?}");
    }

    let device = device(8, 0xFF, Method::Move);
    let parts = || (device.primary.clone(), device.secondary.clone());
    let mut right = McuBoot::new(parts().0.sized::<8, { SECTOR as usize }>(), parts().1, device.layout);
    assert_eq!(block_on(right.state()), Ok(State::Settled));
    let mut wide = McuBoot::new(parts().0, parts().1.sized::<16, { SECTOR as usize }>(), device.layout);
    let mut large = McuBoot::new(parts().0.sized::<8, { 2 * SECTOR as usize }>(), parts().1, device.layout);
    for call in [block_on(wide.state()).err(), block_on(wide.stage(Swap::Test)).err(), block_on(large.unstage()).err()]
    {
        assert_eq!(call, Some(Error::Geometry));
    }
    assert_eq!(block_on(large.confirm()), Err(Error::Geometry));
}
