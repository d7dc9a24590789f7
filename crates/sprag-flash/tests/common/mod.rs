//! Parts to try things on, and futures that are dropped half-way.
#![allow(dead_code)] // Each test file uses its share.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use sprag_flash::Geometry;
use sprag_testkit::flash::{self, Region, SimFlash, Torn};

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
    // Futures can be dropped before every operation.
    flash.yield_before_operations();
    // As on parts with ECC; what is legal there is legal everywhere.
    flash.program_once();
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
