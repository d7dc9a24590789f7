//! The status partition of Infineon's MCUboot, whatever lies in it and in the rows that end the slots.
#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sprag_boot::mcuboot::CypressLayout;
use sprag_boot::{BootControl, Cypress, Error, State, Swap};
use sprag_testkit::flash::{FlashGeometry, SimFlash};

const SLOT: u32 = 4096;
const STATUS: u32 = 8 * 512;

fuzz_target!(|bytes: &[u8]| {
    let capacity = 2 * SLOT + STATUS;
    let geometry = FlashGeometry { write_size: 512, erase_size: 512, erased: 0x00 };
    let flash = SimFlash::in_memory(capacity, geometry);
    let mut pieces = bytes.chunks(512);
    for at in [SLOT - 512, 2 * SLOT - 512].into_iter().chain((2 * SLOT..2 * SLOT + STATUS).step_by(512)) {
        flash.load(at, pieces.next().unwrap_or_default()).unwrap();
    }
    let [primary, secondary] = [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)];
    let status = flash.region(2 * SLOT..2 * SLOT + STATUS);
    let mut row = [0; 512];
    let mut boot = Cypress::new(primary, secondary, status, CypressLayout::new(32), &mut row);
    let state = block_on(boot.state()).unwrap();
    match block_on(boot.stage(Swap::Test)) {
        Ok(()) => assert!(matches!(block_on(boot.state()), Ok(State::Staged(_)))),
        Err(Error::SwapInterrupted) => assert_eq!(state, State::Interrupted),
        Err(error) => assert_eq!(error, Error::OnTrial, "{state:?}"),
    }
    let _ = block_on(boot.unstage());
    match block_on(boot.confirm()) {
        Ok(()) => {}
        Err(error) => assert_eq!((error, state), (Error::SwapInterrupted, State::Interrupted)),
    }
    assert_ne!(block_on(boot.state()), Ok(State::Trial));
});
