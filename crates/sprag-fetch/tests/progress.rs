//! Servers that bring next to nothing, in every way that keeps a client busy: a download makes progress in bytes of the
//! object, or it ends.

mod common;

use std::num::NonZeroU64;

use common::drain;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use sprag_fetch::{Connector, Error, Fetcher, Limits, RetryPolicy, Scheme, Session, TcpConnector, Url, Waiting};
use sprag_testkit::http::{Answer, HttpServer, Timers};
use sprag_testkit::time::VirtualTime;

const SIZE: usize = 5000;

fn object() -> Vec<u8> {
    (0..SIZE).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// How a server that has only a few bytes at a time lets them go.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// It promises all, sends a few bytes and closes.
    Cut,
    /// It promises a few bytes, sends them, and says that it closes.
    Announced,
    /// It promises a few bytes, and the connection stays.
    Capped,
    /// As `Capped`, in chunks.
    Chunked,
    /// A redirect before each.
    Redirected,
}

fn server(manner: Manner, bytes: usize) -> HttpServer {
    HttpServer::new(vec![]).scripted(move |request| {
        if matches!(manner, Manner::Redirected) && request.target() != "/there" {
            return Some(Answer::new("HTTP/1.1 307 x\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"));
        }
        let (first, last) = request.header("Range")?.strip_prefix("bytes=")?.split_once('-')?;
        let first: usize = first.parse().unwrap();
        let asked = last.parse().unwrap_or(SIZE - 1).min(SIZE - 1);
        let last = asked.min(first + bytes - 1);
        let promised = if matches!(manner, Manner::Cut) { asked } else { last };
        let body = &object()[first..=last];
        let head = format!("HTTP/1.1 206 x\r\nETag: \"1\"\r\nContent-Range: bytes {first}-{promised}/{SIZE}\r\n");
        let length = promised + 1 - first;
        Some(match manner {
            Manner::Cut => Answer::last([format!("{head}Content-Length: {length}\r\n\r\n").as_bytes(), body].concat()),
            Manner::Announced => {
                let head = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n");
                Answer::last([head.as_bytes(), body].concat())
            }
            Manner::Chunked => {
                let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
                Answer::new([head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat())
            }
            _ => Answer::new([format!("{head}Content-Length: {length}\r\n\r\n").as_bytes(), body].concat()),
        })
    })
}

/// A few bytes in each answer: less than a segment is no progress, more is, and so is all that was asked for.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn a_few_bytes_at_a_time_end_in_bounds() {
    let manners = [Manner::Cut, Manner::Announced, Manner::Capped, Manner::Chunked, Manner::Redirected];
    for (manner, bytes) in manners.into_iter().flat_map(|manner| [1, 2, 100, 511, 512, 1000].map(|n| (manner, n))) {
        for range in [0, 1, 100, 1000] {
            let server = server(manner, bytes);
            let connector = TcpConnector::new(&server, &server);
            let retry = RetryPolicy { attempts: 7, ..RetryPolicy::default() };
            let mut fetcher = Fetcher::new(&connector, Timers).retry(retry);
            if let Some(size) = NonZeroU64::new(range) {
                fetcher = fetcher.range_size(size);
            }
            let url = Url::parse("http://h/o".bytes()).unwrap();
            let mut download = fetcher.download(url, Session::default());
            let (got, result, _) = drain(&mut download, 4096);
            let context = format!("{bytes} bytes, ranges of {range}, {manner:?}: {result:?}");
            let enough = bytes as u64 >= if range == 0 { 512 } else { range.min(512) };
            if enough {
                assert_eq!((result, got), (Ok(()), object()), "{context}");
            } else {
                let error = result.expect_err(&context);
                assert!(error.is_retryable(), "{context}");
                assert!(object().starts_with(&got), "{context}");
                assert!(server.requests().len() <= 2 * 7 && server.connections() <= 2 * 7, "{context}");
            }
        }
    }
}

/// Sends an answer whose body repeats a piece for ever, a byte in every so many milliseconds.
struct Trickle<'t> {
    time: &'t VirtualTime,
    head: &'static str,
    piece: &'static [u8],
    every_ms: u32,
}

struct Link<'t> {
    server: &'t Trickle<'t>,
    sent: usize,
}

impl Connector for Trickle<'_> {
    type Error = ErrorKind;
    type Connection<'c>
        = Link<'c>
    where
        Self: 'c;

    async fn connect<'c>(&'c self, _: Scheme, _: &str, _: u16) -> Result<Link<'c>, ErrorKind> {
        Ok(Link { server: self, sent: 0 })
    }
}

impl ErrorType for Link<'_> {
    type Error = ErrorKind;
}

