//! The defects of the loop that this crate takes the place of (Infineon's ota-update: sequential GETs of 4096 bytes), one by
//! one, shown absent for objects, ranges, buffers and servers of any kind.

mod common;

use std::num::NonZeroU64;

use common::drain;
use proptest::prelude::*;
use sprag_fetch::{
    AnswerError, Error, Event, Fetcher, Limits, RetryPolicy, Session, TcpConnectError, TcpConnector, Url,
};
use sprag_testkit::http::{Answer, Fault, HttpServer, Refused, Timers};

type FetchError = Error<TcpConnectError<Refused, Refused>>;

struct Run {
    bytes: Vec<u8>,
    result: Result<(), FetchError>,
    events: Vec<Event>,
    session: Session,
}

fn run(server: &HttpServer, url: &str, range: u64, buffer: usize, session: Session) -> Run {
    let connector = TcpConnector::new(server, server);
    let limits = Limits { stall_ms: 100, ..Limits::default() };
    let mut fetcher = Fetcher::new(&connector, Timers).limits(limits);
    if let Some(size) = NonZeroU64::new(range) {
        fetcher = fetcher.range_size(size);
    }
    let mut download = fetcher.download(Url::parse(url.bytes()).unwrap(), session);
    let (bytes, result, events) = drain(&mut download, buffer);
    let session = download.session().clone();
    Run { bytes, result, events, session }
}

const URL: &str = "http://host/object";

