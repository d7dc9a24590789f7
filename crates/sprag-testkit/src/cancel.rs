//! Futures that are dropped at an await: what a cancelled task leaves behind.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls a future until it is ready, or `polls` is used up, and drops it then: its output, if it came so far. Each poll
/// takes one away, so that the awaits of several futures count as one sequence; to try them all, begin with 0, 1, 2 and so
/// on until nothing is dropped any more.
pub async fn after<F: Future>(polls: &mut u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let Some(fewer) = polls.checked_sub(1) else { return Poll::Ready(None) };
        *polls = fewer;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yield_once;

    #[test]
    fn what_is_left_goes_on_to_the_next_future() {
        let twice = async || {
            yield_once().await;
            yield_once().await;
            "done"
        };
        let tried = (0..7).map(|polls| {
            let mut left = polls;
            let first = embassy_futures::block_on(after(&mut left, twice()));
            let second = embassy_futures::block_on(after(&mut left, twice()));
            (first.is_some(), second.is_some(), left)
        });
        let (one, both) = ((true, false, 0), (true, true, 0));
        assert_eq!(
            tried.collect::<Vec<_>>(),
            [(false, false, 0), (false, false, 0), (false, false, 0), one, one, one, both]
        );
    }
}
