//! NOR flash on the host, in memory or in a raw file, with NOR's rules enforced and the power cut where asked.

mod error;
mod region;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use error::FlashError;
pub use region::Region;

/// What a flash part looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Size in bytes.
    pub capacity: u32,
    /// The unit of programming in bytes, which is also its alignment.
    pub write_size: u32,
    /// The size of a sector, the unit of erasing, in bytes.
    pub erase_size: u32,
    /// What an erased byte reads as: 0xFF, or 0x00 on some parts (PSoC 6 internal flash, STM32 L0 and L1).
    pub erased: u8,
}

/// What the operation that the power fails in leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    /// Nothing of it: the power failed just before.
    Nothing,
    /// Its first half, in bytes.
    Half,
    /// Each of its bits or not, as drawn from the seed.
    Bits(u64),
}

/// What was done to a flash since it was made or [`SimFlash::reset_stats`] was called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Units programmed.
    pub programs: u64,
    /// Sectors erased.
    pub erases: u64,
    /// Erases of each sector, in the order of their addresses.
    pub erases_per_sector: Vec<u32>,
}

/// A flash part. Clones are handles to the same part.
#[derive(Debug, Clone)]
pub struct SimFlash {
    geometry: Geometry,
    part: Arc<Mutex<Part>>,
}

#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    file: Option<(PathBuf, File)>,
    /// Set while a change is to reach the file as a whole or not at all.
    atomic: bool,
    stats: Stats,
    /// Operations until the power fails, and how the one it fails in ends.
    power: Option<(u64, Torn)>,
    /// Whether the async operations are pending once first.
    yielding: bool,
    /// The units programmed since their last erase, where none may be programmed twice.
    programmed: Option<BTreeSet<usize>>,
}

impl SimFlash {
    /// An erased part in memory.
    ///
    /// # Panics
    /// When the geometry makes no sense: sizes of zero, or a capacity that is no multiple of the sector.
    pub fn in_memory(geometry: Geometry) -> Self {
        let size = geometry.capacity as usize;
        Self::with(geometry, vec![geometry.erased; size], None)
    }

