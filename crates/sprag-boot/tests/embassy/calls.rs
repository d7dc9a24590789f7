// Included for each build of embassy-boot, with `embassy_boot` and `ERASED` in scope.

use crate::common::{Campaign, image};
use embassy_boot::{BlockingFirmwareState, BootError, BootLoader, BootLoaderConfig};
use embassy_futures::block_on;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag_boot::embassy::Layout;
use sprag_boot::{BootControl, EmbassyBoot, Error, ImageRegion, State, Swap};
use sprag_testkit::cancel;
use sprag_testkit::flash::{FlashError, FlashGeometry, Region, SimFlash};

const PAGE: u32 = 1024;
const ACTIVE: u32 = 3 * PAGE;
const DFU: u32 = ACTIVE + PAGE;
/// Two sectors, so that a cut may leave one of them.
const STATE: u32 = 2 * PAGE;

/// A region as a blocking flash of a known write unit.
#[derive(Debug)]
struct Blocking<const WRITE: usize>(Region);

impl<const WRITE: usize> ErrorType for Blocking<WRITE> {
    type Error = FlashError;
}

impl<const WRITE: usize> ReadNorFlash for Blocking<WRITE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.read_now(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.contents().len()
    }
}

impl<const WRITE: usize> NorFlash for Blocking<WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = PAGE as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.0.erase_now(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.0.write_now(offset, bytes)
    }
}

struct Device<const WRITE: usize> {
    flash: SimFlash,
}

impl<const WRITE: usize> Device<WRITE> {
    const GEOMETRY: FlashGeometry = FlashGeometry { write_size: WRITE as u32, erase_size: PAGE, erased: ERASED };

    /// A device that runs version 1, and has version 2 in its DFU partition.
    fn new() -> Self {
        let capacity = ACTIVE + DFU + STATE;
        let flash = SimFlash::in_memory(capacity, Self::GEOMETRY);
        flash.load(0, &image(1)).unwrap();
        flash.load(ACTIVE, &image(2)).unwrap();
        Self { flash }
    }

    fn region(&self, from: u32, size: u32) -> Region {
        self.flash.region(from..from + size)
    }

    fn boot(&self) -> EmbassyBoot<Region> {
        let layout = Layout { active_size: ACTIVE, dfu: Self::GEOMETRY, state: Self::GEOMETRY };
        EmbassyBoot::new(self.region(ACTIVE + DFU, STATE), layout)
    }

    fn state(&self) -> State {
        block_on(self.boot().state()).unwrap()
    }

    /// embassy-boot's own bootloader, to its end or until the power is gone.
    fn prepare(&self) -> Result<(), BootError> {
        let mut loader = BootLoader::new(BootLoaderConfig {
            active: Blocking::<WRITE>(self.region(0, ACTIVE)),
            dfu: Blocking::<WRITE>(self.region(ACTIVE, DFU)),
            state: Blocking::<WRITE>(self.region(ACTIVE + DFU, STATE)),
        });
        loader.prepare_boot(&mut [0; 256]).map(|_| ())
    }

    /// A reset, in which the power is there: the version that runs.
    fn reset(&self) -> u8 {
        self.prepare().unwrap();
        self.running()
    }

    fn running(&self) -> u8 {
        let active = self.flash.contents();
        [1, 2].into_iter().find(|major| active.starts_with(&image(*major))).expect("the device is bricked")
    }
}

fn swaps_reverts_and_confirms<const WRITE: usize>() {
    let device = Device::<WRITE>::new();
    assert_eq!(device.boot().image_region(), ImageRegion { start: 0, end: ACTIVE, geometry: Device::<WRITE>::GEOMETRY });
    assert_eq!((device.reset(), device.state()), (1, State::Settled));
    assert_eq!(block_on(device.boot().stage(Swap::Permanent)), Err(Error::NoPermanent));
    for _ in 0..2 {
        block_on(device.boot().stage(Swap::Test)).unwrap();
        block_on(device.boot().stage(Swap::Test)).unwrap();
        assert_eq!(device.state(), State::Staged(Swap::Test));
        assert_eq!((device.reset(), device.state()), (2, State::Trial));
        assert_eq!(block_on(device.boot().stage(Swap::Test)), Err(Error::OnTrial));
        assert_eq!(block_on(device.boot().unstage()), Err(Error::OnTrial));
        block_on(device.boot().go_back()).unwrap();
        assert_eq!((device.reset(), device.state()), (1, State::Settled));
        assert_eq!(block_on(device.boot().go_back()), Err(Error::NotOnTrial));
    }
    block_on(device.boot().stage(Swap::Test)).unwrap();
    block_on(device.boot().unstage()).unwrap();
    assert_eq!((device.reset(), device.state()), (1, State::Settled));
    block_on(device.boot().stage(Swap::Test)).unwrap();
    assert_eq!(device.reset(), 2);
    block_on(device.boot().confirm()).unwrap();
    assert_eq!((device.state(), device.reset(), device.reset()), (State::Settled, 2, 2));
    block_on(device.boot().confirm()).unwrap();
}

