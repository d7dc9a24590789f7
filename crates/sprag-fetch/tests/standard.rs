//! Answers as the standards allow them and servers give them: where a body ends, what its codings mean, and what a refusal says.

mod common;

use common::drain;
use sprag_fetch::{AnswerError, Error, Event, Fetcher, RetryPolicy, Session, TcpConnectError, TcpConnector, Url};
use sprag_testkit::http::{Answer, HttpServer, Refused, Timers};

type FetchError = Error<TcpConnectError<Refused, Refused>>;

const OBJECT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

struct Run {
    bytes: Vec<u8>,
    result: Result<(), FetchError>,
    events: Vec<Event>,
    session: Session,
}

/// Fetches from a server that always answers with these bytes, and then closes; `size`: what the job says.
fn run(answer: Vec<u8>, buffer: usize, size: Option<u64>) -> Run {
    let server = HttpServer::new(vec![]).scripted(move |_| Some(Answer::last(answer.clone())));
    let connector = TcpConnector::new(&server, &server);
    let retry = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let mut fetcher = Fetcher::new(&connector, Timers).retry(retry);
    let session = Session { total: size, ..Session::default() };
    let mut download = fetcher.download(Url::parse("http://h/o".bytes()).unwrap(), session);
    let (bytes, result, events) = drain(&mut download, buffer);
    let session = download.session().clone();
    Run { bytes, result, events, session }
}

fn chunks(size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in OBJECT.chunks(size) {
        body.extend(format!("{:x};ext=\"v\"\r\n", chunk.len()).bytes());
        body.extend(chunk.iter().chain(b"\r\n"));
    }
    body.extend(b"0\r\nExpires: never\r\n\r\n");
    body
}

/// A body in chunks says with its last chunk that it is whole. Cut before it at any byte, it never counts as whole.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn chunks_without_a_length_end_with_the_last() {
    for (tag, size) in ["", "ETag: \"a\"\r\n"].into_iter().flat_map(|tag| [1, 7, 36].map(|size| (tag, size))) {
        let head = format!("HTTP/1.1 200 OK\r\n{tag}Transfer-Encoding: chunked\r\n\r\n");
        let whole = [head.as_bytes(), &chunks(size)].concat();
        for (cut, buffer) in (0..=whole.len()).flat_map(|cut| [1, 5, 64, 1000].map(|buffer| (cut, buffer))) {
            for job in [None, Some(OBJECT.len() as u64)] {
                let done = run(whole[..cut].to_vec(), buffer, job);
                let context = format!("{tag}chunks of {size}, cut at {cut}, {job:?}: {:?}", done.result);
                assert!(OBJECT.starts_with(&done.bytes), "{context}");
                match done.result {
                    Ok(()) => {
                        assert_eq!((done.bytes.as_slice(), done.session.total), (OBJECT, Some(36)), "{context}");
                        // Where the job says how long it is, its last byte will do.
                        assert!(job.is_some() || cut == whole.len(), "{context}");
                    }
                    Err(error) => {
                        assert!(cut < whole.len(), "{context}");
                        assert!(error.is_retryable() || error.needs_start_over(), "{context}");
                    }
                }
            }
        }
    }
    let nothing = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec();
    assert_eq!(run(nothing, 64, None).result, Err(Error::Answer(AnswerError::Empty)));
}

/// Chunks that bring less, or more, than the job says.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn chunks_and_a_size_that_contradict_each_other() {
    for size in 1..60u64 {
        let answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &chunks(7)].concat();
        let done = run(answer, 64, Some(size));
        // Where a chunk ends with the last byte of the size, nobody waits for what may follow.
        let is_unseen = size < 36 && size % 7 == 0;
        assert!(is_unseen || done.result.is_ok() == (size == 36), "{size}: {:?}", done.result);
        assert!(done.bytes.len() as u64 <= size);
    }
}

/// A body that ends with its connection: whole at the size that the job says, and never without one.
#[test]
fn the_end_of_a_connection_is_one_where_the_size_is_known() {
    let versions = ["HTTP/1.0 200 OK\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n"];
    for (version, cut) in versions.into_iter().flat_map(|version| (0..=OBJECT.len()).map(move |cut| (version, cut))) {
        let answer = || [version.as_bytes(), b"\r\n", &OBJECT[..cut]].concat();
        for buffer in [1, 5, 64] {
            let done = run(answer(), buffer, Some(36));
            assert_eq!(done.bytes, OBJECT[..cut], "{version}, {cut}");
            match done.result {
                Ok(()) => assert_eq!(cut, 36),
                Err(Error::Closed) => assert_eq!(cut, 0, "{version}"),
                Err(error) => assert_eq!(error, Error::Answer(AnswerError::NoStrongEtag), "{version}, {cut}"),
            }
            assert_eq!(run(answer(), buffer, None).result, Err(Error::Answer(AnswerError::NoLength)), "{version}");
        }
    }
}

