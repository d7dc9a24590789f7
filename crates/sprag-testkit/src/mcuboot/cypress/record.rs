//! The status partition: a trailer and the state of a swap for each slot and for the scratch area, in records of a row.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::area::Area;
use super::{Cypress, Fault, InfineonRelease};
use crate::flash::FlashError;

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// Magic, counter and CRC of a record.
const BEHIND: usize = 12;
const RECORD_MAGIC: u32 = 0xDEAD_BEEF;
const COPIES: u32 = 2;
/// The place of the trailer, among the last bytes of a record's payload.
const TRAILER: u32 = 64;

/// The areas of the status partition, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Primary,
    Secondary,
    Scratch,
}

/// A field of the trailer, which ends where the last payload does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    SwapSize,
    SwapInfo,
    CopyDone,
    ImageOk,
    Magic,
}

impl Field {
    fn below_end(self) -> u32 {
        match self {
            Self::Magic => 16,
            Self::ImageOk => 17,
            Self::CopyDone => 18,
            Self::SwapInfo => 19,
            Self::SwapSize => 23,
        }
    }
}

/// A record that was read.
struct Record {
    payload: Vec<u8>,
    copy: u32,
    counter: u32,
    /// True when reading it has changed the flash.
    erased: bool,
}

impl Cypress {
    fn status_area(&self) -> Area<'_> {
        Area(&self.status)
    }

    pub(super) fn status_erased(&self) -> u8 {
        self.status_area().erased()
    }

    fn row(&self) -> u32 {
        self.status_area().erase_size()
    }

    fn payload_size(&self) -> u32 {
        self.row() - BEHIND as u32
    }

    /// Bytes of one copy of an area: rows for the state of the sectors, and those of the trailer.
    fn copy_size(&self) -> u32 {
        let payload = self.payload_size();
        self.row() * (self.max_sectors.div_ceil(payload) + TRAILER.div_ceil(payload))
    }

    fn field_offset(&self, field: Field) -> u32 {
        self.copy_size() / self.row() * self.payload_size() - field.below_end()
    }

    fn area_offset(&self, part: Part) -> u32 {
        part as u32 * COPIES * self.copy_size()
    }

    /// Returns the offset of the first copy of the record that holds this byte of an area, and of the byte in its payload.
    fn record_of(&self, part: Part, offset: u32) -> (u32, usize) {
        let payload = self.payload_size();
        (self.area_offset(part) + offset / payload * self.row(), (offset % payload) as usize)
    }

    /// `swap_status_read_record`. Fails when both copies have the magic and neither has a CRC that fits.
    ///
    /// If one copy has no magic and the other a wrong CRC, the payload is what lies at the start of the partition.
    fn read_record(&self, at: u32) -> Result<Record, Fault> {
        let mut best = (0, 0, 0);
        let mut bad_crcs = 0;
        let mut bad_magics = 0;
        let mut erased = false;
        for copy in 0..COPIES {
            let offset = at + copy * self.copy_size();
            let mut row = vec![0; self.row() as usize];
            self.status_area().read(offset, &mut row)?;
            let (body, crc) = row.split_at(row.len() - 4);
            let word = |from_end: usize| {
                let at = row.len() - from_end;
                u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]])
            };
            if word(12) != RECORD_MAGIC {
                bad_magics += 1;
            } else if CRC.checksum(body).to_le_bytes() != *crc {
                bad_crcs += 1;
                if self.release == InfineonRelease::V1_9_7 {
                    self.status_area().erase(offset, self.row())?;
                    erased = true;
                }
            } else if word(8) >= best.0 {
                best = (word(8), copy, offset);
            }
        }
        if bad_magics == COPIES {
            let payload = vec![self.status_erased(); self.payload_size() as usize];
            return Ok(Record { payload, copy: COPIES - 1, counter: 0, erased });
        }
        if bad_crcs == COPIES {
            return Err(Fault::Failed);
        }
        let (counter, copy, offset) = best;
        let mut payload = vec![0; self.payload_size() as usize];
        self.status_area().read(offset, &mut payload)?;
        Ok(Record { payload, copy, counter, erased })
    }

    /// `swap_status_retrieve` for bytes that lie in one record.
    fn retrieve(&self, part: Part, offset: u32, length: usize) -> Result<Vec<u8>, Fault> {
        let (at, from) = self.record_of(part, offset);
        Ok(self.read_record(at)?.payload[from..from + length].to_vec())
    }

    /// `swap_status_update` for bytes that lie in one record: a new record takes the place of the older copy.
    fn update(&self, part: Part, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let (at, from) = self.record_of(part, offset);
        let Record { mut payload, copy, counter, .. } = self.read_record(at)?;
        payload[from..from + bytes.len()].copy_from_slice(bytes);
        let mut row = payload;
        row.extend(RECORD_MAGIC.to_le_bytes());
        row.extend(counter.wrapping_add(1).to_le_bytes());
        row.extend(CRC.checksum(&row).to_le_bytes());
        let older = at + (copy + 1) % COPIES * self.copy_size();
        self.status_area().erase(older, self.row())?;
        self.status_area().write(older, &row)?;
        if self.release == InfineonRelease::V1_9_7 {
            self.status_area().erase(at + copy * self.copy_size(), self.row())?;
        }
        Ok(())
    }

    pub(super) fn field(&self, part: Part, field: Field) -> Result<u8, Fault> {
        Ok(self.retrieve(part, self.field_offset(field), 1)?[0])
    }

    pub(super) fn set_field(&self, part: Part, field: Field, bytes: &[u8]) -> Result<(), Fault> {
        self.update(part, self.field_offset(field), bytes)
    }

    pub(super) fn magic(&self, part: Part) -> Result<[u8; 16], Fault> {
        let bytes = self.retrieve(part, self.field_offset(Field::Magic), 16)?;
        Ok(std::array::from_fn(|index| bytes[index]))
    }

    pub(super) fn swap_size(&self, part: Part) -> Result<u32, Fault> {
        let bytes = self.retrieve(part, self.field_offset(Field::SwapSize), 4)?;
        Ok(u32::from_le_bytes(std::array::from_fn(|index| bytes[index])))
    }

    /// The states of the first `count` steps of a swap.
    pub(super) fn steps(&self, part: Part, count: u32) -> Result<Vec<u8>, Fault> {
        let mut steps = Vec::new();
        let mut kept: Option<(u32, Record)> = None;
        for step in 0..count {
            let (at, from) = self.record_of(part, step);
            // Each byte is read by itself, and a read can change what the next one finds.
            let record = match kept.take() {
                Some((kept_at, record)) if kept_at == at && !record.erased => record,
                _ => self.read_record(at)?,
            };
            steps.push(record.payload[from]);
            kept = Some((at, record));
        }
        Ok(steps)
    }

    /// `boot_write_status`.
    pub(super) fn set_step(&self, part: Part, index: u32, state: u8) -> Result<(), Fault> {
        self.update(part, index - 1, &[state])
    }

    /// Erases the records of an area.
    pub(super) fn erase_records(&self, part: Part) -> Result<(), Fault> {
        self.status_area().erase(self.area_offset(part), COPIES * self.copy_size())
    }

    /// The bytes of the status partition that the records take, for as many images as the bootloader has: one.
    ///
    /// A status partition must have this size at least.
    pub fn status_size(&self) -> u32 {
        3 * COPIES * self.copy_size()
    }

    /// Puts a trailer into the status partition, as a swap leaves one there: 0 is the primary slot's, 1 the secondary's.
    ///
    /// # Errors
    /// The flash's.
    pub fn put_status(&self, slot: u32, trailer: super::Trailer) -> Result<(), FlashError> {
        use super::Mark;
        let part = if slot == 0 { Part::Primary } else { Part::Secondary };
        let erased = self.status_erased();
        let byte = |mark| match mark {
            Mark::Good => 1,
            Mark::Unset => erased,
            Mark::Bad => 0x55,
        };
        let mut magic = if trailer.magic == Mark::Unset { [erased; 16] } else { super::MAGIC };
        magic[7] ^= if trailer.magic == Mark::Bad { 0x10 } else { 0 };
        let set = |field, bytes: &[u8]| match self.set_field(part, field, bytes) {
            Err(Fault::Halt(super::Halt::Flash(error))) => Err(error),
            // Records that are not to be read are none of this call's.
            _ => Ok(()),
        };
        set(Field::Magic, &magic)?;
        set(Field::ImageOk, &[byte(trailer.image_ok)])?;
        set(Field::CopyDone, &[byte(trailer.copy_done)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32c() {
        assert_eq!(CRC.checksum(b"123456789"), 0xE306_9283);
    }
}
