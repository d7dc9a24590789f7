//! MCUboot: swaps, overwrite-only and direct-XIP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sprag_testkit::flash::{FlashGeometry, Part, ProgramRule, Region, Sectors, SimFlash, Timing, Torn};
use sprag_testkit::image::{PublicKey, Version};
use sprag_testkit::mcuboot::{BootError, Bootloader, Mark, Method, Release, Settings, Swap, Trailer, Xip};

use crate::Outcome;
use crate::file::decode_flash;
use crate::keys::Keys;

/// A vector: a flash, and what MCUboot made of it.
#[derive(Deserialize)]
struct Vector {
    mcuboot: String,
    method: String,
    option: Option<String>,
    max_align: u32,
    max_img_sectors: u32,
    write: u32,
    erased: u8,
    sectors: Slots,
    key: String,
    flash: String,
    swap_type: String,
    state_before: States,
    rc: String,
    boots: Option<Boots>,
    flash_after: String,
    state_after: States,
    swap_type_after: String,
    again: Again,
    finding: Option<String>,
}

#[derive(Deserialize)]
struct Slots {
    primary: Run,
    secondary: Run,
    scratch: Option<Run>,
}

/// The sectors of an area, addressed in the whole flash.
#[derive(Deserialize)]
#[serde(untagged)]
enum Run {
    Uniform { offset: u32, size: u32, count: u32 },
    Each(Vec<(u32, u32)>),
}

