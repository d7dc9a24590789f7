//! The end of what is written: where the next block goes, which sectors are erased, and what is recorded.

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError};

use crate::error::Error;
use crate::journal::Journal;
use crate::session::{HEAD, PROGRESS, Progress};
use sprag_core::FlashGeometry;
use sprag_core::SectorMap;
use sprag_core::scan::{is_blank, matching};
use sprag_core::sectors::Sector;

/// How a slot is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'b> {
    pub(crate) geometry: FlashGeometry,
    pub(crate) map: SectorMap<'b>,
    pub(crate) read_back: bool,
    pub(crate) trust_blank: bool,
    /// Bytes of the image's beginning that are held back; whole units.
    pub(crate) held_back: usize,
}

/// The end of what is written of an image.
///
/// While a sector is programmed, the next one is erased already. So what lies in the slot tells how far it came, see
/// [`recovery`](crate::recovery).
#[derive(Debug)]
pub(crate) struct WriteCursor<'b> {
    pub(crate) rules: Rules<'b>,
    /// The image's first byte in the flash.
    pub(crate) start: u32,
    /// Where in the flash the image ends.
    pub(crate) end: u32,
    /// Number of the session.
    pub(crate) number: u16,
    /// Where in the flash the next block goes.
    pub(crate) written: u32,
    /// Where the erased sectors end.
    pub(crate) erased_to: u32,
    /// Where the sectors end that an earlier life may have programmed.
    pub(crate) stale_until: u32,
    /// Nothing that can be seen was programmed into the sector at `written`.
    pub(crate) blank_so_far: bool,
    /// Sectors since the last record, and how many there are to be.
    pub(crate) since: u32,
    pub(crate) every: u32,
    /// The sector that was erased a second time, after something in it had failed.
    pub(crate) re_erased: Option<u32>,
}

impl WriteCursor<'_> {
    /// Brings the first `length` bytes of `buf`, a block, into flash. `buf` has room for padding to whole units.
    pub(crate) async fn program<F: NorFlash, J: NorFlash>(
        &mut self,
        flash: &mut F,
        journal: &mut Journal<'_, J>,
        buf: &mut [u8],
        length: usize,
    ) -> Result<(), Error> {
        let geometry = self.rules.geometry;
        let padded = geometry.padded(length);
        for byte in buf.iter_mut().take(padded).skip(length) {
            *byte = geometry.erased;
        }
        let data = buf.get(..padded).ok_or(Error::Length)?;
        let (at, sector) = (self.written, self.rules.map.of(self.written));
        if at == sector.start {
            self.blank_so_far = true;
            let next = self.rules.map.of(sector.end);
            if next.start < self.end && next.start >= self.erased_to {
                self.erase(flash, journal.scratch(), next).await?;
                self.erased_to = next.end;
            }
        }
        // What is held back goes to the journal, before anything of it could be missed.
        let held_back = if at == self.start { self.rules.held_back } else { 0 };
        let (head, data) = data.split_at_checked(held_back).ok_or(Error::Buffer { needed: held_back })?;
        if !head.is_empty() {
            journal.put(HEAD, head).await?;
        }
        loop {
            let put = self.put(flash, journal.scratch(), offset(at, held_back), data).await;
            if put == Ok(true) {
                break;
            }
            let failed = put.err().unwrap_or(Error::SlotWornOut { offset: at });
            if self.re_erased == Some(sector.start) {
                return Err(failed);
            }
            // Where nothing can be written any more, what failed first is what failed.
            self.re_erase(flash, journal, sector).await.map_err(|error| put.err().unwrap_or(error))?;
            if at > sector.start {
                return Err(Error::SectorLost);
            }
        }
        self.blank_so_far &= data.iter().all(|byte| *byte == geometry.erased);
        self.written = at.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        let mut is_due = self.written == self.end;
        if !is_due && self.written >= sector.end {
            self.since = self.since.saturating_add(1);
            // A sector that stayed blank leaves no trace but this.
            is_due = self.since >= self.every || self.blank_so_far;
        }
        if is_due {
            self.record(journal, self.written, false).await?;
        }
        Ok(())
    }

    /// Erases the sector at the tip once more, because what lies in it is of no use. The journal knows of it before: a
    /// cut in here must not leave a half-erased sector that looks like a written one.
    pub(crate) async fn re_erase<F: NorFlash, J: NorFlash>(
        &mut self,
        flash: &mut F,
        journal: &mut Journal<'_, J>,
        sector: Sector,
    ) -> Result<(), Error> {
        // Before and after, in one place: a second future of it would be 300 bytes of code.
        for erasing in [true, false] {
            self.record(journal, sector.start, erasing).await?;
            if erasing {
                self.erase(flash, journal.scratch(), sector).await?;
            }
        }
        self.re_erased = Some(sector.start);
        (self.written, self.stale_until) = (sector.start, sector.start);
        Ok(())
    }

    pub(crate) async fn record<J: NorFlash>(
        &mut self,
        journal: &mut Journal<'_, J>,
        offset: u32,
        erasing: bool,
    ) -> Result<(), Error> {
        let progress = Progress { offset, number: self.number, erasing };
        self.since = 0;
        journal.put(PROGRESS, &progress.encode()).await
    }

    /// Programs what does not lie there yet; whether all of it reads back.
    async fn put<F: NorFlash>(&self, flash: &mut F, scratch: &mut [u8], at: u32, data: &[u8]) -> Result<bool, Error> {
        let Rules { geometry, read_back, .. } = self.rules;
        let mut from = 0usize;
        if at < self.stale_until {
            from = matching(flash, geometry, scratch, at, data).await;
            let behind = offset(at, from);
            if from < data.len() && !is_blank(flash, geometry, scratch, (behind, offset(at, data.len()))).await {
                return Ok(false);
            }
        }
        let rest = data.get(from..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(true);
        }
        // What is to read as erased does already, and is left unprogrammed; unless the driver shows something else.
        let erased = rest.iter().all(|byte| *byte == geometry.erased);
        if erased && read_back && matching(flash, geometry, scratch, offset(at, from), rest).await == rest.len() {
            return Ok(true);
        }
        self.write(flash, scratch, offset(at, from), rest).await
    }

    async fn write<F: NorFlash>(&self, flash: &mut F, scratch: &mut [u8], at: u32, data: &[u8]) -> Result<bool, Error> {
        flash.write(at, data).await.map_err(|e| Error::Slot(e.kind()))?;
        Ok(!self.rules.read_back || matching(flash, self.rules.geometry, scratch, at, data).await == data.len())
    }

    /// Erases a sector; twice, when it does not read as erased then.
    pub(crate) async fn erase<F: NorFlash>(
        &self,
        flash: &mut F,
        scratch: &mut [u8],
        sector: Sector,
    ) -> Result<(), Error> {
        let Rules { geometry, read_back, trust_blank, .. } = self.rules;
        let range = (sector.start, sector.end);
        if trust_blank && is_blank(flash, geometry, scratch, range).await {
            return Ok(());
        }
        for _ in 0..2 {
            flash.erase(sector.start, sector.end).await.map_err(|e| Error::Slot(e.kind()))?;
            if !read_back || is_blank(flash, geometry, scratch, range).await {
                return Ok(());
            }
        }
        Err(Error::SlotWornOut { offset: sector.start })
    }
}

fn offset(at: u32, into: usize) -> u32 {
    at.saturating_add(u32::try_from(into).unwrap_or(u32::MAX))
}
