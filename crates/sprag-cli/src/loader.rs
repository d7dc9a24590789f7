//! The bootloaders of devices on the host: one place that knows what each family needs, does and writes to.
//!
//! A `Loader` is built from a layout. Over a flash it does a reset, gives the hand-over that a firmware makes its calls
//! on, and says where updates are written.

use std::ops::Range;

use anyhow::{Context, anyhow, ensure};
use embedded_storage_async::nor_flash::ReadNorFlash;
use serde::Deserialize;
use sprag::boot::esp_idf::{App, Table};
use sprag::boot::mcuboot::{CypressLayout, Slot};
use sprag::boot::{
    BootControl, Cypress, DirectXip, EmbassyBoot, Error, EspIdf, ImageRegion, Layout, McuBoot, Method, State, Swap,
    embassy,
};
use sprag::verify::{self, Format, Image, Policy, Promised};
use sprag_testkit::esp_idf as esp_model;
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash};
use sprag_testkit::image::{self, Version};
use sprag_testkit::mcuboot::{self as model, Mark, Trailer};

use crate::boot::Failed;
use crate::layout::Parts;

/// The size of ESP-IDF's sectors in bytes: otadata and app partitions are whole sectors.
const ESP_SECTOR: u32 = 4096;
/// The byte that embassy-boot's magic is made of from the staging of an image to its confirmation.
const EMBASSY_SWAP: u8 = 0xF0;

/// A family of bootloaders and how it was built: the `boot` table of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Family {
    /// Two slots whose images are swapped or copied. Regions: primary, secondary.
    Mcuboot {
        #[serde(default)]
        method: SwapMethod,
        max_sectors: Option<u32>,
    },
    /// Images that run where they lie. Regions: primary, secondary.
    McubootXip {
        /// The slot that runs; unless given, the newest one that has run by the trailers.
        running: Option<XipSlot>,
        #[serde(default = "yes")]
        revert: bool,
    },
    /// Infineon's line, all of it in internal flash. Regions: primary, secondary, status.
    McubootCypress {
        max_sectors: u32,
        #[serde(default)]
        image: u32,
        #[serde(default = "yes")]
        scratch: bool,
    },
    /// Partitions are read from the flash itself.
    EspIdf {
        #[serde(default = "table_offset")]
        table_offset: u32,
        /// `factory`, `test`, `ota_0` and so on; unless given, what has run last by otadata.
        running: Option<String>,
        #[serde(default = "yes")]
        rollback: bool,
    },
    /// Regions: active, dfu, state.
    EmbassyBoot {},
}

/// MCUboot's method of bringing the new image to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SwapMethod {
    #[default]
    Move,
    Scratch,
    Offset,
    Overwrite,
}

/// One of two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum XipSlot {
    Primary,
    Secondary,
}

fn yes() -> bool {
    true
}

fn table_offset() -> u32 {
    Table::OFFSET
}

impl Family {
    pub(crate) fn default_one() -> Self {
        Self::Mcuboot { method: SwapMethod::Move, max_sectors: None }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Mcuboot { .. } => "mcuboot",
            Self::McubootXip { .. } => "mcuboot-xip",
            Self::McubootCypress { .. } => "mcuboot-cypress",
            Self::EspIdf { .. } => "esp-idf",
            Self::EmbassyBoot {} => "embassy-boot",
        }
    }
}

/// A slot that an image runs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The only slot that images run from.
    Fixed,
    /// One of two slots that images run from.
    Slot(Slot),
    /// An app partition.
    App(App),
}

impl Place {
    /// Returns its name, as the layout or the partition table has it; `None` where there is only one.
    pub fn name(self) -> Option<String> {
        match self {
            Self::Fixed => None,
            Self::Slot(Slot::Primary) => Some("primary".to_owned()),
            Self::Slot(Slot::Secondary) => Some("secondary".to_owned()),
            Self::App(app) => Some(app_name(app)),
        }
    }
}

