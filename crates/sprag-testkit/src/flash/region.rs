//! The part of a flash that is handed to the crates as a slot or a journal.

use std::ops::Range;

use embedded_storage::nor_flash as blocking;
use embedded_storage_async::nor_flash::{self, ErrorType};

use super::{FlashError, SimFlash};

/// A region of a [`SimFlash`], addressed from 0.
///
/// As a `NorFlash` its associated sizes are all 1, because a geometry that is read from a file can't be known when the
/// type is made. The real sizes are enforced all the same: pass [`SimFlash::geometry`] on.
#[derive(Debug, Clone)]
pub struct Region {
    pub(super) flash: SimFlash,
    pub(super) range: Range<u32>,
}

impl Region {
    /// The flash that it lies in.
    pub fn flash(&self) -> &SimFlash {
        &self.flash
    }

    /// Where it lies in the flash.
    pub fn range(&self) -> Range<u32> {
        self.range.clone()
    }

    /// Returns the sectors that the region consists of, addressed from its beginning.
    ///
    /// # Panics
    /// The region does not begin and end with a sector.
    pub fn sectors(&self) -> Vec<Range<u32>> {
        let state = self.flash.state();
        let ends = [self.range.start, self.range.end].map(|at| state.array.sector_at(at as usize));
        let [Some(first), Some(end)] = ends else {
            panic!("{:?} does not consist of whole sectors", self.range);
        };
        let starts = &state.array.starts[first..=end];
        let relative = |at: usize| at as u32 - self.range.start;
        starts.windows(2).map(|pair| relative(pair[0])..relative(pair[1])).collect()
    }

    /// Everything that lies in the region, past all ECC.
    pub fn contents(&self) -> Vec<u8> {
        self.flash.state().array.bytes[self.range.start as usize..self.range.end as usize].to_vec()
    }

    /// The same region as a driver that knows its sizes when it is compiled.
    pub fn sized<const WRITE: usize, const ERASE: usize>(self) -> SizedRegion<WRITE, ERASE> {
        SizedRegion { region: self }
    }

    /// Reads without `await`, and past all ECC: as a debugger does, or a bootloader with a fault handler.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn read_now(&self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.read_bytes(offset, bytes, false)
    }

    /// Reads without `await`, and fails where a unit's ECC does: as a bootloader without a fault handler does.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn read_checked_now(&self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.read_bytes(offset, bytes, true)
    }

    fn read_bytes(&self, offset: u32, bytes: &mut [u8], ecc: bool) -> Result<(), FlashError> {
        let mut state = self.flash.state();
        let range = self.resolve(offset, bytes.len(), 1).or_else(|error| state.refuse(error, true))?;
        state.check_power()?;
        if ecc {
            state.array.check_readable(&range)?;
        }
        bytes.copy_from_slice(&state.array.bytes[range]);
        state.stats.reads += 1;
        state.stats.bytes_read += bytes.len() as u64;
        Ok(())
    }

    /// Erases without `await`, sector by sector.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn erase_now(&self, from: u32, to: u32) -> Result<(), FlashError> {
        let mut state = self.flash.state();
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds { offset: from, length: 0 });
        let range = length.and_then(|length| self.resolve(from, length as usize, 1));
        let range = range.or_else(|error| state.refuse(error, true))?;
        let ends = [range.start, range.end].map(|at| state.array.sector_at(at));
        let [Some(first), Some(end)] = ends else {
            let unit = state.array.part.geometry().erase_size;
            let error = FlashError::NotAligned { offset: range.start as u32, length: range.len() as u32, unit };
            return state.refuse(error, true);
        };
        (first..end).try_for_each(|sector| state.erase_sector(sector))
    }

    /// Programs without `await`, unit by unit.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn write_now(&self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut state = self.flash.state();
        let unit = state.array.part.write_size;
        let range = self.resolve(offset, bytes.len(), unit).or_else(|error| state.refuse(error, true))?;
        let result = state.program(range.clone(), bytes);
        // One write to the file for all units: a killed process leaves those that were programmed, or none.
        state.persist(range)?;
        result
    }

    fn resolve(&self, offset: u32, length: usize, unit: u32) -> Result<Range<usize>, FlashError> {
        let start = u64::from(self.range.start) + u64::from(offset);
        let end = start + length as u64;
        let (offset, length) = (start as u32, length as u32);
        if end > u64::from(self.range.end) {
            return Err(FlashError::OutOfBounds { offset, length });
        }
        if !start.is_multiple_of(u64::from(unit)) || !length.is_multiple_of(unit) {
            return Err(FlashError::NotAligned { offset, length, unit });
        }
        Ok(start as usize..end as usize)
    }
}

impl Region {
    async fn turn(&self) {
        let yielding = self.flash.state().yielding;
        if yielding {
            crate::yield_once().await;
        }
    }

    fn size(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }
}

/// A [`Region`] whose sizes are known when it is compiled, for crates that take them from the driver's type.
///
/// The sizes should be the part's own: operations are checked against the part.
#[derive(Debug, Clone)]
pub struct SizedRegion<const WRITE: usize, const ERASE: usize> {
    region: Region,
}

impl ErrorType for Region {
    type Error = FlashError;
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for SizedRegion<WRITE, ERASE> {
    type Error = FlashError;
}

/// The same for both: the async traits and the blocking ones, over the calls of the region.
macro_rules! drivers {
    ([$($generics:tt)*] $driver:ty, $write:expr, $erase:expr, |$this:ident| $region:expr) => {
        impl<$($generics)*> nor_flash::ReadNorFlash for $driver {
            const READ_SIZE: usize = 1;

            async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
                let $this = self;
                $region.turn().await;
                $region.read_bytes(offset, bytes, true)
            }

            fn capacity(&self) -> usize {
                let $this = self;
                $region.size()
            }
        }

        impl<$($generics)*> nor_flash::NorFlash for $driver {
            const WRITE_SIZE: usize = $write;
            const ERASE_SIZE: usize = $erase;

            async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
                let $this = self;
                $region.turn().await;
                $region.erase_now(from, to)
            }

            async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
                let $this = self;
                $region.turn().await;
                $region.write_now(offset, bytes)
            }
        }

        impl<$($generics)*> blocking::ReadNorFlash for $driver {
            const READ_SIZE: usize = 1;

            fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
                let $this = self;
                $region.read_bytes(offset, bytes, true)
            }

            fn capacity(&self) -> usize {
                let $this = self;
                $region.size()
            }
        }

        impl<$($generics)*> blocking::NorFlash for $driver {
            const WRITE_SIZE: usize = $write;
            const ERASE_SIZE: usize = $erase;

            fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
                let $this = self;
                $region.erase_now(from, to)
            }

            fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
                let $this = self;
                $region.write_now(offset, bytes)
            }
        }
    };
}

drivers!([] Region, 1, 1, |this| this);
drivers!([const WRITE: usize, const ERASE: usize] SizedRegion<WRITE, ERASE>, WRITE, ERASE, |this| this.region);
