//! The trailer at the end of an MCUboot slot: where its fields lie, and what is read from and written to them.
//!
//! Layout: MCUboot, `docs/design.md` ("Image trailer") and `boot/bootutil/src/bootutil_public.c`.

use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};

use crate::control::Swap;
use crate::error::{Area, Error};
use crate::flash;
use crate::mcuboot::layout::Layout;

/// The largest `flash_area_align` that MCUboot supports.
pub(crate) const ALIGN_MAX: u32 = 32;
pub(crate) const MAGIC_SIZE: u32 = 16;

/// A flag that is set.
pub(crate) const SET: u8 = 0x01;

/// `swap_info`: the type of the swap in the low nibble, and 0 in the high one.
///
/// The high nibble holds the image number. MCUboot's own `boot_set_next` writes it when MCUboot is built for several
/// images. MCUboot reads it in a scratch area only, so 0 has the same effect in the secondary slot.
pub(crate) fn swap_info(swap: Swap) -> u8 {
    match swap {
        Swap::Test => 2,
        Swap::Permanent => 3,
    }
}

/// Where the fields of a trailer lie, in bytes from the start of the slot: from its end down, each in a cell of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cells {
    /// What is programmed to write the magic, which ends where the slot does.
    pub(crate) magic_block: u32,
    pub(crate) magic: u32,
    pub(crate) image_ok: u32,
    pub(crate) copy_done: u32,
    pub(crate) swap_info: u32,
}

impl Cells {
    /// `None` when the slot is too small, or no multiple of the cells.
    pub(crate) fn new(slot: u32, align: u32) -> Option<Self> {
        let cell = cell(align);
        if !slot.is_multiple_of(cell) {
            return None;
        }
        let magic = slot.checked_sub(MAGIC_SIZE)?;
        let below_magic = magic.checked_sub(cell)?;
        let image_ok = below_magic.checked_sub(below_magic.checked_rem(cell)?)?;
        let copy_done = image_ok.checked_sub(cell)?;
        let swap_info = copy_done.checked_sub(cell)?;
        let magic_block = slot.checked_sub(MAGIC_SIZE.max(align))?;
        Some(Self { magic_block, magic, image_ok, copy_done, swap_info })
    }
}

/// `BOOT_MAX_ALIGN`: how far the cells are apart.
fn cell(align: u32) -> u32 {
    align.max(8)
}

/// The size of the magic and so many cells before it, in bytes.
pub(crate) fn front(align: u32, fields: u32) -> u32 {
    cell(align).saturating_mul(fields).saturating_add(MAGIC_SIZE.max(align))
}

/// `boot_img_magic` for an alignment of 8, and of any other.
static MAGIC_8: [u8; MAGIC_SIZE as usize] =
    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
static MAGIC_16: [u8; MAGIC_SIZE as usize] =
    [16, 0, 0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a];
static MAGIC_32: [u8; MAGIC_SIZE as usize] =
    [32, 0, 0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a];

/// Returns the magic. It begins with the alignment, unless that is 8 or less.
pub(crate) fn magic(align: u32) -> &'static [u8; MAGIC_SIZE as usize] {
    match align {
        16 => &MAGIC_16,
        32 => &MAGIC_32,
        _ => &MAGIC_8,
    }
}

/// The magic of a trailer, or a flag in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Set,
    Unset,
    /// Neither: torn, or something else's bytes.
    Bad,
}

impl Mark {
    pub(crate) fn of_magic(bytes: [u8; MAGIC_SIZE as usize], align: u32, erased: u8) -> Self {
        match bytes {
            bytes if bytes == *magic(align) => Self::Set,
            bytes if bytes == [erased; MAGIC_SIZE as usize] => Self::Unset,
            _ => Self::Bad,
        }
    }

    pub(crate) fn of_flag(flag: u8, erased: u8) -> Self {
        match flag {
            SET => Self::Set,
            flag if flag == erased => Self::Unset,
            _ => Self::Bad,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) magic: Mark,
    pub(crate) image_ok: Mark,
    pub(crate) copy_done: Mark,
}

impl Trailer {
    /// What can't be read counts as torn.
    pub(crate) async fn read<F: ReadNorFlash>(flash: &mut F, area: Area, layout: Layout) -> Result<Self, Error> {
        let cells = layout.cells(flash::capacity(flash)?)?;
        let mut magic = [0; MAGIC_SIZE as usize];
        let whole = flash::read_torn(flash, area, cells.magic, &mut magic).await?;
        let magic =
            if whole { Mark::of_magic(magic, layout.geometry.write_size, layout.geometry.erased) } else { Mark::Bad };
        let mut flags = [Mark::Bad; 2];
        for (mark, offset) in flags.iter_mut().zip([cells.image_ok, cells.copy_done]) {
            // Eight bytes, for parts that read in words; cells are at least that large.
            let mut cell = [0; 8];
            if flash::read_torn(flash, area, offset, &mut cell).await? {
                let [flag, ..] = cell;
                *mark = Mark::of_flag(flag, layout.geometry.erased);
            }
        }
        let [image_ok, copy_done] = flags;
        Ok(Self { magic, image_ok, copy_done })
    }