    /// A new erased part in a raw file, which must not exist yet.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(path: &Path, geometry: Geometry) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let bytes = vec![geometry.erased; geometry.capacity as usize];
        file.write_all(&bytes)?;
        lock(&file)?;
        Ok(Self::with(geometry, bytes, Some((path.to_owned(), file))))
    }

    /// The part that a raw file holds. Every change is in the file before the operation returns, so that the process may
    /// be killed at any time. The file stays locked: two devices can't share a flash.
    ///
    /// # Errors
    /// The file system's; `InvalidData` when the file's size is not the geometry's capacity; `ResourceBusy` when another
    /// process has it.
    pub fn open(path: &Path, geometry: Geometry) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        lock(&file)?;
        #[cfg(unix)]
        {
            // A device that was just swapped has another file under this name by now.
            use std::os::unix::fs::MetadataExt;
            if file.metadata()?.ino() != fs::metadata(path)?.ino() {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "in use by another process"));
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() != geometry.capacity as usize {
            let message = format!("{} bytes long, but the flash has {}", bytes.len(), geometry.capacity);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self::with(geometry, bytes, Some((path.to_owned(), file))))
    }

    fn with(geometry: Geometry, bytes: Vec<u8>, file: Option<(PathBuf, File)>) -> Self {
        let Geometry { capacity, write_size, erase_size, .. } = geometry;
        assert!(write_size > 0 && erase_size > 0 && capacity > 0, "no size may be zero: {geometry:?}");
        assert!(erase_size % write_size == 0, "a sector must be whole units: {geometry:?}");
        assert!(capacity % erase_size == 0, "the capacity must be whole sectors: {geometry:?}");
        let sectors = (capacity / erase_size) as usize;
        let stats = Stats { erases_per_sector: vec![0; sectors], ..Stats::default() };
        Self {
            geometry,
            part: Arc::new(Mutex::new(Part {
                bytes,
                file,
                atomic: false,
                stats,
                power: None,
                yielding: false,
                programmed: None,
            })),
        }
    }

    /// The geometry it was made with.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// A handle to a part of the flash, addressed from 0: what is handed to the crates as a slot or a journal.
    ///
    /// # Panics
    /// When the range leaves the flash.
    pub fn region(&self, range: Range<u32>) -> Region {
        assert!(range.start <= range.end && range.end <= self.geometry.capacity, "{range:?} leaves the flash");
        Region { flash: self.clone(), range }
    }

    /// Everything that lies in the flash.
    pub fn contents(&self) -> Vec<u8> {
        self.part().bytes.clone()
    }

    /// Puts bytes there as a programmer on the bench would, past all rules.
    ///
    /// # Errors
    /// The file system's.
    ///
    /// # Panics
    /// When the bytes leave the flash.
    pub fn load(&self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut part = self.part();
        let start = offset as usize;
        part.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        if let Some(programmed) = &mut part.programmed {
            programmed.retain(|unit| !(start..start + bytes.len()).contains(unit));
        }
        part.persist(start..start + bytes.len())
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.part().stats.clone()
    }

    /// Counts from zero again.
    pub fn reset_stats(&self) {
        let mut part = self.part();
        let sectors = part.stats.erases_per_sector.len();
        part.stats = Stats { erases_per_sector: vec![0; sectors], ..Stats::default() };
    }

    /// Lets `operations` more programs (of one unit each) and erases (of one sector each) happen; the one after them is
    /// torn, and everything fails from then on until [`power_on`](Self::power_on).
    pub fn cut_power_after(&self, operations: u64, torn: Torn) {
        self.part().power = Some((operations, torn));
    }

    /// Brings the power back, and takes back a cut that was not reached.
    pub fn power_on(&self) {
        self.part().power = None;
    }

    /// Whether the cut has happened.
    pub fn is_dead(&self) -> bool {
        self.part().is_dead()
    }

    /// Forbids to program a unit twice without an erase in between, as parts with ECC do (STM32 L4, G0, H5, H7, U5).
    pub fn program_once(&self) {
        self.part().programmed = Some(BTreeSet::new());
    }

    /// Makes every async operation pending once before it is done, so that a future can be dropped there.
    pub fn yield_before_operations(&self) {
        self.part().yielding = true;
    }

    /// Runs `life` without the power cut that is waiting, which goes on waiting: for models of code whose own power
    /// safety is not what is being looked at, like a bootloader's swap.
    pub fn spared<T>(&self, life: impl FnOnce() -> T) -> T {
        let power = self.part().power.take();
        let result = life();
        self.part().power = power;
        result
    }

    /// Runs `change` so that a kill of the process leaves either all of it in the file or nothing.
    ///
    /// # Errors
    /// What `change` returns, or [`FlashError::File`].
    pub fn atomically<T, E: From<FlashError>>(&self, change: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.part().atomic = true;
        let result = change();
        let mut part = self.part();
        part.atomic = false;
        part.replace_file()?;
        result
    }

    fn part(&self) -> MutexGuard<'_, Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "in use by another process"),
        TryLockError::Error(error) => error,
    })
}

impl Part {
    fn is_dead(&self) -> bool {
        matches!(self.power, Some((u64::MAX, _)))
    }

    /// Counts one operation; `Some` when it is the one that the power fails in.
    fn operation(&mut self) -> Result<Option<Torn>, FlashError> {
        match &mut self.power {
            None => Ok(None),
            Some((u64::MAX, _)) => Err(FlashError::PowerLost),
            Some((left @ 0, torn)) => {
                *left = u64::MAX;
                Ok(Some(*torn))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(None)
            }
        }
    }

    /// Brings `range` to `target`, or partly there.
    fn change(&mut self, range: Range<usize>, target: &[u8], torn: Option<Torn>) {
        let current = &mut self.bytes[range];
        match torn {
            None => current.copy_from_slice(target),
            Some(Torn::Nothing) => {}
            Some(Torn::Half) => {
                let half = target.len() / 2;
                current[..half].copy_from_slice(&target[..half]);
            }
            Some(Torn::Bits(seed)) => {
                let mut random = seed;
                for (byte, target) in current.iter_mut().zip(target) {
                    let mask = splitmix(&mut random) as u8;
                    *byte = (*byte & !mask) | (target & mask);
                }
            }
        }
    }

