//! The slot writer without its flash: one state machine for all that it does.
//!
//! It asks for one operation of a flash after the other. [`SlotWriter`](crate::SlotWriter) and
//! [`blocking::SlotWriter`](crate::blocking::SlotWriter) execute them. Each state waits for the journal's state machine, or for
//! the one that [splits](crate::slot_io) a scan, program or erase of the slot into operations.
//!
//! | state | what was done | next |
//! |---|---|---|
//! | `Session` | the session was read | `Progress`; `Head` for the bytes that are held back; the end without one |
//! | `Progress` | its progress was read | `Beginning` when the image's beginning is recorded, else `Search` |
//! | `Beginning` | the image's beginning was scanned | `Search`; when blank, all of the image is given up |
//! | `Search` | a block was scanned | `Search` of the next one, then `LastBlock` |
//! | `LastBlock` | the last block was read | the end; `Erasing` when its sector is torn and the image is resumed |
//! | `Head` | the held-back bytes were read | the end; `HeadCompare` when they are to be written |
//! | `HeadCompare` | they were compared with the slot | the end; `HeadWrite`, once |
//! | `HeadWrite` | they were programmed | `HeadCompare` |
//! | `Forget` | the session was removed | the end; `Number` when another image begins |
//! | `Number` | the old progress was read | `FirstErase` |
//! | `FirstErase` | the first sector was erased | `Begun` |
//! | `Begun` | the session was recorded | the end, or as for a block |
//! | `NextErase` | the sector after the block's was erased | `HoldBack`, `Compare` or a write |
//! | `HoldBack` | the image's first bytes were recorded | `Compare`, or a write |
//! | `Compare` | the block was compared with an older life's | `Blank`; the end when all of it is there |
//! | `Blank` | the rest was scanned | a write; `Erasing` when it is not blank |
//! | `Erased` | a rest of erased bytes was compared | the end; `Write` when it is not there |
//! | `Write` | the rest was programmed and read back | the end; `Erasing` when that failed |
//! | `Erasing` | the record says that the sector is being erased | `ReErase` |
//! | `ReErase` | the sector was erased | `ReErased` |
//! | `ReErased` | the record says that it was | `Compare` at the sector's start, else [`Error::SectorLost`] |
//! | `Record` | the progress was recorded | the end |

use core::ops::Range;

use sprag_core::sectors::Sector;
use sprag_core::{FlashGeometry, SectorMap};

use crate::error::Error;
use crate::journal;
use crate::operation::{self, Outcome, length, size};
use crate::recovery::{ResumePoint, Search};
use crate::session::{
    HEAD, HELD_BACK_MAX, IDENTITY, Image, PROGRESS, PROGRESS_SIZE, Payload, Progress, SESSION, Session,
};
use crate::slot_io::{Expected, SlotIo};
use crate::write_cursor::WriteCursor;

/// What of an image's beginning shows whether it is still there, in bytes.
const BEGINNING: u32 = 16;

/// What the slot writer is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Finds the session, and where to go on with it.
    Open,
    /// The same, and makes the flash ready to go on.
    Resume,
    /// Removes the session.
    Forget,
    /// Removes the session and begins another one, with a block if it came already.
    Begin,
    /// Programs a block.
    Program,
    /// Records that all before the cursor is written.
    Record,
    /// Reads the bytes that are held back.
    ReadHead,
    /// Writes them to the slot.
    WriteHead,
}

/// What the machine waits for: see the table of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Session,
    Progress,
    Beginning,
    Search,
    LastBlock,
    Head,
    HeadCompare,
    HeadWrite,
    Forget,
    Number,
    FirstErase,
    Begun,
    NextErase,
    HoldBack,
    Compare,
    Blank,
    Erased,
    Write,
    Erasing,
    ReErase,
    ReErased,
    Record,
}

/// Which flash the next operation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: the task is done.
    Done,
    /// An operation of the slot's flash.
    Slot,
    /// An operation of the journal's flash.
    Journal,
}

