//! A model of ESP-IDF's second-stage bootloader: which app it starts, and what it does to otadata on the way.
//!
//! Written from ESP-IDF's `bootloader_utility.c` and `bootloader_common.c`, and independent of `sprag-boot`, which it
//! judges. Its own writes to otadata go through the flash like any others, so that the power can be cut within them.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::flash::{FlashError, Region};

/// The bootloader, built for one partition table.
#[derive(Debug, Clone)]
pub struct EspIdf {
    /// The whole flash, whose addresses the partitions are in.
    pub flash: Region,
    /// Where otadata begins: two sectors of 4096 bytes.
    pub otadata: u32,
    /// The factory app.
    pub factory: Option<Range<u32>>,
    /// `ota_0` and up.
    pub ota: Vec<Range<u32>>,
    /// `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`.
    pub rollback: bool,
    /// Whether an app partition with these bytes holds an image that may run.
    pub may_run: fn(&[u8]) -> bool,
}

/// The app that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// `factory`.
    Factory,
    /// `ota_n`.
    Ota(usize),
}

/// `esp_ota_img_states_t`.
const NEW: u32 = 0;
const PENDING_VERIFY: u32 = 1;
const VALID: u32 = 2;
const INVALID: u32 = 3;
const ABORTED: u32 = 4;

/// An entry of otadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// `ota_seq`.
    pub seq: u32,
    /// `ota_state`.
    pub state: u32,
    /// `crc`.
    pub crc: u32,
}

impl Entry {
    /// An entry whose CRC fits.
    pub fn new(seq: u32, state: u32) -> Self {
        Self { seq, state, crc: crc(seq) }
    }

