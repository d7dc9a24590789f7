//! Parts to try things on.
#![allow(dead_code)] // Each test file uses its share.

use sprag_flash::FlashGeometry;
use sprag_testkit::flash::{self, Part, Region, Sectors, SimFlash, Torn};

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

pub(crate) const TORN: [Torn; 8] = Torn::WAYS;

/// A part of `sectors` sectors, or a multiple of that where sectors are tiny.
pub(crate) fn part((write_size, erase_size, erased): Params, sectors: u32) -> (Region, FlashGeometry) {
    let capacity = erase_size.max(256) * sectors;
    let flash = SimFlash::in_memory(capacity, flash::FlashGeometry { write_size, erase_size, erased });
    // Futures can be dropped before every operation.
    flash.yield_before_operations();
    // As on parts with ECC; what is legal there is legal everywhere.
    flash.program_once();
    (flash.region(0..capacity), FlashGeometry { write_size, erase_size, erased })
}

/// A kind of part, with few and small sectors.
#[derive(Debug, Clone)]
pub(crate) struct Small {
    pub(crate) part: Part,
    /// The sectors of the slot: runs, behind which they go on with the size of the last one.
    pub(crate) slot: Vec<sprag_flash::Sectors>,
    pub(crate) erase_size: u32,
}

/// Every preset of the testkit, with sectors of a few blocks; those of the STM32F4 in its proportions.
pub(crate) fn small_parts() -> Vec<Small> {
    let small = |part: Part| {
        let erase_size = match part.name {
            "psoc6" => 512,
            "stm32f4" => 512,
            _ => (part.write_size * 16).max(256),
        };
        let runs = match part.name {
            "stm32f4" => vec![(4, 64), (1, 256)],
            _ => vec![],
        };
        let slot = runs.iter().map(|(count, size)| sprag_flash::Sectors { count: *count, size: *size }).collect();
        let mut sectors: Vec<_> = runs.iter().map(|(count, size)| Sectors { count: *count, size: *size }).collect();
        sectors.push(Sectors { count: 24, size: erase_size });
        Small { part: part.sectors(&sectors), slot, erase_size }
    };
    Part::all().into_iter().map(small).collect()
}

pub(crate) fn operations(region: &Region) -> u64 {
    let stats = region.flash().stats();
    stats.programs + stats.erases
}
