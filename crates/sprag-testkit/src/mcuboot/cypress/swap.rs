//! The swap through a scratch area, step by step with its records, and how it is gone on with.

use super::area::{Area, Sector};
use super::record::{Field, Part};
use super::{Cypress, Fault, Header, MAGIC, Mark, SwapType};

/// The states of a step: what is copied next. 1: new to scratch. 2: old to secondary. 3: scratch to primary.
const STATES: u8 = 3;
/// `MEMORY_ALIGN`: the bootloader takes no larger unit for the trailer.
const ALIGN_MAX: u32 = 512;

/// The place of a swap's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    None,
    Primary,
    Scratch,
}

/// `boot_status`: how far a swap has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// True when steps were found; a swap that has not begun has none.
    pub(super) is_begun: bool,
    /// The step, from 1.
    pub(super) index: u32,
    /// The number of its next copy, from 1.
    pub(super) state: u8,
    pub(super) swap_type: u8,
    swap_size: u32,
    use_scratch: bool,
}

impl Progress {
    pub(super) const RESET: Self =
        Self { is_begun: false, index: 1, state: 1, swap_type: SwapType::NONE, swap_size: 0, use_scratch: false };

    /// `boot_status_is_reset`.
    pub(super) fn is_reset(&self) -> bool {
        !self.is_begun && self.index == 1 && self.state == 1
    }
}

/// The sectors of both slots.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) primary: Vec<Sector>,
    pub(super) secondary: Vec<Sector>,
}

impl Cypress {
    /// `boot_write_sz`.
    pub(super) fn write_size(&self) -> u32 {
        Area(&self.primary).erase_size().max(Area(&self.scratch).erase_size())
    }

    fn scratch_size(&self) -> u32 {
        Area(&self.scratch).size()
    }

    /// `boot_slots_compatible`: each sector of one slot is whole sectors of the other, and fits into the scratch area.
    pub(super) fn are_compatible(&self, layout: &Layout) -> bool {
        #[derive(PartialEq)]
        enum Smaller {
            Neither,
            Primary,
            Secondary,
        }
        let mut sectors = [layout.primary.iter(), layout.secondary.iter()];
        let mut sizes = [0, 0];
        let mut smaller = Smaller::Neither;
        loop {
            let [first, second] = &mut sectors;
            if first.len() == 0 && second.len() == 0 {
                return sizes == [0, 0];
            }
            let take = match sizes {
                [one, other] if one == other => [true, true],
                [one, other] if one < other => {
                    if smaller == Smaller::Secondary {
                        return false;
                    }
                    smaller = Smaller::Primary;
                    [true, false]
                }
                _ => {
                    if smaller == Smaller::Primary {
                        return false;
                    }
                    smaller = Smaller::Secondary;
                    [false, true]
                }
            };
            for ((size, sectors), _) in sizes.iter_mut().zip(&mut sectors).zip(take).filter(|(_, take)| *take) {
                let Some(sector) = sectors.next() else { return false };
                *size += sector.size;
            }
            if sizes[0] == sizes[1] {
                if sizes[0] > self.scratch_size() {
                    return false;
                }
                (sizes, smaller) = ([0, 0], Smaller::Neither);
            }
        }
    }

    /// `swap_status_source`.
    fn source(&self) -> Result<Source, Fault> {
        let asserted = "swap_status_source: rc == 0";
        let primary = self.read_state(Part::Primary).map_err(|fault| fault.asserted(asserted))?.trailer;
        let scratch = self.read_state(Part::Scratch).map_err(|fault| fault.asserted(asserted))?.trailer;
        let scratch_is_good = scratch.magic == Mark::Good;
        Ok(match (primary.magic, primary.copy_done) {
            (Mark::Good, Mark::Good) if !scratch_is_good => Source::None,
            (Mark::Good, Mark::Unset) if !scratch_is_good => Source::Primary,
            _ if scratch_is_good => Source::Scratch,
            (Mark::Unset, Mark::Unset) => Source::Primary,
            _ => Source::None,
        })
    }

