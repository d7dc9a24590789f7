//! MCUboot with two slots, in the ways it has to bring an image from one into the other.

use std::ops::Range;

use ed25519_dalek::SigningKey;
use sprag::boot::{Layout, McuBoot, Method};
use sprag::verify::{Ed25519Key, Key};
use sprag_testkit::flash::{Part, ProgramRule, Torn};
use sprag_testkit::image::{McuBootImage, Version};
use sprag_testkit::mcuboot::{self as model, Boot, Bootloader, Swap};

use super::{Booted, Family, Slots};
use crate::case::{self, Image};
use crate::planted::PlantedSlot;

/// The key that images are signed with.
const KEY: [u8; 32] = [1; 32];

/// MCUboot, by one of its methods.
///
/// It reads past the ECC on parts that have one, see the README of `sprag-boot`.
///
/// MCUboot's own operations are cut as well. What MCUboot itself does not survive is left out:
///
/// | method | cut in MCUboot's own operations |
/// |---|---|
/// | overwrite-only | in every way |
/// | swaps, first cut | in every way; on parts with ECC between operations only, because MCUboot programs torn units again |
/// | swaps, second cut | between operations only |
/// | by scratch, second cut | not at all: after a torn erase of a trailer, one in the recovery can be the end |
#[derive(Debug, Clone, Copy)]
pub(super) enum TwoSlots {
    Swap,
    Scratch,
    Offset,
    Overwrite,
}

impl Family for TwoSlots {
    type Boot = McuBoot<PlantedSlot, PlantedSlot>;
    type Format = sprag::verify::McuBoot;

    fn name(&self) -> &'static str {
        match self {
            Self::Swap => "mcuboot-swap",
            Self::Scratch => "mcuboot-scratch",
            Self::Offset => "mcuboot-offset",
            Self::Overwrite => "mcuboot-overwrite",
        }
    }

    fn fits(&self, part: &Part) -> bool {
        part.write_size <= 32
    }

    fn images(&self, part: &Part) -> Vec<Image> {
        let sector = self.sector(part);
        let mut images = case::images(part, sector);
        for image in &mut images {
            // By offset, MCUboot loses images that both fit into one sector when it is cut off.
            if matches!(self, Self::Offset) && image.length <= sector {
                image.length = sector + 9;
            }
        }
        images
    }

    fn slot_size(&self, part: &Part, sector: u32, image: u32) -> u32 {
        // Three status cells for each of 128 sectors, five more cells, the magic: what the largest trailer has. And the
        // sector to move by.
        let trailer = 128 * 3 * part.write_size + 5 * part.write_size.max(8) + part.write_size.max(16);
        image.next_multiple_of(sector) + trailer.next_multiple_of(sector) + sector
    }

    fn state_sectors(&self) -> u32 {
        // The scratch area.
        if matches!(self, Self::Scratch) { 2 } else { 0 }
    }

    fn image_start(&self, sector: u32) -> u32 {
        match self {
            Self::Offset => sector,
            Self::Swap | Self::Scratch | Self::Overwrite => 0,
        }
    }

    fn format(&self) -> Self::Format {
        sprag::verify::McuBoot
    }

    fn control(&self, slots: &Slots, _: Booted) -> Self::Boot {
        let geometry = slots.secondary.flash().geometry();
        let layout = Layout::new(geometry);
        let layout = match self {
            Self::Swap => layout,
            Self::Scratch => layout.method(Method::Scratch),
            Self::Offset => layout.method(Method::Offset),
            Self::Overwrite => layout.method(Method::Overwrite),
        };
        let secondary = PlantedSlot::new(slots.secondary.clone(), slots.bug);
        McuBoot::new(PlantedSlot::new(slots.primary.clone(), None), secondary, layout)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        // Digests do: a bootloader that takes forgeries is the harder judge of a firmware that must not hand them over.
        let (primary, secondary) = (slots.primary.clone(), slots.secondary.clone());
        let method = match self {
            Self::Swap => model::Method::Move,
            Self::Scratch => model::Method::Scratch(slots.state.clone()),
            Self::Offset => model::Method::Offset,
            Self::Overwrite => model::Method::Overwrite,
        };
        Bootloader::new(primary, secondary, method).boot().map(booted).map_err(|error| error.to_string())
    }

    fn may_be_cut(&self) -> bool {
        true
    }

    fn survives(&self, part: &Part, torn: Torn, is_second: bool) -> bool {
        let reprograms = part.rule == ProgramRule::Nor && !part.ecc;
        match self {
            Self::Overwrite => true,
            Self::Scratch if is_second => false,
            _ => torn == Torn::Nothing || (reprograms && !is_second),
        }
    }

    fn swaps(&self) -> bool {
        true
    }

    fn needs_even_sectors(&self) -> bool {
        matches!(self, Self::Swap | Self::Offset)
    }

    fn has_trials(&self) -> bool {
        !matches!(self, Self::Overwrite)
    }
}

/// What verifies them.
pub(super) fn key() -> Box<dyn Key + Send + Sync> {
    Box::new(Ed25519Key::new(SigningKey::from_bytes(&KEY).verifying_key().to_bytes()))
}

/// A signed image, or a forged one, of the length that is asked for.
pub(super) fn signed(major: u8, image: Image, blank: &Range<usize>, erased: u8) -> Vec<u8> {
    const HEADER: usize = 32;
    let version = Version { major, minor: 0, revision: 0, build: 0 };
    let key = SigningKey::from_bytes(&if image.is_forged() { [9; 32] } else { KEY });
    let sign = |payload: &[u8]| McuBootImage { version, header_size: HEADER as u16, payload }.sign(&key);
    let byte = |n: usize| match n + HEADER {
        at if blank.contains(&at) => erased,
        _ => (n as u8).wrapping_mul(major | 1) ^ (n >> 5) as u8,
    };
    sign(&(0..image.length as usize - sign(&[]).len()).map(byte).collect::<Vec<u8>>())
}

/// What the model says of a reset.
pub(super) fn booted(boot: Boot) -> Booted {
    Booted { running: boot.running.major, refused: boot.swap == Swap::Refused }
}
