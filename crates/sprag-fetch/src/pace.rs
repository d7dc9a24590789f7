//! How fast an answer comes, told without a clock.
//!
//! Time is counted in ticks of the time that one byte may take at the slowest rate allowed: every byte of the object pays for
//! a tick, and a tick that has begun is owed. So neither a byte that comes at once nor one in every tick runs up a debt, and
//! whatever is slower does. What frames the object's bytes (the sizes of chunks) pays for nothing.

use crate::download::Limits;
use crate::error::Waiting;

/// How far a connection is behind the slowest rate allowed, and how long the present read has been waiting.
#[derive(Debug)]
pub(crate) struct Pace {
    tick_ms: u32,
    stall_ms: u32,
    /// The debt that is too much, in ticks; none for no floor.
    limit: Option<u32>,
    debt: u32,
    waited_ms: u32,
}

impl Pace {
    pub(crate) fn new(limits: Limits) -> Self {
        let tick_ms = 1000u32.checked_div(limits.rate_floor.into()).map(|ms| ms.max(1));
        Self {
            tick_ms: tick_ms.unwrap_or(limits.stall_ms),
            stall_ms: limits.stall_ms,
            limit: tick_ms.and_then(|ms| limits.behind_ms.checked_div(ms)),
            debt: 0,
            waited_ms: 0,
        }
    }

    /// How long to wait until the next [`tick`](Self::tick).
    pub(crate) fn tick_ms(&self) -> u32 {
        self.tick_ms.min(self.stall_ms.saturating_sub(self.waited_ms))
    }

    /// A read begins.
    pub(crate) fn begin(&mut self) {
        self.waited_ms = 0;
    }

    /// The read has waited for another tick: why that is too long, if it is.
    pub(crate) fn tick(&mut self) -> Option<Waiting> {
        self.waited_ms = self.waited_ms.saturating_add(self.tick_ms());
        self.debt = self.debt.saturating_add(1);
        if self.waited_ms >= self.stall_ms {
            return Some(Waiting::Body);
        }
        self.too_slow()
    }

    /// The read brought so many bytes of the object; where it `waited`, within the tick after the last. Why that is too slow,
    /// if it is.
    pub(crate) fn arrived(&mut self, count: usize, waited: bool) -> Option<Waiting> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.debt = self.debt.saturating_add(waited.into()).saturating_sub(count);
        self.too_slow()
    }

    fn too_slow(&self) -> Option<Waiting> {
        self.limit.is_some_and(|limit| self.debt > limit).then_some(Waiting::Rate)
    }

    /// A new connection: whatever the last one owed, this one has half of what is allowed to show that it is faster.
    pub(crate) fn reconnected(&mut self) {
        self.debt = self.debt.min(self.limit.unwrap_or(0) / 2);
    }

    /// Whether nothing is owed.
    pub(crate) fn is_kept(&self) -> bool {
        self.limit.is_none() || self.debt == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate_floor: u16) -> Pace {
        Pace::new(Limits { rate_floor, behind_ms: 10_000, stall_ms: 20_000, ..Limits::default() })
    }

    /// One byte in every `ticks`: after how many bytes it is too slow.
    fn one_byte_in(pace: &mut Pace, ticks: u32) -> Option<u32> {
        (0..100_000).find(|_| {
            pace.begin();
            let late = (1..ticks).any(|_| pace.tick().is_some());
            let _ = pace.arrived(1, true);
            late
        })
    }

    #[test]
    fn what_keeps_the_rate_owes_nothing() {
        for rate in [1, 3, 20, 999, 1000] {
            let mut pace = pace(rate);
            assert_eq!(one_byte_in(&mut pace, 1), None, "{rate} bytes per second");
            assert!(pace.is_kept());
        }
    }

    #[test]
    fn whatever_is_slower_is_found_out() {
        for (ticks, bytes) in [(2, 200), (3, 100), (11, 20), (200, 1)] {
            let mut pace = pace(20);
            assert_eq!(one_byte_in(&mut pace, ticks), Some(bytes), "one byte in {ticks} ticks of 50 ms");
            assert!(!pace.is_kept());
            pace.reconnected();
            pace.begin();
            assert_eq!(pace.tick(), None, "another connection gets its chance");
            let _ = pace.arrived(1000, true);
            assert!(pace.is_kept());
        }
    }

    #[test]
    fn silence_is_a_stall_whatever_the_floor() {
        for rate in [0, 1, 20] {
            let mut pace =
                Pace::new(Limits { rate_floor: rate, behind_ms: 60_000, stall_ms: 1_500, ..Limits::default() });
            pace.begin();
            let mut waited = 0;
            loop {
                waited += pace.tick_ms();
                if let Some(waiting) = pace.tick() {
                    assert_eq!((waiting, waited), (Waiting::Body, 1_500), "{rate}");
                    break;
                }
            }
        }
    }
}
