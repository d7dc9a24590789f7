//! Infineon's line of MCUboot, v1.9.x-cypress: what PSoC 6 devices run.
//!
//! Facts: Infineon's fork of MCUboot (`boot/cypress`, `swap_status_misc.c`), and the application's side of it in
//! ota-bootloader-abstraction.

use embedded_storage_async::nor_flash::NorFlash;
use sprag_core::FlashGeometry;

use crate::control::{BootControl, ImageRegion, State, Swap};
use crate::error::{Area, Error};
use crate::flash;
use crate::mcuboot::status::Status;
use crate::mcuboot::trailer::{self, MAGIC_SIZE, Mark, SET, Trailer};

/// How far a trailer's fields are apart, whatever the write unit is.
const CELL: u32 = 8;
/// `BOOT_SWAP_STATUS_TRAILER_SIZE`: what the bootloader erases at the end of a slot.
const TRAILER: u32 = 64;

/// The geometry of PSoC 6's own flash: rows of 512 bytes, erased to 0x00.
pub const PSOC6_INTERNAL: FlashGeometry = FlashGeometry { write_size: 512, erase_size: 512, erased: 0x00 };

/// How Infineon's MCUboot was built, as far as the hand-over depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct CypressLayout {
    /// The flash of the slot that runs and of the status partition, whose records are a write unit each.
    pub internal: FlashGeometry,
    /// The flash of the slot for updates, when that is an external one.
    pub external: Option<FlashGeometry>,
    /// The offset of the slot for updates in the external flash, in bytes; 0 without one. The bootloader counts its sectors
    /// from the start of that flash.
    pub external_offset: u32,
    /// `MCUBOOT_MAX_IMG_SECTORS`.
    pub max_sectors: u32,
    /// The image, 0 or 1: which records of the status partition are its own.
    pub image: u32,
    /// Whether the status partition has records for a scratch area (`MCUBOOT_SWAP_USING_SCRATCH`).
    pub scratch: bool,
}

impl CypressLayout {
    /// One image, both of its slots in PSoC 6's own flash, swapped through a scratch area.
    pub const fn new(max_sectors: u32) -> Self {
        Self { internal: PSOC6_INTERNAL, external: None, external_offset: 0, max_sectors, image: 0, scratch: true }
    }

    /// Puts the slot for updates into external flash, `offset` bytes from its start.
    ///
    /// The bootloader erases every sector that the slot reaches into as a whole, whether or not the slot begins and ends
    /// with it: nothing else may lie there. Where it does not, the slot is handed over as
    /// [`WholeSectors`](super::WholeSectors).
    #[must_use]
    pub const fn external(mut self, units: FlashGeometry, offset: u32) -> Self {
        self.external = Some(units);
        self.external_offset = offset;
        self
    }

    /// Sets which image this is, and whether a scratch area has records.
    #[must_use]
    pub const fn image(mut self, image: u32, scratch: bool) -> Self {
        (self.image, self.scratch) = (image, scratch);
        self
    }

    fn secondary(&self) -> FlashGeometry {
        self.external.unwrap_or(self.internal)
    }

    /// Returns the start of the sector that the byte before `end` lies in: in bytes from the start of the slot for updates,
    /// which may begin within it.
    fn sector_below(&self, end: u32) -> Result<u32, Error> {
        let erase_size = self.secondary().erase_size;
        let offset = self.external_offset;
        let last = end.checked_sub(1).and_then(|last| last.checked_add(offset)).ok_or(Error::Layout)?;
        let into = last.checked_rem(erase_size).ok_or(Error::Layout)?;
        Ok(last.saturating_sub(into).saturating_sub(offset))
    }

    /// The records of the primary (0) or the secondary slot (1).
    fn status(&self, slot: u32) -> Result<Status, Error> {
        let scratch = u32::from(self.scratch && self.image > 0);
        let index = self.image.checked_mul(2).and_then(|index| index.checked_add(slot)?.checked_add(scratch));
        let FlashGeometry { write_size, erased, .. } = self.internal;
        index.and_then(|index| Status::new(index, write_size, self.max_sectors, erased)).ok_or(Error::Layout)
    }
}

