//! A model of MCUboot: what it decides at a reset and what the flash looks like when the application starts.
//!
//! Written from MCUboot's `docs/design.md` ("Image trailer", "Boot swap types") and `boot/bootutil/src/bootutil_public.c`,
//! and independent of `sprag-boot`, which it judges. [`Bootloader::boot`] models a swap by moving, the stricter one: an
//! image that leaves no sector free below the trailer is left lying, its magic in place. The result of a swap by scratch
//! does not differ. [`Bootloader::boot_by`] has the other methods, [`Xip`] runs images where they lie, and [`Cypress`] is
//! Infineon's line. The swap itself happens at once: MCUboot's own power safety is proved by MCUboot's simulator.

mod cypress;
mod xip;

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

pub use cypress::Cypress;
pub use xip::{Selected, Xip};

use crate::flash::{FlashError, Region};
use crate::image::{Version, key_hash};

/// MCUboot, built for one pair of slots and one signing key.
#[derive(Debug, Clone)]
pub struct Bootloader {
    /// The slot that runs.
    pub primary: Region,
    /// The slot that updates are put into. Of the same size as the primary one.
    pub secondary: Region,
    /// `flash_area_align` of the slots, 1 to 32: the size of a trailer's cells is this, and at least 8.
    pub align: u32,
    /// The key whose signatures it takes; `None` checks digests only.
    pub key: Option<[u8; 32]>,
}

/// `BOOT_MAX_IMG_SECTORS` as MCUboot ships it; more where the slots have more.
const SECTORS: u32 = 128;

/// What a reset led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// The swap that was done first.
    pub swap: Swap,
    /// The version in the header of the image that now runs.
    pub running: Version,
}

/// How MCUboot was built to bring the new image to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The images are swapped, through a scratch area or by moving.
    Move,
    /// The images are swapped, the new one lying one sector up.
    Offset,
    /// The new image is copied over the old one.
    Overwrite,
}

/// MCUboot's swap types that lead to a running image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// Nothing was asked for.
    None,
    /// The new image runs until the next reset, unless it confirms itself.
    Test,
    /// The new image runs for good.
    Permanent,
    /// The tested image did not confirm itself: the old one is back.
    Revert,
    /// What was to be tested is no image that may run: the secondary slot was wiped, the old image runs.
    Refused,
}

/// Why nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootError {
    /// The primary slot holds no image that may run: the device is bricked.
    NoBootableImage(&'static str),
    /// The flash failed.
    Flash(FlashError),
}

impl From<FlashError> for BootError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBootableImage(why) => write!(f, "the primary slot holds no bootable image: {why}"),
            Self::Flash(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BootError {}

/// The magic of a trailer, or a flag in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should be when set.
    Good,
    /// Erased.
    Unset,
    /// Neither: torn or foreign.
    Bad,
}

/// What a slot's trailer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Whether there is a trailer at all.
    pub magic: Mark,
    /// The image is confirmed.
    pub image_ok: Mark,
    /// A swap was completed.
    pub copy_done: Mark,
}

impl Trailer {
    fn read(slot: &Region, align: u32) -> Result<Self, FlashError> {
        let erased = slot.flash().geometry().erased;
        let cells = Cells::new(slot_size(slot), align);
        let mut magic = [0; 16];
        slot.read_now(cells.magic, &mut magic)?;
        let flag = |offset| {
            let mut flag = [0];
            slot.read_now(offset, &mut flag)?;
            Ok(match flag[0] {
                1 => Mark::Good,
                byte if byte == erased => Mark::Unset,
                _ => Mark::Bad,
            })
        };
        Ok(Self {
            magic: match magic {
                magic if magic == cells.magic_bytes() => Mark::Good,
                magic if magic == [erased; 16] => Mark::Unset,
                _ => Mark::Bad,
            },
            image_ok: flag(cells.image_ok)?,
            copy_done: flag(cells.copy_done)?,
        })
    }
}

/// `boot_swap_tables`: the first row that matches decides.
pub fn decide(method: Method, primary: Trailer, secondary: Trailer) -> Swap {
    const REVERTING: Trailer = Trailer { magic: Mark::Good, image_ok: Mark::Unset, copy_done: Mark::Good };
    match (primary, secondary) {
        (_, REVERTING) if method == Method::Offset => Swap::Revert,
        (_, Trailer { magic: Mark::Good, image_ok: Mark::Unset, .. }) => Swap::Test,
        (_, Trailer { magic: Mark::Good, image_ok: Mark::Good, .. }) => Swap::Permanent,
        (Trailer { magic: Mark::Good, image_ok: Mark::Unset, copy_done: Mark::Good }, _) => Swap::Revert,
        _ => Swap::None,
    }
}

