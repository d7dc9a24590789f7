//! The end of what is under way in the flash. embassy-stm32's drivers leave an operation to itself when its future is dropped,
//! and the controller set for it; and on a G0 with two banks, what happens in the second one, for they look at `BSY1` alone. Reference manuals, chapter on the flash: RM0090 (F4), RM0351 (L4), RM0444 (G0), RM0481 (H5), RM0456 (U5), RM0433 (H7).

use embassy_stm32::pac::FLASH;

/// Unlocks a control register.
#[cfg(not(any(feature = "h5", feature = "u5")))]
const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];

#[cfg(feature = "f4")]
pub(super) fn wait() {
    while FLASH.sr().read().bsy() {}
    let set = FLASH.cr().read();
    if set.pg() || set.ser() {
        if set.lock() {
            KEYS.into_iter().for_each(|key| FLASH.keyr().write_value(key));
        }
        FLASH.cr().write(|cr| cr.set_lock(true));
    }
}

#[cfg(any(feature = "l4", feature = "g0"))]
pub(super) fn wait() {
    while FLASH.sr().read().bsy() {}
    #[cfg(feature = "g0")]
    while FLASH.sr().read().bsy2() {}
    let set = FLASH.cr().read();
    if set.pg() || set.per() {
        if set.lock() {
            KEYS.into_iter().for_each(|key| FLASH.keyr().write_value(key));
        }
        FLASH.cr().modify(|cr| {
            cr.set_pg(false);
            cr.set_per(false);
        });
        FLASH.cr().modify(|cr| cr.set_lock(true));
    }
}

/// The driver blocks: nothing is left under way.
#[cfg(feature = "h5")]
pub(super) fn wait() {
    while FLASH.nssr().read().bsy() {}
}

/// The driver blocks: nothing is left under way.
#[cfg(feature = "u5")]
pub(super) fn wait() {
    while FLASH.nssr().read().bsy() || FLASH.nssr().read().wdw() {}
}

#[cfg(feature = "h7")]
pub(super) fn wait() {
    for bank in [FLASH.bank(0), FLASH.bank(1)] {
        while bank.sr().read().bsy() || bank.sr().read().qw() {}
        let set = bank.cr().read();
        if set.pg() || set.ser() {
            if set.lock() {
                KEYS.into_iter().for_each(|key| bank.keyr().write_value(key));
            }
            bank.cr().write(|cr| cr.set_lock(true));
        }
    }
}
