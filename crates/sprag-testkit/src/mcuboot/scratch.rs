//! Swap by a scratch area: `boot/bootutil/src/swap_scratch.c`.
//!
//! From the last sector of the images down, as many sectors as the scratch area holds: the secondary slot's are copied to
//! the scratch area, the primary slot's to the secondary slot, the scratch area to the primary slot. Three status bytes for
//! each step. Where the first step reaches into the primary slot's trailer, the status is kept in the scratch area until
//! the trailer has been written again.

use super::area::Area;
use super::run::Run;
use super::status::{Progress, Source, unless_power_lost};
use super::trailer::swap_type;
use super::{BootError, Mark, Release};

impl Run<'_> {
    fn scratch(&self) -> &Area {
        // By this method there always is one.
        self.scratch.as_ref().unwrap_or(&self.secondary)
    }

    /// `boot_slots_compatible`, also where images are overwritten: then without the scratch area.
    pub(super) fn compatible_by_scratch(&self) -> bool {
        let counts = [self.primary.sector_count(), self.secondary.sector_count()];
        if counts.iter().any(|count| *count as u32 > self.fields.entries) {
            return false;
        }
        let mut next = [0, 0];
        let mut sizes = [0, 0];
        let mut smaller = None;
        while next[0] < counts[0] || next[1] < counts[1] {
            let both = sizes[0] == sizes[1];
            let first_is_smaller = sizes[0] < sizes[1];
            for (slot, area) in [&self.primary, &self.secondary].into_iter().enumerate() {
                if both || (slot == 0) == first_is_smaller {
                    sizes[slot] += area.sector_size(next[slot]);
                    next[slot] += 1;
                }
            }
            if !both {
                let slot = usize::from(!first_is_smaller);
                if smaller.is_some_and(|smaller| smaller != slot) {
                    return false;
                }
                smaller = Some(slot);
            }
            if let Some(scratch) = &self.scratch
                && sizes[0] == sizes[1]
            {
                if sizes[0] > scratch.size() {
                    return false;
                }
                smaller = None;
                sizes = [0, 0];
            }
        }
        next == counts
    }

    /// `swap_status_source`.
    pub(super) fn scratch_source(&self) -> Result<Source, BootError> {
        let (primary, scratch) = (self.fields.read(&self.primary)?, self.fields.read(self.scratch())?);
        Ok(match (primary.magic, primary.copy_done) {
            (Mark::Good, Mark::Good) if scratch.magic != Mark::Good => Source::None,
            (Mark::Good, Mark::Unset) if scratch.magic != Mark::Good => Source::Primary,
            _ if scratch.magic == Mark::Good => Source::Scratch,
            (Mark::Unset, Mark::Unset) => Source::Primary,
            _ => Source::None,
        })
    }

    /// `boot_read_image_header`: the header may be in the scratch area or in the other slot.
    pub(super) fn read_header_by_scratch(
        &mut self,
        image: usize,
        progress: Option<&Progress>,
    ) -> Result<Result<(), ()>, BootError> {
        let mut slot = image;
        if let Some(progress) = progress.filter(|progress| !progress.is_reset(&self.loader.method))
            && self.release() >= Release::V2_2_0
        {
            let steps = self.steps(self.read_swap_size()?)?;
            let done = progress.index - 1;
            if done >= steps {
                slot = 1 - image;
            } else if done + 1 == steps {
                if image == 1 && progress.state >= 2 {
                    let Ok(header) = self.scratch().bytes(0) else {
                        return Ok(Err(()));
                    };
                    self.headers[1] = super::image::Header::new(header);
                    return Ok(Ok(()));
                }
                if image == 0 && progress.state >= 3 {
                    slot = 1;
                }
            }
        }
        Ok(self.read_header(image, slot, 0))
    }

    /// `find_last_sector_idx`, and one more: how many sectors of the primary slot are swapped. MCUboot runs off its array
    /// of sectors where a slot is too small.
    fn sectors(&self, size: u32) -> Result<usize, BootError> {
        let [mut primary, mut secondary] = [(0, 0), (0, 0)];
        let runs_off = BootError::Crash("a swap of a size that no slot has");
        // Before v2.2.0, both indices went up whatever was added.
        let together = self.release() < Release::V2_2_0;
        let mut rounds = 0;
        loop {
            rounds += 1;
            if rounds > self.primary.sector_count() + self.secondary.sector_count() + 1 {
                return Err(runs_off);
            }
            let grows = primary.1 < size || primary.1 < secondary.1;
            if grows {
                primary.1 += self.primary.sector_size(primary.0);
                primary.0 += usize::from(!together);
            }
            if secondary.1 < size || secondary.1 < primary.1 {
                secondary.1 += self.secondary.sector_size(secondary.0);
                secondary.0 += usize::from(!together);
            }
            if primary.1 >= size && secondary.1 >= size && primary.1 == secondary.1 {
                return Ok(primary.0 + usize::from(together));
            }
            primary.0 += usize::from(together);
            secondary.0 += usize::from(together);
        }
    }

    /// `boot_copy_sz`: the sectors below `end` that fit into the scratch area: the first one, and their size.
    fn group(&self, end: usize) -> (usize, u32) {
        let (mut first, mut size) = (end, 0);
        while first > 0 && size + self.primary.sector_size(first - 1) <= self.scratch().size() {
            first -= 1;
            size += self.primary.sector_size(first);
        }
        (first, size)
    }

    /// `find_swap_count`.
    fn steps(&self, size: u32) -> Result<u32, BootError> {
        let mut end = self.sectors(size)?;
        let mut steps = 0;
        while end > 0 {
            end = self.next_end(end)?;
            steps += 1;
        }
        Ok(steps)
    }

    fn next_end(&self, end: usize) -> Result<usize, BootError> {
        let (first, _) = self.group(end);
        if first == end { Err(BootError::Crash("the scratch area holds no sector")) } else { Ok(first) }
    }

    /// `swap_run`.
    pub(super) fn swap_by_scratch(&mut self, progress: &mut Progress) -> Result<(), BootError> {
        let mut end = self.sectors(progress.swap_size)?;
        let mut step = 0;
        while end > 0 {
            let (first, size) = self.group(end);
            if step >= progress.index - 1 {
                self.swap_group(first, size, progress)?;
            }
            end = self.next_end(end)?;
            step += 1;
        }
        Ok(())
    }

    /// Returns the size of the image in a group of sectors. The rest is trailer.
    fn copy_size(&self, start: u32, size: u32) -> Result<u32, BootError> {
        let trailer = self.fields.size();
        let first = self.first_of_trailer(&self.primary)?;
        if start + size <= self.primary.sector_offset(first)? {
            return Ok(size);
        }
        if self.release() < Release::V2_2_0 {
            return Ok(size.wrapping_sub(trailer));
        }
        let room = self.primary.size().wrapping_sub(start).wrapping_sub(trailer);
        Ok(room.min(self.fields.scratch_status(self.scratch())?))
    }

    fn first_of_trailer(&self, area: &Area) -> Result<usize, BootError> {
        if self.release() < Release::V2_1_0 {
            return Ok(area.sector_count() - 1);
        }
        area.first_of_last(self.fields.size()).ok_or(BootError::Crash("the trailer is larger than the slot"))
    }

    /// `boot_swap_sectors`.
    fn swap_group(&self, first: usize, size: u32, progress: &mut Progress) -> Result<(), BootError> {
        let (primary, secondary, scratch) = (&self.primary, &self.secondary, self.scratch());
        let start = primary.sector_offset(first)?;
        let copied = self.copy_size(start, size)?;
        let begins = progress.index == 1;
        let by_parts = self.release() >= Release::V2_2_0;
        progress.use_scratch = begins && copied != size;

        if progress.state == 1 {
            scratch.erase_all(false)?;
            if begins {
                self.init_status(scratch, progress)?;
                if !progress.use_scratch {
                    self.erase_trailer(primary)?;
                    self.init_status(primary, progress)?;
                    scratch.erase_all(false)?;
                }
            }
            scratch.copy_from(secondary, start, 0, copied)?;
            self.write_status(progress)?;
            progress.state = 2;
        }

        if progress.state == 2 {
            let mut erased = size;
            if by_parts && begins {
                self.erase_trailer(secondary)?;
                if progress.use_scratch {
                    erased = secondary.sector_offset(self.first_of_trailer(secondary)?)?.wrapping_sub(start);
                }
            }
            if erased > 0 {
                secondary.erase(start, erased, false)?;
            }
            secondary.copy_from(primary, start, start, copied)?;
            if !by_parts && begins && !progress.use_scratch {
                self.erase_trailer(secondary)?;
            }
            self.write_status(progress)?;
            progress.state = 3;
        }

        if progress.state == 3 {
            let mut erased = size;
            if by_parts && progress.use_scratch {
                self.erase_trailer(primary)?;
                erased = primary.sector_offset(self.first_of_trailer(primary)?)?.wrapping_sub(start);
            }
            if erased > 0 {
                primary.erase(start, erased, false)?;
            }
            primary.copy_from(scratch, 0, start, copied)?;
            let was_in_scratch = progress.use_scratch;
            if was_in_scratch {
                self.take_status_over(start.wrapping_add(copied), progress)?;
            }
            progress.use_scratch = false;
            self.write_status(progress)?;
            progress.index += 1;
            progress.state = 1;
            if was_in_scratch {
                scratch.erase_all(by_parts)?;
            }
        }
        Ok(())
    }

    /// Writes the primary slot's trailer again, from the one in the scratch area.
    fn take_status_over(&self, to: u32, progress: &Progress) -> Result<(), BootError> {
        let (fields, primary, scratch) = (&self.fields, &self.primary, self.scratch());
        let entries = (fields.states - 1) * fields.align;
        unless_power_lost(primary.copy_from(scratch, fields.scratch_status(scratch)?, to, entries))?;
        let trailer = fields.read(scratch)?;
        if trailer.image_ok == Mark::Good {
            fields.write(primary, fields.image_ok(primary), &[1])?;
        }
        if let Some(info) =
            fields.read_swap_info(scratch)?.filter(|info| *info != swap_type::NONE && *info <= swap_type::REVERT)
        {
            fields.write(primary, fields.swap_info(primary), &[info])?;
        }
        fields.write(primary, fields.swap_size(primary), &progress.swap_size.to_le_bytes())?;
        Ok(fields.write_magic(primary)?)
    }

    /// `app_max_size_adjust_to_trailer`.
    pub(super) fn limit_by_scratch(&self) -> u32 {
        let trailer = self.fields.size();
        let end_of_first = |area: &Area| {
            let first = area.first_of_last(trailer)?;
            Some(area.sector_offset(first).ok()? + area.sector_size(first))
        };
        let (Some(primary), Some(secondary)) = (end_of_first(&self.primary), end_of_first(&self.secondary)) else {
            return 0;
        };
        let start = self.primary.size().min(self.secondary.size()) - trailer;
        let in_first_sector = primary.max(secondary) - start;
        start.saturating_sub(self.fields.scratch_size().saturating_sub(in_first_sector))
    }
}
