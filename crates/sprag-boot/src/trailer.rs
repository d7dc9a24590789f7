//! The trailer at the end of an MCUboot slot: where its fields lie and what is written into them.
//!
//! Layout: MCUboot, `docs/design.md` ("Image trailer") and `boot/bootutil/src/bootutil_public.c`.

/// The largest `flash_area_align` that MCUboot supports.
pub(crate) const ALIGN_MAX: u32 = 32;
pub(crate) const MAGIC_SIZE: u32 = 16;
/// Status cells for each sector of a swap by scratch or by moving.
const STATUS_CELLS: u32 = 3;

/// A flag that is set.
pub(crate) const SET: u8 = 0x01;

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

/// The size of a whole trailer in bytes: status cells for so many sectors, swap size and three flags, magic.
pub(crate) fn size(align: u32, sectors: u32) -> u32 {
    let status = sectors.saturating_mul(STATUS_CELLS).saturating_mul(align);
    status.saturating_add(cell(align).saturating_mul(4)).saturating_add(MAGIC_SIZE.max(align))
}

/// The magic, which says the alignment unless that is the classic one.
pub(crate) fn magic(align: u32) -> [u8; MAGIC_SIZE as usize] {
    if cell(align) == 8 {
        return [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
    }
    let [low, high, ..] = align.to_le_bytes();
    [low, high, 0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a]
}

/// `swap_info`: the type of the swap in the low nibble, the image number in the high one.
pub(crate) const SWAP_TEST: u8 = 2;
pub(crate) const SWAP_PERMANENT: u8 = 3;

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
        assert_eq!(size(8, 128), 128 * 3 * 8 + 4 * 8 + 16);
        assert_eq!(size(4, 128), 128 * 3 * 4 + 4 * 8 + 16);
        assert_eq!(size(32, 272), 272 * 3 * 32 + 4 * 32 + 32);
        assert_eq!(Cells::new(39, 1), None);
        assert_eq!(Cells::new(32, 8), None);
    }
}
