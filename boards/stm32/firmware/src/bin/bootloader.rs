//! embassy-boot for the example firmware: swaps, or swaps back, and starts what is in ACTIVE.
#![no_std]
#![no_main]

use core::cell::RefCell;

use cortex_m_rt::entry;
use embassy_boot_stm32::{BootLoader, BootLoaderConfig};
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_stm32::flash::Flash;
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use sprag_stm32::hal::WATCHDOG_US;
use sprag_stm32::{BASE, Map};
use {defmt_rtt as _, panic_probe as _};

const MAP: Map = if cfg!(feature = "nucleo-f429zi") { Map::F429_EMBASSY } else { Map::H563_EMBASSY };
const _: () = assert!(MAP.check().is_ok());

#[entry]
fn main() -> ! {
    let p = embassy_stm32::init(Default::default());
    let flash = Mutex::<NoopRawMutex, _>::new(RefCell::new(Flash::new_blocking(p.FLASH)));
    let partition = |range: core::ops::Range<u32>| BlockingPartition::new(&flash, range.start, range.end - range.start);
    let config =
        BootLoaderConfig { active: partition(MAP.active), dfu: partition(MAP.update), state: partition(MAP.state) };
    let loader = BootLoader::prepare::<_, _, _, 2048>(config);
    // From here on: an image that hangs before it has a watchdog of its own is reset, and swapped back.
    IndependentWatchdog::new(p.IWDG, WATCHDOG_US).unleash();
    // SAFETY: ACTIVE begins with the vector table of a firmware that is linked for it; nothing of this program is used
    // again.
    unsafe { loader.load(BASE + MAP.active.start) }
}
