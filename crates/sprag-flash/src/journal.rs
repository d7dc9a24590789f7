//! Small records that survive power cuts: a log in two banks of flash, of which one always holds everything.
//!
//! Each bank starts with a header. Records follow, and the last one of a kind counts. When a bank is full or has a torn end,
//! the journal swaps banks: it erases the other bank, copies what counts to it, and writes the header of that bank last. Layout
//! (all numbers little-endian, every item padded to whole write units with the erased value):
//!
//! | item | bytes |
//! |---|---|
//! | bank header | `"SpJ"`, version, sequence `u32`, CRC-32 |
//! | record | kind `u8`, version `u8`, length `u16`, payload, CRC-32 of all before it |
//!
//! The journal is a state machine that asks for one operation of the flash after the other. `Journal` executes them; so does
//! [`blocking::Journal`](crate::blocking::Journal).
//!
//! | state | the last operation | next |
//! |---|---|---|
//! | `Start` | none | `Header` of bank 0 |
//! | `Header` | a bank's header was read | `Header` of bank 1, then `Front`, or `Indexed` without a bank |
//! | `Front` | kind and length of a record were read | `Body`; `Blank` at an erased place; `Indexed` at anything else |
//! | `Body` | the record was read | `Front` of the next one; `Indexed` at the end or when it is torn |
//! | `Blank` | a piece of the rest was read | `Blank`; `Indexed` at the end or when the piece is not blank |
//! | `Indexed` | none | the request: `Read`, `Compare`, an append, or the end |
//! | `Read`, `Compare` | the last record of the kind was read | the end; an append when it is to be replaced |
//! | `Append`, `AppendCheck` | the record was programmed, read back | the end; `Erase` when it does not read back |
//! | `Erase` | the other bank was erased | `NextCopy` |
//! | `NextCopy` | none | `Copy` for each kind that has a record, then `HeaderWrite` |
//! | `Copy` | the record was read, or is the new one | `CopyWrite` |
//! | `CopyWrite`, `CopyCheck` | it was programmed to the other bank, read back | `NextCopy` |
//! | `HeaderWrite`, `HeaderCheck` | the header was programmed, read back | the end: the other bank counts now |
//!
//! What does not read back in the other bank leads to `Start` once, and then to [`Error::JournalWornOut`].

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};
use sprag_core::FlashGeometry;
use sprag_core::crc::CRC_32;

use crate::error::Error;
use crate::operation::{Action, Operation, Outcome, copy, execute, length, run_of, size};

/// Record kinds are 1 to this.
pub const KINDS: u8 = 5;

/// The version of the layout. A journal of another version is started anew.
pub const VERSION: u8 = 2;

const MAGIC: [u8; 3] = *b"SpJ";
const HEADER: u32 = 12;
/// Kind, version and length before the payload; the CRC after it.
const FRONT: u32 = 4;
const CHECK: u32 = 4;

/// A journal in a region of flash of its own.
///
/// Every [`put`](Self::put) is all or nothing: a power cut or a dropped future in it leaves the record as it was before
/// or as it is after. What lies in the region at first does not matter: anything that is not a journal of this version
/// is started anew at the first `put`.
#[derive(Debug)]
pub struct Journal<'b, F> {
    pub(crate) flash: F,
    pub(crate) core: Core<'b>,
}

/// How full a journal is, and how often it has swapped its banks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct JournalStats {
    /// The bank that counts: 0 or 1.
    pub bank: u32,
    /// How often the journal has swapped its banks: one erase each time.
    pub sequence: u32,
    /// Bytes of the bank that are taken; `None` when its end is torn, so that the next record goes to the other bank.
    pub used: Option<u32>,
    /// The size of a bank in bytes.
    pub size: u32,
}

impl<'b, F: NorFlash> Journal<'b, F> {
    /// Makes a journal in `flash`, which is the whole of its region: at least two sectors, in two halves of whole sectors.
    ///
    /// `scratch` is used during calls only. It must hold the largest record with its 8 bytes of frame, padded to whole
    /// write units; 256 bytes do for those of the other crates here, and one unit where that is larger.
    pub fn new(flash: F, geometry: FlashGeometry, scratch: &'b mut [u8]) -> Self {
        let core = Core::new(flash.capacity(), geometry, scratch);
        Self { flash, core }
    }