#[test]
fn its_own_bootloader_swaps_reverts_and_confirms() {
    swaps_reverts_and_confirms::<1>();
    swaps_reverts_and_confirms::<4>();
    swaps_reverts_and_confirms::<8>();
    swaps_reverts_and_confirms::<16>();
    swaps_reverts_and_confirms::<32>();
}

/// What the crate's own updater writes, and what this one writes.
#[test]
fn the_state_is_byte_for_byte_embassys() {
    let (ours, theirs) = (Device::<8>::new(), Device::<8>::new());
    let mut aligned = [0; 8];
    let mut state = BlockingFirmwareState::new(Blocking::<8>(theirs.region(ACTIVE + DFU, STATE)), &mut aligned);
    block_on(ours.boot().stage(Swap::Test)).unwrap();
    state.mark_updated().unwrap();
    assert_eq!(ours.flash.contents(), theirs.flash.contents());
    assert_eq!((ours.reset(), theirs.reset()), (2, 2));
    block_on(ours.boot().confirm()).unwrap();
    state.mark_booted().unwrap();
    assert_eq!(ours.flash.contents(), theirs.flash.contents());
}

fn every_call_cut<const WRITE: usize>() -> u32 {
    let mut states = 0;
    let trial = |device: &Device<WRITE>| {
        block_on(device.boot().stage(Swap::Test)).unwrap();
        device.reset();
    };
    type Call<'a, const WRITE: usize> = &'a dyn Fn(&Device<WRITE>) -> Result<(), Error>;
    let stage: Call<'_, WRITE> = &|device| block_on(device.boot().stage(Swap::Test));
    let unstage: Call<'_, WRITE> = &|device| block_on(device.boot().unstage());
    let confirm: Call<'_, WRITE> = &|device| block_on(device.boot().confirm());
    type Prepare<'a, const WRITE: usize> = &'a dyn Fn(&Device<WRITE>);
    let reverted: Prepare<'_, WRITE> = &|device| {
        trial(device);
        device.reset();
    };
    let nothing: Prepare<'_, WRITE> = &|_| {};
    let staged: Prepare<'_, WRITE> = &|device| stage(device).unwrap();
    for (prepare, call, done) in [
        (nothing, stage, State::Staged(Swap::Test)),
        (reverted, stage, State::Staged(Swap::Test)),
        (staged, unstage, State::Settled),
        (&trial, confirm, State::Settled),
    ] {
        let device = Device::<WRITE>::new();
        prepare(&device);
        states += Campaign {
            flash: &device.flash,
            call: &|| call(&device),
            boot: &|| match device.prepare() {
                Ok(()) => matches!(device.running(), 1 | 2),
                Err(_) if device.flash.is_dead() => false,
                Err(error) => panic!("{error:?}"),
            },
            // Its swap is cut now and then only: that it survives is embassy-boot's own affair.
            cut_boot: false,
            done: &|| assert_eq!(device.state(), done),
        }
        .run();
    }
    states
}

#[test]
fn every_call_survives_a_cut_and_a_second_cut() {
    let states = every_call_cut::<1>() + every_call_cut::<4>() + every_call_cut::<8>() + every_call_cut::<32>();
    println!("{states} states");
    assert!(states > 100, "{states}");
}

/// The swap of a staged image and the revert of one that was not confirmed, cut at every operation.
#[test]
fn its_swaps_survive_a_cut_at_every_operation() {
    for (stage, expected) in [(true, 2), (false, 1)] {
        let device = Device::<32>::new();
        block_on(device.boot().stage(Swap::Test)).unwrap();
        if !stage {
            device.reset();
        }
        let start = device.flash.contents();
        for cut in 0.. {
            device.flash.load(0, &start).unwrap();
            device.flash.cut_power_after(cut, sprag_testkit::flash::Torn::Nothing);
            let lasted = device.prepare().is_ok();
            device.flash.power_on();
            if lasted {
                assert!(cut > 20, "{cut}");
                break;
            }
            // Cut behind its last copy, a swap has become a trial, which the next reset ends.
            let running = device.reset();
            assert!(running == expected || running == 1, "cut at {cut}: {running}");
        }
    }
}

#[test]
fn every_call_survives_being_dropped() {
    for budget in 0.. {
        let device = Device::<4>::new();
        device.flash.yield_before_operations();
        let mut left = budget;
        let staged = block_on(cancel::after(&mut left, device.boot().stage(Swap::Test)));
        block_on(device.boot().stage(Swap::Test)).unwrap();
        assert_eq!(device.reset(), 2);
        let confirmed = staged.and_then(|_| block_on(cancel::after(&mut left, device.boot().confirm())));
        block_on(device.boot().confirm()).unwrap();
        assert_eq!((device.state(), device.reset()), (State::Settled, 2));
        if confirmed.is_some() {
            break;
        }
    }
}
