//! The async shell: connections, requests and time around the decisions of the other files.

use core::num::NonZeroU64;

use embassy_futures::select::{Either, select};
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Error as _, Read, Write};

use crate::connector::Connector;
use crate::error::{Error, Waiting};
use crate::request::{self, ByteRange};
use crate::response::{CodeScanner, ErrorCode, Head, HeadParser};
use crate::retry::{Decision, Retry, RetryPolicy};
use crate::session::{AnswerError, Session};
use crate::url::Url;

/// How much of an error's body is searched for the service's code.
const ERROR_BODY_MAX: u32 = 1024;

/// What bounds a download. The defaults suit cellular links and S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connecting, name resolution and TLS handshake included, in milliseconds.
    pub connect_ms: u32,
    /// From the request to the first byte of the answer, in milliseconds.
    pub answer_ms: u32,
    /// Between two bytes of an answer, in milliseconds.
    pub stall_ms: u32,
    /// The head of an answer, all header lines and interim answers included, in bytes.
    pub head_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect_ms: 30_000, answer_ms: 30_000, stall_ms: 20_000, head_bytes: 16 * 1024 }
    }
}

/// What happens during a download, for logs, progress and counting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// A connection was made.
    Connected,
    /// A request was sent.
    Requested(ByteRange),
    /// The server ended the connection, announced or not.
    Closed,
    /// A failure; the next try follows after the wait.
    Retrying {
        /// [`Error::reason`] of the failure.
        reason: &'static str,
        /// The wait in milliseconds; 0 when the next try follows at once.
        after_ms: u32,
        /// Tries in a row that brought no byte so far.
        fruitless: u8,
    },
}

/// Makes downloads: a connector, a way to wait, and settings.
#[derive(Debug)]
pub struct Fetcher<C, D> {
    connector: C,
    delay: D,
    settings: Settings,
}

#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    range_size: Option<NonZeroU64>,
    retry: RetryPolicy,
    limits: Limits,
}

impl<C: Connector, D: DelayNs> Fetcher<C, D> {
    /// A fetcher that asks for everything in one open range, with the default [`RetryPolicy`] and [`Limits`].
    pub fn new(connector: C, delay: D) -> Self {
        Self { connector, delay, settings: Settings::default() }
    }

    /// Asks for ranges of `bytes` each, one after the other on a kept connection, instead of one open range.
    ///
    /// One open range costs one round trip, is checked for expiry once and never meets a limit of requests per
    /// connection; small ranges are for servers or networks that cut long answers.
    #[must_use]
    pub fn range_size(mut self, bytes: NonZeroU64) -> Self {
        self.settings.range_size = Some(bytes);
        self
    }

    /// Sets how failures are tried again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Sets what bounds a download.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Begins or continues a download. Nothing is sent before the first [`Download::read`].
    pub fn download<U: Iterator<Item = u8> + Clone>(&mut self, url: Url<U>, session: Session) -> Download<'_, C, D, U> {
        Download {
            connector: &self.connector,
            delay: &mut self.delay,
            retry: Retry::new(self.settings.retry),
            settings: self.settings,
            url,
            session,
            fruitful: false,
            link: None,
        }
    }
}

/// A download in progress: the bytes of one object in their order, none lost and none twice.
pub struct Download<'f, C: Connector, D, U> {
    connector: &'f C,
    delay: &'f mut D,
    retry: Retry,
    settings: Settings,
    url: Url<U>,
    session: Session,
    /// Whether bytes came over the present, or else the last, connection.
    fruitful: bool,
    link: Option<Link<C::Connection<'f>>>,
}

impl<C: Connector, D, U> core::fmt::Debug for Download<'_, C, D, U> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Not the URL: whoever holds a presigned one can fetch.
        f.debug_struct("Download").field("session", &self.session).finish_non_exhaustive()
    }
}

/// A connection, and the answer that is under way on it.
struct Link<T> {
    connection: T,
    answer: Option<Body>,
}

struct Body {
    left: u64,
    close_after: bool,
}