/// The phase of the last swap, by the primary slot's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The bootloader goes on with it at the next reset.
    Interrupted,
    /// It was for a test, and the image is not confirmed.
    Trial,
    /// There was none, or it stays.
    Settled,
}

/// The application's side of Infineon's MCUboot with a swap through the status partition.
///
/// A slot in internal flash takes only the magic, so that nothing can be staged for good there: a row is written at once
/// and the bootloader looks for no more. `image_ok` of the running image is set by reading its row, erasing it and writing
/// it again.
#[derive(Debug)]
pub struct Cypress<'b, P, S, T> {
    primary: P,
    secondary: S,
    status: T,
    layout: CypressLayout,
    row: &'b mut [u8],
}

impl<'b, P: NorFlash, S: NorFlash, T: NorFlash> Cypress<'b, P, S, T> {
    /// The hand-over for two slots and the status partition, each the whole of its region. `row` is used during calls
    /// only: an internal sector, or 40 bytes in whole write units of the slot for updates where that is more. 512 bytes on
    /// PSoC 6; [`Error::Buffer`] names the size.
    pub fn new(primary: P, secondary: S, status: T, layout: CypressLayout, row: &'b mut [u8]) -> Self {
        Self { primary, secondary, status, layout, row }
    }

    /// The secondary slot's trailer as the bootloader puts it together: what it has moved into the status partition, and
    /// what it has not yet.
    async fn secondary_trailer(&mut self) -> Result<Trailer, Error> {
        let mut trailer = self.layout.status(1)?.read(&mut self.status, self.row).await?.trailer;
        let slot = slot_trailer(&mut self.secondary, Area::Secondary, self.layout.secondary()).await?;
        if trailer.magic == Mark::Unset {
            trailer.magic = slot.magic;
        }
        if trailer.image_ok == Mark::Unset {
            trailer.image_ok = slot.image_ok;
        }
        Ok(trailer)
    }

    /// Reads the phase of the last swap from the primary slot's record.
    async fn phase(&mut self) -> Result<Phase, Error> {
        let record = self.layout.status(0)?.read(&mut self.status, self.row).await?;
        if record.is_interrupted() {
            return Ok(Phase::Interrupted);
        }
        if !record.trailer.is_trial() {
            return Ok(Phase::Settled);
        }
        // A flag that is torn, or can't be read, is not unset: the bootloader does not revert, at no reset.
        let slot = slot_trailer(&mut self.primary, Area::Primary, self.layout.internal).await?;
        Ok(if slot.image_ok == Mark::Unset { Phase::Trial } else { Phase::Settled })
    }

    /// The start of the sectors that the secondary slot's trailer lies in.
    fn trailer_start(&self) -> Result<u32, Error> {
        let end = flash::capacity(&self.secondary)?;
        let trailer = end.checked_sub(TRAILER).ok_or(Error::Layout)?;
        self.layout.sector_below(trailer.checked_add(1).ok_or(Error::Layout)?)
    }

    /// Takes back what is staged, unless a swap stands in the way.
    async fn take_back(&mut self, all: bool) -> Result<(), Error> {
        match self.phase().await? {
            Phase::Interrupted => Err(Error::SwapInterrupted),
            Phase::Trial => Err(Error::OnTrial),
            Phase::Settled => self.clear(all).await,
        }
    }

    /// Erases the sectors of the secondary slot's trailer, those that are not blank or all of them, from the end down, and
    /// unsets what the bootloader has taken over.
    async fn clear(&mut self, all: bool) -> Result<(), Error> {
        let start = self.trailer_start()?;
        let mut to = flash::capacity(&self.secondary)?;
        let erases = u32::try_from(S::ERASE_SIZE).map_err(|_| Error::Layout)?;
        if !start.is_multiple_of(erases) || !to.is_multiple_of(erases) {
            return Err(Error::PartialSector);
        }
        while to > start {
            let from = self.layout.sector_below(to)?;
            if all || !flash::is_blank(&mut self.secondary, from..to, self.layout.secondary()).await {
                flash::erase(&mut self.secondary, Area::Secondary, from, to).await?;
            }
            to = from;
        }
        let status = self.layout.status(1)?;
        let record = status.read(&mut self.status, self.row).await?.trailer;
        // The bootloader takes `image_ok` over by itself, without a magic too. Left there, it would make the next staging
        // for a test a permanent one.
        if record.magic != Mark::Unset || record.image_ok != Mark::Unset {
            status.unset(&mut self.status, self.row).await?;
        }
        Ok(())
    }

