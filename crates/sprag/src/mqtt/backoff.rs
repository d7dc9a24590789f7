//! Waits that double, with jitter.

/// How long to wait between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// After the first fruitless try, in milliseconds; it doubles with each one after it, and jitter takes up to half off.
    pub first_ms: u32,
    /// The longest, in milliseconds.
    pub longest_ms: u32,
}

/// Counts fruitless tries in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    waits: Waits,
    fruitless: u8,
    random: u32,
}

impl Backoff {
    pub(crate) fn new(waits: Waits, seed: u32) -> Self {
        // Neighbouring seeds must not give neighbouring waits; and xorshift needs a state that is not zero.
        Self { waits, fruitless: 0, random: seed.wrapping_mul(0x9e37_79b9) | 1 }
    }

    /// The next failure counts as the first.
    pub(crate) fn reset(&mut self) {
        self.fruitless = 0;
    }

    /// Fruitless tries in a row so far.
    pub(crate) fn fruitless(&self) -> u8 {
        self.fruitless
    }

    /// The wait after another failure, in milliseconds.
    pub(crate) fn next_ms(&mut self) -> u32 {
        let full = self.waits.first_ms.saturating_mul(1 << self.fruitless.min(31)).min(self.waits.longest_ms);
        self.fruitless = self.fruitless.saturating_add(1);
        // xorshift32 (Marsaglia, 2003): jitter needs no better.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        full.saturating_sub(self.random.checked_rem((full / 2).saturating_add(1)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_between_devices() {
        let mut backoff = Backoff::new(Waits { first_ms: 1_000, longest_ms: 60_000 }, 7);
        for full in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            let wait = backoff.next_ms();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        backoff.reset();
        assert!(backoff.next_ms() <= 1_000);
        let first = |seed| Backoff::new(Waits { first_ms: 1 << 30, longest_ms: u32::MAX }, seed).next_ms();
        assert_ne!(first(1), first(2));
    }
}