/// What S3 and its like send beside bytes that are intact, and what they send with others.
#[test]
fn codings_that_change_nothing_are_taken() {
    for (lines, taken) in [
        ("Content-Encoding:\r\n", true),
        ("Content-Encoding: ,\r\n", true),
        ("Content-Encoding: identity\r\n", true),
        ("Content-Encoding: aws-chunked\r\n", true),
        ("Content-Encoding: aws-chunked,\r\n", true),
        ("Transfer-Encoding: identity\r\n", true),
        ("Content-Encoding: aws-chunked,gzip\r\n", false),
        ("Content-Encoding: gzip\r\n", false),
        ("Content-Encoding: utf-8\r\n", false),
        ("Transfer-Encoding: aws-chunked\r\n", false),
        ("Transfer-Encoding: gzip\r\n", false),
    ] {
        let answer = [format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 36\r\n\r\n").as_bytes(), OBJECT].concat();
        let done = run(answer, 64, None);
        let expected = if taken { Ok(()) } else { Err(Error::Answer(AnswerError::Encoded)) };
        assert_eq!((done.result, done.bytes.as_slice()), (expected, if taken { OBJECT } else { b"" }), "{lines}");
    }
}

/// The answers of S3 that say something in their bodies, in every buffer: its word is told, and where the bucket is.
#[test]
fn a_bucket_elsewhere_is_said() {
    let body =
        "<?xml version=\"1.0\"?>\n<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.amazonaws.com</Endpoint></Error>";
    let region = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::OtherRegion { region } => Some(region.to_string()),
            _ => None,
        })
    };
    for buffer in [1, 7, 64, 1000] {
        for (line, expected) in [("x-amz-bucket-region: eu-central-1\r\n", Some("eu-central-1")), ("", None)] {
            let head = format!("HTTP/1.1 301 Moved Permanently\r\n{line}Content-Length: {}\r\n\r\n", body.len());
            let done = run([head.as_bytes(), body.as_bytes()].concat(), buffer, None);
            assert_eq!(done.result, Err(Error::Answer(AnswerError::Status { status: 301, retry_after: None })));
            let told = Event::Refused { status: 301, code: "PermanentRedirect".try_into().unwrap() };
            assert!(done.events.contains(&told), "{:?}", done.events);
            assert_eq!(region(&done.events).as_deref(), expected);
        }
    }
}

/// Redirects of every form, one hop each: what is asked for then, and of whom.
#[test]
#[cfg_attr(not(feature = "redirects"), ignore = "needs the feature `redirects`")]
fn references_of_every_form_are_followed() {
    for (location, target, host) in [
        ("plain", "/a/plain", "host:8"),
        ("./plain", "/a/plain", "host:8"),
        ("../plain", "/plain", "host:8"),
        ("../../plain", "/plain", "host:8"),
        ("?go", "/a/b?go", "host:8"),
        ("/plain", "/plain", "host:8"),
        ("//host:8/plain", "/plain", "host:8"),
        ("//other/plain?x", "/plain?x", "other"),
        ("//other", "/", "other"),
        ("HTTP://other/plain", "/plain", "other"),
        ("plain?u=http://x/", "/a/plain?u=http://x/", "host:8"),
    ] {
        for buffer in [40, 64, 1000] {
            let server = HttpServer::new(OBJECT.to_vec()).scripted(move |request| {
                let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
                (request.target() == "/a/b?c").then(|| Answer::new(head))
            });
            let connector = TcpConnector::new(&server, &server);
            let mut fetcher = Fetcher::new(&connector, Timers);
            let url = Url::parse("http://host:8/a/b?c".bytes()).unwrap();
            let (bytes, result, _) = drain(&mut fetcher.download(url, Session::default()), buffer);
            assert_eq!((result, bytes.as_slice()), (Ok(()), OBJECT), "{location}");
            let request = &server.requests()[1];
            assert_eq!((request.target(), request.header("Host")), (target, Some(host)), "{location}");
        }
    }
}

/// An answer that brings no byte says nothing about the answer to the next request: what follows is whole, or an error, and never
/// cut at the length of the first one. The same where the first brings some bytes, and both have one strong ETag.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn a_length_binds_only_the_object_that_it_was_said_of() {
    let last = |head: &str, body: &[u8]| Answer::last([head.as_bytes(), b"\r\n", body].concat());
    let firsts =
        ["HTTP/1.1 200 OK\r\nContent-Length: 20\r\n", "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 20\r\n"];
    let seconds = [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", chunks(7)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", chunks(10)),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n", OBJECT.to_vec()),
        ("HTTP/1.0 200 OK\r\n", OBJECT.to_vec()),
        ("HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-19/*\r\nContent-Length: 20\r\n", OBJECT[..20].to_vec()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 36\r\n", OBJECT.to_vec()),
    ];
    for (first, (second, body)) in firsts.iter().flat_map(|first| seconds.iter().map(move |second| (first, second))) {
        for buffer in [1, 9, 64, 1000] {
            let (first, second, body) = (last(first, b""), last(second, body), body.clone());
            let context = format!("{first:?}, then {second:?}, {buffer}");
            let answered = std::cell::Cell::new(false);
            let server = HttpServer::new(vec![])
                .scripted(move |_| Some(if answered.replace(true) { second.clone() } else { first.clone() }));
            let connector = TcpConnector::new(&server, &server);
            let retry = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
            let mut fetcher = Fetcher::new(&connector, Timers).retry(retry);
            let mut download = fetcher.download(Url::parse("http://h/o".bytes()).unwrap(), Session::default());
            let (bytes, result, _) = drain(&mut download, buffer);
            assert!(OBJECT.starts_with(&bytes), "{context}");
            assert!(result.is_err() || bytes == OBJECT, "{context}: {} bytes of {}", bytes.len(), body.len());
        }
    }
}
