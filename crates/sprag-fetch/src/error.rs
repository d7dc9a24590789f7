//! Why a download stopped.

use core::fmt;

use embedded_io_async::ErrorKind;

use crate::session::AnswerError;

/// Why a download stopped. `E` is the connector's error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// No connection could be made.
    Connect(E),
    /// The connection broke; the kind is the transport's.
    Connection(#[cfg_attr(feature = "defmt", defmt(Debug2Format))] ErrorKind),
    /// The server closed the connection before its answer was complete.
    Closed,
    /// Nothing happened for too long.
    Timeout(Waiting),
    /// The answer was refused.
    Answer(AnswerError),
    /// The buffer passed in has no room: it is empty, or a redirect's `Location` fills it.
    NoBuffer,
}

/// What a download was waiting for when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Waiting {
    /// The connection, TLS handshake included.
    Connect,
    /// The request to be taken, or the first byte of the answer.
    Answer,
    /// The next byte of the answer.
    Body,
    /// More bytes than the connection brings: it is slower than [`Limits::rate_floor`](crate::Limits::rate_floor).
    Rate,
}

impl<E> Error<E> {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str
    where
        E: embedded_io_async::Error,
    {
        match self {
            Self::Connect(error) if error.kind() == ErrorKind::InvalidData => "server-not-trusted",
            Self::Connect(_) => "connect-failed",
            Self::Connection(_) => "connection-broken",
            Self::Closed => "connection-closed",
            Self::Timeout(Waiting::Connect) => "connect-timeout",
            Self::Timeout(Waiting::Answer) => "answer-timeout",
            Self::Timeout(Waiting::Body) => "stalled",
            Self::Timeout(Waiting::Rate) => "too-slow",
            Self::Answer(answer) => answer.reason(),
            Self::NoBuffer => "no-buffer",
        }
    }

    /// Whether the same download may succeed later, unchanged: the network's fault or a busy server's, not the object's.
    ///
    /// A certificate that does not fit counts as such: a captive portal or a clock that is not set yet may be the reason.
    /// How often to come back is for the caller to bound.
    pub fn is_retryable(&self) -> bool
    where
        E: embedded_io_async::Error,
    {
        match self {
            Self::Connect(error) => error.kind() != ErrorKind::Unsupported,
            Self::Connection(_) | Self::Closed | Self::Timeout(_) => true,
            Self::Answer(answer) => answer.is_retryable(),
            Self::NoBuffer => false,
        }
    }

    /// Whether a fresh URL for the same object may do. The session stays good for it.
    pub fn needs_new_url(&self) -> bool {
        matches!(self, Self::Answer(AnswerError::UrlRefused { .. }))
    }

    /// Returns whether only starting over at byte 0 makes sense: the object is another one now, or the server can't go on
    /// in the middle, because it ignores ranges or sends no strong ETag. How often is for the caller to bound.
    pub fn needs_start_over(&self) -> bool {
        use AnswerError::{NoStrongEtag, ObjectChanged, RangeIgnored};
        matches!(self, Self::Answer(ObjectChanged | NoStrongEtag | RangeIgnored))
    }
}

impl<E> From<AnswerError> for Error<E> {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "can't connect: {error}"),
            Self::Connection(kind) => write!(f, "the connection broke ({kind:?})"),
            Self::Closed => f.write_str("the server closed the connection in the middle of its answer"),
            Self::Timeout(Waiting::Connect) => f.write_str("connecting took too long"),
            Self::Timeout(Waiting::Answer) => f.write_str("the server did not answer in time"),
            Self::Timeout(Waiting::Body) => f.write_str("the download stalled"),
            Self::Timeout(Waiting::Rate) => f.write_str("the download is too slow"),
            Self::Answer(error) => error.fmt(f),
            Self::NoBuffer => f.write_str("the buffer for the download has no room"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}