    /// Returns the last record of a kind; `None` when there is none or it is empty.
    ///
    /// # Errors
    /// [`Error::Journal`] when the flash can't be read; [`Error::Buffer`], [`Error::Geometry`],
    /// [`Error::JournalTooSmall`] and [`Error::Record`] for parameters that can't work.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn get(&mut self, kind: u8) -> Result<Option<&[u8]>, Error> {
        self.run(kind, None).await?;
        Ok(self.core.payload())
    }

    /// Returns how full the journal is; `None` when the region holds none of this version.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn stats(&mut self) -> Result<Option<JournalStats>, Error> {
        let read = self.run(1, None).await;
        self.core.stats(read)
    }

    /// Writes a record in the place of the last one of its kind, unless it is the same. An empty one stands for none.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and [`Error::JournalWornOut`].
    ///
    /// # Cancellation safety
    /// Dropping the future leaves the record as it was or as it was to be, like a power cut.
    pub async fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        self.run(kind, Some(payload)).await
    }

    async fn run(&mut self, kind: u8, payload: Option<&[u8]>) -> Result<(), Error> {
        self.core.request(kind, payload.is_some());
        let mut outcome = Ok(());
        while self.core.step(payload.unwrap_or_default(), outcome)? {
            outcome = execute!(self.core.operation, self.flash, self.core.scratch, self.core.scratch, await);
        }
        Ok(())
    }
}

/// A record in the bank that counts.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where in the bank it begins; 0, where the header is, for no record.
    at: u32,
    /// The length of its payload.
    length: u16,
}

const NOWHERE: Place = Place { at: 0, length: 0 };

/// An end of a bank at which nothing can be written.
const FULL: u32 = u32::MAX;

/// What the last operation was for: see the table of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Header,
    Front,
    Body,
    Blank,
    Indexed,
    Read,
    Compare,
    Append,
    AppendCheck,
    Erase,
    NextCopy,
    Copy,
    CopyWrite,
    CopyCheck,
    HeaderWrite,
    HeaderCheck,
}

/// The journal without its flash: a state machine that asks for one operation after the other.
#[derive(Debug)]
pub(crate) struct Core<'b> {
    pub(crate) scratch: &'b mut [u8],
    /// The operation to execute.
    pub(crate) operation: Operation,
    geometry: FlashGeometry,
    /// Half the region, in whole sectors.
    bank_size: u32,
    /// The kind of the request.
    kind: u8,
    is_put: bool,
    state: State,
    /// Where in the bank the machine reads or writes.
    at: u32,
    /// The kind of the record that is copied to the other bank.
    copied: u8,
    /// The checksum of what was programmed last.
    checksum: u32,
    /// The banks were swapped in vain once.
    is_retry: bool,
    /// The fields below say what lies in the flash. Cleared while that changes: an operation may not be completed.
    is_indexed: bool,
    /// A bank has a header.
    exists: bool,
    /// The bank that counts.
    bank: u32,
    sequence: u32,
    /// Where in the bank the next record goes; [`FULL`] when its end can't be written to.
    end: u32,
    /// The last record of each kind.
    index: [Place; KINDS as usize],
}

impl<'b> Core<'b> {
    pub(crate) fn new(capacity: usize, geometry: FlashGeometry, scratch: &'b mut [u8]) -> Self {
        let half = length(capacity) / 2;
        Self {
            scratch,
            operation: Operation::NONE,
            geometry,
            bank_size: half.saturating_sub(half.checked_rem(geometry.erase_size).unwrap_or(half)),
            kind: 0,
            is_put: false,
            state: State::Start,
            at: 0,
            copied: 0,
            checksum: 0,
            is_retry: false,
            is_indexed: false,
            exists: false,
            bank: 0,
            sequence: 0,
            end: 0,
            index: [NOWHERE; KINDS as usize],
        }
    }

