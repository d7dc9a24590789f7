//! The same journal and slot writer for flash drivers that block, and for callers without an executor.
//!
//! They share the state machines of the asynchronous ones, and the formats in flash: one may go on where the other stopped.
//! A second buffer is of no use here, because nothing arrives while a driver blocks.

use core::num::NonZeroU32;
use core::ops::Range;

use embedded_storage::nor_flash::{NorFlash, NorFlashError};
use sprag_core::{FlashGeometry, Sectors};

use crate::error::Error;
use crate::flash_view::FlashView;
use crate::journal::{self, JournalStats};
use crate::operation::{execute, length};
use crate::session::Session;
use crate::slot::{Core, Task, Wait};
use crate::transfer::{FeedError, add};

/// A journal in a region of flash of its own: see [`Journal`](crate::Journal).
#[derive(Debug)]
pub struct Journal<'b, F> {
    flash: F,
    core: journal::Core<'b>,
}

impl<'b, F: NorFlash> Journal<'b, F> {
    /// Makes a journal of `flash`: see [`Journal::new`](crate::Journal::new).
    pub fn new(flash: F, geometry: FlashGeometry, scratch: &'b mut [u8]) -> Self {
        let core = journal::Core::new(flash.capacity(), geometry, scratch);
        Self { flash, core }
    }

    /// Returns the last record of a kind: see [`Journal::get`](crate::Journal::get).
    ///
    /// # Errors
    /// As there.
    pub fn get(&mut self, kind: u8) -> Result<Option<&[u8]>, Error> {
        self.run(kind, None)?;
        Ok(self.core.payload())
    }

    /// Returns what the journal takes up: see [`Journal::stats`](crate::Journal::stats).
    ///
    /// # Errors
    /// As there.
    pub fn stats(&mut self) -> Result<Option<JournalStats>, Error> {
        let read = self.run(1, None);
        self.core.stats(read)
    }

    /// Writes a record: see [`Journal::put`](crate::Journal::put).
    ///
    /// # Errors
    /// As there.
    pub fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        self.run(kind, Some(payload))
    }

    fn run(&mut self, kind: u8, payload: Option<&[u8]>) -> Result<(), Error> {
        self.core.request(kind, payload.is_some());
        let mut outcome = Ok(());
        while self.core.step(payload.unwrap_or_default(), outcome)? {
            outcome = execute!(self.core.operation, self.flash, self.core.scratch, self.core.scratch);
        }
        Ok(())
    }
}

/// A slot, and the journal of what lies in it: see [`SlotWriter`](crate::SlotWriter).
#[derive(Debug)]
pub struct SlotWriter<'b, F, J> {
    flash: F,
    journal: Journal<'b, J>,
    core: Core<'b>,
    buf: &'b mut [u8],
}

impl<'b, F: NorFlash, J: NorFlash> SlotWriter<'b, F, J> {
    /// Makes a writer for the slot that is the whole of `flash`: see [`SlotWriter::new`](crate::SlotWriter::new).
    pub fn new(flash: F, geometry: FlashGeometry, journal: Journal<'b, J>, buf: &'b mut [u8]) -> Self {
        let core = Core::new(geometry, buf.len());
        Self { flash, journal, core, buf }
    }

    /// Sets how the sectors of the slot differ: see [`SlotWriter::sectors`](crate::SlotWriter::sectors).
    #[must_use]
    pub fn sectors(mut self, runs: &'b [Sectors]) -> Self {
        self.core.map.runs = runs;
        self
    }

    /// Sets whether everything is read back: see [`SlotWriter::read_back`](crate::SlotWriter::read_back).
    #[must_use]
    pub fn read_back(mut self, on: bool) -> Self {
        self.core.io.read_back = on;
        self
    }

    /// Sets whether blank sectors are taken as erased: see [`SlotWriter::trust_blank`](crate::SlotWriter::trust_blank).
    #[must_use]
    pub fn trust_blank(mut self, on: bool) -> Self {
        self.core.io.trust_blank = on;
        self
    }

    /// Sets how often progress is recorded: see [`SlotWriter::record_every`](crate::SlotWriter::record_every).
    #[must_use]
    pub fn record_every(mut self, sectors: NonZeroU32) -> Self {
        self.core.record_interval = sectors.get();
        self
    }

    /// Holds back the first bytes of images to come: see [`SlotWriter::hold_back`](crate::SlotWriter::hold_back).
    pub fn hold_back(&mut self, length: usize) {
        self.core.hold_back = length;
    }

    /// Writes the bytes that were held back: see [`SlotWriter::write_head`](crate::SlotWriter::write_head).
    ///
    /// # Errors
    /// As there.
    pub fn write_head(&mut self) -> Result<(), Error> {
        self.run(Task::WriteHead, 0)
    }

