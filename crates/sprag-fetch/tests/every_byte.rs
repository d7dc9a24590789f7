//! Downloads against connections that are cut, stalled and flipped at every byte, alone and in pairs: the bytes handed
//! out are the object's, in their order, and the download ends.

mod common;

use std::num::NonZeroU64;

use common::drain;
use embassy_futures::block_on;
use sprag_fetch::{
    AnswerError, Error, Event, Fetcher, Limits, RangeIgnored, RetryPolicy, Session, TcpConnectError, TcpConnector, Url,
    Waiting,
};
use sprag_testkit::cancel;
use sprag_testkit::http::{Answer, Fault, HttpServer, NoTime, Refused, Timers};

type FetchError = Error<TcpConnectError<Refused, Refused>>;

const URL: &str = "http://host/object?X-Amz-Signature=a%2Fb";
/// Ranges that divide the object, that leave a byte, and that reach past it; 0 is one open range.
const RANGES: [u64; 8] = [0, 1, 2, 7, 19, 20, 21, 100];
const BUFFERS: [usize; 4] = [1, 3, 64, 1000];

fn object() -> Vec<u8> {
    (100..120).collect()
}

struct Download {
    bytes: Vec<u8>,
    result: Result<(), FetchError>,
    events: Vec<Event>,
}

fn download(server: &HttpServer, range: u64, buffer: usize, session: Session) -> Download {
    let connector = TcpConnector::new(server, server);
    // Where time runs out at once, a limit is as good as another; a short one takes fewer ticks.
    let limits = Limits { stall_ms: 100, ..Limits::default() };
    let retry = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
    let mut fetcher = Fetcher::new(&connector, Timers).retry(retry).limits(limits);
    if let Some(size) = NonZeroU64::new(range) {
        fetcher = fetcher.range_size(size);
    }
    let mut download = fetcher.download(Url::parse(URL.bytes()).unwrap(), session);
    let (bytes, result, events) = drain(&mut download, buffer);
    Download { bytes, result, events }
}

/// At least as many bytes as a server sends when nothing goes wrong.
fn sent(range: u64) -> usize {
    // The head of a 206 has about 110 bytes; there is one for each range.
    let answers = if range == 0 { 1 } else { object().len().div_ceil(range as usize) };
    answers * 120 + object().len()
}

#[test]
fn undisturbed_it_is_one_connection_and_no_more_requests_than_ranges() {
    for range in RANGES {
        for buffer in BUFFERS {
            let server = HttpServer::new(object());
            let done = download(&server, range, buffer, Session::default());
            assert_eq!((done.bytes, done.result), (object(), Ok(())));
            let requests = if range == 0 { 1 } else { 20u64.div_ceil(range) };
            assert_eq!((server.connections(), server.requests().len() as u64), (1, requests));
            let pinned = server.requests().iter().skip(1).all(|r| r.header("If-Match") == Some("\"1\""));
            assert!(pinned, "every request after the first is for the same object");
            assert!(server.requests().iter().all(|r| r.head.matches("Range:").count() == 1));
        }
    }
}

#[test]
fn a_server_that_closes_after_some_requests_costs_connections_only() {
    for limit in 1..=4 {
        let server = HttpServer::new(object()).closing_after(limit);
        let done = download(&server, 2, 64, Session::default());
        assert_eq!((done.bytes, done.result), (object(), Ok(())));
        assert_eq!((server.connections(), server.requests().len()), (10usize.div_ceil(limit), 10));
        assert!(!done.events.iter().any(|event| matches!(event, Event::Retrying { .. })), "announced, so no failure");
    }
}

const KINDS: [fn(usize) -> Fault; 2] = [Fault::Cut, Fault::Stall];

#[test]
fn cut_or_stalled_at_every_byte_the_object_arrives_whole() {
    for range in RANGES {
        for (at, kind) in (0..sent(range)).flat_map(|at| KINDS.map(|kind| (at, kind))) {
            let server = HttpServer::new(object());
            server.fault(0, kind(at));
            let done = download(&server, range, 64, Session::default());
            assert_eq!((done.bytes, done.result), (object(), Ok(())), "range {range}, {:?}", kind(at));
            assert!(server.connections() <= 2);
        }
    }
}

