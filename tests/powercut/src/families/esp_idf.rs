//! ESP-IDF: one flash for everything, a partition table in it, and two entries of otadata that say which app runs.

use std::ops::Range;

use embassy_futures::block_on;
use p256::ecdsa::SigningKey;
use sprag::boot::esp_idf::{App, Table};
use sprag::verify::{Key, P256Key};
use sprag_testkit::esp_idf as model;
use sprag_testkit::flash::{Part, Region};
use sprag_testkit::image::{EspIdfImage, Signer, sign_secure_boot};

use super::{Booted, Family, Slots};
use crate::case::{Image, Kind};

/// What otadata and app partitions are made of, whatever the campaign would like.
const SECTOR: u32 = 4096;
/// In the sectors behind the slots: the table, and otadata.
const OTADATA: u32 = SECTOR;

/// ESP-IDF's bootloader with rollback, and two app partitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct EspIdf {
    /// Confirms so that a cut within it leaves the trial.
    pub(super) keeping_the_trial: bool,
}

fn whole(slots: &Slots) -> Region {
    let flash = slots.primary.flash();
    flash.region(0..flash.capacity())
}

fn signing_key(forged: bool) -> SigningKey {
    SigningKey::from_slice(&[if forged { 9 } else { 1 }; 32]).expect("a scalar")
}

impl Family for EspIdf {
    type Boot = sprag::boot::EspIdf<Region>;
    type Format = sprag::verify::EspIdf;

    fn name(&self) -> &'static str {
        if self.keeping_the_trial { "esp-idf-keeping" } else { "esp-idf" }
    }

    fn fits(&self, part: &Part) -> bool {
        part.name == "esp32"
    }

    fn sector(&self, _: &Part) -> u32 {
        SECTOR
    }

    /// Signed images are whole sectors, of which the last one has the signature.
    fn images(&self, _: &Part) -> Vec<Image> {
        let image = |sectors: u32, kind| Image { length: sectors * SECTOR, kind };
        vec![image(2, Kind::Plain), image(3, Kind::Plain), image(5, Kind::Blank), image(2, Kind::Forged)]
    }

    fn old_length(&self) -> u32 {
        2 * SECTOR
    }

    fn slot_size(&self, _: &Part, _: u32, image: u32) -> u32 {
        image
    }

    fn state_sectors(&self) -> u32 {
        3
    }

    fn install(&self, slots: &Slots) {
        let row = |kind: u8, subtype: u8, range: Range<u32>| {
            let mut row = vec![0xAA, 0x50, kind, subtype];
            row.extend(range.start.to_le_bytes().into_iter().chain((range.end - range.start).to_le_bytes()));
            row.resize(32, 0);
            row
        };
        let at = slots.state.range().start;
        let rows = [
            row(1, 0, at + OTADATA..at + OTADATA + 2 * SECTOR),
            row(0, 0x10, slots.primary.range()),
            row(0, 0x11, slots.secondary.range()),
        ];
        slots.state.flash().load(at, &rows.concat()).expect("a sector for the table");
    }

    fn format(&self) -> Self::Format {
        sprag::verify::EspIdf
    }

    fn key(&self) -> Box<dyn Key + Send + Sync> {
        let public = Signer::from(&signing_key(false)).public();
        Box::new(P256Key::new(public.try_into().expect("an uncompressed point")))
    }

    fn image(&self, major: u8, image: Image, blank: Range<usize>, erased: u8) -> Vec<u8> {
        // Header, description, the headers of two segments, a word of data, checksum and digest.
        const AROUND: usize = 24 + 8 + 256 + 4 + 8 + 16 + 32;
        let room = (image.length - SECTOR) as usize - AROUND;
        let byte = |n: usize| match n + AROUND {
            at if blank.contains(&at) => erased,
            _ => (n as u8).wrapping_mul(major | 1) ^ (n >> 5) as u8,
        };
        let version = format!("{major}.0.0");
        let built = EspIdfImage {
            chip: 5,
            revisions: [0, 199],
            version: &version,
            secure_version: 0,
            project: "board-a",
            data: &[major; 4],
            program: &(0..room / 4 * 4).map(byte).collect::<Vec<u8>>(),
        };
        sign_secure_boot(built.build(), &[&signing_key(image.is_forged())])
    }

    fn target(&self, slots: &Slots) -> Region {
        whole(slots)
    }

    fn control(&self, slots: &Slots, booted: Booted) -> Self::Boot {
        let mut flash = whole(slots);
        // It is beyond the reach of anything that happens in the campaign; its own tests have it broken.
        let table = block_on(Table::read(&mut flash, slots.state.range().start)).expect("a sound table");
        let boot = sprag::boot::EspIdf::new(flash, table, App::Ota(booted.running - 1)).expect("otadata");
        if self.keeping_the_trial { boot.keeping_the_trial() } else { boot }
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let otadata = slots.state.range().start + OTADATA;
        let partitions = model::Partitions::new(otadata, None, [slots.primary.range(), slots.secondary.range()]);
        let bootloader = model::EspIdf::new(whole(slots), partitions, model::Build::Rollback, model::check_image);
        match bootloader.boot().map_err(|error| error.to_string())? {
            Some(model::App::Ota(index @ 0..2)) => Ok(Booted { running: index as u8 + 1, refused: false }),
            other => Err(format!("no app partition holds an image that may run: {other:?}")),
        }
    }

    fn may_be_cut(&self) -> bool {
        true
    }

    fn running<'s>(&self, slots: &'s Slots, booted: Booted) -> &'s Region {
        if booted.running == 1 { &slots.primary } else { &slots.secondary }
    }
}
