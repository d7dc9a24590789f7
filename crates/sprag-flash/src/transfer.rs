//! An image on its way into the slot.

use core::fmt;
use core::future::{Future, poll_fn};
use core::ops::Range;
use core::pin::pin;
use core::task::Poll;

use embedded_storage_async::nor_flash::NorFlash;

use crate::error::Error;
use crate::operation::{length, size};
use crate::slot::Task;
use crate::writer::{SlotWriter, run};

/// An image on its way into the slot.
#[derive(Debug)]
pub struct Transfer<'w, 'b, F, J> {
    pub(crate) writer: &'w mut SlotWriter<'b, F, J>,
}

/// Why [`Transfer::feed`] ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FeedError<E> {
    /// The slot or the journal could not be written.
    Flash(Error),
    /// The source failed. What it gave before is taken.
    Source(E),
}

impl<E: fmt::Display> fmt::Display for FeedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => error.fmt(f),
            Self::Source(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for FeedError<E> {}

impl<E> From<Error> for FeedError<E> {
    fn from(error: Error) -> Self {
        Self::Flash(error)
    }
}

impl<F: NorFlash, J: NorFlash> Transfer<'_, '_, F, J> {
    /// Returns how many bytes of the image have been taken: the offset of the next one expected.
    pub fn offset(&self) -> u32 {
        self.writer.core.offset()
    }

    /// Returns the size of the image in bytes.
    pub fn total(&self) -> u32 {
        self.writer.core.image.total()
    }

    /// Returns the part of the buffer for the bytes that follow. It is empty only when the image is whole.
    pub fn spare(&mut self) -> &mut [u8] {
        self.writer.buf.get_mut(self.writer.core.spare()).unwrap_or_default()
    }

    /// Takes the first `count` bytes of [`spare`](Self::spare); a block that is full with them is written to flash.
    ///
    /// # Errors
    /// [`Error::Length`] when `count` is more than there was room for; [`Error::SectorLost`] when
    /// [`resume`](SlotWriter::resume) is to be called, and bytes are to come again from its offset on; the flash's. After
    /// an error of the flash's the transfer is over: [`Error::Interrupted`] from then on.
    ///
    /// # Cancellation safety
    /// Dropping the future ends the transfer like a power cut: [`SlotWriter::resume`] goes on, and the bytes of at most one
    /// sector are to come again.
    pub async fn commit(&mut self, count: usize) -> Result<(), Error> {
        match self.writer.core.take(count)? {
            0 => Ok(()),
            full => self.run(Task::Program, full).await,
        }
    }

    /// Executes a task with the block of this length in the buffer.
    pub(crate) async fn run(&mut self, task: Task, filled: usize) -> Result<(), Error> {
        let SlotWriter { flash, journal, core, buf, .. } = &mut *self.writer;
        let block = core.pad(buf, filled);
        run(flash, journal, core, task, block, length(filled)).await?;
        core.is_broken = false;
        Ok(())
    }

    /// Brings the rest of the image in: calls `read` with room for the bytes that follow until they are all there. It says
    /// how many it put to the front of the room; none are an end that comes too early.
    ///
    /// With [two buffers](SlotWriter::second_buffer), bytes are read while those before them are programmed: both are
    /// polled as one future. With a flash driver that blocks, one follows the other. Bytes of a sector are read only when
    /// all of the one before it is in flash, so that no cut makes more than one sector come again.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); [`FeedError::Source`] with what `read` returned, after which it may be called again.
    /// [`Error::Length`] at an early end.
    ///
    /// # Cancellation safety
    /// As [`commit`](Self::commit). A call of `read` is dropped with the future, or when the flash fails, and never else.
    pub async fn feed<E>(
        &mut self,
        mut read: impl AsyncFnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), FeedError<E>> {
        let SlotWriter { flash, journal, core, buf, second } = &mut *self.writer;
        if core.is_broken {
            return Err(Error::Interrupted.into());
        }
        loop {
            let Range { start, mut end } = core.spare();
            let is_full = start > 0 && start >= end;
            let filled_to = core.filled_to();
            if !is_full && filled_to >= core.image.end {
                return Ok(());
            }
            let mut pending = 0;
            let mut filled = start;
            if is_full {
                pending = start;
                filled = 0;
                end = if core.may_overlap() { size(core.block_length(filled_to)) } else { 0 };
            }
            // Without a second buffer, there is none to read into.
            let (filling, block) = if is_full { (&mut **second, &mut **buf) } else { (&mut **buf, &mut **second) };
            let mut programmed = (!is_full).then_some(Ok(()));
            let mut fed = Ok(());
            {
                let block = core.pad(block, pending);
                let mut programming = pin!(run(flash, journal, core, Task::Program, block, length(pending)));
                loop {
                    let spare = filling.get_mut(filled..if fed.is_ok() { end } else { 0 }).unwrap_or_default();
                    let is_reading = !spare.is_empty();
                    let mut reading = pin!(read(spare));
                    let both = poll_fn(|context| {
                        if is_reading && let Poll::Ready(count) = reading.as_mut().poll(context) {
                            return Poll::Ready(Some(count));
                        }
                        if programmed.is_none()
                            && let Poll::Ready(result) = programming.as_mut().poll(context)
                        {
                            programmed = Some(result);
                        }
                        match programmed {
                            Some(result) if !is_reading || result.is_err() => Poll::Ready(None),
                            _ => Poll::Pending,
                        }
                    });
                    let Some(count) = both.await else { break };
                    fed = add(count, &mut filled, end);
                    if programmed.is_some() {
                        break;
                    }
                }
            }
            core.filled = filled;
            if is_full && !second.is_empty() {
                core::mem::swap(buf, second);
            }
            programmed.unwrap_or(Ok(()))?;
            // Not before: dropped while only the source is waited for, the future takes with it what came.
            core.is_broken = false;
            let Err(error) = fed else { continue };
            // The device may start anew: what is in flash now is recorded, so that not even a block comes again.
            if matches!(error, FeedError::Source(_)) && core.is_underway() {
                run(flash, journal, core, Task::Record, &[], 0).await?;
            }
            return Err(error);
        }
    }

    /// Ends the transfer: everything is in flash, and recorded.
    ///
    /// # Errors
    /// [`Error::Length`] when bytes are missing; [`Error::Interrupted`].
    pub fn finish(self) -> Result<(), Error> {
        self.writer.core.finish()
    }
}

/// Counts what was read into a block of this length.
pub(crate) fn add<E>(read: Result<usize, E>, filled: &mut usize, length: usize) -> Result<(), FeedError<E>> {
    match read {
        Ok(0) => Err(FeedError::Flash(Error::Length)),
        Ok(count) => {
            *filled = filled.saturating_add(count).min(length);
            Ok(())
        }
        Err(error) => Err(FeedError::Source(error)),
    }
}
