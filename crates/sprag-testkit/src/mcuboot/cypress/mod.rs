//! Infineon's line of MCUboot, v1.9.0-cypress to v1.9.7-cypress, as PSoC 6 devices run it: a swap through a scratch area,
//! whose state and trailers are kept in a status partition.
//!
//! Behaves as the C code does, step by step and record by record, so that the power can be cut in any of its flash
//! operations. It was checked against vectors of that code (`tests/vectors`), which [`Cypress`] reproduces byte by byte.
//!
//! Built as PSoC 6 has it: one image, rows of 512 bytes that are erased to zeros, the primary slot validated at each boot,
//! no encryption, no overwriting, no downgrade prevention.
//!
//! [`Halt::LeftOut`] names what the model leaves out:
//!
//! - *a swap past the last sector*, after a size in a record that no swap wrote: the C code reads past its sector table;
//! - *a sector that is larger than the scratch area*, and *a slot smaller than its trailer*: maps that do not work.

mod area;
mod record;
mod swap;

use std::fmt;

use area::Area;
use record::{Field, Part};
use swap::{Layout, Progress};

use super::image::Header;
use super::{Boot, BootError, Mark, Release, Settings, Swap, Trailer};
use crate::flash::{FlashError, Region};
use crate::image::PublicKey;

const MAGIC: [u8; 16] =
    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];

/// A release of Infineon's line, where they differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InfineonRelease {
    /// v1.9.0-cypress.
    V1_9_0,
    /// v1.9.4-cypress.
    V1_9_4,
    /// v1.9.7-cypress: erases what is no record, and a record that another has taken the place of.
    #[default]
    V1_9_7,
}

/// MCUboot as PSoC 6 devices run it, for one image.
#[derive(Debug, Clone)]
pub struct Cypress {
    /// The slot that runs.
    pub primary: Region,
    /// The slot that updates are put into, in the same flash or an external one.
    pub secondary: Region,
    /// The status partition: an area for each slot and one for scratch, in rows. See [`Cypress::status_size`].
    pub status: Region,
    /// The scratch area: at least the largest sector of the slots.
    pub scratch: Region,
    /// `MCUBOOT_MAX_IMG_SECTORS`.
    pub max_sectors: u32,
    /// The release.
    pub release: InfineonRelease,
    /// `MCUBOOT_BOOTSTRAP`: whether an image in the secondary slot is copied where the primary one holds none.
    pub bootstrap: bool,
    /// The key whose signatures it takes; `None` checks digests only.
    pub key: Option<PublicKey>,
}

/// The reason why nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Halt {
    /// The primary slot holds no image that may run.
    NoBootableImage(&'static str),
    /// The bootloader stopped at an assertion.
    Assertion(&'static str),
    /// The bootloader read past the end of the flash. v1.9.0 does, after the sizes in a header that is torn.
    MemoryFault,
    /// The model does not follow the bootloader here. The text names what it leaves out, see the module's documentation.
    LeftOut(&'static str),
    /// The flash failed, or the power was cut.
    Flash(FlashError),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBootableImage(why) => write!(f, "the primary slot holds no bootable image: {why}"),
            Self::Assertion(what) => write!(f, "the bootloader stopped at an assertion: {what}"),
            Self::MemoryFault => f.write_str("the bootloader read past the end of the flash"),
            Self::LeftOut(what) => write!(f, "not modelled: {what}"),
            Self::Flash(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Halt {}

impl From<Halt> for BootError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::NoBootableImage(why) | Halt::Assertion(why) | Halt::LeftOut(why) => Self::NoBootableImage(why),
            Halt::MemoryFault => Self::NoBootableImage("the bootloader read past the end of the flash"),
            Halt::Flash(error) => Self::Flash(error),
        }
    }
}

/// A result that is not 0, which the bootloader deals with, or the end of the boot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Failed,
    Halt(Halt),
}

impl Fault {
    fn left_out(what: &'static str) -> Self {
        Self::Halt(Halt::LeftOut(what))
    }

    /// The result is asserted to be 0.
    fn asserted(self, what: &'static str) -> Self {
        match self {
            Self::Failed => Self::Halt(Halt::Assertion(what)),
            halt @ Self::Halt(_) => halt,
        }
    }
}

impl From<FlashError> for Fault {
    fn from(error: FlashError) -> Self {
        Self::Halt(Halt::Flash(error))
    }
}

/// `BOOT_SWAP_TYPE_…`.
struct SwapType;

impl SwapType {
    const NONE: u8 = 1;
    const TEST: u8 = 2;
    const PERMANENT: u8 = 3;
    const REVERT: u8 = 4;
    const FAIL: u8 = 5;
    const PANIC: u8 = 0xFF;

