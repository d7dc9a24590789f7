//! Waits that double, with jitter.

/// Waits between fruitless tries: each is twice as long as the one before, up to a longest, and jitter takes up to half
/// off.
///
/// ```
/// use sprag_fetch::Backoff;
///
/// let mut backoff = Backoff::new(1_000, 60_000, 42);
/// assert!((500..=1_000).contains(&backoff.next_ms()));
/// assert!((1_000..=2_000).contains(&backoff.next_ms()));
/// assert_eq!(backoff.fruitless(), 2);
/// backoff.reset();
/// assert!((500..=1_000).contains(&backoff.next_ms()));
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    first_ms: u32,
    longest_ms: u32,
    fruitless: u8,
    random: u32,
}

impl Backoff {
    /// Waits from `first_ms` to `longest_ms`, in milliseconds. `seed` is to differ between devices, or a fleet that lost
    /// its server together comes back together.
    pub fn new(first_ms: u32, longest_ms: u32, seed: u32) -> Self {
        // Neighbouring seeds must not give neighbouring waits; and xorshift needs a state that is not zero.
        Self { first_ms, longest_ms, fruitless: 0, random: seed.wrapping_mul(0x9e37_79b9) | 1 }
    }

    /// There was progress: the next failure counts as the first.
    pub fn reset(&mut self) {
        self.fruitless = 0;
    }

    /// Fruitless tries in a row so far; 255 stands for more as well.
    pub fn fruitless(&self) -> u8 {
        self.fruitless
    }

    /// Counts another fruitless try: the wait after it, in milliseconds.
    pub fn next_ms(&mut self) -> u32 {
        let full = self.first_ms.saturating_mul(1 << self.fruitless.min(31)).min(self.longest_ms);
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
        let mut backoff = Backoff::new(1_000, 60_000, 7);
        for full in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            let wait = backoff.next_ms();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        backoff.reset();
        assert!(backoff.next_ms() <= 1_000);
        let first = |seed| Backoff::new(1 << 30, u32::MAX, seed).next_ms();
        assert_ne!(first(1), first(2));
    }
}
