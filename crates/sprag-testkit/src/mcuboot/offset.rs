//! Swap by offset: `boot/bootutil/src/swap_offset.c`, since v2.2.0.
//!
//! The new image lies one sector up in the secondary slot. From the first sector up, a sector of the primary slot is copied
//! to the same place in the secondary slot, then the sector above that one into the primary slot. A revert does the same
//! backwards, from the last sector down. Two status bytes for each sector.

use super::run::Run;
use super::status::Progress;
use super::trailer::swap_type;
use super::{BootError, Mark, Release, moving};

impl Run<'_> {
    /// `boot_slots_compatible`.
    pub(super) fn compatible_by_offset(&self) -> bool {
        let (primary, secondary) = (self.primary.sector_count(), self.secondary.sector_count());
        let counts = primary == secondary || primary + 1 == secondary;
        let shared = secondary.saturating_sub(1);
        let sizes = (0..shared).all(|n| self.primary.sector_size(n) == self.secondary.sector_size(n));
        counts && primary as u32 <= self.fields.entries && sizes
    }

    fn is_revert(&self, progress: &Progress) -> Result<bool, BootError> {
        Ok(progress.swap_type == swap_type::REVERT || self.swap_type()? == swap_type::REVERT)
    }

    /// `boot_read_image_header`: the header may be one sector up, or in the other slot.
    pub(super) fn read_header_by_offset(
        &mut self,
        image: usize,
        progress: Option<&Progress>,
    ) -> Result<Result<(), ()>, BootError> {
        let sector = self.secondary.sector_size(0);
        let begun = progress.filter(|progress| !progress.is_reset(&self.loader.method));
        let (slot, mut offset) = match (progress, begun) {
            (_, Some(progress)) => self.place_of_header(image, progress)?,
            (Some(progress), None) if self.is_revert(progress)? => (image, 0),
            (None, None) if self.swap_type()? == swap_type::REVERT => (image, 0),
            _ => (image, if image == 1 { sector } else { 0 }),
        };
        if self.read_header(image, slot, offset).is_err() {
            return Ok(Err(()));
        }
        if begun.is_none() && !self.headers[image].has_magic() && slot == 1 {
            offset = if self.swap_type()? == swap_type::REVERT { sector } else { 0 };
            if self.read_header(image, slot, offset).is_err() {
                return Ok(Err(()));
            }
        }
        let found = self.headers[image].has_magic();
        if found && progress.is_some() && slot == 1 {
            self.secondary_start = offset;
        }
        Ok(if progress.is_some() && !found { Err(()) } else { Ok(()) })
    }

    /// Returns the place of an image's header in the middle of a swap: the slot, and the offset in it.
    fn place_of_header(&self, image: usize, progress: &Progress) -> Result<(usize, u32), BootError> {
        let sector = self.primary.sector_size(0);
        let last = last_index(self.read_swap_size()?, sector)?;
        let done = progress.index - 1;
        Ok(if self.is_revert(progress)? {
            let moved = |state| done > last || (done == last && progress.state == state);
            match image {
                0 if moved(2) => (1, sector),
                0 => (0, 0),
                _ if moved(3) => (0, 0),
                _ => (1, 0),
            }
        } else {
            let begun = progress.index > 1 || (progress.index == 1 && progress.state == 2);
            match image {
                0 if begun && progress.index <= last => (1, 0),
                0 => (0, 0),
                _ if progress.index > 1 => (0, 0),
                _ => (1, sector),
            }
        })
    }

    /// `swap_run`.
    pub(super) fn swap_by_offset(&mut self, progress: &mut Progress) -> Result<(), BootError> {
        let sector = self.primary.sector_size(0);
        let last = last_index(progress.swap_size, sector)?;
        if !self.has_room(last, progress) {
            progress.swap_type = swap_type::NONE;
            return Ok(());
        }
        self.fix_up_revert_by_offset(progress)?;
        if progress.index == 1 {
            if !progress.from_primary {
                self.erase_trailer(&self.primary)?;
                self.init_status(&self.primary, progress)?;
            }
            self.erase_trailer(&self.secondary)?;
        }
        let mut unprotected = [0, 0];
        if self.fields.tlv_sizes {
            let sizes: [u8; 4] = self.primary.bytes(self.fields.unprotected_sizes(&self.primary))?;
            unprotected = [[sizes[0], sizes[1]], [sizes[2], sizes[3]]].map(|size| u16::from_le_bytes(size).into());
        }
        progress.swapping = true;
        let used = [0, 1].map(|slot| self.headers[slot].covered().wrapping_add(unprotected[slot]).div_ceil(sector));
        let reverts = self.is_revert(progress)?;
        for step in 0..=last {
            if step >= progress.index - 1 {
                let index = if reverts { last - step } else { step };
                self.swap_sector(index, sector, reverts, used, progress)?;
            }
        }
        if reverts {
            // What lies there would be taken for the header of an image that was loaded to the wrong place.
            self.secondary.erase(0, sector, false)?;
            self.erase_trailer(&self.secondary)?;
        }
        Ok(())
    }

    /// `fixup_revert`: the secondary slot's trailer says so, before the primary slot's is erased.
    fn fix_up_revert_by_offset(&self, progress: &Progress) -> Result<(), BootError> {
        let begins = progress.swap_type == swap_type::REVERT && progress.index == 1;
        let area = &self.secondary;
        if begins && self.fields.read(area)?.magic == Mark::Unset {
            self.erase_trailer(area)?;
            self.fields.write(area, self.fields.copy_done(area), &[1])?;
            self.init_status(area, progress)?;
        }
        Ok(())
    }

    /// `boot_swap_sectors` and `boot_swap_sectors_revert`.
    fn swap_sector(
        &self,
        index: u32,
        sector: u32,
        reverts: bool,
        used: [u32; 2],
        progress: &mut Progress,
    ) -> Result<(), BootError> {
        let (primary, secondary) = (&self.primary, &self.secondary);
        let at = moving::offset(primary, index)?;
        let (to, from) = if reverts { (index + 1, index) } else { (index, index + 1) };
        if progress.state == 1 {
            if index <= used[0] {
                moving::copy_sector(primary, at, secondary, moving::offset(secondary, to)?, sector)?;
            }
            self.write_status(progress)?;
            progress.state = 2;
        }
        if progress.state == 2 {
            if index <= used[1] {
                moving::copy_sector(secondary, moving::offset(secondary, from)?, primary, at, sector)?;
            }
            self.write_status(progress)?;
            progress.index += 1;
            progress.state = 1;
        }
        Ok(())
    }
}

/// `find_last_idx`: the index of the last sector that the images take.
fn last_index(size: u32, sector: u32) -> Result<u32, BootError> {
    moving::sectors_of(size, sector).map(|count| count.saturating_sub(1))
}

/// Returns whether the sizes of the unprotected TLVs have a field in the trailer.
pub(super) fn keeps_tlv_sizes(release: Release) -> bool {
    release >= Release::V2_3_0
}