    fn is_upgrade(swap_type: u8) -> bool {
        matches!(swap_type, Self::TEST | Self::PERMANENT | Self::REVERT)
    }
}

/// `boot_swap_state`: a record and the slot's own trailer, put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapState {
    /// Magic and flags.
    pub trailer: Trailer,
    /// `BOOT_SWAP_TYPE_…` of the `swap_info` byte: 1 where there is none.
    pub swap_type: u8,
}

/// The result of `boot_validate_slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validity {
    Valid,
    /// No image, or one that may not run.
    None(&'static str),
}

/// The decision on what to do.
struct Decision {
    swap_type: u8,
    /// The swap that was done already, or refused.
    done: Swap,
}

impl Cypress {
    /// The newest release, without bootstrapping and with digests only.
    pub fn new(primary: Region, secondary: Region, status: Region, scratch: Region, max_sectors: u32) -> Self {
        let release = InfineonRelease::default();
        Self { primary, secondary, status, scratch, max_sectors, release, bootstrap: false, key: None }
    }

    /// A reset: goes on with a swap that was cut off, or decides and swaps, and starts what lies in the primary slot.
    ///
    /// # Errors
    /// See [`BootError`]; an assertion counts as no bootable image. [`Cypress::run`] tells them apart.
    pub fn boot(&self) -> Result<Boot, BootError> {
        Ok(self.run()?)
    }

    /// The same as [`Cypress::boot`].
    ///
    /// # Errors
    /// The reason why nothing was started.
    pub fn run(&self) -> Result<Boot, Halt> {
        self.go().map_err(|fault| match fault {
            Fault::Halt(halt) => halt,
            Fault::Failed => Halt::NoBootableImage("the boot failed"),
        })
    }

    /// Does the beginning of a reset, before anything is swapped: what the application wrote into the slots' own trailers
    /// is moved into the status partition. The trailers of the primary and of the secondary slot.
    ///
    /// # Errors
    /// The flash's, or records that can't be read.
    pub fn take_over(&self) -> Result<[Trailer; 2], Halt> {
        Ok([self.state(0)?.trailer, self.state(1)?.trailer])
    }

    /// `boot_read_swap_state_by_id` of the primary (0) or secondary slot (1), which moves what it finds in the secondary
    /// slot's trailer into the status partition.
    ///
    /// # Errors
    /// The flash's; [`Halt::Assertion`] where the records can't be read.
    pub fn state(&self, slot: u32) -> Result<SwapState, Halt> {
        let part = if slot == 0 { Part::Primary } else { Part::Secondary };
        self.read_state(part).map_err(|fault| match fault.asserted("boot_read_swap_state_by_id failed") {
            Fault::Halt(halt) => halt,
            Fault::Failed => Halt::Assertion(""),
        })
    }

    /// `boot_swap_type()`, which moves as [`Cypress::state`] does: 1 none, 2 test, 3 permanent, 4 revert, 0xFF panic.
    ///
    /// # Errors
    /// The flash's.
    pub fn swap_type(&self) -> Result<u8, Halt> {
        self.decide_type().map_err(|fault| match fault {
            Fault::Halt(halt) => halt,
            Fault::Failed => Halt::Assertion("boot_swap_type failed"),
        })
    }

    /// `boot_swap_type_multi`.
    fn decide_type(&self) -> Result<u8, Fault> {
        let mut states = [None, None];
        for (state, part) in states.iter_mut().zip([Part::Primary, Part::Secondary]) {
            *state = match self.read_state(part) {
                Ok(state) => Some(state.trailer),
                Err(Fault::Failed) => return Ok(SwapType::PANIC),
                Err(halt) => return Err(halt),
            };
        }
        let [Some(primary), Some(secondary)] = states else { return Ok(SwapType::PANIC) };
        const REVERTING: Trailer = Trailer { magic: Mark::Good, image_ok: Mark::Unset, copy_done: Mark::Good };
        Ok(match (secondary.magic, secondary.image_ok) {
            (Mark::Good, Mark::Unset) => SwapType::TEST,
            (Mark::Good, Mark::Good) => SwapType::PERMANENT,
            (Mark::Unset, _) if primary == REVERTING => SwapType::REVERT,
            _ => SwapType::NONE,
        })
    }

