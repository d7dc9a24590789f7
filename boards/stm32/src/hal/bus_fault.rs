//! STM32H7: what can't be read ends in a bus fault, with `DBECCERR` set (RM0433, chapter on the flash).

use cortex_m::peripheral::SCB;
use embassy_stm32::pac::FLASH;

use super::copy::copy;
use crate::ecc::{Memory, Unreadable};

/// `BFHFNMIGN` in the configuration and control register: precise bus faults of loads are let pass where the priority is
/// that of a hard fault or above (ARMv7-M, B3.2.8).
const IGNORE_BUS_FAULTS: u32 = 1 << 8;

/// The flash, read with bus faults let pass: interrupts are held up for as long as it takes, a kilobyte at 64 MHz some 20
/// microseconds. The flash must not be in the core's data cache: embassy-stm32 leaves that off; where it is on, the MPU says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlashMemory;

impl Memory for FlashMemory {
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), Unreadable> {
        take_errors();
        critical_section::with(|_| {
            // SAFETY: nobody else changes the system control block, for interrupts are off; it is left as it was.
            let scb = unsafe { &*SCB::PTR };
            // SAFETY: faults of the loads below are all that is let pass; FAULTMASK is cleared behind them.
            unsafe {
                core::arch::asm!("cpsid f", options(nostack, preserves_flags));
                scb.ccr.modify(|ccr| ccr | IGNORE_BUS_FAULTS);
            }
            cortex_m::asm::dsb();
            cortex_m::asm::isb();
            // SAFETY: the caller says that all of this is flash, which is mapped and readable by bytes; nothing borrows it,
            // and it is written by the flash controller only.
            unsafe { copy(address, bytes) };
            cortex_m::asm::dsb();
            // SAFETY: as above.
            unsafe {
                scb.ccr.modify(|ccr| ccr & !IGNORE_BUS_FAULTS);
                core::arch::asm!("cpsie f", options(nostack, preserves_flags));
            }
            cortex_m::asm::isb();
        });
        if take_errors() { Err(Unreadable) } else { Ok(()) }
    }
}

/// Whether a read came upon a broken unit; the flags are cleared, single errors that were corrected as well, for
/// embassy-stm32 takes both for failures of whatever is programmed next.
fn take_errors() -> bool {
    let mut broken = false;
    for bank in [FLASH.bank(0), FLASH.bank(1)] {
        broken |= bank.sr().read().dbeccerr();
        bank.ccr().write(|clear| {
            clear.set_clr_dbeccerr(true);
            clear.set_clr_sneccerr(true);
        });
    }
    broken
}
