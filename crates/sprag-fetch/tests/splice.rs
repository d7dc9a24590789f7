//! Servers whose objects change between two answers, with every kind of ETag: bytes of two answers are joined only where the
//! same strong ETag came with both.

mod common;

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use common::drain;
use sprag_fetch::{AnswerError, Error, Event, Fetcher, RangeIgnored, Session, TcpConnectError, TcpConnector, Url};
use sprag_testkit::http::{Answer, HttpServer, Refused, Request, Timers};

type FetchError = Error<TcpConnectError<Refused, Refused>>;

const SIZE: usize = 2000;
/// What an answer brings before the connection is lost.
const PIECE: usize = 700;

/// The header lines of an answer that says which object it is of, and whether that is a strong ETag.
const TAGS: [(&str, bool); 13] = [
    ("ETag: \"a\"\r\n", true),
    ("etag:\t\"b\"\r\n", true),
    ("ETag: \"a,b\"\r\n", true),
    ("ETag: \"\u{fc}\"\r\n", true),
    ("", false),
    ("ETag:\r\n", false),
    ("ETag: \"\"\r\n", false),
    ("ETag: W/\"a\"\r\n", false),
    ("ETag: W/\"b\"\r\n", false),
    ("ETag: a\r\n", false),
    ("ETag: \"a\"-gzip\r\n", false),
    ("ETag: \"a b\"\r\n", false),
    ("Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nDate: Fri, 27 Nov 2026 00:00:00 GMT\r\n", false),
];

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Ranges as asked for, and connections that are lost.
    Ranges,
    /// The same, in chunks.
    Chunks,
    /// A part of what was asked for, on a connection that stays.
    Caps,
    /// The whole object whatever was asked for, and connections that are lost.
    Whole,
}

const MANNERS: [Manner; 4] = [Manner::Ranges, Manner::Chunks, Manner::Caps, Manner::Whole];

/// The bytes of the n-th object: each of them says whose it is.
fn object(number: u8) -> Vec<u8> {
    vec![b'A' + number; SIZE]
}

/// Answers the n-th request with the n-th object, under the n-th of `tags`; from the last one on with the last. What is
/// asked for from byte 0 without a range comes whole.
fn serve(manner: Manner, tags: &'static [&'static str]) -> impl FnMut(&Request) -> Option<Answer> {
    let mut requests = 0;
    move |request| {
        let number = requests.min(tags.len() - 1);
        requests += 1;
        let (tag, object) = (tags[number], object(number as u8));
        let range = request.header("Range").filter(|_| manner != Manner::Whole);
        let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
            let head = format!("HTTP/1.1 200 OK\r\n{tag}Content-Length: {SIZE}\r\n\r\n");
            let whole = request.header("Range").is_none() || number + 1 == tags.len();
            return Some(Answer::last([head.as_bytes(), &object[..if whole { SIZE } else { PIECE }]].concat()));
        };
        let first: usize = first.parse().unwrap();
        let mut last = last.parse().unwrap_or(SIZE - 1).min(SIZE - 1);
        if manner == Manner::Caps {
            last = last.min(first + PIECE - 1);
        }
        let head = format!("HTTP/1.1 206 x\r\n{tag}Content-Range: bytes {first}-{last}/{SIZE}\r\n");
        let body = &object[first..=last];
        Some(match manner {
            Manner::Chunks => {
                let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
                let sent = if body.len() > PIECE { &body[..PIECE] } else { body };
                Answer::last([head.as_bytes(), sent, if sent == body { b"\r\n0\r\n\r\n" } else { b"" }].concat())
            }
            Manner::Caps => {
                let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
                Answer::new([head.as_bytes(), body].concat())
            }
            _ => {
                let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
                let sent = if body.len() > PIECE { &body[..PIECE] } else { body };
                Answer::last([head.as_bytes(), sent].concat())
            }
        })
    }
}

struct Run {
    bytes: Vec<u8>,
    result: Result<(), FetchError>,
    events: Vec<Event>,
    session: Session,
}

fn run(server: &HttpServer, range: u64, policy: RangeIgnored, session: Session) -> Run {
    let connector = TcpConnector::new(server, server);
    let mut fetcher = Fetcher::new(&connector, Timers).range_ignored(policy);
    if let Some(size) = NonZeroU64::new(range) {
        fetcher = fetcher.range_size(size);
    }
    let mut download = fetcher.download(Url::parse("http://host/object".bytes()).unwrap(), session);
    let (bytes, result, events) = drain(&mut download, 600);
    let session = download.session().clone();
    Run { bytes, result, events, session }
}