impl<'f, C: Connector, D: DelayNs, U: Iterator<Item = u8> + Clone> Download<'f, C, D, U> {
    /// How far the download came. Size and ETag are known from the first byte on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The next bytes, written to the front of `buf`; 0 when the object is complete.
    ///
    /// Ended connections, stalls and busy servers are dealt with inside, in bounds ([`RetryPolicy`]); `events` hears of
    /// them. `buf` also serves as scratch space for the request and the answer's head, so that nothing else is needed:
    /// any length works, 512 bytes and more work well.
    ///
    /// # Errors
    /// What could not be dealt with: see [`Error::is_retryable`], [`Error::needs_new_url`] and
    /// [`Error::needs_start_over`] for what the caller can do. Calling again after an error tries again.
    ///
    /// # Cancellation safety
    /// Dropping the future loses no byte and doubles none: the session counts only what was handed out, and the next
    /// call asks for the rest on a new connection.
    pub async fn read(&mut self, buf: &mut [u8], events: &mut dyn FnMut(Event)) -> Result<usize, Error<C::Error>> {
        if buf.is_empty() {
            return Err(Error::NoBuffer);
        }
        while !self.session.is_complete() {
            let error = match self.attempt(buf, events).await {
                Ok(count) => {
                    self.retry.progress();
                    return Ok(count);
                }
                Err(error) => error,
            };
            // Whatever failed, nothing more is expected from that connection: `attempt` dropped it.
            let decision = self.retry.decide(&error, core::mem::take(&mut self.fruitful));
            let after_ms = match decision {
                Decision::GiveUp => return Err(error),
                Decision::Now => 0,
                Decision::After { ms } => ms,
            };
            events(Event::Retrying { reason: error.reason(), after_ms, fruitless: self.retry.fruitless() });
            if after_ms > 0 {
                self.delay.delay_ms(after_ms).await;
            }
        }
        Ok(0)
    }

