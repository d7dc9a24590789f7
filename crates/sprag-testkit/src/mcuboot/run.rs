//! One boot of a bootloader that has a primary and a secondary slot: `context_boot_go` in `boot/bootutil/src/loader.c`.
//!
//! | swap type | from | what is done |
//! |---|---|---|
//! | none | no trailer asks for anything, or the slots do not suit each other | nothing |
//! | test, permanent | the secondary slot's trailer | swap or copy, when the secondary image may run; else the slot is
//! erased |
//! | revert | the primary slot's trailer; by offset the secondary slot's | swap back; by overwriting, copy |
//! | fail | a swap that had begun and whose image may not run any more | the primary image is confirmed |
//!
//! A swap that was cut off is gone on with before all that, from where its status bytes say.

use super::area::Area;
use super::image::Header;
use super::status::Progress;
use super::trailer::{Fields, decide, swap_type};
use super::{Boot, BootError, Bootloader, Mark, Method, Release, Swap, Trailer};
use crate::flash::FlashError;

pub(super) struct Run<'a> {
    pub(super) loader: &'a Bootloader,
    pub(super) fields: Fields,
    pub(super) primary: Area,
    pub(super) secondary: Area,
    pub(super) scratch: Option<Area>,
    /// The images' headers, the primary image's first.
    pub(super) headers: [Header; 2],
    /// By offset: where the secondary image begins.
    pub(super) secondary_start: u32,
    /// By offset: the sizes of the images' unprotected TLVs.
    pub(super) tlv_sizes: [u16; 2],
}

impl<'a> Run<'a> {
    pub(super) fn new(loader: &'a Bootloader) -> Self {
        let read_errors = loader.settings.read_errors;
        let scratch = match &loader.method {
            Method::Scratch(region) => Some(Area::new(region, read_errors)),
            _ => None,
        };
        Self {
            loader,
            fields: loader.fields(),
            primary: Area::new(&loader.primary, read_errors),
            secondary: Area::new(&loader.secondary, read_errors),
            scratch,
            headers: [Header::default(); 2],
            secondary_start: 0,
            tlv_sizes: [0; 2],
        }
    }

    pub(super) fn release(&self) -> Release {
        self.loader.settings.release
    }

    /// `context_boot_go`.
    pub(super) fn boot(&mut self) -> Result<Boot, BootError> {
        let mut progress = Progress::reset(&self.loader.method);
        let mut done = Swap::None;
        let swap_type = self.prepare(&mut progress, &mut done)?;
        progress.swap_type = swap_type;
        match swap_type {
            swap_type::NONE => {}
            swap_type::TEST | swap_type::PERMANENT | swap_type::REVERT => {
                done = self.update(&mut progress, swap_type)?;
            }
            swap_type::FAIL => {
                done = Swap::Refused;
                if !self.loader.method.overwrites() {
                    self.set_image_ok()?;
                }
            }
            _ => return Err(BootError::Assert("panic: a swap type that does not exist")),
        }
        if swap_type != swap_type::NONE && self.read_headers(false, None)?.is_err() {
            return Err(BootError::NoBootableImage("the header cannot be read"));
        }
        self.check_slot(0).map_err(BootError::NoBootableImage)?;
        Ok(Boot { swap: done, running: self.headers[0].version() })
    }

    /// `boot_prepare_image_for_update`: completes a swap that was cut off, or else returns the swap type.
    fn prepare(&mut self, progress: &mut Progress, done: &mut Swap) -> Result<u8, BootError> {
        let method = &self.loader.method;
        if self.read_headers(false, None)?.is_err() || !self.slots_are_compatible() {
            return Ok(swap_type::NONE);
        }
        if !method.overwrites() {
            *progress = self.read_status()?;
            let rereads = !matches!(method, Method::Scratch(_)) || self.release() >= Release::V2_2_0;
            let require_all = !progress.is_reset(method);
            if rereads && self.read_headers(require_all, Some(progress))?.is_err() {
                return Ok(swap_type::NONE);
            }
        }
        if !progress.is_reset(method) {
            *done = self.complete_swap(progress)?;
            let known = (self.release() < Release::V2_2_0).then_some(&*progress);
            if self.read_headers(false, known)?.is_err() {
                return Err(BootError::Assert("the image headers cannot be read after a swap"));
            }
            return Ok(swap_type::NONE);
        }
        if progress.swap_type == swap_type::NONE {
            let swap_type = self.swap_type()?;
            let upgrades = matches!(swap_type, swap_type::TEST | swap_type::PERMANENT | swap_type::REVERT);
            if upgrades && !self.validate_secondary(progress, swap_type)? {
                *done = Swap::Refused;
                return Ok(swap_type::NONE);
            }
            return Ok(swap_type);
        }
        let valid = self.validate_secondary(progress, 0)?;
        Ok(if valid { progress.swap_type } else { swap_type::FAIL })
    }

