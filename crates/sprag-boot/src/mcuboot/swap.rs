//! MCUboot with two slots whose images are swapped, or with the new one copied over the old.

use embedded_storage_async::nor_flash::{NorFlash, NorFlashErrorKind};

use crate::control::{BootControl, ImageRegion, State, Swap};
use crate::error::{Area, Error};
use crate::flash;
use crate::mcuboot::header::Header;
use crate::mcuboot::layout::{Layout, Method};
use crate::mcuboot::trailer::{self, Mark, SET, Trailer};

/// The application's side of MCUboot's swaps: what `boot_set_pending` and `boot_set_confirmed` do, with the magic written
/// last, so that no cut leaves an image staged otherwise than was asked for.
#[derive(Debug)]
pub struct McuBoot<P, S> {
    primary: P,
    secondary: S,
    layout: Layout,
}

impl<P: NorFlash, S: NorFlash> McuBoot<P, S> {
    /// The hand-over for two slots, each the whole of its region.
    pub fn new(primary: P, secondary: S, layout: Layout) -> Self {
        let slots = [primary.capacity(), secondary.capacity()];
        let layout = layout.sized(slots.map(|slot| u32::try_from(slot).unwrap_or(u32::MAX)));
        Self { primary, secondary, layout }
    }

    async fn primary_trailer(&mut self) -> Result<Trailer, Error> {
        Trailer::read(&mut self.primary, Area::Primary, self.layout).await
    }

    async fn secondary_trailer(&mut self) -> Result<Trailer, Error> {
        Trailer::read(&mut self.secondary, Area::Secondary, self.layout).await
    }

    /// The trailer in whole sectors, in bytes.
    fn trailer_sectors(&self) -> u32 {
        match self.layout.method {
            Method::Scratch | Method::Move => self.layout.trailer_sectors(3, 4),
            // With a field for the sizes of unprotected TLVs.
            Method::Offset => self.layout.trailer_sectors(2, 5),
            Method::Overwrite => self.layout.trailer_sectors(0, 3),
        }
    }

    async fn is_trial(&mut self) -> Result<bool, Error> {
        Ok(self.primary_trailer().await?.is_trial())
    }

    /// Returns whether MCUboot reads the primary slot's trailer without an error, and does not revert.
    async fn is_confirmed(&mut self) -> Result<bool, Error> {
        let readable = trailer::is_readable(&mut self.primary, Area::Primary, self.layout).await?;
        Ok(readable && !self.is_trial().await?)
    }

    /// Returns whether MCUboot goes on with a swap at the next reset although its `boot_swap_type` tells of none: the
    /// conditions of its `swap_status_source`, and the type of a swap in the primary slot's `swap_info`. MCUboot writes
    /// `swap_info` before the first byte of the swap's status.
    ///
    /// By scratch, MCUboot keeps the status in the scratch area while it swaps the sectors of the trailers. That part of a
    /// swap cannot be seen in the two slots.
    async fn is_interrupted(&mut self, secondary: &Trailer) -> Result<bool, Error> {
        let not_in_secondary = match self.layout.method {
            // A revert cut off at its beginning: MCUboot has marked the secondary slot for it.
            Method::Offset if (secondary.magic, secondary.copy_done) == (Mark::Set, Mark::Set) => {
                return Ok(secondary.image_ok == Mark::Unset);
            }
            Method::Move | Method::Offset => secondary.magic != Mark::Set,
            Method::Scratch => true,
            Method::Overwrite => false,
        };
        let primary = self.primary_trailer().await?;
        if !not_in_secondary || (primary.magic, primary.copy_done) != (Mark::Set, Mark::Unset) {
            return Ok(false);
        }
        trailer::has_swap_type(&mut self.primary, Area::Primary, self.layout).await
    }

    /// Returns the state, or an error while MCUboot is in the middle of a swap.
    async fn uninterrupted(&mut self) -> Result<State, Error> {
        match self.state().await? {
            State::Interrupted => Err(Error::SwapInterrupted),
            state => Ok(state),
        }
    }

    /// Returns the state, or an error while nothing may be written to the secondary slot.
    async fn writable(&mut self) -> Result<State, Error> {
        let state = self.uninterrupted().await?;
        if self.is_trial().await? { Err(Error::OnTrial) } else { Ok(state) }
    }

    /// Erases the first sector of the secondary slot, by offset, unless it is blank.
    ///
    /// A swap that stays leaves the old image there. MCUboot takes an image header in that sector for a new image at the
    /// wrong address, and erases the whole slot instead of swapping (`boot_validate_slot`, since 2.2.0).
    async fn clean_first_sector(&mut self) -> Result<(), Error> {
        let Layout { geometry, method, .. } = self.layout;
        if method != Method::Offset {
            return Ok(());
        }
        flash::clean(&mut self.secondary, Area::Secondary, 0..geometry.erase_size, geometry, false).await
    }

