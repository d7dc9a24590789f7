//! Infineon's MCUboot.
//!
//! The model must do what the C code did: the same verdict of `boot_swap_type`, the same states, the same image booted, the
//! same bytes left in every chip, and the same again at one more reset. The hand-over of `sprag-boot` must say of the same
//! flash what the bootloader does with it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use embassy_futures::block_on;
use serde::Deserialize;
use serde_json::Value;
use sprag_boot::mcuboot::CypressLayout;
use sprag_boot::{BootControl, Cypress as Control, Error, State, Swap};
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash};
use sprag_testkit::image::{PublicKey, Version};
use sprag_testkit::mcuboot::{Cypress, Halt, InfineonRelease, Mark, SwapState};

use crate::keys::Keys;
use crate::{Outcome, decode_flash};

#[derive(Deserialize)]
struct Vector {
    mcuboot: String,
    max_img_sectors: u32,
    bootstrap: bool,
    chips: BTreeMap<String, Chip>,
    regions: BTreeMap<String, Place>,
    key: String,
    flash: BTreeMap<String, String>,
    swap_type: String,
    state_before: BTreeMap<String, Value>,
    rc: String,
    boots: Option<Boots>,
    flash_after: Value,
    state_after: BTreeMap<String, Value>,
    swap_type_after: String,
    again: Again,
}

#[derive(Deserialize)]
struct Chip {
    size: u32,
    write: u32,
    erase: u32,
    erased: u8,
}

