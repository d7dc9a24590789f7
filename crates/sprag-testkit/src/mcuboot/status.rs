//! The progress of a swap, as the status bytes below the trailer have it: `swap_read_status` and `boot_write_status`.

use super::area::Area;
use super::run::Run;
use super::trailer::swap_type;
use super::{BootError, Method};
use crate::flash::FlashError;

/// `struct boot_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// True when the images are being swapped already, or still being moved up.
    pub(super) swapping: bool,
    /// The step, from 1.
    pub(super) index: u32,
    /// The state within it, from 1.
    pub(super) state: u32,
    /// True when the status is kept in the scratch area for now.
    pub(super) use_scratch: bool,
    pub(super) swap_size: u32,
    /// True when the primary slot's trailer says that a swap goes on.
    pub(super) from_primary: bool,
    pub(super) swap_type: u8,
}

impl Progress {
    /// `boot_status_reset`.
    pub(super) fn reset(method: &Method) -> Self {
        Self {
            swapping: *method == Method::Offset,
            index: 1,
            state: 1,
            use_scratch: false,
            swap_size: 0,
            from_primary: false,
            swap_type: swap_type::NONE,
        }
    }

    /// `boot_status_is_reset`.
    pub(super) fn is_reset(&self, method: &Method) -> bool {
        self.swapping == (*method == Method::Offset) && self.index == 1 && self.state == 1
    }
}

/// The place of the status of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    None,
    Primary,
    Scratch,
}

impl Run<'_> {
    /// `swap_read_status`.
    pub(super) fn read_status(&mut self) -> Result<Progress, BootError> {
        let method = &self.loader.method;
        let mut progress = Progress::reset(method);
        let source = match method {
            Method::Scratch(_) => self.scratch_source()?,
            _ => self.primary_source()?,
        };
        let (area, entries) = match (source, &self.scratch) {
            (Source::None, _) => return Ok(progress),
            (Source::Scratch, Some(scratch)) => (scratch, self.fields.states),
            _ => (&self.primary, self.fields.states * self.fields.entries),
        };
        progress.from_primary = source == Source::Primary;
        let status =
            if source == Source::Scratch { self.fields.scratch_status(area)? } else { self.fields.status(area)? };
        let mut written = Vec::new();
        for entry in 0..entries {
            let [byte] = area.bytes(status + entry * self.fields.align)?;
            written.push(byte != area.erased());
        }
        match method {
            Method::Scratch(_) => scan_scratch(&written, &mut progress),
            Method::Move => scan_move(&written, self.fields.entries, &mut progress),
            _ => scan_offset(&written, &mut progress),
        }
        progress.swap_type = self.fields.read_swap_info(area)?.unwrap_or(swap_type::NONE);
        Ok(progress)
    }

    /// `boot_write_status`. A write that fails is counted and forgotten, because the primary slot is validated anyway.
    pub(super) fn write_status(&self, progress: &Progress) -> Result<(), BootError> {
        let fields = &self.fields;
        let (index, state) = (progress.index - 1, progress.state - 1);
        let entry = match &self.loader.method {
            Method::Move if !progress.swapping => index + state,
            Method::Move => fields.entries + index * 2 + state,
            _ => index * fields.states + state,
        };
        let (area, status) = match &self.scratch {
            Some(scratch) if progress.use_scratch => (scratch, fields.scratch_status(scratch)?),
            _ => (&self.primary, fields.status(&self.primary)?),
        };
        let mut unit = vec![area.erased(); fields.align as usize];
        unit[0] = progress.state as u8;
        unless_power_lost(area.write(status + entry * fields.align, &unit))
    }

    /// `swap_status_init`.
    pub(super) fn init_status(&self, area: &Area, progress: &Progress) -> Result<(), BootError> {
        let fields = &self.fields;
        let secondary = fields.read(&self.secondary)?;
        if progress.swap_type != swap_type::NONE {
            fields.write(area, fields.swap_info(area), &[progress.swap_type])?;
        }
        if secondary.image_ok == super::Mark::Good {
            fields.write(area, fields.image_ok(area), &[1])?;
        }
        fields.write(area, fields.swap_size(area), &progress.swap_size.to_le_bytes())?;
        if fields.tlv_sizes {
            let [primary, secondary] = self.tlv_sizes;
            let sizes = u32::from(secondary) << 16 | u32::from(primary);
            fields.write(area, fields.unprotected_sizes(area), &sizes.to_le_bytes())?;
        }
        Ok(fields.write_magic(area)?)
    }

    /// `swap_scramble_trailer_sectors`: from the last sector down.
    pub(super) fn erase_trailer(&self, area: &Area) -> Result<(), FlashError> {
        let first = area.first_of_last(self.fields.size()).map_or(Ok(0), |sector| area.sector_offset(sector))?;
        area.erase(first, area.size() - first, true)
    }

    /// `boot_find_status` and `boot_read_swap_size`: the area with a good magic, the scratch area first.
    pub(super) fn read_swap_size(&self) -> Result<u32, BootError> {
        let good = |area: &Area| {
            let magic: [u8; 16] = area.bytes(super::trailer::Fields::magic(area))?;
            Ok::<_, FlashError>(magic == self.fields.magic_bytes())
        };
        if let Some(scratch) = &self.scratch
            && good(scratch)?
        {
            return Ok(self.fields.read_swap_size(scratch)?);
        }
        if !good(&self.primary)? && self.loader.settings.release < super::Release::V2_0_0 {
            return Err(BootError::Assert("no trailer has the size of the swap"));
        }
        Ok(self.fields.read_swap_size(&self.primary)?)
    }
}

/// Returns only the errors that end the boot whatever MCUboot does about a failed write.
pub(super) fn unless_power_lost(result: Result<(), FlashError>) -> Result<(), BootError> {
    match result {
        Err(FlashError::PowerLost) => Err(FlashError::PowerLost.into()),
        _ => Ok(()),
    }
}

/// The first gap behind the first entry.
fn scan_scratch(written: &[bool], progress: &mut Progress) {
    let Some(first) = written.iter().position(|written| *written) else {
        return;
    };
    let gap = written[first..].iter().position(|written| !written).map_or(written.len(), |gap| first + gap);
    progress.index = gap as u32 / 3 + 1;
    progress.state = gap as u32 % 3 + 1;
}

/// The last entry: of those for moving, one each, or else of those for swapping, two each.
fn scan_move(written: &[bool], entries: u32, progress: &mut Progress) {
    let Some(last) = written.iter().rposition(|written| *written) else {
        return;
    };
    let found = last as u32 + 1;
    if found < entries {
        progress.index = found + 1;
    } else {
        progress.swapping = true;
        progress.index = (found - entries) / 2 + 1;
        progress.state = (found - entries) % 2 + 1;
    }
}

fn scan_offset(written: &[bool], progress: &mut Progress) {
    if let Some(last) = written.iter().rposition(|written| *written) {
        let found = last as u32 + 1;
        progress.index = found / 2 + 1;
        progress.state = found % 2 + 1;
    }
}
