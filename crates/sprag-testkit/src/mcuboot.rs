//! A model of MCUboot, step by step: what it decides at a reset, and every operation that it does on the flash.
//!
//! Written from MCUboot's `docs/design.md` and `boot/bootutil/src`, v1.9.0 to v2.4.0 and after, and independent of
//! `sprag-boot` and `sprag-verify`, which it judges. The power may be cut inside its own work: the next
//! [`boot`](Bootloader::boot) recovers as MCUboot does. MCUboot's own C code is the judge of the model, through test
//! vectors (`cargo xtask vectors`): the same image boots, and every byte of the flash is the same afterwards.
//!
//! | module | what | MCUboot's file |
//! |---|---|---|
//! | `run` | the course of a boot | `loader.c` |
//! | `trailer` | fields, magic, flags, the decision | `bootutil_public.c`, `bootutil_misc.c` |
//! | `image` | header, TLVs, digest, signature | `image_validate.c`, `tlv.c` |
//! | `status` | the progress of a swap | `swap_misc.c` |
//! | `scratch`, `moving`, `offset` | the swaps | `swap_scratch.c`, `swap_move.c`, `swap_offset.c` |
//! | `overwrite` | the new image over the old one | `loader.c` |
//! | [`Xip`] | images that run where they lie | `loader.c` |
//! | [`Cypress`] | Infineon's line | |
//!
//! # Limits
//! One pair of slots on one flash. Built with validation of the primary slot, without encryption, compression, downgrade
//! prevention, bootstrapping, rollback counters and hooks. Signatures are Ed25519 and ECDSA P-256 over SHA-256. Images are
//! not loaded to RAM.
//!
//! A crash of the C code (a memory fault, an endless loop) is [`BootError::Crash`]: the device does not boot. MCUboot writes
//! units that stay erased as well; the model leaves them out, because they change nothing.

mod area;
mod cypress;
mod image;
mod moving;
mod offset;
mod overwrite;
mod run;
mod scratch;
mod status;
mod trailer;
mod xip;

use std::fmt;

pub use cypress::Cypress;
pub use image::check_image;
pub use trailer::{Mark, Trailer};
pub use xip::{Selected, Xip};

use crate::flash::{FlashError, Region, SimFlash};
use crate::image::{PublicKey, Version};
use area::Area;
use image::Header;
use run::Run;
use trailer::{Fields, swap_type};

/// A release of MCUboot. Behaviour that differs between them follows this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// v1.9.0.
    V1_9_0,
    /// v2.0.0.
    V2_0_0,
    /// v2.1.0.
    V2_1_0,
    /// v2.2.0, the first one that swaps by offset.
    V2_2_0,
    /// v2.3.0.
    V2_3_0,
    /// v2.4.0 and later, up to the commit 2d4bacc3 of the main line.
    V2_4_0,
}

impl Release {
    /// The latest release.
    pub const LATEST: Self = Self::V2_4_0;

    /// Whether `MCUBOOT_USE_TLV_ALLOW_LIST` cannot be switched off.
    fn has_allow_list(self) -> bool {
        matches!(self, Self::V2_1_0 | Self::V2_2_0)
    }
}

/// How a bootloader was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `flash_area_align`: the write unit in bytes.
    pub align: u32,
    /// `MCUBOOT_BOOT_MAX_ALIGN`: 8 at least, and `align` at least.
    pub max_align: u32,
    /// `MCUBOOT_MAX_IMG_SECTORS`.
    pub max_img_sectors: u32,
    /// The key whose signatures it takes; `None` checks digests only.
    pub key: Option<PublicKey>,
    /// The release of MCUboot.
    pub release: Release,
    /// `MCUBOOT_USE_TLV_ALLOW_LIST`: no other TLVs than key hash, digest, signature and encrypted keys where no signature
    /// covers them. v2.1.0 and v2.2.0 always have it.
    pub tlv_allow_list: bool,
    /// Whether reads of torn units fail, on a part with ECC. Otherwise the bootloader reads past the ECC, as one with a
    /// fault handler does.
    pub read_errors: bool,
}

impl Settings {
    /// Returns the usual settings for a flash: its write unit, 128 sectors, the latest release, no key.
    pub fn of(flash: &SimFlash) -> Self {
        let align = flash.geometry().write_size;
        Self { align, max_align: align.max(8), ..Self::default() }
    }

    fn fields(&self, states: u32, by_offset: bool) -> Fields {
        Fields {
            align: self.align,
            max_align: self.max_align,
            entries: self.max_img_sectors,
            states,
            tlv_sizes: by_offset && offset::keeps_tlv_sizes(self.release),
            short_scratch: true,
        }
    }
}

impl Default for Settings {
    /// Returns those for a flash that is written byte by byte.
    fn default() -> Self {
        Self {
            align: 1,
            max_align: 8,
            max_img_sectors: 128,
            key: None,
            release: Release::LATEST,
            tlv_allow_list: false,
            read_errors: false,
        }
    }
}

/// How MCUboot was built to bring the new image to run.
#[derive(Debug, Clone)]
pub enum Method {
    /// The images are swapped through this scratch area: `MCUBOOT_SWAP_USING_SCRATCH`.
    Scratch(Region),
    /// The images are swapped, the old one being moved up first: `MCUBOOT_SWAP_USING_MOVE`.
    Move,
    /// The images are swapped, the new one lying one sector up: `MCUBOOT_SWAP_USING_OFFSET`.
    Offset,
    /// The new slot is copied over the old one: `MCUBOOT_OVERWRITE_ONLY`.
    Overwrite,
    /// The new image is copied over the old one: `MCUBOOT_OVERWRITE_ONLY_FAST`.
    OverwriteFast,
}

