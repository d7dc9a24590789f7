//! Time that passes only when nothing else happens.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use embedded_hal_async::delay::DelayNs;

/// A clock of its own. Clones are handles to the same one. [`block_on`](Self::block_on) sets it forward to the next delay
/// that ends, whenever every task waits: hours pass at once, and the same way each time.
#[derive(Debug, Clone, Default)]
pub struct VirtualTime(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    now_ns: u64,
    /// When the delays end that are being waited for, in the order in which they began, and whom to wake.
    delays: BTreeMap<(u64, u64), Waker>,
    /// Delays so far.
    begun: u64,
}

impl VirtualTime {
    /// A clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nanoseconds since its start.
    pub fn nanoseconds(&self) -> u64 {
        self.0.borrow().now_ns
    }

    /// Seconds since its start.
    pub fn seconds(&self) -> u32 {
        u32::try_from(self.nanoseconds() / 1_000_000_000).unwrap_or(u32::MAX)
    }

    /// Delays that end by this clock.
    pub fn delay(&self) -> VirtualDelay {
        VirtualDelay(self.clone())
    }

    /// Runs a future to its end.
    ///
    /// # Panics
    /// When the future waits for something other than time and nothing can wake it any more.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        loop {
            if flag.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return output;
                }
                continue;
            }
            let mut state = self.0.borrow_mut();
            let next = state.delays.first_key_value().map(|((end, _), _)| *end);
            let now = next.expect("nothing can wake this future any more").max(state.now_ns);
            state.now_ns = now;
            let left = state.delays.split_off(&(now + 1, 0));
            let over = std::mem::replace(&mut state.delays, left);
            drop(state);
            over.into_values().for_each(Waker::wake);
        }
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Delays by a [`VirtualTime`].
#[derive(Debug, Clone)]
pub struct VirtualDelay(VirtualTime);

impl DelayNs for VirtualDelay {
    async fn delay_ns(&mut self, ns: u32) {
        self.until(u64::from(ns)).await;
    }

    async fn delay_us(&mut self, us: u32) {
        self.until(u64::from(us) * 1_000).await;
    }

    async fn delay_ms(&mut self, ms: u32) {
        self.until(u64::from(ms) * 1_000_000).await;
    }
}

impl VirtualDelay {
    async fn until(&self, ns: u64) {
        let state = &self.0.0;
        let (end, number) = {
            let mut state = state.borrow_mut();
            state.begun += 1;
            (state.now_ns.saturating_add(ns), state.begun)
        };
        // A delay that is dropped wakes nobody.
        let _entry = Entry { state, key: (end, number) };
        poll_fn(|context| {
            let mut state = state.borrow_mut();
            if state.now_ns >= end {
                return Poll::Ready(());
            }
            state.delays.insert((end, number), context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The entry of a delay while it is being waited for.
struct Entry<'s> {
    state: &'s RefCell<State>,
    key: (u64, u64),
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.state.borrow_mut().delays.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_pass_at_once_and_in_order() {
        let time = VirtualTime::new();
        let (mut long, mut short) = (time.delay(), time.delay());
        let order = RefCell::new(Vec::new());
        time.block_on(async {
            let one = async {
                long.delay_ms(3_600_000).await;
                order.borrow_mut().push(time.seconds());
            };
            let other = async {
                for _ in 0..3 {
                    short.delay_ms(20_000).await;
                    order.borrow_mut().push(time.seconds());
                }
            };
            embassy_futures::join::join(one, other).await;
        });
        assert_eq!(order.into_inner(), [20, 40, 60, 3600]);
    }

    #[test]
    fn a_delay_that_was_dropped_moves_no_clock() {
        let time = VirtualTime::new();
        let (mut short, mut long) = (time.delay(), time.delay());
        time.block_on(async {
            embassy_futures::select::select(short.delay_ns(1), long.delay_ms(1_000)).await;
            assert_eq!(time.nanoseconds(), 1);
            short.delay_ms(2_000).await;
        });
        assert_eq!(time.nanoseconds(), 2_000_000_001);
        assert!(time.0.borrow().delays.is_empty());
    }

    #[test]
    #[should_panic(expected = "nothing can wake this future any more")]
    fn a_deadlock_is_told() {
        VirtualTime::new().block_on(std::future::pending::<()>());
    }
}
