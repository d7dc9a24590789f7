//! The driver: erases and programs through system calls, one at a time, and waits for each of them.

use core::ops::Range;

use embedded_hal_async::delay::DelayNs;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use crate::call::{self, Call};
use crate::error::Error;
use crate::part::{Erase, FLASH, Part, ROW, erases};

const ROW_BYTES: u32 = 512;
const CONTEXT_BYTES: u32 = 16;
/// How long is waited between two looks at the channel. An erase or a program takes 5 to 20 ms.
const POLL_US: u32 = 500;
/// How many looks are taken before it is given up: 200 ms, ten times what a call takes at most.
const POLLS: u32 = 400;

/// What a system call goes through: a channel of the IPC block, memory in SRAM that the ROM reads and writes, the flash
/// as it is read, and its cache.
///
/// Implemented on the registers of each die by the features `psoc6-01` to `psoc6-04`.
pub trait SystemCalls {
    /// Whether calls are made in blocking mode: the flash can't be read until they are done, and
    /// [`start`](Self::start) returns only then.
    const BLOCKING: bool;

    /// Reads the channel's ACQUIRE register: whether the lock is ours now. The ROM lets go of it.
    fn acquire(&mut self) -> bool;

    /// Puts the call into SRAM, its address into the channel, and notifies the ROM. Only after
    /// [`acquire`](Self::acquire).
    fn start(&mut self, call: Call);

    /// Whether the channel is locked: by the call that was started, until it is done.
    fn is_locked(&mut self) -> bool;

    /// The first word of the call's context.
    fn status(&mut self) -> u32;

    /// Puts the data of a row into SRAM, where the ROM programs it from. Only while no call is under way.
    fn set_row(&mut self, data: &[u8; ROW]);

    /// Where the context and the row lie.
    fn addresses(&self) -> [u32; 2];

    /// Reads flash, from an address that the caller has checked.
    fn read(&mut self, address: u32, bytes: &mut [u8]);

    /// Forgets what the flash's cache and buffers hold.
    fn clear_cache(&mut self);

    /// Clears the watchdog's match: at least two of its periods pass before it resets.
    fn feed_watchdog(&mut self);
}

/// What the two cores execute from flash, as ranges of addresses: nothing is changed in a sector that one of them runs
/// from, for that is a hard fault.
///
/// The CM4 is the one that makes the calls. The CM0+ must be up, with its interrupts enabled, for the ROM runs on it: asleep
/// in its own code is best, which is how Infineon's MCUboot leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cores {
    /// What this core executes and reads: code, constants and vectors.
    pub cm4: Range<u32>,
    /// What the CM0+ executes: the bootloader that it came from, where there is nothing else.
    pub cm0p: Range<u32>,
}

/// The application flash of a PSoC 6, as one NOR flash: read by the byte, programmed and erased by rows of 512 bytes. An
/// erased byte is 0x00.
///
/// Offsets are counted from the start of the flash, 0x1000_0000. Slots are parts of it:
/// `embassy_embedded_hal::flash::partition::Partition`.
///
/// # Cancellation safety
/// Every future may be dropped. The system call that is under way goes on without it; whatever is done next waits for its
/// end first. The row that was being changed is as after a power cut.
#[derive(Debug)]
pub struct Flash<S, D> {
    silicon: S,
    delay: D,
    part: Part,
    cores: Cores,
    /// A call was started, and its end has not been seen.
    under_way: bool,
}

impl<S: SystemCalls, D: DelayNs> Flash<S, D> {
    /// The flash of this part, while the cores execute what is said here.
    ///
    /// # Errors
    /// [`Error::NotInSram`].
    pub fn new(silicon: S, delay: D, part: Part, cores: Cores) -> Result<Self, Error> {
        let [context, row] = silicon.addresses();
        for (address, length) in [(context, CONTEXT_BYTES), (row, ROW_BYTES)] {
            if !part.is_sram(address, length) {
                return Err(Error::NotInSram { address });
            }
        }
        Ok(Self { silicon, delay, part, cores, under_way: false })
    }

