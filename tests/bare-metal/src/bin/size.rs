//! A program with nothing in it but what its features name: the difference to the empty one is what they cost.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

#[cfg(feature = "boot")]
#[path = "size/boot.rs"]
mod boot;
#[cfg(feature = "chip")]
#[path = "size/chip.rs"]
mod chip;
#[cfg(feature = "edge")]
#[path = "size/edge.rs"]
mod edge;
#[cfg(feature = "esp-hal-ota")]
#[path = "size/esp_hal_ota.rs"]
mod esp_hal_ota;
#[cfg(feature = "fetch-minimal")]
#[path = "size/fetch.rs"]
mod fetch;
#[cfg(feature = "flash")]
#[path = "size/flash.rs"]
mod flash;
#[cfg(any(
    feature = "job-iotconnect-21",
    feature = "job-iotconnect-20",
    feature = "job-aws-jobs",
    feature = "job-afr-ota",
    feature = "job-ota-update"
))]
#[path = "size/job.rs"]
mod job;
#[cfg(any(feature = "journal", feature = "sequential-storage"))]
#[path = "size/journal.rs"]
mod journal;
#[cfg(feature = "key")]
#[path = "size/key.rs"]
mod key;
#[cfg(feature = "peer")]
#[path = "size/peer.rs"]
mod peer;
#[cfg(feature = "update-minimal")]
#[path = "size/update.rs"]
mod update;
#[cfg(feature = "verify")]
#[path = "size/verify.rs"]
mod verify;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if cfg!(feature = "panics") {
        black_box(info);
    }
    loop {}
}

// SAFETY: the linker looks for the entry by this name, and nothing else here has it.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // Bytes from outside, into a buffer of the caller's.
    let (input, out): (&[u8], &mut [u8]) = black_box((&[], &mut []));
    #[cfg(any(
        feature = "job-iotconnect-21",
        feature = "job-iotconnect-20",
        feature = "job-aws-jobs",
        feature = "job-afr-ota",
        feature = "job-ota-update"
    ))]
    job::run(input, out);
    #[cfg(feature = "boot")]
    boot::run(input, out);
    #[cfg(feature = "edge")]
    edge::run(input, out);
    #[cfg(feature = "esp-hal-ota")]
    esp_hal_ota::run(input, out);
    #[cfg(feature = "fetch-minimal")]
    fetch::run(input, out);
    #[cfg(feature = "flash")]
    flash::run(input, out);
    #[cfg(any(feature = "journal", feature = "sequential-storage"))]
    journal::run(input, out);
    #[cfg(feature = "peer")]
    peer::run(input, out);
    #[cfg(feature = "verify")]
    verify::run(input, out);
    #[cfg(feature = "update-minimal")]
    update::run(input, out);
    black_box((input, out));
    loop {}
}