/// The same in chunks of every size, and behind a redirect.
#[test]
#[cfg_attr(
    not(all(feature = "chunked", feature = "redirects")),
    ignore = "needs the features `chunked` and `redirects`"
)]
fn chunks_and_redirects_change_nothing() {
    let servers: [fn() -> HttpServer; 5] = [
        || HttpServer::new(object()).in_chunks_of(1),
        || HttpServer::new(object()).in_chunks_of(7),
        || HttpServer::new(object()).in_chunks_of(20),
        || HttpServer::new(object()).redirecting_to("http://elsewhere:81/there?b=%2F"),
        || HttpServer::new(object()).redirecting_to("/there"),
    ];
    for (server, range) in servers.iter().flat_map(|server| [0, 7, 19].map(|range| (server, range))) {
        for buffer in [40, 64, 1000] {
            let done = download(&server(), range, buffer, Session::default());
            assert_eq!((done.bytes, done.result), (object(), Ok(())), "range {range}, buffer {buffer}");
        }
        for (at, kind) in (0..sent(range) + 120).flat_map(|at| KINDS.map(|kind| (at, kind))) {
            for connection in 0..2 {
                let server = server();
                server.fault(connection, kind(at));
                let done = download(&server, range, 64, Session::default());
                let context = format!("range {range}, {:?} on connection {connection}", kind(at));
                assert_eq!((done.bytes, done.result), (object(), Ok(())), "{context}");
            }
        }
    }
}

#[test]
fn a_server_that_ignores_ranges_is_refused_in_the_middle_or_read_from_its_beginning() {
    let session = || Session { offset: 7, total: Some(20), etag: Some("\"1\"".try_into().unwrap()) };
    let server = HttpServer::new(object()).ignoring_ranges();
    let refused = download(&server, 0, 64, session());
    assert_eq!((refused.bytes, refused.result), (vec![], Err(Error::Answer(AnswerError::RangeIgnored))));
    for (buffer, cut) in BUFFERS.iter().flat_map(|buffer| (0..140).map(move |cut| (*buffer, cut))) {
        let server = HttpServer::new(object()).ignoring_ranges();
        server.fault(0, Fault::Cut(cut));
        let connector = TcpConnector::new(&server, &server);
        let mut fetcher = Fetcher::new(&connector, Timers).range_ignored(RangeIgnored::Skip);
        let mut download = fetcher.download(Url::parse(URL.bytes()).unwrap(), session());
        let (mut bytes, mut buf) = (Vec::<u8>::new(), vec![0; buffer]);
        while let count @ 1.. = block_on(download.read(&mut buf, &mut |_| {})).unwrap() {
            bytes.extend(&buf[..count]);
        }
        assert_eq!(bytes, object()[7..], "buffer {buffer}, cut at {cut}");
    }
}

#[test]
#[cfg_attr(not(feature = "redirects"), ignore = "needs the feature `redirects`")]
fn a_redirect_is_followed_but_never_remembered() {
    let server = HttpServer::new(object()).redirecting_to("http://elsewhere/there");
    let done = download(&server, 10, 64, Session::default());
    assert_eq!((done.bytes, done.result), (object(), Ok(())));
    let targets: Vec<_> = server.requests().iter().map(|request| request.target().to_owned()).collect();
    let first = "/object?X-Amz-Signature=a%2Fb";
    assert_eq!(targets, [first, "/there", first, "/there"]);
    assert_eq!(server.requests()[1].header("Host"), Some("elsewhere"));
    assert!(done.events.contains(&Event::Redirected { status: 307 }));
}

