//! The part of a flash that is handed to the crates as a slot or a journal.

use std::ops::Range;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use super::{FlashError, Geometry, SimFlash};

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

    /// Everything that lies in the region.
    pub fn contents(&self) -> Vec<u8> {
        self.flash.part().bytes[self.range.start as usize..self.range.end as usize].to_vec()
    }

    /// Reads without `await`.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn read_now(&self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let range = self.resolve(offset, bytes.len(), 1)?;
        let part = self.flash.part();
        if part.is_dead() {
            return Err(FlashError::PowerLost);
        }
        bytes.copy_from_slice(&part.bytes[range]);
        Ok(())
    }

    /// Erases without `await`, sector by sector.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn erase_now(&self, from: u32, to: u32) -> Result<(), FlashError> {
        let Geometry { erase_size, erased, .. } = self.flash.geometry;
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds { offset: from, length: 0 })?;
        let range = self.resolve(from, length as usize, erase_size)?;
        let mut part = self.flash.part();
        let blank = vec![erased; erase_size as usize];
        for sector in range.step_by(blank.len()) {
            let torn = part.operation()?;
            part.change(sector..sector + blank.len(), &blank, torn);
            if let Some(programmed) = part.programmed.as_mut().filter(|_| torn.is_none()) {
                programmed.retain(|unit| !(sector..sector + blank.len()).contains(unit));
            }
            part.persist(sector..sector + blank.len())?;
            if torn.is_some() {
                return Err(FlashError::PowerLost);
            }
            part.stats.erases += 1;
            part.stats.erases_per_sector[sector / blank.len()] += 1;
        }
        Ok(())
    }

    /// Programs without `await`, unit by unit.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn write_now(&self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let Geometry { write_size, erased, .. } = self.flash.geometry;
        let range = self.resolve(offset, bytes.len(), write_size)?;
        let mut part = self.flash.part();
        let result = part.program(range.clone(), bytes, write_size as usize, erased);
        // One write to the file for all units: a killed process leaves those that were programmed, or none.
        part.persist(range)?;
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
        if self.flash.part().yielding {
            crate::yield_once().await;
        }
    }
}

impl ErrorType for Region {
    type Error = FlashError;
}

impl ReadNorFlash for Region {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.turn().await;
        self.read_now(offset, bytes)
    }

    fn capacity(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }
}

impl NorFlash for Region {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.turn().await;
        self.erase_now(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.turn().await;
        self.write_now(offset, bytes)
    }
}
