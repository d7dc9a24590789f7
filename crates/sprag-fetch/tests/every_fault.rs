//! Every one and every two faults of a connection, at every byte, for every size of ranges: what is handed out is the object
//! from its beginning, the download always ends, and it ends whole as soon as the faults end.

use std::num::NonZeroU64;

use embassy_futures::block_on;
use sprag_fetch::{Fetcher, Limits, RetryPolicy, Session, TcpConnector, Url};
use sprag_testkit::http::{Answer, Fault, HttpServer, Request, Timers};

const OBJECT: &[u8] = b"XYZ";
/// Where time runs out at once, a limit is as good as another; a short one takes fewer ticks.
const LIMITS: Limits = Limits {
    connect_ms: 100,
    answer_ms: 100,
    stall_ms: 100,
    rate_floor: 20,
    behind_ms: 1000,
    head_bytes: 500,
    redirects: 1,
};

/// Answers as short as they can be, so that there are few places for a fault.
fn answer(request: &Request) -> Option<Answer> {
    if request.header("If-Match").is_some_and(|etag| etag != "\"1\"") {
        return Some(Answer::new("HTTP/1.1 412 \r\nContent-Length:0\r\n\r\n"));
    }
    let (first, last) = request.header("Range")?.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = last.parse().unwrap_or(usize::MAX).min(OBJECT.len() - 1);
    if first > last {
        return Some(Answer::new("HTTP/1.1 416 \r\nContent-Length:0\r\n\r\n"));
    }
    let head = format!("HTTP/1.1 206 \r\nETag:\"1\"\r\nContent-Range:bytes {first}-{last}/{}\r\n\r\n", OBJECT.len());
    Some(Answer::new([head.as_bytes(), &OBJECT[first..=last]].concat()))
}

/// How many bytes the server sends for ranges of this size, 0 for one open range.
fn sent(range: usize) -> usize {
    let answers = if range == 0 { 1 } else { OBJECT.len().div_ceil(range) };
    answers * "HTTP/1.1 206 \r\nETag:\"1\"\r\nContent-Range:bytes 0-0/3\r\n\r\n".len() + OBJECT.len()
}

const KINDS: [fn(usize) -> Fault; 4] = [Fault::Cut, Fault::Stall, Fault::Reset, |at| Fault::Flip(at, 0x05)];

fn faults(range: usize) -> impl Iterator<Item = Fault> + Clone {
    (0..sent(range)).flat_map(|at| KINDS.map(|kind| kind(at)))
}

/// Downloads while these connections have these faults, and then goes on until the object is there.
fn check(range: usize, faults: &[(usize, Fault)]) {
    let server = HttpServer::new(OBJECT.to_vec()).scripted(answer);
    faults.iter().for_each(|(connection, fault)| server.fault(*connection, *fault));
    let flips = faults.iter().filter(|(_, fault)| matches!(fault, Fault::Flip(..))).count();
    let connector = TcpConnector::new(&server, &server);
    let retry = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let mut fetcher = Fetcher::new(&connector, Timers).retry(retry).limits(LIMITS);
    if let Some(size) = NonZeroU64::new(range as u64) {
        fetcher = fetcher.range_size(size);
    }
    let url = || Url::parse("http://h/o".bytes()).unwrap();
    let (mut bytes, mut buf, mut runs, mut session) = (Vec::<u8>::new(), [0; 80], 0, Session::default());
    'runs: loop {
        runs += 1;
        assert!(runs < 6, "range {range}, {faults:?}: it never ends");
        let mut download = fetcher.download(url(), session.clone());
        loop {
            match block_on(download.read(&mut buf, &mut |_| {})) {
                Ok(0) => break 'runs,
                Ok(count) => bytes.extend(&buf[..count]),
                Err(error) if error.needs_start_over() => {
                    bytes.clear();
                    session = Session::default();
                    break;
                }
                Err(_) => {
                    session = download.session().clone();
                    break;
                }
            }
            let wrong = bytes.iter().zip(OBJECT).filter(|(got, wanted)| got != wanted).count();
            assert!(bytes.len() <= OBJECT.len() && wrong <= flips, "range {range}, {faults:?}: {bytes:?}");
            assert_eq!(download.session().offset, bytes.len() as u64);
        }
    }
    assert_eq!(bytes.len(), OBJECT.len(), "range {range}, {faults:?}");
    assert!(server.connections() <= faults.len() + 5, "range {range}, {faults:?}");
}

/// All pairs of faults on two connections, and on one where the first leaves it alive.
fn every_pair(range: usize) {
    faults(range).for_each(|first| check(range, &[(0, first)]));
    for first in faults(range) {
        for second in faults(range) {
            check(range, &[(0, first), (1, second)]);
        }
    }
    for first in faults(range).filter(|fault| matches!(fault, Fault::Flip(..))) {
        for second in faults(range) {
            check(range, &[(0, first), (0, second)]);
        }
    }
}

#[test]
fn one_open_range() {
    every_pair(0);
}

#[test]
fn ranges_of_one_byte() {
    every_pair(1);
}

#[test]
fn ranges_of_two_bytes() {
    every_pair(2);
}

#[test]
fn ranges_of_the_whole() {
    every_pair(3);
}

#[test]
fn ranges_of_more_than_the_whole() {
    every_pair(4);
}
