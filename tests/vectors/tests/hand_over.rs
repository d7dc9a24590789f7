//! What `sprag-boot` says of a flash, and what MCUboot's own code did with it.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result};
use embassy_futures::block_on;
use serde::Deserialize;
use sprag_boot::{BootControl, Error, Layout, McuBoot, Method, State, Swap};
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash};
use sprag_vectors::{decode_flash, read, supplied};

#[derive(Deserialize)]
struct Vector {
    id: String,
    mcuboot: String,
    method: String,
    max_align: u32,
    max_img_sectors: u32,
    write: u32,
    erased: u8,
    sectors: BTreeMap<String, Sectors>,
    what: String,
    flash: String,
    swap_type: Option<String>,
    rc: String,
    ops: u64,
    flash_after: String,
    state_after: States,
    swap_type_after: Option<String>,
}

#[derive(Deserialize)]
struct States {
    secondary: Marks,
}

#[derive(Deserialize)]
struct Marks {
    magic: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sectors {
    Even { offset: u32, size: u32, count: u32 },
    Uneven(Vec<[u32; 2]>),
}

impl Sectors {
    fn range(&self) -> Range<u32> {
        match self {
            Self::Even { offset, size, count } => *offset..offset + size * count,
            Self::Uneven(sectors) => sectors[0][0]..sectors.last().map_or(0, |[offset, size]| offset + size),
        }
    }

    /// The size of the last sector.
    fn size(&self) -> u32 {
        match self {
            Self::Even { size, .. } => *size,
            Self::Uneven(sectors) => sectors.last().map_or(0, |[_, size]| *size),
        }
    }
}

impl Vector {
    /// Returns the method, when it is one of those that [`McuBoot`] is for.
    fn method(&self) -> Option<Method> {
        match self.method.as_str() {
            "scratch" => Some(Method::Scratch),
            "move" => Some(Method::Move),
            "offset" => Some(Method::Offset),
            "overwrite" => Some(Method::Overwrite),
            _ => None,
        }
    }

    /// Returns whether something staged an image in the middle of a swap: then MCUboot boots what is left, if anything, with
    /// a trailer of which nothing is known.
    fn is_staged_in_a_swap(&self) -> bool {
        self.what.starts_with("a swap (") && !self.what.contains("not cut")
    }

    /// Returns whether MCUboot takes the swap's status from the scratch area.
    fn has_status_in_scratch(&self) -> bool {
        let (Some(scratch), Ok(bytes)) = (self.sectors.get("scratch"), decode_flash(&self.flash)) else { return false };
        let magic = &bytes[scratch.range().end as usize - 16..][..16];
        magic[..4] == [0x77, 0xc2, 0x95, 0xf3] || magic[2..4] == [0x2d, 0xe1]
    }

