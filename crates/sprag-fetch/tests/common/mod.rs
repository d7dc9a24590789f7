//! What the tests have in common.

use embassy_futures::block_on;
use sprag_fetch::{Error, Event, Image};

/// How a download ended.
type End<I> = Result<(), Error<<I as Image>::Error>>;

/// Reads a download to its end or its first error, `buffer` bytes at most at a time: the bytes, how it ended, and what
/// happened.
pub(crate) fn drain<I: Image>(download: &mut I, buffer: usize) -> (Vec<u8>, End<I>, Vec<Event>) {
    let (mut bytes, mut events, mut buf) = (Vec::new(), Vec::new(), vec![0; buffer]);
    let result = loop {
        match block_on(download.read(&mut buf, &mut |event| events.push(event))) {
            Ok(0) => break Ok(()),
            Ok(count) => bytes.extend(&buf[..count]),
            Err(error) => break Err(error),
        }
    };
    (bytes, result, events)
}
