//! An image on its way into the slot.

use core::fmt;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use embedded_storage_async::nor_flash::NorFlash;

use crate::error::Error;
use crate::write_cursor::WriteCursor;
use crate::writer::SlotWriter;

/// An image on its way into the slot.
#[derive(Debug)]
pub struct Transfer<'w, 'b, F, J> {
    pub(crate) writer: &'w mut SlotWriter<'b, F, J>,
    pub(crate) tip: WriteCursor<'b>,
    /// Where in the flash the image begins.
    pub(crate) start: u32,
    /// The largest block of the session.
    pub(crate) block: u32,
    /// The block that the other buffer holds: its length.
    pub(crate) pending: usize,
    /// Bytes at the front of the buffer, behind the pending block.
    pub(crate) filled: usize,
    /// Set while flash is being changed: still set, a future was dropped in the middle, or an error came.
    pub(crate) broken: bool,
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
    /// Bytes of the image that have been taken: the next one expected.
    pub fn offset(&self) -> u32 {
        self.filled_to().saturating_sub(self.start)
    }

    /// Size of the image in bytes.
    pub fn total(&self) -> u32 {
        self.tip.end.saturating_sub(self.start)
    }

    /// Where in the flash the bytes end that have been taken.
    fn filled_to(&self) -> u32 {
        self.filling_from().saturating_add(u32::try_from(self.filled).unwrap_or(u32::MAX))
    }

    /// Where in the flash the block that is being filled begins.
    fn filling_from(&self) -> u32 {
        self.tip.written.saturating_add(u32::try_from(self.pending).unwrap_or(u32::MAX))
    }

    /// How long the block that is being filled is to be. No block crosses the end of a sector, or a multiple of the
    /// session's largest block.
    fn block_length(&self) -> usize {
        let from = self.filling_from();
        let sector = self.tip.rules.map.of(from);
        let into = from.saturating_sub(sector.start);
        let boundary = self.block.saturating_sub(into.checked_rem(self.block).unwrap_or(0));
        let left = self.tip.end.min(sector.end).saturating_sub(from).min(boundary);
        usize::try_from(left).unwrap_or(usize::MAX).min(self.writer.block_size())
    }

    /// Room for the bytes that follow. Empty only when the image is whole.
    pub fn spare(&mut self) -> &mut [u8] {
        let length = self.block_length();
        self.writer.buf.get_mut(self.filled..length).unwrap_or_default()
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
        if self.broken {
            return Err(Error::Interrupted);
        }
        if count > self.spare().len() {
            return Err(Error::Length);
        }
        self.filled = self.filled.saturating_add(count);
        if self.filled == 0 || self.filled < self.block_length() {
            return Ok(());
        }
        self.broken = true;
        let length = core::mem::take(&mut self.filled);
        let SlotWriter { flash, journal, buf, .. } = &mut *self.writer;
        let result = self.tip.program(flash, journal, buf, length).await;
        self.programmed(result)
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
        if self.broken {
            return Err(Error::Interrupted.into());
        }
        loop {
            let step = if self.filled > 0 && self.filled >= self.block_length() {
                if self.overlaps() {
                    self.read_along(&mut read).await
                } else {
                    self.commit(0).await.map_err(FeedError::Flash)
                }
            } else if self.filled_to() < self.tip.end {
                let length = self.block_length();
                let count = read(self.spare()).await;
                came(count, &mut self.filled, length)
            } else {
                return Ok(());
            };
            let Err(error) = step else { continue };
            // The next life may be another one: what is in flash now is recorded, so that not even a block comes again.
            let fed = matches!(error, FeedError::Source(_));
            if fed && self.tip.written > self.start && self.tip.written < self.tip.end {
                self.tip.record(&mut self.writer.journal, self.tip.written, false).await?;
            }
            return Err(error);
        }
    }

    /// Whether the full block can be programmed while the next one comes.
    fn overlaps(&self) -> bool {
        let end = self.filled_to();
        let sector_ends = end >= self.tip.rules.map.of(self.tip.written).end;
        // A block that may be torn is looked at before anything more is fetched.
        let suspect = self.tip.written < self.tip.stale_until;
        !self.writer.second.is_empty() && !sector_ends && !suspect && end < self.tip.end
    }

    /// Programs the full block while the next one comes, as far as it has come by then.
    async fn read_along<E>(
        &mut self,
        read: &mut impl AsyncFnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), FeedError<E>> {
        self.broken = true;
        core::mem::swap(&mut self.writer.buf, &mut self.writer.second);
        self.pending = core::mem::take(&mut self.filled);
        let (pending, length) = (self.pending, self.block_length());
        let SlotWriter { flash, journal, buf, second, .. } = &mut *self.writer;
        let mut fed = Ok(());
        let programmed = {
            let mut programming = pin!(self.tip.program(flash, journal, second, pending));
            let mut programmed = None;
            while programmed.is_none() && fed.is_ok() {
                let Some(room) = buf.get_mut(self.filled..length).filter(|room| !room.is_empty()) else { break };
                let mut reading = pin!(read(room));
                let count = match select(reading.as_mut(), programming.as_mut()).await {
                    Either::First(count) => count,
                    Either::Second(result) => {
                        programmed = Some(result);
                        if result.is_err() {
                            break;
                        }
                        reading.await
                    }
                };
                fed = came(count, &mut self.filled, length);
            }
            match programmed {
                Some(result) => result,
                None => programming.await,
            }
        };
        self.pending = 0;
        self.programmed(programmed)?;
        fed
    }

    /// Ends the transfer: everything is in flash, and recorded.
    ///
    /// # Errors
    /// [`Error::Length`] when bytes are missing; [`Error::Interrupted`].
    pub fn finish(self) -> Result<(), Error> {
        match self {
            Self { broken: true, .. } => Err(Error::Interrupted),
            Self { tip: WriteCursor { written, end, .. }, .. } if written < end => Err(Error::Length),
            _ => Ok(()),
        }
    }

    fn programmed(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        self.writer.re_erased = self.tip.re_erased;
        self.broken = result.is_err();
        result
    }
}

/// Counts what was read into a block of this length.
fn came<E>(read: Result<usize, E>, filled: &mut usize, length: usize) -> Result<(), FeedError<E>> {
    match read {
        Ok(0) => Err(FeedError::Flash(Error::Length)),
        Ok(count) => {
            *filled = filled.saturating_add(count).min(length);
            Ok(())
        }
        Err(error) => Err(FeedError::Source(error)),
    }
}
