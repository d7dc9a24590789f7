//! MCUboot that runs images where they lie: the newest of two slots.

use embedded_storage_async::nor_flash::NorFlash;

use crate::control::{BootControl, ImageRegion, State, Swap};
use crate::error::{Area, Error};
use crate::flash;
use crate::mcuboot::header::Header;
use crate::mcuboot::layout::Layout;
use crate::mcuboot::trailer::{self, Mark, SET, Trailer};

/// Which of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Slot {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

/// The application's side of `MCUBOOT_DIRECT_XIP`: the newest image runs from its own slot, and an update goes into the
/// other one, linked for it.
///
/// With `MCUBOOT_DIRECT_XIP_REVERT` an image without a magic is never run, and one that did not confirm itself is erased.
/// [`without_revert`](Self::without_revert) is for a bootloader without it: there, whatever is newest, whole and signed
/// runs for good, staged or not.
#[derive(Debug)]
pub struct DirectXip<R, O> {
    running: R,
    other: O,
    slot: Slot,
    layout: Layout,
    revert: bool,
}

impl<R: NorFlash, O: NorFlash> DirectXip<R, O> {
    /// The hand-over for the slot that the caller runs from, which is `slot`, and the other one; each the whole of its
    /// region. The layout's method and `max_sectors` do not matter.
    pub fn new(running: R, other: O, slot: Slot, layout: Layout) -> Self {
        Self { running, other, slot, layout, revert: true }
    }

    /// For a bootloader that was built without `MCUBOOT_DIRECT_XIP_REVERT`.
    #[must_use]
    pub fn without_revert(mut self) -> Self {
        self.revert = false;
        self
    }

    fn trailer_sectors(&self) -> u32 {
        self.layout.trailer_sectors(0, 3)
    }

    /// The running image was selected, or is about to be once more, and is not confirmed: then it is erased. A torn flag
    /// does not confirm here; a torn `copy_done` keeps the image for good.
    async fn trial(&mut self) -> Result<Option<Trailer>, Error> {
        if !self.revert {
            return Ok(None);
        }
        let trailer = Trailer::read(&mut self.running, Area::Primary, self.layout).await?;
        let trial = trailer.magic == Mark::Set && trailer.copy_done != Mark::Bad && trailer.image_ok != Mark::Set;
        Ok(Some(trailer).filter(|_| trial))
    }

    async fn is_trial(&mut self) -> Result<bool, Error> {
        Ok(self.trial().await?.is_some())
    }

    /// Whether MCUboot would look at the other slot first.
    async fn other_is_newer(&mut self) -> Result<bool, Error> {
        let Some(other) = Header::read(&mut self.other, Area::Secondary).await? else { return Ok(false) };
        let running = Header::read(&mut self.running, Area::Primary).await?;
        Ok(match (running, self.slot) {
            (None, _) => true,
            (Some(running), Slot::Primary) => other.version > running.version,
            // Of two that are equal, the primary slot's runs.
            (Some(running), Slot::Secondary) => other.version >= running.version,
        })
    }

    /// How the other slot's image would run.
    async fn staged(&mut self) -> Result<Option<Swap>, Error> {
        if !self.other_is_newer().await? {
            return Ok(None);
        }
        if !self.revert {
            return Ok(Some(Swap::Permanent));
        }
        let trailer = Trailer::read(&mut self.other, Area::Secondary, self.layout).await?;
        Ok(match (trailer.magic, trailer.image_ok, trailer.copy_done) {
            (Mark::Set, Mark::Set, _) => Some(Swap::Permanent),
            (Mark::Set, _, Mark::Unset | Mark::Bad) => Some(Swap::Test),
            _ => None,
        })
    }

    /// Writes the running slot's trailer anew, confirmed. Until its magic is back, a reset brings the old image back.
    async fn rewrite(&mut self, failed: Error) -> Result<(), Error> {
        let (layout, end) = (self.layout, flash::capacity(&self.running)?);
        let cells = layout.cells(end)?;
        let start = end.checked_sub(layout.geometry.erase_size).filter(|start| *start <= cells.copy_done);
        let header = Header::read(&mut self.running, Area::Primary).await?;
        let (Some(start), Some(header)) = (start, header) else { return Err(failed) };
        if header.image_end(&mut self.running, Area::Primary).await? > start {
            return Err(failed);
        }
        flash::erase(&mut self.running, Area::Primary, start, end).await?;
        for flag in [cells.copy_done, cells.image_ok] {
            trailer::write_flag(&mut self.running, Area::Primary, layout, flag, SET).await?;
        }
        trailer::write_magic(&mut self.running, Area::Primary, layout, cells).await
    }
}

impl<R: NorFlash, O: NorFlash> BootControl for DirectXip<R, O> {
    /// The other slot without its trailer in whole sectors.
    fn image_region(&self) -> ImageRegion {
        let slot = u32::try_from(self.other.capacity()).unwrap_or(u32::MAX);
        self.layout.image_region(slot, 0, self.trailer_sectors())
    }

    /// The header's magic: without it, MCUboot neither runs what lies in the slot, nor erases it.
    fn held_back(&self) -> usize {
        usize::try_from(self.layout.geometry.write_size.max(8)).unwrap_or(usize::MAX)
    }

    async fn state(&mut self) -> Result<State, Error> {
        if !self.layout.suits::<R, O>() {
            return Err(Error::Geometry);
        }
        if self.is_trial().await? {
            return Ok(State::Trial);
        }
        Ok(self.staged().await?.map_or(State::Settled, State::Staged))
    }

    /// Without revert there is nothing to write: an image that is newest and whole is staged.
    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        if self.is_trial().await? {
            return Err(Error::OnTrial);
        }
        if !self.other_is_newer().await? {
            return Err(Error::NotNewest);
        }
        if !self.revert || self.staged().await? == Some(swap) {
            return Ok(());
        }
        let size = self.trailer_sectors();
        trailer::stage(&mut self.other, self.layout, size, swap).await
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        if self.is_trial().await? {
            return Err(Error::OnTrial);
        }
        if self.revert {
            let size = self.trailer_sectors();
            return trailer::clean(&mut self.other, self.layout, size, false).await;
        }
        if self.other_is_newer().await? {
            // Its header.
            flash::erase(&mut self.other, Area::Secondary, 0, self.layout.geometry.erase_size).await?;
        }
        Ok(())
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        if !self.is_trial().await? {
            return Ok(());
        }
        let cells = self.layout.cells(flash::capacity(&self.running)?)?;
        let written = trailer::write_flag(&mut self.running, Area::Primary, self.layout, cells.image_ok, SET).await;
        // A cell that a cut left torn may refuse to be programmed (parts with ECC), or keep bits that are too many.
        let failed = written.err().unwrap_or(Error::Layout);
        if self.is_trial().await? { self.rewrite(failed).await } else { Ok(()) }
    }

    /// MCUboot erases what was selected and not confirmed. It notes the selection itself; where that is missing, it is made
    /// up for.
    async fn go_back(&mut self) -> Result<(), Error> {
        match self.trial().await? {
            Some(Trailer { copy_done: Mark::Unset, .. }) => {
                let cells = self.layout.cells(flash::capacity(&self.running)?)?;
                trailer::write_flag(&mut self.running, Area::Primary, self.layout, cells.copy_done, SET).await
            }
            Some(_) => Ok(()),
            None => Err(Error::NotOnTrial),
        }
    }
}
