//! What an updater needs from any bootloader.

use core::ops::Range;

use sprag_core::FlashGeometry;

use crate::error::Error;

/// How a staged image is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Swap {
    /// Until the next reset, unless it is confirmed before. A bootloader that has no trials runs it for good.
    Test,
    /// For good.
    Permanent,
}

/// Where the hand-over stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// The running image stays, whatever happens.
    Settled,
    /// Another image takes over at the next reset.
    Staged(Swap),
    /// The running image is on trial: the next reset brings the old one back, unless this one is confirmed.
    Trial,
    /// The bootloader was cut off in the middle of a swap and completes it at the next reset. No firmware runs in this
    /// state: it is seen only in a copy of a device's flash. Every call that writes is refused with
    /// [`Error::SwapInterrupted`].
    Interrupted,
}

/// The region that an image is written to, in bytes from the start of the flash that updates are written to. It begins and
/// ends with a sector; the bytes behind it belong to the bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ImageRegion {
    /// The offset of the image's first byte.
    pub start: u32,
    /// The offset of the first byte that the image must not reach.
    pub end: u32,
    /// The geometry of the flash there, as the bootloader was built for.
    pub geometry: FlashGeometry,
}

impl From<ImageRegion> for Range<u32> {
    fn from(region: ImageRegion) -> Self {
        region.start..region.end
    }
}

/// Tells the bootloader, asks it what happened, confirms or goes back.
///
/// Every call may be cut off by a power cut or a dropped future at any point, and made again: the bootloader finds an
/// image that boots at any time.
#[allow(async_fn_in_trait)] // Executors of this field run futures where they are made: no `Send` to promise.
pub trait BootControl {
    /// Returns the region that an image is written to. It is the same until the next reset, and empty when the layout leaves
    /// no space for an image.
    fn image_region(&self) -> ImageRegion;

    /// Returns how many bytes at the start of an image must be written last, after it was verified, because the bootloader
    /// runs whatever it finds; 0 where nothing runs that was not staged. Whole write units, at most 32.
    fn held_back(&self) -> usize {
        0
    }

    /// Where the hand-over stands.
    ///
    /// # Errors
    /// [`Error::Flash`], [`Error::Layout`].
    ///
    /// # Cancellation safety
    /// Reads only.
    async fn state(&mut self) -> Result<State, Error>;

    /// Hands the image in the [image region](Self::image_region) over to the bootloader, for the next reset. The image must have been
    /// verified; the write that makes it count is the last one.
    ///
    /// # Errors
    /// [`Error::OnTrial`] while the running image is not confirmed; [`Error::NoPermanent`], [`Error::NotNewest`] and
    /// [`Error::NoSlot`] where the bootloader can't run the image so; [`Error::SwapInterrupted`], [`Error::Flash`],
    /// [`Error::Layout`].
    ///
    /// # Cancellation safety
    /// Dropped early, the image is staged or not.
    async fn stage(&mut self, swap: Swap) -> Result<(), Error>;

    /// Takes a staged image back and makes the bootloader's bytes ready for the next one. Changes nothing where nothing
    /// is staged and all is clean. To be called before anything is written to the slot.
    ///
    /// # Errors
    /// [`Error::OnTrial`] while the running image is not confirmed; [`Error::SwapInterrupted`], [`Error::Flash`],
    /// [`Error::Layout`].
    ///
    /// # Cancellation safety
    /// Dropped early, the image is staged or not.
    async fn unstage(&mut self) -> Result<(), Error>;

    /// The running image stays for good. Changes nothing when it does already.
    ///
    /// # Errors
    /// [`Error::SwapInterrupted`], [`Error::Flash`], [`Error::Layout`].
    ///
    /// # Cancellation safety
    /// Dropped early, the image is confirmed or still on trial.
    async fn confirm(&mut self) -> Result<(), Error>;

    /// Gives the image on trial up: after the next reset the old one runs.
    ///
    /// # Errors
    /// [`Error::NotOnTrial`] when the running image has been confirmed; [`Error::Flash`], [`Error::Layout`].
    ///
    /// # Cancellation safety
    /// The image is given up or still on trial, which the next reset makes the same.
    async fn go_back(&mut self) -> Result<(), Error>;
}
