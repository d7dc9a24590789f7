//! A bootloader's view of a flash file, and the calls that a firmware would make.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};
use sprag::boot::esp_idf::{self, App, Table};
use sprag::boot::mcuboot::{CypressLayout, Slot, Units};
use sprag::boot::{
    BootControl, Cypress, DirectXip, EmbassyBoot, Error, EspIdf, Layout, McuBoot, Method, Room, State, Swap, embassy,
};
use sprag_testkit::flash::{Geometry, Region, SimFlash};
use sprag_testkit::mcuboot::{self, Mark, Trailer};

use crate::layout::{Parts, for_file_of};

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
        /// The slot that runs.
        running: XipSlot,
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

/// How MCUboot brings the new image to run.
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
    fn default_one() -> Self {
        Self::Mcuboot { method: SwapMethod::Move, max_sectors: None }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default_one()
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Mcuboot { .. } => "mcuboot",
            Self::McubootXip { .. } => "mcuboot-xip",
            Self::McubootCypress { .. } => "mcuboot-cypress",
            Self::EspIdf { .. } => "esp-idf",
            Self::EmbassyBoot {} => "embassy-boot",
        }
    }
}

/// What is asked of the bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Nothing.
    Look,
    /// [`BootControl::stage`].
    Stage(Swap),
    /// [`BootControl::unstage`].
    Unstage,
    /// [`BootControl::confirm`].
    Confirm,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub enum Failed {
    /// The files can't be used.
    Input(anyhow::Error),
    /// The bootloader, or what lies in the flash, does not allow it.
    Refused(String),
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Input(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::Layout | Error::PartialSector | Error::Buffer { .. } => Self::Input(anyhow!("{error}")),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// What the bootloader sees.
#[derive(Debug, Clone)]
pub struct View {
    /// The family's name, as the layout has it.
    pub family: &'static str,
    /// Where the hand-over stands.
    pub state: State,
    /// Where an image goes, in addresses of the file; empty when there is no place for one.
    pub room: Range<u32>,
    /// What lies in the bootloader's own bytes and in the slots: a name, words for people, and the same for programs.
    pub lines: Vec<(String, String, Value)>,
}

/// Makes a call on the flash in a file, and looks at it afterwards.
///
/// # Errors
/// See [`Failed`].
pub async fn call(flash: &Path, layout: &Path, call: Call) -> Result<View, Failed> {
    let parts = Parts::read(layout)?;
    let family = parts.boot.clone().unwrap_or_else(Family::default_one);
    let named = || format!("{}", flash.display());
    let size = std::fs::metadata(flash).with_context(named)?.len();
    let geometry = for_file_of(parts.geometry, size).with_context(named)?;
    // Checked before the file is opened, so that what is wrong with the layout is said first.
    let desk = Desk::new(&parts, family).with_context(|| format!("{}", layout.display()))?;
    let flash = SimFlash::open(flash, geometry).with_context(named)?;
    desk.call(&flash, call).await.map_err(|failed| match failed {
        // Parameters that do not go with what lies in the flash.
        Failed::Input(error) => Failed::Input(error.context(format!("{}", layout.display()))),
        refused => refused,
    })
}

/// A family with the regions that it needs.
#[derive(Debug)]
struct Desk {
    family: Family,
    geometry: Geometry,
    regions: Vec<Range<u32>>,
}

impl Desk {
    fn new(parts: &Parts, family: Family) -> anyhow::Result<Self> {
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
                anyhow::ensure!(
                    dfu.len() >= active.len() + parts.geometry.erase_size as usize,
                    "regions.dfu: {:#x} bytes, but embassy-boot takes a sector more than regions.active, which has {:#x}",
                    dfu.len(),
                    active.len()
                );
                regions.to_vec()
            }
        };
        Ok(Self { family, geometry: parts.geometry, regions })
    }

    fn region(&self, flash: &SimFlash, index: usize) -> Region {
        flash.region(self.regions[index].clone())
    }

    async fn call(&self, flash: &SimFlash, call: Call) -> Result<View, Failed> {
        let Geometry { write_size, erase_size, erased, .. } = self.geometry;
        match &self.family {
            Family::Mcuboot { method, max_sectors } => {
                let slots = [self.region(flash, 0), self.region(flash, 1)];
                let size = self.regions[0].len() as u32;
                let mut layout = Layout::new(size, write_size, erase_size, erased).method(match method {
                    SwapMethod::Move => Method::Move,
                    SwapMethod::Scratch => Method::Scratch,
                    SwapMethod::Offset => Method::Offset,
                    SwapMethod::Overwrite => Method::Overwrite,
                });
                if let Some(sectors) = max_sectors {
                    layout = layout.max_sectors(*sectors);
                }
                let mut boot = McuBoot::new(slots[0].clone(), slots[1].clone(), layout);
                let start = boot.room().start;
                if let Call::Stage(_) = call
                    && !matches!(boot.state().await?, State::Interrupted | State::Trial)
                {
                    must_run(&slots[1], start)?;
                }
                let from = self.regions[1].start;
                self.answer(boot, from, call).await.map(|view| with_slots(view, &slots, [0, start], write_size))
            }
            Family::McubootXip { running, revert } => {
                let slots = [self.region(flash, 0), self.region(flash, 1)];
                let layout = Layout::new(self.regions[0].len() as u32, write_size, erase_size, erased);
                let (running, slot) = match running {
                    XipSlot::Primary => (0, Slot::Primary),
                    XipSlot::Secondary => (1, Slot::Secondary),
                };
                let mut boot = DirectXip::new(slots[running].clone(), slots[1 - running].clone(), slot, layout);
                if !revert {
                    boot = boot.without_revert();
                }
                if let Call::Stage(_) = call {
                    must_run(&slots[1 - running], 0)?;
                }
                let from = self.regions[1 - running].start;
                self.answer(boot, from, call).await.map(|view| with_slots(view, &slots, [0, 0], write_size))
            }
            Family::McubootCypress { max_sectors, image, scratch } => {
                let slots = [self.region(flash, 0), self.region(flash, 1)];
                let mut layout = CypressLayout::new(*max_sectors).image(*image, *scratch);
                layout.internal = Units { write_size, erase_size, erased };
                let mut row = vec![0; erase_size.max(write_size).max(64) as usize];
                let status = self.region(flash, 2);
                let boot = Cypress::new(slots[0].clone(), slots[1].clone(), status, layout, &mut row);
                if let Call::Stage(_) = call {
                    must_run(&slots[1], 0)?;
                }
                self.answer(boot, self.regions[1].start, call).await.map(|view| with_slots(view, &slots, [0, 0], 8))
            }
            Family::EspIdf { table_offset, running, rollback } => {
                let mut region = flash.region(0..flash.geometry().capacity);
                let table = Table::read(&mut region, *table_offset).await?;
                let guess = last_run(&region, &table)?;
                let (running, other) = match running {
                    Some(name) => (app_of(&table, name)?, None),
                    None => guess,
                };
                if let (Some(other), Call::Stage(_) | Call::Unstage) = (other, call) {
                    let [running, other] = [running, other].map(app_name);
                    return Err(Failed::Input(anyhow!(
                        "boot.running: missing; otadata does not say whether {running} runs, or {other} and {running} is \
                         staged: give running = \"{running}\" or \"{other}\""
                    )));
                }
                let mut boot = EspIdf::new(region.clone(), table.clone(), running)?;
                if !rollback {
                    boot = boot.without_rollback();
                }
                let view = self.answer(boot, 0, call).await?;
                let chosen = esp_idf::chosen(&mut region, &table, *rollback).await?;
                with_otadata(view, &region, &table, running, other, chosen)
            }
            Family::EmbassyBoot {} => {
                let state = self.region(flash, 2);
                let active_size = self.regions[0].len() as u32;
                let layout = embassy::Layout { active_size, erase_size, write_size, erased };
                let boot = EmbassyBoot::new(state.clone(), layout);
                let mut view = self.answer(boot, self.regions[1].start, call).await?;
                let magic = state.contents()[..write_size as usize].to_vec();
                let word = match magic[0] {
                    byte if magic.iter().any(|other| *other != byte) => "torn",
                    0xD0 => "boot",
                    0xF0 => "swap",
                    0xE0 => "dfu-detach",
                    0xC0 => "revert",
                    byte if byte == erased => "erased",
                    _ => "unknown",
                };
                view.lines.push(("magic".to_owned(), word.to_owned(), json!(word)));
                Ok(view)
            }
        }
    }

    /// Makes the call, and asks for the state. `from` is where the room's flash begins in the file.
    async fn answer<B: BootControl>(&self, mut boot: B, from: u32, call: Call) -> Result<View, Failed> {
        match call {
            Call::Look => {}
            Call::Stage(swap) => boot.stage(swap).await?,
            Call::Unstage => boot.unstage().await?,
            Call::Confirm => boot.confirm().await?,
        }
        let Room { start, end, .. } = boot.room();
        let room = from + start..from + end;
        Ok(View { family: self.family.name(), state: boot.state().await?, room, lines: vec![] })
    }
}

