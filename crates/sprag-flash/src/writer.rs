//! A slot, the journal of what lies in it, and how it is written.

use core::num::NonZeroU32;
use core::ops::Range;

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError};
use sprag_core::{FlashGeometry, Sectors};

use crate::error::Error;
use crate::flash_view::FlashView;
use crate::journal::Journal;
use crate::operation::{execute, length};
use crate::session::Session;
use crate::slot::{Core, Task, Wait};
use crate::transfer::Transfer;

/// A slot, and the journal of what lies in it.
///
/// `buf` takes the bytes as they arrive, and goes to the flash in blocks of its size: the network reads straight into it,
/// see [`Transfer::feed`] and [`Transfer::spare`]. One unit will do. The larger it is, the fewer and longer the programs;
/// what a power cut costs is a few blocks, in most cases.
#[derive(Debug)]
pub struct SlotWriter<'b, F, J> {
    pub(crate) flash: F,
    pub(crate) journal: Journal<'b, J>,
    pub(crate) core: Core<'b>,
    pub(crate) buf: &'b mut [u8],
    /// The block that is programmed while the first buffer is filled; empty for none.
    pub(crate) second: &'b mut [u8],
}

impl<'b, F: NorFlash, J: NorFlash> SlotWriter<'b, F, J> {
    /// Makes a writer for the slot that is the whole of `flash`.
    pub fn new(flash: F, geometry: FlashGeometry, journal: Journal<'b, J>, buf: &'b mut [u8]) -> Self {
        let core = Core::new(geometry, buf.len());
        Self { flash, journal, core, buf, second: &mut [] }
    }

    /// Adds a second buffer, so that bytes can arrive while those before them are programmed. Blocks are of the smaller one's
    /// size. To be of use, two of them should not be larger than a sector.
    #[must_use]
    pub fn second_buffer(mut self, buf: &'b mut [u8]) -> Self {
        self.core.set_block_size(self.buf.len().min(buf.len()));
        self.second = buf;
        self
    }

    /// Sets how the sectors of the slot differ, from its start on. Behind these runs they are of the geometry's size.
    #[must_use]
    pub fn sectors(mut self, runs: &'b [Sectors]) -> Self {
        self.core.map.runs = runs;
        self
    }

    /// Sets whether everything that is written is read back and compared, and every erased sector read. On unless it is
    /// switched off here, which is for parts whose driver has verified what it did.
    #[must_use]
    pub fn read_back(mut self, on: bool) -> Self {
        self.core.io.read_back = on;
        self
    }

    /// Takes a sector that reads as erased for erased, which saves the erase. Only for parts where that is known: flash
    /// whose driver does not let a sector read as erased after an erase that was cut off (some parts can tell), and that
    /// nobody else programs. On most parts a cut can leave a sector that reads as erased and does not keep what is
    /// programmed. Off unless it is switched on here.
    #[must_use]
    pub fn trust_blank(mut self, on: bool) -> Self {
        self.core.io.trust_blank = on;
        self
    }

    /// Holds back the first `length` bytes of images that [begin](Self::begin) from now on: they are kept in the journal until
    /// [`write_head`](Self::write_head) writes them to the slot. For bootloaders that run whatever they find in the slot, so
    /// that an image can't run before it was verified. Whole write units, at most [`HELD_BACK_MAX`](crate::HELD_BACK_MAX)
    /// bytes and at most a buffer; 0 holds nothing back.
    pub fn hold_back(&mut self, length: usize) {
        self.core.hold_back = length;
    }

    /// Writes the [held-back](Self::hold_back) bytes to the beginning of the finished image. Does nothing when they are there,
    /// or nothing is held back.
    ///
    /// # Errors
    /// [`Error::NoSession`] when the journal has no session or none of the bytes, [`Error::SlotWornOut`] when they do not
    /// read back, and the flash's.
    ///
    /// # Cancellation safety
    /// May be dropped and called again. A torn unit that the part refuses to program again is an error each time: forget
    /// the session then, and write the image again.
    pub async fn write_head(&mut self) -> Result<(), Error> {
        self.run(Task::WriteHead).await
    }

    /// Records the progress in the journal every so many sectors.
    ///
    /// Behind the record, the slot itself tells how far it came, so that fewer records cost no bytes: they are for finding
    /// the place sooner. By default the records of one image fill an eighth of the journal's bank.
    #[must_use]
    pub fn record_every(mut self, sectors: NonZeroU32) -> Self {
        self.core.record_interval = sectors.get();
        self
    }

    /// Returns the buffer, for the bytes that come before [`begin`](Self::begin) can be called: the size of an image is often
    /// known from the first answer only, which brings bytes along.
    pub fn buffer(&mut self) -> &mut [u8] {
        self.buf.get_mut(..self.core.first_block()).unwrap_or_default()
    }