    /// Writes what stages an image: from the lowest unit up, the last one being the magic's.
    async fn write(&mut self, swap: Swap) -> Result<(), Error> {
        let units = self.layout.secondary();
        let end = flash::capacity(&self.secondary)?;
        let (front, block) = stage_bytes(self.row, units, swap, self.layout.external.is_some())?;
        let mut at = end.saturating_sub(size(front)?.saturating_add(size(block)?));
        for unit in front.chunks(usize::try_from(units.write_size).unwrap_or(usize::MAX).max(1)) {
            if unit.iter().any(|byte| *byte != units.erased) {
                flash::write(&mut self.secondary, Area::Secondary, at, unit).await?;
            }
            at = at.saturating_add(units.write_size);
        }
        flash::write(&mut self.secondary, Area::Secondary, at, block).await
    }
}

impl<P: NorFlash, S: NorFlash, T: NorFlash> BootControl for Cypress<'_, P, S, T> {
    /// The secondary slot without the sectors of its trailer.
    fn image_region(&self) -> ImageRegion {
        ImageRegion { start: 0, end: self.trailer_start().unwrap_or(0), geometry: self.layout.secondary() }
    }

    async fn state(&mut self) -> Result<State, Error> {
        if !self.layout.internal.suits::<P>() || !self.layout.internal.suits::<T>() {
            return Err(Error::Geometry);
        }
        let phase = self.phase().await?;
        if phase == Phase::Interrupted {
            return Ok(State::Interrupted);
        }
        let secondary = self.secondary_trailer().await?;
        Ok(match (secondary.magic, secondary.image_ok) {
            (Mark::Set, Mark::Unset) => State::Staged(Swap::Test),
            (Mark::Set, Mark::Set) => State::Staged(Swap::Permanent),
            // This line reverts only while the other slot's magic is erased.
            (Mark::Unset, _) if phase == Phase::Trial => State::Trial,
            _ => State::Settled,
        })
    }

    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        if swap == Swap::Permanent && self.layout.external.is_none() {
            return Err(Error::NoPermanent);
        }
        match self.state().await? {
            State::Interrupted => return Err(Error::SwapInterrupted),
            State::Trial => return Err(Error::OnTrial),
            State::Staged(staged) if staged == swap => return Ok(()),
            _ => {}
        }
        // A torn row may read as erased and yet refuse to be programmed, or not keep what is programmed.
        self.take_back(true).await?;
        let trailer = self.trailer_start()?..flash::capacity(&self.secondary)?;
        flash::check_erased(&mut self.secondary, Area::Secondary, trailer, self.layout.secondary()).await?;
        self.write(swap).await
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        self.take_back(false).await
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        match self.phase().await? {
            Phase::Interrupted => return Err(Error::SwapInterrupted),
            Phase::Settled => return Ok(()),
            Phase::Trial => {}
        }
        let FlashGeometry { erase_size, erased, .. } = self.layout.internal;
        let end = flash::capacity(&self.primary)?;
        let start = end.checked_sub(erase_size).ok_or(Error::Layout)?;
        let needed = usize::try_from(erase_size).map_err(|_| Error::Layout)?;
        let row = self.row.get_mut(..needed).ok_or(Error::Buffer { needed })?;
        if !flash::read_torn(&mut self.primary, Area::Primary, start, row).await? {
            // A row that can't be read has nothing to keep: the bootloader has its own record.
            row.fill(erased);
        }
        let (rest, magic) = row.split_last_chunk_mut::<{ MAGIC_SIZE as usize }>().ok_or(Error::Layout)?;
        *magic = *trailer::magic(CELL);
        *rest.iter_mut().rev().nth(7).ok_or(Error::Layout)? = SET;
        flash::erase(&mut self.primary, Area::Primary, start, end).await?;
        flash::write(&mut self.primary, Area::Primary, start, row).await
    }

    /// Writes nothing, as a rule: the bootloader reverts what was not confirmed. It does so only while the secondary slot
    /// has no magic; one that is there is erased.
    async fn go_back(&mut self) -> Result<(), Error> {
        match self.phase().await? {
            Phase::Interrupted => Err(Error::SwapInterrupted),
            Phase::Settled => Err(Error::NotOnTrial),
            Phase::Trial if self.secondary_trailer().await?.magic == Mark::Unset => Ok(()),
            Phase::Trial => self.clear(false).await,
        }
    }
}

