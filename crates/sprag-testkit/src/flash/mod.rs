//! NOR flash on the host, in memory or in a raw file, with the part's rules enforced and the power cut where asked.

mod array;
mod cut;
mod error;
mod file;
mod part;
mod region;
mod torn;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use array::Array;
pub use cut::{Cut, Operation, Snapshot};
pub use error::FlashError;
use file::Backing;
pub use part::{Part, ProgramRule, Timing};
pub use region::{Region, SizedRegion};
pub use sprag_core::{FlashGeometry, Sectors};
pub use torn::{Torn, UnknownWay};

/// What was done to a flash since it was made or [`SimFlash::reset_stats`] was called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Units programmed.
    pub programs: u64,
    /// Sectors erased.
    pub erases: u64,
    /// Erases of each sector, in the order of their addresses.
    pub erases_per_sector: Vec<u32>,
    /// Calls that read.
    pub reads: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// The time that programs and erases take on the part, in nanoseconds, by its [`Timing`].
    pub time_ns: u64,
}

/// What is wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// It fails, and nothing is done.
    Fails,
    /// It is done, and reported as failed.
    FailsDone,
    /// It is reported as done, and was done so far only.
    Lies(Torn),
}

/// A flash part. Clones are handles to the same part.
#[derive(Debug, Clone)]
pub struct SimFlash {
    state: Arc<Mutex<State>>,
}

struct State {
    array: Array,
    file: Option<Backing>,
    stats: Stats,
    /// Operations done and torn since `stats` began.
    operations: u64,
    power: Power,
    disturbances: BTreeMap<u64, Disturbance>,
    violations: Vec<FlashError>,
    observer: Option<Observer>,
    /// Whether the async operations are pending once first.
    yielding: bool,
}

type Observer = Box<dyn FnMut(&Cut<'_>) + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    FailsAfterOperations(u64, Torn),
    FailsAfterBytes(u64),
    Off,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("part", &self.array.part).field("power", &self.power).finish_non_exhaustive()
    }
}

impl SimFlash {
    /// An erased part in memory.
    ///
    /// # Panics
    /// When the part makes no sense: sizes of zero, or a sector that is not whole units.
    pub fn of(part: Part) -> Self {
        let bytes = vec![part.erased; part.capacity() as usize];
        Self::from_array(Array::new(part, bytes), None)
    }

    /// An erased part in memory, of uniform sectors and by NOR's rules.
    ///
    /// # Panics
    /// When the geometry makes no sense: sizes of zero, or a capacity that is no multiple of the sector.
    pub fn in_memory(capacity: u32, geometry: FlashGeometry) -> Self {
        Self::of(uniform(capacity, geometry))
    }