/// The result of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The version of the image that runs.
    pub running: Version,
    /// The swap that the bootloader did first; none where images run where they lie.
    pub swap: model::Swap,
    /// The slot that the image runs from.
    pub place: Place,
}

/// A slot and what lies in it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) region: Region,
    /// The version of the image, or why there is none that may run.
    pub(crate) image: Result<Version, String>,
    /// The trailer at the end of the slot, for bootloaders that have one.
    pub(crate) trailer: Option<Trailer>,
}

/// A family of bootloaders with the regions that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loader {
    pub(crate) family: Family,
    pub(crate) geometry: FlashGeometry,
    /// The size of the flash in bytes.
    capacity: u32,
    /// The two slots, and what the bootloader keeps beside them; for ESP-IDF, what its partition table is made from.
    regions: Vec<Range<u32>>,
}

impl Loader {
    /// Returns the bootloader of a layout, with the regions that a firmware's calls need.
    pub(crate) fn new(parts: &Parts) -> anyhow::Result<Self> {
        let family = parts.boot.clone().unwrap_or_else(Family::default_one);
        let regions = match &family {
            Family::Mcuboot { method, .. } => {
                parts.check_align()?;
                parts.slots_for(Some(*method))?.to_vec()
            }
            Family::McubootXip { .. } => {
                parts.check_align()?;
                parts.slots()?.to_vec()
            }
            Family::McubootCypress { .. } => {
                let [primary, secondary] = parts.slots()?;
                vec![primary, secondary, parts.region("status")?]
            }
            Family::EspIdf { .. } => vec![],
            Family::EmbassyBoot {} => {
                parts.check_align()?;
                let regions = [parts.region("active")?, parts.region("dfu")?, parts.region("state")?];
                let [active, dfu, _] = &regions;
                ensure!(
                    dfu.len() >= active.len() + parts.geometry.erase_size as usize,
                    "regions.dfu: {:#x} bytes, but embassy-boot takes a sector more than regions.active, which has {:#x}",
                    dfu.len(),
                    active.len()
                );
                regions.to_vec()
            }
        };
        Ok(Self { family, geometry: parts.geometry, capacity: parts.capacity, regions })
    }

    /// Returns the bootloader of a layout, with all that a whole device needs.
    pub(crate) fn whole(parts: &Parts) -> anyhow::Result<Self> {
        let mut loader = Self::new(parts)?;
        let FlashGeometry { write_size, erase_size, erased } = loader.geometry;
        match &loader.family {
            Family::Mcuboot { method: SwapMethod::Scratch, .. } => loader.regions.push(parts.region("scratch")?),
            Family::Mcuboot { .. } | Family::McubootXip { .. } => {}
            Family::McubootCypress { image, scratch, max_sectors } => {
                ensure!(*image == 0, "boot.image: {image}, but a device on the host has one image, number 0");
                ensure!(*scratch, "boot.scratch: false, but a device on the host swaps through a scratch region");
                ensure!(
                    loader.regions[0].len() as u32 / erase_size <= *max_sectors,
                    "boot.max_sectors: {max_sectors}, but the slots have {} sectors",
                    loader.regions[0].len() as u32 / erase_size
                );
                loader.regions.push(parts.region("scratch")?);
                let needs =
                    loader.cypress(&SimFlash::in_memory(loader.capacity, loader.geometry), *max_sectors).status_size();
                let status = loader.regions[2].len() as u32;
                ensure!(status >= needs, "regions.status: {status:#x} bytes, but the bootloader needs {needs:#x}");
            }
            Family::EspIdf { table_offset, .. } => {
                ensure!(
                    erase_size == ESP_SECTOR,
                    "erase_size: {erase_size}, but ESP-IDF has sectors of {ESP_SECTOR} bytes"
                );
                ensure!(erased == 0xFF, "erased_value: {erased:#04x}, but ESP-IDF's flash is erased to 0xFF");
                loader.regions = vec![parts.region("ota_0")?, parts.region("ota_1")?, parts.region("otadata")?];
                let otadata = &loader.regions[2];
                ensure!(
                    otadata.len() as u32 >= 2 * ESP_SECTOR,
                    "regions.otadata: less than two sectors of {ESP_SECTOR} bytes"
                );
                let table = *table_offset..table_offset.saturating_add(ESP_SECTOR);
                if let Some(name) = parts.region_over(&table) {
                    anyhow::bail!("boot.table_offset: {table_offset:#x} is within regions.{name}");
                }
                ensure!(
                    table.end <= loader.capacity && table_offset.is_multiple_of(ESP_SECTOR),
                    "boot.table_offset: {table_offset:#x} is no sector below the end of the last region"
                );
            }
            Family::EmbassyBoot {} => {
                ensure!(erased == 0xFF, "erased_value: {erased:#04x}, but embassy-boot is built for 0xFF here");
                ensure!(
                    embassy_prepare(loader.geometry).is_some(),
                    "write_size: embassy-boot is not built for units of {write_size} bytes and sectors of {erase_size} here"
                );
                let [active, _, state] = &loader.regions[..] else { unreachable!("three regions") };
                let needs = (2 + 4 * (active.len() as u32 / erase_size)) * write_size;
                ensure!(
                    state.len() as u32 >= needs,
                    "regions.state: {:#x} bytes, but the progress of a swap takes {needs:#x}",
                    state.len()
                );
            }
        }
        Ok(loader)
    }

