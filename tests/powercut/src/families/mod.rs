//! The bootloaders that updates are handed to: one file a family.
//!
//! To add one: a file here with a type that implements [`Family`], and its line in [`all`].

mod cypress;
mod embassy;
mod esp_idf;
mod mcuboot;

use std::ops::Range;

use sprag::boot::BootControl;
use sprag::verify::{Format, Key};
use sprag_testkit::flash::{Part, Region, Torn};

use crate::case::{self, Case, Image};
use crate::explore::{Counts, Failure, Settings, explore};
use crate::life::replay;
use crate::planted::Bug;
use crate::step::Step;

/// The flash that a bootloader and the firmware share.
#[derive(Debug, Clone)]
pub struct Slots {
    /// The slot that runs at first.
    pub primary: Region,
    /// The slot that updates are put into.
    pub secondary: Region,
    /// What the bootloader keeps beside the slots; empty where a family needs none.
    pub state: Region,
    /// What a swap goes through, in the flash of the slot for updates; empty where a family needs none, or has it in `state`.
    pub scratch: Region,
    /// What is wrong with the hand-over.
    pub bug: Option<Bug>,
}

/// What the bootloader started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booted {
    /// The first number of the version that runs: see [`Family::image`].
    pub running: u8,
    /// It was handed an image that may not run.
    pub refused: bool,
}

/// A family of bootloaders: how images for it look, how the firmware talks to it, and a model of what it does.
pub trait Family: Copy + Send + Sync + 'static {
    /// The firmware's side.
    type Boot: BootControl;
    /// The format of its images.
    type Format: Format;

    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Whether it works on parts of this kind.
    fn fits(&self, part: &Part) -> bool;

    /// The size of the largest sector.
    fn sector(&self, part: &Part) -> u32 {
        case::sector(part)
    }

    /// What updates bring.
    fn images(&self, part: &Part) -> Vec<Image> {
        case::images(part, self.sector(part))
    }

    /// How long the image is that runs at first, unless updates are shorter.
    fn old_length(&self) -> u32 {
        700
    }

    /// The smallest slot, in bytes, for an image of this length, before it is rounded up to sectors of this size.
    fn slot_size(&self, part: &Part, sector: u32, image: u32) -> u32;

    /// Where in the slot for updates an image begins, with sectors of this size.
    fn image_start(&self, sector: u32) -> u32 {
        let _ = sector;
        0
    }

    /// The sectors that it keeps its state in.
    fn state_sectors(&self) -> u32 {
        0
    }

    /// The sectors of [`Slots::scratch`].
    fn scratch_sectors(&self) -> u32 {
        0
    }

    /// The chip that the slot that runs and the bootloader's state lie in, where it is another one than the part of the slot
    /// for updates and of the journal.
    fn internal(&self) -> Option<Part> {
        None
    }

    /// The ways in which the power fails within an operation.
    fn ways(&self) -> &'static [Torn] {
        &Torn::WAYS
    }

    /// What a device comes with, beside the image that runs at first.
    fn install(&self, slots: &Slots) {
        let _ = slots;
    }

    /// The format of its images.
    fn format(&self) -> Self::Format;

    /// The key that images are to be signed with. Images are MCUboot's, unless a family has its own.
    fn key(&self) -> Box<dyn Key + Send + Sync> {
        mcuboot::key()
    }

    /// A signed image whose version is `major.0.0`. In the bytes of `blank` it reads as `erased`.
    fn image(&self, major: u8, image: Image, blank: Range<usize>, erased: u8) -> Vec<u8> {
        mcuboot::signed(major, image, &blank, erased)
    }

    /// The flash that [`BootControl::image_region`] is in, and the slot for updates.
    fn target(&self, slots: &Slots) -> Region {
        slots.secondary.clone()
    }

    /// The firmware's side for these slots, in the image that was started.
    fn control(&self, slots: &Slots, booted: Booted) -> Self::Boot;

    /// A reset.
    ///
    /// # Errors
    /// Nothing boots.
    fn boot(&self, slots: &Slots) -> Result<Booted, String>;

    /// Whether the power may fail in [`boot`](Self::boot), too: it goes on by itself then.
    fn may_be_cut(&self) -> bool {
        false
    }

    /// Whether the bootloader goes on after the power failed in this way in one of its own operations, for the first time or
    /// in the recovery from another cut.
    fn survives(&self, part: &Part, torn: Torn, is_second: bool) -> bool {
        let _ = (part, torn, is_second);
        true
    }

    /// Whether the sectors of a slot must be of one size.
    fn needs_even_sectors(&self) -> bool {
        false
    }

    /// Whether images change places, so that what an earlier update left behind matters to the next one. Devices have
    /// [histories](crate::case::History) then, and every call is tried after every other one that was cut off.
    fn swaps(&self) -> bool {
        false
    }

    /// Whether an image can be tried and given up.
    fn has_trials(&self) -> bool {
        true
    }

    /// Whether an image can be staged for good.
    fn has_permanent(&self) -> bool {
        true
    }

    /// Where the running image lies.
    fn running<'s>(&self, slots: &'s Slots, booted: Booted) -> &'s Region {
        let _ = booted;
        &slots.primary
    }
}

