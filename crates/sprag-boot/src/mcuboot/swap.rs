//! MCUboot with two slots whose images are swapped, or with the new one copied over the old.

use embedded_storage_async::nor_flash::NorFlash;

use crate::control::{BootControl, Room, State, Swap};
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
        Ok(self.layout.method != Method::Overwrite && self.primary_trailer().await?.is_trial())
    }

    /// Erases the primary slot's last sector, which has the magic and the flags: without a magic nothing is reverted. `false`
    /// when the image may reach into it.
    async fn erase_primary_magic(&mut self) -> Result<bool, Error> {
        let end = flash::capacity(&self.primary)?;
        let start = end.checked_sub(self.layout.erase_size).ok_or(Error::Layout)?;
        let Some(header) = Header::read(&mut self.primary, Area::Primary).await? else { return Ok(false) };
        if header.image_end(&mut self.primary, Area::Primary).await? > start {
            return Ok(false);
        }
        flash::erase(&mut self.primary, Area::Primary, start, end).await?;
        Ok(true)
    }
}

impl<P: NorFlash, S: NorFlash> BootControl for McuBoot<P, S> {
    /// The secondary slot without the trailer in whole sectors, and without the sector that a swap by moving needs: an
    /// image that reaches further is left lying by MCUboot without a word. For a swap by offset, the image starts in the
    /// second sector.
    fn room(&self) -> Room {
        let sector = self.layout.erase_size;
        let (before, spare) = match self.layout.method {
            Method::Scratch | Method::Overwrite => (0, 0),
            Method::Move => (0, sector),
            Method::Offset => (sector, 0),
        };
        self.layout.room(self.secondary.capacity(), before, self.trailer_sectors().saturating_add(spare))
    }

    async fn state(&mut self) -> Result<State, Error> {
        let Trailer { magic, image_ok, copy_done } = self.secondary_trailer().await?;
        match (magic, image_ok, self.layout.method) {
            (Mark::Set, Mark::Unset | Mark::Set, Method::Overwrite) => return Ok(State::Staged(Swap::Permanent)),
            // A revert that a reset cut off.
            (Mark::Set, Mark::Unset, Method::Offset) if copy_done == Mark::Set => return Ok(State::Trial),
            (Mark::Set, Mark::Unset, _) => return Ok(State::Staged(Swap::Test)),
            (Mark::Set, Mark::Set, _) => return Ok(State::Staged(Swap::Permanent)),
            _ => {}
        }
        Ok(if self.is_trial().await? { State::Trial } else { State::Settled })
    }

    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        match self.state().await? {
            State::Trial => return Err(Error::OnTrial),
            State::Staged(staged) if staged == swap || self.layout.method == Method::Overwrite => return Ok(()),
            _ => {}
        }
        if self.is_trial().await? {
            return Err(Error::OnTrial);
        }
        let size = self.trailer_sectors();
        trailer::stage(&mut self.secondary, self.layout, size, swap).await
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        if self.is_trial().await? {
            return Err(Error::OnTrial);
        }
        let size = self.trailer_sectors();
        trailer::clean(&mut self.secondary, self.layout, size, false).await
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        let trailer = self.primary_trailer().await?;
        let failed = match (trailer.magic, trailer.image_ok) {
            _ if self.layout.method == Method::Overwrite => return Ok(()),
            (Mark::Unset, _) | (Mark::Set, Mark::Set) => return Ok(()),
            (Mark::Set, Mark::Unset) => {
                let cells = self.layout.cells(flash::capacity(&self.primary)?)?;
                let (primary, layout) = (&mut self.primary, self.layout);
                match trailer::write_flag(primary, Area::Primary, layout, cells.image_ok, SET).await {
                    Ok(()) => return Ok(()),
                    failed => failed,
                }
            }
            // Torn: MCUboot reverts only while the magic is whole and the flag is erased.
            _ => Ok(()),
        };
        // A cell that a cut left torn may refuse to be programmed, or to be read (parts with ECC). Neither may stay.
        if self.erase_primary_magic().await? { Ok(()) } else { failed }
    }

    /// Writes nothing: MCUboot reverts what was not confirmed.
    async fn go_back(&mut self) -> Result<(), Error> {
        if self.is_trial().await? { Ok(()) } else { Err(Error::NotOnTrial) }
    }
}
