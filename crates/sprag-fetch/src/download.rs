//! The async shell: connections, requests and time around the decisions of the other files.

use core::future::poll_fn;
use core::num::NonZeroU64;
use core::ops::Range;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Error as _, ErrorKind, Read, Write};

use crate::buffer::move_to;
use crate::chunked::{Chunked, Malformed};
use crate::connector::Connector;
use crate::error::{Error, Waiting};
use crate::pace::Pace;
use crate::redirect::Redirect;
use crate::request::{ByteRange, Request};
use crate::response::{CodeScanner, ErrorCode, Head, HeadParser, Region};
use crate::retry::{Decision, Retry, RetryPolicy};
use crate::session::{AnswerError, RangeIgnored, Session, Span};
use crate::url::Url;

/// How much of an error's body is searched for the service's code.
const ERROR_BODY_MAX: u32 = 1024;
/// The bytes of the object that an answer must bring to count as progress, unless fewer were asked for: less than one
/// segment of TCP.
const PROGRESS_MIN: u64 = 512;

/// What bounds a download. The defaults suit cellular links and S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connecting, name resolution and TLS handshake included, in milliseconds.
    pub connect_ms: u32,
    /// For the request to be taken, and from then on for the whole head of the answer, in milliseconds each.
    pub answer_ms: u32,
    /// Between two bytes of an answer, in milliseconds.
    pub stall_ms: u32,
    /// Bytes of the object per second, from 1 to 1000, below which a connection is too slow; 0 for none. Without it, one
    /// byte in every `stall_ms` would keep a device busy for years.
    pub rate_floor: u16,
    /// How far a connection may fall behind that, in milliseconds: so long it may be silent, or for longer be slow.
    pub behind_ms: u32,
    /// The head of an answer, all header lines and interim answers included, in bytes.
    pub head_bytes: u32,
    /// Redirects that are followed for one request; 0 for none, as without the feature `redirects`. The next request begins at
    /// the first URL again.
    pub redirects: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_ms: 30_000,
            answer_ms: 30_000,
            stall_ms: 20_000,
            rate_floor: 20,
            behind_ms: 60_000,
            head_bytes: 16 * 1024,
            redirects: 4,
        }
    }
}

