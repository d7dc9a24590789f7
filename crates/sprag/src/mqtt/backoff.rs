//! Waits that double, with jitter.

use sprag_fetch::RetryPolicy;

/// Counts fruitless tries in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    fruitless: u8,
    random: u32,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, fruitless: 0, random: policy.seed.wrapping_mul(0x9e37_79b9) | 1 }
    }

    /// The next failure counts as the first.
    pub(crate) fn reset(&mut self) {
        self.fruitless = 0;
    }

    /// The wait after another failure, in milliseconds; `None` when there have been enough.
    pub(crate) fn next_ms(&mut self) -> Option<u32> {
        self.fruitless = self.fruitless.saturating_add(1);
        (self.fruitless < self.policy.attempts).then(|| self.wait_ms())
    }

    /// The same for one that is never given up on.
    pub(crate) fn forever_ms(&mut self) -> u32 {
        self.fruitless = self.fruitless.saturating_add(1);
        self.wait_ms()
    }

    fn wait_ms(&mut self) -> u32 {
        let doublings = u32::from(self.fruitless.saturating_sub(1)).min(31);
        let full = self.policy.first_ms.saturating_mul(1 << doublings).min(self.policy.longest_ms);
        // xorshift32 (Marsaglia, 2003): jitter needs no better.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        full.saturating_sub(self.random.checked_rem((full / 2).saturating_add(1)).unwrap_or(0))
    }
}
