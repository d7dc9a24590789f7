//! Parts whose flash reports what it can't read by the non-maskable interrupt, with `ECCD` set. The read itself ends, with
//! bytes that mean nothing. Reference manuals, chapter on the flash: RM0351 (L4), RM0444 (G0), RM0481 (H5), RM0456 (U5).

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_stm32::pac::FLASH;

use super::copy::copy;
use crate::ecc::{Memory, Unreadable};

/// That a read came upon a broken unit since the last look.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// To be called from the firmware's `NonMaskableInt` handler. Returns whether a broken unit of flash was the cause: the
/// interrupt is over then, and whoever read it is told. Otherwise it is the firmware's own to deal with (a failing crystal,
/// a parity error).
///
/// ```ignore
/// #[cortex_m_rt::exception]
/// unsafe fn NonMaskableInt() {
///     if !sprag_stm32::hal::on_nmi() {
///         cortex_m::peripheral::SCB::sys_reset();
///     }
/// }
/// ```
pub fn on_nmi() -> bool {
    let was_flash = take_eccd();
    if was_flash {
        BROKEN.store(true, Ordering::Relaxed);
    }
    was_flash
}

/// Whether `ECCD` was set; it is not any more.
#[cfg(any(feature = "l4", feature = "g0", feature = "u5"))]
fn take_eccd() -> bool {
    let set = FLASH.eccr().read().eccd();
    if set {
        FLASH.eccr().modify(|flags| flags.set_eccd(true));
    }
    // The second bank of a G0 with two has a register of its own.
    #[cfg(feature = "g0")]
    if FLASH.eccr2().read().eccd() {
        FLASH.eccr2().modify(|flags| flags.set_eccd(true));
        return true;
    }
    set
}

/// Whether `ECCD` was set; it is not any more.
#[cfg(feature = "h5")]
fn take_eccd() -> bool {
    let set = FLASH.eccdetr().read().eccd();
    if set {
        FLASH.eccdetr().modify(|flags| flags.set_eccd(true));
    }
    set
}

/// The flash, read with an eye on the interrupt: [`on_nmi`] must be called by its handler.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlashMemory;

impl Memory for FlashMemory {
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), Unreadable> {
        #[cfg(feature = "l4")]
        forget_cached();
        BROKEN.store(false, Ordering::Relaxed);
        // SAFETY: the caller says that all of this is flash, which is mapped and readable by bytes; nothing borrows it, and
        // it is written by the flash controller only.
        unsafe { copy(address, bytes) };
        // The interrupt comes with the data of the read, which must be there by now.
        cortex_m::asm::dsb();
        cortex_m::asm::isb();
        if BROKEN.load(Ordering::Relaxed) { Err(Unreadable) } else { Ok(()) }
    }
}

/// The flash interface's data cache, which is on from the reset, is not told of erases and programs, and embassy-stm32's driver
/// does not reset it: without this, what was just written could read as what was there before.
#[cfg(feature = "l4")]
fn forget_cached() {
    let control = FLASH.acr();
    if control.read().dcen() {
        control.modify(|acr| acr.set_dcen(false));
        control.modify(|acr| acr.set_dcrst(true));
        control.modify(|acr| acr.set_dcrst(false));
        control.modify(|acr| acr.set_dcen(true));
    }
}
