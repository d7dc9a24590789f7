//! embassy-boot: a state partition whose first word says what to do.
//!
//! Format: `embassy-boot` 0.7, `boot_loader.rs` and `firmware_updater`. Everything is in words of the state partition's
//! write unit: the magic, whether the progress behind it counts, and the progress of a swap.

use embedded_storage_async::nor_flash::NorFlash;
use sprag_core::FlashGeometry;

use crate::control::{BootControl, ImageRegion, State, Swap};
use crate::error::{Area, Error};
use crate::flash;

const BOOT: u8 = 0xD0;
const SWAP: u8 = 0xF0;

/// The largest write unit: what embassy-boot aligns its buffers to.
const WORD_MAX: usize = 32;

/// How embassy-boot was built, as far as the hand-over depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Layout {
    /// The size of the ACTIVE partition, in bytes: no image may be larger.
    pub active_size: u32,
    /// The geometry of the DFU partition.
    pub dfu: FlashGeometry,
    /// The geometry of the STATE partition; its write unit is 1 to 32 bytes. Bytes are erased to 0xFF, or to 0x00 with
    /// embassy-boot's feature `flash-erase-zero`.
    pub state: FlashGeometry,
}

/// The application's side of embassy-boot: what its `FirmwareState` does. Images go to the start of the DFU partition.
#[derive(Debug)]
pub struct EmbassyBoot<T> {
    state: T,
    layout: Layout,
}

/// What the state partition says.
enum Found {
    /// Nothing is to be swapped.
    Boot,
    /// To be swapped at the next reset.
    Swap,
    /// Swapped, and to be reverted at the next reset.
    Swapped,
    /// Its progress does not count: the next reset copies nothing, and leaves it at that.
    GivenUp,
}

impl<T: NorFlash> EmbassyBoot<T> {
    /// The hand-over over the STATE partition, which is the whole of `state`.
    pub fn new(state: T, layout: Layout) -> Self {
        Self { state, layout }
    }

    fn word_size(&self) -> Result<usize, Error> {
        let size = usize::try_from(self.layout.state.write_size).unwrap_or(usize::MAX);
        if (1..=WORD_MAX).contains(&size) && self.layout.state.suits::<T>() { Ok(size) } else { Err(Error::Layout) }
    }

    /// Whether the word holds the same byte all over, for which `holds`; or any byte for which it does. What can't be read
    /// holds none: a cut tore it, and embassy-boot does not take it for a magic or for erased either.
    async fn word(&mut self, index: u32, all: bool, holds: impl Fn(u8) -> bool) -> Result<bool, Error> {
        let mut word = [0; WORD_MAX];
        let size = self.word_size()?;
        let word = word.get_mut(..size).ok_or(Error::Layout)?;
        let at = index.checked_mul(self.layout.state.write_size).ok_or(Error::Layout)?;
        let whole = flash::read_torn(&mut self.state, Area::State, at, word).await?;
        Ok(whole && if all { word.iter().all(|byte| holds(*byte)) } else { word.iter().any(|byte| holds(*byte)) })
    }

    async fn found(&mut self) -> Result<Found, Error> {
        let erased = self.layout.state.erased;
        if !self.word(0, true, |byte| byte == SWAP).await? {
            return Ok(Found::Boot);
        }
        if !self.word(1, true, |byte| byte == erased).await? {
            return Ok(Found::GivenUp);
        }
        // While an application runs, all of the swap's progress is there, or none of it.
        let begun = !self.word(2, false, |byte| byte == erased).await?;
        Ok(if begun { Found::Swapped } else { Found::Swap })
    }

    /// As `FirmwareState::set_magic`: progress that counts is made to count no more, so that a cut within the erase does
    /// not leave half of it; then everything is erased, and the magic is written.
    async fn set_magic(&mut self, magic: u8, found: &Found) -> Result<(), Error> {
        let size = self.word_size()?;
        if matches!(found, Found::Swap | Found::Swapped) {
            let invalid = [!self.layout.state.erased; WORD_MAX];
            let invalid = invalid.get(..size).ok_or(Error::Layout)?;
            // A word that a cut left torn may refuse to be programmed (parts with ECC): the erase goes ahead all the same.
            let _ = self.state.write(self.layout.state.write_size, invalid).await;
        }
        let end = flash::capacity(&self.state)?;
        flash::erase(&mut self.state, Area::State, 0, end).await?;
        let word = [magic; WORD_MAX];
        flash::write(&mut self.state, Area::State, 0, word.get(..size).ok_or(Error::Layout)?).await
    }
}

impl<T: NorFlash> BootControl for EmbassyBoot<T> {
    /// As much of the DFU partition as the ACTIVE one can take.
    fn image_region(&self) -> ImageRegion {
        let Layout { active_size, dfu, .. } = self.layout;
        let end = active_size.saturating_sub(active_size.checked_rem(dfu.erase_size).unwrap_or(0));
        ImageRegion { start: 0, end, geometry: dfu }
    }

    async fn state(&mut self) -> Result<State, Error> {
        Ok(match self.found().await? {
            Found::Boot | Found::GivenUp => State::Settled,
            Found::Swap => State::Staged(Swap::Test),
            Found::Swapped => State::Trial,
        })
    }

    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        if swap == Swap::Permanent {
            return Err(Error::NoPermanent);
        }
        match self.found().await? {
            Found::Swapped => Err(Error::OnTrial),
            Found::Swap => Ok(()),
            found => self.set_magic(SWAP, &found).await,
        }
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        match self.found().await? {
            Found::Swapped => Err(Error::OnTrial),
            Found::Boot => Ok(()),
            found => self.set_magic(BOOT, &found).await,
        }
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        match self.found().await? {
            found @ (Found::Swapped | Found::GivenUp) => self.set_magic(BOOT, &found).await,
            Found::Boot | Found::Swap => Ok(()),
        }
    }

    /// Writes nothing: embassy-boot reverts what was not marked as booted.
    async fn go_back(&mut self) -> Result<(), Error> {
        if matches!(self.found().await?, Found::Swapped) { Ok(()) } else { Err(Error::NotOnTrial) }
    }
}
