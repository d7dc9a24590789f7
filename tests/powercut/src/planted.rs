//! Writers and hand-overs that are wrong on purpose, to see that the campaign finds them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crc::{CRC_32_ISO_HDLC, Crc};
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, ReadNorFlash};
use sprag::boot::{Area, BootControl, Error, State, Swap};
use sprag_testkit::flash::{FlashError, Region};
use sprag_testkit::mcuboot::{Bootloader, Mark, Method};

use crate::families::Slots;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The magic that stages the image is the first thing that is written, before the image.
    MagicFirst,
    /// A sector that begins with erased bytes is taken for erased, a torn one too.
    TornNotErased,
    /// Bytes are recorded as written while they still stand in a buffer.
    RecordedBeforeWritten,
    /// The last block is padded with erased bytes up to the end of the slot, over the place of the trailer.
    PaddedIntoTrailer,
    /// Every block is programmed twice, to be sure.
    ProgrammedTwice,
    /// The image is staged before it is verified.
    StagedBeforeVerified,
    /// Whatever lies in the journal is taken for a record, without a look at its CRC.
    JournalWithoutCrc,
    /// By offset, the first sector of the secondary slot keeps what the last swap left there.
    FirstSectorKept,
    /// A torn `image_ok` costs the last sector of the primary slot, and not the whole trailer.
    LastSectorErased,
    /// With Infineon's line, `image_ok` stays in the secondary slot's record where there is no magic.
    RecordKept,
    /// With Infineon's line, a torn `image_ok` of the primary slot is taken for one that is not set.
    TornFlagOnTrial,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::MagicFirst,
        Self::TornNotErased,
        Self::RecordedBeforeWritten,
        Self::PaddedIntoTrailer,
        Self::ProgrammedTwice,
        Self::StagedBeforeVerified,
        Self::JournalWithoutCrc,
        Self::FirstSectorKept,
        Self::LastSectorErased,
        Self::RecordKept,
        Self::TornFlagOnTrial,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::MagicFirst => "magic-first",
            Self::TornNotErased => "torn-not-erased",
            Self::RecordedBeforeWritten => "recorded-before-written",
            Self::PaddedIntoTrailer => "padded-into-trailer",
            Self::ProgrammedTwice => "programmed-twice",
            Self::StagedBeforeVerified => "staged-before-verified",
            Self::JournalWithoutCrc => "journal-without-crc",
            Self::FirstSectorKept => "first-sector-kept",
            Self::LastSectorErased => "last-sector-erased",
            Self::RecordKept => "record-kept",
            Self::TornFlagOnTrial => "torn-flag-on-trial",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A region whose driver makes the writer, or the journal, wrong; and that watches where it writes.
#[derive(Debug)]
pub(crate) struct PlantedFlash {
    region: Region,
    bug: Option<Bug>,
    /// Where the image lies.
    image: Range<u32>,
    /// Set when something outside of it is programmed, or a sector that holds none of it is erased.
    strayed: Arc<AtomicBool>,
    /// A write that was promised and not done yet.
    promised: Option<(u32, Vec<u8>)>,
}

impl PlantedFlash {
    pub(crate) fn slot(region: Region, bug: Option<Bug>, image: Range<u32>, strayed: Arc<AtomicBool>) -> Self {
        Self { region, bug: bug.filter(|bug| *bug != Bug::JournalWithoutCrc), image, strayed, promised: None }
    }

    pub(crate) fn journal(region: Region, bug: Option<Bug>) -> Self {
        let image = 0..region.range().end - region.range().start;
        Self {
            bug: bug.filter(|bug| *bug == Bug::JournalWithoutCrc),
            region,
            image,
            strayed: Arc::default(),
            promised: None,
        }
    }

