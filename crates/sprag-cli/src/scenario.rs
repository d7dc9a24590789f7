//! Servers that misbehave as servers in the field do, over plain HTTP: for `sprag serve --scenario`, and for tests of any
//! HTTP client.
//!
//! Every scenario serves the same objects. Where one is replaced, [`replacement`] says by what.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The longest request that is read.
const REQUEST_MAX: usize = 64 * 1024;
/// The duration of a hang.
const HANG: Duration = Duration::from_secs(3600);
const ETAG: &str = "ETag: \"a\"\r\n";
const MODIFIED: &str = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";

/// One way in which servers misbehave.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The behaviour of the server.
    pub does: &'static str,
    /// The bug report or standard that describes it.
    pub source: &'static str,
    script: fn(&Request<'_>) -> Answer,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Scenario {
    /// Returns the scenario of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }
}

/// A request for one of the objects.
struct Request<'a> {
    /// The number of the request among those for the same object, from 1.
    number: u32,
    /// The number of the request on its connection, from 1.
    on_connection: u32,
    /// The query with its `?`, or nothing.
    query: &'a str,
    /// The path, with the `/`.
    path: &'a str,
    /// The server's own `host:port`.
    host: &'a str,
    object: &'a [u8],
    /// The range that is asked for, its end excluded.
    range: Option<(usize, usize)>,
    if_match: Option<&'a str>,
}

/// An answer, and what the server does after it.
struct Answer {
    bytes: Vec<u8>,
    /// The number of bytes that are sent at once, and the pause before each further byte.
    drip: Option<(usize, Duration)>,
    then: Then,
}

/// The server's next step after an answer.
#[derive(Clone, Copy)]
enum Then {
    /// The next request is waited for.
    Keep,
    /// The connection ends.
    Close,
    /// Nothing more is sent, and the connection stays.
    Hang,
    /// This is sent, over and over.
    Repeat(&'static [u8]),
}

impl Answer {
    fn new(head: &str, body: &[u8], then: Then) -> Self {
        Self { bytes: [head.as_bytes(), b"\r\n", body].concat(), drip: None, then }
    }

    /// The answer up to so many bytes of its body, and the end of the connection.
    fn cut(mut self, body: usize) -> Self {
        let head = self.head_length();
        self.bytes.truncate(head + body);
        self.then = Then::Close;
        self
    }

    fn head_length(&self) -> usize {
        self.bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4)
    }

    /// The same with a change in the head.
    fn with(self, from: &str, to: &str) -> Self {
        let (head, body) = self.bytes.split_at(self.head_length());
        let head = String::from_utf8_lossy(head).replacen(from, to, 1);
        Self { bytes: [head.as_bytes(), body].concat(), ..self }
    }

    /// The same with further header lines.
    fn and(self, lines: &str) -> Self {
        self.with("\r\n", &format!("\r\n{lines}"))
    }
}

/// Returns the object that replaces `object` in some scenarios: of the same length, each byte XOR 0x5A.
pub fn replacement(object: &[u8]) -> Vec<u8> {
    object.iter().map(|byte| byte ^ 0x5A).collect()
}

/// Returns a correct answer with this object.
fn object_of(request: &Request<'_>, object: &[u8], validators: &str) -> Answer {
    let etag = validators.strip_prefix("ETag: ").and_then(|rest| rest.split("\r\n").next());
    if let (Some(wanted), Some(etag)) = (request.if_match, etag)
        && wanted != etag
    {
        return Answer::new("HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n", &[], Then::Keep);
    }
    let total = object.len();
    let Some((from, to)) = request.range else {
        let head = format!("HTTP/1.1 200 OK\r\n{validators}Content-Length: {total}\r\n");
        return Answer::new(&head, object, Then::Keep);
    };
    let (to, last) = (to.min(total), to.min(total).saturating_sub(1));
    if from >= to {
        let head =
            format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n");
        return Answer::new(&head, &[], Then::Keep);
    }
    let mut head = format!("HTTP/1.1 206 Partial Content\r\n{validators}");
    let _ = write!(head, "Content-Length: {}\r\nContent-Range: bytes {from}-{last}/{total}\r\n", to - from);
    Answer::new(&head, &object[from..to], Then::Keep)
}

