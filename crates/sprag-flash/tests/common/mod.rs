//! Parts to try things on, and futures that are dropped half-way.
#![allow(dead_code)] // Each test file uses its share.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag_flash::Geometry;
use sprag_testkit::flash::{self, FlashError, Region, SimFlash, Torn};

/// Write size, erase size and erased value.
pub(crate) type Params = (u32, u32, u8);

pub(crate) const PARTS: [Params; 7] = [
    (1, 256, 0xFF),
    (4, 256, 0xFF),
    (8, 256, 0xFF),
    (8, 256, 0x00),
    (16, 512, 0xFF),
    (32, 512, 0xFF),
    (64, 64, 0x00), // rows like PSoC 6's: a sector is one unit, so a bank needs several
];

pub(crate) const TORN: [Torn; 4] = [Torn::Nothing, Torn::Half, Torn::Bits(1), Torn::Bits(2)];

/// A part of `sectors` sectors, or a multiple of that where sectors are tiny.
pub(crate) fn part((write_size, erase_size, erased): Params, sectors: u32) -> (Region, Geometry) {
    let capacity = erase_size.max(256) * sectors;
    let flash = SimFlash::in_memory(flash::Geometry { capacity, write_size, erase_size, erased });
    (flash.region(0..capacity), Geometry { write_size, erase_size, erased })
}

pub(crate) fn operations(region: &Region) -> u64 {
    let stats = region.flash().stats();
    stats.programs + stats.erases
}

/// Polls a future as long as the budget lasts, then drops it.
pub(crate) fn poll<F: Future>(future: F, budget: &mut u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while *budget > 0 {
        *budget -= 1;
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

/// Flash that is pending once before each operation, so that a future can be dropped there.
pub(crate) struct Slow {
    inner: Region,
    pending: bool,
}

impl Slow {
    pub(crate) fn new(inner: Region) -> Self {
        Self { inner, pending: false }
    }

    async fn once(&mut self) {
        poll_fn(|_| {
            self.pending = !self.pending;
            if self.pending { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

impl ErrorType for Slow {
    type Error = FlashError;
}

impl ReadNorFlash for Slow {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.once().await;
        self.inner.read_now(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }
}

impl NorFlash for Slow {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.once().await;
        self.inner.erase_now(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.once().await;
        self.inner.write_now(offset, bytes)
    }
}