/// The slot writer without its flash and its buffers.
#[derive(Debug)]
pub(crate) struct Core<'b> {
    pub(crate) io: SlotIo,
    pub(crate) map: SectorMap<'b>,
    /// How many bytes of images to come are to be held back.
    pub(crate) hold_back: usize,
    /// The largest block of images to come: what of the smaller buffer is whole units.
    pub(crate) block_size: u32,
    /// Sectors between two records; 0 for the default.
    pub(crate) record_interval: u32,
    /// The image in the slot, once its session is open; none when its blocks have no length.
    pub(crate) image: Image,
    pub(crate) cursor: WriteCursor,
    /// Bytes at the front of the buffer, which follow those that are written.
    pub(crate) filled: usize,
    /// The flash is being changed: still set, a future was dropped in the middle, or an error came.
    pub(crate) is_broken: bool,
    /// The record that was read or is to be written.
    pub(crate) payload: Payload,
    task: Task,
    state: State,
    wait: Wait,
    search: Search,
    /// Where in the flash the rest of the block begins that is not there yet.
    from: u32,
    /// Where the block ends, padded to whole units.
    to: u32,
    /// The length of the block.
    length: u32,
    /// Where in the block there are erased bytes only.
    programmed_to: u32,
    /// The kind of the record that is read or written.
    kind: u8,
    is_put: bool,
    /// How many progress records a bank of the journal holds.
    records_in_bank: u32,
    /// Why the sector is erased again.
    cause: Option<Error>,
}

impl<'b> Core<'b> {
    pub(crate) fn new(geometry: FlashGeometry, buffer: usize) -> Self {
        let map = SectorMap { runs: &[], erase_size: geometry.erase_size };
        Self {
            io: SlotIo::new(geometry),
            map,
            hold_back: 0,
            block_size: length(geometry.whole_units(buffer)),
            record_interval: 0,
            image: Image::default(),
            cursor: WriteCursor::new(),
            filled: 0,
            is_broken: false,
            payload: Payload::new(),
            task: Task::Open,
            state: State::Session,
            wait: Wait::Done,
            search: Search::default(),
            from: 0,
            to: 0,
            length: 0,
            programmed_to: 0,
            kind: 0,
            is_put: false,
            records_in_bank: 0,
            cause: None,
        }
    }

    /// Sets the length of the smaller buffer, if there is a second one.
    pub(crate) fn set_block_size(&mut self, buffer: usize) {
        if buffer > 0 {
            self.block_size = length(self.io.geometry.whole_units(buffer));
        }
    }

    /// Checks what does not depend on an image. Returns an error for parameters that can't work.
    fn check(&self, scratch_size: usize) -> Result<(), Error> {
        let geometry = self.io.geometry;
        if !self.map.is_valid(geometry.write_size)
            || self.hold_back > HELD_BACK_MAX
            || geometry.padded(self.hold_back) != self.hold_back
        {
            return Err(Error::Geometry);
        }
        let needed = geometry.padded(1).max(self.hold_back);
        if size(self.block_size) < needed || scratch_size < needed {
            return Err(Error::Buffer { needed });
        }
        Ok(())
    }

    /// Prepares [`Task::Begin`]: an image of `total` bytes, at `start`, where the slot has room up to `end`.
    #[inline(never)]
    pub(crate) fn set_image(
        &mut self,
        identity: &[u8],
        total: u64,
        (start, end): (u32, u32),
        journal: &journal::Core<'_>,
    ) -> Result<(), Error> {
        self.check(journal.scratch.len())?;
        let first = self.map.of(start);
        if first.start != start {
            return Err(Error::Geometry);
        }
        // In whole sectors: erasing the last one of the image must not reach into the bytes behind.
        let limit = self.map.of(end).start.saturating_sub(start);
        let too_large = Error::TooLarge { limit };
        let total = u32::try_from(total).ok().filter(|total| *total <= limit).ok_or(too_large)?;
        let held_back = u8::try_from(self.hold_back).map_err(|_| Error::Geometry)?;
        self.image = Image { start, end: start.wrapping_add(total), block: self.block_size, number: 0, held_back };
        self.payload.set_image(&self.image, identity)?;
        self.set_cursor(ResumePoint { offset: start, is_torn: false, erased_to: first.end, is_begun: false }, start);
        Ok(())
    }

