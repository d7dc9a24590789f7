//! MCUboot with two slots that are swapped, by scratch or by moving.

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::control::{BootControl, State, Swap};
use crate::error::{Error, Slot};
use crate::trailer::{self, ALIGN_MAX, Cells, MAGIC_SIZE, SET};

/// How MCUboot was built, as far as its trailers and its room for images depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Layout {
    /// `flash_area_align` of the slots: the write unit in bytes, 1 to 32 and a power of two.
    pub align: u32,
    /// The size of the sectors at the end of the slots, in bytes.
    pub erase_size: u32,
    /// What an erased byte reads as, in both slots.
    pub erased: u8,
    /// `BOOT_MAX_IMG_SECTORS`: the sectors that the swap's status has cells for.
    pub max_sectors: u32,
    /// How the images are swapped.
    pub method: Method,
}

/// How the images are swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Method {
    /// `MCUBOOT_SWAP_USING_SCRATCH`: through a scratch area.
    Scratch,
    /// `MCUBOOT_SWAP_USING_MOVE`: by moving the old image up one sector, which must be left free.
    Move,
}

impl Layout {
    /// As MCUboot is built unless told otherwise: status cells for 128 sectors, or for as many as `slot` bytes have where
    /// that is more (Zephyr's automatic setting), and a swap by moving.
    pub const fn new(slot: u32, align: u32, erase_size: u32, erased: u8) -> Self {
        let sectors = match slot.checked_div(erase_size) {
            Some(sectors) if sectors > 128 => sectors,
            _ => 128,
        };
        Self { align, erase_size, erased, max_sectors: sectors, method: Method::Move }
    }

    /// Sets `BOOT_MAX_IMG_SECTORS`.
    #[must_use]
    pub const fn max_sectors(mut self, sectors: u32) -> Self {
        self.max_sectors = sectors;
        self
    }

    /// Sets how the images are swapped.
    #[must_use]
    pub const fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }
}

/// The application's side of MCUboot's swap: what `boot_set_pending` and `boot_set_confirmed` do, with the magic written
/// last, so that no cut leaves an image staged otherwise than was asked for.
#[derive(Debug)]
pub struct McuBoot<P, S> {
    primary: P,
    secondary: S,
    layout: Layout,
}

impl<P: NorFlash, S: NorFlash> McuBoot<P, S> {
    /// The hand-over for two slots, each the whole of its region.
    pub fn new(primary: P, secondary: S, layout: Layout) -> Self {
        Self { primary, secondary, layout }
    }

    async fn primary_trailer(&mut self) -> Result<Trailer, Error> {
        read_trailer(&mut self.primary, Slot::Primary, self.layout).await
    }

    async fn secondary_trailer(&mut self) -> Result<Trailer, Error> {
        read_trailer(&mut self.secondary, Slot::Secondary, self.layout).await
    }

    /// The trailer in whole sectors, in bytes.
    fn trailer_sectors(&self) -> u32 {
        let size = trailer::size(self.layout.align, self.layout.max_sectors);
        size.checked_next_multiple_of(self.layout.erase_size).unwrap_or(u32::MAX)
    }

    /// Erases the sectors of the secondary slot's trailer: those that are not blank, or all of them.
    async fn clean(&mut self, all: bool) -> Result<(), Error> {
        cells(&self.secondary, self.layout)?;
        let end = u32::try_from(self.secondary.capacity()).map_err(|_| Error::Layout)?;
        let start = end.checked_sub(self.trailer_sectors()).ok_or(Error::Layout)?;
        let failed = |e: S::Error| Error::Flash { slot: Slot::Secondary, kind: e.kind() };
        // From the end down: the magic goes first.
        let mut to = end;
        while to > start {
            let from = to.saturating_sub(self.layout.erase_size);
            if all || !is_blank(&mut self.secondary, from, to, self.layout.erased).await {
                self.secondary.erase(from, to).await.map_err(failed)?;
            }
            to = from;
        }
        Ok(())
    }

    /// Writes what stages an image, the magic last.
    async fn write_trailer(&mut self, swap: Swap) -> Result<(), Error> {
        let cells = cells(&self.secondary, self.layout)?;
        let info = match swap {
            Swap::Test => trailer::SWAP_TEST,
            Swap::Permanent => {
                write_flag(&mut self.secondary, Slot::Secondary, self.layout, cells.image_ok, SET).await?;
                trailer::SWAP_PERMANENT
            }
        };
        write_flag(&mut self.secondary, Slot::Secondary, self.layout, cells.swap_info, info).await?;
        write_magic(&mut self.secondary, self.layout, cells).await
    }
}

impl<P: NorFlash, S: NorFlash> BootControl for McuBoot<P, S> {
    /// The trailer, in whole sectors, so that it can be erased without touching the image; and the sector that a swap by
    /// moving needs. An image that reaches further is left lying by MCUboot without a word.
    fn reserved(&self) -> u32 {
        let spare = match self.layout.method {
            Method::Scratch => 0,
            Method::Move => self.layout.erase_size,
        };
        self.trailer_sectors().saturating_add(spare)
    }

