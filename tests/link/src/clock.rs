//! Waiting by virtual time, to the nanosecond.

use embedded_hal_async::delay::DelayNs;
use sprag_testkit::time::VirtualTime;

/// Waits so many nanoseconds.
pub async fn sleep(time: &VirtualTime, ns: u64) {
    let end = time.nanoseconds() + ns;
    loop {
        match end.saturating_sub(time.nanoseconds()) {
            0 => return,
            left => time.delay().delay_ns(u32::try_from(left).unwrap_or(u32::MAX)).await,
        }
    }
}