/// A slot takes part in a swap only with an image that may run: whole, by its own digest.
fn must_run(slot: &Region, from: u32) -> Result<(), Failed> {
    let image = mcuboot::check_image(&slot.contents()[from as usize..], None);
    image.map(|_| ()).map_err(|why| Failed::Refused(format!("there is no image that may run where updates go: {why}")))
}

fn with_slots(mut view: View, slots: &[Region; 2], images: [u32; 2], align: u32) -> View {
    for ((name, slot), from) in ["primary", "secondary"].into_iter().zip(slots).zip(images) {
        let image = mcuboot::check_image(&slot.contents()[from as usize..], None).map(crate::device::version);
        let trailer = Trailer::read(slot, align).unwrap_or(Trailer {
            magic: Mark::Bad,
            image_ok: Mark::Bad,
            copy_done: Mark::Bad,
        });
        let [magic, ok, done] = [trailer.magic, trailer.image_ok, trailer.copy_done].map(mark_word);
        let words = image.as_ref().map_or_else(|why| format!("no image that may run ({why})"), ToString::to_string);
        view.lines.push((
            name.to_owned(),
            format!("{words}; trailer: magic {magic}, image_ok {ok}, copy_done {done}"),
            json!({
                "version": image.as_ref().ok().map(ToString::to_string),
                "problem": image.as_ref().err(),
                "magic": magic,
                "image_ok": ok,
                "copy_done": done,
            }),
        ));
    }
    view
}

