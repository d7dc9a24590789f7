//! What can go wrong at a request.

use std::time::Duration;

/// What happens to one request, as told by the hook given to [`Server::on_request`](super::Server::on_request).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// Wait this long, then handle the request as usual.
    Delay(Duration),
    /// Replace this object, then handle the request as usual.
    Replace {
        /// The bucket of the object.
        bucket: String,
        /// Its key.
        key: String,
        /// Its new content.
        bytes: Vec<u8>,
    },
    /// From this request on, the URLs presigned so far have expired: 403 `AccessDenied`, `Request has expired`. A URL
    /// presigned later works.
    ExpireUrls,
    /// Do not handle the request, answer with this error.
    Answer {
        /// The status, such as 500.
        status: u16,
        /// S3's error code in the XML body, such as `InternalError`.
        code: String,
        /// Headers to add, such as `Retry-After` or `Location`.
        headers: Vec<(String, String)>,
    },
    /// Handle the request as if it had no `Range` header: 200 with the whole object, as from a server without ranges.
    IgnoreRange,
    /// Close the connection without an answer.
    HangUp,
    /// Close the connection when this many bytes of the answer's body are out, without a TLS goodbye. 0 is after the
    /// head. If the body is not longer than that, nothing happens.
    CutAfter(u64),
    /// Send nothing more when this many bytes of the answer's body are out, and keep the connection open.
    StallAfter(u64),
}

impl Disturbance {
    /// S3 asking to slow down: 503 `SlowDown`, with `Retry-After` in seconds if given.
    pub fn slow_down(retry_after: Option<u32>) -> Self {
        let headers = retry_after.map(|seconds| ("Retry-After".into(), seconds.to_string()));
        Self::Answer { status: 503, code: "SlowDown".into(), headers: headers.into_iter().collect() }
    }
}
