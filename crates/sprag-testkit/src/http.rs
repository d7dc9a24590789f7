//! An HTTP server without a network: one object, served in ranges, with connections that are cut, stalled, reset or
//! flipped at an exact byte; or whatever else a script has it answer.
//!
//! It is an `embedded-nal-async` stack, so whatever dials over one can be pointed at it. Nothing takes time: reads are
//! ready at once, except where a fault says stall; [`Timers`] then let every time limit run out.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};

/// What is wrong with a connection, at a byte counted over everything that the server sends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before this byte, on the server's side: what is written to it goes nowhere.
    Cut(usize),
    /// The connection breaks before this byte: from then on reading and writing fail.
    Reset(usize),
    /// Nothing comes from this byte on, and the connection stays.
    Stall(usize),
    /// This byte arrives with some bits flipped.
    Flip(usize, u8),
    /// The connection is refused.
    Refuse,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The connection it came on, counted from 0.
    pub connection: usize,
    /// Its first line and headers.
    pub head: String,
}

impl Request {
    /// The path and query that it asks for.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// What a script has the server send for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Head and body, byte for byte.
    pub bytes: Vec<u8>,
    /// Whether the connection ends behind them.
    pub close: bool,
}

impl Answer {
    /// These bytes, on a connection that stays.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: false }
    }

    /// These bytes, and then the end of the connection.
    pub fn last(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: true }
    }
}

type Respond = dyn FnMut(&Request) -> Option<Answer> + Send;