    /// `boot_read_swap_state`.
    fn read_state(&self, part: Part) -> Result<SwapState, Fault> {
        const MAGIC_AT: u32 = 16;
        const IMAGE_OK_AT: u32 = 24;
        let area = Area(match part {
            Part::Primary => &self.primary,
            Part::Secondary => &self.secondary,
            Part::Scratch => &self.scratch,
        });
        let erased = self.status_erased();
        let mut erase_from = None;
        let mut magic = mark_of_magic(self.magic(part)?, erased);
        if magic == Mark::Unset && part == Part::Secondary {
            let at = area.size() - MAGIC_AT;
            let mut found = [0; 16];
            area.read(at, &mut found)?;
            magic = mark_of_magic(found, area.erased());
            if magic == Mark::Good {
                self.set_field(part, Field::Magic, &MAGIC)?;
            }
            if magic != Mark::Unset {
                erase_from = Some(at);
            }
        }
        let info = self.field(part, Field::SwapInfo)?;
        let swap_type = if info == erased { SwapType::NONE } else { info & 0x0F };
        let copy_done = mark_of_flag(self.field(part, Field::CopyDone)?, erased);
        let mut image_ok = mark_of_flag(self.field(part, Field::ImageOk)?, erased);
        if image_ok == Mark::Unset && (part == Part::Secondary || copy_done == Mark::Good) {
            let mut found = [0];
            area.read(area.size() - IMAGE_OK_AT, &mut found)?;
            image_ok = mark_of_flag(found[0], area.erased());
            if image_ok == Mark::Good {
                self.set_field(part, Field::ImageOk, &[1])?;
            }
            if image_ok != Mark::Unset {
                // A trailer with a flag stays where it is.
                erase_from = None;
            }
        }
        if let Some(at) = erase_from {
            area.erase(at, MAGIC_AT)?;
        }
        Ok(SwapState { trailer: Trailer { magic, image_ok, copy_done }, swap_type })
    }

    fn header(&self, part: Part) -> Result<Header, Fault> {
        let area = Area(match part {
            Part::Primary => &self.primary,
            Part::Secondary => &self.secondary,
            Part::Scratch => &self.scratch,
        });
        let mut bytes = [0; Header::SIZE];
        area.read(0, &mut bytes)?;
        Ok(Header::new(bytes))
    }

    /// `boot_read_image_size`: with all TLVs.
    fn image_size(&self, header: &Header, slot: &Region) -> Result<u32, Fault> {
        let tlvs = header.tlvs(0, |at| {
            let mut bytes = [0; 4];
            Area(slot).read(at, &mut bytes)?;
            Ok::<_, Fault>(bytes)
        })?;
        tlvs.map(|(offset, size)| offset.wrapping_add(size)).ok_or(Fault::Failed)
    }

    fn headers(&self) -> Result<[Header; 2], Fault> {
        Ok([self.header(Part::Primary)?, self.header(Part::Secondary)?])
    }

    /// `boot_read_image_headers` where a swap may be under way: a header is looked for where the swap has it.
    fn headers_in_swap(&self, headers: &mut [Header; 2], progress: &Progress, all: bool) -> Result<(), Fault> {
        for (slot, own) in [Part::Primary, Part::Secondary].into_iter().enumerate() {
            let part = match (progress.state, own) {
                (2, Part::Secondary) | (3, Part::Secondary) => Part::Scratch,
                (3, Part::Primary) => {
                    let done = Area(&self.scratch).size().wrapping_mul(progress.index);
                    let [primary, secondary] = [headers[0].payload_size(), headers[1].payload_size()];
                    let copied = secondary >= primary && secondary - primary < done;
                    if copied { Part::Secondary } else { Part::Scratch }
                }
                (_, own) => own,
            };
            headers[slot] = self.header(part)?;
            if !headers[slot].has_magic() && progress.state != 1 {
                headers[slot] = self.header(own)?;
                if !headers[slot].has_magic() {
                    return if slot > 0 && !all { Ok(()) } else { Err(Fault::Failed) };
                }
            }
        }
        Ok(())
    }

    /// `boot_validate_slot`. What is no image in the secondary slot is erased there.
    fn validate(&self, part: Part, header: &Header) -> Result<Validity, Fault> {
        let is_secondary = part == Part::Secondary;
        let area = Area(if is_secondary { &self.secondary } else { &self.primary });
        if header.is_erased(area.erased()) || header.is_non_bootable() {
            if is_secondary {
                ignored(self.erase_trailer(Part::Secondary))?;
            }
            return Ok(Validity::None("no image"));
        }
        let settings = Settings { key: self.key.clone(), release: Release::V1_9_0, ..Settings::default() };
        let checked = match header.is_valid(area.size(), settings.release) {
            true => header.validate(&super::area::Area::without_sectors(area.0), 0, u32::MAX, &settings),
            false => Err("no image, or larger than the slot"),
        };
        Ok(match checked {
            Ok(()) => Validity::Valid,
            Err(why) => {
                if is_secondary {
                    ignored(area.erase(0, area.size()))?;
                }
                Validity::None(why)
            }
        })
    }