impl Bootloader {
    /// A reset: decides, swaps, and starts what lies in the primary slot.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot(&self) -> Result<Boot, BootError> {
        self.boot_by(Method::Move)
    }

    /// A reset of a bootloader that was built for another method.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot_by(&self, method: Method) -> Result<Boot, BootError> {
        let flash = self.primary.flash().clone();
        flash.atomically(|| {
            let mut swap = decide(method, self.trailer(&self.primary)?, self.trailer(&self.secondary)?);
            let sector = self.primary.flash().geometry().erase_size;
            let from = if method == Method::Offset { sector } else { 0 };
            if matches!(swap, Swap::Test | Swap::Permanent) && self.check_at(&self.secondary, from).is_err() {
                let size = slot_size(&self.secondary);
                self.secondary.erase_now(0, size)?;
                swap = Swap::Refused;
            }
            swap = match (swap, method) {
                (Swap::Test | Swap::Permanent, Method::Overwrite) => {
                    self.overwrite()?;
                    Swap::Permanent
                }
                (Swap::Revert, Method::Overwrite) => Swap::None,
                (Swap::Test | Swap::Permanent | Swap::Revert, _) if self.has_room(method, swap)? => {
                    self.swap(method, swap)?;
                    swap
                }
                (Swap::Refused, _) => swap,
                _ => Swap::None,
            };
            let running = self.check(&self.primary).map_err(BootError::NoBootableImage)?;
            Ok(Boot { swap, running })
        })
    }

    /// What a slot's trailer says at this moment.
    ///
    /// # Errors
    /// The flash's.
    pub fn trailer(&self, slot: &Region) -> Result<Trailer, FlashError> {
        Trailer::read(slot, self.align)
    }

    /// The version of the image in a slot, if it is one that may run.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn check(&self, slot: &Region) -> Result<Version, &'static str> {
        self.check_at(slot, 0)
    }

    fn check_at(&self, slot: &Region, from: u32) -> Result<Version, &'static str> {
        check_image(&slot.contents()[from as usize..], self.key)
    }

    /// `swap_run`: whatever is in the slots ends before the trailer, and leaves the sector that the method needs.
    fn has_room(&self, method: Method, swap: Swap) -> Result<bool, FlashError> {
        let sector = self.primary.flash().geometry().erase_size;
        let end = self.images_end(method) - sector;
        let mut fits = true;
        for (slot, from) in [(&self.primary, 0), (&self.secondary, sector)] {
            let from = if method == Method::Offset && swap != Swap::Revert { from } else { 0 };
            let mut header = [0; 32];
            slot.read_now(from, &mut header)?;
            let size = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
            let [header_size, protected] = [8, 10].map(|at| u16::from_le_bytes([header[at], header[at + 1]]));
            let covered = u64::from(size) + u64::from(header_size) + u64::from(protected);
            let mut info = [0; 4];
            if u64::from(from) + covered + 4 <= slot_size(slot).into() {
                slot.read_now(from + covered as u32, &mut info)?;
            }
            let tlvs = u16::from_le_bytes([info[2], info[3]]);
            fits &= covered + u64::from(tlvs) <= end.into();
        }
        Ok(fits)
    }

    /// Where the sectors of the trailer begin.
    fn images_end(&self, method: Method) -> u32 {
        let (size, erase_size) = (slot_size(&self.primary), self.primary.flash().geometry().erase_size);
        let sectors = SECTORS.max(size / erase_size);
        Cells::new(size, self.align).trailer_start(method, sectors) / erase_size * erase_size
    }

    fn swap(&self, method: Method, swap: Swap) -> Result<(), FlashError> {
        let size = slot_size(&self.primary);
        let geometry = self.primary.flash().geometry();
        let cells = Cells::new(size, self.align);
        let images_end = self.images_end(method) as usize;
        let (old, new) = (self.primary.contents(), self.secondary.contents());
        // By offset, the new image comes from one sector up; the old one goes to where the slot begins. A revert is the
        // same the other way round.
        let up = if method == Method::Offset { geometry.erase_size } else { 0 };
        let (from, to) = if swap == Swap::Revert { (0, up) } else { (up, 0) };
        let room = images_end - up as usize;
        for (slot, bytes, at) in
            [(&self.primary, &new[from as usize..][..room], 0), (&self.secondary, &old[..room], to)]
        {
            slot.erase_now(0, size)?;
            self.program(slot, at, bytes, geometry.erased)?;
        }
        let image_ok = if swap == Swap::Test { geometry.erased } else { 1 };
        let info = match swap {
            Swap::Test => 2,
            Swap::Permanent => 3,
            _ => 4,
        };
        for (offset, value) in [(cells.swap_info, info), (cells.copy_done, 1), (cells.image_ok, image_ok)] {
            self.program(&self.primary, offset, &[value], geometry.erased)?;
        }
        self.program(&self.primary, cells.magic, &cells.magic_bytes(), geometry.erased)
    }

    /// Copies image and trailer, and takes header and trailer away from the secondary slot.
    fn overwrite(&self) -> Result<(), FlashError> {
        let (size, geometry) = (slot_size(&self.primary), self.primary.flash().geometry());
        let new = self.secondary.contents();
        self.primary.erase_now(0, size)?;
        self.program(&self.primary, 0, &new, geometry.erased)?;
        let trailer = Cells::new(size, self.align).swap_info / geometry.erase_size * geometry.erase_size;
        self.secondary.erase_now(trailer, size)?;
        self.secondary.erase_now(0, geometry.erase_size)
    }

    /// Programs whole units, leaving those that stay erased alone.
    fn program(&self, slot: &Region, offset: u32, bytes: &[u8], erased: u8) -> Result<(), FlashError> {
        let unit = slot.flash().geometry().write_size;
        let start = offset / unit * unit;
        let mut padded = vec![erased; (offset - start) as usize];
        padded.extend(bytes);
        padded.resize(padded.len().next_multiple_of(unit as usize), erased);
        for (at, data) in (start..).step_by(unit as usize).zip(padded.chunks(unit as usize)) {
            if data.iter().any(|byte| *byte != erased) {
                slot.write_now(at, data)?;
            }
        }
        Ok(())
    }
}