/// A mark in a word.
pub fn mark_word(mark: Mark) -> &'static str {
    match mark {
        Mark::Good => "set",
        Mark::Unset => "erased",
        Mark::Bad => "bad",
    }
}

/// Where the hand-over stands, in words.
pub fn state_words(state: State) -> &'static str {
    match state {
        State::Settled => "settled",
        State::Staged(Swap::Test) => "staged for a test",
        State::Staged(Swap::Permanent) => "staged for good",
        State::Trial => "on trial",
        State::Interrupted => "interrupted swap",
    }
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

fn app_name(app: App) -> String {
    match app {
        App::Factory => "factory".to_owned(),
        App::Test => "test".to_owned(),
        App::Ota(index) => format!("ota_{index}"),
    }
}

fn entries(region: &Region, table: &Table) -> anyhow::Result<[sprag_testkit::esp_idf::Entry; 2]> {
    let otadata = table.otadata().context("the partition table has no otadata")?.offset;
    let partitions = sprag_testkit::esp_idf::Partitions::new(otadata, None, []);
    let build = sprag_testkit::esp_idf::Build::Plain;
    let loader = sprag_testkit::esp_idf::EspIdf::new(region.clone(), partitions, build, |_| false);
    loader.entries().map_err(|error| anyhow!("otadata: {error}"))
}

/// Returns the app that runs by otadata: that of the entry with the highest number that stands for one that has run, not
/// for a new one. An entry that is valid or undefined can also be staged without a trial: the second app is the one that
/// runs then, if it is another one.
fn last_run(region: &Region, table: &Table) -> anyhow::Result<(App, Option<App>)> {
    const PENDING_VERIFY: u32 = 1;
    let ran = |entry: &sprag_testkit::esp_idf::Entry| {
        entry.seq != u32::MAX && entry.crc_fits() && ![0, 3, 4].contains(&entry.state)
    };
    let mut entries: Vec<_> = entries(region, table)?.into_iter().filter(ran).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.seq));
    let app = |entry: Option<&sprag_testkit::esp_idf::Entry>| {
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

/// Adds the apps and the entries of otadata to a view. `other` is the app that runs if `running` is only staged.
fn with_otadata(
    mut view: View,
    region: &Region,
    table: &Table,
    running: App,
    other: Option<App>,
    chosen: App,
) -> Result<View, Failed> {
    let slots = (0..table.ota_count()).map(App::Ota);
    for app in [App::Factory, App::Test].into_iter().chain(slots) {
        if let Some(esp_idf::Partition { offset, size }) = table.app(app) {
            let mut notes = vec![format!("{offset:#x}, {size} bytes")];
            notes.extend((app == running).then(|| "running".to_owned()));
            notes.extend((app == chosen).then(|| "tried first at the next reset".to_owned()));
            let value = json!({ "offset": offset, "size": size, "running": app == running, "next": app == chosen });
            view.lines.push((app_name(app), notes.join("; "), value));
        }
    }
    if let Some(other) = other {
        let [running, other] = [running, other].map(app_name);
        let words = format!("{running}, or {other} if {running} was staged without a trial: boot.running is not given");
        view.lines.push(("running".to_owned(), words, json!([running, other])));
    }
    for (index, entry) in entries(region, table)?.into_iter().enumerate() {
        let blank = entry.seq == u32::MAX;
        let sound = entry.crc == sprag_testkit::esp_idf::crc(entry.seq);
        let state = match entry.state {
            0 => "new",
            1 => "pending-verify",
            2 => "valid",
            3 => "invalid",
            4 => "aborted",
            u32::MAX => "undefined",
            _ => "unknown",
        };
        let words = match (blank, sound) {
            (true, _) => "erased".to_owned(),
            (_, false) => format!("{}, {state}; its CRC does not fit", entry.seq),
            (_, true) => format!("{}, {state}", entry.seq),
        };
        let value = json!({ "seq": (!blank).then_some(entry.seq), "state": state, "sound": sound });
        view.lines.push((format!("otadata_{index}"), words, value));
    }
    Ok(view)
}