    async fn state(&mut self) -> Result<State, Error> {
        let secondary = self.secondary_trailer().await?;
        match (secondary.magic, secondary.image_ok) {
            (Mark::Set, Mark::Unset) => return Ok(State::Staged(Swap::Test)),
            (Mark::Set, Mark::Set) => return Ok(State::Staged(Swap::Permanent)),
            _ => {}
        }
        let primary = self.primary_trailer().await?;
        Ok(match primary {
            Trailer { magic: Mark::Set, image_ok: Mark::Unset, copy_done: Mark::Set, .. } => State::Trial,
            _ => State::Settled,
        })
    }

    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        match self.state().await? {
            State::Trial => return Err(Error::OnTrial),
            State::Staged(staged) if staged == swap => return Ok(()),
            _ => {}
        }
        // All of it, however blank it reads: a cut leaves cells that read as erased and yet refuse to be programmed, or
        // lose what is programmed.
        self.clean(true).await?;
        self.write_trailer(swap).await
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        if self.primary_trailer().await?.is_trial() {
            return Err(Error::OnTrial);
        }
        self.clean(false).await
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        let trailer = self.primary_trailer().await?;
        match (trailer.magic, trailer.image_ok) {
            (Mark::Bad, _) => Err(Error::Trailer),
            (Mark::Set, Mark::Unset) => {
                let cells = cells(&self.primary, self.layout)?;
                write_flag(&mut self.primary, Slot::Primary, self.layout, cells.image_ok, SET).await
            }
            // MCUboot reverts only while the flag is erased: set or torn, the image stays.
            _ => Ok(()),
        }
    }

    /// Writes nothing: MCUboot reverts what was not confirmed.
    async fn go_back(&mut self) -> Result<(), Error> {
        if self.primary_trailer().await?.is_trial() { Ok(()) } else { Err(Error::NotOnTrial) }
    }
}

/// The magic of a trailer, or a flag in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Set,
    Unset,
    /// Neither: torn, or something else's bytes.
    Bad,
}

#[derive(Debug, Clone, Copy)]
struct Trailer {
    magic: Mark,
    image_ok: Mark,
    copy_done: Mark,
}

impl Trailer {
    fn is_trial(&self) -> bool {
        (self.magic, self.image_ok, self.copy_done) == (Mark::Set, Mark::Unset, Mark::Set)
    }
}

/// Where the trailer lies in a slot, if layout and slot go together.
fn cells<F: ReadNorFlash>(slot: &F, layout: Layout) -> Result<Cells, Error> {
    let sound = layout.align.is_power_of_two() && layout.align <= ALIGN_MAX && layout.erase_size > 0;
    let size = u32::try_from(slot.capacity()).ok().filter(|_| sound);
    size.and_then(|size| Cells::new(size, layout.align)).ok_or(Error::Layout)
}

async fn read_trailer<F: ReadNorFlash>(flash: &mut F, slot: Slot, layout: Layout) -> Result<Trailer, Error> {
    let cells = cells(flash, layout)?;
    let mut magic = [0; MAGIC_SIZE as usize];
    let whole = read_cell(flash, slot, cells.magic, &mut magic).await?;
    let magic = match magic {
        _ if !whole => Mark::Bad,
        magic if magic == trailer::magic(layout.align) => Mark::Set,
        magic if magic == [layout.erased; MAGIC_SIZE as usize] => Mark::Unset,
        _ => Mark::Bad,
    };
    let mut flags = [Mark::Bad; 2];
    for (mark, offset) in flags.iter_mut().zip([cells.image_ok, cells.copy_done]) {
        // Eight bytes, for parts that read in words; cells are at least that large.
        let mut cell = [0; 8];
        let whole = read_cell(flash, slot, offset, &mut cell).await?;
        let [flag, ..] = cell;
        *mark = match flag {
            _ if !whole => Mark::Bad,
            SET => Mark::Set,
            flag if flag == layout.erased => Mark::Unset,
            _ => Mark::Bad,
        };
    }
    let [image_ok, copy_done] = flags;
    Ok(Trailer { magic, image_ok, copy_done })
}

/// Reads a cell; whether that went well. A torn one can't be read on parts with ECC.
async fn read_cell<F: ReadNorFlash>(flash: &mut F, slot: Slot, at: u32, cell: &mut [u8]) -> Result<bool, Error> {
    match flash.read(at, cell).await.map_err(|e| e.kind()) {
        Ok(()) => Ok(true),
        Err(NorFlashErrorKind::Other) => Ok(false),
        Err(kind) => Err(Error::Flash { slot, kind }),
    }
}

/// Writes a flag: the byte, then the erased value up to the write unit.
async fn write_flag<F: NorFlash>(flash: &mut F, slot: Slot, layout: Layout, at: u32, flag: u8) -> Result<(), Error> {
    let mut unit = [layout.erased; ALIGN_MAX as usize];
    if let Some(first) = unit.first_mut() {
        *first = flag;
    }
    let length = usize::try_from(layout.align).map_err(|_| Error::Layout)?;
    let unit = unit.get(..length).ok_or(Error::Layout)?;
    flash.write(at, unit).await.map_err(|e| Error::Flash { slot, kind: e.kind() })
}

async fn write_magic<F: NorFlash>(flash: &mut F, layout: Layout, cells: Cells) -> Result<(), Error> {
    let mut block = [layout.erased; ALIGN_MAX as usize];
    for (to, from) in block.iter_mut().rev().zip(trailer::magic(layout.align).iter().rev()) {
        *to = *from;
    }
    let length = usize::try_from(MAGIC_SIZE.max(layout.align)).map_err(|_| Error::Layout)?;
    let start = block.len().checked_sub(length).ok_or(Error::Layout)?;
    let block = block.get(start..).ok_or(Error::Layout)?;
    flash.write(cells.magic_block, block).await.map_err(|e| Error::Flash { slot: Slot::Secondary, kind: e.kind() })
}

/// Whether all of it reads as erased. What can't be read does not.
async fn is_blank<F: ReadNorFlash>(flash: &mut F, from: u32, to: u32, erased: u8) -> bool {
    let mut at = from;
    while at < to {
        let mut piece = [0; 64];
        let left = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
        let room = piece.get_mut(..left).unwrap_or_default();
        if flash.read(at, room).await.is_err() || room.iter().any(|byte| *byte != erased) {
            return false;
        }
        at = at.saturating_add(64);
    }
    true
}
