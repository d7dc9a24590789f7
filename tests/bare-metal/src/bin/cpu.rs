//! How many instructions an update takes, on an emulated Cortex-M3 that is told to take a nanosecond for each: a line for
//! each measurement, what it is, how often it was done or how much of it there was, and the instructions of all of it.
//! `cargo xtask bench cpu` reads them.
#![no_std]
#![no_main]

#[path = "../update.rs"]
#[allow(dead_code)] // The sizes are for the stack's sake.
mod update;

use core::hint::black_box;
use core::panic::PanicInfo;

use cortex_m as _; // Its critical section is linked in.
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use sprag::verify::{Ed25519Key, Key, P256Key, SaltyKey};
use update::{ED25519, Elsewhere, Signed};

/// With ECDSA over P-256.
const P256: Signed = Signed {
    answer: include_bytes!(concat!(env!("OUT_DIR"), "/answer-p256")),
    key: include_bytes!(concat!(env!("OUT_DIR"), "/key-p256")),
};

/// Those of `cargo xtask bench job`.
const DOCUMENTS: &[(&str, &[u8])] = &[
    ("iotconnect-2.1", include_bytes!("../../../../crates/sprag-job/benches/documents/iotconnect-2.1.json")),
    ("aws-jobs", include_bytes!("../../../../crates/sprag-job/benches/documents/aws-jobs.json")),
    ("afr-ota", include_bytes!("../../../../crates/sprag-job/benches/documents/afr-ota.json")),
];
/// How often each is read: the timer does not tell single instructions.
const TIMES: u32 = 100;

#[entry]
fn main() -> ! {
    clock::start();
    let elsewhere = update_with(&ED25519, &Elsewhere);
    hprintln!("KiB of an image\t{}\t{}", ED25519.length() / 1024, elsewhere);
    let ed25519 = ED25519.key.try_into().unwrap_or([0; 32]);
    let p256 = P256.key.try_into().unwrap_or([0; 65]);
    let signature = |name: &str, image: &Signed, key: &dyn Key| {
        let more = update_with(image, key).saturating_sub(elsewhere);
        hprintln!("signature, {}\t1\t{}", name, more);
    };
    signature("ed25519-dalek", &ED25519, &Ed25519Key::new(ed25519));
    signature("salty", &ED25519, &SaltyKey::new(ed25519));
    signature("p256", &P256, &P256Key::new(p256));
    for (name, document) in DOCUMENTS {
        let instructions = clock::instructions(&mut || {
            for _ in 0..TIMES {
                let _ = black_box(sprag::job::parse(black_box(document)));
            }
        });
        hprintln!("job document, {} of {} bytes\t{}\t{}", name, document.len(), TIMES, instructions);
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

fn update_with(image: &Signed, key: &dyn Key) -> u64 {
    let mut instructions = 0;
    update::run(image, key, &mut |work| instructions = clock::instructions(work));
    instructions
}

/// A timer of the board: with `-icount shift=0` a tick is forty instructions.
mod clock {
    /// CMSDK APB timer 0 (Arm DDI 0479, section 4.1): control, value, reload. It counts down at 25 MHz.
    const TIMER: *mut u32 = 0x4000_0000 as *mut u32;
    const NANOSECONDS: u64 = 40;

    pub fn start() {
        // SAFETY: registers of a timer that nothing else here uses.
        unsafe {
            TIMER.add(2).write_volatile(u32::MAX);
            TIMER.add(1).write_volatile(u32::MAX);
            TIMER.write_volatile(1);
        }
    }

    fn now() -> u32 {
        // SAFETY: as above.
        unsafe { TIMER.add(1).read_volatile() }
    }

    #[inline(never)]
    pub fn instructions(work: &mut dyn FnMut()) -> u64 {
        let before = now();
        work();
        u64::from(before.wrapping_sub(now())) * NANOSECONDS
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
