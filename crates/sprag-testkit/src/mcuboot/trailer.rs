//! The trailer at the end of a slot: where its fields lie, what they say, and how MCUboot writes them.
//!
//! Written from MCUboot's `docs/design.md` ("Image trailer", "Boot swap types"), `boot/bootutil/src/bootutil_public.c`,
//! `bootutil_misc.c` and `bootutil_area.c`.

use super::area::Area;
use super::{BootError, Release};
use crate::flash::{FlashError, Region};

/// `BOOT_SWAP_TYPE_*`, as they stand in the field `swap_info`.
pub(super) mod swap_type {
    pub(crate) const NONE: u8 = 1;
    pub(crate) const TEST: u8 = 2;
    pub(crate) const PERMANENT: u8 = 3;
    pub(crate) const REVERT: u8 = 4;
    pub(crate) const FAIL: u8 = 5;
    pub(crate) const PANIC: u8 = 0xFF;
}

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

/// The contents of a slot's trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// True when there is a trailer at all.
    pub magic: Mark,
    /// The image is confirmed.
    pub image_ok: Mark,
    /// A swap was completed.
    pub copy_done: Mark,
}

impl Trailer {
    /// A blank one, and one that cannot be read where MCUboot takes that for blank.
    pub(super) const UNSET: Self = Self { magic: Mark::Unset, image_ok: Mark::Unset, copy_done: Mark::Unset };

    /// Reads the trailer of a slot, past all ECC. `max_align` is `MCUBOOT_BOOT_MAX_ALIGN`, 8 at least.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn read(slot: &Region, max_align: u32) -> Result<Self, FlashError> {
        Fields { max_align: max_align.max(8), ..Fields::default() }.read(&Area::new(slot, false))
    }

    /// Returns whether the firmware that runs is on trial.
    pub(super) fn reverts(&self) -> bool {
        *self == Self { magic: Mark::Good, image_ok: Mark::Unset, copy_done: Mark::Good }
    }
}

/// The layout of the trailers of one build.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fields {
    /// `BOOT_WRITE_SZ`: the size of a status entry.
    pub(super) align: u32,
    /// `BOOT_MAX_ALIGN`.
    pub(super) max_align: u32,
    /// `BOOT_STATUS_MAX_ENTRIES`.
    pub(super) entries: u32,
    /// `BOOT_STATUS_STATE_COUNT`.
    pub(super) states: u32,
    /// True when the sizes of the unprotected TLVs are kept, as by offset.
    pub(super) tlv_sizes: bool,
}

impl Fields {
    pub(super) fn magic(area: &Area) -> u32 {
        area.size() - 16
    }

    pub(super) fn image_ok(&self, area: &Area) -> u32 {
        (Self::magic(area) - self.max_align) / self.max_align * self.max_align
    }

    pub(super) fn copy_done(&self, area: &Area) -> u32 {
        self.image_ok(area) - self.max_align
    }

    pub(super) fn swap_info(&self, area: &Area) -> u32 {
        self.copy_done(area) - self.max_align
    }

    pub(super) fn unprotected_sizes(&self, area: &Area) -> u32 {
        self.swap_info(area) - self.max_align
    }

    pub(super) fn swap_size(&self, area: &Area) -> u32 {
        self.swap_info(area) - self.max_align * (1 + u32::from(self.tlv_sizes))
    }

    fn info_size(&self) -> u32 {
        self.max_align * (4 + u32::from(self.tlv_sizes)) + 16u32.next_multiple_of(self.max_align)
    }

    /// `boot_trailer_sz`.
    pub(super) fn size(&self) -> u32 {
        self.entries * self.states * self.align + self.info_size()
    }

    /// `boot_scratch_trailer_sz`.
    pub(super) fn scratch_size(&self) -> u32 {
        self.states * self.align + self.info_size()
    }

    /// `boot_status_off` of a slot.
    pub(super) fn status(&self, area: &Area) -> Result<u32, BootError> {
        area.size().checked_sub(self.size()).ok_or(BootError::Assert("the trailer is larger than its area"))
    }

    /// `boot_status_off` of the scratch area, whose trailer has the entries of one step only.
    pub(super) fn scratch_status(&self, area: &Area) -> Result<u32, BootError> {
        area.size().checked_sub(self.scratch_size()).ok_or(BootError::Assert("the trailer is larger than its area"))
    }

    pub(super) fn magic_bytes(&self) -> [u8; 16] {
        if self.max_align == 8 {
            return [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
        }
        let mut magic = [0, 0, 0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a];
        magic[..2].copy_from_slice(&(self.max_align as u16).to_le_bytes());
        magic
    }

    /// `boot_read_swap_state`.
    pub(super) fn read(&self, area: &Area) -> Result<Trailer, FlashError> {
        let erased = area.erased();
        let magic: [u8; 16] = area.bytes(Self::magic(area))?;
        let flag = |offset| {
            let [byte] = area.bytes(offset)?;
            Ok(match byte {
                byte if byte == erased => Mark::Unset,
                1 => Mark::Good,
                _ => Mark::Bad,
            })
        };
        let magic = match magic {
            magic if magic == [erased; 16] => Mark::Unset,
            magic if magic == self.magic_bytes() => Mark::Good,
            _ => Mark::Bad,
        };
        area.bytes::<1>(self.swap_info(area))?;
        Ok(Trailer { magic, copy_done: flag(self.copy_done(area))?, image_ok: flag(self.image_ok(area))? })
    }

    /// The swap type in `swap_info`, where one is there.
    pub(super) fn read_swap_info(&self, area: &Area) -> Result<Option<u8>, FlashError> {
        let [byte] = area.bytes(self.swap_info(area))?;
        Ok((byte != area.erased()).then_some(byte & 0xF))
    }

    pub(super) fn read_swap_size(&self, area: &Area) -> Result<u32, FlashError> {
        area.bytes(self.swap_size(area)).map(u32::from_le_bytes)
    }

    /// Writes a field: its bytes first, erased bytes up to the write unit behind them.
    pub(super) fn write(&self, area: &Area, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut unit = vec![area.erased(); bytes.len().next_multiple_of(self.align as usize)];
        unit[..bytes.len()].copy_from_slice(bytes);
        area.write(offset, &unit)
    }

    /// `boot_write_magic`: padded from below to the alignment.
    pub(super) fn write_magic(&self, area: &Area) -> Result<(), FlashError> {
        let start = Self::magic(area) / self.max_align * self.max_align;
        let mut bytes = vec![area.erased(); 16usize.next_multiple_of(self.max_align as usize)];
        let magic_at = bytes.len() - 16;
        bytes[magic_at..].copy_from_slice(&self.magic_bytes());
        area.write(start, &bytes)
    }
}

/// `boot_swap_tables`: the first row that matches decides.
pub(super) fn decide(by_offset: bool, release: Release, primary: Trailer, secondary: Trailer) -> u8 {
    if by_offset && secondary.reverts() {
        return swap_type::REVERT;
    }
    match (secondary.magic, secondary.image_ok) {
        (Mark::Good, Mark::Unset) => return swap_type::TEST,
        (Mark::Good, Mark::Good) => return swap_type::PERMANENT,
        _ => {}
    }
    let may_revert = release >= Release::V2_2_0 || secondary.magic == Mark::Unset;
    if primary.reverts() && may_revert { swap_type::REVERT } else { swap_type::NONE }
}