    async fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let end = self.image.end.next_multiple_of(self.region.flash().geometry().write_size);
        let stays = self.image.start <= offset && offset + bytes.len() as u32 <= end;
        self.strayed.fetch_or(!stays, Ordering::Relaxed);
        NorFlash::write(&mut self.region, offset, bytes).await
    }

    async fn keep_promise(&mut self) -> Result<(), FlashError> {
        match self.promised.take() {
            Some((offset, bytes)) => self.program(offset, &bytes).await,
            None => Ok(()),
        }
    }

    fn erased(&self) -> u8 {
        self.region.flash().geometry().erased
    }
}

impl ErrorType for PlantedFlash {
    type Error = FlashError;
}

impl ReadNorFlash for PlantedFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.keep_promise().await?;
        ReadNorFlash::read(&mut self.region, offset, bytes).await?;
        if self.bug == Some(Bug::JournalWithoutCrc) {
            pass_for_record(bytes, self.erased());
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(&self.region)
    }
}

/// Makes the CRC of a record right, whatever lies in it.
fn pass_for_record(bytes: &mut [u8], erased: u8) {
    let Some(&[kind, _, low, high]) = bytes.first_chunk() else { return };
    let end = 4 + usize::from(u16::from_le_bytes([low, high]));
    if bytes.iter().all(|byte| *byte == erased) || !(1..=4).contains(&kind) || bytes.len() < end + 4 {
        return;
    }
    let check = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&bytes[..end]);
    bytes[end..end + 4].copy_from_slice(&check.to_le_bytes());
}

impl NorFlash for PlantedFlash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.keep_promise().await?;
        if self.bug == Some(Bug::TornNotErased) {
            let mut first = [0; 4];
            ReadNorFlash::read(&mut self.region, from, &mut first).await?;
            if first == [self.erased(); 4] {
                return Ok(());
            }
        }
        let stays = from < self.image.end && to > self.image.start;
        self.strayed.fetch_or(!stays, Ordering::Relaxed);
        NorFlash::erase(&mut self.region, from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.keep_promise().await?;
        match self.bug {
            Some(Bug::RecordedBeforeWritten) => {
                self.promised = Some((offset, bytes.to_vec()));
                return Ok(());
            }
            Some(Bug::ProgrammedTwice) => self.program(offset, bytes).await?,
            _ => {}
        }
        self.program(offset, bytes).await?;
        let end = offset + bytes.len() as u32;
        if self.bug == Some(Bug::PaddedIntoTrailer) && end >= self.image.end {
            let sector = self.region.flash().geometry().erase_size;
            let trailer = self.capacity() as u32 - sector;
            let padding = vec![self.erased(); sector as usize];
            // Behind it and in the trailer's sector, which is clean at this time.
            self.program(trailer, &padding).await?;
        }
        Ok(())
    }
}

/// A slot of MCUboot's whose first sector may refuse to be erased.
#[derive(Debug)]
pub(crate) struct PlantedSlot {
    region: Region,
    keeps_first: bool,
}

impl PlantedSlot {
    pub(crate) fn new(region: Region, bug: Option<Bug>) -> Self {
        Self { region, keeps_first: bug == Some(Bug::FirstSectorKept) }
    }
}

impl ErrorType for PlantedSlot {
    type Error = FlashError;
}

impl ReadNorFlash for PlantedSlot {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        ReadNorFlash::read(&mut self.region, offset, bytes).await
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(&self.region)
    }
}

impl NorFlash for PlantedSlot {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        if self.keeps_first && from == 0 {
            return Ok(());
        }
        NorFlash::erase(&mut self.region, from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        NorFlash::write(&mut self.region, offset, bytes).await
    }
}

/// Rows of Infineon's internal flash: the slot that runs or the status partition, as a wrong hand-over takes them.
#[derive(Debug)]
pub(crate) struct PlantedRows {
    region: Region,
    bug: Option<Bug>,
    /// The row that was read last. The hand-over reads the record that counts before it writes a newer one.
    last_read: Vec<u8>,
    /// The record that is being written is not to be.
    keeps_record: bool,
}

