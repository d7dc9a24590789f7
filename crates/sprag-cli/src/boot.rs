//! A bootloader's view of a flash file, and the calls that a firmware would make.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use sprag::boot::esp_idf::{self, App, Table};
use sprag::boot::{BootControl, Error, ImageRegion, State, Swap};
use sprag_testkit::flash::{Region, SimFlash};
use sprag_testkit::mcuboot::{self, Mark};

use crate::layout::{Parts, capacity_of};
use crate::loader::{AnyBoot, Family, Found, Loader, Place, app_name, entries};

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

impl From<Failed> for anyhow::Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Input(error) => error,
            Failed::Refused(why) => anyhow!(why),
        }
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
    let named = || format!("{}", flash.display());
    let size = std::fs::metadata(flash).with_context(named)?.len();
    let capacity = capacity_of(parts.capacity, parts.geometry, size).with_context(named)?;
    // Checked before the file is opened, so that what is wrong with the layout is said first.
    let loader = Loader::new(&parts).with_context(|| format!("{}", layout.display()))?;
    let flash = SimFlash::open(flash, capacity, parts.geometry).with_context(named)?;
    make(&loader, &flash, call).await.map_err(|failed| match failed {
        // Parameters that do not go with what lies in the flash.
        Failed::Input(error) => Failed::Input(error.context(format!("{}", layout.display()))),
        refused => refused,
    })
}

async fn make(loader: &Loader, flash: &SimFlash, call: Call) -> Result<View, Failed> {
    let (place, other) = loader.place(flash).await?;
    if let (Some(other), Call::Stage(_) | Call::Unstage) = (other, call) {
        let [running, other] = [place, other].map(|place| place.name().unwrap_or_default());
        let place = if let Family::EspIdf { .. } = loader.family { "otadata" } else { "the flash" };
        return Err(Failed::Input(anyhow!(
            "boot.running: missing; {place} does not say whether {running} runs, or {other} and {running} is \
             staged: give running = \"{running}\" or \"{other}\""
        )));
    }
    let mut row = vec![];
    let mut boot = loader.control(flash, place, &mut row).await?;
    let target = loader.target(flash, place);
    let ImageRegion { start, end, .. } = boot.image_region();
    let is_mcuboots = loader.family.name().starts_with("mcuboot");
    if let Call::Stage(_) = call
        && is_mcuboots
        && !(matches!(boot, AnyBoot::McuBoot(_)) && matches!(boot.state().await?, State::Interrupted | State::Trial))
    {
        must_run(&target, start)?;
    }
    match call {
        Call::Look => {}
        Call::Stage(swap) => boot.stage(swap).await?,
        Call::Unstage => boot.unstage().await?,
        Call::Confirm => boot.confirm().await?,
    }
    let room = target.range().start + start..target.range().start + end;
    let view = View { family: loader.family.name(), state: boot.state().await?, room, lines: vec![] };
    match &loader.family {
        Family::EspIdf { table_offset, rollback, .. } => {
            let mut region = target;
            let table = Table::read(&mut region, *table_offset).await?;
            let chosen = esp_idf::chosen(&mut region, &table, *rollback).await?;
            with_otadata(view, &region, &table, place, other, chosen)
        }
        Family::EmbassyBoot {} => Ok(with_magic(view, loader, flash)),
        _ => Ok(with_slots(view, &loader.found(flash)?)),
    }
}

/// A slot takes part in a swap only with an image that may run: whole, by its own digest.
fn must_run(slot: &Region, from: u32) -> Result<(), Failed> {
    let image = mcuboot::check_image(&slot.contents()[from as usize..], None);
    image.map(|_| ()).map_err(|why| Failed::Refused(format!("there is no image that may run where updates go: {why}")))
}

fn with_slots(mut view: View, slots: &[Found]) -> View {
    for Found { name, image, trailer, .. } in slots {
        let Some(trailer) = trailer else { continue };
        let image = image.clone().map(crate::device::version);
        let [magic, ok, done] = [trailer.magic, trailer.image_ok, trailer.copy_done].map(mark_word);
        let words = image.as_ref().map_or_else(|why| format!("no image that may run ({why})"), ToString::to_string);
        view.lines.push((
            name.clone(),
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

/// Adds embassy-boot's magic to a view.
fn with_magic(mut view: View, loader: &Loader, flash: &SimFlash) -> View {
    let (magic, erased) = (loader.magic(flash), loader.geometry.erased);
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

/// Adds the apps and the entries of otadata to a view. `other` is the app that runs if `running` is only staged.
fn with_otadata(
    mut view: View,
    region: &Region,
    table: &Table,
    running: Place,
    other: Option<Place>,
    chosen: App,
) -> Result<View, Failed> {
    let slots = (0..table.ota_count()).map(App::Ota);
    for app in [App::Factory, App::Test].into_iter().chain(slots) {
        if let Some(esp_idf::Partition { offset, size }) = table.app(app) {
            let mut notes = vec![format!("{offset:#x}, {size} bytes")];
            notes.extend((Place::App(app) == running).then(|| "running".to_owned()));
            notes.extend((app == chosen).then(|| "tried first at the next reset".to_owned()));
            let value =
                json!({ "offset": offset, "size": size, "running": Place::App(app) == running, "next": app == chosen });
            view.lines.push((app_name(app), notes.join("; "), value));
        }
    }
    if let Some(other) = other {
        let [running, other] = [running, other].map(|place| place.name().unwrap_or_default());
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