    fn set_cursor(&mut self, point: ResumePoint, stale_until: u32) {
        self.filled = 0;
        self.is_broken = false;
        let re_erased = self.cursor.re_erased;
        self.cursor = WriteCursor {
            written: point.offset,
            erased_to: point.erased_to,
            stale_until,
            blank_so_far: !point.is_begun,
            sectors_since_record: 0,
            re_erased,
        };
    }

    /// Returns the session that was found.
    pub(crate) fn session(&self) -> Option<Session<'_>> {
        let Image { start, block, .. } = self.image;
        let total = self.image.total();
        let identity = self.payload.as_slice().get(IDENTITY..)?;
        let written = self.cursor.written.saturating_sub(start);
        (block > 0).then_some(Session { identity, total, start, written })
    }

    /// Returns what the slot's next program is of.
    pub(crate) fn data<'d>(&'d self, block: &'d [u8]) -> &'d [u8] {
        self.io.part(if self.task == Task::WriteHead { self.payload.as_slice() } else { block })
    }

    /// Returns how long a block at `from` is to be. No block crosses the end of a sector, or a multiple of the session's
    /// largest block.
    pub(crate) fn block_length(&self, from: u32) -> u32 {
        let Sector { start, end } = self.map.of(from);
        let into = from.saturating_sub(start).checked_rem(self.image.block).unwrap_or(0);
        let boundary = self.image.block.saturating_sub(into);
        self.image.end.min(end).saturating_sub(from).min(boundary).min(self.block_size)
    }

    /// Returns where in the flash the bytes end that have been taken.
    pub(crate) fn filled_to(&self) -> u32 {
        self.cursor.written.wrapping_add(length(self.filled))
    }

    /// Returns how many bytes of the image have been taken.
    pub(crate) fn offset(&self) -> u32 {
        self.filled_to().wrapping_sub(self.image.start)
    }

    /// Returns how many bytes the first block of an image has at most.
    pub(crate) fn first_block(&self) -> usize {
        size(self.block_size.min(self.map.smallest()))
    }

    /// Returns which bytes of the buffer are to be filled next.
    pub(crate) fn spare(&self) -> Range<usize> {
        self.filled..size(self.block_length(self.cursor.written))
    }

    /// Takes bytes at the front of the spare part of the buffer. Returns the length of the block when it is full, and else 0.
    pub(crate) fn take(&mut self, count: usize) -> Result<usize, Error> {
        if self.is_broken {
            return Err(Error::Interrupted);
        }
        let Range { start, end } = self.spare();
        if count > end.saturating_sub(start) {
            return Err(Error::Length);
        }
        self.filled = start.wrapping_add(count);
        Ok(if self.filled >= end { core::mem::take(&mut self.filled) } else { 0 })
    }

    /// Returns whether bytes may be read while the full block is programmed.
    pub(crate) fn may_overlap(&self) -> bool {
        let end = self.filled_to();
        let sector_ends = end >= self.sector().end;
        // A block that may be torn is looked at before anything more is fetched.
        let is_suspect = self.cursor.written < self.cursor.stale_until;
        !sector_ends && !is_suspect && end < self.image.end
    }

    /// Returns an error unless all of the image is written.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.is_broken {
            return Err(Error::Interrupted);
        }
        if self.cursor.written < self.image.end { Err(Error::Length) } else { Ok(()) }
    }

    /// Returns whether a source that failed leaves something to record.
    pub(crate) fn is_underway(&self) -> bool {
        self.cursor.written > self.image.start && self.cursor.written < self.image.end
    }

    /// Pads the first `length` bytes of a buffer to whole units, and returns them.
    pub(crate) fn pad<'d>(&self, buf: &'d mut [u8], length: usize) -> &'d [u8] {
        let block = buf.get_mut(..self.io.geometry.padded(length)).unwrap_or_default();
        for byte in block.iter_mut().skip(length) {
            *byte = self.io.geometry.erased;
        }
        block
    }

    /// Begins a task. `length` is that of the block, which has been padded to whole units in `block`.
    pub(crate) fn start(
        &mut self,
        task: Task,
        journal: &mut journal::Core<'_>,
        block: &[u8],
        length: u32,
    ) -> Result<(), Error> {
        if block.len() < size(length) {
            return Err(Error::Length);
        }
        if task == Task::Program || task == Task::Begin {
            let at = self.cursor.written;
            let erased = self.io.geometry.erased;
            let programmed = block.iter().rposition(|byte| *byte != erased).map_or(0, |last| last.saturating_add(1));
            let needed = size(self.held_back());
            if length > 0 && block.len() < needed {
                return Err(Error::Buffer { needed });
            }
            self.is_broken = true;
            self.io.data_at = at;
            self.length = length;
            self.to = at.saturating_add(operation::length(block.len()));
            self.programmed_to = at.saturating_add(operation::length(programmed));
        }
        self.task = task;
        self.cause = None;
        self.records_in_bank = journal.records_in_bank(PROGRESS_SIZE);
        self.wait = match task {
            Task::Open | Task::Resume | Task::ReadHead | Task::WriteHead => {
                self.check(journal.scratch.len())?;
                self.get(State::Session, SESSION)
            }
            Task::Forget | Task::Begin => self.put(State::Forget, SESSION),
            Task::Record => self.put_progress(State::Record, self.cursor.written, false),
            Task::Program => self.start_block(),
        };
        self.request(journal);
        Ok(())
    }

    /// Passes on what is asked of the journal.
    fn request(&self, journal: &mut journal::Core<'_>) {
        if self.wait == Wait::Journal {
            journal.request(self.kind, self.is_put);
        }
    }

    /// Executes the task up to the next operation of a flash, given the outcome of the one before.
    #[inline(never)]
    pub(crate) fn step(
        &mut self,
        journal: &mut journal::Core<'_>,
        block: &[u8],
        outcome: Outcome,
    ) -> Result<Wait, Error> {
        let mut outcome = outcome;
        loop {
            let answer = match self.wait {
                Wait::Slot => {
                    let data: &[u8] = if self.task == Task::WriteHead { self.payload.as_slice() } else { block };
                    self.io.step(journal.scratch, data, outcome)
                }
                Wait::Journal => {
                    let record = match self.state {
                        State::Forget => &[],
                        State::HoldBack => block.get(..size(self.held_back())).unwrap_or_default(),
                        _ => self.payload.as_slice(),
                    };
                    journal.step(record, outcome)
                }
                Wait::Done => return Ok(Wait::Done),
            };
            match answer {
                Ok(true) => return Ok(self.wait),
                Ok(false) => {}
                // A program that failed is followed by another erase.
                Err(error) if self.state == State::Write => self.cause = Some(error),
                // Where nothing can be written any more, what failed first is what failed.
                Err(error) => return Err(self.cause.unwrap_or(error)),
            }
            self.wait = self.advance(journal.payload().unwrap_or_default())?;
            self.request(journal);
            outcome = Ok(());
        }
    }

    /// Goes from a state to the next, when what it waited for is done. `record` is what was read from the journal.
    fn advance(&mut self, record: &[u8]) -> Result<Wait, Error> {
        let is_whole = self.io.is_whole();
        Ok(match self.state {
            State::Session => {
                self.image = Image::decode(record).unwrap_or_default();
                if !self.payload.set(record) {
                    self.image.block = 0;
                }
                if self.image.block == 0 {
                    return match self.task {
                        Task::Open | Task::ReadHead => Ok(Wait::Done),
                        _ => Err(Error::NoSession),
                    };
                }
                match self.task {
                    Task::ReadHead | Task::WriteHead => {
                        self.payload.set(&[]);
                        if self.image.held_back == 0 {
                            return Ok(Wait::Done);
                        }
                        self.get(State::Head, HEAD)
                    }
                    _ => self.get(State::Progress, PROGRESS),
                }
            }
            State::Progress => {
                let Image { start, number, held_back, .. } = self.image;
                let progress = Progress::decode(record).filter(|it| it.number == number);
                let progress = progress.unwrap_or(Progress { offset: start, number, erasing: false });
                self.search = Search::begin(&self.image, &self.map, progress);
                let from = start.saturating_add(held_back.into());
                let to = from.saturating_add(BEGINNING.max(self.io.geometry.write_size));
                if progress.offset < to {
                    return Ok(self.search());
                }
                self.scan(State::Beginning, Expected::Blank, (from, to))
            }
            State::Beginning => {
                if is_whole {
                    self.search.give_up(&self.image);
                }
                self.search()
            }
            State::Search => {
                if self.search.add(&self.image, &self.map, is_whole) {
                    return Ok(self.search());
                }
                match self.search.last_range(&self.io.geometry) {
                    Some(range) => self.scan(State::LastBlock, Expected::Readable, range),
                    None => self.end_search(true),
                }
            }
            State::LastBlock => self.end_search(is_whole),
            State::Head => {
                self.payload.set(record);
                if self.payload.as_slice().len() != usize::from(self.image.held_back) {
                    return Err(Error::NoSession);
                }
                if self.task == Task::ReadHead {
                    return Ok(Wait::Done);
                }
                self.io.data_at = self.image.start;
                self.from = self.image.start;
                self.to = self.from.wrapping_add(self.image.held_back.into());
                self.compare_from(State::HeadCompare)
            }
            State::HeadCompare if is_whole => Wait::Done,
            State::HeadCompare if self.is_put => return Err(Error::SlotWornOut { offset: self.from }),
            State::HeadCompare => self.write(State::HeadWrite),
            State::HeadWrite => {
                self.is_put = true;
                self.compare_from(State::HeadCompare)
            }
            State::Forget if self.task == Task::Forget => Wait::Done,
            State::Forget => self.get(State::Number, PROGRESS),
            State::Number => {
                let stale = Progress::decode(record);
                self.image.number = stale.map_or(0, |stale| stale.number.wrapping_add(1));
                self.payload.set_number(self.image.number);
                let Sector { start, end } = self.map.of(self.image.start);
                self.erase(State::FirstErase, Sector { start, end: if self.image.total() > 0 { end } else { start } })
            }
            State::FirstErase => self.put(State::Begun, SESSION),
            State::Begun if self.length > 0 => self.start_block(),
            State::Begun => Wait::Done,
            State::Record => Wait::Done,
            State::NextErase => {
                self.cursor.erased_to = self.map.of(self.sector().end).end;
                self.hold_back()
            }
            State::HoldBack => self.compare(),
            State::Compare => {
                self.from = self.from.wrapping_add(self.io.same());
                if self.from >= self.to {
                    return Ok(self.end_block());
                }
                self.scan(State::Blank, Expected::Blank, (self.from, self.to))
            }
            State::Blank if is_whole => self.write_rest(),
            State::Erased if !is_whole => self.write(State::Write),
            State::Write if is_whole => self.end_block(),
            State::Erased => self.end_block(),
            State::Blank | State::Write => {
                let sector = self.sector();
                if self.cursor.re_erased == sector.start {
                    let worn_out = Error::SlotWornOut { offset: self.cursor.written };
                    return Err(self.cause.unwrap_or(worn_out));
                }
                self.put_progress(State::Erasing, sector.start, true)
            }
            State::Erasing => self.erase(State::ReErase, self.sector()),
            State::ReErase => self.put_progress(State::ReErased, self.sector().start, false),
            State::ReErased => {
                let Sector { start, .. } = self.sector();
                let is_at_start = self.cursor.written == start;
                self.cursor.re_erased = start;
                self.cursor.stale_until = start;
                self.cursor.written = start;
                self.cause = None;
                if self.task == Task::Resume {
                    return Ok(Wait::Done);
                }
                if !is_at_start {
                    return Err(Error::SectorLost);
                }
                self.compare()
            }
        })
    }

    /// Returns the sector that the cursor is in.
    pub(crate) fn sector(&self) -> Sector {
        self.map.of(self.cursor.written)
    }

    /// Reads a record.
    fn get(&mut self, state: State, kind: u8) -> Wait {
        self.state = state;
        self.kind = kind;
        self.is_put = false;
        Wait::Journal
    }

    /// Writes a record.
    fn put(&mut self, state: State, kind: u8) -> Wait {
        self.get(state, kind);
        self.is_put = true;
        Wait::Journal
    }

    fn put_progress(&mut self, state: State, offset: u32, erasing: bool) -> Wait {
        let progress = Progress { offset, number: self.image.number, erasing };
        self.payload.set(&progress.encode());
        self.cursor.sectors_since_record = 0;
        self.put(state, PROGRESS)
    }

    fn scan(&mut self, state: State, expected: Expected, (from, to): (u32, u32)) -> Wait {
        self.state = state;
        self.io.scan(expected, from, to);
        Wait::Slot
    }

    /// Programs the rest of the block.
    fn write(&mut self, state: State) -> Wait {
        self.state = state;
        self.io.write(self.from, self.to);
        Wait::Slot
    }

    /// Compares the rest of the block with what lies in the slot.
    fn compare_from(&mut self, state: State) -> Wait {
        self.scan(state, Expected::Data, (self.from, self.to))
    }

    fn erase(&mut self, state: State, sector: Sector) -> Wait {
        self.state = state;
        self.io.erase(sector);
        Wait::Slot
    }

    /// Looks at the next block of the search.
    fn search(&mut self) -> Wait {
        if self.search.is_over(&self.image) {
            return self.end_search(true);
        }
        self.scan(State::Search, Expected::Blank, self.search.range(&self.io.geometry))
    }

    fn end_search(&mut self, is_readable: bool) -> Wait {
        let point = self.search.end(&self.image, &self.map, is_readable);
        self.set_cursor(point, point.erased_to);
        if self.task == Task::Resume && point.is_torn {
            return self.put_progress(State::Erasing, self.sector().start, true);
        }
        Wait::Done
    }

    /// Erases the sector after the one that the block begins, and goes on.
    fn start_block(&mut self) -> Wait {
        let at = self.cursor.written;
        let sector = self.sector();
        if at == sector.start {
            self.cursor.blank_so_far = true;
            let next = self.map.of(sector.end);
            if next.start < self.image.end && next.start >= self.cursor.erased_to {
                return self.erase(State::NextErase, next);
            }
        }
        self.hold_back()
    }

    /// Returns how many bytes at the beginning of the block do not go to the slot yet.
    fn held_back(&self) -> u32 {
        if self.cursor.written == self.image.start { self.image.held_back.into() } else { 0 }
    }

    /// Records what is held back, before anything of it could be missed.
    fn hold_back(&mut self) -> Wait {
        if self.held_back() == 0 {
            return self.compare();
        }
        self.put(State::HoldBack, HEAD)
    }

    /// Compares the block with what lies there already, if something may.
    fn compare(&mut self) -> Wait {
        self.from = self.cursor.written.wrapping_add(self.held_back());
        if self.from < self.cursor.stale_until {
            return self.compare_from(State::Compare);
        }
        self.write_rest()
    }

    /// Programs what of the block is not there yet.
    fn write_rest(&mut self) -> Wait {
        if self.from >= self.to {
            return self.end_block();
        }
        // What is to read as erased does already, and is left unprogrammed; unless the driver shows something else.
        if self.io.read_back && self.from >= self.programmed_to {
            return self.compare_from(State::Erased);
        }
        self.write(State::Write)
    }

    /// Moves the cursor behind the block, and records that where it is due.
    fn end_block(&mut self) -> Wait {
        let sector = self.sector();
        let seen_from = self.cursor.written.wrapping_add(self.held_back());
        self.cursor.blank_so_far &= seen_from >= self.programmed_to;
        self.cursor.written = self.cursor.written.wrapping_add(self.length);
        let mut is_due = self.cursor.written == self.image.end;
        if !is_due && self.cursor.written >= sector.end {
            self.cursor.sectors_since_record = self.cursor.sectors_since_record.wrapping_add(1);
            // A sector that stayed blank leaves no trace but this.
            is_due = self.cursor.sectors_since_record >= self.interval() || self.cursor.blank_so_far;
        }
        if !is_due {
            return Wait::Done;
        }
        self.put_progress(State::Record, self.cursor.written, false)
    }

    /// Returns how many sectors are between two records. By default so many that the records fill an eighth of a bank of the journal.
    fn interval(&self) -> u32 {
        if self.record_interval > 0 {
            return self.record_interval;
        }
        let in_runs = self.map.runs.iter().fold(0u32, |count, run| count.saturating_add(run.count));
        let sectors = self.image.total().checked_div(self.map.erase_size).unwrap_or(0).saturating_add(in_runs);
        sectors.checked_div(self.records_in_bank / 8).unwrap_or(sectors).saturating_add(1)
    }
}
