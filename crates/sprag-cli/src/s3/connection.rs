//! One connection: its requests one after the other, and its end.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::service::S3Service;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::answer::{AnswerBody, Fate, SharedFate, Stop, Ticket};
use super::flushed::FlushWatch;
use super::log::{Log, RequestRecord, lock};
use super::presign::Signer;
use super::store::Store;
use super::{CloseMode, Disturbance};

pub(super) type Hook = Box<dyn FnMut(u64) -> Option<Disturbance> + Send>;

/// What all connections share.
pub(super) struct Shared {
    pub(super) service: S3Service,
    pub(super) store: Store,
    pub(super) signer: Arc<Signer>,
    pub(super) log: Arc<Log>,
    pub(super) hook: Mutex<Option<Hook>>,
    pub(super) requests_per_connection: Option<u32>,
    pub(super) close: CloseMode,
}

/// Serves a connection until it ends.
pub(super) async fn serve<IO>(io: IO, shared: Arc<Shared>, connection: u64)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (io, flushed) = FlushWatch::new(io);
    let this =
        Arc::new(Connection { shared, number: connection, requests: AtomicU32::new(0), fate: SharedFate::default() });
    let service = {
        let this = this.clone();
        service_fn(move |request| this.clone().answer(request))
    };
    let mut http = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    // hyper ends a connection in its own way, which begins with an announcement. To end it unannounced, wait until
    // it has nothing left to do but to read, and take the stream from it.
    let is_ours = poll_fn(|cx| match Pin::new(&mut http).poll(cx) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if flushed.load(Relaxed) && this.fate.get() != Fate::Open => Poll::Ready(true),
        Poll::Pending => Poll::Pending,
    })
    .await;
    if is_ours && this.fate.get() == Fate::Close {
        // A client that is gone already is no error.
        let _ = http.into_parts().io.into_inner().shutdown().await;
    }
}

struct Connection {
    shared: Arc<Shared>,
    number: u64,
    requests: AtomicU32,
    fate: SharedFate,
}

impl Connection {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Response<AnswerBody>, HangUp> {
        let Shared { service, store, signer, log, hook, requests_per_connection, close } = &*self.shared;
        let count = self.requests.fetch_add(1, Relaxed) + 1;
        if requests_per_connection.is_some_and(|limit| count > limit) {
            return Err(HangUp);
        }
        let last = *requests_per_connection == Some(count);
        let number = log.arrived(record(&request, self.number));
        let mut ticket = Ticket { log: log.clone(), number, fate: self.fate.clone(), last: false };

        let disturbance = lock(hook).as_mut().and_then(|hook| hook(number));
        let mut stop = None;
        let mut response = None;
        match disturbance {
            None => {}
            Some(Disturbance::Delay(time)) => tokio::time::sleep(time).await,
            Some(Disturbance::Replace { bucket, key, bytes }) => {
                if let Err(error) = store.put(&bucket, &key, bytes).await {
                    response = Some(refusal(500, "InternalError", &format!("{error:#}"), &[]));
                }
            }
            Some(Disturbance::ExpireUrls) => signer.expire_urls(),
            Some(Disturbance::Answer { status, code, headers }) => {
                response = Some(refusal(status, &code, "Made to happen.", &headers));
            }
            Some(Disturbance::IgnoreRange) => drop(request.headers_mut().remove(header::RANGE)),
            Some(Disturbance::HangUp) => return Err(HangUp),
            Some(Disturbance::CutAfter(bytes_left)) => stop = Some(Stop { bytes_left, then: Fate::Cut }),
            Some(Disturbance::StallAfter(bytes_left)) => stop = Some(Stop { bytes_left, then: Fate::Open }),
        }
        let mut response = match response {
            Some(response) => response,
            None => service.call(request.map(s3s::Body::from)).await.map_err(|_| HangUp)?,
        };

        log.answered(number, response.status().as_u16());
        dress(response.headers_mut(), number);
        match close {
            CloseMode::Announced if last => {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            CloseMode::Announced => {}
            CloseMode::Silent => ticket.last = last,
        }
        Ok(response.map(|body| AnswerBody { body, stop, ticket }))
    }
}

fn record(request: &Request<Incoming>, connection: u64) -> RequestRecord {
    let text =
        |name| request.headers().get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into());
    RequestRecord {
        connection,
        method: request.method().to_string(),
        path: request.uri().path().into(),
        range: text(header::RANGE),
        if_match: text(header::IF_MATCH),
        ..RequestRecord::default()
    }
}

/// The headers S3 adds to every answer: they make heads as long as a client meets them outside.
fn dress(headers: &mut HeaderMap, number: u64) {
    let mut set = |name, value: &str| {
        if let Ok(value) = value.try_into() {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("server", "AmazonS3");
    set("x-amz-request-id", &format!("{number:016X}"));
    set("x-amz-id-2", &format!("{number:075}="));
}

fn refusal(status: u16, code: &str, message: &str, headers: &[(String, String)]) -> Response<s3s::Body> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let (code, message) = (escape(code), escape(message));
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(s3s::Body::from(xml));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Ends the connection without an answer.
#[derive(Debug)]
struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection ends without an answer")
    }
}

impl std::error::Error for HangUp {}