    /// One try at the next bytes. The connection is taken out for its time, so that an error or a dropped future
    /// can't leave one behind in an unknown state.
    async fn attempt(&mut self, buf: &mut [u8], events: &mut dyn FnMut(Event)) -> Result<usize, Error<C::Error>> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect(events).await?,
        };
        let mut count = 0;
        let mut body = match link.answer.take() {
            Some(body) => body,
            None => {
                let (body, early) = self.ask(&mut link.connection, buf, events).await?;
                count = early;
                body
            }
        };
        if count == 0 {
            let room = usize::try_from(body.left).unwrap_or(usize::MAX).min(buf.len());
            let room = buf.get_mut(..room).unwrap_or_default();
            count = self.receive(&mut link.connection, room, Waiting::Body, events).await?;
        }
        self.fruitful = true;
        let received = u64::try_from(count).unwrap_or(u64::MAX);
        self.session.offset = self.session.offset.saturating_add(received);
        body.left = body.left.saturating_sub(received);
        if body.left > 0 {
            link.answer = Some(body);
            self.link = Some(link);
        } else if body.close_after {
            events(Event::Closed);
        } else {
            self.link = Some(link);
        }
        Ok(count)
    }

    async fn connect(&mut self, events: &mut dyn FnMut(Event)) -> Result<Link<C::Connection<'f>>, Error<C::Error>> {
        let dial = self.connector.connect(self.url.scheme(), self.url.host(), self.url.port());
        let connection = match select(dial, self.delay.delay_ms(self.settings.limits.connect_ms)).await {
            Either::First(dialled) => dialled.map_err(Error::Connect)?,
            Either::Second(()) => return Err(Error::Timeout(Waiting::Connect)),
        };
        self.fruitful = false;
        events(Event::Connected);
        Ok(Link { connection, answer: None })
    }

    /// Sends a request and reads the answer's head; bytes of the body that came along stand at the front of `buf`.
    async fn ask(
        &mut self,
        connection: &mut C::Connection<'f>,
        buf: &mut [u8],
        events: &mut dyn FnMut(Event),
    ) -> Result<(Body, usize), Error<C::Error>> {
        let asked = self.session.next_range(self.settings.range_size);
        let head = request::head(&self.url, asked, self.session.if_match());
        match select(send(connection, head, buf), self.delay.delay_ms(self.settings.limits.answer_ms)).await {
            Either::First(sent) => sent?,
            Either::Second(()) => return Err(Error::Timeout(Waiting::Answer)),
        }
        events(Event::Requested(asked));

        let mut parser = HeadParser::new(self.settings.limits.head_bytes);
        let (head, rest) = loop {
            let count = self.receive(connection, buf, Waiting::Answer, events).await?;
            let mut bytes = buf.get(..count).unwrap_or_default();
            if let Some(head) = parser.feed(&mut bytes).map_err(AnswerError::Head)? {
                break (head, count.saturating_sub(bytes.len())..count);
            }
        };
        match self.session.accept(asked, &head) {
            Ok(length) => {
                let come = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
                // More than the answer promised: the connection can't be trusted with another one.
                let close_after = head.close || come < rest.len();
                let end = rest.start.saturating_add(come);
                buf.copy_within(rest.start..end, 0);
                Ok((Body { left: length, close_after }, come))
            }
            Err(AnswerError::UrlRefused { status, .. }) => {
                buf.copy_within(rest.clone(), 0);
                let code = self.error_code(connection, &head, buf, rest.len(), events).await;
                // A bad request stays one with every URL, unless only the token in it has expired.
                let hopeless = status == 400 && code != "ExpiredToken";
                Err(Error::Answer(if hopeless {
                    AnswerError::Status { status, retry_after: None }
                } else {
                    AnswerError::UrlRefused { status, code }
                }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The storage service's code from the body of a refusal, of which `count` bytes stand at the front of `buf`.
    async fn error_code(
        &mut self,
        connection: &mut C::Connection<'f>,
        head: &Head,
        buf: &mut [u8],
        mut count: usize,
        events: &mut dyn FnMut(Event),
    ) -> ErrorCode {
        let mut scanner = CodeScanner::default();
        let mut left =
            head.content_length.and_then(|l| u32::try_from(l).ok()).unwrap_or(ERROR_BODY_MAX).min(ERROR_BODY_MAX);
        loop {
            for byte in buf.iter().take(count) {
                if let Some(code) = scanner.push(*byte) {
                    return code;
                }
            }
            left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            if left == 0 {
                return ErrorCode::new();
            }
            // The refusal stands, whether its explanation arrives or not.
            count = match self.receive(connection, buf, Waiting::Body, events).await {
                Ok(count) => count,
                Err(_) => return ErrorCode::new(),
            };
        }
    }

    /// At least one byte, within the time allowed.
    async fn receive(
        &mut self,
        connection: &mut C::Connection<'f>,
        buf: &mut [u8],
        waiting: Waiting,
        events: &mut dyn FnMut(Event),
    ) -> Result<usize, Error<C::Error>> {
        let limits = self.settings.limits;
        let ms = if waiting == Waiting::Body { limits.stall_ms } else { limits.answer_ms };
        let result = match select(connection.read(buf), self.delay.delay_ms(ms)).await {
            Either::First(Ok(0)) => Err(Error::Closed),
            Either::First(Ok(count)) => return Ok(count.min(buf.len())),
            Either::First(Err(error)) => Err(Error::Connection(error.kind())),
            Either::Second(()) => Err(Error::Timeout(waiting)),
        };
        events(Event::Closed);
        result
    }
}

/// Writes `bytes` through `scratch`, in as few pieces as it allows.
async fn send<T: Write, E>(
    connection: &mut T,
    mut bytes: impl Iterator<Item = u8>,
    scratch: &mut [u8],
) -> Result<(), Error<E>> {
    loop {
        let mut count = 0usize;
        for (slot, byte) in scratch.iter_mut().zip(&mut bytes) {
            *slot = byte;
            count = count.saturating_add(1);
        }
        if count == 0 {
            break;
        }
        let piece = scratch.get(..count).unwrap_or_default();
        connection.write_all(piece).await.map_err(|e| Error::Connection(e.kind()))?;
    }
    connection.flush().await.map_err(|e| Error::Connection(e.kind()))
}
