//! Small records that survive power cuts: a log in two banks of flash, of which one always holds everything.
//!
//! Each bank starts with a header; records follow, the last one of a kind counts. A full bank, or one with a torn end, is
//! left: what counts is copied to the other bank, whose header is written last. Layout (all numbers little-endian, every
//! item padded to whole write units with the erased value):
//!
//! | item | bytes |
//! |---|---|
//! | bank header | `"SpJ"`, version, sequence `u32`, CRC-32 |
//! | record | kind `u8`, version `u8`, length `u16`, payload, CRC-32 of all before it |

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};

use sprag_core::FlashGeometry;
use sprag_core::crc::CRC_32;

use crate::error::Error;

/// Record kinds are 1 to this.
pub const KINDS: u8 = 5;

/// The version of the layout. A journal of another version is started anew.
pub const VERSION: u8 = 2;

const MAGIC: [u8; 3] = *b"SpJ";
const HEADER: usize = 12;
/// Kind, version and length before the payload; the CRC after it.
const FRONT: usize = 4;
const CHECK: usize = 4;

/// A journal in a region of flash of its own.
///
/// Every [`put`](Self::put) is all or nothing: a power cut or a dropped future in it leaves the record as it was before
/// or as it is after. What lies in the region at first does not matter: anything that is not a journal of this version
/// is started anew at the first `put`.
#[derive(Debug)]
pub struct Journal<'b, F> {
    flash: F,
    geometry: FlashGeometry,
    scratch: &'b mut [u8],
    /// What a scan found; `None` before the first one, and after a write that may not have been completed.
    found: Option<Found>,
}

/// Where a journal stands, for those who want to look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct JournalStats {
    /// The bank that counts: 0 or 1.
    pub bank: u32,
    /// How often the journal has moved to another bank: one erase each time.
    pub sequence: u32,
    /// Bytes of the bank that are taken; `None` when its end is torn, so that the next record goes to the other bank.
    pub used: Option<u32>,
    /// The size of a bank in bytes.
    pub size: u32,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    /// 0 or 1, and the sequence number in its header; `None` when no bank is one.
    bank: Option<(u32, u32)>,
    /// Where in the bank the next record goes; `None` when its end can't be written to.
    end: Option<u32>,
    /// Offset in the bank and payload length of the last record of each kind.
    last: [Option<(u32, u16)>; KINDS as usize],
}

impl<'b, F: NorFlash> Journal<'b, F> {
    /// A journal in `flash`, which is the whole of its region: at least two sectors, in two halves of whole sectors.
    ///
    /// `scratch` is used during calls only. It must hold the largest record with its 8 bytes of frame, padded to whole
    /// write units; 256 bytes do for those of the other crates here, and one unit where that is larger.
    pub fn new(flash: F, geometry: FlashGeometry, scratch: &'b mut [u8]) -> Self {
        Self { flash, geometry, scratch, found: None }
    }

