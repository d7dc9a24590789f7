//! How much stack the crates need, on an emulated Cortex-M3: one line for each measurement, `entry`, `document` and the
//! bytes, said by semihosting. `cargo xtask stack` reads them.
#![no_std]
#![no_main]

#[path = "stack/job.rs"]
mod job;
#[path = "stack/paint.rs"]
mod paint;
#[path = "../update.rs"]
mod update;

use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use sprag::verify::{Ed25519Key, Key};

#[entry]
fn main() -> ! {
    job::measure();
    whole_update();
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

fn whole_update() {
    let stack = |key: &dyn Key| {
        let mut stack = 0;
        let sizes = update::run(&update::ED25519, key, &mut |work| stack = paint::used(work));
        (sizes, stack)
    };
    let (sizes, elsewhere) = stack(&update::Elsewhere);
    let public = update::ED25519.key.try_into().unwrap_or_default();
    let (_, dalek) = stack(&Ed25519Key::new(public));
    report("sprag::Updater", "update", sizes.updater);
    report("the future of Updater::run", "update", sizes.future);
    report("stack of Updater::run, a key's arithmetic elsewhere", "update", elsewhere);
    report("stack of Updater::run, ed25519-dalek", "update", dalek);
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
