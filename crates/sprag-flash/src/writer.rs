//! A stream of bytes into a slot: each sector erased just ahead of its bytes, progress recorded behind them.

use core::ops::Range;

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError};

use crate::error::Error;
use crate::geometry::Geometry;
use crate::journal::Journal;
use crate::session::{self, PROGRESS, SESSION, Session};
use crate::window::Window;

/// What of an image's beginning tells whether it is still there, in bytes.
const BEGINNING: u32 = 16;

/// A slot, and the journal of what lies in it.
///
/// `buf` takes the bytes as they arrive and hands them to the flash in whole units: the network reads straight into it,
/// see [`Transfer::spare`]. Two units and more will do; the larger it is, the fewer and longer the programs.
#[derive(Debug)]
pub struct SlotWriter<'b, F, J> {
    flash: F,
    geometry: Geometry,
    journal: Journal<'b, J>,
    buf: &'b mut [u8],
}

impl<'b, F: NorFlash, J: NorFlash> SlotWriter<'b, F, J> {
    /// A writer for the slot that is the whole of `flash`.
    pub fn new(flash: F, geometry: Geometry, journal: Journal<'b, J>, buf: &'b mut [u8]) -> Self {
        Self { flash, geometry, journal, buf }
    }

    /// The buffer, for the bytes that come before [`begin`](Self::begin) can be called: the size of an image is often
    /// known from the first answer only, which brings bytes along.
    pub fn buffer(&mut self) -> &mut [u8] {
        let room = self.usable().min(usize::try_from(self.geometry.erase_size).unwrap_or(usize::MAX));
        self.buf.get_mut(..room).unwrap_or_default()
    }

    /// What of the buffer is whole units: the end of an image is padded to one.
    fn usable(&self) -> usize {
        let unit = self.geometry.padded(1);
        self.buf.len().saturating_sub(self.buf.len().checked_rem(unit).unwrap_or(0))
    }

    /// The part of the flash in which the image lies, and the buffer, to read back what was written.
    pub fn slot(&mut self, room: Range<u32>) -> (Window<'_, F>, &mut [u8]) {
        (Window::new(&mut self.flash, room), self.buf)
    }

