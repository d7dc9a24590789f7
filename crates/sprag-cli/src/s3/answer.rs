//! The body of an answer on its way out: counted, and cut or stalled if so told.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use s3s::StdError;

use super::log::{Log, lock};

/// What is to become of a connection once all it was given is out.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Open,
    /// A regular end, with a TLS goodbye.
    Close,
    /// An end without one.
    Cut,
}

/// A connection's fate, shared by its answers and the task that drives it.
#[derive(Clone, Default)]
pub(super) struct SharedFate(Arc<Mutex<Fate>>);

impl SharedFate {
    pub(super) fn get(&self) -> Fate {
        *lock(&self.0)
    }

    fn set(&self, fate: Fate) {
        *lock(&self.0) = fate;
    }
}

/// Where a body stops short.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    pub(super) bytes_left: u64,
    /// [`Fate::Cut`], or [`Fate::Open`] for a stall.
    pub(super) then: Fate,
}

/// What the server knows of the answer.
pub(super) struct Ticket {
    pub(super) log: Arc<Log>,
    pub(super) number: u64,
    pub(super) fate: SharedFate,
    /// Close the connection after this answer, without having said so.
    pub(super) last: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.last && self.fate.get() == Fate::Open {
            self.fate.set(Fate::Close);
        }
        self.log.done(self.number);
    }
}

pub(super) struct AnswerBody {
    pub(super) body: s3s::Body,
    pub(super) stop: Option<Stop>,
    pub(super) ticket: Ticket,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if let Some(Stop { bytes_left: 0, then }) = self.stop {
            // Never woken: the task that drives the connection ends it when what went before is flushed, or the
            // client gives up.
            self.ticket.fate.set(then);
            return Poll::Pending;
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            other => return other,
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        if let Some(stop) = &mut self.stop {
            data.truncate(usize::try_from(stop.bytes_left).unwrap_or(usize::MAX));
            stop.bytes_left -= data.len() as u64;
        }
        self.ticket.log.sent(self.ticket.number, data.len());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
