//! A slot as the others write it: sector by sector erased when the bytes reach it, nothing read back, nothing kept.

use embedded_storage_async::nor_flash::NorFlash;
use sprag_testkit::flash::FlashError;

use crate::board::Board;
use crate::flash::TimedFlash;

/// Bytes go to it one after the other, from the start.
#[derive(Debug)]
pub struct PlainSlot<'b> {
    flash: TimedFlash,
    board: &'b Board,
    erased_to: u32,
    at: u32,
}

impl<'b> PlainSlot<'b> {
    /// The slot of a board, to be written from its start.
    pub fn new(flash: TimedFlash, board: &'b Board) -> Self {
        Self { flash, board, erased_to: 0, at: 0 }
    }

    /// Writes a piece, padded to whole units.
    ///
    /// # Errors
    /// The flash's.
    pub async fn write(&mut self, piece: &mut Vec<u8>) -> Result<(), FlashError> {
        let length = piece.len();
        let padded = length.next_multiple_of(self.board.part.write_size as usize);
        piece.resize(padded, self.board.part.erased);
        while self.erased_to < self.at + padded as u32 {
            let end = self.sector_end(self.erased_to);
            self.flash.erase(self.erased_to, end).await?;
            self.erased_to = end;
        }
        self.flash.write(self.at, piece).await?;
        self.at += length as u32;
        Ok(())
    }

    fn sector_end(&self, start: u32) -> u32 {
        let mut at = 0;
        let sectors = self.board.part.sectors.iter().flat_map(|run| (0..run.count).map(|_| run.size));
        for size in sectors {
            at += size;
            if at > self.board.slot.start + start {
                break;
            }
        }
        at - self.board.slot.start
    }
}