    /// The last record of a kind; `None` when there is none or it is empty.
    ///
    /// # Errors
    /// [`Error::Journal`] when the flash can't be read; [`Error::Buffer`], [`Error::Geometry`],
    /// [`Error::JournalTooSmall`] and [`Error::Record`] for parameters that can't work.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn get(&mut self, kind: u8) -> Result<Option<&[u8]>, Error> {
        let found = self.scan().await?;
        let (Some((bank, _)), Some((at, length))) = (found.bank, *slot_of(&found.last, kind)?) else { return Ok(None) };
        let length = usize::from(length);
        self.read(bank, at, FRONT.saturating_add(length)).await?;
        Ok(self.scratch.get(FRONT..FRONT.saturating_add(length)).filter(|payload| !payload.is_empty()))
    }

    /// Where the journal stands; `None` when the region holds none of this version.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn stats(&mut self) -> Result<Option<JournalStats>, Error> {
        let found = self.scan().await?;
        Ok(found.bank.map(|(bank, sequence)| JournalStats { bank, sequence, used: found.end, size: self.bank_size() }))
    }

    /// Writes a record in the place of the last one of its kind, unless it is the same. An empty one stands for none.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and [`Error::JournalWornOut`].
    ///
    /// # Cancellation safety
    /// Dropping the future leaves the record as it was or as it was to be, like a power cut.
    pub async fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        let mut found = self.scan().await?;
        if let (Some((bank, _)), Some((at, length))) = (found.bank, *slot_of(&found.last, kind)?) {
            let end = FRONT.saturating_add(length.into());
            self.read(bank, at, end).await?;
            if self.scratch.get(FRONT..end) == Some(payload) {
                return Ok(());
            }
        }
        let length = u16::try_from(payload.len()).map_err(|_| Error::Record)?;
        let size = self.record_size(length)?;
        self.found = None;
        if let (Some((bank, _)), Some(end)) = (found.bank, found.end)
            && end.saturating_add(size) <= self.bank_size()
            && match self.append(bank, end, kind, payload).await {
                // A torn unit may read as erased and yet refuse to be programmed (parts with ECC).
                Err(Error::Journal(_)) => false,
                appended => appended?,
            }
        {
            if let Some(last) = found.last.get_mut(usize::from(kind).saturating_sub(1)) {
                *last = Some((end, length));
            }
            found.end = Some(end.saturating_add(size));
            self.found = Some(found);
            return Ok(());
        }
        let mut tries = 0u8;
        let moved = loop {
            match self.swap_banks(&found, kind, payload).await {
                // Once more: the next erase may do better.
                Err(Error::JournalWornOut) if tries == 0 => tries = 1,
                moved => break moved?,
            }
        };
        self.found = Some(moved);
        Ok(())
    }

    /// The scratch buffer, between calls.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.scratch
    }

    pub(crate) fn scratch_size(&self) -> usize {
        self.scratch.len()
    }

    /// How many records of so many bytes a bank holds.
    pub(crate) fn records_in_bank(&self, payload: u16) -> u32 {
        self.record_size(payload).ok().and_then(|size| self.bank_size().checked_div(size)).unwrap_or(0)
    }

    /// Copies what counts, and the new record, to the other bank; then makes that one the journal.
    async fn swap_banks(&mut self, from: &Found, kind: u8, payload: &[u8]) -> Result<Found, Error> {
        let (old, sequence) = from.bank.unwrap_or((1, 0));
        let (bank, sequence) = (1u32.saturating_sub(old), sequence.wrapping_add(1));
        let (start, end) = (self.offset(bank, 0), self.offset(bank, self.bank_size()));
        self.flash.erase(start, end).await.map_err(|e| Error::Journal(e.kind()))?;

        let mut at = self.unit_size(HEADER)?;
        let mut last = [None; KINDS as usize];
        for (kind_there, (place, new_place)) in (1u8..).zip(from.last.iter().zip(&mut last)) {
            let length = match place {
                _ if kind_there == kind => u16::try_from(payload.len()).map_err(|_| Error::Record)?,
                Some((_, length)) => *length,
                None => continue,
            };
            if length == 0 {
                continue;
            }
            let size = self.record_size(length)?;
            let needed = at.saturating_add(size);
            if needed > self.bank_size() {
                let bank = needed.checked_next_multiple_of(self.geometry.erase_size).unwrap_or(u32::MAX);
                return Err(Error::JournalTooSmall { needed: bank.saturating_mul(2) });
            }
            let written = if kind_there == kind {
                self.append(bank, at, kind, payload).await?
            } else {
                let from = place.map_or(0, |(from, _)| from);
                self.read(old, from, self.scratch_needed(usize::from(length))?).await?;
                self.write_scratch(bank, at, usize::from(length)).await?
            };
            if !written {
                return Err(Error::JournalWornOut);
            }
            *new_place = Some((at, length));
            at = at.saturating_add(size);
        }
        let header = bank_header(sequence);
        let room = self.stage(&header)?;
        if !self.program(bank, 0, room).await? {
            return Err(Error::JournalWornOut);
        }
        Ok(Found { bank: Some((bank, sequence)), end: Some(at), last })
    }

    /// Finds out what lies in the region.
    async fn scan(&mut self) -> Result<Found, Error> {
        if let Some(found) = self.found {
            return Ok(found);
        }
        if !self.geometry.is_valid() {
            return Err(Error::Geometry);
        }
        if self.bank_size() == 0 {
            return Err(Error::JournalTooSmall { needed: self.geometry.erase_size.saturating_mul(2) });
        }
        let mut found = Found { bank: None, end: None, last: [None; KINDS as usize] };
        for bank in [0, 1] {
            if self.is_unreadable(bank, 0, HEADER).await? {
                continue;
            }
            let Some(sequence) = sequence_of(self.scratch.get(..HEADER).unwrap_or_default()) else { continue };
            // Serial number arithmetic, so that the order survives the wrap.
            let newer = found.bank.is_none_or(|(_, other)| sequence.wrapping_sub(other) < u32::MAX / 2);
            if newer {
                found.bank = Some((bank, sequence));
            }
        }
        if let Some((bank, _)) = found.bank {
            self.scan_bank(bank, &mut found).await?;
        }
        self.found = Some(found);
        Ok(found)
    }

    async fn scan_bank(&mut self, bank: u32, found: &mut Found) -> Result<(), Error> {
        let mut at = self.unit_size(HEADER)?;
        while at.saturating_add(self.record_size(0)?) <= self.bank_size() {
            if self.is_unreadable(bank, at, FRONT).await? {
                return Ok(());
            }
            let Some(&[kind, version, low, high]) = self.scratch.first_chunk::<FRONT>() else { return Ok(()) };
            if [kind, version, low, high] == [self.geometry.erased; FRONT] {
                // Blank up to the end, or the end of a bank that can't be written to any more.
                if self.is_blank(bank, at).await? {
                    found.end = Some(at);
                }
                return Ok(());
            }
            let length = u16::from_le_bytes([low, high]);
            let size = self.record_size(length)?;
            let fits = at.saturating_add(size) <= self.bank_size() && version == VERSION;
            let place = usize::from(kind).checked_sub(1).and_then(|kind| found.last.get_mut(kind));
            let (true, Some(place)) = (fits, place) else { return Ok(()) };
            let checked = framed(usize::from(length));
            if self.geometry.padded(checked) > self.scratch.len() {
                return Ok(());
            }
            if self.is_unreadable(bank, at, checked).await?
                || !is_intact(self.scratch.get(..checked).unwrap_or_default())
            {
                return Ok(());
            }
            *place = Some((at, length));
            at = at.saturating_add(size);
        }
        found.end = Some(at);
        Ok(())
    }

    async fn is_blank(&mut self, bank: u32, from: u32) -> Result<bool, Error> {
        let piece = self.piece_size()?;
        let mut at = from;
        while at < self.bank_size() {
            let length = piece.min(usize::try_from(self.bank_size().saturating_sub(at)).unwrap_or(piece));
            if self.is_unreadable(bank, at, length).await?
                || self.scratch.iter().take(length).any(|byte| *byte != self.geometry.erased)
            {
                return Ok(false);
            }
            at = at.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        }
        Ok(true)
    }

    /// Writes a record at an erased place; whether it reads back.
    async fn append(&mut self, bank: u32, at: u32, kind: u8, payload: &[u8]) -> Result<bool, Error> {
        self.scratch_needed(payload.len())?;
        let length = u16::try_from(payload.len()).map_err(|_| Error::Record)?;
        let [low, high] = length.to_le_bytes();
        let mut bytes = self.scratch.iter_mut();
        for (to, from) in bytes.by_ref().zip([kind, VERSION, low, high].iter().chain(payload)) {
            *to = *from;
        }
        let checked = FRONT.saturating_add(payload.len());
        let check = CRC_32.checksum(self.scratch.get(..checked).unwrap_or_default());
        for (to, from) in self.scratch.iter_mut().skip(checked).zip(check.to_le_bytes()) {
            *to = from;
        }
        self.write_scratch(bank, at, payload.len()).await
    }

    /// Programs the record that stands at the front of the scratch buffer, padded to whole units.
    async fn write_scratch(&mut self, bank: u32, at: u32, payload: usize) -> Result<bool, Error> {
        let length = framed(payload);
        let padded = self.geometry.padded(length);
        for byte in self.scratch.iter_mut().take(padded).skip(length) {
            *byte = self.geometry.erased;
        }
        self.program(bank, at, padded).await
    }

    /// Programs the first `length` bytes of the scratch buffer; whether they read back.
    async fn program(&mut self, bank: u32, at: u32, length: usize) -> Result<bool, Error> {
        let offset = self.offset(bank, at);
        let bytes = self.scratch.get(..length).ok_or(Error::Buffer { needed: length })?;
        self.flash.write(offset, bytes).await.map_err(|e| Error::Journal(e.kind()))?;
        let before = CRC_32.checksum(bytes);
        let read = !self.is_unreadable(bank, at, length).await?;
        Ok(read && CRC_32.checksum(self.scratch.get(..length).unwrap_or_default()) == before)
    }

    /// Reads at least `length` bytes to the front of the scratch buffer; whether that failed, as it does for a torn unit
    /// on parts with ECC.
    async fn is_unreadable(&mut self, bank: u32, at: u32, length: usize) -> Result<bool, Error> {
        match self.read(bank, at, length).await {
            Err(Error::Journal(NorFlashErrorKind::Other)) => Ok(true),
            read => read.map(|()| false),
        }
    }

    /// Reads at least `length` bytes to the front of the scratch buffer.
    async fn read(&mut self, bank: u32, at: u32, length: usize) -> Result<(), Error> {
        let padded = self.geometry.padded(length);
        let offset = self.offset(bank, at);
        let bytes = self.scratch.get_mut(..padded).ok_or(Error::Buffer { needed: padded })?;
        self.flash.read(offset, bytes).await.map_err(|e| Error::Journal(e.kind()))
    }

    /// Puts `bytes` at the front of the scratch buffer, padded; the padded length.
    fn stage(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let padded = self.geometry.padded(bytes.len());
        let room = self.scratch.get_mut(..padded).ok_or(Error::Buffer { needed: padded })?;
        room.fill(self.geometry.erased);
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(padded)
    }

    /// Where a place in a bank lies in the region.
    fn offset(&self, bank: u32, at: u32) -> u32 {
        bank.saturating_mul(self.bank_size()).saturating_add(at)
    }

    /// Half the region, in whole sectors.
    fn bank_size(&self) -> u32 {
        let capacity = u32::try_from(self.flash.capacity()).unwrap_or(u32::MAX);
        let half = capacity / 2;
        half.saturating_sub(half.checked_rem(self.geometry.erase_size).unwrap_or(half))
    }

    fn unit_size(&self, length: usize) -> Result<u32, Error> {
        u32::try_from(self.geometry.padded(length)).map_err(|_| Error::Record)
    }

    fn record_size(&self, payload: u16) -> Result<u32, Error> {
        self.unit_size(framed(usize::from(payload)))
    }

    /// The size of a record with its frame, if the scratch buffer holds it.
    fn scratch_needed(&self, payload: usize) -> Result<usize, Error> {
        let length = framed(payload);
        let needed = self.geometry.padded(length);
        if needed <= self.scratch.len() { Ok(length) } else { Err(Error::Buffer { needed }) }
    }

    /// The largest piece of whole units that the scratch buffer holds.
    fn piece_size(&self) -> Result<usize, Error> {
        let unit = self.geometry.padded(1);
        let rest = self.scratch.len().checked_rem(unit).unwrap_or(0);
        match self.scratch.len().saturating_sub(rest) {
            0 => Err(Error::Buffer { needed: unit }),
            piece => Ok(piece),
        }
    }
}

