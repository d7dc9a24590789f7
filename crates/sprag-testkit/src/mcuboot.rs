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
//! prevention, bootstrapping, rollback counters and hooks. Signatures are Ed25519 and ECDSA P-256 over SHA-256, and
//! Ed25519 not over the whole image (`MCUBOOT_SIGN_PURE`). Images are not loaded to RAM.
//!
//! A crash of the C code (a memory fault, an endless loop) is [`BootError::Crash`]: the device does not boot. MCUboot
//! writes units that stay erased as well; the model leaves them out, because they change nothing.

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

pub use cypress::{Cypress, Halt, InfineonRelease, SwapState};
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

    /// Returns whether `MCUBOOT_USE_TLV_ALLOW_LIST` cannot be switched off.
    fn has_allow_list(self) -> bool {
        matches!(self, Self::V2_1_0 | Self::V2_2_0)
    }
}

/// The build options of a bootloader.
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
    /// `MCUBOOT_USE_TLV_ALLOW_LIST`: no other TLVs than keys, digests, signatures and encrypted keys where no signature
    /// covers them. v2.1.0 and v2.2.0 always have it.
    pub tlv_allow_list: bool,
    /// True when reads of torn units fail, on a part with ECC. Otherwise the bootloader reads past the ECC, as one with a
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

