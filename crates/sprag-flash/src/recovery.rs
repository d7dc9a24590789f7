//! How far a session came, as the slot itself shows behind the last record of the journal.
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

use sprag_core::sectors::Sector;
use sprag_core::{FlashGeometry, SectorMap};

use crate::operation::{length, size};
use crate::session::{Image, Progress};

/// Where to go on, and in what state the flash is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResumePoint {
    /// All bytes before this one, from the start of the flash, are written.
    pub(crate) offset: u32,
    /// The sector that begins there must be erased first: what lies in it is torn.
    pub(crate) is_torn: bool,
    /// Where the erased sectors end.
    pub(crate) erased_to: u32,
    /// Something is programmed in the sector.
    pub(crate) is_begun: bool,
}

/// A block of a sector.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    sector_start: u32,
    start: u32,
    end: u32,
}

/// The search for the last block that does not read as erased: sector by sector, and backwards in each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Search {
    /// The last record: all before this place is written.
    offset: u32,
    /// The sector there is to be erased, whatever lies in it.
    is_torn: bool,
    block: Block,
    /// The last block that does not read as erased; none while it has no end.
    last: Block,
}

impl Search {
    /// Begins at the last record.
    pub(crate) fn begin(image: &Image, map: &SectorMap<'_>, progress: Progress) -> Self {
        let offset = progress.offset.max(image.start).min(image.end);
        Self { offset, is_torn: progress.erasing, block: last_block(image, map.of(offset)), last: Block::default() }
    }

    /// Gives up all that is written.
    pub(crate) fn give_up(&mut self, image: &Image) {
        self.offset = image.start;
        self.is_torn = true;
    }

    /// Returns whether there is nothing to look at.
    pub(crate) fn is_over(&self, image: &Image) -> bool {
        self.is_torn || self.offset == image.end
    }

    /// Returns the range of the block to look at, in whole units.
    pub(crate) fn range(&self, geometry: &FlashGeometry) -> (u32, u32) {
        padded(self.block, geometry)
    }

    /// Takes note of whether the block reads as erased. Returns whether there is another one to look at.
    pub(crate) fn add(&mut self, image: &Image, map: &SectorMap<'_>, is_blank: bool) -> bool {
        let Block { sector_start, start, .. } = self.block;
        if is_blank {
            self.block.start = start.wrapping_sub(image.block);
            self.block.end = start;
            return start > sector_start;
        }
        self.last = self.block;
        let next = map.of(map.of(sector_start).end);
        self.block = last_block(image, next);
        next.start < image.end
    }

    /// Returns the range of the last block that does not read as erased, if it must be read.
    pub(crate) fn last_range(&self, geometry: &FlashGeometry) -> Option<(u32, u32)> {
        (self.last.end > 0).then(|| padded(self.last, geometry))
    }

    /// Returns where to go on.
    pub(crate) fn end(&self, image: &Image, map: &SectorMap<'_>, is_readable: bool) -> ResumePoint {
        let Self { offset, is_torn, last, .. } = *self;
        let Block { sector_start, start, end } = last;
        if end == 0 {
            return ResumePoint { offset, is_torn, erased_to: map.of(offset).end, is_begun: false };
        }
        let sector = map.of(sector_start);
        let erased_to = map.of(sector.end).end;
        if end <= offset {
            return ResumePoint { offset, is_torn: false, erased_to, is_begun: true };
        }
        // Compared with what comes, the block shows whether it is torn; its sector is fetched again only then. Where so much
        // was written that both together would be more than a sector, the sector is given up at once; but not behind its
        // last block, which is hardly ever torn.
        let pays = sector.end.saturating_sub(end) >= image.block.saturating_mul(3) || end >= sector.end.min(image.end);
        if is_readable && pays {
            ResumePoint { offset: start, is_torn: false, erased_to, is_begun: start > sector.start }
        } else {
            ResumePoint { offset: sector.start, is_torn: true, erased_to, is_begun: false }
        }
    }
}

/// Returns the last block that the image has in a sector. It has one where the sector begins before the image ends.
fn last_block(image: &Image, sector: Sector) -> Block {
    let end = sector.end.min(image.end);
    let last = end.wrapping_sub(1);
    let into = last.wrapping_sub(sector.start);
    let start = last.wrapping_sub(into.checked_rem(image.block).unwrap_or(0));
    Block { sector_start: sector.start, start, end }
}

/// Returns the range of a block; the last unit of the image is padded.
fn padded(block: Block, geometry: &FlashGeometry) -> (u32, u32) {
    let padded = geometry.padded(size(block.end.saturating_sub(block.start)));
    (block.start, block.start.saturating_add(length(padded)))
}
