//! Which progress is worth a message.

/// How often progress is reported at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// It has grown by this many percent …
    pub(crate) percent: u8,
    /// … and this many seconds have passed.
    pub(crate) seconds: u32,
    /// Without growth, it is reported all the same after this many seconds.
    pub(crate) at_least: Option<u32>,
}

/// What was reported last, and when.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Thinning {
    last: Option<(u32, u8)>,
}

pub(crate) fn percent(received: u64, total: u64) -> u8 {
    // The upper 25 bits tell a percent, and spare a small core the code of a 64-bit division.
    let shift = u64::BITS.saturating_sub(total.leading_zeros()).saturating_sub(25);
    let upper = |bytes: u64| u32::try_from(bytes.checked_shr(shift).unwrap_or(0)).unwrap_or(u32::MAX);
    let percent = upper(received.min(total)).saturating_mul(100).checked_div(upper(total)).unwrap_or(0);
    u8::try_from(percent).unwrap_or(100)
}

impl Thinning {
    /// Whether `percent` is to be reported at `now`.
    pub(crate) fn is_due(&self, pace: &Pace, now: u32, percent: u8) -> bool {
        let Some((at, before)) = self.last else { return true };
        // The clock may wrap.
        let passed = now.wrapping_sub(at);
        let grown = percent.saturating_sub(before) >= pace.percent.max(1);
        grown && passed >= pace.seconds || pace.at_least.is_some_and(|seconds| passed >= seconds)
    }

    pub(crate) fn reported(&mut self, now: u32, percent: u8) {
        self.last = Some((now, percent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_thinned_by_both_measures_and_keeps_the_step_alive() {
        let pace = Pace { percent: 10, seconds: 30, at_least: Some(300) };
        let mut thin = Thinning::default();
        assert!(thin.is_due(&pace, u32::MAX - 5, 0));
        thin.reported(u32::MAX - 5, 0);
        for (now, percent, due) in [(0, 50, false), (30, 9, false), (30, 10, true), (293, 0, false), (294, 0, true)] {
            assert_eq!(thin.is_due(&pace, now, percent), due, "{now} {percent}");
        }
        assert_eq!((percent(0, 0), percent(1, 3), percent(u64::MAX, u64::MAX), percent(9, 3)), (0, 33, 100, 100));
        assert_eq!((percent(u64::MAX / 2, u64::MAX), percent(1 << 24, (1 << 25) + 1)), (49, 50));
    }
}