    /// `context_boot_go_flash`.
    fn go(&self) -> Result<Boot, Fault> {
        let mut headers = self.headers()?;
        let mut progress = Progress::RESET;
        let layout = self.layout();
        let mut decision = match &layout {
            Some(layout) if self.are_compatible(layout) => self.prepare(layout, &mut headers, &mut progress)?,
            _ => Decision { swap_type: SwapType::NONE, done: Swap::None },
        };
        progress.swap_type = decision.swap_type;
        match (decision.swap_type, &layout) {
            (SwapType::NONE, _) => {}
            (SwapType::TEST | SwapType::PERMANENT | SwapType::REVERT, Some(layout)) => {
                let update = self.perform_update(layout, &headers, &mut progress, &mut decision);
                update.map_err(|fault| fault.asserted("context_boot_go_flash: rc == 0"))?;
            }
            (SwapType::FAIL, _) => {
                decision.done = Swap::Refused;
                self.set_image_ok().map_err(|fault| fault.asserted("context_boot_go_flash: panic"))?;
            }
            _ => return Err(Fault::Failed.asserted("context_boot_go_flash: panic")),
        }
        if decision.swap_type != SwapType::NONE {
            self.headers_in_swap(&mut headers, &progress, false)?;
        }
        match self.validate(Part::Primary, &headers[0])? {
            Validity::Valid => Ok(Boot { swap: decision.done, running: headers[0].version() }),
            Validity::None(why) => Err(Fault::Halt(Halt::NoBootableImage(why))),
        }
    }

    fn layout(&self) -> Option<Layout> {
        Some(Layout {
            primary: Area(&self.primary).sectors(self.max_sectors)?,
            secondary: Area(&self.secondary).sectors(self.max_sectors)?,
        })
    }

    /// `boot_prepare_image_for_update`: what is to be done, after a swap that was cut off has been completed.
    fn prepare(&self, layout: &Layout, headers: &mut [Header; 2], progress: &mut Progress) -> Result<Decision, Fault> {
        let nothing = Ok(Decision { swap_type: SwapType::NONE, done: Swap::None });
        for ((header, slot), sectors) in
            headers.iter().zip([&self.primary, &self.secondary]).zip([&layout.primary, &layout.secondary])
        {
            let area = Area(slot);
            // An image that reaches into the sector of the trailer is erased.
            let limit = self.write_size() * (sectors.len() as u32 - 1);
            // v1.9.0 follows the sizes in whatever lies there.
            if !header.has_magic() && self.release != InfineonRelease::V1_9_0 {
                continue;
            }
            match self.image_size(header, slot) {
                Ok(size) if size > limit => ignored(area.erase(0, area.size()))?,
                Ok(_) | Err(Fault::Failed) => {}
                Err(halt) => return Err(halt),
            }
        }
        *progress = match self.read_progress() {
            Ok(progress) => progress,
            Err(Fault::Failed) => return nothing,
            Err(halt) => return Err(halt),
        };
        match self.headers_in_swap(headers, progress, !progress.is_reset()) {
            Err(Fault::Failed) if !(self.bootstrap && headers[0].is_erased(Area(&self.primary).erased())) => {
                return nothing;
            }
            Ok(()) | Err(Fault::Failed) => {}
            Err(halt) => return Err(halt),
        }
        if !progress.is_reset() {
            self.complete(layout, headers, progress)?;
            *headers = self.headers()?;
            return Ok(Decision { swap_type: SwapType::NONE, done: swap_of(progress.swap_type) });
        }
        let mut decision = if progress.swap_type == SwapType::NONE {
            let asked = self.decide_type()?;
            let mut decision = Decision { swap_type: asked, done: Swap::None };
            if SwapType::is_upgrade(asked) && self.validate(Part::Secondary, &headers[1])? != Validity::Valid {
                decision = Decision { swap_type: SwapType::NONE, done: Swap::Refused };
            }
            decision
        } else {
            let valid = self.validate(Part::Secondary, &headers[1])? == Validity::Valid;
            Decision { swap_type: if valid { progress.swap_type } else { SwapType::FAIL }, done: Swap::None }
        };
        if self.bootstrap && decision.swap_type == SwapType::NONE {
            let erased = headers[0].is_erased(Area(&self.primary).erased());
            if erased || self.validate(Part::Primary, &headers[0])? != Validity::Valid {
                let valid = self.validate(Part::Secondary, &headers[1])? == Validity::Valid;
                if valid && headers[1].has_magic() {
                    decision.swap_type = SwapType::REVERT;
                }
            }
        }
        Ok(decision)
    }