    /// Returns the payload that was read; `None` when there is no record of that kind, or an empty one.
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        let length = self.index.get(usize::from(self.kind).wrapping_sub(1))?.length;
        self.scratch.get(size(FRONT)..unchecked(length)).filter(|payload| !payload.is_empty())
    }

    /// Returns how full the journal is, after any record was read.
    pub(crate) fn stats(&self, read: Result<(), Error>) -> Result<Option<JournalStats>, Error> {
        // A record that can't be read is no obstacle.
        if !self.is_indexed {
            read?;
        }
        let used = (self.end != FULL).then_some(self.end);
        let stats = JournalStats { bank: self.bank, sequence: self.sequence, used, size: self.bank_size };
        Ok(self.exists.then_some(stats))
    }

    /// Returns how many records with payloads of this length a bank holds.
    pub(crate) fn records_in_bank(&self, payload: u16) -> u32 {
        self.bank_size.checked_div(self.record_size(payload)).unwrap_or(0)
    }

    /// Begins a request: to read the last record of a kind, or to write one.
    pub(crate) fn request(&mut self, kind: u8, is_put: bool) {
        self.kind = kind;
        self.is_put = is_put;
        self.state = if self.is_indexed { State::Indexed } else { State::Start };
        self.is_retry = false;
    }

    /// Sets `operation` to the next one, given the outcome of the one before. Returns false when the request is done.
    ///
    /// `payload` is what to write, the same in each call.
    #[inline(never)]
    pub(crate) fn step(&mut self, payload: &[u8], outcome: Outcome) -> Result<bool, Error> {
        // On parts with ECC, a unit that a cut has torn may fail to be read, and may read as erased and yet refuse to be
        // programmed.
        let failed = outcome.is_err();
        if let Err(kind) = outcome
            && !match self.state {
                State::Append => true,
                State::Read | State::Compare | State::Copy => false,
                _ => self.operation.action == Action::Read && kind == NorFlashErrorKind::Other,
            }
        {
            return Err(Error::Journal(kind));
        }
        loop {
            match self.state {
                State::Start => {
                    if !self.geometry.is_valid() {
                        return Err(Error::Geometry);
                    }
                    if self.bank_size == 0 {
                        return Err(Error::JournalTooSmall { needed: self.geometry.erase_size.saturating_mul(2) });
                    }
                    self.exists = false;
                    self.bank = 1;
                    self.sequence = 0;
                    self.end = FULL;
                    self.index = [NOWHERE; KINDS as usize];
                    return self.read(State::Header, 0, 0, HEADER);
                }
                State::Header => {
                    let is_first = self.operation.at == 0;
                    if !failed
                        && let Some(sequence) = sequence_of(self.scratch)
                        // Serial number arithmetic, so that the order survives the wrap.
                        && (!self.exists || sequence.wrapping_sub(self.sequence) < u32::MAX / 2)
                    {
                        self.exists = true;
                        self.bank = u32::from(!is_first);
                        self.sequence = sequence;
                    }
                    if is_first {
                        return self.read(State::Header, 1, 0, HEADER);
                    }
                    if self.exists {
                        self.at = self.padded(HEADER);
                        return self.read_front();
                    }
                    self.set_indexed();
                }
                State::Front | State::Body | State::Blank if failed => self.set_indexed(),
                State::Front => {
                    let Some(&[kind, version, low, high]) = self.scratch.first_chunk() else { return Ok(false) };
                    if [kind, version, low, high] == [self.geometry.erased; 4] {
                        self.end = self.at;
                        return self.read_blank();
                    }
                    let length = u16::from_le_bytes([low, high]);
                    if version == VERSION
                        && self.place(kind).is_some()
                        && self.fits(length)
                        && self.record_size(length) <= self.scratch_size()
                    {
                        return self.read(State::Body, self.bank, self.at, framed(length));
                    }
                    self.set_indexed();
                }
                State::Body => {
                    if !self.is_intact() {
                        self.set_indexed();
                        continue;
                    }
                    self.add_to_index();
                    if self.fits(0) {
                        return self.read_front();
                    }
                    self.end = self.at;
                    self.set_indexed();
                }
                State::Blank => {
                    let erased = self.geometry.erased;
                    if run_of(self.scratch, erased) < size(self.operation.length) {
                        // The end of a bank that can't be written to any more.
                        self.end = FULL;
                    } else {
                        self.at = self.at.wrapping_add(self.operation.length);
                        if self.at < self.bank_size {
                            return self.read_blank();
                        }
                    }
                    self.set_indexed();
                }
                State::Indexed => {
                    let Place { at, length } = *self.place(self.kind).ok_or(Error::Record)?;
                    if at > 0 {
                        let state = if self.is_put { State::Compare } else { State::Read };
                        return self.read(state, self.bank, at, framed(length));
                    }
                    if !self.is_put || payload.is_empty() {
                        return Ok(false);
                    }
                    return self.append(payload);
                }
                State::Read | State::Compare | State::Copy if !self.is_intact() => {
                    return Err(Error::Journal(NorFlashErrorKind::Other));
                }
                State::Read => return Ok(false),
                State::Compare if self.payload().unwrap_or_default() == payload => return Ok(false),
                State::Compare => return self.append(payload),
                State::Append if failed => return self.swap_banks(),
                State::Append => return self.read_back(State::AppendCheck),
                State::AppendCheck => {
                    if failed || !self.reads_back() {
                        return self.swap_banks();
                    }
                    self.add_to_index();
                    self.end = self.at;
                    self.is_indexed = true;
                    return Ok(false);
                }
                State::Erase => {
                    self.at = self.padded(HEADER);
                    self.copied = 0;
                    self.state = State::NextCopy;
                }
                State::NextCopy => {
                    self.copied = self.copied.wrapping_add(1);
                    let Some(place) = self.place(self.copied) else {
                        copy(self.scratch, &bank_header(self.sequence.wrapping_add(1)));
                        return self.program(State::HeaderWrite, self.other_bank(), 0, HEADER);
                    };
                    let old = core::mem::replace(place, NOWHERE);
                    let is_new = self.copied == self.kind;
                    let length = if is_new { self.stage(payload)? } else { old.length };
                    if length == 0 {
                        continue;
                    }
                    if !self.fits(length) {
                        let needed = self.at.saturating_add(self.record_size(length));
                        let bank = needed.checked_next_multiple_of(self.geometry.erase_size).unwrap_or(u32::MAX);
                        return Err(Error::JournalTooSmall { needed: bank.saturating_mul(2) });
                    }
                    if !is_new {
                        return self.read(State::Copy, self.bank, old.at, framed(length));
                    }
                    self.state = State::Copy;
                }
                State::Copy => {
                    let (_, length) = self.staged();
                    return self.program(State::CopyWrite, self.other_bank(), self.at, framed(length));
                }
                State::CopyWrite => return self.read_back(State::CopyCheck),
                State::HeaderWrite => return self.read_back(State::HeaderCheck),
                State::CopyCheck | State::HeaderCheck if failed || !self.reads_back() => {
                    if self.is_retry {
                        return Err(Error::JournalWornOut);
                    }
                    // Once more: the next erase may do better.
                    self.is_retry = true;
                    self.state = State::Start;
                }
                State::CopyCheck => {
                    self.add_to_index();
                    self.state = State::NextCopy;
                }
                State::HeaderCheck => {
                    self.bank = self.other_bank();
                    self.sequence = self.sequence.wrapping_add(1);
                    self.end = self.at;
                    self.exists = true;
                    self.is_indexed = true;
                    return Ok(false);
                }
            }
        }
    }

    fn set_indexed(&mut self) {
        self.is_indexed = true;
        self.state = State::Indexed;
    }

    fn other_bank(&self) -> u32 {
        self.bank ^ 1
    }

    fn read_front(&mut self) -> Result<bool, Error> {
        self.read(State::Front, self.bank, self.at, FRONT)
    }

    /// Reads as much of the rest of the bank as the scratch buffer takes.
    fn read_blank(&mut self) -> Result<bool, Error> {
        let piece = length(self.geometry.whole_units(self.scratch.len()));
        self.read(State::Blank, self.bank, self.at, self.bank_size.saturating_sub(self.at).min(piece))
    }

    /// Reads `length` bytes, in whole units, to the front of the scratch buffer.
    fn read(&mut self, state: State, bank: u32, at: u32, length: u32) -> Result<bool, Error> {
        let length = self.padded(length);
        if length > self.scratch_size() {
            return Err(Error::Buffer { needed: size(length) });
        }
        self.state = state;
        self.operation =
            Operation { action: Action::Read, at: bank.wrapping_mul(self.bank_size).wrapping_add(at), length };
        Ok(true)
    }

    /// Programs the front of the scratch buffer: `length` bytes, and padding up to whole units.
    fn program(&mut self, state: State, bank: u32, at: u32, length: u32) -> Result<bool, Error> {
        let erased = self.geometry.erased;
        self.read(state, bank, at, length)?;
        if let Some(padding) = self.scratch.get_mut(size(length)..size(self.operation.length)) {
            padding.fill(erased);
        }
        self.is_indexed = false;
        self.operation.action = Action::Program;
        self.checksum = self.checksum_of_scratch();
        Ok(true)
    }

    /// Reads what was programmed last.
    fn read_back(&mut self, state: State) -> Result<bool, Error> {
        self.state = state;
        self.operation.action = Action::Read;
        Ok(true)
    }

    fn reads_back(&self) -> bool {
        self.checksum_of_scratch() == self.checksum
    }

    fn checksum_of_scratch(&self) -> u32 {
        CRC_32.checksum(self.scratch.get(..size(self.operation.length)).unwrap_or_default())
    }

    /// Writes a record behind the last one, or to the other bank where this one has no place for it.
    fn append(&mut self, payload: &[u8]) -> Result<bool, Error> {
        let length = self.stage(payload)?;
        self.at = self.end;
        if !self.fits(length) {
            return self.swap_banks();
        }
        self.program(State::Append, self.bank, self.at, framed(length))
    }

    /// Erases the other bank. What counts, and the new record, is copied there; then that bank counts.
    fn swap_banks(&mut self) -> Result<bool, Error> {
        self.is_indexed = false;
        self.state = State::Erase;
        let at = self.other_bank().wrapping_mul(self.bank_size);
        self.operation = Operation { action: Action::Erase, at, length: self.bank_size };
        Ok(true)
    }

    /// Puts a record to the front of the scratch buffer.
    fn stage(&mut self, payload: &[u8]) -> Result<u16, Error> {
        let length = u16::try_from(payload.len()).map_err(|_| Error::Record)?;
        let needed = size(self.record_size(length));
        let [low, high] = length.to_le_bytes();
        let record = self.scratch.get_mut(..needed).and_then(|record| record.split_at_mut_checked(unchecked(length)));
        let Some((front, check)) = record else { return Err(Error::Buffer { needed }) };
        copy(front, &[self.kind, VERSION, low, high]);
        copy(front.get_mut(size(FRONT)..).unwrap_or_default(), payload);
        copy(check, &CRC_32.checksum(front).to_le_bytes());
        Ok(length)
    }

    /// Returns kind and payload length of the record at the front of the scratch buffer.
    fn staged(&self) -> (u8, u16) {
        match self.scratch.first_chunk() {
            Some(&[kind, _, low, high]) => (kind, u16::from_le_bytes([low, high])),
            None => (0, 0),
        }
    }

    /// Returns whether the record at the front of the scratch buffer is as it was written.
    fn is_intact(&self) -> bool {
        let (_, length) = self.staged();
        self.scratch.split_at_checked(unchecked(length)).is_some_and(|(front, check)| {
            check.first_chunk().is_some_and(|check| CRC_32.checksum(front) == u32::from_le_bytes(*check))
        })
    }

    /// Takes note of the record at the front of the scratch buffer, and moves behind it.
    fn add_to_index(&mut self) {
        let (kind, length) = self.staged();
        let at = self.at;
        if let Some(place) = self.place(kind) {
            *place = Place { at, length };
        }
        self.at = at.wrapping_add(self.record_size(length));
    }

    fn place(&mut self, kind: u8) -> Option<&mut Place> {
        self.index.get_mut(usize::from(kind).wrapping_sub(1))
    }

    /// Returns whether the rest of the bank takes a record.
    fn fits(&self, payload: u16) -> bool {
        self.at.saturating_add(self.record_size(payload)) <= self.bank_size
    }

    fn record_size(&self, payload: u16) -> u32 {
        self.padded(framed(payload))
    }

    fn padded(&self, bytes: u32) -> u32 {
        length(self.geometry.padded(size(bytes)))
    }

    fn scratch_size(&self) -> u32 {
        length(self.scratch.len())
    }
}

/// Returns the size of a record in bytes, before padding.
fn framed(payload: u16) -> u32 {
    u32::from(payload).wrapping_add(FRONT).wrapping_add(CHECK)
}

/// Returns how many bytes of a record its checksum is of.
fn unchecked(payload: u16) -> usize {
    usize::from(payload).wrapping_add(size(FRONT))
}

fn bank_header(sequence: u32) -> [u8; HEADER as usize] {
    let [a, b, c] = MAGIC;
    let [s0, s1, s2, s3] = sequence.to_le_bytes();
    let front = [a, b, c, VERSION, s0, s1, s2, s3];
    let [c0, c1, c2, c3] = CRC_32.checksum(&front).to_le_bytes();
    [a, b, c, VERSION, s0, s1, s2, s3, c0, c1, c2, c3]
}

fn sequence_of(bank: &[u8]) -> Option<u32> {
    let header = bank.first_chunk::<{ HEADER as usize }>()?;
    let &[_, _, _, _, s0, s1, s2, s3, _, _, _, _] = header;
    let sequence = u32::from_le_bytes([s0, s1, s2, s3]);
    (*header == bank_header(sequence)).then_some(sequence)
}
