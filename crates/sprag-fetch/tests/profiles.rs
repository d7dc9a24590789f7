//! What needs a feature: it works where the crate was built with it, and is a typed error, or the documented fallback, where not.

mod common;

use common::drain;
use sprag_fetch::{AnswerError, Error, Event, Fetcher, Session, TcpConnectError, TcpConnector, Url, UrlErrorKind};
use sprag_testkit::http::{Answer, HttpServer, Refused, Timers};

const OBJECT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

type End = Result<(), Error<TcpConnectError<Refused, Refused>>>;

fn run(server: &HttpServer) -> (Vec<u8>, End, Vec<Event>) {
    let mut fetcher = Fetcher::new(TcpConnector::new(server, server), Timers);
    let url = Url::parse("http://h/o".bytes()).unwrap();
    drain(&mut fetcher.download(url, Session::default()), 600)
}

/// Checks an error: final, and told by its own reason.
fn refused(end: &End, error: AnswerError, reason: &str) {
    let expected = Error::Answer(error);
    assert!(!expected.is_retryable() && !expected.needs_new_url() && !expected.needs_start_over());
    assert_eq!(expected.reason(), reason);
    assert_eq!(*end, Err(expected));
}

#[test]
fn a_redirect_is_followed_or_an_error_that_says_so() {
    for location in ["http://elsewhere/there", "/there"] {
        let server = HttpServer::new(OBJECT.to_vec()).redirecting_to(location);
        let (bytes, end, _) = run(&server);
        if cfg!(feature = "redirects") {
            assert_eq!((end, bytes.as_slice()), (Ok(()), OBJECT));
        } else {
            refused(&end, AnswerError::RedirectsNotBuiltIn, "redirects-not-built-in");
            assert_eq!((server.requests().len(), bytes.as_slice()), (1, &[][..]));
        }
    }
}

/// Amazon S3 answers 301 without `Location` for a bucket in another region. That is no redirect, with the feature or without.
#[test]
fn a_redirect_that_names_no_place_is_the_same_refusal_either_way() {
    let server = HttpServer::new(vec![]).scripted(|_| {
        let head = "HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-central-1\r\nContent-Length: 0\r\n\r\n";
        Some(Answer::new(head.to_owned()))
    });
    let (_, end, events) = run(&server);
    assert_eq!(end, Err(Error::Answer(AnswerError::Status { status: 301, retry_after: None })));
    assert!(events.contains(&Event::OtherRegion { region: "eu-central-1".try_into().unwrap() }), "{events:?}");
}

#[test]
fn chunks_are_undone_or_an_error_that_says_so() {
    for size in [1, 7, 36] {
        let (bytes, end, _) = run(&HttpServer::new(OBJECT.to_vec()).in_chunks_of(size));
        if cfg!(feature = "chunked") {
            assert_eq!((end, bytes.as_slice()), (Ok(()), OBJECT));
        } else {
            refused(&end, AnswerError::ChunkedNotBuiltIn, "chunked-not-built-in");
            assert!(bytes.is_empty());
        }
    }
}

/// The service's word for a refusal is found in a body in chunks as well, unless a chunk begins in the middle of it.
#[test]
fn a_refusal_in_chunks_is_told_in_the_services_own_word() {
    let server = HttpServer::new(vec![]).scripted(|_| {
        let head = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = "<Error><Code>AccessDenied</Code></Error>";
        Some(Answer::new(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())))
    });
    let (_, end, events) = run(&server);
    assert_eq!(end, Err(Error::Answer(AnswerError::UrlRefused { status: 403 })));
    let told = Event::Refused { status: 403, code: "AccessDenied".try_into().unwrap() };
    assert!(events.contains(&told), "{events:?}");
}

/// The wait after a 503 whose `Retry-After` is a date, 40 seconds from the answer on, and the same as a number.
#[test]
fn a_date_in_retry_after_is_waited_for_or_the_back_off_is() {
    for (retry_after, is_date) in [("Fri, 27 Nov 2026 07:28:40 GMT", true), ("40", false)] {
        let server = HttpServer::new(OBJECT.to_vec());
        let is_first = std::cell::Cell::new(true);
        let server = server.scripted(move |_| {
            let head = format!(
                "HTTP/1.1 503 Busy\r\nDate: Fri, 27 Nov 2026 07:28:00 GMT\r\nRetry-After: {retry_after}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            is_first.replace(false).then(|| Answer::new(head))
        });
        let (bytes, end, events) = run(&server);
        assert_eq!((end, bytes.as_slice()), (Ok(()), OBJECT));
        let waits: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                Event::Retrying { after_ms, .. } => Some(*after_ms),
                _ => None,
            })
            .collect();
        if cfg!(feature = "retry-after-date") || !is_date {
            assert_eq!(waits, [40_000]);
        } else {
            assert!(matches!(waits[..], [500..=1_000]), "{waits:?}");
        }
    }
}

#[test]
fn an_ipv6_address_is_taken_or_an_error_that_says_so() {
    let host = Url::parse("http://[2001:db8::1]:81/o".bytes()).map(|url| url.host().to_string());
    if cfg!(feature = "ipv6") {
        assert_eq!(host.as_deref(), Ok("2001:db8::1"));
    } else {
        let error = host.unwrap_err();
        assert_eq!((error.kind, error.at, error.reason()), (UrlErrorKind::Ipv6NotBuiltIn, 7, "url-ipv6-not-built-in"));
    }
    assert!(Url::parse("http://192.0.2.1:81/o".bytes()).is_ok());
}