/// Returns the answer of a well-behaved server.
fn proper(request: &Request<'_>) -> Answer {
    object_of(request, request.object, ETAG)
}

/// Returns an error in S3's form.
fn refusal(status: &str, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code></Error>");
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n", body.len());
    Answer::new(&head, body.as_bytes(), Then::Keep)
}

/// Returns a redirect with `location` exactly as given.
fn redirect(status: &str, location: &str) -> Answer {
    Answer::new(&format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n"), &[], Then::Keep)
}

/// Returns the whole object in chunks, without regard to the range.
fn chunked(request: &Request<'_>) -> Answer {
    let mut body = Vec::new();
    for piece in request.object.chunks(7_000) {
        body.extend(format!("{:x}\r\n", piece.len()).bytes());
        body.extend(piece);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    Answer::new(&format!("HTTP/1.1 200 OK\r\n{ETAG}Transfer-Encoding: chunked\r\n"), &body, Then::Keep)
}

/// Cuts the first answer at 30 % of the object, and may replace the object after that.
fn spliced(request: &Request<'_>, first: &str, second: &str, replaced: bool) -> Answer {
    if request.number == 1 {
        return object_of(request, request.object, first).cut(request.object.len() * 3 / 10);
    }
    let object = if replaced { replacement(request.object) } else { request.object.to_vec() };
    object_of(request, &object, second)
}

const LOGIN: &[u8] = b"<html><body>Please log in.</body></html>";

fn login_page() -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n", LOGIN.len());
    Answer::new(&head, LOGIN, Then::Keep)
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "plain", does: "behaves well: ranges, a strong ETag, If-Match", source: "-", script: proper },
    Scenario {
        name: "no-etag",
        does: "gives no ETag; the first answer is cut at 30 %",
        source: "thin-edge/thin-edge.io 3941",
        script: |r| spliced(r, MODIFIED, MODIFIED, false),
    },
    Scenario {
        name: "weak-etag",
        does: "gives a weak ETag; the first answer is cut at 30 %",
        source: "lingochamp/FileDownloader 1307",
        script: |r| spliced(r, "ETag: W/\"w\"\r\n", "ETag: W/\"w\"\r\n", false),
    },
    Scenario {
        name: "replaced",
        does: "replaces the object after 30 % of the first answer; strong ETags",
        source: "owncloud/client 756",
        script: |r| spliced(r, ETAG, "ETag: \"b\"\r\n", true),
    },
    Scenario {
        name: "replaced-no-etag",
        does: "replaces the object after 30 % of the first answer; no ETag",
        source: "thin-edge/thin-edge.io 3941",
        script: |r| spliced(r, MODIFIED, "Last-Modified: Fri, 02 Jan 2026 00:00:00 GMT\r\n", true),
    },
    Scenario {
        name: "replaced-weak-etag",
        does: "replaces the object after 30 % of the first answer; the same weak ETag",
        source: "lingochamp/FileDownloader 1035",
        script: |r| spliced(r, "ETag: W/\"w\"\r\n", "ETag: W/\"w\"\r\n", true),
    },
    Scenario {
        name: "replaced-now-etag",
        does: "gives no ETag at first; the object is replaced after 30 %, and has a strong one then",
        source: "owncloud/client 756",
        script: |r| spliced(r, MODIFIED, ETAG, true),
    },
    Scenario {
        name: "changing-etag",
        does: "gives another strong ETag with every answer, and cuts each at 30 %",
        source: "balanced Apache servers",
        script: |r| {
            let etag = format!("ETag: \"{}\"\r\n", r.number);
            object_of(r, r.object, &etag).cut(r.object.len() * 3 / 10)
        },
    },
    Scenario {
        name: "empty-content-encoding",
        does: "sends `Content-Encoding:` with nothing behind it",
        source: "aws/aws-sdk-kotlin 1358",
        script: |r| proper(r).and("Content-Encoding:\r\n"),
    },
    Scenario {
        name: "aws-chunked",
        does: "sends `Content-Encoding: aws-chunked` with an object that is as it was uploaded",
        source: "versity/versitygw 2398",
        script: |r| proper(r).and("Content-Encoding: aws-chunked\r\n"),
    },
    Scenario {
        name: "gzip",
        does: "sends `Content-Encoding: gzip`",
        source: "rclone/rclone 2658",
        script: |r| proper(r).and("Content-Encoding: gzip\r\n"),
    },
    Scenario {
        name: "chunked-no-length",
        does: "ignores ranges and sends the whole object in chunks, without a length",
        source: "tronbyt/firmware-esp32 160",
        script: chunked,
    },
    Scenario {
        name: "chunked-first",
        does: "sends chunks without a length at first, and ranges from the second request on",
        source: "ESP32-OTA-Pull 12",
        script: |r| if r.number == 1 { chunked(r) } else { proper(r) },
    },
    Scenario {
        name: "chunked-cut",
        does: "as chunked-no-length, but the connection ends before the last chunk",
        source: "RFC 9112, section 8",
        script: |r| {
            let mut answer = chunked(r);
            answer.bytes.truncate(answer.bytes.len() - 5);
            Answer { then: Then::Close, ..answer }
        },
    },
    Scenario {
        name: "http10",
        does: "speaks HTTP/1.0: no length, and the end of the connection ends the object",
        source: "esp8266/Arduino 2598",
        script: |r| Answer::new("HTTP/1.0 200 OK\r\n", r.object, Then::Close),
    },
    Scenario {
        name: "relative-redirects",
        does: "redirects four times with a `Location` that is no whole URL: `name`, `./name`, `?query`, `//host/name`",
        source: "espressif/esp-idf 14562",
        script: |r| {
            let name = r.path.rsplit('/').next().unwrap_or_default();
            match r.query {
                "" => redirect("302 Found", &format!("{name}?1")),
                "?1" => redirect("302 Found", &format!("./{name}?2")),
                "?2" => redirect("302 Found", "?3"),
                "?3" => redirect("302 Found", &format!("//{}{}?4", r.host, r.path)),
                _ => proper(r),
            }
        },
    },
    Scenario {
        name: "space-in-location",
        does: "redirects to a `Location` with a space in it; without the space it leads to another object",
        source: "snoyberg/http-client 83",
        script: |r| match r.query {
            "" => redirect("302 Found", &format!("http://{}{}?a b", r.host, r.path)),
            "?a%20b" => proper(r),
            _ => object_of(r, &replacement(r.object), ETAG),
        },
    },
    Scenario {
        name: "redirect-loop",
        does: "redirects to itself",
        source: "RavenSystem 1269",
        script: |r| redirect("302 Found", &format!("http://{}{}", r.host, r.path)),
    },
    Scenario {
        name: "wrong-region",
        does: "answers 301 PermanentRedirect without a `Location`, as S3 does for a bucket of another region",
        source: "Amazon S3",
        script: |_| refusal("301 Moved Permanently", "PermanentRedirect").and("x-amz-bucket-region: eu-west-1\r\n"),
    },
    Scenario {
        name: "case-range-unit",
        does: "sends `Content-Range: Bytes …`",
        source: "RFC 9110, section 14.1",
        script: |r| proper(r).with("Content-Range: bytes", "Content-Range: Bytes"),
    },
    Scenario {
        name: "lower-case-headers",
        does: "sends the names of all headers in lower case",
        source: "RavenSystem 1655",
        script: |r| {
            proper(r)
                .with("ETag", "etag")
                .with("Content-Length", "content-length")
                .with("Content-Range", "content-range")
        },
    },
    Scenario {
        name: "empty-header",
        does: "sends `Server:` with nothing behind it",
        source: "openshwprojects/OpenBK7231T_App 918",
        script: |r| proper(r).and("Server:\r\n"),
    },
    Scenario {
        name: "folded-header",
        does: "folds a header over three lines",
        source: "erlang/otp 798",
        script: |r| proper(r).and("X-Note: one\r\n two\r\n\tthree\r\n"),
    },
    Scenario {
        name: "interim-answers",
        does: "sends 100 Continue and 103 Early Hints before each answer",
        source: "RFC 9110, section 15.2",
        script: |r| {
            let answer = proper(r);
            let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            Answer { bytes: [&interim[..], &answer.bytes].concat(), ..answer }
        },
    },
    Scenario {
        name: "cut-100",
        does: "closes each connection, unannounced, after 100 requests",
        source: "aws/amazon-freertos 2851",
        script: |r| Answer { then: if r.on_connection < 100 { Then::Keep } else { Then::Close }, ..proper(r) },
    },
    Scenario {
        name: "cut-body",
        does: "closes each connection after 20 % of the object",
        source: "gateways that cap every answer",
        script: |r| proper(r).cut(r.object.len() / 5),
    },
    Scenario {
        name: "silent-close",
        does: "closes each connection after its first answer, unannounced",
        source: "aws/amazon-freertos 2851",
        script: |r| Answer { then: Then::Close, ..proper(r) },
    },
    Scenario {
        name: "no-answer",
        does: "closes the connection without an answer, every second time",
        source: "idle time-outs of load balancers",
        script: |r| match r.number % 2 {
            1 => Answer { bytes: Vec::new(), drip: None, then: Then::Close },
            _ => proper(r).cut(r.object.len() / 3),
        },
    },
    Scenario {
        name: "byte-per-connection",
        does: "sends one byte of the object with each connection, and closes it",
        source: "lossy cellular links",
        script: |r| proper(r).cut(1),
    },
    Scenario {
        name: "trickle",
        does: "sends a byte of the object every 100 ms",
        source: "slowloris",
        script: |r| {
            let answer = proper(r);
            Answer { drip: Some((answer.head_length(), Duration::from_millis(100))), ..answer }
        },
    },
    Scenario {
        name: "hang",
        does: "takes the request and never answers",
        source: "overloaded gateways",
        script: |_| Answer { bytes: Vec::new(), drip: None, then: Then::Hang },
    },
    Scenario {
        name: "stall",
        does: "stops in the middle of the object, and keeps the connection; every second answer is whole",
        source: "lossy cellular links",
        script: |r| match r.number % 2 {
            1 => Answer { then: Then::Hang, ..proper(r).cut(r.object.len() / 2) },
            _ => proper(r),
        },
    },
    Scenario {
        name: "endless-cr",
        does: "sends carriage returns without end in the place of an answer",
        source: "hostile servers",
        script: |_| Answer { bytes: Vec::new(), drip: None, then: Then::Repeat(b"\r") },
    },
    Scenario {
        name: "endless-header",
        does: "sends a header without end",
        source: "hostile servers",
        script: |_| Answer {
            bytes: b"HTTP/1.1 206 Partial Content\r\n".to_vec(),
            drip: None,
            then: Then::Repeat(b"X-A: b\r\n"),
        },
    },
    Scenario {
        name: "endless-interim",
        does: "sends 100 Continue without end",
        source: "hostile servers",
        script: |_| Answer { bytes: Vec::new(), drip: None, then: Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n") },
    },
    Scenario {
        name: "endless-refusal",
        does: "answers 403 with a body without end",
        source: "hostile servers",
        script: |_| Answer {
            bytes: b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            drip: None,
            then: Then::Repeat(b"4\r\nxxxx\r\n"),
        },
    },
    Scenario {
        name: "slow-503",
        does: "answers 503 SlowDown to the first two requests",
        source: "Amazon S3",
        script: |r| if r.number <= 2 { refusal("503 Slow Down", "SlowDown") } else { proper(r) },
    },
    Scenario {
        name: "retry-after",
        does: "answers 429 with `Retry-After: 1` to the first request",
        source: "RFC 6585, section 4",
        script: |r| match r.number {
            1 => refusal("429 Too Many Requests", "TooManyRequests").and("Retry-After: 1\r\n"),
            _ => proper(r),
        },
    },
    Scenario {
        name: "busy",
        does: "answers 503 to every request",
        source: "Amazon S3",
        script: |_| refusal("503 Service Unavailable", "ServiceUnavailable"),
    },
    Scenario {
        name: "expired",
        does: "answers 403 ExpiredToken",
        source: "Amazon S3",
        script: |_| refusal("403 Forbidden", "ExpiredToken"),
    },
    Scenario {
        name: "expired-midway",
        does: "cuts the first answer at 30 % and refuses the URL from then on",
        source: "Amazon S3",
        script: |r| match r.number {
            1 => proper(r).cut(r.object.len() * 3 / 10),
            _ => refusal("403 Forbidden", "AccessDenied"),
        },
    },
    Scenario {
        name: "not-found",
        does: "answers 404 NoSuchKey",
        source: "Amazon S3",
        script: |_| refusal("404 Not Found", "NoSuchKey"),
    },
    Scenario {
        name: "range-ignored",
        does: "ignores ranges: 200 with the whole object",
        source: "geotiff.js 198",
        script: |r| object_of(&Request { range: None, ..*r }, r.object, ETAG),
    },
    Scenario {
        name: "range-ignored-cut",
        does: "ignores ranges, and cuts the first answer at 30 %",
        source: "geotiff.js 198",
        script: |r| {
            let answer = object_of(&Request { range: None, ..*r }, r.object, ETAG);
            if r.number == 1 { answer.cut(r.object.len() * 3 / 10) } else { answer }
        },
    },
    Scenario {
        name: "wrong-range",
        does: "answers with a range that begins a byte later than was asked for",
        source: "H5P-Nodejs-library 4560",
        script: |r| {
            let range = r.range.map(|(from, to)| (from + 1, to));
            object_of(&Request { range, ..*r }, r.object, ETAG)
        },
    },
    Scenario {
        name: "no-content-range",
        does: "answers 206 without `Content-Range`",
        source: "cloudflare/cloudflare-docs 5087",
        script: |r| proper(r).with("Content-Range", "X-Range"),
    },
    Scenario {
        name: "unknown-total",
        does: "answers 206 with `Content-Range: bytes …/*`",
        source: "RFC 9110, section 14.4",
        script: |r| proper(r).with(&format!("/{}\r\n", r.object.len()), "/*\r\n"),
    },
    Scenario {
        name: "short-range",
        does: "answers with a `Content-Range` that ends a byte before the body does",
        source: "cloudflare/miniflare 406",
        script: |r| {
            let last = r.range.map_or(r.object.len(), |(_, to)| to.min(r.object.len())).saturating_sub(1);
            proper(r).with(&format!("-{last}/"), &format!("-{}/", last.saturating_sub(1)))
        },
    },
    Scenario {
        name: "multipart-ranges",
        does: "answers 206 with `multipart/byteranges`",
        source: "RFC 9110, section 15.3.7.2",
        script: |r| proper(r).with("Content-Range", "Content-Type: multipart/byteranges; boundary=x\r\nX-Range"),
    },
    Scenario {
        name: "line-feeds",
        does: "ends the lines of the header with LF alone",
        source: "RFC 9112, section 2.2",
        script: |r| {
            let answer = proper(r);
            let (head, body) = answer.bytes.split_at(answer.head_length());
            let head = String::from_utf8_lossy(head).replace("\r\n", "\n");
            Answer { bytes: [head.as_bytes(), body].concat(), ..answer }
        },
    },
    Scenario {
        name: "long-etag",
        does: "gives an ETag of 200 characters",
        source: "RFC 9110, section 8.8.3",
        script: |r| object_of(r, r.object, &format!("ETag: \"{}\"\r\n", "e".repeat(200))),
    },
    Scenario {
        name: "unquoted-etag",
        does: "gives an ETag without quotes",
        source: "small file servers",
        script: |r| object_of(r, r.object, "ETag: abc\r\n"),
    },
    Scenario {
        name: "two-lengths",
        does: "sends two `Content-Length` that differ",
        source: "RFC 9112, section 6.3",
        script: |r| proper(r).and("Content-Length: 1\r\n"),
    },
    Scenario {
        name: "same-length-twice",
        does: "sends the same `Content-Length` twice",
        source: "RFC 9112, section 6.3",
        script: |r| {
            let length = r.range.map_or(r.object.len(), |(from, to)| to.min(r.object.len()).saturating_sub(from));
            proper(r).and(&format!("Content-Length: {length}\r\n"))
        },
    },
    Scenario {
        name: "captive-portal",
        does: "answers every request with 200 and a page to log in",
        source: "Hamlabs/ArcticTracker 1",
        script: |_| login_page(),
    },
    Scenario {
        name: "captive-portal-midway",
        does: "cuts the first answer at 30 %, answers the next request with a page to log in, and behaves well from then on",
        source: "Hamlabs/ArcticTracker 1",
        script: |r| match r.number {
            1 => proper(r).cut(r.object.len() * 3 / 10),
            2 => login_page(),
            _ => proper(r),
        },
    },
];

/// A server that plays a scenario. It ends when it is dropped.
#[derive(Debug)]
pub struct FaultServer {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

/// State that all connections share.
struct Shared {
    scenario: &'static Scenario,
    host: String,
    objects: BTreeMap<String, Vec<u8>>,
    /// The number of requests for each object.
    counts: Mutex<HashMap<String, u32>>,
    log: Box<dyn Fn(&str) + Send + Sync>,
}

impl FaultServer {
    /// Listens, and serves the objects, by their keys, on the current tokio runtime. `log` gets a line for each request.
    ///
    /// # Errors
    /// The address can't be listened on.
    ///
    /// # Cancellation safety
    /// Nothing runs until it returns.
    pub async fn start(
        bind: SocketAddr,
        scenario: &'static Scenario,
        objects: BTreeMap<String, Vec<u8>>,
        log: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        let named = || format!("cannot listen on {bind}");
        let listener = TcpListener::bind(bind).await.with_context(named)?;
        let addr = listener.local_addr().with_context(named)?;
        let shared = Shared { scenario, host: addr.to_string(), objects, counts: Mutex::default(), log: Box::new(log) };
        let accepting = tokio::spawn(accept(listener, Arc::new(shared)));
        Ok(Self { addr, accepting })
    }

    /// Returns the URL of an object.
    pub fn url(&self, key: &str) -> String {
        let path: Vec<String> = key
            .split('/')
            .map(|part| percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC).to_string())
            .collect();
        // Unreserved characters are left unescaped, to be readable.
        let path = path.join("/").replace("%2E", ".").replace("%2D", "-").replace("%5F", "_");
        format!("http://{}/{path}", self.addr)
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let shared = shared.clone();
                    connections.spawn(async move {
                        // A client that goes away ends its connection, and nothing else.
                        let _ = serve(stream, &shared).await;
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection: its requests one after the other, until the scenario ends it.
async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    for on_connection in 1.. {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if buffer.len() > REQUEST_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let Answer { bytes, drip, then } = shared.answer(&head, on_connection);
        let (at_once, slowly) = bytes.split_at(drip.map_or(bytes.len(), |(from, _)| from.min(bytes.len())));
        stream.write_all(at_once).await?;
        for byte in slowly {
            tokio::time::sleep(drip.map_or(Duration::ZERO, |(_, wait)| wait)).await;
            stream.write_all(&[*byte]).await?;
        }
        match then {
            Then::Keep => {}
            Then::Close => {
                // The client gets all bytes before the end of the connection.
                stream.shutdown().await?;
                return Ok(());
            }
            Then::Hang => {
                tokio::time::sleep(HANG).await;
                return Ok(());
            }
            Then::Repeat(piece) => {
                let pieces = piece.repeat(4096 / piece.len().max(1));
                loop {
                    stream.write_all(&pieces).await?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
    Ok(())
}

impl Shared {
    fn answer(&self, head: &str, on_connection: u32) -> Answer {
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let target = line.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.find('?').map_or((target, ""), |at| target.split_at(at));
        let header = |name: &str| {
            head.split("\r\n").skip(1).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        (self.log)(&format!("{line} {}", header("Range").unwrap_or("-")));
        let key = percent_encoding::percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
        let Some(object) = self.objects.get(&key) else { return refusal("404 Not Found", "NoSuchKey") };
        let number = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(key).or_default();
            *count += 1;
            *count
        };
        let range = header("Range").and_then(|range| {
            let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let to = if last.is_empty() { object.len() } else { last.parse::<usize>().ok()?.saturating_add(1) };
            Some((from.parse().ok()?, to))
        });
        let (host, if_match) = (self.host.as_str(), header("If-Match"));
        let request = Request { number, on_connection, query, path, host, object, range, if_match };
        (self.scenario.script)(&request)
    }
}