#[test]
#[cfg_attr(not(feature = "redirects"), ignore = "needs the feature `redirects`")]
fn redirects_that_lead_nowhere_end() {
    let refused = |location: &str, buffer| {
        let server = HttpServer::new(object()).redirecting_to(location);
        let result = download(&server, 0, buffer, Session::default()).result;
        (result.unwrap_err(), server.requests().len())
    };
    assert_eq!(refused("http://h/#", 64), (Error::Answer(AnswerError::BadRedirect), 1));
    for location in [
        "there more",
        "http://h/a b",
        "http:// h/",
        "/a\tb",
        "/a\rb",
        "/a\r\n /b",
        "/a\r\nLocation: /b",
        "/\u{fc}",
        "/\0",
        "h:x",
    ] {
        assert_eq!(refused(location, 64), (Error::Answer(AnswerError::BadRedirect), 1), "{location:?}");
    }
    assert_eq!(refused("ftp://h/there", 64), (Error::Answer(AnswerError::BadRedirect), 1));
    assert_eq!(refused("http://elsewhere/there", 20), (Error::NoBuffer, 1));
    // No target is the end of this location: round and round.
    let loops = HttpServer::new(object()).redirecting_to("http://h/a ");
    let done = download(&loops, 0, 64, Session::default());
    assert_eq!((done.result, loops.requests().len()), (Err(Error::Answer(AnswerError::TooManyRedirects)), 5));
    let followed = done.events.iter().filter(|event| matches!(event, Event::Redirected { .. })).count();
    assert_eq!(followed, 4, "{:?}", done.events);
}

/// Absolute, relative and absolute again, to a name and to an address: whom it asks for what, with any buffer that the longest
/// of them fits into, and with the answers in pieces that end anywhere.
#[test]
#[cfg_attr(not(all(feature = "ipv6", feature = "redirects")), ignore = "needs the features `ipv6` and `redirects`")]
fn redirects_lead_from_one_to_the_next() {
    const HOPS: [(&str, &str, &str); 5] = [
        ("/object?X-Amz-Signature=a%2Fb", "http://second.example:81/a?b=%2F", "host"),
        ("/a?b=%2F", "../c", "second.example:81"),
        ("/c", "//[2001:db8::1]:8080", "second.example:81"),
        ("/", "/e", "[2001:db8::1]:8080"),
        ("/e", "", "[2001:db8::1]:8080"),
    ];
    let script = |request: &sprag_testkit::http::Request| {
        let (_, location, _) = HOPS.into_iter().find(|(target, ..)| *target == request.target()).expect("asked for");
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        (!location.is_empty()).then(|| Answer::new(head))
    };
    for buffer in 60..120 {
        let server = HttpServer::new(object()).scripted(script);
        let done = download(&server, 0, buffer, Session::default());
        assert_eq!((done.bytes, done.result), (object(), Ok(())), "buffer {buffer}");
        let asked: Vec<_> = server.requests();
        let asked: Vec<_> = asked.iter().map(|request| (request.target(), request.header("Host").unwrap())).collect();
        assert_eq!(asked, HOPS.map(|(target, _, host)| (target, host)), "buffer {buffer}");
    }
    // A byte too few for the host and what comes behind it.
    let server = HttpServer::new(object()).scripted(script);
    assert_eq!(download(&server, 0, 20, Session::default()).result, Err(Error::NoBuffer));
}

/// The service's own word is told once, whatever becomes of it; and is none where the service gave none.
#[test]
fn a_refusal_is_told_in_the_services_own_word() {
    let expired = "<Error><Code>ExpiredToken</Code></Error>";
    let long = format!("<Code>{}</Code>", "x".repeat(41));
    for (status, body, code, error) in [
        (403, "<Error><Code>AccessDenied</Code></Error>", "AccessDenied", AnswerError::UrlRefused { status: 403 }),
        (401, "no", "", AnswerError::UrlRefused { status: 401 }),
        (403, &long, "", AnswerError::UrlRefused { status: 403 }),
        (400, expired, "ExpiredToken", AnswerError::UrlRefused { status: 400 }),
        (
            400,
            "<Code>InvalidArgument</Code>",
            "InvalidArgument",
            AnswerError::Status { status: 400, retry_after: None },
        ),
    ] {
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for buffer in BUFFERS {
            let answer = answer.clone();
            let server = HttpServer::new(object()).scripted(move |_| Some(Answer::new(answer.clone())));
            let done = download(&server, 0, buffer, Session::default());
            assert_eq!(done.result, Err(Error::Answer(error)), "{body}");
            let told: Vec<_> = done.events.iter().filter(|event| matches!(event, Event::Refused { .. })).collect();
            assert_eq!(told, [&Event::Refused { status, code: code.try_into().unwrap() }], "{body}, buffer {buffer}");
        }
    }
    // Cut off in its explanation, a refusal stays one.
    let cut = "HTTP/1.1 403 x\r\nContent-Length: 100\r\n\r\n<Code>Access";
    let server = HttpServer::new(object()).scripted(move |_| Some(Answer::last(cut)));
    let done = download(&server, 0, 64, Session::default());
    assert_eq!(done.result, Err(Error::Answer(AnswerError::UrlRefused { status: 403 })));
    assert!(done.events.contains(&Event::Refused { status: 403, code: "".try_into().unwrap() }), "{:?}", done.events);
}