    /// As it lies in flash, without a label.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0xFF; 32];
        bytes[..4].copy_from_slice(&self.seq.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.state.to_le_bytes());
        bytes[28..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// `bootloader_common_ota_select_invalid`.
    fn is_invalid(&self) -> bool {
        self.seq == u32::MAX || self.state == INVALID || self.state == ABORTED
    }

    /// `bootloader_common_ota_select_valid`.
    fn is_valid(&self) -> bool {
        !self.is_invalid() && self.crc == crc(self.seq)
    }
}

/// `esp_rom_crc32_le(UINT32_MAX, …)` of a sequence number, bit by bit.
pub fn crc(seq: u32) -> u32 {
    !seq.to_le_bytes().iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// `esp_image_verify` without secure boot: header, segments, checksum and the digest behind it.
///
/// Source: ESP-IDF, `esp_app_format.h` and `esp_image_format.c`.
pub fn check_image(bytes: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let segments = match bytes.get(..24) {
        Some(header) if header[0] == 0xE9 && header[1] <= 16 && header[23] == 1 => header[1],
        _ => return false,
    };
    let (mut at, mut checksum) = (24, 0xEF);
    for _ in 0..segments {
        let Some(data) = word(at + 4).and_then(|length| bytes.get(at + 8..at + 8 + length as usize)) else {
            return false;
        };
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
        at += 8 + data.len();
    }
    let end = (at + 1).next_multiple_of(16);
    let digest = bytes.get(end..end + 32);
    bytes.get(end - 1) == Some(&checksum) && digest == Some(Sha256::digest(&bytes[..end]).as_slice())
}

impl EspIdf {
    /// Both entries of otadata.
    ///
    /// # Errors
    /// The flash's.
    pub fn entries(&self) -> Result<[Entry; 2], FlashError> {
        let entry = |at| {
            let mut bytes = [0; 32];
            self.flash.read_now(at, &mut bytes)?;
            let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            Ok(Entry { seq: word(0), state: word(24), crc: word(28) })
        };
        Ok([entry(self.otadata)?, entry(self.otadata + 4096)?])
    }

    /// A reset: the app that runs; `None` when nothing does, and the device is bricked.
    ///
    /// # Errors
    /// The flash's: the power failed.
    pub fn boot(&self) -> Result<Option<App>, FlashError> {
        let mut entries = self.entries()?;
        let count = self.ota.len();
        if self.rollback {
            for (index, entry) in entries.iter_mut().enumerate().filter(|(_, entry)| entry.state == PENDING_VERIFY) {
                entry.state = ABORTED;
                self.write(index, entry)?;
            }
        }
        let mut initial = false;
        let mut start = -1;
        if (entries[0].is_invalid() && entries[1].is_invalid()) || count == 0 {
            if self.factory.is_none() {
                start = 0;
                initial = entries.iter().all(|entry| entry.seq == u32::MAX || entry.crc != crc(entry.seq));
            }
        } else if let Some(active) = active(&entries) {
            start = (entries[active].seq.wrapping_sub(1) % count as u32) as isize;
            if self.rollback && entries[active].state == NEW {
                entries[active].state = PENDING_VERIFY;
                self.write(active, &entries[active])?;
            }
        }
        // Downwards to the factory app, then upwards.
        for index in (-1..=start).rev().chain(start + 1..count as isize) {
            let (app, partition) = match index {
                -1 => (App::Factory, self.factory.clone()),
                index => (App::Ota(index as usize), self.ota.get(index as usize).cloned()),
            };
            let Some(Range { start, end }) = partition else { continue };
            let mut bytes = vec![0; (end - start) as usize];
            self.flash.read_now(start, &mut bytes)?;
            if !(self.may_run)(&bytes) {
                continue;
            }
            if let (App::Ota(index), true) = (app, initial) {
                self.write(0, &Entry::new(index as u32 + 1, VALID))?;
            }
            return Ok(Some(app));
        }
        Ok(None)
    }

    fn write(&self, index: usize, entry: &Entry) -> Result<(), FlashError> {
        let at = self.otadata + 4096 * index as u32;
        self.flash.erase_now(at, at + 4096)?;
        self.flash.write_now(at, &entry.bytes())
    }
}

/// `bootloader_common_select_otadata`: of those that are valid, that with the higher number, the first of equals.
fn active(entries: &[Entry; 2]) -> Option<usize> {
    match entries.map(|entry| entry.is_valid()) {
        [true, true] if entries[1].seq > entries[0].seq => Some(1),
        [true, _] => Some(0),
        [false, true] => Some(1),
        [false, false] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::{Geometry, SimFlash};
    use crate::image::EspIdfImage;

    /// An image here is a partition that begins with 0x5A.
    fn device(factory: bool, images: &[bool]) -> EspIdf {
        let sector = |index: u32| index * 4096..(index + 1) * 4096;
        let flash =
            SimFlash::in_memory(Geometry { capacity: 20 * 4096, write_size: 4, erase_size: 4096, erased: 0xFF });
        let ota: Vec<_> = (0..images.len() as u32).map(|index| sector(3 + index)).collect();
        for (partition, _) in ota.iter().zip(images).filter(|(_, image)| **image) {
            flash.load(partition.start, &[0x5A]).unwrap();
        }
        flash.load(2 * 4096, &[0x5A]).unwrap();
        EspIdf {
            flash: flash.region(0..20 * 4096),
            otadata: 0,
            factory: factory.then(|| sector(2)),
            ota,
            rollback: true,
            may_run: |bytes| bytes[0] == 0x5A,
        }
    }

    fn put(device: &EspIdf, entries: [Option<Entry>; 2]) {
        for (at, entry) in [0, 4096].into_iter().zip(entries) {
            device.flash.flash().load(at, &entry.map_or([0xFF; 32], |entry| entry.bytes())).unwrap();
        }
    }

    #[test]
    fn the_crc_is_that_of_the_rom() {
        for (seq, expected) in [(1, 0x4743_989A), (2, 0x55F6_3774), (3, 0xED4A_5011), (4, 0x709D_68A8)] {
            assert_eq!(crc(seq), expected);
        }
    }

    #[test]
    fn the_higher_number_of_those_that_count_runs() {
        let device = device(true, &[true, true, true]);
        let torn = Entry { crc: 0, ..Entry::new(9, VALID) };
        for (entries, app) in [
            ([None, None], App::Factory),
            ([Some(Entry::new(1, VALID)), None], App::Ota(0)),
            ([Some(Entry::new(1, VALID)), Some(Entry::new(2, u32::MAX))], App::Ota(1)),
            ([Some(Entry::new(6, VALID)), Some(Entry::new(2, VALID))], App::Ota(2)),
            ([Some(Entry::new(1, VALID)), Some(Entry::new(2, ABORTED))], App::Ota(0)),
            ([Some(Entry::new(1, VALID)), Some(Entry::new(2, INVALID))], App::Ota(0)),
            ([Some(torn), Some(Entry::new(2, VALID))], App::Ota(1)),
            ([Some(torn), None], App::Factory),
        ] {
            put(&device, entries);
            assert_eq!(device.boot().unwrap(), Some(app), "{entries:?}");
        }
    }

    #[test]
    fn a_new_app_runs_once_unless_it_is_marked_valid() {
        let device = device(false, &[true, true]);
        put(&device, [Some(Entry::new(1, VALID)), Some(Entry::new(2, NEW))]);
        assert_eq!(device.boot().unwrap(), Some(App::Ota(1)));
        assert_eq!(device.entries().unwrap()[1].state, PENDING_VERIFY);
        assert_eq!(device.boot().unwrap(), Some(App::Ota(0)));
        assert_eq!(device.entries().unwrap()[1].state, ABORTED);
    }

    #[test]
    fn an_image_is_checked_to_its_end() {
        let image = EspIdfImage {
            chip: 5,
            revisions: [0, 199],
            version: "1.0.0",
            secure_version: 0,
            project: "",
            data: &[1; 8],
            program: &[2; 40],
        };
        let image = image.build();
        assert!(check_image(&[&image[..], &[0xFF; 64]].concat()));
        for at in (0..image.len()).filter(|at| *at < 4 || *at >= 24) {
            let mut flipped = image.clone();
            flipped[at] ^= 0x10;
            assert!(!check_image(&flipped), "{at}");
            assert!(!check_image(&image[..at]), "{at}");
        }
    }

    #[test]
    fn an_image_that_cannot_run_gives_way_downwards_then_upwards() {
        for (images, seq, app) in [
            ([true, true, false], 3, Some(App::Ota(1))),
            ([false, false, true], 2, Some(App::Ota(2))),
            ([false, false, false], 1, None),
        ] {
            let device = device(false, &images);
            put(&device, [Some(Entry::new(seq, VALID)), None]);
            assert_eq!(device.boot().unwrap(), app);
        }
        let blank = device(false, &[false, true]);
        assert_eq!(blank.boot().unwrap(), Some(App::Ota(1)));
        assert_eq!(blank.entries().unwrap()[0], Entry::new(2, VALID), "what runs is written down");
    }
}