    /// Units and erased value of the slot, as they were given.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The journal, for the caller's own record: [`JOB`](crate::JOB).
    pub fn journal(&mut self) -> &mut Journal<'b, J> {
        &mut self.journal
    }

    /// The session that was left unfinished, or finished and not yet forgotten.
    ///
    /// An image whose beginning is blank counts as not written: there are bootloaders that erase what they can't run.
    ///
    /// # Errors
    /// As [`Journal::get`], and the slot's. A journal full of something else is no error: it holds no session.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn session(&mut self) -> Result<Option<Session>, Error> {
        let Some(mut found) = self.journal.get(SESSION).await?.and_then(session::decode) else { return Ok(None) };
        found.written = self.journal.get(PROGRESS).await?.and_then(session::written).unwrap_or(0).min(found.total);
        if found.written >= BEGINNING && self.is_blank(found.start).await? {
            found.written = 0;
        }
        Ok(Some(found))
    }

    async fn is_blank(&mut self, start: u32) -> Result<bool, Error> {
        let mut beginning = [0; BEGINNING as usize];
        self.flash.read(start, &mut beginning).await.map_err(|e| Error::Slot(e.kind()))?;
        Ok(beginning.iter().all(|byte| *byte == self.geometry.erased))
    }

    /// Forgets the session. What lies in the slot stays there.
    ///
    /// # Errors
    /// As [`Journal::put`].
    ///
    /// # Cancellation safety
    /// The session is forgotten or not.
    pub async fn forget(&mut self) -> Result<(), Error> {
        // The session first: without it, progress means nothing.
        for kind in [SESSION, PROGRESS] {
            if self.journal.get(kind).await?.is_some() {
                self.journal.put(kind, &[]).await?;
            }
        }
        Ok(())
    }

    /// Begins an image of `total` bytes, of which the first `received` stand in the [`buffer`](Self::buffer).
    ///
    /// It goes to the start of `room`, which is in bytes from the start of the flash and begins with a sector: what lies
    /// outside belongs to the bootloader, and an image that reaches into the sectors there is refused before anything is
    /// erased.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Record`] when the identity is longer than [`IDENTITY_MAX`](crate::IDENTITY_MAX), [`Error::Buffer`],
    /// [`Error::Geometry`], and the flash's.
    ///
    /// # Cancellation safety
    /// As [`Transfer::commit`]; before the journal is written, nothing has happened.
    pub async fn begin(
        &mut self,
        identity: &[u8],
        total: u64,
        room: Range<u32>,
        received: usize,
    ) -> Result<Transfer<'_, 'b, F, J>, Error> {
        self.check_parameters()?;
        let Range { start, end } = room;
        if !start.is_multiple_of(self.geometry.erase_size) {
            return Err(Error::Geometry);
        }
        let capacity = u32::try_from(self.flash.capacity()).unwrap_or(u32::MAX);
        // In whole sectors: erasing the last one of the image must not reach into those bytes either.
        let limit = end.min(capacity).saturating_sub(start);
        let limit = limit.saturating_sub(limit.checked_rem(self.geometry.erase_size).unwrap_or(0));
        let too_large = Error::TooLarge { size: total, limit };
        let total = u32::try_from(total).ok().filter(|total| *total <= limit).ok_or(too_large)?;
        let record = session::encode(identity, total, start)?;
        // The old progress goes before the new session comes: together they would vouch for bytes of another image.
        if self.journal.get(PROGRESS).await?.is_some() {
            self.journal.put(PROGRESS, &[]).await?;
        }
        self.journal.put(SESSION, &record).await?;
        let mut transfer = Transfer { writer: self, start, total, written: 0, filled: 0, broken: false };
        transfer.commit(received).await?;
        Ok(transfer)
    }

    /// Goes on with the session that the journal holds, behind the bytes that are safely in flash.
    ///
    /// # Errors
    /// [`Error::NoSession`] when there is none; else as [`begin`](Self::begin).
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn resume(&mut self) -> Result<Transfer<'_, 'b, F, J>, Error> {
        self.check_parameters()?;
        let session = self.session().await?.ok_or(Error::NoSession)?;
        let Session { start, total, written, .. } = session;
        Ok(Transfer { writer: self, start, total, written, filled: 0, broken: false })
    }

    fn check_parameters(&self) -> Result<(), Error> {
        if !self.geometry.is_sound() {
            return Err(Error::Geometry);
        }
        let needed = self.geometry.padded(1);
        if self.buf.len() < needed { Err(Error::Buffer { needed }) } else { Ok(()) }
    }
}

/// An image on its way into the slot.
#[derive(Debug)]
pub struct Transfer<'w, 'b, F, J> {
    writer: &'w mut SlotWriter<'b, F, J>,
    /// Where in the flash the image begins: with a sector.
    start: u32,
    total: u32,
    /// Bytes in flash; whole units, but for the end of the image.
    written: u32,
    /// Bytes at the front of the buffer that are not in flash yet.
    filled: usize,
    /// Set while flash is being changed: still set, a future was dropped in the middle, or an error came.
    broken: bool,
}

impl<F: NorFlash, J: NorFlash> Transfer<'_, '_, F, J> {
    /// Bytes of the image that have been committed: the next one expected.
    pub fn offset(&self) -> u32 {
        self.written.saturating_add(u32::try_from(self.filled).unwrap_or(u32::MAX))
    }