fn slot_of(last: &[Option<(u32, u16)>; KINDS as usize], kind: u8) -> Result<&Option<(u32, u16)>, Error> {
    usize::from(kind).checked_sub(1).and_then(|kind| last.get(kind)).ok_or(Error::Record)
}

/// The size of a record in bytes, before padding.
fn framed(payload: usize) -> usize {
    FRONT.saturating_add(payload).saturating_add(CHECK)
}

fn bank_header(sequence: u32) -> [u8; HEADER] {
    let ([a, b, c], [s0, s1, s2, s3]) = (MAGIC, sequence.to_le_bytes());
    let front = [a, b, c, VERSION, s0, s1, s2, s3];
    let [c0, c1, c2, c3] = CRC_32.checksum(&front).to_le_bytes();
    [a, b, c, VERSION, s0, s1, s2, s3, c0, c1, c2, c3]
}

fn sequence_of(header: &[u8]) -> Option<u32> {
    let sequence = u32::from_le_bytes(*header.get(4..)?.first_chunk()?);
    (header == bank_header(sequence)).then_some(sequence)
}

fn is_intact(record: &[u8]) -> bool {
    record
        .split_last_chunk::<CHECK>()
        .is_some_and(|(front, check)| CRC_32.checksum(front) == u32::from_le_bytes(*check))
}
