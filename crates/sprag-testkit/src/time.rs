//! Time that passes only when nothing else happens.

use std::cell::RefCell;
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
    /// When the delays end that are being waited for, and whom to wake.
    delays: Vec<(u64, Waker)>,
}

impl VirtualTime {
    /// A clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seconds since its start.
    pub fn seconds(&self) -> u32 {
        u32::try_from(self.0.borrow().now_ns / 1_000_000_000).unwrap_or(u32::MAX)
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
            // What was dropped meanwhile is woken in vain.
            let next = state.delays.iter().map(|(end, _)| *end).min();
            state.now_ns = next.expect("nothing can wake this future any more").max(state.now_ns);
            let now = state.now_ns;
            let (over, left) =
                std::mem::take(&mut state.delays).into_iter().partition::<Vec<_>, _>(|(end, _)| *end <= now);
            state.delays = left;
            drop(state);
            over.into_iter().for_each(|(_, waker)| waker.wake());
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
        let end = state.borrow().now_ns.saturating_add(ns);
        poll_fn(|context| {
            let mut state = state.borrow_mut();
            if state.now_ns >= end {
                return Poll::Ready(());
            }
            state.delays.push((end, context.waker().clone()));
            Poll::Pending
        })
        .await;
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
    #[should_panic(expected = "nothing can wake this future any more")]
    fn a_deadlock_is_told() {
        VirtualTime::new().block_on(std::future::pending::<()>());
    }
}