    /// `boot_swap_type_multi`: a secondary trailer that cannot be read is taken for an erased one.
    pub(super) fn swap_type(&self) -> Result<u8, BootError> {
        let primary = match self.fields.read(&self.primary) {
            Err(FlashError::Unreadable { .. }) => return Ok(swap_type::PANIC),
            primary => primary?,
        };
        let secondary = match self.fields.read(&self.secondary) {
            Err(FlashError::Unreadable { .. }) => Trailer::UNSET,
            secondary => secondary?,
        };
        Ok(decide(self.loader.method == Method::Offset, self.release(), primary, secondary))
    }

    /// `boot_read_image_headers`. The inner result is MCUboot's return code.
    pub(super) fn read_headers(
        &mut self,
        require_all: bool,
        progress: Option<&Progress>,
    ) -> Result<Result<(), ()>, BootError> {
        for slot in 0..2 {
            let read = match &self.loader.method {
                Method::Scratch(_) => self.read_header_by_scratch(slot, progress)?,
                Method::Move => self.read_header_by_move(slot, progress)?,
                Method::Offset => self.read_header_by_offset(slot, progress)?,
                Method::Overwrite | Method::OverwriteFast => self.read_header(slot, slot, 0),
            };
            if read.is_err() {
                return Ok(if slot > 0 && !require_all { Ok(()) } else { Err(()) });
            }
        }
        Ok(Ok(()))
    }

    /// Reads the header of an image, from the slot where it lies now.
    pub(super) fn read_header(&mut self, image: usize, slot: usize, offset: u32) -> Result<(), ()> {
        let area = if slot == 0 { &self.primary } else { &self.secondary };
        self.headers[image] = Header::new(area.bytes(offset).map_err(|_| ())?);
        Ok(())
    }