    fn region(&self, flash: &SimFlash, index: usize) -> Region {
        flash.region(self.regions[index].clone())
    }

    fn slots(&self, flash: &SimFlash) -> [Region; 2] {
        [self.region(flash, 0), self.region(flash, 1)]
    }

    fn cypress(&self, flash: &SimFlash, max_sectors: u32) -> model::Cypress {
        let [primary, secondary] = self.slots(flash);
        model::Cypress::new(primary, secondary, self.region(flash, 2), self.region(flash, 3), max_sectors)
    }

    fn esp_idf(&self, flash: &SimFlash, table_offset: u32, rollback: bool) -> anyhow::Result<esp_model::EspIdf> {
        let all = whole(flash);
        let mut table = vec![0; 0xC00];
        all.read_now(table_offset, &mut table)?;
        let partitions = esp_model::Partitions::read(&table, flash.capacity())
            .ok_or_else(|| anyhow!("there is no partition table at {table_offset:#x}"))?;
        let build = if rollback { esp_model::Build::Rollback } else { esp_model::Build::Plain };
        Ok(esp_model::EspIdf::new(all, partitions, build, esp_model::check_image))
    }

    /// Does a reset: the bootloader decides, swaps or selects, and starts an image.
    ///
    /// # Errors
    /// No image can be started.
    pub(crate) fn reset(&self, flash: &SimFlash) -> anyhow::Result<Started> {
        let started = |boot: model::Boot| Started { running: boot.running, swap: boot.swap, place: Place::Fixed };
        match &self.family {
            Family::Mcuboot { method, max_sectors } => {
                let [primary, secondary] = self.slots(flash);
                let method = match method {
                    SwapMethod::Move => model::Method::Move,
                    SwapMethod::Scratch => model::Method::Scratch(self.region(flash, 2)),
                    SwapMethod::Offset => model::Method::Offset,
                    SwapMethod::Overwrite => model::Method::Overwrite,
                };
                // Without a key: a bootloader has its own, and what the firmware takes is judged by the firmware's key.
                let mut bootloader = model::Bootloader::new(primary, secondary, method);
                // As many as the hand-over's layout has unless told otherwise: both must agree where the trailer begins.
                let larger = self.regions[0].len().max(self.regions[1].len());
                let sectors = larger as u32 / self.geometry.erase_size;
                bootloader.settings.max_img_sectors = max_sectors.unwrap_or(sectors.max(128));
                Ok(started(bootloader.boot()?))
            }
            Family::McubootXip { revert, .. } => {
                let model::Selected { slot, running } = model::Xip::new(self.slots(flash), *revert).boot()?;
                let slot = if slot == 0 { Slot::Primary } else { Slot::Secondary };
                Ok(Started { running, swap: model::Swap::None, place: Place::Slot(slot) })
            }
            Family::McubootCypress { max_sectors, .. } => Ok(started(self.cypress(flash, *max_sectors).boot()?)),
            Family::EspIdf { table_offset, rollback, .. } => {
                let bootloader = self.esp_idf(flash, *table_offset, *rollback)?;
                let app = bootloader.boot()?.context("no app partition holds an image that may run")?;
                let range = bootloader.partitions.app(app).context("the app has no partition")?;
                let app = match app {
                    esp_model::App::Factory => App::Factory,
                    esp_model::App::Test => App::Test,
                    esp_model::App::Ota(index) => App::Ota(u8::try_from(index)?),
                };
                let running = esp_version(&flash.region(range)).map_err(|why| anyhow!("{}: {why}", app_name(app)))?;
                Ok(Started { running, swap: model::Swap::None, place: Place::App(app) })
            }
            Family::EmbassyBoot {} => {
                let regions = [0, 1, 2].map(|index| self.region(flash, index));
                let prepare = embassy_prepare(self.geometry).context("embassy-boot is not built for this flash")?;
                let before = regions[0].contents();
                prepare(&regions)?;
                let after = regions[0].contents();
                let swap = match self.magic(flash)[0] {
                    _ if after == before => model::Swap::None,
                    EMBASSY_SWAP => model::Swap::Test,
                    _ => model::Swap::Revert,
                };
                let running = model::check_image(&after, None).map_err(|why| anyhow!("regions.active: {why}"))?;
                Ok(Started { running, swap, place: Place::Fixed })
            }
        }
    }

