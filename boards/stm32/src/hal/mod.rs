//! What only the silicon can do: over `embassy-stm32`'s registers, for the family that is a feature.
//!
//! | what | how |
//! |---|---|
//! | flash | embassy-stm32's `Flash` (asynchronous on F4, L4, G0 and H7; on H5 `BlockingAsync`), behind [`Tolerant`](crate::Tolerant) with [`FlashMemory`] on parts with ECC |
//! | watchdog | embassy-stm32's `IndependentWatchdog` with [`WATCHDOG_US`]; [`feed`] from a task of the executor that the update runs on, and by [`ready`] before every erase |
//! | random numbers | embassy-stm32's `Rng`, a `CryptoRngCore` as it is |
//! | reset | `cortex_m::peripheral::SCB::sys_reset` |

#[cfg(feature = "h7")]
mod bus_fault;
#[cfg(any(feature = "l4", feature = "g0", feature = "h5", feature = "h7", feature = "u5"))]
mod copy;
mod idle;
#[cfg(any(feature = "l4", feature = "g0", feature = "h5", feature = "u5"))]
mod nmi;

#[cfg(feature = "h7")]
pub use bus_fault::FlashMemory;
#[cfg(any(feature = "l4", feature = "g0", feature = "h5", feature = "u5"))]
pub use nmi::{FlashMemory, on_nmi};

use embassy_stm32::pac;

/// For the independent watchdog, in microseconds: longer than the erase of any sector (128 KiB of an F4 at 8 bits: 4 s at
/// most by its data sheet), during which a single-bank part stands still.
pub const WATCHDOG_US: u32 = 16_000_000;

/// Feeds the independent watchdog, whether it runs or not.
pub fn feed() {
    #[cfg(feature = "h7")]
    let watchdog = pac::IWDG1;
    #[cfg(not(feature = "h7"))]
    let watchdog = pac::IWDG;
    watchdog.kr().write(|key| key.set_key(pac::iwdg::vals::Key::RESET));
}

/// Before and after every write and erase, for [`Flash::new`](crate::Flash::new): feeds the watchdog, and waits until nothing
/// is under way in the flash.
pub fn ready() {
    feed();
    idle::wait();
}
