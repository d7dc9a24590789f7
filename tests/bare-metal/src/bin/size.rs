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
#[cfg(feature = "mqtt")]
#[path = "size/mqtt.rs"]
mod mqtt;
#[cfg(feature = "peer")]
#[path = "size/peer.rs"]
mod peer;
#[cfg(feature = "update-minimal")]
#[path = "size/update.rs"]
mod update;
#[cfg(feature = "verify")]
#[path = "size/verify.rs"]
mod verify;

/// Links the memory functions of the C library, which every firmware has: they are in the empty program, too, and so cost
/// nobody anything.
fn memory_functions() {
    unsafe extern "C" {
        fn memcpy();
        fn memmove();
        fn memset();
        fn memcmp();
    }
    black_box([memcpy, memmove, memset, memcmp].map(|function| function as *const ()));
    #[cfg(target_arch = "arm")]
    {
        unsafe extern "C" {
            fn __aeabi_memcpy();
            fn __aeabi_memcpy4();
            fn __aeabi_memcpy8();
            fn __aeabi_memmove();
            fn __aeabi_memmove4();
            fn __aeabi_memmove8();
            fn __aeabi_memset();
            fn __aeabi_memset4();
            fn __aeabi_memset8();
            fn __aeabi_memclr();
            fn __aeabi_memclr4();
            fn __aeabi_memclr8();
        }
        let copies =
            [__aeabi_memcpy, __aeabi_memcpy4, __aeabi_memcpy8, __aeabi_memmove, __aeabi_memmove4, __aeabi_memmove8];
        let fills =
            [__aeabi_memset, __aeabi_memset4, __aeabi_memset8, __aeabi_memclr, __aeabi_memclr4, __aeabi_memclr8];
        black_box((copies.map(|function| function as *const ()), fills.map(|function| function as *const ())));
    }
}

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
    memory_functions();
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
    #[cfg(feature = "mqtt")]
    mqtt::run(input, out);
    #[cfg(feature = "peer")]
    peer::run(input, out);
    #[cfg(feature = "verify")]
    verify::run(input, out);
    #[cfg(feature = "update-minimal")]
    update::run(input, out);
    black_box((input, out));
    loop {}
}