    /// Returns the slot that the running image lies in, for a flash that was not reset here. A second one is returned where
    /// the flash does not say which of the two runs.
    ///
    /// # Errors
    /// The layout must name the slot and does not, or the flash can't be read.
    pub(crate) async fn place(&self, flash: &SimFlash) -> Result<(Place, Option<Place>), Failed> {
        match &self.family {
            Family::Mcuboot { .. } | Family::McubootCypress { .. } | Family::EmbassyBoot {} => Ok((Place::Fixed, None)),
            Family::McubootXip { running: Some(XipSlot::Primary), .. } => Ok((Place::Slot(Slot::Primary), None)),
            Family::McubootXip { running: Some(XipSlot::Secondary), .. } => Ok((Place::Slot(Slot::Secondary), None)),
            Family::McubootXip { running: None, revert } => {
                let slots = self.found(flash)?;
                let version = |found: &Found| {
                    let ran = |trailer: Trailer| {
                        trailer.magic == Mark::Good
                            && (trailer.copy_done == Mark::Good || trailer.image_ok == Mark::Good)
                    };
                    found.image.clone().ok().filter(|_| !revert || found.trailer.is_some_and(ran))
                };
                let [primary, secondary] = [&slots[0], &slots[1]].map(version);
                let [first, second] = [Place::Slot(Slot::Primary), Place::Slot(Slot::Secondary)];
                // Without reverts, an image that was staged looks like one that runs.
                let is_open = !revert && primary.is_some() && secondary.is_some();
                let (runs, other) = if secondary > primary { (second, first) } else { (first, second) };
                Ok((runs, is_open.then_some(other)))
            }
            Family::EspIdf { table_offset, running, .. } => {
                let mut region = whole(flash);
                let table = Table::read(&mut region, *table_offset).await?;
                match running {
                    Some(name) => Ok((Place::App(app_of(&table, name)?), None)),
                    None => {
                        let (running, other) = last_run(&region, &table)?;
                        Ok((Place::App(running), other.map(Place::App)))
                    }
                }
            }
        }
    }

