//! `MCUBOOT_DIRECT_XIP`: the newest image runs where it lies.
//!
//! Written from MCUboot's `docs/design.md` ("Direct-xip") and `boot/bootutil/src/loader.c`.

use super::{BootError, Cells, Mark, Trailer, check_image, slot_size};
use crate::flash::{FlashError, Region};
use crate::image::Version;

/// MCUboot with two slots from which images run without being moved.
#[derive(Debug, Clone)]
pub struct Xip {
    /// Both slots, the primary one first.
    pub slots: [Region; 2],
    /// `flash_area_align` of the slots, 1 to 32.
    pub align: u32,
    /// The key whose signatures it takes; `None` checks digests only.
    pub key: Option<[u8; 32]>,
    /// `MCUBOOT_DIRECT_XIP_REVERT`: only images with a magic run, and once only unless they confirm themselves.
    pub revert: bool,
}

/// What a reset led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// The slot that runs, 0 or 1.
    pub slot: usize,
    /// The version in the header of its image.
    pub running: Version,
}

impl Xip {
    /// A reset: selects the newest image that may run. Those that may not are erased on the way.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot(&self) -> Result<Selected, BootError> {
        let mut available = [true, true];
        loop {
            let Some((slot, _)) = self.newest(available)? else {
                return Err(BootError::NoBootableImage("neither slot has one"));
            };
            let region = &self.slots[slot];
            let may_run = !self.revert || self.select(region)?;
            match check_image(&region.contents(), self.key) {
                Ok(running) if may_run => return Ok(Selected { slot, running }),
                _ => {
                    region.erase_now(0, slot_size(region))?;
                    available[slot] = false;
                }
            }
        }
    }

    /// What a slot's trailer says at this moment.
    ///
    /// # Errors
    /// The flash's.
    pub fn trailer(&self, slot: &Region) -> Result<Trailer, FlashError> {
        Trailer::read(slot, self.align)
    }

    /// `find_slot_with_highest_version`: by the headers alone, the primary slot's where they are equal.
    fn newest(&self, available: [bool; 2]) -> Result<Option<(usize, [u8; 4])>, FlashError> {
        let mut newest: Option<(usize, [u8; 4])> = None;
        for (slot, region) in self.slots.iter().enumerate().filter(|(slot, _)| available[*slot]) {
            let mut header = [0; 32];
            region.read_now(0, &mut header)?;
            let sizes = u64::from(u32::from_le_bytes([header[12], header[13], header[14], header[15]]))
                + u64::from(u16::from_le_bytes([header[8], header[9]]))
                + u64::from(u16::from_le_bytes([header[10], header[11]]));
            let valid = header[..4] == [0x3d, 0xb8, 0xf3, 0x96] && header[16] & 0x10 == 0;
            if !valid || sizes >= slot_size(region).into() {
                continue;
            }
            // Big-endian, so that the order of bytes is that of versions: major, minor, revision.
            let version = [header[20], header[21], header[23], header[22]];
            if newest.is_none_or(|(_, other)| version > other) {
                newest = Some((slot, version));
            }
        }
        Ok(newest)
    }

    /// `boot_select_or_erase`: whether the image may be tried, and notes that it was.
    fn select(&self, slot: &Region) -> Result<bool, FlashError> {
        let trailer = self.trailer(slot)?;
        if trailer.magic != Mark::Good || (trailer.copy_done == Mark::Good && trailer.image_ok != Mark::Good) {
            return Ok(false);
        }
        if trailer.copy_done == Mark::Unset {
            let erased = slot.flash().geometry().erased;
            let mut unit = vec![erased; self.align as usize];
            unit[0] = 1;
            // MCUboot warns when this fails, and goes on.
            let _ = slot.write_now(Cells::new(slot_size(slot), self.align).copy_done, &unit);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::{Geometry, SimFlash};
    use crate::image::McuBootImage;
    use ed25519_dalek::SigningKey;

    const SLOT: u32 = 8192;

    fn device(versions: [u8; 2], revert: bool) -> Xip {
        let flash = SimFlash::in_memory(Geometry { capacity: 2 * SLOT, write_size: 8, erase_size: 1024, erased: 0xFF });
        for (at, major) in [(0, versions[0]), (SLOT, versions[1])] {
            let version = Version { major, minor: 0, revision: 0, build: 0 };
            let image = McuBootImage { version, header_size: 32, payload: &[major; 100] };
            flash.load(at, &image.sign(&SigningKey::from_bytes(&[1; 32]))).unwrap();
        }
        Xip { slots: [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)], align: 8, key: None, revert }
    }

    #[test]
    fn the_newest_runs_and_the_first_of_equals() {
        for (versions, slot) in [([1, 2], 1), ([2, 1], 0), ([3, 3], 0)] {
            assert_eq!(device(versions, false).boot().unwrap().slot, slot);
        }
        let broken = device([1, 2], false);
        broken.slots[1].flash().load(SLOT + 50, &[0]).unwrap();
        assert_eq!(broken.boot().unwrap().slot, 0);
        assert!(broken.slots[1].contents().iter().all(|byte| *byte == 0xFF), "what can't run is erased");
    }

    #[test]
    fn with_revert_an_image_runs_once_unless_it_is_confirmed() {
        let cells = Cells::new(SLOT, 8);
        let flag = [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        for confirmed in [false, true] {
            let device = device([1, 2], true);
            for (slot, image_ok) in [(0, true), (1, false)] {
                device.slots[slot].write_now(cells.magic, &cells.magic_bytes()).unwrap();
                if image_ok {
                    device.slots[slot].write_now(cells.image_ok, &flag).unwrap();
                }
            }
            assert_eq!(device.boot().unwrap().slot, 1);
            if confirmed {
                device.slots[1].write_now(cells.image_ok, &flag).unwrap();
            }
            assert_eq!(device.boot().unwrap().slot, usize::from(confirmed));
        }
        let without_magic = device([1, 2], true);
        without_magic.slots[0].write_now(cells.magic, &cells.magic_bytes()).unwrap();
        without_magic.slots[0].write_now(cells.image_ok, &flag).unwrap();
        assert_eq!(without_magic.boot().unwrap().slot, 0);
    }
}