    /// Size of the image in bytes.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Room for the bytes that follow. Empty only when the image is whole.
    ///
    /// It ends where the sector does: bytes of the next one would have to be fetched twice if the power failed before
    /// this one is recorded.
    pub fn spare(&mut self) -> &mut [u8] {
        let offset = self.offset();
        let erase_size = self.writer.geometry.erase_size;
        let sector = erase_size.saturating_sub(offset.checked_rem(erase_size).unwrap_or(0));
        let left = usize::try_from(self.total.saturating_sub(offset).min(sector)).unwrap_or(usize::MAX);
        let usable = self.writer.usable();
        let spare = self.writer.buf.get_mut(self.filled..usable).unwrap_or_default();
        let room = spare.len().min(left);
        spare.get_mut(..room).unwrap_or_default()
    }

    /// Takes the first `count` bytes of [`spare`](Self::spare), and writes what whole units there are to flash.
    ///
    /// # Errors
    /// [`Error::Length`] when `count` is more than there was room for; the flash's. After an error of the flash's the
    /// transfer is over: [`Error::Interrupted`] from then on.
    ///
    /// # Cancellation safety
    /// Dropping the future ends the transfer like a power cut: [`SlotWriter::resume`] goes on behind the last sector
    /// that was recorded.
    pub async fn commit(&mut self, count: usize) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Interrupted);
        }
        if count > self.spare().len() {
            return Err(Error::Length);
        }
        self.filled = self.filled.saturating_add(count);
        self.broken = true;
        if self.offset() == self.total {
            self.pad();
        }
        self.program().await?;
        self.broken = false;
        Ok(())
    }

    /// Ends the transfer: everything is in flash, and recorded.
    ///
    /// # Errors
    /// [`Error::Length`] when bytes are missing; [`Error::Interrupted`].
    pub fn finish(self) -> Result<(), Error> {
        match self {
            Self { broken: true, .. } => Err(Error::Interrupted),
            Self { written, total, .. } if written < total => Err(Error::Length),
            _ => Ok(()),
        }
    }

    /// Fills the last unit of the image up with the erased value, which programming leaves as it is.
    fn pad(&mut self) {
        let padded = self.writer.geometry.padded(self.filled);
        let erased = self.writer.geometry.erased;
        self.writer.buf.iter_mut().take(padded).skip(self.filled).for_each(|byte| *byte = erased);
        self.filled = padded;
    }

    async fn program(&mut self) -> Result<(), Error> {
        let Geometry { write_size, erase_size, .. } = self.writer.geometry;
        let filled = u32::try_from(self.filled).unwrap_or(u32::MAX);
        let whole = filled.saturating_sub(filled.checked_rem(write_size).unwrap_or(0));
        let mut done = 0u32;
        while done < whole {
            let into = self.written.checked_rem(erase_size).unwrap_or(0);
            let left = erase_size.saturating_sub(into);
            let at = self.start.saturating_add(self.written);
            if into == 0 {
                let end = at.saturating_add(erase_size);
                self.writer.flash.erase(at, end).await.map_err(|e| Error::Slot(e.kind()))?;
            }
            let length = left.min(whole.saturating_sub(done));
            let piece = piece(self.writer.buf, done, length).ok_or(Error::Length)?;
            self.writer.flash.write(at, piece).await.map_err(|e| Error::Slot(e.kind()))?;
            done = done.saturating_add(length);
            self.written = self.written.saturating_add(length).min(self.total);
            if length == left || self.written == self.total {
                self.writer.journal.put(PROGRESS, &self.written.to_le_bytes()).await?;
            }
        }
        let done = usize::try_from(done).unwrap_or(usize::MAX).min(self.filled);
        self.writer.buf.copy_within(done..self.filled, 0);
        self.filled = self.filled.saturating_sub(done);
        Ok(())
    }
}

fn piece(buf: &[u8], from: u32, length: u32) -> Option<&[u8]> {
    let from = usize::try_from(from).ok()?;
    buf.get(from..from.checked_add(usize::try_from(length).ok()?)?)
}