    /// Returns the buffer for bytes that come before [`begin`](Self::begin): see
    /// [`SlotWriter::buffer`](crate::SlotWriter::buffer).
    pub fn buffer(&mut self) -> &mut [u8] {
        self.buf.get_mut(..self.core.first_block()).unwrap_or_default()
    }

    /// Returns the part of the flash in which the image lies, and the buffer: see
    /// [`SlotWriter::slot`](crate::SlotWriter::slot).
    ///
    /// # Errors
    /// As there.
    pub fn slot(&mut self, region: Range<u32>) -> Result<(FlashView<'_, F>, &mut [u8]), Error> {
        self.run(Task::ReadHead, 0)?;
        let capacity = self.flash.capacity();
        Ok((FlashView::with_head(&mut self.flash, capacity, region, self.core.payload.as_slice()), self.buf))
    }

    /// Returns units and erased value of the slot, as they were given.
    pub fn geometry(&self) -> FlashGeometry {
        self.core.io.geometry
    }

    /// Returns the journal, for the caller's own records.
    pub fn journal(&mut self) -> &mut Journal<'b, J> {
        &mut self.journal
    }

    /// Returns the session that was left unfinished: see [`SlotWriter::session`](crate::SlotWriter::session).
    ///
    /// # Errors
    /// As there.
    pub fn session(&mut self) -> Result<Option<Session<'_>>, Error> {
        self.run(Task::Open, 0)?;
        Ok(self.core.session())
    }

    /// Forgets the session: see [`SlotWriter::forget`](crate::SlotWriter::forget).
    ///
    /// # Errors
    /// As there.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.run(Task::Forget, 0)
    }

    /// Begins an image: see [`SlotWriter::begin`](crate::SlotWriter::begin).
    ///
    /// # Errors
    /// As there.
    pub fn begin(
        &mut self,
        identity: &[u8],
        total: u64,
        region: Range<u32>,
        received: usize,
    ) -> Result<Transfer<'_, 'b, F, J>, Error> {
        let end = region.end.min(length(self.flash.capacity()));
        self.core.set_image(identity, total, (region.start, end), &self.journal.core)?;
        let full = self.core.take(received)?;
        self.run(Task::Begin, full)?;
        Ok(Transfer { writer: self })
    }

    /// Goes on with the session that the journal holds: see [`SlotWriter::resume`](crate::SlotWriter::resume).
    ///
    /// # Errors
    /// As there.
    pub fn resume(&mut self) -> Result<Transfer<'_, 'b, F, J>, Error> {
        self.run(Task::Resume, 0)?;
        Ok(Transfer { writer: self })
    }

    /// Executes a task with the block of this length in the buffer.
    fn run(&mut self, task: Task, filled: usize) -> Result<(), Error> {
        let Self { flash, journal: Journal { flash: journal_flash, core: journal }, core, buf } = self;
        let block = core.pad(buf, filled);
        core.start(task, journal, block, length(filled))?;
        let mut outcome = Ok(());
        loop {
            outcome = match core.step(journal, block, outcome)? {
                Wait::Done => {
                    core.is_broken = false;
                    return Ok(());
                }
                Wait::Journal => execute!(journal.operation, journal_flash, journal.scratch, journal.scratch),
                Wait::Slot => execute!(core.io.operation, flash, journal.scratch, core.data(block)),
            };
        }
    }
}

/// An image on its way into the slot: see [`Transfer`](crate::Transfer).
#[derive(Debug)]
pub struct Transfer<'w, 'b, F, J> {
    writer: &'w mut SlotWriter<'b, F, J>,
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

    /// Takes the first `count` bytes of [`spare`](Self::spare): see [`Transfer::commit`](crate::Transfer::commit).
    ///
    /// # Errors
    /// As there.
    pub fn commit(&mut self, count: usize) -> Result<(), Error> {
        match self.writer.core.take(count)? {
            0 => Ok(()),
            full => self.writer.run(Task::Program, full),
        }
    }

    /// Brings the rest of the image in, by calls of `read`: see [`Transfer::feed`](crate::Transfer::feed).
    ///
    /// # Errors
    /// As there.
    pub fn feed<E>(&mut self, mut read: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<(), FeedError<E>> {
        while self.offset() < self.total() {
            let mut count = 0;
            let spare = self.spare();
            let capacity = spare.len();
            match add(read(spare), &mut count, capacity) {
                Ok(()) => self.commit(count)?,
                Err(error) => {
                    if matches!(error, FeedError::Source(_)) && self.writer.core.is_underway() {
                        self.writer.run(Task::Record, 0)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Ends the transfer: everything is in flash, and recorded.
    ///
    /// # Errors
    /// [`Error::Length`] when bytes are missing; [`Error::Interrupted`].
    pub fn finish(self) -> Result<(), Error> {
        self.writer.core.finish()
    }
}
