//! Swap by moving: `boot/bootutil/src/swap_move.c`.
//!
//! The primary image is moved up by a sector, from its last one down. Then, from the first sector up, the secondary image
//! is copied into the primary slot, and what was moved into the secondary slot. One status byte for each sector moved, two
//! for each swapped.

use super::area::Area;
use super::run::Run;
use super::status::{Progress, Source};
use super::trailer::swap_type;
use super::{BootError, Mark, Release};

impl Run<'_> {
    /// `boot_slots_compatible`.
    pub(super) fn compatible_by_move(&self) -> bool {
        let (primary, secondary) = (self.primary.sector_count(), self.secondary.sector_count());
        let first_of_trailer = self.primary.first_of_last(self.fields.size()).unwrap_or(0);
        let usable = self.release() >= Release::V2_0_0 && first_of_trailer == secondary + 1;
        let counts = primary == secondary || primary == secondary + 1 || usable;
        let sizes = (0..secondary).all(|n| self.primary.sector_size(n) == self.secondary.sector_size(n));
        let last = primary <= secondary
            || self.primary.sector_size(secondary) == self.primary.sector_size(secondary.saturating_sub(1));
        counts && primary as u32 <= self.fields.entries && sizes && last
    }

    /// `swap_status_source`, of the methods without a scratch area.
    pub(super) fn primary_source(&self) -> Result<Source, BootError> {
        let (primary, secondary) = (self.fields.read(&self.primary)?, self.fields.read(&self.secondary)?);
        let goes_on = primary.magic == Mark::Good && primary.copy_done == Mark::Unset && secondary.magic != Mark::Good;
        Ok(if goes_on { Source::Primary } else { Source::None })
    }

    /// `boot_read_image_header`: the header may be one sector up, or in the other slot.
    pub(super) fn read_header_by_move(
        &mut self,
        image: usize,
        progress: Option<&Progress>,
    ) -> Result<Result<(), ()>, BootError> {
        let (mut slot, mut offset) = (image, 0);
        if let Some(progress) = progress.filter(|progress| !progress.is_reset(&self.loader.method)) {
            let sector = self.primary.sector_size(0);
            let last = last_index(self.read_swap_size()?, sector)?;
            if !progress.swapping {
                if image == 0 && progress.index > last {
                    offset = sector;
                }
            } else if progress.index > 1 && progress.index <= last {
                slot = 1 - image;
            } else if progress.index == 1 {
                if image == 0 {
                    offset = sector;
                } else if progress.state == 2 {
                    slot = 0;
                }
            }
        }
        let read = self.read_header(image, slot, offset);
        let missing = progress.is_some() && !self.headers[image].has_magic();
        Ok(if missing { Err(()) } else { read })
    }

    /// `swap_run`.
    pub(super) fn swap_by_move(&mut self, progress: &mut Progress) -> Result<(), BootError> {
        let sector = self.primary.sector_size(0);
        let last = last_index(progress.swap_size, sector)?;
        if !self.has_room(last, progress) {
            progress.swap_type = swap_type::NONE;
            return Ok(());
        }
        self.fix_up_revert_by_move(progress)?;
        if !progress.swapping {
            for index in (1..=last).rev() {
                if index <= (last + 1).wrapping_sub(progress.index) {
                    self.move_up(index, sector, progress)?;
                }
            }
            progress.index = 1;
        }
        progress.swapping = true;
        for index in 1..=last {
            if index >= progress.index {
                self.swap_moved(index, sector, progress)?;
            }
        }
        Ok(())
    }

    /// Returns whether a swap that begins leaves the trailer alone; one that goes on is not asked.
    pub(super) fn has_room(&self, last: u32, progress: &Progress) -> bool {
        let first_of_trailer = self.primary.first_of_last(self.fields.size()).unwrap_or(0);
        !progress.is_reset(&self.loader.method) || (last as usize) < first_of_trailer
    }

    /// `fixup_revert`: a revert is made to look like a permanent swap before the primary slot's trailer is erased.
    fn fix_up_revert_by_move(&self, progress: &Progress) -> Result<(), BootError> {
        let begins = progress.swap_type == swap_type::REVERT && !progress.swapping && progress.index == 1;
        let (fields, area) = (&self.fields, &self.secondary);
        if begins && fields.read(area)?.magic == Mark::Unset {
            self.erase_trailer(area)?;
            fields.write(area, fields.image_ok(area), &[1])?;
            fields.write(area, fields.swap_size(area), &progress.swap_size.to_le_bytes())?;
            fields.write_magic(area)?;
        }
        Ok(())
    }

    /// `boot_move_sector_up`.
    fn move_up(&self, index: u32, sector: u32, progress: &mut Progress) -> Result<(), BootError> {
        if progress.index == 1 {
            if !progress.from_primary {
                self.erase_trailer(&self.primary)?;
                self.init_status(&self.primary, progress)?;
            }
            self.erase_trailer(&self.secondary)?;
        }
        let primary = &self.primary;
        copy_sector(primary, offset(primary, index - 1)?, primary, offset(primary, index)?, sector)?;
        self.write_status(progress)?;
        progress.index += 1;
        Ok(())
    }

    /// `boot_swap_sectors`.
    fn swap_moved(&self, index: u32, sector: u32, progress: &mut Progress) -> Result<(), BootError> {
        let (primary, secondary) = (&self.primary, &self.secondary);
        let (below, at) = (offset(primary, index - 1)?, offset(secondary, index - 1)?);
        if progress.state == 1 {
            copy_sector(secondary, at, primary, below, sector)?;
            self.write_status(progress)?;
            progress.state = 2;
        }
        if progress.state == 2 {
            copy_sector(primary, offset(primary, index)?, secondary, at, sector)?;
            self.write_status(progress)?;
            progress.index += 1;
            progress.state = 1;
        }
        Ok(())
    }
}

/// `boot_img_sector_off`.
pub(super) fn offset(area: &Area, index: u32) -> Result<u32, BootError> {
    Ok(area.sector_offset(index as usize)?)
}

/// Erases a sector and copies another to there.
pub(super) fn copy_sector(from: &Area, source: u32, to: &Area, target: u32, sector: u32) -> Result<(), BootError> {
    to.erase(target, sector, false)?;
    Ok(to.copy_from(from, source, target, sector)?)
}

/// `find_last_idx`: how many sectors the images take, one at least.
fn last_index(size: u32, sector: u32) -> Result<u32, BootError> {
    sectors_of(size, sector).map(|count| count.max(1))
}

/// Returns the number of sectors that so many bytes take. MCUboot adds sectors up until they are enough; where 32 bits
/// are not enough for that it never comes to an end.
pub(super) fn sectors_of(size: u32, sector: u32) -> Result<u32, BootError> {
    let count = size.div_ceil(sector.max(1));
    count.checked_mul(sector).map(|_| count).ok_or(BootError::Crash("a swap of a size that no slot has"))
}