struct Script(Box<Respond>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

/// A server with one object. Clones are handles to the same server.
#[derive(Debug, Clone)]
pub struct HttpServer {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    object: Vec<u8>,
    etag: String,
    fixed_etag: Option<String>,
    replacements: usize,
    per_connection: Option<usize>,
    chunk: Option<usize>,
    redirect: Option<String>,
    ranges: bool,
    yielding: bool,
    script: Option<Script>,
    faults: BTreeMap<usize, Vec<Fault>>,
    connections: usize,
    requests: Vec<Request>,
}

impl HttpServer {
    /// A server that answers every target with ranges of `object`.
    pub fn new(object: Vec<u8>) -> Self {
        let state = State {
            object,
            etag: "\"1\"".to_owned(),
            fixed_etag: None,
            replacements: 0,
            per_connection: None,
            chunk: None,
            redirect: None,
            ranges: true,
            yielding: false,
            script: None,
            faults: BTreeMap::new(),
            connections: 0,
            requests: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sends this ETag with every answer, whatever the object is, or none; and takes every `If-Match` for a match.
    #[must_use]
    pub fn with_etag(self, etag: Option<&str>) -> Self {
        self.state().fixed_etag = Some(etag.map(|etag| format!("ETag: {etag}\r\n")).unwrap_or_default());
        self
    }

    /// Closes each connection after this many answers, the last of which says so.
    #[must_use]
    pub fn closing_after(self, requests: usize) -> Self {
        self.state().per_connection = Some(requests);
        self
    }

    /// Ignores ranges: every answer is a 200 with the whole object.
    #[must_use]
    pub fn ignoring_ranges(self) -> Self {
        self.state().ranges = false;
        self
    }

    /// Sends bodies in chunks of this many bytes (`Transfer-Encoding: chunked`).
    #[must_use]
    pub fn in_chunks_of(self, bytes: usize) -> Self {
        self.state().chunk = Some(bytes);
        self
    }

    /// Answers every request whose target does not end `location` with a 307 to it.
    #[must_use]
    pub fn redirecting_to(self, location: &str) -> Self {
        self.state().redirect = Some(location.to_owned());
        self
    }

    /// Asks `script` first: what it gives is sent as it is, and where it gives nothing, the object is served.
    #[must_use]
    pub fn scripted(self, script: impl FnMut(&Request) -> Option<Answer> + Send + 'static) -> Self {
        self.state().script = Some(Script(Box::new(script)));
        self
    }

    /// Makes every operation pending once before it is done, so that a future can be dropped there.
    #[must_use]
    pub fn yielding(self) -> Self {
        self.state().yielding = true;
        self
    }

    /// Makes something go wrong on a connection, counted from 0; more than once, more than one thing.
    pub fn fault(&self, connection: usize, fault: Fault) {
        self.state().faults.entry(connection).or_default().push(fault);
    }

    /// Puts another object in the place of the first.
    pub fn replace(&self, object: Vec<u8>) {
        let mut state = self.state();
        state.object = object;
        state.replacements += 1;
        state.etag = format!("\"{}\"", state.replacements + 1);
    }

    /// Connections tried so far.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    async fn turn(&self) {
        let yielding = self.state().yielding;
        if yielding {
            crate::yield_once().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The answer to a request, and whether it is the connection's last.
    fn answer(&mut self, request: &Request) -> (Vec<u8>, bool) {
        let served = self.requests.iter().filter(|r| r.connection == request.connection).count() + 1;
        self.requests.push(request.clone());
        if let Some(Answer { bytes, close }) = self.script.as_mut().and_then(|script| script.0(request)) {
            return (bytes, close);
        }
        let last = self.per_connection.is_some_and(|limit| served >= limit);
        let close = if last { "Connection: close\r\n" } else { "" };
        let State { object, etag, fixed_etag, .. } = self;
        let empty = |status: &str| format!("HTTP/1.1 {status}\r\n{close}Content-Length: 0\r\n\r\n").into_bytes();
        if fixed_etag.is_none() && request.header("If-Match").is_some_and(|wanted| wanted != etag.as_str()) {
            return (empty("412 Precondition Failed"), last);
        }
        let etag = fixed_etag.clone().unwrap_or_else(|| format!("ETag: {etag}\r\n"));
        if let Some(location) = self.redirect.as_ref().filter(|location| !location.ends_with(request.target())) {
            let head = format!(
                "HTTP/1.1 307 Temporary Redirect\r\n{close}Location: {location}\r\nContent-Length: 5\r\n\r\nThere"
            );
            return (head.into_bytes(), last);
        }
        let Some(range) = request.header("Range").filter(|_| self.ranges) else {
            let head = format!("HTTP/1.1 200 OK\r\n{close}{etag}Content-Length: {}\r\n\r\n", object.len());
            return ([head.as_bytes(), object].concat(), last);
        };
        let (first, end) = range.trim_start_matches("bytes=").split_once('-').unwrap_or_default();
        let first: usize = first.parse().unwrap_or(usize::MAX);
        if first >= object.len() {
            return (empty("416 Range Not Satisfiable"), last);
        }
        let end = end.parse().unwrap_or(usize::MAX).min(object.len() - 1);
        let body = &object[first..=end];
        let (framing, body) = match self.chunk {
            Some(size) => {
                let mut chunked: Vec<u8> = Vec::new();
                for chunk in body.chunks(size) {
                    chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    chunked.extend(chunk.iter().chain(b"\r\n"));
                }
                chunked.extend(b"0\r\n\r\n");
                ("Transfer-Encoding: chunked".to_owned(), chunked)
            }
            None => (format!("Content-Length: {}", body.len()), body.to_vec()),
        };
        let total = object.len();
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\n{close}{etag}\
             Content-Range: bytes {first}-{end}/{total}\r\n{framing}\r\n\r\n"
        );
        ([head.as_bytes(), &body].concat(), last)
    }
}

/// Why a connection failed: it was refused, or reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl embedded_io_async::Error for Refused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionRefused
    }
}

impl TcpConnect for HttpServer {
    type Error = Refused;
    type Connection<'a> = Connection;

    async fn connect(&self, _: SocketAddr) -> Result<Connection, Refused> {
        self.turn().await;
        let mut state = self.state();
        let number = state.connections;
        state.connections += 1;
        let faults = state.faults.get(&number).cloned().unwrap_or_default();
        if faults.contains(&Fault::Refuse) {
            return Err(Refused);
        }
        Ok(Connection {
            server: self.clone(),
            number,
            faults,
            asked: Vec::new(),
            answer: Vec::new(),
            sent: 0,
            last: false,
        })
    }
}

impl Dns for HttpServer {
    type Error = Refused;

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> Result<IpAddr, Refused> {
        Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, Refused> {
        Err(Refused)
    }
}

/// A connection to an [`HttpServer`].
#[derive(Debug)]
pub struct Connection {
    server: HttpServer,
    number: usize,
    faults: Vec<Fault>,
    asked: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
    last: bool,
}

impl ErrorType for Connection {
    type Error = Refused;
}

impl Read for Connection {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Refused> {
        self.server.turn().await;
        let ends = |fault: &Fault| match fault {
            Fault::Cut(at) | Fault::Stall(at) | Fault::Reset(at) => Some(*at),
            _ => None,
        };
        let end = self.faults.iter().filter(|fault| ends(fault).is_some()).min_by_key(|fault| ends(fault)).copied();
        let limit = end.as_ref().and_then(ends).map_or(usize::MAX, |at| at.saturating_sub(self.sent));
        let count = buf.len().min(self.answer.len()).min(limit);
        if count == 0 {
            return match end {
                Some(Fault::Stall(_)) if limit == 0 => pending().await,
                Some(Fault::Reset(_)) if limit == 0 => Err(Refused),
                _ if limit > 0 && !self.last => pending().await,
                _ => Ok(0),
            };
        }
        let bytes: Vec<u8> = self.answer.drain(..count).collect();
        buf[..count].copy_from_slice(&bytes);
        for fault in &self.faults {
            if let Fault::Flip(at, bits) = fault
                && (self.sent..self.sent + count).contains(at)
            {
                buf[at - self.sent] ^= bits;
            }
        }
        self.sent += count;
        Ok(count)
    }
}

impl Write for Connection {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Refused> {
        self.server.turn().await;
        if self.faults.iter().any(|fault| matches!(fault, Fault::Reset(at) if *at <= self.sent)) {
            return Err(Refused);
        }
        self.asked.extend(buf);
        if let Some(end) = self.asked.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&self.asked[..end]).into_owned();
            self.asked.drain(..end + 4);
            if !self.last {
                let request = Request { connection: self.number, head };
                let (answer, last) = self.server.state().answer(&request);
                self.answer.extend(answer);
                self.last = last;
            }
        }
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Refused> {
        self.server.turn().await;
        Ok(())
    }
}

/// Delays that are over at once: beside an [`HttpServer`], time only runs out where nothing else can happen. Not to be
/// used beside one that is [`yielding`](HttpServer::yielding): use [`NoTime`] there.
#[derive(Debug, Clone, Copy)]
pub struct Timers;

impl DelayNs for Timers {
    async fn delay_ns(&mut self, _: u32) {}
}

/// Delays that are never over, for where no time limit is to run out.
#[derive(Debug, Clone, Copy)]
pub struct NoTime;

impl DelayNs for NoTime {
    async fn delay_ns(&mut self, _: u32) {
        pending().await
    }
}