    /// Erases the primary slot's trailer. Without a magic, MCUboot reverts nothing. Returns `false` when the image may reach
    /// into its sectors.
    ///
    /// The lowest sector goes first and that of the magic last: without a magic, MCUboot by scratch takes status bytes for
    /// those of a swap that it must complete.
    async fn erase_primary_trailer(&mut self) -> Result<bool, Error> {
        let end = flash::capacity(&self.primary)?;
        let start = end.checked_sub(self.trailer_sectors()).ok_or(Error::Layout)?;
        let Some(header) = Header::read(&mut self.primary, Area::Primary).await? else { return Ok(false) };
        if header.image_end(&mut self.primary, Area::Primary).await? > start {
            return Ok(false);
        }
        let mut from = start;
        while from < end {
            let to = from.saturating_add(self.layout.geometry.erase_size);
            flash::erase(&mut self.primary, Area::Primary, from, to).await?;
            from = to;
        }
        Ok(true)
    }
}

impl<P: NorFlash, S: NorFlash> BootControl for McuBoot<P, S> {
    /// The secondary slot without the trailer in whole sectors, as far as the primary slot can take the image. A swap by
    /// moving needs one more sector there: MCUboot silently ignores an image that reaches further. For a swap by offset, the
    /// image starts in the second sector.
    fn image_region(&self) -> ImageRegion {
        let sector = self.layout.geometry.erase_size;
        let (before, spare) = match self.layout.method {
            Method::Scratch | Method::Overwrite => (0, 0),
            Method::Move => (0, sector),
            Method::Offset => (sector, 0),
        };
        let primary = u32::try_from(self.primary.capacity()).unwrap_or(u32::MAX);
        let secondary = u32::try_from(self.secondary.capacity()).unwrap_or(u32::MAX);
        let slot = primary.saturating_add(before).saturating_sub(spare).min(secondary);
        self.layout.image_region(slot, before, self.trailer_sectors())
    }

    async fn state(&mut self) -> Result<State, Error> {
        if !self.layout.suits::<P, S>() {
            return Err(Error::Geometry);
        }
        let secondary = self.secondary_trailer().await?;
        if self.is_interrupted(&secondary).await? {
            return Ok(State::Interrupted);
        }
        match (secondary.magic, secondary.image_ok) {
            (Mark::Set, Mark::Unset | Mark::Set) if self.layout.method == Method::Overwrite => {
                return Ok(State::Staged(Swap::Permanent));
            }
            (Mark::Set, Mark::Unset) => return Ok(State::Staged(Swap::Test)),
            (Mark::Set, Mark::Set) => return Ok(State::Staged(Swap::Permanent)),
            _ => {}
        }
        Ok(if self.is_trial().await? { State::Trial } else { State::Settled })
    }

    /// By offset, erases the slot's first sector before anything is staged, unless it is blank.
    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        let state = self.writable().await?;
        self.clean_first_sector().await?;
        if let State::Staged(staged) = state
            && (staged == swap || self.layout.method == Method::Overwrite)
        {
            return Ok(());
        }
        let size = self.trailer_sectors();
        trailer::stage(&mut self.secondary, self.layout, size, swap).await
    }

    /// By offset, erases the slot's first sector as well, unless it is blank.
    async fn unstage(&mut self) -> Result<(), Error> {
        self.writable().await?;
        let size = self.trailer_sectors();
        trailer::clean(&mut self.secondary, self.layout, size, false).await?;
        self.clean_first_sector().await
    }

    /// Leaves a torn `image_ok` as it is: MCUboot reverts only while the flag reads as erased. An erase that is cut off could
    /// do harm there, a torn flag does none.
    async fn confirm(&mut self) -> Result<(), Error> {
        self.uninterrupted().await?;
        let trailer = self.primary_trailer().await?;
        let layout = self.layout;
        if layout.method == Method::Overwrite && !trailer.is_trial() {
            return Ok(());
        }
        let mut failed = Error::Flash { area: Area::Primary, kind: NorFlashErrorKind::Other };
        let mut written = Ok(());
        if (trailer.magic, trailer.image_ok) == (Mark::Set, Mark::Unset) {
            let cells = layout.cells(flash::capacity(&self.primary)?)?;
            written = trailer::write_flag(&mut self.primary, Area::Primary, layout, cells.image_ok, SET).await;
        }
        match written {
            Ok(()) if self.is_confirmed().await? => return Ok(()),
            Ok(()) => {}
            Err(error) => failed = error,
        }
        // On parts with ECC, a cell that a cut left torn may refuse to be programmed, or to be read. MCUboot stops at a
        // trailer that cannot be read.
        if self.erase_primary_trailer().await? { Ok(()) } else { Err(failed) }
    }

    /// Writes nothing: MCUboot reverts what was not confirmed.
    async fn go_back(&mut self) -> Result<(), Error> {
        if self.is_trial().await? { Ok(()) } else { Err(Error::NotOnTrial) }
    }
}