/// A family, whatever its types are.
pub trait AnyFamily: Send + Sync {
    /// See [`Family::name`].
    fn name(&self) -> &'static str;
    /// See [`Family::fits`].
    fn fits(&self, part: &Part) -> bool;
    /// See [`Family::sector`].
    fn sector(&self, part: &Part) -> u32;
    /// See [`Family::images`].
    fn images(&self, part: &Part) -> Vec<Image>;
    /// See [`Family::swaps`].
    fn swaps(&self) -> bool;
    /// See [`Family::needs_even_sectors`].
    fn needs_even_sectors(&self) -> bool;
    /// See [`explore`].
    ///
    /// # Errors
    /// The first failure.
    fn explore(&self, case: &Case, settings: &Settings) -> Result<Counts, Box<Failure>>;
    /// See [`replay`].
    ///
    /// # Errors
    /// What was found.
    fn replay(&self, case: &Case, steps: &[Step], settings: &Settings, say: &mut dyn FnMut(&str))
    -> Result<(), String>;
}

impl<F: Family> AnyFamily for F {
    fn name(&self) -> &'static str {
        Family::name(self)
    }

    fn fits(&self, part: &Part) -> bool {
        Family::fits(self, part)
    }

    fn sector(&self, part: &Part) -> u32 {
        Family::sector(self, part)
    }

    fn images(&self, part: &Part) -> Vec<Image> {
        Family::images(self, part)
    }

    fn swaps(&self) -> bool {
        Family::swaps(self)
    }

    fn needs_even_sectors(&self) -> bool {
        Family::needs_even_sectors(self)
    }

    fn explore(&self, case: &Case, settings: &Settings) -> Result<Counts, Box<Failure>> {
        explore(*self, case, settings)
    }

    fn replay(
        &self,
        case: &Case,
        steps: &[Step],
        settings: &Settings,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        replay(*self, case, steps, settings, say)
    }
}

/// Every family there is.
pub fn all() -> Vec<Box<dyn AnyFamily>> {
    use mcuboot::TwoSlots;
    vec![
        Box::new(TwoSlots::Swap),
        Box::new(TwoSlots::Scratch),
        Box::new(TwoSlots::Offset),
        Box::new(TwoSlots::Overwrite),
        Box::new(cypress::Cypress { is_external: false }),
        Box::new(cypress::Cypress { is_external: true }),
        Box::new(esp_idf::EspIdf { keeping_the_trial: false }),
        Box::new(esp_idf::EspIdf { keeping_the_trial: true }),
        Box::new(embassy::Embassy),
    ]
}
