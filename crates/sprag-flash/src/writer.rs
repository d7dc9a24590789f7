//! A slot, the journal of what lies in it, and how it is written.

use core::num::NonZeroU32;
use core::ops::Range;

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError};

use crate::error::Error;
use crate::flash_view::{FlashView, Head};
use crate::journal::Journal;
use crate::recovery::{self, ResumePoint};
use crate::session::{HEAD, HELD_BACK_MAX, PROGRESS, Progress, SESSION, Session, SessionRecord};
use crate::transfer::Transfer;
use crate::write_cursor::{Rules, WriteCursor};
use sprag_core::FlashGeometry;
use sprag_core::scan::{is_blank, matching};
use sprag_core::{SectorMap, Sectors};

/// A slot, and the journal of what lies in it.
///
/// `buf` takes the bytes as they arrive, and goes to the flash in blocks of its size: the network reads straight into it,
/// see [`Transfer::feed`] and [`Transfer::spare`]. One unit will do. The larger it is, the fewer and longer the programs;
/// what a power cut costs is a few blocks, in most cases.
#[derive(Debug)]
pub struct SlotWriter<'b, F, J> {
    pub(crate) flash: F,
    pub(crate) journal: Journal<'b, J>,
    pub(crate) buf: &'b mut [u8],
    /// What is programmed while the first one is filled; empty for none.
    pub(crate) second: &'b mut [u8],
    /// The sector that was erased a second time in this life of the device.
    pub(crate) re_erased: Option<u32>,
    rules: Rules<'b>,
    every: Option<NonZeroU32>,
}

impl<'b, F: NorFlash, J: NorFlash> SlotWriter<'b, F, J> {
    /// A writer for the slot that is the whole of `flash`.
    pub fn new(flash: F, geometry: FlashGeometry, journal: Journal<'b, J>, buf: &'b mut [u8]) -> Self {
        let map = SectorMap { runs: &[], erase_size: geometry.erase_size };
        let rules = Rules { geometry, map, read_back: true, trust_blank: false, held_back: 0 };
        Self { flash, journal, buf, second: &mut [], re_erased: None, rules, every: None }
    }

    /// A second buffer, so that bytes can arrive while those before them are programmed. Blocks are of the smaller one's
    /// size. To be of use, two of them should not be larger than a sector.
    #[must_use]
    pub fn second_buffer(mut self, buf: &'b mut [u8]) -> Self {
        self.second = buf;
        self
    }

    /// How the sectors of the slot differ, from its start on. Behind these runs they are of the geometry's size.
    #[must_use]
    pub fn sectors(mut self, runs: &'b [Sectors]) -> Self {
        self.rules.map.runs = runs;
        self
    }

    /// Whether everything that is written is read back and compared, and every erased sector looked at. On unless it is
    /// switched off here, which is for parts whose driver has verified what it did.
    #[must_use]
    pub fn read_back(mut self, on: bool) -> Self {
        self.rules.read_back = on;
        self
    }

    /// Takes a sector that reads as erased for erased, which saves the erase. Only for parts where that is known: flash
    /// whose driver does not let a sector read as erased after an erase that was cut off (some parts can tell), and that
    /// nobody else programs. On most parts a cut can leave a sector that reads as erased and does not keep what is
    /// programmed. Off unless it is switched on here.
    #[must_use]
    pub fn trust_blank(mut self, on: bool) -> Self {
        self.rules.trust_blank = on;
        self
    }

    /// Holds back the first `length` bytes of images that [begin](Self::begin) from now on: they are kept in the journal until
    /// [`write_head`](Self::write_head) writes them to the slot. For bootloaders that run whatever they find in the slot, so
    /// that an image can't run before it was verified. Whole write units, at most [`HELD_BACK_MAX`](crate::HELD_BACK_MAX)
    /// bytes and at most a buffer; 0 holds nothing back.
    pub fn hold_back(&mut self, length: usize) {
        self.rules.held_back = length;
    }

    /// Writes the [held-back](Self::hold_back) bytes to the beginning of the finished image. Does nothing when they are there,
    /// or nothing is held back.
    ///
    /// # Errors
    /// [`Error::NoSession`] when the journal has no session or none of the bytes, [`Error::SlotWornOut`] when they do not
    /// read back, and the flash's.
    ///
    /// # Cancellation safety
    /// May be dropped and called again. A torn unit that the part refuses to program again is an error each time: forget
    /// the session then, and write the image again.
    pub async fn write_head(&mut self) -> Result<(), Error> {
        let (start, head) = self.head().await?.ok_or(Error::NoSession)?;
        let geometry = self.rules.geometry;
        for is_written in [false, true] {
            if matching(&mut self.flash, geometry, self.journal.scratch(), start, &head).await == head.len() {
                return Ok(());
            }
            if !is_written {
                self.flash.write(start, &head).await.map_err(|error| Error::Slot(error.kind()))?;
            }
        }
        Err(Error::SlotWornOut { offset: start })
    }