    /// Returns the part of the flash in which the image lies, and the buffer, to read back what was written. What is
    /// [held back](Self::hold_back) reads as if it were in the slot.
    ///
    /// # Errors
    /// [`Error::NoSession`] when the journal has not got the bytes that are held back; the journal's.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn slot(&mut self, region: Range<u32>) -> Result<(FlashView<'_, F>, &mut [u8]), Error> {
        self.run(Task::ReadHead).await?;
        let capacity = self.flash.capacity();
        Ok((FlashView::with_head(&mut self.flash, capacity, region, self.core.payload.as_slice()), self.buf))
    }

    /// Returns units and erased value of the slot, as they were given.
    pub fn geometry(&self) -> FlashGeometry {
        self.core.io.geometry
    }

    /// Returns the journal, for the caller's own record: [`JOB`](crate::JOB).
    pub fn journal(&mut self) -> &mut Journal<'b, J> {
        &mut self.journal
    }

    /// Returns the session that was left unfinished, or finished and not yet forgotten.
    ///
    /// An image whose beginning is blank counts as not written: there are bootloaders that erase what they can't run.
    ///
    /// # Errors
    /// As [`Journal::get`]. A journal full of something else is no error: it holds no session.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn session(&mut self) -> Result<Option<Session<'_>>, Error> {
        self.run(Task::Open).await?;
        Ok(self.core.session())
    }

    /// Forgets the session. What lies in the slot stays there.
    ///
    /// # Errors
    /// As [`Journal::put`].
    ///
    /// # Cancellation safety
    /// The session is forgotten or not.
    pub async fn forget(&mut self) -> Result<(), Error> {
        self.run(Task::Forget).await
    }

    /// Begins an image of `total` bytes, of which the first `received` stand in the [`buffer`](Self::buffer).
    ///
    /// It goes to the start of `region`, which is in bytes from the start of the flash and begins with a sector: what lies
    /// outside belongs to the bootloader, and an image that reaches into the sectors there is refused before anything is
    /// erased.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Record`] when the identity is longer than [`IDENTITY_MAX`](crate::IDENTITY_MAX),
    /// [`Error::Buffer`], [`Error::Geometry`], and the flash's.
    ///
    /// # Cancellation safety
    /// As [`Transfer::commit`]. What lay in the slot before is not gone on with any more.
    pub async fn begin(
        &mut self,
        identity: &[u8],
        total: u64,
        region: Range<u32>,
        received: usize,
    ) -> Result<Transfer<'_, 'b, F, J>, Error> {
        let end = region.end.min(length(self.flash.capacity()));
        self.core.set_image(identity, total, (region.start, end), &self.journal.core)?;
        // The old session goes before its bytes do, and the new one comes when the first sector is ready for it.
        let full = self.core.take(received)?;
        let mut transfer = Transfer { writer: self };
        transfer.run(Task::Begin, full).await?;
        Ok(transfer)
    }

    /// Goes on with the session that the journal holds, behind the bytes that are safely in flash:
    /// [`Transfer::offset`] says where. Bytes behind it that lie in flash too are not programmed again.
    ///
    /// # Errors
    /// [`Error::NoSession`] when there is none; else as [`begin`](Self::begin).
    ///
    /// # Cancellation safety
    /// As [`Transfer::commit`].
    pub async fn resume(&mut self) -> Result<Transfer<'_, 'b, F, J>, Error> {
        self.run(Task::Resume).await?;
        Ok(Transfer { writer: self })
    }

    pub(crate) async fn run(&mut self, task: Task) -> Result<(), Error> {
        run(&mut self.flash, &mut self.journal, &mut self.core, task, &[], 0).await
    }
}

/// Executes a task; for [`Task::Program`], with a block of `length` bytes that has been padded to whole units. After a
/// block, the caller clears `is_broken` when all that belongs to it is done.
///
/// # Cancellation safety
/// As a power cut between two operations, or in the one under way.
pub(crate) async fn run<F: NorFlash, J: NorFlash>(
    flash: &mut F,
    journal: &mut Journal<'_, J>,
    core: &mut Core<'_>,
    task: Task,
    block: &[u8],
    length: u32,
) -> Result<(), Error> {
    core.start(task, &mut journal.core, block, length)?;
    let mut outcome = Ok(());
    loop {
        outcome = match core.step(&mut journal.core, block, outcome)? {
            Wait::Done => return Ok(()),
            Wait::Journal => {
                let Journal { flash, core } = &mut *journal;
                execute!(core.operation, flash, core.scratch, core.scratch, await)
            }
            Wait::Slot => execute!(core.io.operation, flash, journal.core.scratch, core.data(block), await),
        };
    }
}