impl Run {
    fn sectors(&self) -> Vec<(u32, u32)> {
        match self {
            Self::Uniform { offset, size, count } => (0..*count).map(|n| (offset + n * size, *size)).collect(),
            Self::Each(sectors) => sectors.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Boots {
    slot: String,
    version: String,
}

#[derive(Deserialize)]
struct Again {
    rc: String,
    boots: Option<Boots>,
}

#[derive(Deserialize)]
struct States {
    primary: State,
    secondary: State,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct State {
    magic: String,
    swap_type: SwapType,
    copy_done: String,
    image_ok: String,
}

/// The swap type in a trailer: a number where there is no word for it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum SwapType {
    Word(String),
    Number(u8),
}

/// One of the two kinds of bootloader.
enum Model {
    TwoSlots(Bootloader),
    Xip(Xip),
}

impl Model {
    /// What a boot leads to, in the words of the vectors, and why nothing boots.
    fn boot(&self) -> (&'static str, Option<Boots>, String) {
        let booted = match self {
            Self::TwoSlots(loader) => loader.boot().map(|boot| ("primary", boot.running)),
            Self::Xip(xip) => xip.boot().map(|selected| (["primary", "secondary"][selected.slot], selected.running)),
        };
        match booted {
            Ok((slot, version)) => {
                ("booted", Some(Boots { slot: slot.to_owned(), version: words(version) }), String::new())
            }
            Err(error) => {
                let rc = match &error {
                    BootError::NoBootableImage(_) => "no bootable image",
                    BootError::Assert(_) => "assert",
                    BootError::Crash(_) => "crash",
                    _ => "flash error",
                };
                (rc, None, error.to_string())
            }
        }
    }

    fn swap_type(&self) -> Result<Option<&'static str>> {
        let Self::TwoSlots(loader) = self else {
            return Ok(None);
        };
        Ok(Some(match loader.swap_type().context("the swap type")? {
            Swap::None | Swap::Refused => "none",
            Swap::Test => "test",
            Swap::Permanent => "perm",
            Swap::Revert => "revert",
        }))
    }

    /// The state of a slot, in the words of the vectors.
    fn state(&self, slot: &Region) -> Result<State> {
        let (trailer, info) = match self {
            Self::TwoSlots(loader) => (loader.trailer(slot)?, loader.swap_info(slot)?),
            Self::Xip(xip) => (xip.trailer(slot)?, xip.swap_info(slot)?),
        };
        let Trailer { magic, image_ok, copy_done } = trailer;
        let word = |word: &str| SwapType::Word(word.to_owned());
        let swap_type = match info {
            Some(0) => SwapType::Number(0),
            Some(2) => word("test"),
            Some(3) => word("perm"),
            Some(4) => word("revert"),
            _ => word("none"),
        };
        let flag = |mark| if mark == Mark::Good { "set".to_owned() } else { mark_word(mark) };
        Ok(State { magic: mark_word(magic), swap_type, copy_done: flag(copy_done), image_ok: flag(image_ok) })
    }
}

fn mark_word(mark: Mark) -> String {
    let word = match mark {
        Mark::Good => "good",
        Mark::Unset => "unset",
        Mark::Bad => "bad",
    };
    word.to_owned()
}

/// `1.2.3`, with `+4` where the build number is not 0.
fn words(version: Version) -> String {
    let Version { major, minor, revision, build } = version;
    let build = if build == 0 { String::new() } else { format!("+{build}") };
    format!("{major}.{minor}.{revision}{build}")
}

/// An image, and whether MCUboot takes it.
#[derive(Deserialize)]
struct ImageVector {
    mcuboot: String,
    config: ImageConfig,
    key: String,
    image: String,
    accepted: bool,
}

#[derive(Deserialize)]
struct ImageConfig {
    allow_list: bool,
    counter: Option<u32>,
    pure: bool,
}

/// Returns whether the model takes the image of the vector `line` exactly if MCUboot does; `None` for a build that the model
/// does not cover: with a security counter, or with signatures over the whole image.
///
/// # Errors
/// The vector cannot be read.
pub fn model_agrees(line: &str, keys: &Keys) -> Result<Option<bool>> {
    const SLOT: u32 = 32 * 1024;
    let vector: ImageVector = serde_json::from_str(line)?;
    if vector.config.counter.is_some() || vector.config.pure {
        return Ok(None);
    }
    let capacity = 2 * SLOT;
    let geometry = FlashGeometry { write_size: 8, erase_size: SLOT, erased: 0xFF };
    let flash = SimFlash::in_memory(capacity, geometry);
    flash.load(0, &STANDARD.decode(&vector.image).context("the image is not base64")?)?;
    let mut xip = Xip::new([flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)], false);
    xip.settings.key = PublicKey::from_der(&keys.get(&vector.key)?.der()?);
    xip.settings.release = release(&vector.mcuboot)?;
    xip.settings.tlv_allow_list = vector.config.allow_list;
    Ok(Some(xip.boot().is_ok() == vector.accepted))
}

/// Returns whether the model's boot of the vector `line` goes through the flash that the vector `cut_off` begins with: the
/// same boot by MCUboot, cut off between two of its operations.
///
/// # Errors
/// One of the vectors cannot be read.
pub fn goes_through(line: &str, cut_off: &str, keys: &Keys) -> Result<bool> {
    let vector: Vector = serde_json::from_str(line)?;
    let cut_off: Vector = serde_json::from_str(cut_off)?;
    let device = Device::of(&vector, keys)?;
    let expected = decode_flash(&cut_off.flash)?;
    let found = Arc::new(AtomicBool::new(device.flash.contents() == expected));
    let seen = Arc::clone(&found);
    let there = expected.clone();
    device.flash.before_operations(move |cut| {
        if cut.leaves(Torn::Nothing).contents() == there {
            seen.store(true, Ordering::Relaxed);
        }
    });
    device.model.boot();
    device.flash.unobserved();
    Ok(found.load(Ordering::Relaxed) || device.flash.contents() == expected)
}

/// Judges one vector.
pub(crate) fn judge(line: &str, keys: &Keys) -> Result<Outcome> {
    let vector: Vector = serde_json::from_str(line)?;
    let device = Device::of(&vector, keys)?;
    let mut wrong = Vec::new();
    let mut compare = |what: &str, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
        if expected != found {
            wrong.push(format!("{what}: expected {expected}, found {found}"));
        }
    };
    if let Some(swap_type) = device.model.swap_type()? {
        compare("swap type", &vector.swap_type, &swap_type);
    }
    for (slot, state) in device.slots.iter().zip([&vector.state_before.primary, &vector.state_before.secondary]) {
        compare("state before", state, &device.model.state(slot)?);
    }
    let (rc, boots, why) = device.model.boot();
    compare("boot", &(&vector.rc, &vector.boots), &(rc, &boots));
    let before = decode_flash(&vector.flash)?;
    let expected = if vector.flash_after == "same" { before } else { decode_flash(&vector.flash_after)? };
    let found = device.flash.contents();
    let differences: Vec<usize> = (0..found.len()).filter(|at| found[*at] != expected[*at]).collect();
    if let (Some(first), Some(last)) = (differences.first(), differences.last()) {
        let there = |bytes: &[u8]| bytes[*first];
        let count = differences.len();
        let (expected, found) = (there(&expected), there(&found));
        compare(
            "flash",
            &format!("{count} bytes from {first:#x} to {last:#x}: {expected:#04x}"),
            &format!("{found:#04x}"),
        );
    }
    if let Some(swap_type) = device.model.swap_type()? {
        compare("swap type after", &vector.swap_type_after, &swap_type);
    }
    for (slot, state) in device.slots.iter().zip([&vector.state_after.primary, &vector.state_after.secondary]) {
        compare("state after", state, &device.model.state(slot)?);
    }
    let (again, boots, _) = device.model.boot();
    compare("again", &(&vector.again.rc, &vector.again.boots), &(again, &boots));
    if wrong.is_empty() {
        return Ok(Outcome::Reproduced);
    }
    if !why.is_empty() {
        wrong.push(why);
    }
    if let Some(finding) = vector.finding {
        wrong.push(format!("(finding {finding})"));
    }
    Ok(Outcome::Wrong(wrong.join("; ")))
}