impl Limits {
    /// The limit that ran out with this error, in milliseconds.
    fn ran_out<E>(&self, error: &Error<E>) -> u32 {
        match error {
            Error::Timeout(Waiting::Connect) => self.connect_ms,
            Error::Timeout(Waiting::Answer) => self.answer_ms,
            Error::Timeout(Waiting::Body) => self.stall_ms,
            Error::Timeout(Waiting::Rate) => self.behind_ms,
            _ => 0,
        }
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
    /// The server ignores ranges, and sends the object from its beginning: what is there already is skipped.
    Skipping {
        /// How many bytes come twice.
        bytes: u64,
    },
    /// The server sent the request elsewhere; it follows, on a connection of its own.
    Redirected {
        /// The status code.
        status: u16,
    },
    /// The server sends no strong ETag: if the connection is lost, the object has to be fetched from byte 0 again, in one
    /// answer, for nothing says that the bytes of another answer are of the same object.
    NoStrongEtag,
    /// The server refused the URL.
    Refused {
        /// The status code: 301 (without a `Location`), 400, 401 or 403.
        status: u16,
        /// The storage service's own word for why, such as `ExpiredToken`; empty when it gave none.
        code: ErrorCode,
    },
    /// S3 says that the bucket is in another region than the URL's.
    OtherRegion {
        /// Which region it is in.
        region: Region,
    },
    /// The connection is over: the server ended it, announced or not, or it was given up after a time limit.
    Closed,
    /// A failure; the next try follows after the wait.
    Retrying {
        /// [`Error::reason`] of the failure.
        reason: &'static str,
        /// The wait in milliseconds; 0 when the next try follows at once.
        after_ms: u32,
        /// Tries in a row that brought no progress so far.
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
    range_ignored: RangeIgnored,
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

    /// Sets what is done about servers that ignore ranges.
    #[must_use]
    pub fn range_ignored(mut self, policy: RangeIgnored) -> Self {
        self.settings.range_ignored = policy;
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
            pace: Pace::new(self.settings.limits),
            settings: self.settings,
            url,
            // Beside an ETag, it is what an answer of an earlier life said.
            promised: session.total.filter(|_| session.etag.is_none()),
            session,
            plain: false,
            served: 0,
            was_short: false,
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
    pace: Pace,
    settings: Settings,
    url: Url<U>,
    session: Session,
    /// The size that the caller knew before the first answer.
    promised: Option<u64>,
    /// True when the object is asked for without a range, because nothing would bind the pieces to each other.
    plain: bool,
    /// Bytes of the object that the present, or else the last, answer brought.
    served: u64,
    /// True when it ended as it should, and brought next to nothing.
    was_short: bool,
    /// True when the bytes that it brought are enough to count as progress, and came fast enough.
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

/// What a request led to.
enum Answer {
    /// The bytes asked for: so many came along with the head.
    Body(Body, usize),
    /// Another request: its `Location` stands there in the buffer.
    Elsewhere { status: u16, location: Range<usize> },
}

/// What is left of an answer.
struct Body {
    /// Bytes of the object that come before the one asked for.
    skip: u64,
    /// Bytes of the object from the one asked for on.
    left: u64,
    chunked: Option<Chunked>,
    close_after: bool,
}

impl Body {
    /// How much to read at once: never into the next answer, where the length is known beforehand.
    fn room(&self, buffer: usize) -> usize {
        match self.chunked {
            Some(_) => buffer,
            None => usize::try_from(self.skip.saturating_add(self.left)).unwrap_or(usize::MAX).min(buffer),
        }
    }

    /// Takes the first `count` bytes of `buf` as they arrived: how many of them were the object's, and how many of these
    /// stand at the front of `buf` then, because they are wanted.
    fn take(&mut self, buf: &mut [u8], count: usize) -> Result<(usize, usize), AnswerError> {
        let data = match &mut self.chunked {
            Some(chunked) => chunked.decode(buf, count).map_err(|Malformed| AnswerError::Chunks)?,
            None => count,
        };
        let came = data;
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data);
        if skipped > 0 {
            self.skip = self.skip.saturating_sub(u64::try_from(skipped).unwrap_or(u64::MAX));
            move_to(buf, skipped..data, 0);
        }
        let data = data.saturating_sub(skipped);
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(data);
        self.left = self.left.saturating_sub(u64::try_from(wanted).unwrap_or(u64::MAX));
        // Chunks go on behind what is to be the end: they are of another object, or the range is not what the head says.
        if self.left == 0
            && (wanted < data || self.chunked.as_ref().is_some_and(Chunked::is_in_data))
            && self.chunked.is_some()
        {
            return Err(AnswerError::ObjectChanged);
        }
        // More than the answer promised, or an end that has not come yet: the connection is not good for another one.
        self.close_after |= wanted < data || (self.left == 0 && self.chunked.as_ref().is_some_and(|c| !c.is_done()));
        Ok((came, wanted))
    }

    /// Returns whether it came to its last chunk.
    fn has_ended(&self) -> bool {
        self.chunked.as_ref().is_some_and(Chunked::is_done)
    }
}

impl<'f, C: Connector, D: DelayNs, U: Iterator<Item = u8> + Clone> Download<'f, C, D, U> {
    /// Returns the state of the download. Size and ETag are known from the first byte on; the size of what comes in
    /// chunks, where the session did not say it, from the last.
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
    /// call asks for the rest on a new connection. Where the server sends no strong ETag, it can't: the next call ends in
    /// [`AnswerError::NoStrongEtag`].
    pub async fn read(&mut self, buf: &mut [u8], events: &mut dyn FnMut(Event)) -> Result<usize, Error<C::Error>> {
        if buf.is_empty() {
            return Err(Error::NoBuffer);
        }
        while !self.session.is_complete() {
            let error = match self.attempt(buf, events).await {
                Ok(count) => {
                    // A connection that is too slow, and the next one, and the one after that: no progress either.
                    if self.fruitful {
                        self.retry.progress();
                    }
                    return Ok(count);
                }
                Err(error) => error,
            };
            // Whatever failed, nothing more is expected from that connection: `attempt` dropped it.
            let spent_ms = self.settings.limits.ran_out(&error);
            let fruitful = core::mem::take(&mut self.fruitful);
            let is_part = matches!(error, Error::Answer(AnswerError::NoStrongEtag)) && self.session.offset == 0;
            let decision = if is_part && !self.plain {
                // A part of an object is of no use then.
                self.plain = true;
                Decision::Now
            } else {
                self.retry.decide(&error, fruitful, spent_ms)
            };
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
        let mut redirect = Redirect::from(self.url.scheme(), self.url.port());
        let mut hops = 0u8;
        if self.link.as_ref().is_none_or(|link| link.answer.is_none()) && self.session.offset > 0 {
            if !self.session.is_pinned() {
                return Err(AnswerError::NoStrongEtag.into());
            }
            // With one byte in each answer, it would take as many requests as the object has bytes.
            if core::mem::take(&mut self.was_short) {
                return Err(AnswerError::WrongRange.into());
            }
        }
        let (mut link, mut body, mut arrived) = loop {
            let mut link = match self.link.take() {
                Some(link) => link,
                None => self.connect(&redirect, buf, events).await?,
            };
            if let Some(body) = link.answer.take() {
                break (link, body, 0);
            }
            let (status, location) = match self.ask(&mut link.connection, &redirect, buf, events).await? {
                Answer::Body(body, early) => {
                    (self.served, self.fruitful) = (0, false);
                    break (link, body, early);
                }
                Answer::Elsewhere { status, location } => (status, location),
            };
            if cfg!(not(feature = "redirects")) {
                return Err(AnswerError::RedirectsNotBuiltIn.into());
            }
            if hops == self.settings.limits.redirects {
                return Err(AnswerError::TooManyRedirects.into());
            }
            hops = hops.saturating_add(1);
            events(Event::Redirected { status });
            if !redirect.follow(buf, location, &mut self.url.target())? {
                return Err(Error::NoBuffer);
            }
        };
        let count = loop {
            if body.has_ended() && body.left > 0 {
                return Err(Error::Closed);
            }
            let mut waited = false;
            if arrived == 0 {
                let room = buf.get_mut(..body.room(buf.len())).unwrap_or_default();
                (arrived, waited) = self.receive(&mut link.connection, room, events).await?;
            }
            let (came, count) = body.take(buf, core::mem::take(&mut arrived))?;
            // The bytes of the object pay for the time, not those around them.
            if let Some(waiting) = self.pace.arrived(came, waited) {
                events(Event::Closed);
                return Err(Error::Timeout(waiting));
            }
            self.served = self.served.saturating_add(u64::try_from(came).unwrap_or(u64::MAX));
            if body.has_ended() && body.skip > 0 {
                // It is shorter than what is there.
                return Err(AnswerError::ObjectChanged.into());
            }
            if body.has_ended() && self.session.total.is_none() {
                // The last chunk is what says how long the object is.
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                let total = self.session.offset.saturating_add(count);
                if total == 0 {
                    return Err(AnswerError::Empty.into());
                }
                self.session.total = Some(total);
                body.left = 0;
            } else if count == 0 {
                continue;
            }
            break count;
        };
        let enough = self.settings.range_size.map_or(PROGRESS_MIN, |size| size.get().min(PROGRESS_MIN));
        // As of now: how long it is silent before it ends says nothing of how it served.
        self.fruitful = self.pace.is_kept() && self.served >= enough;
        self.session.offset = self.session.offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        self.was_short = body.left == 0 && !self.fruitful;
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

    /// Connects to whom the last redirect named.
    async fn connect(
        &mut self,
        redirect: &Redirect,
        buf: &[u8],
        events: &mut dyn FnMut(Event),
    ) -> Result<Link<C::Connection<'f>>, Error<C::Error>> {
        let host = redirect.host(buf).unwrap_or_else(|| self.url.host());
        let ms = self.settings.limits.connect_ms;
        let connecting = self.connector.connect(redirect.scheme, &host, redirect.port);
        let connection = match select(connecting, self.delay.delay_ms(ms)).await {
            Either::First(connection) => connection.map_err(Error::Connect)?,
            Either::Second(()) => return Err(Error::Timeout(Waiting::Connect)),
        };
        self.pace.reconnected();
        events(Event::Connected);
        Ok(Link { connection, answer: None })
    }

    /// Sends a request and reads the answer's head; what came along of its body stands at the front of `buf` then. What the
    /// last redirect left there is needed until the answer has come.
    async fn ask(
        &mut self,
        connection: &mut C::Connection<'f>,
        redirect: &Redirect,
        buf: &mut [u8],
        events: &mut dyn FnMut(Event),
    ) -> Result<Answer, Error<C::Error>> {
        let limits = self.settings.limits;
        let plain = self.plain && self.session.offset == 0;
        let range = self.session.next_range(self.settings.range_size.filter(|_| !plain));
        let kept = redirect.length();
        let (at_front, scratch) = buf.split_at_mut_checked(kept).ok_or(Error::NoBuffer)?;
        let (host, target) = redirect.place(at_front);
        let request =
            Request { scheme: redirect.scheme, port: redirect.port, range, plain, if_match: self.session.if_match() };
        let url = &self.url;
        let mut head = |sent, out: &mut [u8]| {
            let (mut first_host, mut first_target) = (url.host_text(), url.target());
            let (mut host_there, mut target_there) = (host.iter().copied(), target.iter().copied());
            request.write(
                if host.is_empty() { &mut first_host } else { &mut host_there },
                if redirect.is_elsewhere() { &mut target_there } else { &mut first_target },
                sent,
                out,
            )
        };
        send(connection, self.delay, limits, &mut head, scratch).await?;
        events(Event::Requested(range));
        let mut parser = HeadParser::new(limits.head_bytes);
        let body = receive_head(connection, self.delay, limits, &mut parser, scratch, events).await?;

        let head = parser.head();
        if matches!(head.status, 301 | 302 | 303 | 307 | 308) && parser.has_location() {
            let location = kept..kept.saturating_add(parser.kept());
            return Ok(Answer::Elsewhere { status: head.status, location });
        }
        let early = body.len();
        move_to(buf, body.start.saturating_add(kept)..body.end.saturating_add(kept), 0);
        match self.session.accept(range, head, self.settings.range_ignored, self.promised) {
            Ok(Span { skip, length, .. }) => {
                if !self.session.is_pinned() {
                    events(Event::NoStrongEtag);
                }
                if skip > 0 {
                    events(Event::Skipping { bytes: skip });
                }
                let chunked = Chunked::of(head.chunked);
                // What was found elsewhere is not remembered: the next request goes to the first URL.
                let close_after = head.close || redirect.is_elsewhere();
                Ok(Answer::Body(Body { skip, left: length, chunked, close_after }, early))
            }
            Err(refusal) if matches!(head.status, 301 | 400 | 401 | 403) => {
                let status = head.status;
                let region = head.region.clone();
                let code = match receive_code(connection, self.delay, limits, head, buf, early).await {
                    Ok(code) => code,
                    // The refusal stands, whether its explanation arrives or not; what a 400 means hangs on it.
                    Err(error) if status == 400 => return Err(error),
                    Err(_) => ErrorCode::new(),
                };
                // A bad request stays one with every URL, unless only the token in it has expired.
                let hopeless = status == 400 && code != "ExpiredToken";
                events(Event::Refused { status, code });
                if status == 301 && !region.is_empty() {
                    events(Event::OtherRegion { region });
                }
                Err(if hopeless { AnswerError::Status { status, retry_after: None } } else { refusal }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// At least one byte of a body, within the time allowed, and whether it had to be waited for.
    async fn receive(
        &mut self,
        connection: &mut C::Connection<'f>,
        buf: &mut [u8],
        events: &mut dyn FnMut(Event),
    ) -> Result<(usize, bool), Error<C::Error>> {
        let mut waited = false;
        let result = {
            let mut reading = pin!(connection.read(buf));
            let mut read = pin!(poll_fn(|context| {
                let poll = reading.as_mut().poll(context);
                waited |= poll.is_pending();
                poll
            }));
            self.pace.begin();
            loop {
                match select(&mut read, self.delay.delay_ms(self.pace.tick_ms())).await {
                    Either::First(Ok(0)) => break Err(Error::Closed),
                    Either::First(Ok(count)) => break Ok(count),
                    Either::First(Err(error)) => break Err(Error::Connection(error.kind())),
                    Either::Second(()) => {
                        if let Some(waiting) = self.pace.tick() {
                            break Err(Error::Timeout(waiting));
                        }
                    }
                }
            }
        };
        if result.is_err() {
            events(Event::Closed);
        }
        result.map(|count| (count, waited))
    }
}

/// Reads the head of an answer, within the time allowed for all of it: where in `buf` what came along of the body lies.
async fn receive_head<T: Read, E>(
    connection: &mut T,
    delay: &mut impl DelayNs,
    limits: Limits,
    parser: &mut HeadParser,
    buf: &mut [u8],
    events: &mut dyn FnMut(Event),
) -> Result<Range<usize>, Error<E>> {
    let all = pin!(async {
        loop {
            let kept = parser.kept();
            let room = buf.get_mut(kept..).filter(|room| !room.is_empty()).ok_or(Error::NoBuffer)?;
            let end = match connection.read(room).await {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => kept.saturating_add(count),
                Err(error) => return Err(Error::Connection(error.kind())),
            };
            if let Some(at) = parser.feed(buf, end).map_err(AnswerError::Head)? {
                return Ok(at..end);
            }
        }
    });
    let result = match select(all, delay.delay_ms(limits.answer_ms)).await {
        Either::First(result) => result,
        Either::Second(()) => Err(Error::Timeout(Waiting::Answer)),
    };
    if result.is_err() {
        events(Event::Closed);
    }
    result
}

/// Reads the storage service's code from the body of a refusal, of which `count` bytes stand at the front of `buf`, within
/// the time allowed for all of it. The connection is not used again.
async fn receive_code<T: Read, E>(
    connection: &mut T,
    delay: &mut impl DelayNs,
    limits: Limits,
    head: &Head,
    buf: &mut [u8],
    mut count: usize,
) -> Result<ErrorCode, Error<E>> {
    let length = head.content_length.and_then(|length| u32::try_from(length).ok());
    let mut left = length.unwrap_or(ERROR_BODY_MAX).min(ERROR_BODY_MAX);
    let all = pin!(async {
        let (mut scanner, mut chunked) = (CodeScanner::default(), Chunked::of(head.chunked));
        loop {
            let data = match &mut chunked {
                Some(chunked) => chunked.decode(buf, count).map_err(|Malformed| AnswerError::Chunks)?,
                None => count,
            };
            if let Some(code) = buf.iter().take(data).find_map(|byte| scanner.push(*byte)) {
                return Ok(code);
            }
            left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(ErrorCode::new());
            }
            count = match connection.read(buf).await {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => count,
                Err(error) => return Err(Error::Connection(error.kind())),
            };
        }
    });
    match select(all, delay.delay_ms(limits.answer_ms)).await {
        Either::First(result) => result,
        Either::Second(()) => Err(Error::Timeout(Waiting::Answer)),
    }
}

/// Sends what `head` writes, through `scratch`, in as few pieces as it allows, within the time allowed.
async fn send<T: Write, E>(
    connection: &mut T,
    delay: &mut impl DelayNs,
    limits: Limits,
    head: &mut dyn FnMut(usize, &mut [u8]) -> usize,
    scratch: &mut [u8],
) -> Result<(), Error<E>> {
    let all = pin!(async {
        let mut sent = 0usize;
        loop {
            let count = head(sent, scratch);
            if count == 0 {
                return connection.flush().await.map_err(|error| error.kind());
            }
            sent = sent.saturating_add(count);
            let mut piece = scratch.get(..count).unwrap_or_default();
            while !piece.is_empty() {
                let taken = connection.write(piece).await.map_err(|error| error.kind())?;
                // A connection that takes nothing is as good as closed.
                piece = piece.get(taken..).filter(|_| taken > 0).ok_or(ErrorKind::WriteZero)?;
            }
        }
    });
    match select(all, delay.delay_ms(limits.answer_ms)).await {
        Either::First(sent) => sent.map_err(Error::Connection),
        Either::Second(()) => Err(Error::Timeout(Waiting::Answer)),
    }
}
