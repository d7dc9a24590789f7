//! How much stack the crates need, on an emulated Cortex-M3: one line for each measurement, `entry`, `document` and the
//! bytes, said by semihosting. `cargo xtask stack` reads them.
#![no_std]
#![no_main]

#[path = "stack/job.rs"]
mod job;
#[path = "stack/paint.rs"]
mod paint;
#[path = "stack/update.rs"]
mod update;

use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};

#[entry]
fn main() -> ! {
    job::measure();
    update::measure();
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

/// One measurement.
fn report(entry: &str, document: &str, bytes: usize) {
    hprintln!("{}\t{}\t{}", entry, document, bytes);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}

// SAFETY: it only says so and ends the emulation; nothing of the program that failed is used again.
#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    hprintln!("hard fault");
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