fn object(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// The waits before each try again.
fn waits(events: &[Event]) -> Vec<u32> {
    let wait = |event: &Event| match event {
        Event::Retrying { after_ms, .. } => Some(*after_ms),
        _ => None,
    };
    events.iter().filter_map(wait).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// "Paths cut at 255 bytes": the request names all of the target, however long it is, and however small the buffer.
    #[test]
    fn no_path_is_cut(target in "/[a-zA-Z0-9%&=./?_~-]{1,6000}", buffer in 1usize..600) {
        let server = HttpServer::new(object(10));
        let done = run(&server, &format!("http://host{target}"), 0, buffer, Session::default());
        prop_assert_eq!(done.result, Ok(()));
        prop_assert_eq!(server.requests()[0].target().to_owned(), target);
    }

    /// "Any 2xx accepted": of all that are not a range, only a whole object at its beginning is.
    #[test]
    fn no_other_2xx_is_taken(status in 200u16..300, offset in 0u64..20) {
        let server = HttpServer::new(object(20)).scripted(move |_| {
            let head = format!("HTTP/1.1 {status} x\r\nETag: \"1\"\r\nContent-Length: 20\r\n\r\n");
            Some(Answer::new([head.as_bytes(), &[0xEE; 20]].concat()))
        });
        let session = Session { offset, total: Some(20), etag: Some("\"1\"".try_into().unwrap()) };
        let done = run(&server, URL, 0, 64, session);
        prop_assert_eq!(done.result.is_ok(), status == 200 && offset == 0);
        prop_assert_eq!(done.bytes.is_empty(), done.result.is_err());
    }

    /// "No check of where `Content-Range` starts".
    #[test]
    fn no_range_is_taken_from_elsewhere(asked in 0u64..1000, first in 0u64..1000, last in 0u64..1000, total in 1u64..1100) {
        let server = HttpServer::new(object(1000)).scripted(move |_| {
            let length = (last + 1).saturating_sub(first) as usize;
            let range = format!("Content-Range: bytes {first}-{last}/{total}\r\nContent-Length: {length}");
            let head = format!("HTTP/1.1 206 x\r\nETag: \"1\"\r\n{range}\r\n\r\n");
            Some(Answer::last([head.as_bytes(), &vec![0xEE; length]].concat()))
        });
        let session = Session { offset: asked, total: Some(1000), etag: Some("\"1\"".try_into().unwrap()) };
        let done = run(&server, URL, 0, 64, session);
        let fits = first == asked && first <= last && last < total && total == 1000;
        prop_assert_eq!(!done.bytes.is_empty(), fits, "{:?}", done.result);
    }

    /// "An image of 4096·n + 1 bytes loses its last byte and counts as a success".
    #[test]
    fn no_last_byte_is_lost(ranges in 1usize..5, range in 1usize..5000, more in 0usize..3, buffer in 1usize..6000) {
        let object = object((ranges * range + more).saturating_sub(1).max(1));
        let server = HttpServer::new(object.clone());
        let done = run(&server, URL, range as u64, buffer, Session::default());
        prop_assert_eq!(done.result, Ok(()));
        prop_assert!(done.bytes == object, "{} of {} bytes", done.bytes.len(), object.len());
    }

    /// "A persistent 403/404/503 is retried without end or delay": it ends, and what is tried again is waited for.
    #[test]
    fn no_status_is_retried_without_end_or_delay(status in 400u16..600, range in 0u64..10) {
        let server = HttpServer::new(object(20)).scripted(move |_| {
            Some(Answer::new(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")))
        });
        let done = run(&server, URL, range, 64, Session::default());
        let error = done.result.unwrap_err();
        let again = error.is_retryable();
        prop_assert_eq!(again, matches!(status, 408 | 425 | 429 | 500..=599));
        prop_assert_eq!(error.needs_new_url(), matches!(status, 401 | 403));
        let waits = waits(&done.events);
        let tries = if again { usize::from(RetryPolicy::default().attempts) } else { 1 };
        prop_assert_eq!((server.requests().len(), waits.len()), (tries, tries - 1));
        prop_assert!(waits.iter().all(|wait| *wait >= 500), "{waits:?}");
        prop_assert!(waits.windows(2).all(|pair| pair[1] >= pair[0] / 2), "{waits:?}");
    }

    /// "No resume after a reboot": what is left of a download is a few bytes, and it goes on from them, by another URL.
    #[test]
    fn no_reboot_begins_at_byte_0(length in 2usize..3000, at in 1usize..3000, range in 0u64..500) {
        let (object, at) = (object(length), 1 + at % (length - 1));
        let server = HttpServer::new(object.clone());
        let before = Session { offset: at as u64, total: Some(length as u64), etag: Some("\"1\"".try_into().unwrap()) };
        let kept = before.encode();
        let done = run(&server, "http://host/object?another=signature", range, 64, Session::decode(&kept).unwrap());
        prop_assert_eq!(done.result, Ok(()));
        prop_assert!(done.bytes == object[at..]);
        prop_assert_eq!(done.session.offset, length as u64);
        let asked = format!("bytes={at}-");
        prop_assert!(server.requests()[0].header("Range").unwrap().starts_with(&asked));
    }

    /// "A disconnect failed the download, and every retry began at byte 0": images over 100 requests of 4096 bytes never
    /// arrived. Here no byte is asked for twice that was handed out, wherever connections end.
    #[test]
    fn no_disconnect_fails_a_download_or_begins_anew(
        length in 1usize..3000, range in 1u64..300, closing in 1usize..5, cuts in proptest::collection::vec(0usize..2000, 0..6),
    ) {
        let object = object(length);
        let server = HttpServer::new(object.clone()).closing_after(closing);
        cuts.iter().enumerate().for_each(|(connection, at)| server.fault(connection, Fault::Cut(*at)));
        let done = run(&server, URL, range, 64, Session::default());
        prop_assert_eq!(done.result, Ok(()));
        prop_assert!(done.bytes == object);
        let firsts: Vec<u64> = server.requests().iter().map(|request| {
            request.header("Range").unwrap()["bytes=".len()..].split('-').next().unwrap().parse().unwrap()
        }).collect();
        prop_assert!(firsts.windows(2).all(|pair| pair[0] <= pair[1]), "{firsts:?}");
    }

    /// "Redirects an error".
    #[test]
    #[cfg_attr(not(feature = "redirects"), ignore = "needs the feature `redirects`")]
    fn no_redirect_is_an_error(status in prop::sample::select(vec![301, 302, 303, 307, 308]), hops in 1usize..5) {
        let object = object(50);
        let server = HttpServer::new(object.clone()).scripted(move |request| {
            let hop = request.target().strip_prefix("/hop").map_or(0, |hop| hop.parse().unwrap());
            let location = format!("Location: http://host{hop}/hop{}\r\n", hop + 1);
            (hop < hops).then(|| Answer::new(format!("HTTP/1.1 {status} x\r\n{location}Content-Length: 0\r\n\r\n")))
        });
        let done = run(&server, URL, 0, 64, Session::default());
        let expected = if hops <= 4 { Ok(()) } else { Err(Error::Answer(AnswerError::TooManyRedirects)) };
        prop_assert_eq!(done.result, expected);
        prop_assert!(done.bytes == object);
    }
}