    /// `swap_read_status`.
    pub(super) fn read_progress(&self) -> Result<Progress, Fault> {
        let mut progress = Progress::RESET;
        let (part, count) = match self.source()? {
            Source::None => return Ok(progress),
            Source::Primary => (Part::Primary, self.max_sectors),
            Source::Scratch => (Part::Scratch, 1),
        };
        let erased = self.status_erased();
        let steps = self.steps(part, count)?;
        let begun = steps.iter().position(|step| *step != erased);
        // The last entry is never looked behind: a row of steps that has no end is none.
        let end = begun.and_then(|from| Some(from + steps[from..].iter().position(|step| *step == erased)?));
        if let Some(end) = end {
            // What comes behind the end is looked at no further than to its first step, which counts as the last one.
            let last = steps[end..].iter().find(|step| **step != erased).copied();
            let last = last.unwrap_or_else(|| steps[end - 1]);
            progress.swap_size = self.read_swap_size()?;
            progress.is_begun = true;
            progress.index = end as u32;
            progress.state = last.wrapping_add(1);
            if progress.state > STATES {
                progress.state = 1;
                progress.index += 1;
            }
        }
        let info = self.field(part, Field::SwapInfo)?;
        progress.swap_type = if info == erased { SwapType::NONE } else { info & 0x0F };
        Ok(progress)
    }

    /// `boot_read_swap_size`: 0 where the primary slot's magic is not the right one but sorts above it.
    fn read_swap_size(&self) -> Result<u32, Fault> {
        let magic = self.magic(Part::Primary)?;
        match magic.cmp(&MAGIC) {
            std::cmp::Ordering::Equal => self.swap_size(Part::Primary),
            std::cmp::Ordering::Less => Err(Fault::Failed),
            std::cmp::Ordering::Greater => Ok(0),
        }
    }

    /// `swap_status_init`.
    pub(super) fn init_status(&self, part: Part, progress: &Progress) -> Result<(), Fault> {
        let secondary = self.read_state(Part::Secondary)?.trailer;
        if progress.swap_type != SwapType::NONE {
            self.set_field(part, Field::SwapInfo, &[progress.swap_type])?;
        }
        if secondary.image_ok == Mark::Good {
            self.set_field(part, Field::ImageOk, &[1])?;
        }
        self.set_field(part, Field::SwapSize, &progress.swap_size.to_le_bytes())?;
        self.set_field(part, Field::Magic, &MAGIC)
    }

    /// `swap_erase_trailer_sectors`.
    pub(super) fn erase_trailer(&self, part: Part) -> Result<(), Fault> {
        const TRAILER: u32 = 64;
        self.erase_records(part)?;
        let slot = match part {
            Part::Primary => Area(&self.primary),
            Part::Secondary => Area(&self.secondary),
            Part::Scratch => return Ok(()),
        };
        slot.erase(slot.size() - TRAILER, TRAILER)
    }

    /// `boot_copy_region`.
    pub(super) fn copy(&self, from: Area<'_>, to: Area<'_>, at: u32, to_at: u32, size: u32) -> Result<(), Fault> {
        const CHUNK: u32 = 1024;
        for done in (0..size).step_by(CHUNK as usize) {
            let mut chunk = vec![0; CHUNK.min(size - done) as usize];
            from.read(at + done, &mut chunk)?;
            to.write(to_at + done, &chunk)?;
        }
        Ok(())
    }

    /// `boot_swap_image`: begins a swap, or goes on with it.
    pub(super) fn swap_image(
        &self,
        layout: &Layout,
        headers: &[Header; 2],
        progress: &mut Progress,
    ) -> Result<(), Fault> {
        let asserted = |fault: Fault| fault.asserted("boot_swap_image: rc == 0");
        if progress.is_reset() {
            let mut size = None;
            for (header, slot) in headers.iter().zip([&self.primary, &self.secondary]) {
                if header.has_magic() {
                    size = size.max(Some(self.image_size(header, slot).map_err(asserted)?));
                }
            }
            progress.swap_size = size.unwrap_or(0);
            self.run_swap(layout, progress)?;
            // Its result stays as it was set at first.
            return size.map(|_| ()).ok_or(Fault::Failed);
        }
        if self.magic(Part::Primary).map_err(asserted)? != MAGIC {
            return Err(asserted(Fault::Failed));
        }
        progress.swap_size = self.swap_size(Part::Primary).map_err(asserted)?;
        self.run_swap(layout, progress)
    }

    /// `swap_run`: from the last sector that holds an image down.
    fn run_swap(&self, layout: &Layout, progress: &mut Progress) -> Result<(), Fault> {
        let mut last = [0, 0];
        let mut sizes = [0, 0];
        loop {
            let size = progress.swap_size;
            let take = [sizes[0] < size || sizes[0] < sizes[1], sizes[1] < size || sizes[1] < sizes[0]];
            // The primary slot's size counts already when the secondary one's is looked at.
            for (index, sectors) in [&layout.primary, &layout.secondary].into_iter().enumerate() {
                if take[index] || (index == 1 && sizes[1] < sizes[0]) {
                    let sector = sectors.get(last[index]).ok_or(Fault::left_out("a swap past the last sector"))?;
                    sizes[index] += sector.size;
                }
            }
            if sizes[0] >= size && sizes[1] >= size && sizes[0] == sizes[1] {
                break;
            }
            last = last.map(|last| last + 1);
        }
        progress.is_begun = true;
        let mut step = 0;
        let mut end = last[0] + 1;
        while end > 0 {
            let mut size = 0;
            let mut first = end;
            while first > 0 && size + layout.primary[first - 1].size <= self.scratch_size() {
                first -= 1;
                size += layout.primary[first].size;
            }
            if first == end {
                return Err(Fault::left_out("a sector that is larger than the scratch area"));
            }
            if step >= progress.index - 1 {
                self.swap_sectors(layout, layout.primary[first].offset, size, progress)?;
            }
            end = first;
            step += 1;
        }
        Ok(())
    }

