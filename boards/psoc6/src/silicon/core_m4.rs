//! What is the CM4's own: where its code lies, and how the device is reset.

use core::ops::Range;
use core::ptr;

unsafe extern "C" {
    // cortex-m-rt's linker script.
    safe static __vector_table: u32;
    safe static __sidata: u32;
    safe static __sdata: u32;
    safe static __edata: u32;
}

/// What this firmware executes and reads in flash, from its vector table to the end of its initial data, by `cortex-m-rt`'s
/// linker script.
pub fn executes() -> Range<u32> {
    let [start, initial, data, end] =
        [&raw const __vector_table, &raw const __sidata, &raw const __sdata, &raw const __edata]
            .map(|symbol| u32::try_from(symbol.addr()).unwrap_or(u32::MAX));
    start..initial.saturating_add(end.saturating_sub(data))
}

/// Resets the whole device, both cores. [`Flash::idle`](crate::Flash::idle) comes first: a reset in the middle of a system
/// call leaves a row half-changed.
pub fn reset() -> ! {
    /// The application interrupt and reset control register of every Cortex-M.
    const AIRCR: usize = 0xE000_ED0C;
    const SYSRESETREQ: u32 = 0x05FA_0000 | 1 << 2;
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    // SAFETY: the register exists on every Cortex-M; the write ends this program.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(AIRCR).write_volatile(SYSRESETREQ) };
    loop {
        core::hint::spin_loop();
    }
}
