//! The object that is fetched, and how an S3 bucket answers to requests for it.

use std::ops::Range;
use std::sync::Arc;

/// The host that it lies at.
pub const HOST: &str = "firmware-eu-central-1.s3.eu-central-1.amazonaws.com";
const ETAG: &str = "\"9b2cf535f27731c974343645a3985328\"";
/// Answers on one connection, as of S3.
pub const ANSWERS_MAX: u32 = 100;

/// An image.
#[derive(Debug, Clone)]
pub struct Object(pub Arc<[u8]>);

/// What is sent for a request: a head, and bytes of the object.
#[derive(Debug)]
pub struct Answer {
    /// Status line and header lines.
    pub head: Vec<u8>,
    /// Of the object.
    pub body: Range<usize>,
}

impl Object {
    /// One of so many bytes, from a seed.
    pub fn new(size: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self(std::iter::repeat_with(|| random.u8(..)).take(size).collect())
    }

    /// Path and query of a presigned URL with a session token: as long as they are.
    pub fn target() -> String {
        let random = |seed, length| {
            let mut random = fastrand::Rng::with_seed(seed);
            std::iter::repeat_with(|| random.alphanumeric()).take(length).collect::<String>()
        };
        format!(
            "/device/app.signed.bin?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F20261123%2Feu-central-1%2Fs3\
             %2Faws4_request&X-Amz-Date=20261123T120000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token=\
             {}&X-Amz-Signature={}",
            random(1, 20),
            random(2, 880),
            random(3, 64)
        )
    }

    /// The answer to a request, of which `head` is the head.
    pub fn answer(&self, head: &str, last: bool) -> Answer {
        let size = self.0.len();
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        if header("If-Match").is_some_and(|etag| etag != ETAG) {
            return Answer { head: self.head("412 Precondition Failed", "", 0, last), body: 0..0 };
        }
        let Some(range) = header("Range").and_then(|range| range.strip_prefix("bytes=")) else {
            return Answer { head: self.head("200 OK", "", size, last), body: 0..size };
        };
        let (first, end) = range.split_once('-').unwrap_or((range, ""));
        let first: usize = first.parse().unwrap_or(0);
        let end = end.parse::<usize>().map_or(size, |last| (last + 1).min(size));
        if first >= end {
            return Answer { head: self.head("416 Requested Range Not Satisfiable", "", 0, last), body: 0..0 };
        }
        let range = format!("Content-Range: bytes {first}-{}/{size}\r\n", end - 1);
        Answer { head: self.head("206 Partial Content", &range, end - first, last), body: first..end }
    }

    fn head(&self, status: &str, range: &str, length: usize, last: bool) -> Vec<u8> {
        let close = if last { "Connection: close\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status}\r\nx-amz-id-2: iVh8hUYpzYQhlCvhjNBxBSXmQZ2yhLmWWLLJDTMOMJkBFhzM9gJTkQbFuQhZcTtZ\r\n\
             x-amz-request-id: 0A49CE4060975EAC\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\n\
             Last-Modified: Mon, 23 Nov 2026 11:00:00 GMT\r\nETag: {ETAG}\r\nAccept-Ranges: bytes\r\n{range}\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\nServer: AmazonS3\r\n{close}\r\n"
        )
        .into_bytes()
    }
}
