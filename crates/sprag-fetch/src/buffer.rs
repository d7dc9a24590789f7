//! Bytes inside the caller's buffer.

use core::ops::Range;

/// Moves a part of the buffer towards its front.
pub(crate) fn move_to(buf: &mut [u8], part: Range<usize>, at: usize) {
    if let Some(room) = buf.get_mut(at..part.end)
        && let Some(start) = part.start.checked_sub(at).filter(|start| *start <= room.len())
    {
        room.copy_within(start.., 0);
    }
}