/// What was asked for through TLS is not taken in the clear.
#[test]
#[cfg_attr(not(feature = "redirects"), ignore = "needs the feature `redirects`")]
fn a_redirect_out_of_tls_is_refused() {
    let server = HttpServer::new(object()).redirecting_to("http://elsewhere/there");
    let mut fetcher = Fetcher::new(AnyScheme(server.clone()), Timers);
    let mut download = fetcher.download(Url::parse("https://h/object".bytes()).unwrap(), Session::default());
    let result = block_on(download.read(&mut [0; 64], &mut |_| {}));
    assert_eq!(result, Err(Error::Answer(AnswerError::Downgrade)));
    assert_eq!(server.requests().len(), 1);
}

/// Takes every scheme for plain TCP.
struct AnyScheme(HttpServer);

impl sprag_fetch::Connector for AnyScheme {
    type Error = Refused;
    type Connection<'c> = sprag_testkit::http::Connection;

    async fn connect(&self, _: sprag_fetch::Scheme, _: &str, port: u16) -> Result<Self::Connection<'_>, Refused> {
        embedded_nal_async::TcpConnect::connect(&self.0, ([127, 0, 0, 1], port).into()).await
    }
}

#[test]
fn a_second_fault_at_every_byte_of_the_recovery_changes_nothing() {
    for range in [0, 7] {
        let sent = sent(range);
        for (first, kind) in (0..sent).flat_map(|at| KINDS.map(|kind| (at, kind))) {
            for second in 0..sent {
                let server = HttpServer::new(object());
                server.fault(0, kind(first));
                server.fault(1, kind(second));
                let done = download(&server, range, 64, Session::default());
                assert_eq!((done.bytes, done.result), (object(), Ok(())), "range {range}, {first} and {second}");
                assert!(server.connections() <= 3);
            }
        }
    }
}

/// A flipped byte in a head is noticed, or harmless; in a body it passes here (the digest in flash is what finds it), but
/// never moves, adds or loses a byte.
#[test]
fn flipped_at_every_byte_no_byte_moves() {
    for range in [0, 7, 20] {
        for at in 0..sent(range) {
            for bits in [0x01, 0x20, 0x80, 0xFF] {
                let server = HttpServer::new(object());
                server.fault(0, Fault::Flip(at, bits));
                let done = download(&server, range, 64, Session::default());
                let wrong = done.bytes.iter().zip(object()).filter(|(got, wanted)| *got != wanted).count();
                assert!(wrong <= 1, "range {range}, byte {at}, bits {bits:#x}: {:?}", done.bytes);
                assert!(done.bytes.len() <= object().len());
                if done.result.is_ok() {
                    assert_eq!(done.bytes.len(), object().len());
                }
            }
        }
    }
}

#[test]
fn a_dead_server_is_given_up_on() {
    let server = HttpServer::new(object());
    (0..100).for_each(|connection| server.fault(connection, Fault::Refuse));
    let done = download(&server, 0, 64, Session::default());
    assert_eq!(done.result, Err(Error::Connect(TcpConnectError::Tcp(Refused))));
    assert_eq!(server.connections(), 4);

    let server = HttpServer::new(object());
    (0..100).for_each(|connection| server.fault(connection, Fault::Cut(5)));
    assert_eq!(download(&server, 0, 64, Session::default()).result, Err(Error::Closed));
    assert_eq!(server.connections(), 4, "heads without bytes are no progress");
}

