//! Infineon's line of MCUboot, v1.9.x-cypress, swapping through a status partition.
//!
//! Written from Infineon's `swap_status.h`, `swap_status_part.c` and `swap_status_misc.c`.

use super::{Boot, BootError, Mark, Swap, Trailer, check_image, slot_size};
use crate::flash::{FlashError, Region};

/// MCUboot as PSoC 6 devices run it, for one image.
#[derive(Debug, Clone)]
pub struct Cypress {
    /// The slot that runs.
    pub primary: Region,
    /// The slot that updates are put into.
    pub secondary: Region,
    /// The status partition: an area for each slot, in rows of the write unit.
    pub status: Region,
    /// `MCUBOOT_MAX_IMG_SECTORS`.
    pub max_sectors: u32,
    /// Whether a swap leaves its trailer in the primary slot too, as later releases of the line do.
    pub trailer_in_primary: bool,
}

/// Magic, counter and CRC of a record.
const BEHIND: usize = 12;
/// The record's magic: the bootloader's own, and so no part of what is judged.
const RECORD: u32 = 0xDEAD_BEAF;
const MAGIC: [u8; 16] =
    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];

/// The trailer's fields, in a record's payload, from its end.
const IMAGE_OK: usize = 17;
const COPY_DONE: usize = 18;
const SWAP_INFO: usize = 19;