/// The version of the image that `bytes` begin with, if it may run: whole, and signed by the key where there is one.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn check_image(bytes: &[u8], key: Option<[u8; 32]>) -> Result<Version, &'static str> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if u32_at(0) != Some(0x96f3_b83d) {
        return Err("no image magic");
    }
    let header = u16_at(8).ok_or("short")? as usize;
    let protected = u16_at(10).ok_or("short")? as usize;
    let payload = u32_at(12).ok_or("short")? as usize;
    let covered = header + payload + protected;
    let digest: [u8; 32] = Sha256::digest(bytes.get(..covered).ok_or("larger than the slot")?).into();
    if u16_at(covered) != Some(0x6907) {
        return Err("no TLVs");
    }
    let end = covered + u16_at(covered + 2).ok_or("short")? as usize;
    let (mut at, mut intact, mut known, mut signed) = (covered + 4, false, false, false);
    while at < end {
        let kind = u16_at(at).ok_or("TLVs cut off")?;
        let length = u16_at(at + 2).ok_or("TLVs cut off")? as usize;
        let value = bytes.get(at + 4..at + 4 + length).ok_or("TLVs cut off")?;
        at += 4 + length;
        match kind {
            0x10 => intact = value == digest,
            0x01 => known = key.is_some_and(|key| key_hash(&key) == value),
            0x24 => signed = known && signed_by(key, &digest, value),
            _ => {}
        }
    }
    match (intact, signed || key.is_none()) {
        (true, true) => Ok(Version {
            major: bytes[20],
            minor: bytes[21],
            revision: u16_at(22).ok_or("short")?,
            build: u32_at(24).ok_or("short")?,
        }),
        (false, _) => Err("the digest does not match"),
        (true, false) => Err("not signed by the key"),
    }
}

fn signed_by(key: Option<[u8; 32]>, digest: &[u8; 32], signature: &[u8]) -> bool {
    let key = key.and_then(|key| VerifyingKey::from_bytes(&key).ok());
    let signature = Signature::from_slice(signature).ok();
    key.zip(signature).is_some_and(|(key, signature)| key.verify_strict(digest, &signature).is_ok())
}

fn slot_size(slot: &Region) -> u32 {
    let range = slot.range();
    range.end - range.start
}

/// Where the fields of a trailer lie: from the end of the slot down, each in a cell of its own.
struct Cells {
    cell: u32,
    align: u32,
    magic: u32,
    image_ok: u32,
    copy_done: u32,
    swap_info: u32,
}