#[derive(Deserialize)]
struct Place {
    chip: String,
    offset: u32,
    size: u32,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Boots {
    slot: String,
    version: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Again {
    rc: String,
    boots: Option<Boots>,
}

/// Judges one vector.
pub(crate) fn judge(line: &str, keys: &Keys) -> Result<Outcome> {
    let vector: Vector = serde_json::from_str(line)?;
    let key = PublicKey::from_der(&keys.get(&vector.key)?.der()?).context("the key is of no known kind")?;
    Ok(match vector.check(key)? {
        Verdict::Same => Outcome::Reproduced,
        Verdict::LeftOut(what) => Outcome::LeftOut(what),
        Verdict::Different(what) => Outcome::Wrong(what),
    })
}

enum Verdict {
    Same,
    LeftOut(&'static str),
    Different(String),
}

/// The chips of a vector with their contents, and the bootloader over them.
struct Board {
    chips: BTreeMap<String, SimFlash>,
    model: Cypress,
    layout: CypressLayout,
}

impl Board {
    /// What the hand-over says of it.
    fn state(&self) -> Result<State, Error> {
        let Cypress { primary, secondary, status, .. } = self.model.clone();
        let mut row = [0; 512];
        block_on(Control::new(primary, secondary, status, self.layout, &mut row).state())
    }
}

/// What the hand-over must say where the bootloader says this; `None` where the bootloader can't read its own records.
fn expected_state(swap_type: &str, primary: &Value) -> Option<State> {
    let field = |name: &str| primary.get(name).and_then(Value::as_str);
    if field("magic") == Some("good") && field("copy_done") == Some("unset") && field("swap_type") != Some("none") {
        return Some(State::Interrupted);
    }
    Some(match swap_type {
        "none" => State::Settled,
        "test" => State::Staged(Swap::Test),
        "perm" => State::Staged(Swap::Permanent),
        "revert" => State::Trial,
        _ => return None,
    })
}

/// What a boot came to, as the vectors say it.
fn verdict(model: &Cypress) -> Result<(String, Option<Boots>), Halt> {
    match model.run() {
        Ok(boot) => {
            let Version { major, minor, revision, build } = boot.running;
            let build = if build == 0 { String::new() } else { format!("+{build}") };
            let version = format!("{major}.{minor}.{revision}{build}");
            let boots = Boots { slot: "primary".to_owned(), version };
            Ok(("booted".to_owned(), Some(boots)))
        }
        Err(Halt::NoBootableImage(_)) => Ok(("no bootable image".to_owned(), None)),
        Err(Halt::Assertion(_)) => Ok(("assert".to_owned(), None)),
        Err(Halt::MemoryFault) => Ok(("crash".to_owned(), None)),
        Err(halt) => Err(halt),
    }
}

impl Vector {
    fn board(&self, contents: &BTreeMap<String, Vec<u8>>, key: PublicKey) -> Result<Board> {
        let mut chips = BTreeMap::new();
        for (name, chip) in &self.chips {
            // The bootloader programs 512 bytes at least: larger units are as good, and faster.
            let write_size = chip.write.max(256);
            let capacity = chip.size;
            let geometry = FlashGeometry { write_size, erase_size: chip.erase, erased: chip.erased };
            let flash = SimFlash::in_memory(capacity, geometry);
            flash.load(0, contents.get(name).context("a chip without contents")?)?;
            chips.insert(name.clone(), flash);
        }
        let region = |name: &str| -> Result<Region> {
            let place = self.regions.get(name).with_context(|| format!("no region {name}"))?;
            let flash = chips.get(&place.chip).with_context(|| format!("no chip {}", place.chip))?;
            Ok(flash.region(place.offset..place.offset + place.size))
        };
        let mut model = Cypress::new(
            region("primary")?,
            region("secondary")?,
            region("status")?,
            region("scratch")?,
            self.max_img_sectors,
        );
        model.bootstrap = self.bootstrap;
        model.key = Some(key);
        model.release = match self.mcuboot.as_str() {
            "v1.9.0-cypress" => InfineonRelease::V1_9_0,
            "v1.9.4-cypress" => InfineonRelease::V1_9_4,
            "v1.9.7-cypress" => InfineonRelease::V1_9_7,
            other => bail!("unknown release {other}"),
        };
        let mut layout = CypressLayout::new(self.max_img_sectors);
        let place = &self.regions["secondary"];
        if place.chip != self.regions["primary"].chip {
            let chip = &self.chips[&place.chip];
            layout = layout.external(
                FlashGeometry { write_size: chip.write, erase_size: chip.erase, erased: chip.erased },
                place.offset,
            );
        }
        Ok(Board { chips, model, layout })
    }

    fn check(&self, key: PublicKey) -> Result<Verdict> {
        let mut before = BTreeMap::new();
        for (name, text) in &self.flash {
            before.insert(name.clone(), decode_flash(text)?);
        }
        let mut after = before.clone();
        if let Value::Object(chips) = &self.flash_after {
            for (name, text) in chips {
                let text = text.as_str().context("flash_after holds no text")?;
                if text != "same" {
                    after.insert(name.clone(), decode_flash(text)?);
                }
            }
        }
        let board = |contents: &BTreeMap<String, Vec<u8>>| self.board(contents, key.clone());
        let checked = || -> Result<Option<String>> {
            let booted = board(&before)?;
            for (contents, swap_type, states) in
                [(&before, &self.swap_type, &self.state_before), (&after, &self.swap_type_after, &self.state_after)]
            {
                let looked_at = board(contents)?;
                let found = swap_type_name(&looked_at.model)?;
                if found != *swap_type {
                    return Ok(Some(format!("boot_swap_type: {swap_type}, but the model's is {found}")));
                }
                let expected = expected_state(swap_type, &states["primary"]);
                let said = board(contents)?.state();
                if expected.is_some_and(|expected| said != Ok(expected)) {
                    return Ok(Some(format!("the hand-over says {said:?}, but it should be {expected:?}")));
                }
                for (slot, name) in ["primary", "secondary"].into_iter().enumerate() {
                    let looked_at = board(contents)?;
                    let found = looked_at.model.state(slot as u32);
                    if let Some(what) = states.get(name).and_then(|state| differs(state, found)) {
                        return Ok(Some(format!("state of the {name} slot: {what}")));
                    }
                }
            }
            let (rc, boots) = verdict(&booted.model)?;
            if (&rc, &boots) != (&self.rc, &self.boots) {
                return Ok(Some(format!("{} {:?}, but the model: {rc} {boots:?}", self.rc, self.boots)));
            }
            if let Some(what) = self.different(&booted, &after) {
                return Ok(Some(what));
            }
            let (rc, boots) = verdict(&booted.model)?;
            let again = Again { rc, boots };
            if again != self.again {
                return Ok(Some(format!("again: {:?}, but the model: {again:?}", self.again)));
            }
            Ok(None)
        };
        match checked() {
            Ok(None) => {}
            Ok(Some(what)) => return Ok(Verdict::Different(what)),
            Err(error) => {
                return match error.downcast::<Halt>() {
                    Ok(Halt::LeftOut(what)) => Ok(Verdict::LeftOut(what)),
                    Ok(halt) => Ok(Verdict::Different(format!("the model: {halt}"))),
                    Err(error) => Err(error),
                };
            }
        }
        Ok(Verdict::Same)
    }

    /// Where the chips differ from what they should hold, but for the bytes that are not defined.
    fn different(&self, board: &Board, after: &BTreeMap<String, Vec<u8>>) -> Option<String> {
        let primary = &self.regions["primary"];
        let end = (primary.offset + primary.size) as usize;
        for (name, flash) in &board.chips {
            let (mut found, mut expected) = (flash.contents(), after[name].clone());
            if *name == primary.chip {
                found[end - 512..end - 48].fill(0);
                expected[end - 512..end - 48].fill(0);
            }
            if let Some(at) = found.iter().zip(&expected).position(|(found, expected)| found != expected) {
                let place = self.regions.iter().find(|(_, place)| {
                    place.chip == *name && (place.offset..place.offset + place.size).contains(&(at as u32))
                });
                let place = place.map_or_else(
                    || format!("{name} + {at:#x}"),
                    |(region, place)| format!("{region} + {:#x}", at as u32 - place.offset),
                );
                let count = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
                return Some(format!(
                    "flash_after: {place} is {:#04x}, but the model leaves {:#04x}; {count} bytes differ",
                    expected[at], found[at]
                ));
            }
        }
        None
    }
}

fn swap_type_name(model: &Cypress) -> Result<String, Halt> {
    Ok(match model.swap_type() {
        Ok(1) => "none".to_owned(),
        Ok(2) => "test".to_owned(),
        Ok(3) => "perm".to_owned(),
        Ok(4) => "revert".to_owned(),
        Ok(0xFF) => "panic".to_owned(),
        Ok(other) => format!("{other}"),
        Err(Halt::Assertion(_)) => "assert".to_owned(),
        Err(halt) => return Err(halt),
    })
}

/// What is different in a state, if anything is.
fn differs(expected: &Value, found: Result<SwapState, Halt>) -> Option<String> {
    let Ok(found) = found else {
        let error = expected.as_str().is_some_and(|text| text.starts_with("error") || text == "assert");
        return (!error).then(|| format!("{expected}, but the model fails: {found:?}"));
    };
    let mark = |mark, set: &str| match mark {
        Mark::Good => set.to_owned(),
        Mark::Unset => "unset".to_owned(),
        Mark::Bad => "bad".to_owned(),
    };
    let swap_type = match found.swap_type {
        1 => "none".to_owned(),
        2 => "test".to_owned(),
        3 => "perm".to_owned(),
        4 => "revert".to_owned(),
        5 => "fail".to_owned(),
        other => other.to_string(),
    };
    let fields = [
        ("magic", mark(found.trailer.magic, "good")),
        ("copy_done", mark(found.trailer.copy_done, "set")),
        ("image_ok", mark(found.trailer.image_ok, "set")),
        ("swap_type", swap_type),
    ];
    fields.into_iter().find_map(|(name, found)| {
        let expected = expected.get(name)?.as_str().map_or_else(|| expected[name].to_string(), str::to_owned);
        (expected != found).then(|| format!("{name} is {expected}, but the model's {found}"))
    })
}