    /// Programs unit by unit, up to the one that the power fails in.
    fn program(&mut self, range: Range<usize>, bytes: &[u8], unit: usize, erased: u8) -> Result<(), FlashError> {
        for (at, data) in range.step_by(unit).zip(bytes.chunks(unit)) {
            let there = at..at + data.len();
            // What programming can't do is bring a bit back to its erased state.
            let kept = |(old, new): (&u8, &u8)| (old ^ erased) & !(new ^ erased) != 0;
            if let Some(byte) = self.bytes[there.clone()].iter().zip(data).position(kept) {
                return Err(FlashError::NotErased { offset: (at + byte) as u32 });
            }
            if self.programmed.as_ref().is_some_and(|programmed| programmed.contains(&at)) {
                return Err(FlashError::ProgrammedTwice { offset: at as u32 });
            }
            let torn = self.operation()?;
            self.change(there, data, torn);
            // A unit whose program never began can be programmed still; one that was torn can't.
            if let Some(programmed) = self.programmed.as_mut().filter(|_| torn != Some(Torn::Nothing)) {
                programmed.insert(at);
            }
            if torn.is_some() {
                return Err(FlashError::PowerLost);
            }
            self.stats.programs += 1;
        }
        Ok(())
    }

    fn persist(&mut self, range: Range<usize>) -> Result<(), FlashError> {
        let Some((_, file)) = self.file.as_mut().filter(|_| !self.atomic) else { return Ok(()) };
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(range.start as u64))?;
            file.write_all(&self.bytes[range])
        };
        write(file).map_err(|e| FlashError::File(e.to_string()))
    }

    fn replace_file(&mut self) -> Result<(), FlashError> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = path.with_file_name(name);
        let mut replace = || {
            let mut new = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&fresh)?;
            new.write_all(&self.bytes)?;
            lock(&new)?;
            fs::rename(&fresh, &*path)?;
            *file = new;
            Ok(())
        };
        replace().map_err(|e: io::Error| FlashError::File(e.to_string()))
    }
}

/// splitmix64 (Steele, Lea and Flood, 2014): a step of a random sequence.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { capacity: 1024, write_size: 4, erase_size: 256, erased: 0xFF };

    #[test]
    fn nor_rules_for_both_erased_values() {
        for erased in [0xFF, 0x00] {
            let region = SimFlash::in_memory(Geometry { erased, ..GEOMETRY }).region(256..768);
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
            let region = SimFlash::in_memory(GEOMETRY).region(0..1024);
            region.flash().cut_power_after(1, torn);
            assert_eq!(region.write_now(0, &[0; 12]), Err(FlashError::PowerLost));
            assert_eq!(region.read_now(0, &mut [0]), Err(FlashError::PowerLost));
            region.flash().power_on();
            assert_eq!(region.contents()[..4], [0; 4], "the one before was whole");
            assert_eq!(region.contents()[4..8], expected);
            assert_eq!(region.contents()[8..12], [0xFF; 4], "the one after never began");
        }
        let region = SimFlash::in_memory(GEOMETRY).region(0..1024);
        region.flash().cut_power_after(0, Torn::Bits(7));
        region.write_now(0, &[0; 4]).unwrap_err();
        let torn = u32::from_le_bytes(region.contents()[..4].try_into().unwrap());
        assert!(torn != 0 && torn != u32::MAX, "some bits, not all: {torn:#x}");
    }

    #[test]
    fn a_file_keeps_what_was_done_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flash.bin");
        let flash = SimFlash::create(&path, GEOMETRY).unwrap();
        flash.region(0..1024).write_now(8, b"abcd").unwrap();
        assert_eq!(SimFlash::open(&path, GEOMETRY).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        flash
            .atomically(|| {
                flash.region(0..1024).write_now(16, b"efgh")?;
                assert_eq!(fs::read(&path).unwrap()[16..20], [0xFF; 4], "not before all of it is done");
                Ok::<(), FlashError>(())
            })
            .unwrap();
        assert_eq!(SimFlash::open(&path, GEOMETRY).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(flash);
        let again = SimFlash::open(&path, GEOMETRY).unwrap().contents();
        assert_eq!((&again[8..12], &again[16..20]), (&b"abcd"[..], &b"efgh"[..]));
        let larger = Geometry { capacity: 2048, ..GEOMETRY };
        assert_eq!(SimFlash::open(&path, larger).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
