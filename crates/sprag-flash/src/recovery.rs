//! How far a session came, as the slot itself tells it behind the last record of the journal.
//!
//! The writer keeps an order from which that follows. A sector is erased before anything is programmed into the one before
//! it; blocks are programmed one after the other, and each is whole before the next begins. So from a recorded sector on,
//! which is erased, whatever is found programmed is of this image:
//!
//! - A sector in which something is programmed was erased whole, and so was the one behind it.
//! - The first blank sector behind has not been begun. The last programmed block before it is the last one that was
//!   begun. A cut may have torn it; all blocks before it are whole.
//!
//! A block that is blank by itself leaves no trace, which costs fetching it again. A whole sector of that kind is recorded
//! in the journal.

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::session::{Progress, SessionRecord};
use sprag_core::FlashGeometry;
use sprag_core::SectorMap;
use sprag_core::scan::{each_piece, is_blank};
use sprag_core::sectors::Sector;

/// Where to go on, and in what state the flash is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResumePoint {
    /// All bytes before this one, from the start of the flash, are written.
    pub(crate) offset: u32,
    /// The sector that begins there must be erased first: what lies in it is torn.
    pub(crate) torn: bool,
    /// Where the erased sectors end.
    pub(crate) erased_to: u32,
    /// Something is programmed in the sector.
    pub(crate) begun: bool,
}

/// Finds it, from the last record on.
pub(crate) async fn find<F: ReadNorFlash>(
    flash: &mut F,
    geometry: FlashGeometry,
    map: SectorMap<'_>,
    scratch: &mut [u8],
    session: &SessionRecord,
    progress: Progress,
) -> ResumePoint {
    let recorded = progress.offset.max(session.start).min(session.end());
    let mut sector = map.of(recorded);
    let untouched = ResumePoint { offset: recorded, torn: progress.erasing, erased_to: sector.end, begun: false };
    if progress.erasing || recorded == session.end() {
        return untouched;
    }
    let mut last = None;
    while let Some(block) = last_block(flash, geometry, scratch, session, sector).await {
        last = Some((sector, block));
        sector = map.of(sector.end);
        if sector.start >= session.end() {
            break;
        }
    }
    let Some((sector, block)) = last else { return untouched };
    let erased_to = map.of(sector.end).end;
    if block.end <= recorded {
        return ResumePoint { offset: recorded, torn: false, erased_to, begun: true };
    }
    // Compared with what comes, the block shows whether it is torn; its sector is fetched again only then. Where so much
    // was written that both together would be more than a sector, the sector is given up at once; but not behind its
    // last block, which is hardly ever torn.
    let room = sector.end.saturating_sub(block.end) >= session.block.saturating_mul(3);
    if block.readable && (room || block.end >= sector.end.min(session.end())) {
        ResumePoint { offset: block.start, torn: false, erased_to, begun: block.start > sector.start }
    } else {
        ResumePoint { offset: sector.start, torn: true, erased_to, begun: false }
    }
}

struct Block {
    start: u32,
    end: u32,
    readable: bool,
}

/// The last block of a sector that does not read as erased.
async fn last_block<F: ReadNorFlash>(
    flash: &mut F,
    geometry: FlashGeometry,
    scratch: &mut [u8],
    session: &SessionRecord,
    sector: Sector,
) -> Option<Block> {
    let end = sector.end.min(session.end());
    let blocks = end.saturating_sub(sector.start).checked_next_multiple_of(session.block)?;
    let count = blocks.checked_div(session.block)?;
    for n in (0..count).rev() {
        let start = sector.start.saturating_add(n.saturating_mul(session.block));
        let block_end = start.saturating_add(session.block).min(end);
        // The last unit of the image is padded.
        let padded = geometry.padded(usize::try_from(block_end.saturating_sub(start)).unwrap_or(usize::MAX));
        let range = (start, start.saturating_add(u32::try_from(padded).unwrap_or(u32::MAX)));
        if !is_blank(flash, geometry, scratch, range).await {
            let readable = each_piece(flash, geometry, scratch, range, &mut |_| true).await.is_some();
            return Some(Block { start, end: block_end, readable });
        }
    }
    None
}