    /// `boot_complete_partial_swap`.
    fn complete(&self, layout: &Layout, headers: &[Header; 2], progress: &mut Progress) -> Result<(), Fault> {
        self.swap_image(layout, headers, progress)?;
        let panic = |fault: Fault| fault.asserted("boot_complete_partial_swap: panic");
        if matches!(progress.swap_type, SwapType::REVERT | SwapType::PERMANENT) {
            self.set_image_ok().map_err(panic)?;
        }
        if SwapType::is_upgrade(progress.swap_type) {
            self.set_copy_done().map_err(panic)?;
        }
        Ok(())
    }

    /// `boot_perform_update`.
    fn perform_update(
        &self,
        layout: &Layout,
        headers: &[Header; 2],
        progress: &mut Progress,
        decision: &mut Decision,
    ) -> Result<(), Fault> {
        let asserted = |fault: Fault| fault.asserted("boot_perform_update: rc == 0");
        let primary_erased = headers[0].is_erased(Area(&self.primary).erased());
        decision.done = swap_of(decision.swap_type);
        if self.bootstrap && (primary_erased || self.validate(Part::Primary, &headers[0])? != Validity::Valid) {
            decision.done = Swap::Permanent;
            self.init_status(Part::Primary, progress).map_err(asserted)?;
            self.copy_image(layout).map_err(asserted)?;
        } else {
            self.swap_image(layout, headers, progress).map_err(asserted)?;
        }
        if matches!(decision.swap_type, SwapType::REVERT | SwapType::PERMANENT) {
            self.set_image_ok()?;
        }
        self.set_copy_done()
    }

    /// `boot_copy_image`: the secondary slot over the primary one, and header and trailer of the secondary slot erased.
    fn copy_image(&self, layout: &Layout) -> Result<(), Fault> {
        let [primary, secondary] = [Area(&self.primary), Area(&self.secondary)];
        for sector in &layout.primary {
            primary.erase(sector.offset, sector.size)?;
        }
        self.copy(secondary, primary, 0, 0, primary.size())?;
        for sector in [layout.secondary.first(), layout.secondary.last()].into_iter().flatten() {
            secondary.erase(sector.offset, sector.size)?;
        }
        Ok(())
    }

    /// `swap_set_image_ok`.
    fn set_image_ok(&self) -> Result<(), Fault> {
        if self.read_state(Part::Primary)?.trailer.image_ok == Mark::Unset {
            self.set_field(Part::Primary, Field::ImageOk, &[1])?;
        }
        Ok(())
    }

    /// `swap_set_copy_done`, which writes the trailer into the primary slot first. The bytes of the row before it are not
    /// defined there; they are erased here.
    fn set_copy_done(&self) -> Result<(), Fault> {
        const ROW: u32 = 512;
        if self.magic(Part::Primary)? != MAGIC {
            return Err(Fault::Failed);
        }
        let area = Area(&self.primary);
        let mut row = vec![area.erased(); ROW as usize];
        let end = row.len();
        row[end - 16..].copy_from_slice(&MAGIC);
        row[end - 24] = self.field(Part::Primary, Field::ImageOk)?;
        row[end - 32] = 1;
        row[end - 40] = self.field(Part::Primary, Field::SwapInfo)?;
        row[end - 48..end - 44].copy_from_slice(&self.swap_size(Part::Primary)?.to_le_bytes());
        area.erase(area.size() - ROW, ROW)?;
        area.write(area.size() - ROW, &row)?;
        self.set_field(Part::Primary, Field::CopyDone, &[1])
    }
}

fn swap_of(swap_type: u8) -> Swap {
    match swap_type {
        SwapType::TEST => Swap::Test,
        SwapType::PERMANENT => Swap::Permanent,
        SwapType::REVERT => Swap::Revert,
        _ => Swap::None,
    }
}

/// A result that the bootloader does not look at.
fn ignored(result: Result<(), Fault>) -> Result<(), Fault> {
    match result {
        Err(Fault::Failed) => Ok(()),
        other => other,
    }
}

fn mark_of_magic(magic: [u8; 16], erased: u8) -> Mark {
    match magic {
        magic if magic == [erased; 16] => Mark::Unset,
        MAGIC => Mark::Good,
        _ => Mark::Bad,
    }
}

fn mark_of_flag(flag: u8, erased: u8) -> Mark {
    match flag {
        flag if flag == erased => Mark::Unset,
        1 => Mark::Good,
        _ => Mark::Bad,
    }
}