    /// Returns the hand-over for the image that runs from `place`. `row` is a buffer of the hand-over's own.
    ///
    /// # Errors
    /// [`Error`]: the partition table can't be read, or has no such app.
    pub(crate) async fn control<'b>(
        &self,
        flash: &SimFlash,
        place: Place,
        row: &'b mut Vec<u8>,
    ) -> Result<AnyBoot<'b>, Error> {
        if let (Family::EspIdf { table_offset, rollback, .. }, Place::App(running)) = (&self.family, place) {
            let mut region = whole(flash);
            let table = Table::read(&mut region, *table_offset).await?;
            let boot = EspIdf::new(region, table, running)?;
            return Ok(AnyBoot::EspIdf(if *rollback { boot } else { boot.without_rollback() }));
        }
        self.over_slots(flash, place, row).ok_or(Error::NoSlot)
    }

    /// Returns the hand-over of a family whose slots the layout names.
    fn over_slots<'b>(&self, flash: &SimFlash, place: Place, row: &'b mut Vec<u8>) -> Option<AnyBoot<'b>> {
        let FlashGeometry { write_size, erase_size, .. } = self.geometry;
        Some(match &self.family {
            Family::Mcuboot { method, max_sectors } => {
                let [primary, secondary] = self.slots(flash);
                let mut layout = Layout::new(self.geometry).method(match method {
                    SwapMethod::Move => Method::Move,
                    SwapMethod::Scratch => Method::Scratch,
                    SwapMethod::Offset => Method::Offset,
                    SwapMethod::Overwrite => Method::Overwrite,
                });
                if let Some(sectors) = max_sectors {
                    layout = layout.max_sectors(*sectors);
                }
                AnyBoot::McuBoot(McuBoot::new(primary, secondary, layout))
            }
            Family::McubootXip { revert, .. } => {
                let [primary, secondary] = self.slots(flash);
                let layout = Layout::new(self.geometry);
                let boot = match place {
                    Place::Slot(Slot::Secondary) => DirectXip::new(secondary, primary, Slot::Secondary, layout),
                    _ => DirectXip::new(primary, secondary, Slot::Primary, layout),
                };
                AnyBoot::Xip(if *revert { boot } else { boot.without_revert() })
            }
            Family::McubootCypress { max_sectors, image, scratch } => {
                let [primary, secondary] = self.slots(flash);
                let mut layout = CypressLayout::new(*max_sectors).image(*image, *scratch);
                layout.internal = self.geometry;
                row.resize(erase_size.max(write_size).max(64) as usize, 0);
                AnyBoot::Cypress(Cypress::new(primary, secondary, self.region(flash, 2), layout, row))
            }
            Family::EspIdf { .. } => return None,
            Family::EmbassyBoot {} => {
                let active_size = self.regions[0].len() as u32;
                let layout = embassy::Layout { active_size, dfu: self.geometry, state: self.geometry };
                AnyBoot::Embassy(EmbassyBoot::new(self.region(flash, 2), layout))
            }
        })
    }

    /// Returns the flash that updates are written to while an image runs from `place`: the room of the hand-over is in it.
    pub(crate) fn target(&self, flash: &SimFlash, place: Place) -> Region {
        match (&self.family, place) {
            (Family::EspIdf { .. }, _) => whole(flash),
            (Family::McubootXip { .. }, Place::Slot(Slot::Secondary)) => self.region(flash, 0),
            _ => self.region(flash, 1),
        }
    }

    /// Returns the format of the images.
    pub(crate) fn format(&self) -> AnyFormat {
        if matches!(self.family, Family::EspIdf { .. }) { AnyFormat::EspIdf } else { AnyFormat::McuBoot }
    }

    /// Returns the slots with what lies in them, the one that runs at first in front.
    ///
    /// # Errors
    /// The partition table can't be read.
    pub(crate) fn found(&self, flash: &SimFlash) -> anyhow::Result<Vec<Found>> {
        if let Family::EspIdf { table_offset, rollback, .. } = &self.family {
            let partitions = self.esp_idf(flash, *table_offset, *rollback)?.partitions;
            let apps = (0..16).map(App::Ota).chain([App::Factory, App::Test]);
            let found = apps.filter_map(|app| {
                let range = partitions.app(match app {
                    App::Factory => esp_model::App::Factory,
                    App::Test => esp_model::App::Test,
                    App::Ota(index) => esp_model::App::Ota(index.into()),
                })?;
                let region = flash.region(range);
                Some(Found { name: app_name(app), image: esp_version(&region), region, trailer: None })
            });
            return Ok(found.collect());
        }
        let (names, align) = match &self.family {
            Family::EmbassyBoot {} => (["active", "dfu"], None),
            Family::McubootCypress { .. } => (["primary", "secondary"], Some(8)),
            _ => (["primary", "secondary"], Some(self.geometry.write_size)),
        };
        let slots = names.into_iter().zip(self.slots(flash)).enumerate().map(|(index, (name, region))| {
            let contents = region.contents();
            let check = |from: u32| model::check_image(&contents[from as usize..], None).map_err(str::to_owned);
            let mut image = check(self.update_starts(index));
            if image.is_err() && self.update_starts(index) > 0 {
                // By offset, an image that was swapped out begins with the slot.
                image = check(0).or(image);
            }
            let unreadable = Trailer { magic: Mark::Bad, image_ok: Mark::Bad, copy_done: Mark::Bad };
            let trailer = align.map(|align| Trailer::read(&region, align).unwrap_or(unreadable));
            Found { name: name.to_owned(), region, image, trailer }
        });
        Ok(slots.collect())
    }

    /// Returns embassy-boot's magic, the first unit of its state.
    pub(crate) fn magic(&self, flash: &SimFlash) -> Vec<u8> {
        self.region(flash, 2).contents()[..self.geometry.write_size as usize].to_vec()
    }

    /// Returns where in a slot a new image begins.
    fn update_starts(&self, slot: usize) -> u32 {
        match self.family {
            Family::Mcuboot { method: SwapMethod::Offset, .. } if slot == 1 => self.geometry.erase_size,
            _ => 0,
        }
    }

    /// Puts the first image into an erased flash, with everything that the bootloader needs to start it.
    ///
    /// # Errors
    /// The image does not fit, or can't be started.
    pub(crate) fn install(&self, flash: &SimFlash, image: &[u8]) -> anyhow::Result<()> {
        let first = self.regions[0].clone();
        let mut row = vec![];
        let place = Place::Slot(Slot::Primary);
        let limit = self.over_slots(flash, place, &mut row).map_or(first.len(), |boot| {
            let ImageRegion { start, end, .. } = boot.image_region();
            (end - start) as usize
        });
        let slot = match self.family {
            Family::EspIdf { .. } => "partition ota_0",
            Family::EmbassyBoot {} => "active partition",
            _ => "primary slot",
        };
        ensure!(image.len() <= limit, "the image of {} bytes does not fit: the {slot} takes {limit}", image.len());
        let FlashGeometry { write_size, erased, .. } = self.geometry;
        let mut image = image.to_vec();
        match &self.family {
            Family::McubootXip { revert: true, .. } => {
                // As `imgtool sign --pad --confirm` does: without a trailer the bootloader erases it.
                image::pad(&mut image, first.len(), write_size as usize, erased, true);
            }
            Family::EspIdf { table_offset, .. } => flash.load(*table_offset, &self.partition_table())?,
            _ => {}
        }
        flash.load(first.start, &image)?;
        if let Some(Found { image: Err(why), .. }) = self.found(flash)?.first() {
            anyhow::bail!("the image can't be started: {why}");
        }
        Ok(())
    }

    /// Returns a partition table with otadata and two app partitions.
    fn partition_table(&self) -> Vec<u8> {
        let row = |kind: u8, subtype: u8, label: &str, range: &Range<u32>| {
            let mut row = vec![0xAA, 0x50, kind, subtype];
            row.extend(range.start.to_le_bytes().into_iter().chain((range.end - range.start).to_le_bytes()));
            row.extend(label.bytes());
            row.resize(32, 0);
            row
        };
        let [ota_0, ota_1, otadata] = &self.regions[..] else { unreachable!("three regions") };
        [row(1, 0, "otadata", otadata), row(0, 0x10, "ota_0", ota_0), row(0, 0x11, "ota_1", ota_1)].concat()
    }

    /// Returns the slot of [`found`](Self::found) that an image runs from.
    pub(crate) fn index_of(&self, found: &[Found], place: Place) -> usize {
        let name = place.name();
        found.iter().position(|slot| Some(&slot.name) == name.as_ref()).unwrap_or(0)
    }
}

