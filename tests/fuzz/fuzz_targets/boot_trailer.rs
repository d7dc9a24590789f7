//! MCUboot's trailers, whatever lies in them: the state can be told, and an update can be staged, taken back and confirmed.
//! The first byte says how MCUboot was built; the rest is what ends both slots, half each.
#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sprag_boot::{BootControl, Error, Layout, McuBoot, Method, State, Swap};
use sprag_testkit::flash::{FlashGeometry, SimFlash};

const SLOT: u32 = 32 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let Some((&built, trailers)) = bytes.split_first() else { return };
    let align = 1 << (built % 6);
    let erased = if built & 0x40 == 0 { 0xFF } else { 0x00 };
    let method = [Method::Move, Method::Scratch, Method::Offset, Method::Overwrite][usize::from(built >> 3) % 4];
    let capacity = 2 * SLOT;
    let geometry = FlashGeometry { write_size: align, erase_size: 2048, erased };
    let flash = SimFlash::in_memory(capacity, geometry);
    let half = (trailers.len() / 2).min(SLOT as usize);
    for (end, trailer) in [(SLOT, &trailers[..half]), (2 * SLOT, &trailers[half..][..half])] {
        flash.load(end - half as u32, trailer).unwrap();
    }
    let layout = Layout::new(geometry).method(method);
    let mut boot = McuBoot::new(flash.region(0..SLOT), flash.region(SLOT..2 * SLOT), layout);
    let state = block_on(boot.state()).unwrap();
    for swap in [Swap::Test, Swap::Permanent] {
        match block_on(boot.stage(swap)) {
            Ok(()) if method == Method::Overwrite => {
                assert_eq!(block_on(boot.state()), Ok(State::Staged(Swap::Permanent)));
            }
            Ok(()) => assert_eq!(block_on(boot.state()), Ok(State::Staged(swap))),
            Err(error) => assert_eq!(error, Error::OnTrial, "{state:?}"),
        }
    }
    let _ = block_on(boot.unstage());
    // The image may reach into the sector of a flag that can't be programmed any more.
    let _ = block_on(boot.confirm());
});