struct Device {
    flash: SimFlash,
    slots: [Region; 2],
    model: Model,
}

impl Device {
    fn of(vector: &Vector, keys: &Keys) -> Result<Self> {
        let Slots { primary, secondary, scratch } = &vector.sectors;
        let areas: Vec<Vec<(u32, u32)>> =
            [Some(primary), Some(secondary), scratch.as_ref()].into_iter().flatten().map(Run::sectors).collect();
        let sectors: Vec<Sectors> = areas.iter().flatten().map(|(_, size)| Sectors { count: 1, size: *size }).collect();
        let part = Part {
            name: "vector",
            write_size: vector.write,
            sectors,
            erased: vector.erased,
            rule: ProgramRule::Unchecked,
            ecc: false,
            timing: Timing::NONE,
        };
        let flash = SimFlash::of(part);
        flash.load(0, &decode_flash(&vector.flash)?)?;
        let region = |sectors: &Vec<(u32, u32)>| -> Result<Region> {
            let (Some((start, _)), Some((last, size))) = (sectors.first(), sectors.last()) else {
                bail!("an area without sectors");
            };
            Ok(flash.region(*start..last + size))
        };
        let slots = [region(&areas[0])?, region(&areas[1])?];
        let [primary, secondary] = slots.clone();
        let key = PublicKey::from_der(&keys.get(&vector.key)?.der()?).context("not a key that the model knows")?;
        let settings = Settings {
            align: vector.write,
            max_align: vector.max_align,
            max_img_sectors: vector.max_img_sectors,
            key: Some(key),
            release: release(&vector.mcuboot)?,
            tlv_allow_list: false,
            read_errors: false,
        };
        let two_slots = |method| Model::TwoSlots(Bootloader { primary, secondary, method, settings: settings.clone() });
        let model = match (vector.method.as_str(), vector.option.as_deref()) {
            ("scratch", None) => two_slots(Method::Scratch(region(areas.get(2).context("no scratch area")?)?)),
            ("move", None) => two_slots(Method::Move),
            ("offset", None) => two_slots(Method::Offset),
            ("overwrite", None) => two_slots(Method::Overwrite),
            ("overwrite", Some("MCUBOOT_OVERWRITE_ONLY_FAST")) => two_slots(Method::OverwriteFast),
            ("xip", None) => Model::Xip(Xip { slots: slots.clone(), revert: false, settings }),
            ("xip-revert", None) => Model::Xip(Xip { slots: slots.clone(), revert: true, settings }),
            (method, option) => bail!("no model of {method} with {option:?}"),
        };
        Ok(Self { flash, slots, model })
    }
}

fn release(name: &str) -> Result<Release> {
    Ok(match name {
        "v1.9.0" => Release::V1_9_0,
        "v2.0.0" => Release::V2_0_0,
        "v2.1.0" => Release::V2_1_0,
        "v2.2.0" => Release::V2_2_0,
        "v2.3.0" => Release::V2_3_0,
        "v2.4.0" | "2d4bacc3" => Release::V2_4_0,
        _ => bail!("no model of release {name}"),
    })
}