    /// Waits until no system call is under way: to be called before a reset, which would leave a row half-changed.
    ///
    /// # Errors
    /// [`Error::Timeout`]. How a call ended whose future was dropped is not told.
    ///
    /// # Cancellation safety
    /// May be dropped and called again.
    pub async fn idle(&mut self) -> Result<(), Error> {
        match self.end().await {
            Err(Error::Timeout) => Err(Error::Timeout),
            _ => Ok(()),
        }
    }

    /// Makes a call and waits for its end.
    async fn make(&mut self, call: Call) -> Result<(), Error> {
        self.acquire().await?;
        // A reset in the middle of a call leaves a row half-changed.
        self.silicon.feed_watchdog();
        self.under_way = true;
        self.silicon.start(if S::BLOCKING { call.blocking() } else { call });
        self.end().await
    }

    /// Takes the channel.
    async fn acquire(&mut self) -> Result<(), Error> {
        for _ in 0..POLLS {
            if self.silicon.acquire() {
                return Ok(());
            }
            self.delay.delay_us(POLL_US).await;
        }
        Err(Error::Busy)
    }

    /// Waits for the end of the call that is under way, if one is, and says how it ended.
    async fn end(&mut self) -> Result<(), Error> {
        if !self.under_way {
            return Ok(());
        }
        for _ in 0..POLLS {
            if !self.silicon.is_locked() {
                let done = call::is_done(self.silicon.status());
                if done != Ok(false) {
                    self.under_way = false;
                    self.silicon.clear_cache();
                    return done.map(|_| ());
                }
            }
            self.delay.delay_us(POLL_US).await;
        }
        Err(Error::Timeout)
    }

    /// Refuses what would take a core's code away from under it.
    fn may_change(&self, target: &Range<u32>) -> Result<(), Error> {
        // In blocking mode nobody executes from flash at all.
        let codes = [&self.cores.cm4, &self.cores.cm0p].into_iter().filter(|_| !S::BLOCKING);
        for code in codes {
            if let Some(sector) = self.part.collision(code, target) {
                return Err(Error::Executing { sector });
            }
        }
        Ok(())
    }

    /// A range of whole rows that may be changed.
    fn rows(&self, offset: u32, length: usize) -> Result<Range<u32>, Error> {
        let start = self.part.address(offset, length, ROW_BYTES)?;
        let length = u32::try_from(length).map_err(|_| Error::OutOfBounds)?;
        let rows = start..start.wrapping_add(length);
        self.may_change(&rows)?;
        Ok(rows)
    }
}

impl<S, D> ErrorType for Flash<S, D> {
    type Error = Error;
}

impl<S: SystemCalls, D: DelayNs> ReadNorFlash for Flash<S, D> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        let address = self.part.address(offset, bytes.len(), 1)?;
        // A sector can't be read while a row of it is changed.
        self.idle().await?;
        self.silicon.read(address, bytes);
        Ok(())
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.part.flash).unwrap_or(usize::MAX)
    }
}

impl<S: SystemCalls, D: DelayNs> NorFlash for Flash<S, D> {
    const WRITE_SIZE: usize = ROW;
    const ERASE_SIZE: usize = ROW;

    /// Erases rows; eight that lie together on a boundary of eight by one call.
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let length = to.checked_sub(from).ok_or(Error::OutOfBounds)?;
        let rows = self.rows(from, usize::try_from(length).map_err(|_| Error::OutOfBounds)?)?;
        self.idle().await?;
        for erase in erases(rows) {
            self.make(match erase {
                Erase::Row(address) => Call::erase_row(address),
                Erase::Subsector(address) => Call::erase_subsector(address),
            })
            .await?;
        }
        Ok(())
    }

    /// Programs rows, which must be erased. The bytes may lie anywhere: they are copied into SRAM.
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let rows = self.rows(offset, bytes.len())?;
        // The row in SRAM may still be needed by a call whose future was dropped.
        self.idle().await?;
        let [_, data] = self.silicon.addresses();
        let (chunks, _) = bytes.as_chunks::<ROW>();
        for (address, chunk) in rows.step_by(ROW).zip(chunks) {
            self.silicon.set_row(chunk);
            self.make(Call::program_row(address, data)).await?;
        }
        Ok(())
    }
}

/// Where in the flash an address lies, as the offset that [`Flash`] counts in.
pub const fn offset(address: u32) -> u32 {
    address.wrapping_sub(FLASH)
}
