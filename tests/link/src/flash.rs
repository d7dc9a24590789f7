//! Flash whose operations take the time that the data sheet says, and that the power can fail in.

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag_testkit::flash::{FlashError, Region, Torn};
use sprag_testkit::time::VirtualTime;

use crate::clock::sleep;

/// A region of a part, in virtual time. Reads take none: flash is read much faster than it is written.
///
/// An operation that is dropped is one that the power failed in: what was done by then is done, the next unit or sector is
/// torn, and the part is dead until its power returns.
#[derive(Debug, Clone)]
pub struct TimedFlash {
    region: Region,
    time: VirtualTime,
}

impl TimedFlash {
    /// The region, by this clock.
    pub fn new(region: Region, time: &VirtualTime) -> Self {
        Self { region, time: time.clone() }
    }

    /// Sizes of the sectors from one place to another, both from the start of the region.
    fn sectors(&self, from: u32, to: u32) -> Vec<u32> {
        let start = self.region.range().start;
        let (from, to) = (start + from, start + to);
        let (mut at, mut sizes) = (0, Vec::new());
        for run in self.region.flash().part().sectors {
            for _ in 0..run.count {
                if at >= from && at < to {
                    sizes.push(run.size);
                }
                at += run.size;
            }
        }
        sizes
    }
}

/// An operation under way: a list of steps, and what does them all.
struct Operation<'f, F: FnMut(&Region) -> Result<(), FlashError>> {
    flash: &'f TimedFlash,
    began_ns: u64,
    steps_ns: Vec<u64>,
    act: F,
    done: bool,
}

impl<F: FnMut(&Region) -> Result<(), FlashError>> Operation<'_, F> {
    async fn run(mut self) -> Result<(), FlashError> {
        sleep(&self.flash.time, self.steps_ns.iter().sum()).await;
        self.done = true;
        (self.act)(&self.flash.region)
    }
}

impl<F: FnMut(&Region) -> Result<(), FlashError>> Drop for Operation<'_, F> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut left = self.flash.time.nanoseconds() - self.began_ns;
        let whole = self.steps_ns.iter().take_while(|step| {
            let over = **step <= left;
            left = left.saturating_sub(**step);
            over
        });
        self.flash.region.flash().cut_power_after(whole.count() as u64, Torn::Half);
        let _ = (self.act)(&self.flash.region);
    }
}

impl ErrorType for TimedFlash {
    type Error = FlashError;
}

impl ReadNorFlash for TimedFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.region.read(offset, bytes).await
    }

    fn capacity(&self) -> usize {
        self.region.capacity()
    }
}

impl NorFlash for TimedFlash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let timing = self.region.flash().part().timing;
        let steps_ns = self.sectors(from, to).into_iter().map(|size| timing.erase_of(size as usize)).collect();
        let act = |region: &Region| region.erase_now(from, to);
        Operation { flash: self, began_ns: self.time.nanoseconds(), steps_ns, act, done: false }.run().await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let part = self.region.flash().part();
        let steps_ns = vec![part.timing.program_ns; bytes.len() / part.write_size as usize];
        let act = |region: &Region| region.write_now(offset, bytes);
        Operation { flash: self, began_ns: self.time.nanoseconds(), steps_ns, act, done: false }.run().await
    }
}

#[cfg(test)]
mod tests {
    use embassy_futures::select::select;
    use sprag_testkit::flash::{Part, SimFlash};

    use super::*;

    #[test]
    fn operations_take_the_time_of_the_data_sheet() {
        let (time, flash) = (VirtualTime::new(), SimFlash::of(Part::stm32f4()));
        let mut timed = TimedFlash::new(flash.region(16 << 10..256 << 10), &time);
        time.block_on(async {
            timed.erase(32 << 10, 240 << 10).await.unwrap();
            // One sector of 16, one of 64 and one of 128 KiB.
            assert_eq!(time.nanoseconds(), (250 + 550 + 1000) * 1_000_000);
            timed.write(32 << 10, &[0; 4096]).await.unwrap();
            assert_eq!(time.nanoseconds(), 1_800_000_000 + 1024 * 16_000);
        });
        assert_eq!(flash.stats().time_ns, time.nanoseconds());
    }

    #[test]
    fn a_dropped_operation_is_torn_where_it_was() {
        let (time, flash) = (VirtualTime::new(), SimFlash::of(Part::stm32f4()));
        let mut timed = TimedFlash::new(flash.region(0..16 << 10), &time);
        time.block_on(async {
            let power = sleep(&time, 10 * 16_000 + 5);
            select(timed.write(0, &[0; 4096]), power).await;
        });
        assert!(flash.is_dead());
        flash.power_on();
        let found = flash.contents();
        assert_eq!(found[..42], [0; 42]);
        assert_eq!(found[42..4096], [0xFF; 4054]);
    }
}
