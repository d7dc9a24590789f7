//! embassy-boot's state partition, whatever lies in it: an update can be staged unless one is on trial, and confirmed.
#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sprag_boot::embassy::Layout;
use sprag_boot::{BootControl, EmbassyBoot, Error, State, Swap};
use sprag_testkit::flash::{FlashGeometry, SimFlash};

fuzz_target!(|bytes: &[u8]| {
    let Some((&built, contents)) = bytes.split_first() else { return };
    let write_size = 1 << (built % 6);
    let erased = if built & 0x80 == 0 { 0xFF } else { 0x00 };
    let geometry = FlashGeometry { write_size, erase_size: 1024, erased };
    let flash = SimFlash::in_memory(4096, geometry);
    flash.load(0, &contents[..contents.len().min(4096)]).unwrap();
    let layout = Layout { active_size: 8192, dfu: geometry, state: geometry };
    let mut boot = EmbassyBoot::new(flash.region(0..4096), layout);
    match block_on(boot.stage(Swap::Test)) {
        Ok(()) => assert_eq!(block_on(boot.state()), Ok(State::Staged(Swap::Test))),
        Err(error) => {
            assert_eq!(error, Error::OnTrial);
            block_on(boot.confirm()).unwrap();
            assert_eq!(block_on(boot.state()), Ok(State::Settled));
        }
    }
});