/// The hand-over to whatever bootloader a device has.
pub(crate) enum AnyBoot<'b> {
    McuBoot(McuBoot<Region, Region>),
    Xip(DirectXip<Region, Region>),
    Cypress(Cypress<'b, Region, Region, Region>),
    EspIdf(EspIdf<Region>),
    Embassy(EmbassyBoot<Region>),
}

macro_rules! each {
    ($any:expr, $boot:ident => $call:expr) => {
        match $any {
            AnyBoot::McuBoot($boot) => $call,
            AnyBoot::Xip($boot) => $call,
            AnyBoot::Cypress($boot) => $call,
            AnyBoot::EspIdf($boot) => $call,
            AnyBoot::Embassy($boot) => $call,
        }
    };
}

impl BootControl for AnyBoot<'_> {
    fn image_region(&self) -> ImageRegion {
        each!(self, boot => boot.image_region())
    }

    fn held_back(&self) -> usize {
        each!(self, boot => boot.held_back())
    }

    async fn state(&mut self) -> Result<State, Error> {
        each!(self, boot => boot.state().await)
    }

    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        each!(self, boot => boot.stage(swap).await)
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        each!(self, boot => boot.unstage().await)
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        each!(self, boot => boot.confirm().await)
    }

    async fn go_back(&mut self) -> Result<(), Error> {
        each!(self, boot => boot.go_back().await)
    }
}

