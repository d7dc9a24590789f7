//! Connections that serve, fall silent for a moment, and then break, as they do behind a NAT that has forgotten them: each
//! has served, and the next one is made at once.

use std::cell::Cell;

use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use sprag_fetch::{Connector, Event, Fetcher, Limits, RetryPolicy, Scheme, Session, Url};
use sprag_testkit::time::VirtualTime;

const SIZE: usize = 12_000;
/// What a connection brings before it falls silent: as much as a segment of TCP.
const PIECE: usize = 600;
/// Longer than several ticks of the slowest rate allowed.
const SILENT_MS: u32 = 170;

struct Net<'t> {
    time: &'t VirtualTime,
    connections: Cell<usize>,
    piece: usize,
}

struct Link<'t> {
    time: &'t VirtualTime,
    piece: usize,
    /// What of the answer is still to come.
    answer: Vec<u8>,
}

impl Connector for Net<'_> {
    type Error = ErrorKind;
    type Connection<'c>
        = Link<'c>
    where
        Self: 'c;

    async fn connect<'c>(&'c self, _: Scheme, _: &str, _: u16) -> Result<Link<'c>, ErrorKind> {
        self.connections.set(self.connections.get() + 1);
        Ok(Link { time: self.time, piece: self.piece, answer: Vec::new() })
    }
}

impl ErrorType for Link<'_> {
    type Error = ErrorKind;
}

impl Read for Link<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.answer.is_empty() {
            self.time.delay().delay_ms(SILENT_MS).await;
            return Err(ErrorKind::ConnectionReset);
        }
        let count = buf.len().min(self.answer.len());
        buf[..count].copy_from_slice(&self.answer[..count]);
        self.answer.drain(..count);
        Ok(count)
    }
}

impl Write for Link<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let request = std::str::from_utf8(buf).unwrap();
        let first: usize = request.split_once("bytes=").unwrap().1.split_once('-').unwrap().0.parse().unwrap();
        let (last, length) = (SIZE - 1, SIZE - first);
        let head = format!("HTTP/1.1 206 x\r\nETag: \"1\"\r\nContent-Range: bytes {first}-{last}/{SIZE}\r\n");
        self.answer = format!("{head}Content-Length: {length}\r\n\r\n").into_bytes();
        self.answer.extend((first..SIZE.min(first + self.piece)).map(|n| n as u8));
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[test]
fn what_served_and_then_fell_silent_has_served() {
    let time = VirtualTime::new();
    let net = Net { time: &time, connections: Cell::new(0), piece: PIECE };
    let (mut bytes, mut waits) = (Vec::<u8>::new(), Vec::new());
    time.block_on(async {
        let mut fetcher = Fetcher::new(&net, time.delay());
        let url = Url::parse("http://h/o".bytes()).unwrap();
        let mut download = fetcher.download(url, Session::default());
        let mut buf = [0; 512];
        loop {
            let mut events = |event| {
                if let Event::Retrying { after_ms, fruitless, .. } = event {
                    waits.push((after_ms, fruitless));
                }
            };
            match download.read(&mut buf, &mut events).await.unwrap() {
                0 => break,
                count => bytes.extend(&buf[..count]),
            }
        }
    });
    assert_eq!(bytes, (0..SIZE).map(|n| n as u8).collect::<Vec<_>>());
    assert_eq!(net.connections.get(), SIZE / PIECE);
    assert_eq!(waits, vec![(0, 0); SIZE / PIECE - 1]);
    assert_eq!(time.nanoseconds(), (SIZE / PIECE - 1) as u64 * u64::from(SILENT_MS) * 1_000_000);
}

/// The same with a byte each: silence outweighs it, and that has an end.
#[test]
fn what_hardly_serves_is_no_progress() {
    let time = VirtualTime::new();
    let net = Net { time: &time, connections: Cell::new(0), piece: 100 };
    let limits = Limits { rate_floor: 1000, ..Limits::default() };
    let retry = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
    let ended = time.block_on(async {
        let mut fetcher = Fetcher::new(&net, time.delay()).limits(limits).retry(retry);
        let url = Url::parse("http://h/o".bytes()).unwrap();
        let mut download = fetcher.download(url, Session::default());
        let mut buf = [0; 512];
        loop {
            match download.read(&mut buf, &mut |_| {}).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
    });
    // 100 bytes for 170 ms of silence, where 170 are asked for.
    assert!(ended.is_some(), "{} connections", net.connections.get());
}