impl Read for Link<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let Trickle { time, head, piece, every_ms } = self.server;
        if let Some(rest) = head.as_bytes().get(self.sent..).filter(|rest| !rest.is_empty()) {
            let count = rest.len().min(buf.len());
            buf[..count].copy_from_slice(&rest[..count]);
            self.sent += count;
            return Ok(count);
        }
        time.delay().delay_ms(*every_ms).await;
        buf[0] = piece[(self.sent - head.len()) % piece.len()];
        self.sent += 1;
        Ok(1)
    }
}

impl Write for Link<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// What frames the bytes of the object pays for no time: the floor is kept by the object's bytes only.
#[test]
fn the_floor_counts_bytes_of_the_object() {
    const CHUNKS: &str =
        "HTTP/1.1 206 x\r\nETag: \"1\"\r\nContent-Range: bytes 0-99999/100000\r\nTransfer-Encoding: chunked\r\n\r\n";
    const PLAIN: &str =
        "HTTP/1.1 206 x\r\nETag: \"1\"\r\nContent-Range: bytes 0-99999/100000\r\nContent-Length: 100000\r\n\r\n";
    const WHOLE: &str = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
    const INTERIM: &str = "HTTP/1.1 100 x\r\n\r\n";
    // The piece that is repeated, at 25 bytes a second, where 20 are asked for.
    for (head, piece, ends) in [
        (PLAIN, b"X".as_slice(), false),
        (CHUNKS, b"10\r\n0123456789abcdef\r\n", true),
        (CHUNKS, b"000000000000001\r\nX\r\n", true),
        (CHUNKS, b"1\r\nX\r\n", true),
        (CHUNKS, b"3e8;", true),
        (CHUNKS, b"3e8\r\n", true),
        (CHUNKS, b"\r", true),
        (CHUNKS, b"1\r\nX\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r", true),
        (CHUNKS, b"0\r\nX: y\r\n", true),
        (WHOLE, b"0\r\nX: y\r\n", true),
        (WHOLE, b"1\r\nX\r\n", true),
        (INTERIM, b"HTTP/1.1 103 x\r\n\r\n", true),
        ("", b"HTTP/1.1 100 x\r\nX: y\r\n", true),
    ] {
        let time = VirtualTime::new();
        let server = Trickle { time: &time, head, piece, every_ms: 40 };
        let limits = Limits::default();
        let result = time.block_on(async {
            let mut fetcher = Fetcher::new(&server, time.delay()).limits(limits);
            let url = Url::parse("http://h/o".bytes()).unwrap();
            let mut download = fetcher.download(url, Session::default());
            let mut buf = [0; 256];
            loop {
                match download.read(&mut buf, &mut |_| {}).await {
                    Ok(0) => break Ok(()),
                    Ok(_) if download.session().offset > 20_000 => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            }
        });
        let seconds = time.nanoseconds() / 1_000_000_000;
        let context = format!("{piece:?}: {result:?} after {seconds} s");
        assert_eq!(result.is_err(), ends, "{context}");
        assert!(!ends || seconds < 1800, "{context}");
    }
}

/// A link that is fast, and pieces that are as small as they can be: neither the chunks nor the buffer make it too slow.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn small_chunks_and_small_buffers_are_not_slow() {
    for (chunk, buffer) in
        [1, 2, 7, 100, 5000].into_iter().flat_map(|chunk| [1, 2, 3, 64].map(|buffer| (chunk, buffer)))
    {
        let server = HttpServer::new(object()).in_chunks_of(chunk);
        let connector = TcpConnector::new(&server, &server);
        let limits = Limits { behind_ms: 1000, ..Limits::default() };
        let mut fetcher = Fetcher::new(&connector, Timers).limits(limits);
        let mut download = fetcher.download(Url::parse("http://h/o".bytes()).unwrap(), Session::default());
        let (got, result, _) = drain(&mut download, buffer);
        assert_eq!((result, got), (Ok(()), object()), "chunks of {chunk}, a buffer of {buffer}");
    }
}

/// The same server, when it is only slow for its chunks: what is said is that it is too slow.
#[test]
#[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
fn what_is_too_slow_is_called_so() {
    let time = VirtualTime::new();
    let head =
        "HTTP/1.1 206 x\r\nETag: \"1\"\r\nContent-Range: bytes 0-99999/100000\r\nTransfer-Encoding: chunked\r\n\r\n";
    let server = Trickle { time: &time, head, piece: b"000000000000001\r\nX\r\n", every_ms: 40 };
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let error = time.block_on(async {
        let mut fetcher = Fetcher::new(&server, time.delay()).retry(retry);
        let mut download = fetcher.download(Url::parse("http://h/o".bytes()).unwrap(), Session::default());
        loop {
            if let Err(error) = download.read(&mut [0; 256], &mut |_| {}).await {
                break error;
            }
        }
    });
    assert_eq!(error, Error::Timeout(Waiting::Rate));
}