/// The format of a device's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnyFormat {
    McuBoot,
    EspIdf,
}

impl Format for AnyFormat {
    async fn verify<F: ReadNorFlash>(
        &self,
        slot: &mut F,
        promised: Promised<'_>,
        policy: &Policy<'_>,
        buf: &mut [u8],
    ) -> Result<Image, verify::Error> {
        match self {
            Self::McuBoot => verify::McuBoot.verify(slot, promised, policy, buf).await,
            Self::EspIdf => verify::EspIdf.verify(slot, promised, policy, buf).await,
        }
    }
}

/// Swaps, reverts, or leaves everything as it is: in the partitions active, DFU and state.
type Prepare = fn(&[Region; 3]) -> anyhow::Result<()>;

/// Returns embassy-boot as it is built for a flash, if it is: its write unit and its sectors are fixed by a build.
fn embassy_prepare(geometry: FlashGeometry) -> Option<Prepare> {
    macro_rules! builds {
        ($($write:literal: $($erase:literal)*,)*) => {
            match (geometry.write_size, geometry.erase_size) {
                $($(($write, $erase) => Some(prepare::<$write, $erase>),)*)*
                _ => None,
            }
        };
    }
    builds! {
        1: 4096,
        2: 1024 2048 4096,
        4: 256 512 1024 2048 4096 8192 0x2_0000,
        8: 256 512 1024 2048 4096 8192,
        16: 256 512 1024 2048 4096 8192,
        32: 512 1024 2048 4096 8192 0x2_0000,
    }
}

