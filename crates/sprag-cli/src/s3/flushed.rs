//! A stream that knows whether all that was written has left.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Passes everything through. hyper does not say when an answer is out: its flush, seen from below, does.
pub(super) struct FlushWatch<IO> {
    io: IO,
    flushed: Arc<AtomicBool>,
}

impl<IO> FlushWatch<IO> {
    /// The second value is true while nothing waits to be flushed.
    pub(super) fn new(io: IO) -> (Self, Arc<AtomicBool>) {
        let flushed = Arc::new(AtomicBool::new(true));
        (Self { io, flushed: flushed.clone() }, flushed)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for FlushWatch<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for FlushWatch<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        // Before the attempt: a write that is pending leaves bytes behind too.
        self.flushed.store(false, Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.flushed.store(false, Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let done = Pin::new(&mut self.io).poll_flush(cx);
        self.flushed.store(done.is_ready(), Relaxed);
        done
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
