//! What lies in the slot, looked at through a scratch buffer.

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::geometry::Geometry;

/// Calls `look` with the bytes of a range, piece by piece from its start, until it says no. `None` when a piece can't be
/// read: on parts with ECC, a torn unit.
pub(crate) async fn each_piece<F: ReadNorFlash>(
    flash: &mut F,
    geometry: Geometry,
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

/// Whether a range reads as erased. What can't be read does not.
pub(crate) async fn is_blank<F: ReadNorFlash>(
    flash: &mut F,
    geometry: Geometry,
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

/// How many bytes of `data`, in whole units, lie at `at` already. What can't be read does not match.
pub(crate) async fn matching<F: ReadNorFlash>(
    flash: &mut F,
    geometry: Geometry,
    scratch: &mut [u8],
    at: u32,
    data: &[u8],
) -> usize {
    let mut same = 0usize;
    let to = at.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
    let mut rest = data;
    let mut look = |bytes: &[u8]| {
        let (wanted, behind) = rest.split_at_checked(bytes.len()).unwrap_or_default();
        let equal = bytes.iter().zip(wanted).take_while(|(found, wanted)| found == wanted).count();
        same = same.saturating_add(equal);
        rest = behind;
        equal == bytes.len()
    };
    let _ = each_piece(flash, geometry, scratch, (at, to), &mut look).await;
    geometry.whole_units(same)
}