fn prepare<const WRITE: usize, const ERASE: usize>(regions: &[Region; 3]) -> anyhow::Result<()> {
    let [active, dfu, state] = regions.clone().map(Region::sized::<WRITE, ERASE>);
    let mut loader = embassy_boot_loader::BootLoader::new(embassy_boot_loader::BootLoaderConfig { active, dfu, state });
    loader.prepare_boot(&mut [0; ERASE]).map_err(|error| anyhow!("embassy-boot: {error:?}"))?;
    Ok(())
}

fn whole(flash: &SimFlash) -> Region {
    flash.region(0..flash.capacity())
}

/// Returns the version of an ESP-IDF image that may run, or why there is none.
fn esp_version(region: &Region) -> Result<Version, String> {
    // Header, header of the first segment, and in the description: magic, secure version, two reserved words.
    const AT: usize = 24 + 8 + 16;
    let contents = region.contents();
    if !esp_model::check_image(&contents) {
        return Err("no image that ESP-IDF starts".to_owned());
    }
    let text = contents.get(AT..AT + 32).and_then(|field| field.split(|byte| *byte == 0).next()).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let parsed = text.parse().map_err(|_| format!("its version, {text:?}, is none that can be compared"))?;
    let verify::Version { major, minor, revision, build } = parsed;
    Ok(Version { major, minor, revision, build })
}

fn app_of(table: &Table, name: &str) -> anyhow::Result<App> {
    let app = match name {
        "factory" => Some(App::Factory),
        "test" => Some(App::Test),
        name => name.strip_prefix("ota_").and_then(|index| index.parse().ok()).map(App::Ota),
    };
    app.filter(|app| table.app(*app).is_some())
        .ok_or_else(|| anyhow!("boot.running: the partition table has no {name:?}"))
}

pub(crate) fn app_name(app: App) -> String {
    match app {
        App::Factory => "factory".to_owned(),
        App::Test => "test".to_owned(),
        App::Ota(index) => format!("ota_{index}"),
    }
}

pub(crate) fn entries(region: &Region, table: &Table) -> anyhow::Result<[esp_model::Entry; 2]> {
    let otadata = table.otadata().context("the partition table has no otadata")?.offset;
    let partitions = esp_model::Partitions::new(otadata, None, []);
    let build = esp_model::Build::Plain;
    let loader = esp_model::EspIdf::new(region.clone(), partitions, build, |_| false);
    loader.entries().map_err(|error| anyhow!("otadata: {error}"))
}

/// Returns the app that runs by otadata: that of the entry with the highest number that stands for one that has run, not
/// for a new one. An entry that is valid or undefined can also be staged without a trial: the second app is the one that
/// runs then, if it is another one.
fn last_run(region: &Region, table: &Table) -> anyhow::Result<(App, Option<App>)> {
    const PENDING_VERIFY: u32 = 1;
    let ran = |entry: &esp_model::Entry| entry.seq != u32::MAX && entry.crc_fits() && ![0, 3, 4].contains(&entry.state);
    let mut entries: Vec<_> = entries(region, table)?.into_iter().filter(ran).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.seq));
    let app = |entry: Option<&esp_model::Entry>| {
        let slot = entry.and_then(|entry| entry.seq.wrapping_sub(1).checked_rem(table.ota_count().into()));
        match slot {
            Some(slot) => App::Ota(slot as u8),
            None if table.app(App::Factory).is_some() => App::Factory,
            None => App::Ota(0),
        }
    };
    let running = app(entries.first());
    let may_be_staged = entries.first().is_some_and(|entry| entry.state != PENDING_VERIFY);
    let before = app(entries.get(1));
    Ok((running, (may_be_staged && before != running).then_some(before)))
}