    /// Row IV of MCUboot's table: the next reset reverts.
    pub(crate) fn is_trial(&self) -> bool {
        (self.magic, self.image_ok, self.copy_done) == (Mark::Set, Mark::Unset, Mark::Set)
    }
}

/// Returns whether `swap_info` names a test, a permanent swap or a revert, or cannot be read.
pub(crate) async fn has_swap_type<F: ReadNorFlash>(flash: &mut F, area: Area, layout: Layout) -> Result<bool, Error> {
    let at = layout.cells(flash::capacity(flash)?)?.swap_info;
    let mut cell = [0; 8];
    let readable = flash::read_torn(flash, area, at, &mut cell).await?;
    let [swap_info, ..] = cell;
    Ok(!readable || (swap_info != layout.geometry.erased && (2..=4).contains(&(swap_info & 0x0F))))
}

/// Returns whether the magic and the flags can be read. A swapping MCUboot stops at those of the primary slot when they
/// cannot be read (`boot_read_swap_state`).
pub(crate) async fn is_readable<F: ReadNorFlash>(flash: &mut F, area: Area, layout: Layout) -> Result<bool, Error> {
    let end = flash::capacity(flash)?;
    let start = layout.cells(end)?.copy_done;
    let mut bytes = [0; 3 * ALIGN_MAX as usize];
    let length = usize::try_from(end.saturating_sub(start)).map_err(|_| Error::Layout)?;
    let bytes = bytes.get_mut(..length).ok_or(Error::Layout)?;
    flash::read_torn(flash, area, start, bytes).await
}

/// Writes a flag: the byte, then the erased value up to the write unit.
pub(crate) async fn write_flag<F: NorFlash>(
    flash: &mut F,
    area: Area,
    layout: Layout,
    at: u32,
    flag: u8,
) -> Result<(), Error> {
    let mut unit = [layout.geometry.erased; ALIGN_MAX as usize];
    if let Some(first) = unit.first_mut() {
        *first = flag;
    }
    let length = usize::try_from(layout.geometry.write_size).map_err(|_| Error::Layout)?;
    let unit = unit.get(..length).ok_or(Error::Layout)?;
    flash::write(flash, area, at, unit).await
}

pub(crate) async fn write_magic<F: NorFlash>(
    flash: &mut F,
    area: Area,
    layout: Layout,
    cells: Cells,
) -> Result<(), Error> {
    let mut block = [layout.geometry.erased; ALIGN_MAX as usize];
    for (to, from) in block.iter_mut().rev().zip(magic(layout.geometry.write_size).iter().rev()) {
        *to = *from;
    }
    let length = usize::try_from(MAGIC_SIZE.max(layout.geometry.write_size)).map_err(|_| Error::Layout)?;
    let start = block.len().checked_sub(length).ok_or(Error::Layout)?;
    let block = block.get(start..).ok_or(Error::Layout)?;
    flash::write(flash, area, cells.magic_block, block).await
}

/// Erases the last `size` bytes of a slot, whole sectors: those that are not blank, or all of them. From the end down, so
/// that the magic goes first.
pub(crate) async fn clean<F: NorFlash>(flash: &mut F, layout: Layout, size: u32, all: bool) -> Result<(), Error> {
    let end = flash::capacity(flash)?;
    layout.cells(end)?;
    let start = end.checked_sub(size).ok_or(Error::Layout)?;
    flash::clean(flash, Area::Secondary, start..end, layout.geometry, all).await
}

/// Stages what lies in the slot for updates, whose trailer is `size` bytes: the bytes of `boot_set_pending`, the magic last.
///
/// All of the trailer is erased first, however blank it reads: a cut leaves cells that read as erased and yet refuse to be
/// programmed, or do not keep what is programmed.
pub(crate) async fn stage<F: NorFlash>(flash: &mut F, layout: Layout, size: u32, swap: Swap) -> Result<(), Error> {
    clean(flash, layout, size, true).await?;
    let end = flash::capacity(flash)?;
    flash::check_erased(flash, Area::Secondary, end.saturating_sub(size)..end, layout.geometry).await?;
    let cells = layout.cells(end)?;
    if swap == Swap::Permanent {
        write_flag(flash, Area::Secondary, layout, cells.image_ok, SET).await?;
    }
    write_flag(flash, Area::Secondary, layout, cells.swap_info, swap_info(swap)).await?;
    write_magic(flash, Area::Secondary, layout, cells).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_mcuboot_has_them() {
        const SLOT: u32 = 0x2_0000;
        let below_end = |align| {
            let cells = Cells::new(SLOT, align).unwrap();
            [cells.magic_block, cells.magic, cells.image_ok, cells.copy_done, cells.swap_info].map(|at| SLOT - at)
        };
        for align in [1, 2, 4, 8] {
            assert_eq!(below_end(align), [16, 16, 24, 32, 40]);
        }
        assert_eq!(below_end(16), [16, 16, 32, 48, 64]);
        assert_eq!(below_end(32), [32, 16, 64, 96, 128]);
        assert_eq!(front(8, 4), 4 * 8 + 16);
        assert_eq!(front(4, 5), 5 * 8 + 16);
        assert_eq!(front(32, 4), 4 * 32 + 32);
        assert_eq!(Cells::new(39, 1), None);
        assert_eq!(Cells::new(32, 8), None);
    }
}