impl Method {
    fn overwrites(&self) -> bool {
        matches!(self, Self::Overwrite | Self::OverwriteFast)
    }
}

impl PartialEq for Method {
    /// Compares the methods, whatever their scratch areas.
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// MCUboot with a slot that runs and one that updates are put into.
#[derive(Debug, Clone)]
pub struct Bootloader {
    /// The slot that runs.
    pub primary: Region,
    /// The slot that updates are put into.
    pub secondary: Region,
    /// How the new image is brought to run.
    pub method: Method,
    /// How the bootloader was built.
    pub settings: Settings,
}

/// What a reset led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// The swap that was done first.
    pub swap: Swap,
    /// The version in the header of the image that now runs.
    pub running: Version,
}

/// MCUboot's swap types that lead to a running image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// Nothing was done.
    None,
    /// The new image runs until the next reset, unless it confirms itself.
    Test,
    /// The new image runs for good.
    Permanent,
    /// The tested image did not confirm itself: the old one is back.
    Revert,
    /// What was to be brought to run is no image that may run. It was erased, or its trailer was; the old image runs.
    Refused,
}

impl Swap {
    fn of(swap_type: u8) -> Self {
        match swap_type {
            swap_type::TEST => Self::Test,
            swap_type::PERMANENT => Self::Permanent,
            swap_type::REVERT => Self::Revert,
            _ => Self::None,
        }
    }
}

/// Why nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootError {
    /// No slot holds an image that may run: the device is bricked.
    NoBootableImage(&'static str),
    /// MCUboot stops at an assertion, and again at every reset.
    Assert(&'static str),
    /// MCUboot's C code runs into a memory fault or an endless loop, and again at every reset.
    Crash(&'static str),
    /// The flash failed where MCUboot asserts that it does not. It is tried again at the next reset.
    Flash(FlashError),
}

impl From<FlashError> for BootError {
    fn from(error: FlashError) -> Self {
        match error {
            FlashError::OutOfBounds { .. } => Self::Assert("an access that leaves its area"),
            error => Self::Flash(error),
        }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBootableImage(why) => write!(f, "no bootable image: {why}"),
            Self::Assert(what) => write!(f, "the bootloader stops: {what}"),
            Self::Crash(what) => write!(f, "the bootloader crashes: {what}"),
            Self::Flash(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BootError {}

impl Bootloader {
    /// Returns a bootloader with the usual [`Settings`] for its flash, without a key.
    pub fn new(primary: Region, secondary: Region, method: Method) -> Self {
        let settings = Settings::of(primary.flash());
        Self { primary, secondary, method, settings }
    }

    /// A reset: completes what was cut off, decides, swaps or copies, and starts what lies in the primary slot.
    ///
    /// # Errors
    /// See [`BootError`].
    ///
    /// # Panics
    /// A slot or the scratch area does not consist of whole sectors.
    pub fn boot(&self) -> Result<Boot, BootError> {
        let flash = self.primary.flash().clone();
        flash.atomically(|| Run::new(self).boot())
    }

    /// Returns what `boot_swap_type` says of the trailers: the swap that would be begun. It does not see one that was cut
    /// off. Never [`Swap::Refused`].
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn swap_type(&self) -> Result<Swap, BootError> {
        Ok(Swap::of(Run::new(self).swap_type()?))
    }

    /// Returns what two trailers lead to, the primary slot's first. Never [`Swap::Refused`].
    pub fn decide(&self, primary: Trailer, secondary: Trailer) -> Swap {
        Swap::of(trailer::decide(self.method == Method::Offset, self.settings.release, primary, secondary))
    }

    /// Returns what a slot's trailer says.
    ///
    /// # Errors
    /// The flash's.
    pub fn trailer(&self, slot: &Region) -> Result<Trailer, FlashError> {
        self.fields().read(&Area::new(slot, self.settings.read_errors))
    }

    /// Returns the swap type that the field `swap_info` of a slot's trailer names, as a number: 2 test, 3 permanent, 4
    /// revert. `None` is an erased field.
    ///
    /// # Errors
    /// The flash's.
    pub fn swap_info(&self, slot: &Region) -> Result<Option<u8>, FlashError> {
        self.fields().read_swap_info(&Area::new(slot, self.settings.read_errors))
    }

    /// Returns the version of the image at the beginning of a slot, if it is one that may run.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn check(&self, slot: &Region) -> Result<Version, &'static str> {
        let area = Area::new(slot, self.settings.read_errors);
        let header = Header::new(area.bytes(0).map_err(|_| "cannot be read")?);
        if !header.is_valid(area.size(), self.settings.release) {
            return Err(if header.has_magic() { "no valid header" } else { "no image magic" });
        }
        header.validate(&area, 0, u32::MAX, &self.settings)?;
        Ok(header.version())
    }

    fn fields(&self) -> Fields {
        let by_offset = self.method == Method::Offset;
        self.settings.fields(if by_offset { 2 } else { 3 }, by_offset)
    }
}

fn slot_size(slot: &Region) -> u32 {
    let range = slot.range();
    range.end - range.start
}
