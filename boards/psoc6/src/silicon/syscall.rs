//! System calls on the registers of each die.
//!
//! The CM4 makes them through channel 1 of the IPC block, and notifies interrupt structure 0, which is the ROM's
//! (`CY_IPC_CHAN_SYSCALL_CM4`, `CY_IPC_INTR_SYSCALL1`).

/// The channel for system calls of the CM4.
const CHANNEL: usize = 1;
/// The ROM's interrupt structure.
const NOTIFY: u16 = 1;

macro_rules! die {
    ($module:ident, $feature:literal, $pac:ident, $data:ident, blocking: $blocking:literal, $document:literal) => {
        #[cfg(feature = $feature)]
        pub(super) mod $module {
            use $pac::{FLASHC, IPC, SRSS};

            use super::{CHANNEL, NOTIFY};
            use crate::call::Call;
            use crate::flash::SystemCalls;
            use crate::part::ROW;
            use crate::silicon::memory::{self, Shared};

            #[doc = $document]
            #[derive(Debug)]
            pub struct Silicon(Shared);

            impl Silicon {
                /// The flash's registers, unless they have been taken before.
                ///
                /// # Safety
                /// The CM4 calls this, on a part of this die with two cores, and nothing else makes it program or erase
                /// flash. What [`Cores`](crate::Cores) says of both cores is true for as long as the flash is used;
                /// neither DMA nor the crypto block reads a sector that is changed; and the core runs at more than 0.9 V.
                pub unsafe fn take() -> Option<Self> {
                    Shared::take().map(Self)
                }
            }

            impl SystemCalls for Silicon {
                const BLOCKING: bool = $blocking;

                fn acquire(&mut self) -> bool {
                    // SAFETY: the register exists on this die; reading it takes the lock, which is what is wanted.
                    unsafe { IPC.r#struct().get(CHANNEL).acquire().read().success().get() }
                }

                fn start(&mut self, call: Call) {
                    self.0.set_context(call.words());
                    let [context, _] = self.addresses();
                    let channel = IPC.r#struct().get(CHANNEL);
                    // SAFETY: the lock is ours, and the context stays where it is until the ROM has let go of it.
                    unsafe { channel.$data().write_raw(context) };
                    if Self::BLOCKING {
                        super::notify_from_sram(channel.notify().ptr(), channel.lock_status().ptr());
                    } else {
                        // SAFETY: as above.
                        unsafe { channel.notify().init(|register| register.intr_notify().set(NOTIFY)) };
                    }
                }

                fn is_locked(&mut self) -> bool {
                    // SAFETY: the register exists on this die, and reading it changes nothing.
                    unsafe { IPC.r#struct().get(CHANNEL).lock_status().read().acquired().get() }
                }

                fn status(&mut self) -> u32 {
                    self.0.status()
                }

                fn set_row(&mut self, data: &[u8; ROW]) {
                    self.0.set_row(data);
                }

                fn addresses(&self) -> [u32; 2] {
                    // Pointers have 32 bits here; elsewhere the address is refused as none of SRAM.
                    self.0.addresses().map(|address| u32::try_from(address).unwrap_or(u32::MAX))
                }

                fn read(&mut self, address: u32, bytes: &mut [u8]) {
                    // SAFETY: the driver reads within the application flash only, while no call is under way.
                    unsafe { memory::read(address, bytes) };
                }

                fn clear_cache(&mut self) {
                    let command = FLASHC.flash_cmd();
                    // SAFETY: the caches lose their contents, which flash has as well. Read back, so that it is done.
                    unsafe {
                        command.init(|register| register.inv().set(true));
                        while command.read().inv().get() {}
                    }
                }

                fn feed_watchdog(&mut self) {
                    feed_watchdog();
                }
            }

            /// Clears the watchdog's match, so that at least two of its periods pass before it resets. Infineon's MCUboot
            /// starts the watchdog before the image, which has to feed it from then on.
            pub fn feed_watchdog() {
                // SAFETY: writing a one clears that bit and no other.
                unsafe { SRSS.srss_intr().init(|register| register.wdt_match().set(true)) };
            }
        }
    };
}

die!(
    die_01, "psoc6-01", psoc_pac_psoc6_01, data, blocking: true,
    "The registers of the 1 MiB die. While a row is changed, no flash can be read at all: calls are blocking, and made from \
     SRAM with this core's interrupts off, up to 20 ms at a time. The CM0+ must be asleep."
);
die!(die_02, "psoc6-02", psoc_pac_psoc6_02, data0, blocking: false, "The registers of the 2 MiB die.");
die!(die_03, "psoc6-03", psoc_pac_psoc6_03, data0, blocking: false, "The registers of the 512 KiB die.");
die!(die_04, "psoc6-04", psoc_pac_psoc6_04, data0, blocking: false, "The registers of the 256 KiB die.");

/// Notifies the ROM and waits for its end in SRAM, with interrupts off: nothing may come from flash meanwhile, not even a
/// function of the compiler's, hence assembly. Gives up after some 100 ms at 100 MHz.
#[inline(never)]
#[cfg_attr(target_arch = "arm", unsafe(link_section = ".data.sprag_psoc6"))]
fn notify_from_sram(notify: *mut u32, lock_status: *mut u32) {
    #[cfg(target_arch = "arm")]
    // SAFETY: the caller's registers: the channel is locked by us and its context is in place. Bit 31 of its status says
    // that it still is. Interrupts are on again afterwards if they were before.
    unsafe {
        core::arch::asm!(
            "mrs {primask}, PRIMASK",
            "cpsid i",
            "str {bits}, [{notify}]",
            "2:",
            "ldr {status}, [{lock_status}]",
            "cmp {status}, #0",
            "bpl 3f",
            "subs {looks}, {looks}, #1",
            "bne 2b",
            "3:",
            "msr PRIMASK, {primask}",
            primask = out(reg) _,
            bits = in(reg) u32::from(NOTIFY),
            notify = in(reg) notify,
            lock_status = in(reg) lock_status,
            status = out(reg) _,
            looks = inout(reg) 1_000_000u32 => _,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "arm"))]
    let _ = (notify, lock_status);
}
