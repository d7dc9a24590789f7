//! What to do about a failure: a decision for each, bounded in number and in time.

use embedded_io_async::ErrorKind;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::session::AnswerError;

/// The number of tries of a download that makes no progress, and the waits between them.
///
/// With the defaults a server that is not there is given up on after seven tries and about a minute. What is counted falls
/// back to zero with progress, and only then: an answer that brings 512 bytes of the object, or as many as were asked for,
/// not slower than [`Limits::rate_floor`](crate::Limits::rate_floor). A server that takes connections and sends next to
/// nothing over each is given up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RetryPolicy {
    /// Tries in a row that may bring no progress before the download gives up.
    pub attempts: u8,
    /// The wait after the first fruitless try, in milliseconds; it doubles with each one after it.
    pub first_ms: u32,
    /// The longest wait, in milliseconds. A server that asks for more by `Retry-After` ends the download, to be tried
    /// again when the caller sees fit: see [`Error::is_retryable`].
    pub longest_ms: u32,
    /// The longest that waits and time limits that ran out may take together, in milliseconds, before the download gives
    /// up.
    pub total_ms: u32,
    /// Seeds the jitter that takes up to half off each wait. **Set it from something that differs between devices**
    /// (serial number, MAC address), or a fleet that lost its server together comes back together.
    pub seed: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 7, first_ms: 1_000, longest_ms: 60_000, total_ms: 600_000, seed: 1 }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Now,
    After { ms: u32 },
    GiveUp,
}

/// Counts fruitless tries in a row, and the time they took.
#[derive(Debug)]
pub(crate) struct Retry {
    policy: RetryPolicy,
    backoff: Backoff,
    spent_ms: u32,
}

impl Retry {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, backoff: Backoff::new(policy.first_ms, policy.longest_ms, policy.seed), spent_ms: 0 }
    }

    /// There was progress.
    pub(crate) fn progress(&mut self) {
        self.backoff.reset();
        self.spent_ms = 0;
    }

    /// How many tries in a row brought nothing.
    pub(crate) fn fruitless(&self) -> u8 {
        self.backoff.fruitless()
    }

    /// Decides about a failure that took `spent_ms` to show; `fruitful` when the answer that it cut off had made progress.
    pub(crate) fn decide<E: embedded_io_async::Error>(
        &mut self,
        error: &Error<E>,
        fruitful: bool,
        spent_ms: u32,
    ) -> Decision {
        let wanted = match error {
            // A connection that served and then ended is what S3 does after 100 requests: the next one serves again.
            Error::Closed | Error::Connection(_) if fruitful => return Decision::Now,
            // A certificate that does not fit now won't in a second.
            Error::Connect(error) if !may_pass(error.kind()) => return Decision::GiveUp,
            Error::Answer(AnswerError::Status { retry_after: Some(seconds), .. }) if error.is_retryable() => {
                seconds.get().saturating_mul(1_000)
            }
            error if error.is_retryable() => 0,
            _ => return Decision::GiveUp,
        };
        let ms = self.backoff.next_ms().max(wanted);
        if self.backoff.fruitless() >= self.policy.attempts || wanted > self.policy.longest_ms {
            return Decision::GiveUp;
        }
        self.spent_ms = self.spent_ms.saturating_add(spent_ms).saturating_add(ms);
        if self.spent_ms > self.policy.total_ms { Decision::GiveUp } else { Decision::After { ms } }
    }
}

/// Kinds that speak of the peer or the settings, not of the moment.
pub(crate) fn may_pass(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::PermissionDenied | ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW_DOWN: Error<ErrorKind> = Error::Answer(AnswerError::Status { status: 503, retry_after: None });

    #[test]
    fn waits_double_with_jitter_and_end() {
        let mut retry = Retry::new(RetryPolicy { seed: 42, ..RetryPolicy::default() });
        for full in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
            let Decision::After { ms } = retry.decide(&SLOW_DOWN, false, 0) else { panic!("gave up before {full}") };
            assert!((full / 2..=full).contains(&ms), "{ms} for {full}");
        }
        assert_eq!(retry.decide(&SLOW_DOWN, false, 0), Decision::GiveUp);
        retry.progress();
        assert!(matches!(retry.decide(&SLOW_DOWN, true, 0), Decision::After { .. }));
    }

    #[test]
    fn devices_differ() {
        let wait = |seed| Retry::new(RetryPolicy { seed, ..RetryPolicy::default() }).decide(&SLOW_DOWN, false, 0);
        let waits: [Decision; 4] = core::array::from_fn(|n| wait(u32::try_from(n).unwrap()));
        assert!(waits.iter().skip(1).all(|w| *w != waits[0]), "{waits:?}");
    }

    #[test]
    fn a_decision_for_each_failure() {
        let decide = |error: Error<ErrorKind>, fruitful| Retry::new(RetryPolicy::default()).decide(&error, fruitful, 0);
        let status = |status, after: Option<u32>| {
            Error::Answer(AnswerError::Status { status, retry_after: after.and_then(core::num::NonZeroU32::new) })
        };
        assert_eq!(decide(Error::Closed, true), Decision::Now);
        assert!(matches!(decide(Error::Closed, false), Decision::After { .. }));
        assert_eq!(decide(Error::Connect(ErrorKind::InvalidData), true), Decision::GiveUp);
        assert!(matches!(decide(Error::Connect(ErrorKind::ConnectionRefused), true), Decision::After { .. }));
        assert_eq!(decide(status(503, Some(7)), false), Decision::After { ms: 7_000 });
        assert_eq!(decide(status(503, Some(61)), false), Decision::GiveUp);
        assert_eq!(decide(status(404, Some(7)), true), Decision::GiveUp);
        assert_eq!(decide(Error::Answer(AnswerError::ObjectChanged), true), Decision::GiveUp);
    }

    /// Time limits that ran out count like waits: a server that takes connections and says nothing is given up on by then.
    #[test]
    fn time_is_bounded_as_well() {
        let policy = RetryPolicy { attempts: 255, first_ms: 1_000, longest_ms: 1_000, total_ms: 100_000, seed: 7 };
        let stalled: Error<ErrorKind> = Error::Timeout(crate::Waiting::Answer);
        let mut retry = Retry::new(policy);
        let tries = core::iter::repeat_with(|| retry.decide(&stalled, false, 30_000));
        assert_eq!(tries.take_while(|decision| *decision != Decision::GiveUp).count(), 3);
    }

    #[test]
    fn fruitless_tries_end_whatever_the_numbers() {
        for policy in [
            RetryPolicy { attempts: 0, first_ms: 0, longest_ms: 0, total_ms: 0, seed: 0 },
            RetryPolicy { attempts: 255, first_ms: u32::MAX, longest_ms: u32::MAX, total_ms: u32::MAX, seed: u32::MAX },
        ] {
            let mut retry = Retry::new(policy);
            let tries = core::iter::repeat_with(|| retry.decide(&SLOW_DOWN, false, 0));
            assert!(tries.take(256).any(|d| d == Decision::GiveUp));
        }
    }
}