    /// `boot_swap_sectors`: a step, from the copy that is next.
    fn swap_sectors(&self, layout: &Layout, at: u32, size: u32, progress: &mut Progress) -> Result<(), Fault> {
        let [primary, secondary, scratch] = [&self.primary, &self.secondary, &self.scratch].map(Area);
        let asserted = |fault: Fault| fault.asserted("boot_swap_sectors: rc == 0");
        let trailer = self.write_size().min(ALIGN_MAX);
        // The sectors that hold the trailer.
        let mut trailer_from = layout.primary.len() - 1;
        let mut covered = layout.primary[trailer_from].size;
        while covered < trailer {
            trailer_from = trailer_from.checked_sub(1).ok_or(Fault::left_out("a slot smaller than its trailer"))?;
            covered += layout.primary[trailer_from].size;
        }
        let reaches_trailer = at + size > layout.primary[trailer_from].offset;
        let copied = if reaches_trailer { size - trailer } else { size };
        progress.use_scratch = progress.index == 1 && reaches_trailer;

        if progress.state == 1 {
            scratch.erase(0, scratch.size()).map_err(asserted)?;
            if progress.index == 1 {
                self.init_status(Part::Scratch, progress).map_err(asserted)?;
                if !progress.use_scratch {
                    self.erase_trailer(Part::Primary).map_err(asserted)?;
                    self.init_status(Part::Primary, progress).map_err(asserted)?;
                    self.erase_trailer(Part::Scratch).map_err(asserted)?;
                }
            }
            self.copy(secondary, scratch, at, 0, copied).map_err(asserted)?;
            self.write_step(progress)?;
            progress.state = 2;
        }
        if progress.state == 2 {
            secondary.erase(at, size).map_err(asserted)?;
            self.copy(primary, secondary, at, at, copied).map_err(asserted)?;
            if progress.index == 1 && !progress.use_scratch {
                self.erase_trailer(Part::Secondary).map_err(asserted)?;
            }
            self.write_step(progress)?;
            progress.state = 3;
        }
        if progress.state == 3 {
            primary.erase(at, size).map_err(asserted)?;
            self.copy(scratch, primary, 0, at, copied).map_err(asserted)?;
            let used_scratch = progress.use_scratch;
            if used_scratch {
                self.copy(scratch, primary, 0, at + copied, (u32::from(STATES) - 1) * self.write_size()).counted()?;
                let state = self.read_state(Part::Scratch).map_err(asserted)?;
                if state.trailer.image_ok == Mark::Good {
                    self.set_field(Part::Primary, Field::ImageOk, &[1]).map_err(asserted)?;
                }
                if state.swap_type != SwapType::NONE {
                    self.set_field(Part::Primary, Field::SwapInfo, &[state.swap_type]).map_err(asserted)?;
                }
                let swap_size = progress.swap_size.to_le_bytes();
                self.set_field(Part::Primary, Field::SwapSize, &swap_size).map_err(asserted)?;
                self.set_field(Part::Primary, Field::Magic, &MAGIC).map_err(asserted)?;
            }
            progress.use_scratch = false;
            self.write_step(progress)?;
            progress.index += 1;
            progress.state = 1;
            if used_scratch {
                self.erase_trailer(Part::Scratch).map_err(asserted)?;
                self.erase_trailer(Part::Secondary).map_err(asserted)?;
            }
        }
        Ok(())
    }

    /// `boot_write_status`, whose failures are counted and no more.
    fn write_step(&self, progress: &Progress) -> Result<(), Fault> {
        let part = if progress.use_scratch { Part::Scratch } else { Part::Primary };
        self.set_step(part, progress.index, progress.state).counted()
    }
}

/// A failure that the bootloader goes on after.
trait Counted {
    fn counted(self) -> Result<(), Fault>;
}

impl Counted for Result<(), Fault> {
    fn counted(self) -> Result<(), Fault> {
        match self {
            Err(Fault::Failed) => Ok(()),
            other => other,
        }
    }
}