/// A body that is longer or shorter than its head says: what is too much is nobody's, and what is missing is asked for.
#[test]
fn lengths_that_lie_cost_a_connection() {
    for (range, more) in RANGES.iter().flat_map(|range| (-3..=30).map(move |more| (*range, more))) {
        let asked = if range == 0 { 20 } else { range.min(20) };
        // Where no byte comes, the next answer is the first one again, and lies.
        let Some(comes) = asked.checked_add_signed(more).filter(|comes| *comes > 0) else { continue };
        let server = HttpServer::new(object()).scripted(move |request| {
            let (first, last) = request.header("Range")?.strip_prefix("bytes=")?.split_once('-')?;
            let last = last.parse().unwrap_or(19).min(19);
            let head = format!("HTTP/1.1 206 x\r\nETag: \"1\"\r\nContent-Range: bytes 0-{last}/20\r\n");
            let head = format!("{head}Content-Length: {}\r\n\r\n", last + 1);
            let mut body = object()[..=last].to_vec();
            body.resize(comes as usize, b'H');
            let answer = [head.as_bytes(), &body].concat();
            (first == "0").then(|| if more < 0 { Answer::last(answer) } else { Answer::new(answer) })
        });
        let done = download(&server, range, 64, Session::default());
        assert_eq!((done.bytes, done.result), (object(), Ok(())), "range {range}, {more} more");
        assert!(server.connections() <= 2, "range {range}, {more} more");
    }
}

/// A byte from each connection, and then none for longer than the rate allows: it ends, though bytes come.
#[test]
fn connections_that_are_too_slow_are_given_up_on() {
    let object: Vec<u8> = (0..200).collect();
    let server = HttpServer::new(object.clone());
    let head =
        "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Range: bytes 0-199/200\r\nContent-Length: 200\r\n\r\n";
    (0..100).for_each(|connection| server.fault(connection, Fault::Stall(head.len() + 8)));
    let connector = TcpConnector::new(&server, &server);
    let limits = Limits { rate_floor: 20, behind_ms: 10_000, stall_ms: 60_000, ..Limits::default() };
    let retry = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
    let mut fetcher = Fetcher::new(&connector, Timers).limits(limits).retry(retry);
    let mut download = fetcher.download(Url::parse(URL.bytes()).unwrap(), Session::default());
    let mut bytes = Vec::<u8>::new();
    let error = loop {
        let mut buf = [0; 64];
        match block_on(download.read(&mut buf, &mut |_| {})) {
            Ok(count) => bytes.extend(&buf[..count]),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Timeout(Waiting::Rate));
    assert!((1..200).contains(&bytes.len()) && object.starts_with(&bytes), "{bytes:?}");
    assert_eq!(server.connections(), 4);
}

#[test]
fn a_replaced_object_is_never_spliced() {
    for range in [0, 7] {
        for offset in 1..20u64 {
            let server = HttpServer::new(object());
            let session = Session { offset, total: Some(20), etag: Some("\"1\"".try_into().unwrap()) };
            server.replace(vec![0; 20]);
            let done = download(&server, range, 64, session);
            assert_eq!((done.bytes, done.result), (vec![], Err(Error::Answer(AnswerError::ObjectChanged))));
        }
    }
}

/// Reading is dropped at each of its awaits; what was handed out before, and what comes after, is the object.
#[test]
fn a_dropped_read_loses_nothing() {
    for range in RANGES {
        for polls in 0.. {
            let server = HttpServer::new(object()).yielding();
            let connector = TcpConnector::new(&server, &server);
            let mut fetcher = Fetcher::new(&connector, NoTime);
            if let Some(size) = NonZeroU64::new(range) {
                fetcher = fetcher.range_size(size);
            }
            let mut download = fetcher.download(Url::parse(URL.bytes()).unwrap(), Session::default());
            let (mut bytes, mut buf, mut left, mut dropped) = (Vec::<u8>::new(), [0; 9], polls, false);
            loop {
                let read = block_on(cancel::after(&mut left, download.read(&mut buf, &mut |_| {})));
                match read.map(Result::unwrap) {
                    Some(0) => break,
                    Some(count) => bytes.extend(&buf[..count]),
                    None => {
                        assert_eq!(download.session().offset, bytes.len() as u64);
                        (left, dropped) = (u64::MAX, true);
                    }
                }
            }
            assert_eq!(bytes, object(), "range {range}, dropped after {polls} polls");
            if !dropped {
                break;
            }
        }
    }
}
