//! The status partition of Infineon's MCUboot: a trailer for each slot, kept apart from the slots in records of a row.
//!
//! Layout: Infineon's `swap_status.h`, `swap_status_part.c` and `swap_status_misc.c` (v1.9.x-cypress). A record is
//! `payload | magic u32 | counter u32 | CRC-32C of all before`, little-endian. There are two copies of it; the one whose
//! CRC fits and whose counter is higher counts, and an update goes into the other one.

use embedded_storage_async::nor_flash::NorFlash;
use sprag_core::crc::CRC_32C;

use crate::error::{Area, Error};
use crate::flash;
use crate::mcuboot::trailer::{MAGIC_SIZE, Mark, Trailer};

/// Magic, counter and CRC behind a record's payload.
const BEHIND: usize = 12;
/// `BOOT_SWAP_STATUS_MAGIC`: without it a row is no record.
const RECORD_MAGIC: [u8; 4] = 0xDEAD_BEEFu32.to_le_bytes();
const COPIES: u32 = 2;

/// Where the records of one slot's trailer lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    /// Of the first copy of the record, in bytes from the start of the partition.
    at: u32,
    /// How far its copies are apart, in bytes.
    copy: u32,
    /// The size of a record, in bytes.
    row: usize,
    /// What an erased byte of the partition reads as.
    erased: u8,
}

/// A record's trailer, and whether it belongs to a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) trailer: Trailer,
    /// True when `swap_info` names a swap: it is neither erased nor `BOOT_SWAP_TYPE_NONE`.
    pub(crate) has_swap: bool,
}

impl Record {
    /// Returns whether the bootloader goes on with this swap at the next reset.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.has_swap && self.trailer.magic == Mark::Set && self.trailer.copy_done == Mark::Unset
    }
}

/// Which copy counts, and its counter.
type Newest = Option<(u32, u32)>;

impl Status {
    /// The records of the area that is `index`-th in the partition: primary 0, secondary 1, scratch 2, and so on.
    pub(crate) fn new(index: u32, row: u32, max_sectors: u32, erased: u8) -> Option<Self> {
        let size = usize::try_from(row).ok()?;
        let payload = row.checked_sub(u32::try_from(BEHIND).ok()?).filter(|payload| *payload >= 32)?;
        // Rows for the status of each sector; the trailer's own 64 bytes come behind them.
        let sectors = max_sectors.checked_next_multiple_of(payload)?.checked_div(payload)?;
        let trailer = 64u32.checked_next_multiple_of(payload)?.checked_div(payload)?;
        let copy = sectors.checked_add(trailer)?.checked_mul(row)?;
        let last = copy.checked_sub(row)?;
        let at = copy.checked_mul(COPIES)?.checked_mul(index)?.checked_add(last)?;
        Some(Self { at, copy, row: size, erased })
    }

    /// The trailer as the partition has it; all unset when no record counts.
    pub(crate) async fn read<F: NorFlash>(&self, flash: &mut F, row: &mut [u8]) -> Result<Record, Error> {
        const NO_SWAP: u8 = 1;
        self.newest(flash, row).await?;
        let payload = self.payload(row)?;
        let (flags, magic) = payload.split_last_chunk::<{ MAGIC_SIZE as usize }>().ok_or(Error::Layout)?;
        // Swap size, type, copy_done and image_ok stand before the magic, without any gaps.
        let [.., swap_info, copy_done, image_ok] = flags else { return Err(Error::Layout) };
        let trailer = Trailer {
            magic: Mark::of_magic(*magic, 8, self.erased),
            image_ok: Mark::of_flag(*image_ok, self.erased),
            copy_done: Mark::of_flag(*copy_done, self.erased),
        };
        let has_swap = *swap_info != self.erased && swap_info & 0x0F != NO_SWAP;
        Ok(Record { trailer, has_swap })
    }

    /// Takes magic and `image_ok` out of the trailer: with a record of its own, so that a cut leaves the one before.
    pub(crate) async fn unset<F: NorFlash>(&self, flash: &mut F, row: &mut [u8]) -> Result<(), Error> {
        let Some((copy, counter)) = self.newest(flash, row).await? else { return Ok(()) };
        let erased = self.erased;
        let row = row.get_mut(..self.row).ok_or(Error::Layout)?;
        let (payload, behind) = row.split_last_chunk_mut::<BEHIND>().ok_or(Error::Layout)?;
        let cleared = usize::try_from(MAGIC_SIZE).unwrap_or(usize::MAX).saturating_add(1);
        payload.iter_mut().rev().take(cleared).for_each(|byte| *byte = erased);
        // The record's magic stays as it is.
        if let Some(field) = behind.get_mut(4..8) {
            field.copy_from_slice(&counter.wrapping_add(1).to_le_bytes());
        }
        let (body, crc) = row.split_last_chunk_mut::<4>().ok_or(Error::Layout)?;
        *crc = CRC_32C.checksum(body).to_le_bytes();
        let at = self.offset(1u32.saturating_sub(copy))?;
        let end = at.saturating_add(u32::try_from(self.row).map_err(|_| Error::Layout)?);
        flash::erase(flash, Area::State, at, end).await?;
        flash::write(flash, Area::State, at, row).await
    }

    /// Reads the copy that counts into `row`, or the erased value all over.
    async fn newest<F: NorFlash>(&self, flash: &mut F, row: &mut [u8]) -> Result<Newest, Error> {
        let mut newest: Newest = None;
        for copy in 0..COPIES {
            // A copy that can't be read is one whose write was cut off.
            match self.counter(flash, copy, row).await {
                Ok(Some(counter)) if newest.is_none_or(|(_, other)| counter >= other) => newest = Some((copy, counter)),
                Ok(_) | Err(Error::Flash { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match newest {
            Some((copy, _)) => {
                self.counter(flash, copy, row).await?;
            }
            None => row.fill(self.erased),
        }
        Ok(newest)
    }

    /// Reads a copy into `row`; its counter when it has the record's magic and its CRC fits.
    async fn counter<F: NorFlash>(&self, flash: &mut F, copy: u32, row: &mut [u8]) -> Result<Option<u32>, Error> {
        let row = row.get_mut(..self.row).ok_or(Error::Buffer { needed: self.row })?;
        flash::read(flash, Area::State, self.offset(copy)?, row).await?;
        let (body, crc) = row.split_last_chunk::<4>().ok_or(Error::Layout)?;
        let (rest, counter) = body.split_last_chunk::<4>().ok_or(Error::Layout)?;
        let sound = rest.ends_with(&RECORD_MAGIC) && u32::from_le_bytes(*crc) == CRC_32C.checksum(body);
        Ok(Some(u32::from_le_bytes(*counter)).filter(|_| sound))
    }

    fn offset(&self, copy: u32) -> Result<u32, Error> {
        self.copy.checked_mul(copy).and_then(|offset| self.at.checked_add(offset)).ok_or(Error::Layout)
    }

    /// Where both copies of the record lie.
    #[cfg(test)]
    pub(crate) fn offsets(&self) -> Result<[u32; 2], Error> {
        Ok([self.offset(0)?, self.offset(1)?])
    }

    fn payload<'r>(&self, row: &'r [u8]) -> Result<&'r [u8], Error> {
        let end = self.row.checked_sub(BEHIND).ok_or(Error::Layout)?;
        row.get(..end).ok_or(Error::Buffer { needed: self.row })
    }
}