    /// A new erased part in a raw file, which must not exist yet.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(path: &Path, capacity: u32, geometry: FlashGeometry) -> io::Result<Self> {
        let bytes = vec![geometry.erased; capacity as usize];
        let file = Backing::create(path, &bytes)?;
        Ok(Self::from_array(Array::new(uniform(capacity, geometry), bytes), Some(file)))
    }

    /// The part that a raw file holds. Every change is in the file before the operation returns, so that the process may
    /// be killed at any time. The file stays locked: two devices can't share a flash.
    ///
    /// # Errors
    /// The file system's; `InvalidData` when the file's size is not `capacity`; `ResourceBusy` when another
    /// process has it.
    pub fn open(path: &Path, capacity: u32, geometry: FlashGeometry) -> io::Result<Self> {
        let (file, bytes) = Backing::open(path, capacity)?;
        Ok(Self::from_array(Array::new(uniform(capacity, geometry), bytes), Some(file)))
    }

    fn from_array(array: Array, file: Option<Backing>) -> Self {
        let state = State {
            stats: no_stats(&array),
            array,
            file,
            operations: 0,
            power: Power::On,
            disturbances: BTreeMap::new(),
            violations: Vec::new(),
            observer: None,
            yielding: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The part that it is.
    pub fn part(&self) -> Part {
        Part::clone(&self.state().array.part)
    }

    /// Returns the geometry of the part, with the largest sector as the sector.
    pub fn geometry(&self) -> FlashGeometry {
        self.state().array.part.geometry()
    }

    /// Returns the size of the part in bytes.
    pub fn capacity(&self) -> u32 {
        self.state().array.part.capacity()
    }

    /// A handle to a part of the flash, addressed from 0: what is handed to the crates as a slot or a journal.
    ///
    /// # Panics
    /// When the range leaves the flash.
    pub fn region(&self, range: Range<u32>) -> Region {
        let capacity = self.capacity();
        assert!(range.start <= range.end && range.end <= capacity, "{range:?} leaves the flash");
        Region { flash: self.clone(), range }
    }

    /// Everything that lies in the flash, past all ECC.
    pub fn contents(&self) -> Vec<u8> {
        self.state().array.bytes.clone()
    }

    /// Puts bytes there as a programmer on the bench would, past all rules.
    ///
    /// # Errors
    /// The file system's.
    ///
    /// # Panics
    /// When the bytes leave the flash.
    pub fn load(&self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut state = self.state();
        let range = offset as usize..offset as usize + bytes.len();
        state.array.bytes[range.clone()].copy_from_slice(bytes);
        state.array.mark_as_found(range.clone());
        state.persist(range)
    }

    /// Everything that it keeps without power.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { array: self.state().array.clone() }
    }

    /// Puts a snapshot of the same part there, past all rules.
    ///
    /// # Errors
    /// The file system's.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), FlashError> {
        let mut state = self.state();
        state.array = snapshot.array.clone();
        let range = 0..state.array.bytes.len();
        state.persist(range)
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.state().stats.clone()
    }

    /// Counts from zero again.
    pub fn reset_stats(&self) {
        let mut state = self.state();
        state.stats = no_stats(&state.array);
        state.operations = 0;
    }

    /// What was asked of the part that its data sheet forbids, in the order of asking: each was refused, but a driver
    /// that checks less would have let it pass. A unit whose program was torn may be tried again, for nothing tells that.
    pub fn violations(&self) -> Vec<FlashError> {
        self.state().violations.clone()
    }

    /// Lets `operations` more programs (of one unit each) and erases (of one sector each) happen; the one after them is
    /// torn, and everything fails from then on until [`power_on`](Self::power_on).
    pub fn cut_power_after(&self, operations: u64, torn: Torn) {
        self.state().power = Power::FailsAfterOperations(operations, torn);
    }

    /// Lets `bytes` more bytes be programmed and erased; then everything fails until [`power_on`](Self::power_on).
    pub fn cut_power_after_bytes(&self, bytes: u64) {
        self.state().power = Power::FailsAfterBytes(bytes);
    }

    /// Cuts the power in one of the next `operations`, in one of the [ways](Torn::WAYS), both drawn from the seed and given
    /// back.
    pub fn cut_power_at_random(&self, seed: u64, operations: u64) -> (u64, Torn) {
        let mut random = seed;
        let mut draw = |below: u64| torn::splitmix(&mut random) % below.max(1);
        let operation = draw(operations);
        let way = Torn::WAYS[draw(Torn::WAYS.len() as u64) as usize];
        self.cut_power_after(operation, way);
        (operation, way)
    }

    /// Brings the power back, and takes back a cut that was not reached.
    pub fn power_on(&self) {
        self.state().power = Power::On;
    }

    /// Whether the cut has happened.
    pub fn is_dead(&self) -> bool {
        self.state().power == Power::Off
    }

    /// Forbids to program a unit twice without an erase in between, as parts with ECC do (STM32 L4, G0, H5, H7, U5).
    pub fn program_once(&self) {
        self.state().array.program_once();
    }

    /// Makes something go wrong with an operation, by its [number](Operation::number).
    pub fn disturb(&self, operation: u64, disturbance: Disturbance) {
        self.state().disturbances.insert(operation, disturbance);
    }

    /// Flips these bits of the byte at `offset`, as they do at rest over the years. A part with ECC corrects one bit of a
    /// unit, and fails to read the unit with two.
    ///
    /// # Errors
    /// The file system's.
    ///
    /// # Panics
    /// When the offset leaves the flash.
    pub fn rot(&self, offset: u32, bits: u8) -> Result<(), FlashError> {
        let mut state = self.state();
        state.array.rot(offset as usize, bits);
        state.persist(offset as usize..offset as usize + 1)
    }

    /// Calls `observer` before each operation, with what a power cut in it would leave behind. It must not use this flash,
    /// only what it is handed.
    pub fn before_operations(&self, observer: impl FnMut(&Cut<'_>) + Send + 'static) {
        self.state().observer = Some(Box::new(observer));
    }

    /// Takes the observer of [`before_operations`](Self::before_operations) away.
    pub fn unobserved(&self) {
        self.state().observer = None;
    }

    /// Makes every async operation pending once before it is done, so that a future can be dropped there.
    pub fn yield_before_operations(&self) {
        self.state().yielding = true;
    }

    /// Runs `life` without the power cut that is waiting, which goes on waiting, and unobserved: for models of code whose
    /// own power safety is not what is being looked at, like a bootloader's swap.
    pub fn spared<T>(&self, life: impl FnOnce() -> T) -> T {
        let (power, observer) = {
            let mut state = self.state();
            (std::mem::replace(&mut state.power, Power::On), state.observer.take())
        };
        let result = life();
        let mut state = self.state();
        (state.power, state.observer) = (power, observer);
        result
    }

    /// Runs `change` so that a kill of the process leaves either all of it in the file or nothing.
    ///
    /// # Errors
    /// What `change` returns, or [`FlashError::File`].
    pub fn atomically<T, E: From<FlashError>>(&self, change: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.set_atomic(true);
        let result = change();
        self.set_atomic(false);
        let State { file, array, .. } = &mut *self.state();
        if let Some(file) = file {
            file.replace(&array.bytes)?;
        }
        result
    }

    fn set_atomic(&self, atomic: bool) {
        if let Some(file) = &mut self.state().file {
            file.atomic = atomic;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uniform(capacity: u32, geometry: FlashGeometry) -> Part {
    let erase_size = geometry.erase_size;
    assert!(erase_size > 0 && capacity.is_multiple_of(erase_size), "the capacity must be whole sectors: {geometry:?}");
    Part::uniform(capacity, geometry)
}

fn no_stats(array: &Array) -> Stats {
    Stats { erases_per_sector: vec![0; array.starts.len() - 1], ..Stats::default() }
}

/// How an operation goes on.
enum Course {
    /// It is done, or torn and yet reported as done.
    Well(Option<Torn>),
    /// It is done, or not, and reported as failed.
    Badly(Option<Torn>),
    /// The power fails in it.
    Dies(Torn),
}

impl State {
    fn check_power(&self) -> Result<(), FlashError> {
        if self.power == Power::Off { Err(FlashError::PowerLost) } else { Ok(()) }
    }

    fn refuse<T>(&mut self, error: FlashError, violation: bool) -> Result<T, FlashError> {
        if violation {
            self.violations.push(error.clone());
        }
        Err(error)
    }

    /// Counts one operation, tells the observer of it, and decides how it goes.
    fn operation(&mut self, program: bool, range: Range<usize>, data: &[u8]) -> Result<Course, FlashError> {
        self.check_power()?;
        let number = self.operations;
        if let Some(mut observer) = self.observer.take() {
            let touched = range.start as u32..range.end as u32;
            let operation = Operation { number, program, range: touched };
            observer(&Cut { operation, array: &self.array, data });
            self.observer = Some(observer);
        }
        self.operations += 1;
        match &mut self.power {
            Power::FailsAfterOperations(0, torn) => {
                let torn = *torn;
                self.power = Power::Off;
                return Ok(Course::Dies(torn));
            }
            Power::FailsAfterOperations(left, _) => *left -= 1,
            Power::FailsAfterBytes(left) if *left < range.len() as u64 => {
                let torn = if *left == 0 { Torn::Nothing } else { Torn::Bytes(*left as u32) };
                self.power = Power::Off;
                return Ok(Course::Dies(torn));
            }
            Power::FailsAfterBytes(left) => *left -= range.len() as u64,
            Power::On | Power::Off => {}
        }
        Ok(match self.disturbances.remove(&number) {
            None => Course::Well(None),
            Some(Disturbance::Lies(torn)) => Course::Well(Some(torn)),
            Some(Disturbance::FailsDone) => Course::Badly(None),
            Some(Disturbance::Fails) => Course::Badly(Some(Torn::Nothing)),
        })
    }

    /// Programs unit by unit, up to the one that the power fails in.
    fn program(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), FlashError> {
        let unit = self.array.unit();
        for (at, data) in range.step_by(unit).zip(bytes.chunks(unit)) {
            self.check_power()?;
            if let Err((error, violation)) = self.array.check_program(at, data) {
                return self.refuse(error, violation);
            }
            let course = self.operation(true, at..at + unit, data)?;
            self.array.program(at, data, course.torn());
            course.end()?;
            self.stats.programs += 1;
            self.stats.time_ns += self.array.part.timing.program_ns;
        }
        Ok(())
    }

    fn erase_sector(&mut self, sector: usize) -> Result<(), FlashError> {
        let range = self.array.starts[sector]..self.array.starts[sector + 1];
        let course = self.operation(false, range.clone(), &[])?;
        self.array.erase(sector, course.torn());
        self.persist(range.clone())?;
        course.end()?;
        self.stats.erases += 1;
        self.stats.erases_per_sector[sector] += 1;
        self.stats.time_ns += self.array.part.timing.erase_of(range.len());
        Ok(())
    }

    fn persist(&mut self, range: Range<usize>) -> Result<(), FlashError> {
        let Self { file, array, .. } = self;
        file.as_mut().map_or(Ok(()), |file| file.persist(&array.bytes, range))
    }
}

impl Course {
    fn torn(&self) -> Option<Torn> {
        match self {
            Self::Well(torn) | Self::Badly(torn) => *torn,
            Self::Dies(torn) => Some(*torn),
        }
    }

    fn end(self) -> Result<(), FlashError> {
        match self {
            Self::Well(_) => Ok(()),
            Self::Badly(_) => Err(FlashError::Failed),
            Self::Dies(_) => Err(FlashError::PowerLost),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 4, erase_size: 256, erased: 0xFF };

    #[test]
    fn nor_rules_for_both_erased_values() {
        for erased in [0xFF, 0x00] {
            let region = SimFlash::in_memory(1024, FlashGeometry { erased, ..GEOMETRY }).region(256..768);
            region.write_now(0, &[0x55 ^ erased ^ 0xFF; 4]).unwrap();
            assert_eq!(region.write_now(0, &[0x77 ^ erased ^ 0xFF; 4]), Err(FlashError::NotErased { offset: 256 }));
            region.write_now(0, &[0x11 ^ erased ^ 0xFF; 4]).unwrap();
            assert!(matches!(region.write_now(2, &[0; 4]), Err(FlashError::NotAligned { unit: 4, .. })));
            assert!(matches!(region.write_now(0, &[0; 3]), Err(FlashError::NotAligned { unit: 4, .. })));
            assert!(matches!(region.write_now(512, &[0; 4]), Err(FlashError::OutOfBounds { .. })));
            assert!(matches!(region.erase_now(0, 128), Err(FlashError::NotAligned { unit: 256, .. })));
            region.erase_now(0, 512).unwrap();
            assert_eq!(region.contents(), vec![erased; 512]);
            assert_eq!(region.flash().stats().erases_per_sector, [0, 1, 1, 0]);
        }
    }

    #[test]
    fn power_fails_within_the_operation_asked_for() {
        for (torn, expected) in [(Torn::Nothing, [0xFF; 4]), (Torn::Half, [0, 0, 0xFF, 0xFF])] {
            let region = SimFlash::in_memory(1024, GEOMETRY).region(0..1024);
            region.flash().cut_power_after(1, torn);
            assert_eq!(region.write_now(0, &[0; 12]), Err(FlashError::PowerLost));
            assert_eq!(region.read_now(0, &mut [0]), Err(FlashError::PowerLost));
            region.flash().power_on();
            assert_eq!(region.contents()[..4], [0; 4], "the one before was whole");
            assert_eq!(region.contents()[4..8], expected);
            assert_eq!(region.contents()[8..12], [0xFF; 4], "the one after never began");
        }
        let region = SimFlash::in_memory(1024, GEOMETRY).region(0..1024);
        region.flash().cut_power_after(0, Torn::Bits(7));
        region.write_now(0, &[0; 4]).unwrap_err();
        let torn = u32::from_le_bytes(region.contents()[..4].try_into().unwrap());
        assert!(torn != 0 && torn != u32::MAX, "some bits, not all: {torn:#x}");
    }

    #[test]
    fn a_file_keeps_what_was_done_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flash.bin");
        let flash = SimFlash::create(&path, 1024, GEOMETRY).unwrap();
        flash.region(0..1024).write_now(8, b"abcd").unwrap();
        assert_eq!(SimFlash::open(&path, 1024, GEOMETRY).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        flash
            .atomically(|| {
                flash.region(0..1024).write_now(16, b"efgh")?;
                assert_eq!(fs::read(&path).unwrap()[16..20], [0xFF; 4], "not before all of it is done");
                Ok::<(), FlashError>(())
            })
            .unwrap();
        assert_eq!(SimFlash::open(&path, 1024, GEOMETRY).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(flash);
        let again = SimFlash::open(&path, 1024, GEOMETRY).unwrap().contents();
        assert_eq!((&again[8..12], &again[16..20]), (&b"abcd"[..], &b"efgh"[..]));
        assert_eq!(SimFlash::open(&path, 2048, GEOMETRY).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