    /// Returns the two slots and the hand-over for them.
    fn boot(&self, method: Method, flash: &str) -> Result<(SimFlash, McuBoot<Region, Region>)> {
        let bytes = decode_flash(flash)?;
        let primary = self.sectors.get("primary").context("no primary slot")?;
        let secondary = self.sectors.get("secondary").context("no secondary slot")?;
        let (write_size, erase_size, erased) = (self.write, primary.size(), self.erased);
        let capacity = u32::try_from(bytes.len())?;
        let flash = SimFlash::in_memory(capacity, FlashGeometry { write_size, erase_size, erased });
        flash.load(0, &bytes)?;
        let slots = [primary, secondary].map(|slot| flash.region(slot.range()));
        let layout = Layout::new(FlashGeometry { write_size, erase_size, erased });
        let layout = layout.max_sectors(self.max_img_sectors).method(method);
        let [primary, secondary] = slots;
        Ok((flash, McuBoot::new(primary, secondary, layout)))
    }
}

/// Returns the vectors in the supplied files whose method and geometry [`McuBoot`] is for.
fn vectors() -> impl Iterator<Item = (Vector, Method)> {
    let files = supplied().unwrap().into_iter().filter(|file| file.to_string_lossy().contains("boot-"));
    files.flat_map(|file| read(&file).unwrap()).filter_map(|line| {
        let vector: Vector = serde_json::from_str(&line.unwrap()).unwrap();
        // A layout of Sprag's has no MCUBOOT_BOOT_MAX_ALIGN above the write unit.
        let method = vector.method().filter(|_| vector.max_align <= vector.write.max(8))?;
        Some((vector, method))
    })
}

/// MCUboot has come to its end: a firmware runs, and no state of its flash is one of an interrupted swap.
#[test]
fn no_running_firmware_is_told_that_a_swap_was_interrupted() {
    let mut states = BTreeMap::<String, u32>::new();
    let mut wrong = vec![];
    for (vector, method) in vectors().filter(|(vector, _)| vector.rc == "booted" && !vector.is_staged_in_a_swap()) {
        let after = if vector.flash_after == "same" { &vector.flash } else { &vector.flash_after };
        let (_, mut boot) = vector.boot(method, after).unwrap();
        let state = block_on(boot.state()).unwrap();
        let expected = match vector.swap_type_after.as_deref() {
            _ if state == State::Interrupted => false,
            // Before 2.2, a torn magic in the secondary slot keeps MCUboot from reverting.
            Some("none") if state == State::Trial => {
                let older = ["v1.9.0", "v2.0.0", "v2.1.0"].contains(&vector.mcuboot.as_str());
                older && vector.state_after.secondary.magic == "bad"
            }
            Some("test" | "perm") => matches!(state, State::Staged(_)),
            Some("revert") => state == State::Trial,
            _ => state == State::Settled,
        };
        if !expected {
            wrong.push(format!("{}: {state:?}, but {:?}", vector.id, vector.swap_type_after));
        }
        *states.entry(format!("{method:?} {state:?}")).or_default() += 1;
    }
    println!("{states:#?}");
    assert!(wrong.is_empty(), "{} of them: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
    assert!(states.values().sum::<u32>() > 200, "{states:?}");
}

/// The state is what `boot_swap_type` says. Where MCUboot goes on with a swap though that says that there is none, the state
/// is interrupted: every call is refused and writes nothing. By scratch, what happens while the status lies in the scratch area cannot be seen in the slots.
#[test]
fn the_state_is_what_mcuboot_does_next() {
    let mut seen = BTreeMap::<String, u32>::new();
    let mut wrong = vec![];
    for (vector, method) in vectors() {
        let (flash, mut boot) = vector.boot(method, &vector.flash).unwrap();
        let state = block_on(boot.state()).unwrap();
        let is_cut = vector.id.contains("-sc-");
        let swap_type = vector.swap_type.as_deref();
        let resumes = is_cut && swap_type == Some("none") && vector.ops > 0;
        let hidden = vector.has_status_in_scratch();
        let key = format!("{method:?} {swap_type:?} resumes {resumes}, hidden {hidden}: {state:?}");
        *seen.entry(key.clone()).or_default() += 1;
        let expected = match swap_type {
            _ if state == State::Interrupted => vector.ops > 0 || vector.rc != "booted",
            Some("test" | "perm") => matches!(state, State::Staged(_)),
            Some("revert") => state == State::Trial,
            _ => (state == State::Settled && (!resumes || hidden)) || (state == State::Trial && !resumes),
        };
        if !expected {
            wrong.push(format!("{}: {key}", vector.id));
        }
        if state == State::Interrupted {
            let before = flash.contents();
            assert_eq!(block_on(boot.stage(Swap::Test)), Err(Error::SwapInterrupted));
            assert_eq!(block_on(boot.stage(Swap::Permanent)), Err(Error::SwapInterrupted));
            assert_eq!(block_on(boot.unstage()), Err(Error::SwapInterrupted));
            assert_eq!(block_on(boot.confirm()), Err(Error::SwapInterrupted));
            assert!(flash.contents() == before, "{}", vector.id);
        }
    }
    println!("{seen:#?}");
    assert!(wrong.is_empty(), "{} of them: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
}