impl PlantedRows {
    pub(crate) fn primary(region: Region, bug: Option<Bug>) -> Self {
        Self::new(region, bug.filter(|bug| *bug == Bug::TornFlagOnTrial))
    }

    pub(crate) fn status(region: Region, bug: Option<Bug>) -> Self {
        Self::new(region, bug.filter(|bug| *bug == Bug::RecordKept))
    }

    fn new(region: Region, bug: Option<Bug>) -> Self {
        Self { region, bug, last_read: Vec::new(), keeps_record: false }
    }

    /// Whether the record that was read last has no magic in its trailer.
    fn has_no_magic(&self) -> bool {
        /// Record magic, counter and CRC.
        const BEHIND: usize = 12;
        const MAGIC: usize = 16;
        let trailer = self.last_read.len().checked_sub(BEHIND).map(|end| &self.last_read[..end]);
        trailer.is_some_and(|trailer| trailer.ends_with(&[self.region.flash().geometry().erased; MAGIC]))
    }
}

impl ErrorType for PlantedRows {
    type Error = FlashError;
}

impl ReadNorFlash for PlantedRows {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        const IMAGE_OK_BELOW_END: usize = 24;
        const SET: u8 = 1;
        ReadNorFlash::read(&mut self.region, offset, bytes).await?;
        if self.bug == Some(Bug::TornFlagOnTrial) {
            let erased = self.region.flash().geometry().erased;
            let at = (self.capacity() - IMAGE_OK_BELOW_END).checked_sub(offset as usize);
            if let Some(flag) = at.and_then(|at| bytes.get_mut(at))
                && *flag != SET
            {
                *flag = erased;
            }
        }
        self.last_read = bytes.to_vec();
        Ok(())
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(&self.region)
    }
}

impl NorFlash for PlantedRows {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.keeps_record = self.bug == Some(Bug::RecordKept) && self.has_no_magic();
        if self.keeps_record { Ok(()) } else { NorFlash::erase(&mut self.region, from, to).await }
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        if self.keeps_record { Ok(()) } else { NorFlash::write(&mut self.region, offset, bytes).await }
    }
}

/// A hand-over that may be wrong.
#[derive(Debug)]
pub(crate) struct PlantedBoot<B> {
    boot: B,
    bug: Option<Bug>,
    primary: Region,
}

impl<B: BootControl> PlantedBoot<B> {
    pub(crate) fn new(boot: B, slots: &Slots) -> Self {
        Self { boot, bug: slots.bug, primary: slots.primary.clone() }
    }

    /// Whether `image_ok` in the primary slot is neither set nor erased.
    fn has_torn_flag(&self) -> bool {
        let bootloader = Bootloader::new(self.primary.clone(), self.primary.clone(), Method::Move);
        bootloader.trailer(&self.primary).is_ok_and(|trailer| trailer.image_ok == Mark::Bad)
    }
}

impl<B: BootControl> BootControl for PlantedBoot<B> {
    fn image_region(&self) -> sprag::boot::ImageRegion {
        self.boot.image_region()
    }

    async fn state(&mut self) -> Result<State, Error> {
        self.boot.state().await
    }

    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        self.boot.stage(swap).await
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        self.boot.unstage().await?;
        if self.bug == Some(Bug::MagicFirst) { self.boot.stage(Swap::Test).await } else { Ok(()) }
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        if self.bug == Some(Bug::LastSectorErased) && self.has_torn_flag() {
            let end = self.primary.range().end - self.primary.range().start;
            let sector = self.primary.flash().geometry().erase_size;
            let erased = NorFlash::erase(&mut self.primary, end - sector, end).await;
            return erased.map_err(|error| Error::Flash { area: Area::Primary, kind: error.kind() });
        }
        self.boot.confirm().await
    }

    async fn go_back(&mut self) -> Result<(), Error> {
        self.boot.go_back().await
    }
}