/// MCUboot's method of bringing the new image to run.
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
    /// The method of bringing the new image to run.
    pub method: Method,
    /// The build options of the bootloader.
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
    /// The staged image may not run. It was erased, or its trailer was; the old image runs.
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
    /// Returns a bootloader with the usual [`Settings`] for its flash, without a key. Where a slot has more than 128
    /// sectors, [`max_img_sectors`](Settings::max_img_sectors) is as many.
    ///
    /// # Panics
    /// A slot does not consist of whole sectors.
    pub fn new(primary: Region, secondary: Region, method: Method) -> Self {
        let mut settings = Settings::of(primary.flash());
        for slot in [&primary, &secondary] {
            settings.max_img_sectors = settings.max_img_sectors.max(slot.sectors().len() as u32);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::{FlashGeometry, Part, Snapshot, Torn};
    use crate::image::{McuBootImage, Signer};
    use ed25519_dalek::SigningKey;

    const SECTOR: u32 = 512;
    const SLOT: u32 = 6 * SECTOR;
    /// Those of even and of odd versions: images of two and of three sectors.
    const PAYLOADS: [usize; 2] = [700, 1100];

    fn version(major: u8) -> Version {
        Version { major, minor: 0, revision: 0, build: 0 }
    }

    fn image(major: u8) -> Vec<u8> {
        let payload = vec![major; PAYLOADS[usize::from(major) % 2]];
        McuBootImage { version: version(major), header_size: 32, payload: &payload }
            .sign(&SigningKey::from_bytes(&[7; 32]))
    }

    fn start_of_update(method: &Method) -> u32 {
        if *method == Method::Offset { SECTOR } else { 0 }
    }

    /// A device with version 1 in the primary slot and 2 in the other one.
    fn device_on(part: Part, method: impl Fn(&SimFlash) -> Method) -> Bootloader {
        let flash = SimFlash::of(part);
        let method = method(&flash);
        flash.load(0, &image(1)).unwrap();
        flash.load(SLOT + start_of_update(&method), &image(2)).unwrap();
        let mut loader = Bootloader::new(flash.region(0..SLOT), flash.region(SLOT..2 * SLOT), method);
        // A trailer of one sector.
        loader.settings.max_img_sectors = 8;
        loader
    }

    fn part(align: u32, erased: u8) -> Part {
        Part::uniform(2 * SLOT + SECTOR, FlashGeometry { write_size: align, erase_size: SECTOR, erased })
    }

    fn methods() -> [fn(&SimFlash) -> Method; 5] {
        [
            |flash| Method::Scratch(flash.region(2 * SLOT..2 * SLOT + SECTOR)),
            |_| Method::Move,
            |_| Method::Offset,
            |_| Method::Overwrite,
            |_| Method::OverwriteFast,
        ]
    }

    fn stage(loader: &Bootloader, permanent: bool) {
        let area = Area::new(&loader.secondary, false);
        let fields = loader.fields();
        if permanent {
            fields.write(&area, fields.image_ok(&area), &[1]).unwrap();
        }
        fields.write_magic(&area).unwrap();
    }

    fn confirm(loader: &Bootloader) {
        let area = Area::new(&loader.primary, false);
        loader.fields().write(&area, loader.fields().image_ok(&area), &[1]).unwrap();
    }

    #[test]
    fn an_unconfirmed_image_is_reverted_and_a_confirmed_one_stays() {
        for (align, erased) in [1, 4, 8, 16].into_iter().flat_map(|align| [(align, 0xFF), (align, 0)]) {
            for method in &methods()[..3] {
                for confirmed in [false, true] {
                    let loader = device_on(part(align, erased), method);
                    stage(&loader, false);
                    let on_trial = loader.boot().map(|boot| (boot.swap, boot.running));
                    assert_eq!(on_trial, Ok((Swap::Test, version(2))), "{align}, {:?}", loader.method);
                    if confirmed {
                        confirm(&loader);
                    }
                    let (swap, running) = if confirmed { (Swap::None, 2) } else { (Swap::Revert, 1) };
                    assert_eq!(loader.boot(), Ok(Boot { swap, running: version(running) }));
                    assert_eq!(loader.boot(), Ok(Boot { swap: Swap::None, running: version(running) }));
                    let other = start_of_update(&loader.method) * u32::from(!confirmed);
                    let there = &loader.secondary.contents()[other as usize..];
                    assert_eq!(check_image(there, None), Ok(version(3 - running)), "the other image is kept");
                    assert!(loader.primary.flash().violations().is_empty());
                }
            }
        }
    }

    /// The power is cut in each operation of the bootloader, in each way, and again in each of its recovery: in the end the
    /// image that was to run does, whole, as if nothing had been.
    #[test]
    fn a_boot_that_is_cut_off_is_made_up_for() {
        type Prepare = fn(&Bootloader);
        let revert: Prepare = |loader| {
            stage(loader, false);
            loader.boot().unwrap();
        };
        let begin: [(Prepare, u8, usize); 3] =
            [(|loader| stage(loader, false), 2, 3), (|loader| stage(loader, true), 2, 5), (revert, 1, 3)];
        for (case_number, (prepare, running, methods_of_it)) in begin.into_iter().enumerate() {
            for method in &methods()[..methods_of_it] {
                let loader = device_on(part(8, 0xFF), method);
                prepare(&loader);
                let flash = loader.primary.flash();
                let before = flash.snapshot();
                let whole = loader.boot().unwrap();
                assert_eq!(whole.running, version(running));
                let after = flash.contents();
                // Where the cut came when the new image was on trial already, the old one is brought back.
                let expected = |flash: &Snapshot| {
                    let flash = flash.clone().power_on();
                    let area = Area::new(&flash.region(0..SLOT), false);
                    let on_trial = loader.fields().read(&area).unwrap().reverts();
                    if on_trial { version(1) } else { whole.running }
                };
                let mut cuts = 0;
                for torn in [Torn::Half, Torn::Bits(5)] {
                    for cut in 0.. {
                        flash.restore(&before).unwrap();
                        flash.cut_power_after(cut, torn);
                        let cut_off = loader.boot();
                        flash.power_on();
                        if cut_off.is_ok() {
                            break;
                        }
                        cuts += 1;
                        assert_eq!(cut_off, Err(BootError::Flash(FlashError::PowerLost)));
                        let left = flash.snapshot();
                        let goal = expected(&left);
                        for again in (0..).step_by(37) {
                            flash.restore(&left).unwrap();
                            flash.cut_power_after(again, Torn::Half);
                            let cut_off = loader.boot();
                            flash.power_on();
                            let case = format!("{torn:?} {cut}, {again}, {case_number}, {:?}", loader.method);
                            if let Ok(boot) = cut_off {
                                assert_eq!(boot.running, goal, "{case}");
                                break;
                            }
                            let goal = if goal == whole.running { expected(&flash.snapshot()) } else { goal };
                            assert_eq!(loader.boot().map(|boot| boot.running), Ok(goal), "{case}");
                        }
                        flash.restore(&left).unwrap();
                        loader.boot().unwrap();
                        // Where images are copied, what is left of the new one's trailer may stay.
                        let slots = if loader.method.overwrites() { 1 } else { 2 };
                        let image =
                            |bytes: &[u8], slot: u32| bytes[(slot * SLOT) as usize..][..3 * SECTOR as usize].to_vec();
                        let same = (0..slots).all(|slot| image(&flash.contents(), slot) == image(&after, slot));
                        assert!(same || goal != whole.running, "{torn:?} {cut}, {:?}", loader.method);
                    }
                }
                assert!(cuts > 100, "{cuts}");
            }
        }
    }

    /// As large as it may be it is swapped; a byte more, and it is refused and erased.
    #[test]
    fn an_image_is_as_large_as_the_method_leaves_room() {
        // Trailers of 8 * 3 * 8 + 48 and 8 * 2 * 8 + 56 bytes, and one sector more. Where all is copied, the fields beside
        // the image.
        let limits = [SLOT - 240, SLOT - 2 * SECTOR, SLOT - 2 * SECTOR, SLOT - 40, SLOT - 40];
        for (method, limit) in methods().into_iter().zip(limits) {
            let key = SigningKey::from_bytes(&[7; 32]);
            let sign = |payload: &[u8]| McuBootImage { version: version(3), header_size: 32, payload }.sign(&key);
            for (size, expected) in [(limit, (Swap::Permanent, 3)), (limit + 1, (Swap::Refused, 1))] {
                let loader = device_on(part(8, 0xFF), method);
                let image = sign(&vec![3; size as usize - sign(&[]).len()]);
                loader.secondary.erase_now(0, SLOT).unwrap();
                loader.secondary.flash().load(SLOT + start_of_update(&loader.method), &image).unwrap();
                stage(&loader, true);
                let boot = loader.boot().map(|boot| (boot.swap, boot.running.major));
                assert_eq!(boot, Ok(expected), "{size}, {:?}", loader.method);
            }
        }
    }

    #[test]
    fn a_forged_image_is_refused_and_an_empty_device_says_so() {
        for method in methods() {
            let mut loader = device_on(part(8, 0xFF), method);
            let signer = Signer::from(&SigningKey::from_bytes(&[7; 32]));
            loader.settings.key = PublicKey::from_der(&signer.public_der());
            loader.secondary.flash().load(SLOT + start_of_update(&loader.method) + 600, &[0]).unwrap();
            stage(&loader, false);
            assert_eq!(loader.boot(), Ok(Boot { swap: Swap::Refused, running: version(1) }));
            assert!(loader.secondary.contents().iter().all(|byte| *byte == 0xFF), "it is erased");
            loader.primary.erase_now(0, SLOT).unwrap();
            assert_eq!(loader.boot(), Err(BootError::NoBootableImage("no image")));
        }
    }

    /// By offset, an image that was loaded to where the old one of a swap lies.
    #[test]
    fn an_image_in_the_first_sector_is_refused_by_offset() {
        let loader = device_on(part(8, 0xFF), |_| Method::Offset);
        loader.secondary.flash().load(SLOT, &image(1)).unwrap();
        stage(&loader, false);
        assert_eq!(loader.boot(), Ok(Boot { swap: Swap::Refused, running: version(1) }));
        assert!(loader.secondary.contents().iter().all(|byte| *byte == 0xFF), "both are erased");
    }

    /// On a part with ECC, a torn magic in the secondary slot can't be read. Only some methods come through.
    #[test]
    fn a_trailer_that_cannot_be_read_stops_those_that_move_and_swap_by_offset() {
        for method in methods() {
            let ecc = Part { ecc: true, ..part(8, 0xFF) };
            let mut loader = device_on(ecc, method);
            let flash = loader.primary.flash().clone();
            flash.cut_power_after(0, Torn::Unreadable(1));
            loader.secondary.write_now(SLOT - 16, &[0; 16]).unwrap_err();
            flash.power_on();
            assert_eq!(loader.boot().map(|boot| boot.running), Ok(version(1)), "past the ECC");
            loader.settings.read_errors = true;
            for _reset in 0..2 {
                let booted = loader.boot().map(|boot| boot.running);
                if matches!(loader.method, Method::Move | Method::Offset) {
                    let offset = 2 * SLOT - 16;
                    assert_eq!(booted, Err(BootError::Flash(FlashError::Unreadable { offset })), "{:?}", loader.method);
                } else {
                    assert_eq!(booted, Ok(version(1)), "{:?}", loader.method);
                }
            }
        }
    }
}
