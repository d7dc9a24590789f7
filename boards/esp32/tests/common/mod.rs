//! A flash whose driver asks for what `esp-storage` and the ROM ask for, on a part that keeps to its data sheet.

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag_testkit::flash::{FlashError, FlashGeometry, SimFlash, SizedRegion};

pub(crate) fn sim(capacity: u32) -> SimFlash {
    SimFlash::in_memory(capacity, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF })
}

/// `esp_storage::FlashStorage`'s strict calls: whole words to and from word-aligned buffers. What it would take through 4 KiB
/// of stack or erase in a block of 64 KiB is a failure here.
pub(crate) struct Driver(pub(crate) SizedRegion<4, 4096>);

pub(crate) fn driver(flash: &SimFlash) -> Driver {
    Driver(flash.region(0..flash.capacity()).sized())
}

fn check_words(offset: u32, bytes: &[u8]) {
    assert_eq!(offset % 4, 0, "an unaligned offset");
    assert_eq!(bytes.len() % 4, 0, "half a word");
    assert_eq!(bytes.as_ptr().addr() % 4, 0, "a buffer that is not aligned");
}

impl ErrorType for Driver {
    type Error = FlashError;
}

impl ReadNorFlash for Driver {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check_words(offset, bytes);
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl NorFlash for Driver {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        assert!(to - from <= 4096, "interrupts are off for more than a sector's erase");
        self.0.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_words(offset, bytes);
        self.0.write(offset, bytes)
    }
}
