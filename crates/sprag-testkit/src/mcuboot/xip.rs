//! `MCUBOOT_DIRECT_XIP`: the newest image runs where it lies.
//!
//! Written from MCUboot's `docs/design.md` ("Direct-xip") and `boot/bootutil/src/loader.c`.

use super::area::Area;
use super::image::Header;
use super::trailer::Fields;
use super::{BootError, Mark, Settings, Trailer};
use crate::flash::{FlashError, Region};
use crate::image::Version;

/// MCUboot with two slots from which images run without being moved.
#[derive(Debug, Clone)]
pub struct Xip {
    /// Both slots, the primary one first.
    pub slots: [Region; 2],
    /// `MCUBOOT_DIRECT_XIP_REVERT`: only images with a magic run, and once only unless they confirm themselves.
    pub revert: bool,
    /// The build options of the bootloader.
    pub settings: Settings,
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
    /// Returns a bootloader with the usual [`Settings`] for its flash, without a key.
    pub fn new(slots: [Region; 2], revert: bool) -> Self {
        let settings = Settings::of(slots[0].flash());
        Self { slots, revert, settings }
    }

    /// A reset: selects the newest image that may run. Those that may not are erased on the way.
    ///
    /// # Errors
    /// See [`BootError`].
    ///
    /// # Panics
    /// A slot does not consist of whole sectors.
    pub fn boot(&self) -> Result<Selected, BootError> {
        let areas = [&self.slots[0], &self.slots[1]].map(|slot| Area::new(slot, self.settings.read_errors));
        let mut headers = [Header::default(); 2];
        for (header, area) in headers.iter_mut().zip(&areas) {
            match area.bytes(0) {
                Ok(bytes) => *header = Header::new(bytes),
                Err(FlashError::PowerLost) => return Err(FlashError::PowerLost.into()),
                // The other slot is tried only when it is the secondary one that cannot be read.
                Err(_) if std::ptr::eq(area, &areas[0]) => {
                    return Err(BootError::NoBootableImage("the header cannot be read"));
                }
                Err(_) => {}
            }
        }
        let mut available = [0, 1].map(|slot| headers[slot].is_valid(areas[slot].size(), self.settings.release));
        loop {
            let slot = match available {
                [true, true] => usize::from(headers[1].is_newer_than(&headers[0])),
                [true, false] => 0,
                [false, true] => 1,
                [false, false] => return Err(BootError::NoBootableImage("neither slot has one")),
            };
            if self.try_slot(&areas[slot], &headers[slot])? {
                return Ok(Selected { slot, running: headers[slot].version() });
            }
            available[slot] = false;
        }
    }

    /// Returns what a slot's trailer says.
    ///
    /// # Errors
    /// The flash's.
    pub fn trailer(&self, slot: &Region) -> Result<Trailer, FlashError> {
        self.fields().read(&Area::new(slot, self.settings.read_errors))
    }

    /// Returns the swap type that the field `swap_info` of a slot's trailer names; see
    /// [`Bootloader::swap_info`](super::Bootloader::swap_info).
    ///
    /// # Errors
    /// The flash's.
    pub fn swap_info(&self, slot: &Region) -> Result<Option<u8>, FlashError> {
        self.fields().read_swap_info(&Area::new(slot, self.settings.read_errors))
    }

    fn fields(&self) -> Fields {
        self.settings.fields(3, false)
    }

    /// One round of `boot_load_and_validate_images`: whether the image runs.
    fn try_slot(&self, area: &Area, header: &Header) -> Result<bool, BootError> {
        if header.fixed_address().is_some_and(|address| address != area.address()) {
            return Ok(false);
        }
        if self.revert && !self.select(area)? {
            return Ok(false);
        }
        if header.is_non_bootable() {
            return Ok(false);
        }
        if header.validate(area, 0, self.fields().swap_info(area), &self.settings).is_err() {
            super::status::unless_power_lost(area.erase_all(false))?;
            return Ok(false);
        }
        Ok(true)
    }

    /// `boot_select_or_erase`: whether the image may be tried, and notes that it was.
    fn select(&self, area: &Area) -> Result<bool, BootError> {
        let fields = self.fields();
        let trailer = fields.read(area)?;
        if trailer.magic != Mark::Good || (trailer.copy_done == Mark::Good && trailer.image_ok != Mark::Good) {
            area.erase_all(false)?;
            return Ok(false);
        }
        if trailer.copy_done != Mark::Good {
            // MCUboot warns when this fails, and goes on.
            super::status::unless_power_lost(fields.write(area, fields.copy_done(area), &[1]))?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::{FlashGeometry, SimFlash};
    use crate::image::McuBootImage;
    use ed25519_dalek::SigningKey;

    const SLOT: u32 = 8192;

    fn device(versions: [u8; 2], revert: bool) -> Xip {
        let flash = SimFlash::in_memory(2 * SLOT, FlashGeometry { write_size: 8, erase_size: 1024, erased: 0xFF });
        for (at, major) in [(0, versions[0]), (SLOT, versions[1])] {
            let version = Version { major, minor: 0, revision: 0, build: 0 };
            let image = McuBootImage { version, header_size: 32, payload: &[major; 100] };
            flash.load(at, &image.sign(&SigningKey::from_bytes(&[1; 32]))).unwrap();
        }
        Xip::new([flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)], revert)
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
        let (image_ok_at, magic_at) = (SLOT - 24, SLOT - 16);
        let magic = Fields { max_align: 8, ..Fields::default() }.magic_bytes();
        let flag = [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        for confirmed in [false, true] {
            let device = device([1, 2], true);
            for (slot, image_ok) in [(0, true), (1, false)] {
                device.slots[slot].write_now(magic_at, &magic).unwrap();
                if image_ok {
                    device.slots[slot].write_now(image_ok_at, &flag).unwrap();
                }
            }
            assert_eq!(device.boot().unwrap().slot, 1);
            if confirmed {
                device.slots[1].write_now(image_ok_at, &flag).unwrap();
            }
            assert_eq!(device.boot().unwrap().slot, usize::from(confirmed));
        }
        let without_magic = device([1, 2], true);
        without_magic.slots[0].write_now(magic_at, &magic).unwrap();
        without_magic.slots[0].write_now(image_ok_at, &flag).unwrap();
        assert_eq!(without_magic.boot().unwrap().slot, 0);
    }
}