    /// Reads where the session's image begins, and the bytes that are held back of it. Returns `None` without a session.
    async fn head(&mut self) -> Result<Option<(u32, Head)>, Error> {
        let session = self.journal.get(SESSION).await?.and_then(SessionRecord::decode);
        let Some(session) = session else { return Ok(None) };
        if session.held_back == 0 {
            return Ok(Some((session.start, Head::new())));
        }
        let head = self.journal.get(HEAD).await?.and_then(|head| Head::from_slice(head).ok());
        let head = head.filter(|head| head.len() == usize::from(session.held_back)).ok_or(Error::NoSession)?;
        Ok(Some((session.start, head)))
    }

    /// Records the progress in the journal every so many sectors.
    ///
    /// Behind the record, the slot itself tells how far it came, so that fewer records cost no bytes: they are for finding
    /// the place sooner. By default the records of one image fill an eighth of the journal's bank.
    #[must_use]
    pub fn record_every(mut self, sectors: NonZeroU32) -> Self {
        self.every = Some(sectors);
        self
    }

    /// The buffer, for the bytes that come before [`begin`](Self::begin) can be called: the size of an image is often
    /// known from the first answer only, which brings bytes along.
    pub fn buffer(&mut self) -> &mut [u8] {
        let sector = usize::try_from(self.rules.map.smallest()).unwrap_or(usize::MAX);
        let room = self.block_size().min(sector);
        self.buf.get_mut(..room).unwrap_or_default()
    }

    /// The largest block: what of the smaller buffer is whole units.
    pub(crate) fn block_size(&self) -> usize {
        let length = if self.second.is_empty() { self.buf.len() } else { self.buf.len().min(self.second.len()) };
        self.rules.geometry.whole_units(length)
    }