impl Cells {
    fn new(slot: u32, align: u32) -> Self {
        let cell = align.max(8);
        let magic = slot - 16;
        let image_ok = (magic - cell) / cell * cell;
        Self { cell, align, magic, image_ok, copy_done: image_ok - cell, swap_info: image_ok - 2 * cell }
    }

    fn magic_bytes(&self) -> [u8; 16] {
        if self.cell == 8 {
            return [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
        }
        let mut magic = [0, 0, 0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a];
        magic[..2].copy_from_slice(&(self.cell as u16).to_le_bytes());
        magic
    }

    /// Below the flags and the swap size lie status cells for each sector; by offset there are fewer of them, and a field
    /// more before them.
    fn trailer_start(&self, method: Method, sectors: u32) -> u32 {
        match method {
            Method::Move => self.swap_info - self.cell - sectors * 3 * self.align,
            Method::Offset => self.swap_info - 2 * self.cell - sectors * 2 * self.align,
            Method::Overwrite => self.swap_info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::{Geometry, SimFlash};
    use crate::image::McuBootImage;
    use ed25519_dalek::SigningKey;

    const SLOT: u32 = 32 * 1024;

    fn version(major: u8) -> Version {
        Version { major, minor: 0, revision: 0, build: 0 }
    }

    fn device(align: u32, erased: u8) -> (Bootloader, SigningKey) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let geometry = Geometry { capacity: 2 * SLOT, write_size: align, erase_size: 4096, erased };
        let flash = SimFlash::in_memory(geometry);
        let image = |n| McuBootImage { version: version(n), header_size: 0x200, payload: &[n; 700] }.sign(&key);
        flash.load(0, &image(1)).unwrap();
        flash.load(SLOT, &image(2)).unwrap();
        let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
        (Bootloader { primary, secondary, align, key: Some(key.verifying_key().to_bytes()) }, key)
    }

    #[test]
    fn every_row_of_the_table_for_every_alignment() {
        let marks = [Mark::Good, Mark::Unset, Mark::Bad];
        let all =
            marks.map(|magic| marks.map(|image_ok| marks.map(|copy_done| Trailer { magic, image_ok, copy_done })));
        for (align, erased) in [1, 2, 4, 8, 16, 32].into_iter().flat_map(|align| [(align, 0xFF), (align, 0)]) {
            for (p, s) in
                all.iter().flatten().flatten().flat_map(|p| all.iter().flatten().flatten().map(move |s| (p, s)))
            {
                let (bootloader, _) = device(align, erased);
                for (slot, trailer) in [(&bootloader.primary, p), (&bootloader.secondary, s)] {
                    let cells = Cells::new(SLOT, align);
                    let byte = |mark| if mark == Mark::Good { 1 } else { 0xAA };
                    for (offset, mark) in [(cells.image_ok, trailer.image_ok), (cells.copy_done, trailer.copy_done)] {
                        if mark != Mark::Unset {
                            slot.flash().load(slot.range().start + offset, &[byte(mark)]).unwrap();
                        }
                    }
                    let mut magic = cells.magic_bytes();
                    magic[15] ^= u8::from(trailer.magic == Mark::Bad);
                    if trailer.magic != Mark::Unset {
                        slot.flash().load(slot.range().start + cells.magic, &magic).unwrap();
                    }
                    assert_eq!(bootloader.trailer(slot).unwrap(), *trailer);
                }
                let expected = match (s.magic, s.image_ok, p.magic, p.image_ok, p.copy_done) {
                    (Mark::Good, Mark::Unset, ..) => (Swap::Test, 2),
                    (Mark::Good, Mark::Good, ..) => (Swap::Permanent, 2),
                    (_, _, Mark::Good, Mark::Unset, Mark::Good) => (Swap::Revert, 2),
                    _ => (Swap::None, 1),
                };
                let boot = bootloader.boot().unwrap();
                assert_eq!((boot.swap, boot.running), (expected.0, version(expected.1)));
            }
        }
    }

    /// By offset there is a row before all others; and where the image is copied over the old one nothing is reverted.
    #[test]
    fn the_rows_of_the_other_methods_for_every_alignment() {
        let set = |magic, image_ok, copy_done| [magic, image_ok, copy_done];
        let rows = [
            (set(false, false, false), set(true, false, true), [Swap::Revert, Swap::Permanent]),
            (set(false, false, false), set(true, false, false), [Swap::Test, Swap::Permanent]),
            (set(true, false, true), set(true, false, false), [Swap::Test, Swap::Permanent]),
            (set(true, false, true), set(true, true, true), [Swap::Permanent, Swap::Permanent]),
            (set(true, false, true), set(false, false, false), [Swap::Revert, Swap::None]),
            (set(true, true, true), set(false, true, true), [Swap::None, Swap::None]),
            (set(true, false, false), set(false, false, true), [Swap::None, Swap::None]),
        ];
        for (align, erased) in [1, 2, 4, 8, 16, 32].into_iter().flat_map(|align| [(align, 0xFF), (align, 0)]) {
            for (primary, secondary, expected) in rows {
                for (method, expected) in [Method::Offset, Method::Overwrite].into_iter().zip(expected) {
                    let (bootloader, _) = device(align, erased);
                    let cells = Cells::new(SLOT, align);
                    let flash = bootloader.primary.flash();
                    // What is to be reverted lies where the slot begins, what is new one sector up.
                    if method == Method::Offset && expected != Swap::Revert {
                        let new = bootloader.secondary.contents();
                        flash.load(SLOT + 4096, &new[..2048]).unwrap();
                    }
                    for (slot, [magic, image_ok, copy_done]) in [(0, primary), (SLOT, secondary)] {
                        let fields: [(bool, u32, &[u8]); 3] = [
                            (magic, cells.magic, &cells.magic_bytes()),
                            (image_ok, cells.image_ok, &[1]),
                            (copy_done, cells.copy_done, &[1]),
                        ];
                        for (_, at, bytes) in fields.into_iter().filter(|(set, ..)| *set) {
                            flash.load(slot + at, bytes).unwrap();
                        }
                    }
                    let boot = bootloader.boot_by(method).unwrap();
                    let running = if expected == Swap::None { 1 } else { 2 };
                    assert_eq!((boot.swap, boot.running), (expected, version(running)), "{method:?}");
                }
            }
        }
    }

    #[test]
    fn an_unconfirmed_image_is_reverted_and_a_confirmed_one_stays() {
        for confirm in [false, true] {
            let (bootloader, _) = device(8, 0xFF);
            let cells = Cells::new(SLOT, 8);
            bootloader.secondary.write_now(cells.magic, &cells.magic_bytes()).unwrap();
            assert_eq!(bootloader.boot().unwrap(), Boot { swap: Swap::Test, running: version(2) });
            if confirm {
                bootloader.primary.write_now(cells.image_ok, &[1, 255, 255, 255, 255, 255, 255, 255]).unwrap();
            }
            let expected = if confirm { (Swap::None, version(2)) } else { (Swap::Revert, version(1)) };
            let boot = bootloader.boot().unwrap();
            assert_eq!((boot.swap, boot.running), expected);
            let boot = bootloader.boot().unwrap();
            assert_eq!((boot.swap, boot.running), (Swap::None, expected.1), "and that is that");
        }
    }

    /// As large as it may be it is swapped; a byte more, and it is left lying with its magic.
    #[test]
    fn an_image_without_a_sector_to_spare_is_left_lying() {
        let (bootloader, key) = device(8, 0xFF);
        let limit = bootloader.images_end(Method::Move) - 4096;
        let overhead = McuBootImage { version: version(2), header_size: 32, payload: &[] }.sign(&key).len();
        for (size, expected) in [(limit, (Swap::Test, 2)), (limit + 1, (Swap::None, 1))] {
            let (bootloader, key) = device(8, 0xFF);
            let payload = vec![2; size as usize - overhead];
            let image = McuBootImage { version: version(2), header_size: 32, payload: &payload }.sign(&key);
            bootloader.secondary.flash().load(SLOT, &image).unwrap();
            let cells = Cells::new(SLOT, 8);
            bootloader.secondary.write_now(cells.magic, &cells.magic_bytes()).unwrap();
            let boot = bootloader.boot().unwrap();
            assert_eq!((boot.swap, boot.running.major), expected);
        }
    }

    #[test]
    fn a_forged_image_is_refused_and_an_empty_device_says_so() {
        let (bootloader, _) = device(8, 0xFF);
        let cells = Cells::new(SLOT, 8);
        bootloader.secondary.write_now(cells.magic, &cells.magic_bytes()).unwrap();
        bootloader.secondary.flash().load(SLOT + 600, &[0]).unwrap();
        assert_eq!(bootloader.boot().unwrap(), Boot { swap: Swap::Refused, running: version(1) });
        bootloader.primary.erase_now(0, SLOT).unwrap();
        assert_eq!(bootloader.boot(), Err(BootError::NoBootableImage("no image magic")));
    }
}