/// The trailer in the slot itself. What can't be read counts as torn.
async fn slot_trailer<F: NorFlash>(slot: &mut F, area: Area, units: FlashGeometry) -> Result<Trailer, Error> {
    let end = flash::capacity(slot)?;
    let start = end.checked_sub(MAGIC_SIZE.saturating_add(CELL.saturating_mul(2))).ok_or(Error::Layout)?;
    let mut bytes = [0; 32];
    if !flash::read_torn(slot, area, start, &mut bytes).await? {
        return Ok(Trailer { magic: Mark::Bad, image_ok: Mark::Bad, copy_done: Mark::Bad });
    }
    let [copy_done, _, _, _, _, _, _, _, image_ok, _, _, _, _, _, _, _, magic @ ..] = bytes;
    Ok(Trailer {
        magic: Mark::of_magic(magic, CELL, units.erased),
        image_ok: Mark::of_flag(image_ok, units.erased),
        copy_done: Mark::of_flag(copy_done, units.erased),
    })
}

/// What stages an image, in whole write units of the slot's end: what is written before the magic, and the magic's block.
fn stage_bytes(row: &mut [u8], units: FlashGeometry, swap: Swap, external: bool) -> Result<(&[u8], &[u8]), Error> {
    /// Magic, `image_ok`, `copy_done` and `swap_info`.
    const FIELDS: u32 = MAGIC_SIZE + 3 * CELL;
    let whole = |bytes: u32| {
        let bytes = bytes.checked_next_multiple_of(units.write_size).ok_or(Error::Layout)?;
        usize::try_from(bytes).map_err(|_| Error::Layout)
    };
    let (needed, block) = (whole(FIELDS)?, whole(MAGIC_SIZE)?);
    let bytes = row.get_mut(..needed).ok_or(Error::Buffer { needed })?;
    bytes.fill(units.erased);
    let (rest, magic) = bytes.split_last_chunk_mut::<{ MAGIC_SIZE as usize }>().ok_or(Error::Layout)?;
    *magic = *trailer::magic(CELL);
    if external {
        let mut set = |cell: usize, value| match rest.iter_mut().rev().nth(cell) {
            Some(byte) => {
                *byte = value;
                Ok(())
            }
            None => Err(Error::Layout),
        };
        if swap == Swap::Permanent {
            set(7, SET)?;
        }
        set(23, trailer::swap_info(swap))?;
    }
    let front = needed.checked_sub(block).ok_or(Error::Layout)?;
    bytes.split_at_checked(front).ok_or(Error::Layout)
}

fn size(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::Layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the order of `swap_status_init_offset`: both slots of the first image, a scratch area if there is one, both of
    /// the second. For 32 sectors an area is two copies of two rows, and the trailer is in the second row of a copy.
    #[test]
    fn records_lie_where_infineons_mcuboot_has_them() {
        let records = |layout: CypressLayout| [0, 1].map(|slot| layout.status(slot).unwrap().offsets().unwrap());
        let layout = CypressLayout::new(32);
        assert_eq!(records(layout), [[512, 1536], [2560, 3584]]);
        assert_eq!(records(layout.image(1, false)), [[4608, 5632], [6656, 7680]]);
        assert_eq!(records(layout.image(1, true)), [[6656, 7680], [8704, 9728]]);
        // 500 sectors have their status in one row, 501 need two.
        assert_eq!(records(CypressLayout::new(500))[0], [512, 1536]);
        assert_eq!(records(CypressLayout::new(501))[0], [1024, 2560]);
    }
}