    /// Returns the part of the flash in which the image lies, and the buffer, to read back what was written. What is
    /// [held back](Self::hold_back) reads as if it were in the slot.
    ///
    /// # Errors
    /// [`Error::NoSession`] when the journal has not got the bytes that are held back; the journal's.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn slot(&mut self, room: Range<u32>) -> Result<(FlashView<'_, F>, &mut [u8]), Error> {
        let (_, head) = self.head().await?.unwrap_or_default();
        Ok((FlashView::new(&mut self.flash, room).with_head(head), self.buf))
    }

    /// Units and erased value of the slot, as they were given.
    pub fn geometry(&self) -> FlashGeometry {
        self.rules.geometry
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
    /// As [`Journal::get`]. A journal full of something else is no error: it holds no session.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn session(&mut self) -> Result<Option<Session>, Error> {
        let Some((record, frontier)) = self.found().await? else { return Ok(None) };
        let SessionRecord { identity, total, start, .. } = record;
        Ok(Some(Session { identity, total, start, written: frontier.offset.saturating_sub(start) }))
    }

    /// The session in the journal, and where to go on with it.
    async fn found(&mut self) -> Result<Option<(SessionRecord, ResumePoint)>, Error> {
        self.check_parameters()?;
        let Some(record) = self.journal.get(SESSION).await?.and_then(SessionRecord::decode) else { return Ok(None) };
        let progress = self.journal.get(PROGRESS).await?.and_then(Progress::decode);
        let none = Progress { offset: record.start, number: record.number, erasing: false };
        let mut progress = progress.filter(|progress| progress.number == record.number).unwrap_or(none);
        let Rules { geometry, map, .. } = self.rules;
        let seen_from = record.start.saturating_add(record.held_back.into());
        let beginning = (seen_from, seen_from.saturating_add(BEGINNING.max(geometry.write_size)));
        if progress.offset >= beginning.1
            && is_blank(&mut self.flash, geometry, self.journal.scratch(), beginning).await
        {
            progress = Progress { erasing: true, ..none };
        }
        let found = recovery::find(&mut self.flash, geometry, map, self.journal.scratch(), &record, progress).await;
        Ok(Some((record, found)))
    }

    /// Forgets the session. What lies in the slot stays there.
    ///
    /// # Errors
    /// As [`Journal::put`].
    ///
    /// # Cancellation safety
    /// The session is forgotten or not.
    pub async fn forget(&mut self) -> Result<(), Error> {
        if self.journal.get(SESSION).await?.is_some() {
            self.journal.put(SESSION, &[]).await?;
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
    /// [`Error::TooLarge`], [`Error::Record`] when the identity is longer than [`IDENTITY_MAX`](crate::IDENTITY_MAX),
    /// [`Error::Buffer`], [`Error::Geometry`], and the flash's.
    ///
    /// # Cancellation safety
    /// As [`Transfer::commit`]. What lay in the slot before is not gone on with any more.
    pub async fn begin(
        &mut self,
        identity: &[u8],
        total: u64,
        room: Range<u32>,
        received: usize,
    ) -> Result<Transfer<'_, 'b, F, J>, Error> {
        self.check_parameters()?;
        let capacity = u32::try_from(self.flash.capacity()).unwrap_or(u32::MAX);
        // In whole sectors: erasing the last one of the image must not reach into those bytes either.
        let (map, Range { start, end }) = (self.rules.map, room);
        if map.of(start).start != start {
            return Err(Error::Geometry);
        }
        let limit = map.of(end.min(capacity)).start.saturating_sub(start);
        let too_large = Error::TooLarge { limit };
        let total = u32::try_from(total).ok().filter(|total| *total <= limit).ok_or(too_large)?;
        let identity = heapless::Vec::from_slice(identity).map_err(|_| Error::Record)?;
        // The old session goes before its bytes do, and the new one comes when the first sector is ready for it.
        self.forget().await?;
        let stale = self.journal.get(PROGRESS).await?.and_then(Progress::decode);
        let number = stale.map_or(0, |stale| stale.number.wrapping_add(1));
        let block = u32::try_from(self.block_size()).unwrap_or(u32::MAX);
        let first = map.of(start);
        let held_back = u8::try_from(self.rules.held_back).map_err(|_| Error::Geometry)?;
        let record = SessionRecord { total, start, block, number, held_back, identity };
        let mut tip = self.tip(&record);
        tip.erased_to = first.end;
        if total > 0 {
            tip.erase(&mut self.flash, self.journal.scratch(), first).await?;
        }
        self.journal.put(SESSION, &record.encode()?).await?;
        let mut transfer = Transfer { writer: self, tip, start, block, pending: 0, filled: 0, broken: false };
        transfer.commit(received).await?;
        Ok(transfer)
    }

    /// Goes on with the session that the journal holds, behind the bytes that are safely in flash:
    /// [`Transfer::offset`] says where. Bytes behind it that lie in flash too are not programmed again.
    ///
    /// # Errors
    /// [`Error::NoSession`] when there is none; else as [`begin`](Self::begin).
    ///
    /// # Cancellation safety
    /// As [`Transfer::commit`].
    pub async fn resume(&mut self) -> Result<Transfer<'_, 'b, F, J>, Error> {
        let (record, frontier) = self.found().await?.ok_or(Error::NoSession)?;
        let mut tip = self.tip(&record);
        (tip.written, tip.erased_to) = (frontier.offset, frontier.erased_to);
        (tip.stale_until, tip.blank_so_far) = (frontier.erased_to, !frontier.begun);
        if frontier.torn {
            let sector = self.rules.map.of(frontier.offset);
            tip.re_erase(&mut self.flash, &mut self.journal, sector).await?;
            self.re_erased = tip.re_erased;
        }
        let SessionRecord { start, block, .. } = record;
        Ok(Transfer { writer: self, tip, start, block, pending: 0, filled: 0, broken: false })
    }

    /// The tip of an image of which nothing is written.
    fn tip(&self, record: &SessionRecord) -> WriteCursor<'b> {
        let SessionRecord { start, number, total, .. } = *record;
        let every = self.every.map_or_else(|| self.default_every(total), NonZeroU32::get);
        let rules = Rules { held_back: record.held_back.into(), ..self.rules };
        let (re_erased, end) = (self.re_erased, record.end());
        WriteCursor {
            rules,
            start,
            end,
            number,
            written: start,
            erased_to: start,
            stale_until: start,
            blank_so_far: true,
            since: 0,
            every,
            re_erased,
        }
    }

    /// So many sectors that their records fill an eighth of a bank of the journal, or that there is one of them.
    fn default_every(&self, total: u32) -> u32 {
        let records = self.journal.records_in_bank(PROGRESS_SIZE) / 8;
        self.rules.map.count(total).div_ceil(records.max(1)).max(1)
    }

    fn check_parameters(&self) -> Result<(), Error> {
        let Rules { geometry, map, .. } = self.rules;
        if !geometry.is_valid() || !map.is_valid(geometry.write_size) {
            return Err(Error::Geometry);
        }
        let held_back = self.rules.held_back;
        if held_back > HELD_BACK_MAX || geometry.padded(held_back) != held_back {
            return Err(Error::Geometry);
        }
        let needed = geometry.padded(1).max(held_back);
        if self.block_size() == 0 || self.block_size() < held_back || self.journal.scratch_size() < needed {
            return Err(Error::Buffer { needed });
        }
        Ok(())
    }
}

/// What of an image's beginning tells whether it is still there, in bytes.
const BEGINNING: u32 = 16;

/// The payload of a progress record.
const PROGRESS_SIZE: u16 = 7;
