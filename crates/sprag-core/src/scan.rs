//! Scans of a range of flash, read piece by piece through a scratch buffer.

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::geometry::FlashGeometry;

/// Calls `look` with the bytes of a range, piece by piece from its start, until it returns false. Returns `None` when a piece
/// cannot be read: on parts with ECC, a torn unit. Pieces are as long as `scratch`, in whole write units.
///
/// # Cancellation safety
/// Reads only.
pub async fn each_piece<F: ReadNorFlash>(
    flash: &mut F,
    geometry: FlashGeometry,
    scratch: &mut [u8],
    (from, to): (u32, u32),
    look: &mut dyn FnMut(&[u8]) -> bool,
) -> Option<()> {
    let piece = u32::try_from(geometry.whole_units(scratch.len())).unwrap_or(u32::MAX);
    let mut at = from;
    while at < to && piece > 0 {
        let length = to.saturating_sub(at).min(piece);
        let bytes = scratch.get_mut(..usize::try_from(length).unwrap_or(0))?;
        flash.read(at, bytes).await.ok()?;
        if !look(bytes) {
            break;
        }
        at = at.saturating_add(length);
    }
    Some(())
}

/// Returns whether a range reads as erased. A range that cannot be read is not blank: on parts with ECC, a cell whose program
/// was cut off may fail to be read until it is erased.
///
/// # Cancellation safety
/// Reads only.
pub async fn is_blank<F: ReadNorFlash>(
    flash: &mut F,
    geometry: FlashGeometry,
    scratch: &mut [u8],
    range: (u32, u32),
) -> bool {
    let mut blank = true;
    let mut look = |bytes: &[u8]| {
        blank = bytes.iter().all(|byte| *byte == geometry.erased);
        blank
    };
    each_piece(flash, geometry, scratch, range, &mut look).await.is_some() && blank
}