/// Every pair of tags, every manner, every size of ranges: an object that changes in the middle is never taken for one.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn an_object_that_changes_is_never_joined() {
    for (first, _) in TAGS {
        for (second, _) in TAGS.into_iter().filter(|(second, strong)| first != *second || !strong) {
            let tags: &'static [&'static str] = Box::leak(Box::new([first, second]));
            for (manner, range) in MANNERS.iter().flat_map(|manner| [0, 600, 1000].map(|range| (*manner, range))) {
                for policy in [RangeIgnored::Refuse, RangeIgnored::Skip] {
                    let server = HttpServer::new(vec![]).scripted(serve(manner, tags));
                    let done = run(&server, range, policy, Session::default());
                    let context = format!("{first:?}, {second:?}, {manner:?}, ranges of {range}: {:?}", done.result);
                    let of_one = done.bytes.windows(2).all(|pair| pair[0] == pair[1]);
                    assert!(of_one, "{context}");
                    match done.result {
                        Ok(()) => assert_eq!(done.bytes.len(), SIZE, "{context}"),
                        Err(error) => assert!(error.needs_start_over(), "{context}"),
                    }
                }
            }
        }
    }
}

/// A tag that stays the same, and the object with it: the strong ones are gone on with, the others come in one answer or not
/// at all, and say so.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn an_object_that_stays_is_joined_by_strong_tags_only() {
    for ((tag, strong), manner) in TAGS.iter().flat_map(|tag| MANNERS.map(|manner| (*tag, manner))) {
        for range in [0, 600, 1000] {
            let tags: &'static [&'static str] = Box::leak(Box::new([tag]));
            let server = HttpServer::new(vec![]).scripted(serve(manner, tags));
            let done = run(&server, range, RangeIgnored::Refuse, Session::default());
            let context = format!("{tag:?}, {manner:?}, ranges of {range}: {:?}", done.events);
            assert_eq!(done.session.is_pinned(), strong, "{context}");
            assert_eq!(done.events.contains(&Event::NoStrongEtag), !strong, "{context}");
            // Asked for without a range, or with one that is ignored, the object comes whole.
            let comes = strong || range > 0 || matches!(manner, Manner::Caps | Manner::Whole);
            if comes {
                assert_eq!((done.result, done.bytes), (Ok(()), object(0)), "{context}");
            } else {
                assert_eq!(done.result, Err(Error::Answer(AnswerError::NoStrongEtag)), "{context}");
                assert_eq!(done.bytes, object(0)[..PIECE], "{context}");
            }
            let plain = server.requests().iter().filter(|request| request.header("Range").is_none()).count();
            let pieces = manner != Manner::Whole && (range > 0 || manner == Manner::Caps);
            assert_eq!(plain, usize::from(!strong && pieces), "{context}");
        }
    }
}

/// What was kept without a strong tag is not gone on with, whatever the server would say: it is not even asked.
#[test]
fn a_kept_session_without_a_strong_tag_is_not_gone_on_with() {
    for etag in [None, Some("W/\"1\""), Some("\"\""), Some("1")] {
        for offset in 1..20 {
            let server = HttpServer::new(vec![7; 20]);
            let etag = etag.map(|etag| etag.try_into().unwrap());
            let session = Session { offset, total: Some(20), etag };
            let kept = Session::decode(&session.encode()).unwrap();
            let done = run(&server, 0, RangeIgnored::Skip, kept);
            assert_eq!((done.bytes, done.result), (vec![], Err(Error::Answer(AnswerError::NoStrongEtag))));
            assert_eq!(server.connections(), 0);
        }
    }
}

/// A tag that goes away in the middle, and comes back: what came without it is of nobody knows what.
#[test]
fn an_answer_without_the_tag_ends_it() {
    let seen = Arc::new(Mutex::new(0));
    for gone in 1..4 {
        let count = Arc::clone(&seen);
        *count.lock().unwrap() = 0;
        let server = HttpServer::new(vec![]).scripted(move |request| {
            let mut count = count.lock().unwrap();
            let tag: &'static [&'static str] = if *count == gone { &[""] } else { &["ETag: \"a\"\r\n"] };
            *count += 1;
            serve(Manner::Caps, tag)(request)
        });
        let done = run(&server, 500, RangeIgnored::Refuse, Session::default());
        assert_eq!(done.result, Err(Error::Answer(AnswerError::NoStrongEtag)), "{gone}");
        assert_eq!(done.bytes.len(), gone * 500);
    }
}