    /// Checks the image in a slot, without touching it.
    fn check_slot(&self, slot: usize) -> Result<(), &'static str> {
        let header = &self.headers[slot];
        let (area, start) = if slot == 0 { (&self.primary, 0) } else { (&self.secondary, self.secondary_start) };
        if header.is_erased(area.erased()) {
            return Err("no image");
        }
        if header.is_non_bootable() {
            return Err("an image that is not to be booted");
        }
        if !header.is_valid(area.size(), self.release()) {
            return Err("no valid header");
        }
        header.validate(area, start, self.image_limit(area), &self.loader.settings)
    }

    /// `boot_validate_slot` of the secondary slot: erases it when its image may not run.
    fn validate_secondary(&mut self, progress: &Progress, expected: u8) -> Result<bool, BootError> {
        let header = &self.headers[1];
        if header.is_erased(self.secondary.erased()) || header.is_non_bootable() {
            if !self.loader.method.overwrites() {
                unless_fatal(self.erase_trailer(&self.secondary))?;
                let stuck = self.loader.method == Method::Move
                    && self.release() >= Release::V2_2_0
                    && (progress.swap_type == swap_type::REVERT || self.swap_type()? == swap_type::REVERT);
                if stuck {
                    unless_fatal(self.erase_trailer(&self.primary))?;
                }
            }
            return Ok(false);
        }
        // An image that was loaded to where the old one of a swap would lie.
        let misplaced = self.loader.method == Method::Offset
            && matches!(expected, swap_type::TEST | swap_type::PERMANENT)
            && Header::new(self.secondary.bytes(0)?).has_magic();
        if misplaced || self.check_slot(1).is_err() {
            unless_fatal(self.secondary.erase_all(false))?;
            return Ok(false);
        }
        Ok(true)
    }

    /// `bootutil_max_image_size`.
    fn image_limit(&self, area: &Area) -> u32 {
        let fields = &self.fields;
        match &self.loader.method {
            Method::Overwrite | Method::OverwriteFast => fields.swap_info(area),
            Method::Scratch(_) if self.release() >= Release::V2_2_0 => self.limit_by_scratch(),
            Method::Scratch(_) => fields.status(area).unwrap_or(0),
            _ if self.release() < Release::V2_3_0 => {
                let sector = area.first_of_last(fields.size());
                sector.and_then(|sector| area.sector_offset(sector).ok()).unwrap_or(0)
            }
            method => {
                let sector = self.primary.sector_size(0);
                let trailer = fields.size().next_multiple_of(sector.max(1));
                let room = |area: &Area| (area.sector_count() as u32 * sector).wrapping_sub(trailer);
                let (primary, secondary) = (room(&self.primary), room(&self.secondary));
                match method {
                    Method::Move => primary.wrapping_sub(sector).min(secondary),
                    _ => primary.min(secondary.wrapping_sub(sector)),
                }
            }
        }
    }

    fn slots_are_compatible(&self) -> bool {
        match &self.loader.method {
            Method::Move => self.compatible_by_move(),
            Method::Offset => self.compatible_by_offset(),
            _ => self.compatible_by_scratch(),
        }
    }

    /// `boot_perform_update`.
    fn update(&mut self, progress: &mut Progress, swap_type: u8) -> Result<Swap, BootError> {
        if self.loader.method.overwrites() {
            self.overwrite()?;
            return Ok(Swap::Permanent);
        }
        self.swap_images(progress)?;
        self.mark_done(swap_type)?;
        Ok(Swap::of(progress.swap_type))
    }

    /// `boot_complete_partial_swap`.
    fn complete_swap(&mut self, progress: &mut Progress) -> Result<Swap, BootError> {
        self.swap_images(progress)?;
        self.mark_done(progress.swap_type)?;
        if progress.swap_type == swap_type::PANIC {
            return Err(BootError::Assert("panic"));
        }
        Ok(Swap::of(progress.swap_type))
    }

    /// Notes in the primary slot's trailer that the swap is done, and that it is not to be reverted.
    fn mark_done(&self, swap_type: u8) -> Result<(), BootError> {
        if matches!(swap_type, swap_type::REVERT | swap_type::PERMANENT) {
            self.set_image_ok()?;
        }
        if matches!(swap_type, swap_type::TEST | swap_type::REVERT | swap_type::PERMANENT) {
            self.fields.write(&self.primary, self.fields.copy_done(&self.primary), &[1])?;
        }
        Ok(())
    }

    /// `swap_set_image_ok`.
    fn set_image_ok(&self) -> Result<(), BootError> {
        if self.fields.read(&self.primary)?.image_ok == Mark::Unset {
            self.fields.write(&self.primary, self.fields.image_ok(&self.primary), &[1])?;
        }
        Ok(())
    }

    /// `boot_swap_image`.
    fn swap_images(&mut self, progress: &mut Progress) -> Result<(), BootError> {
        if progress.is_reset(&self.loader.method) {
            let mut largest = 0;
            for slot in 0..2 {
                if self.headers[slot].has_magic() {
                    largest = largest.max(self.image_size(slot)?);
                }
            }
            progress.swap_size = largest;
        } else {
            progress.swap_size = self.read_swap_size()?;
        }
        match &self.loader.method {
            Method::Scratch(_) => self.swap_by_scratch(progress),
            Method::Move => self.swap_by_move(progress),
            _ => self.swap_by_offset(progress),
        }
    }

    /// `boot_read_image_size`.
    pub(super) fn image_size(&mut self, slot: usize) -> Result<u32, BootError> {
        let header = &self.headers[slot];
        let (area, start) = if slot == 0 { (&self.primary, 0) } else { (&self.secondary, self.secondary_start) };
        let (offset, size) =
            header.tlvs(start, |at| area.bytes(at)).ok().flatten().ok_or(BootError::Assert("an image has no TLVs"))?;
        self.tlv_sizes[slot] = size as u16;
        Ok(offset.wrapping_sub(start).wrapping_add(size))
    }
}

/// Returns only a loss of power: MCUboot does not look at what becomes of this operation.
fn unless_fatal(result: Result<(), FlashError>) -> Result<(), BootError> {
    super::status::unless_power_lost(result)
}