impl Cypress {
    /// A reset: moves what the application wrote into the status partition, decides, swaps, and starts what lies in the
    /// primary slot.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot(&self) -> Result<Boot, BootError> {
        let [primary, secondary] = self.take_over()?;
        // Before v2.2, a revert took an erased magic in the secondary slot.
        let mut swap = match (secondary.magic, secondary.image_ok) {
            (Mark::Good, Mark::Unset) => Swap::Test,
            (Mark::Good, Mark::Good) => Swap::Permanent,
            (Mark::Unset, _)
                if primary == Trailer { magic: Mark::Good, image_ok: Mark::Unset, copy_done: Mark::Good } =>
            {
                Swap::Revert
            }
            _ => Swap::None,
        };
        if matches!(swap, Swap::Test | Swap::Permanent) && check_image(&self.secondary.contents(), None).is_err() {
            self.secondary.erase_now(0, slot_size(&self.secondary))?;
            self.erase_status(1)?;
            swap = Swap::Refused;
        }
        if matches!(swap, Swap::Test | Swap::Permanent | Swap::Revert) {
            self.swap(swap)?;
        }
        let running = check_image(&self.primary.contents(), None).map_err(BootError::NoBootableImage)?;
        Ok(Boot { swap, running })
    }

    /// How a reset begins, before anything is swapped: what the application wrote into the slots' own trailers is moved
    /// into the status partition. The trailers of the primary and of the secondary slot.
    ///
    /// # Errors
    /// The flash's.
    pub fn take_over(&self) -> Result<[Trailer; 2], FlashError> {
        Ok([self.read_state(0)?, self.read_state(1)?])
    }

    /// Puts a trailer into the status partition, as a swap leaves one there: 0 is the primary slot's, 1 the secondary's.
    ///
    /// # Errors
    /// The flash's.
    pub fn put_status(&self, slot: u32, trailer: Trailer) -> Result<(), FlashError> {
        let erased = self.status.flash().geometry().erased;
        let byte = |mark| match mark {
            Mark::Good => 1,
            Mark::Unset => erased,
            Mark::Bad => 0x55,
        };
        let mut magic = if trailer.magic == Mark::Unset { [erased; 16] } else { MAGIC };
        magic[7] ^= if trailer.magic == Mark::Bad { 0x10 } else { 0 };
        let mut payload = self.payload(slot)?;
        self.set(&mut payload, 16, &magic);
        self.set(&mut payload, IMAGE_OK, &[byte(trailer.image_ok)]);
        self.set(&mut payload, COPY_DONE, &[byte(trailer.copy_done)]);
        self.update(slot, &payload)
    }

    /// `boot_read_swap_state`, which also takes over what it finds in the slot's own trailer.
    fn read_state(&self, slot: u32) -> Result<Trailer, FlashError> {
        let region = if slot == 0 { &self.primary } else { &self.secondary };
        let (end, erased) = (slot_size(region), region.flash().geometry().erased);
        let mut payload = self.payload(slot)?;
        let mut erase_from = None;
        let mut magic = self.magic_of(&payload);
        if magic == Mark::Unset && slot == 1 {
            let mut found = [0; 16];
            region.read_now(end - 16, &mut found)?;
            if found != [erased; 16] {
                magic = Mark::Bad;
                if found == MAGIC {
                    magic = Mark::Good;
                    self.set(&mut payload, 16, &MAGIC);
                    self.update(slot, &payload)?;
                }
                erase_from = Some(end - 16);
            }
        }
        let copy_done = self.flag(&payload, COPY_DONE);
        let mut image_ok = self.flag(&payload, IMAGE_OK);
        if image_ok == Mark::Unset && (slot == 1 || copy_done == Mark::Good) {
            let mut found = [0];
            region.read_now(end - 24, &mut found)?;
            if found[0] != erased {
                image_ok = Mark::Bad;
                if found[0] == 1 {
                    image_ok = Mark::Good;
                    self.set(&mut payload, IMAGE_OK, &[1]);
                    self.update(slot, &payload)?;
                }
                erase_from = Some(end - 24);
            }
        }
        if let Some(from) = erase_from {
            let sector = region.flash().geometry().erase_size;
            region.erase_now(from / sector * sector, end)?;
        }
        Ok(Trailer { magic, image_ok, copy_done })
    }

    fn swap(&self, swap: Swap) -> Result<(), FlashError> {
        let (old, new) = (self.primary.contents(), self.secondary.contents());
        self.erase_status(1)?;
        for (slot, bytes) in [(&self.primary, &new), (&self.secondary, &old)] {
            let geometry = slot.flash().geometry();
            let end = slot_size(slot);
            let images = ((end - 64) / geometry.erase_size * geometry.erase_size) as usize;
            slot.erase_now(0, end)?;
            let unit = geometry.write_size as usize;
            for (at, unit) in (0..).step_by(unit).zip(bytes[..images].chunks(unit)) {
                if unit.iter().any(|byte| *byte != geometry.erased) {
                    slot.write_now(at, unit)?;
                }
            }
        }
        let mut payload = self.payload(0)?;
        let erased = self.status.flash().geometry().erased;
        self.set(&mut payload, 16, &MAGIC);
        self.set(&mut payload, IMAGE_OK, &[if swap == Swap::Test { erased } else { 1 }]);
        self.set(&mut payload, COPY_DONE, &[1]);
        self.set(&mut payload, SWAP_INFO, &[if swap == Swap::Test { 2 } else { 3 }]);
        self.update(0, &payload)?;
        if self.trailer_in_primary {
            let geometry = self.primary.flash().geometry();
            let mut row = vec![geometry.erased; geometry.erase_size as usize];
            let end = row.len();
            row[end - 16..].copy_from_slice(&MAGIC);
            if swap != Swap::Test {
                row[end - 24] = 1;
            }
            row[end - 32] = 1;
            row[end - 40] = if swap == Swap::Test { 2 } else { 3 };
            self.primary.write_now(slot_size(&self.primary) - geometry.erase_size, &row)?;
        }
        Ok(())
    }

    fn magic_of(&self, payload: &[u8]) -> Mark {
        let erased = self.status.flash().geometry().erased;
        match &payload[payload.len() - 16..] {
            magic if magic == MAGIC => Mark::Good,
            magic if magic.iter().all(|byte| *byte == erased) => Mark::Unset,
            _ => Mark::Bad,
        }
    }

    fn flag(&self, payload: &[u8], from_end: usize) -> Mark {
        match payload[payload.len() - from_end] {
            1 => Mark::Good,
            flag if flag == self.status.flash().geometry().erased => Mark::Unset,
            _ => Mark::Bad,
        }
    }

    fn set(&self, payload: &mut [u8], from_end: usize, bytes: &[u8]) {
        let at = payload.len() - from_end;
        payload[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn row(&self) -> u32 {
        self.status.flash().geometry().write_size
    }

    /// Bytes of one copy of an area: rows for the sectors' status, and one for the trailer.
    fn copy(&self) -> u32 {
        let payload = self.row() - BEHIND as u32;
        self.row() * ((self.max_sectors - 1) / payload + 1 + (64 - 1) / payload + 1)
    }

    /// Where the two copies of a slot's trailer lie: the last row of each copy of its area.
    fn records(&self, slot: u32) -> [u32; 2] {
        [1, 2].map(|copy| slot * 2 * self.copy() + copy * self.copy() - self.row())
    }

    /// The record that counts: which copy, its counter and its payload.
    fn record(&self, slot: u32) -> Result<Option<(usize, u32, Vec<u8>)>, FlashError> {
        let mut best: Option<(usize, u32, Vec<u8>)> = None;
        for (copy, at) in self.records(slot).into_iter().enumerate() {
            let mut row = vec![0; self.row() as usize];
            self.status.read_now(at, &mut row)?;
            let end = row.len();
            let word = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
            if word(end - 12) != RECORD || word(end - 4) != crc32c(&row[..end - 4]) {
                continue;
            }
            if best.as_ref().is_none_or(|(_, counter, _)| word(end - 8) >= *counter) {
                best = Some((copy, word(end - 8), row[..end - BEHIND].to_vec()));
            }
        }
        Ok(best)
    }

    fn payload(&self, slot: u32) -> Result<Vec<u8>, FlashError> {
        let erased = self.status.flash().geometry().erased;
        let blank = vec![erased; self.row() as usize - BEHIND];
        Ok(self.record(slot)?.map_or(blank, |(_, _, payload)| payload))
    }

    /// `swap_status_write_record`: into the copy that does not count.
    fn update(&self, slot: u32, payload: &[u8]) -> Result<(), FlashError> {
        let (copy, counter) = self.record(slot)?.map_or((1, 0), |(copy, counter, _)| (copy, counter));
        let mut row = payload.to_vec();
        row.extend(RECORD.to_le_bytes());
        row.extend((counter + 1).to_le_bytes());
        row.extend(crc32c(&row).to_le_bytes());
        let at = self.records(slot)[1 - copy];
        self.status.erase_now(at, at + self.row())?;
        self.status.write_now(at, &row)
    }

    fn erase_status(&self, slot: u32) -> Result<(), FlashError> {
        self.status.erase_now(slot * 2 * self.copy(), (slot + 1) * 2 * self.copy())
    }
}

/// CRC-32C (Castagnoli), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
