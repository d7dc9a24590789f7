//! What the flash of a part is.

use core::ops::Range;

use sprag_flash::{FlashGeometry, Sectors};

/// Where the flash of every STM32 lies.
pub const BASE: u32 = 0x0800_0000;

/// What the flash of a part is, and its RAM. Those of a part that is not here are in its data sheet and in `stm32-metapac`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// As ST writes it, without package and temperature.
    pub name: &'static str,
    /// The sectors from [`BASE`] on, over both banks.
    pub sectors: &'static [Sectors],
    /// What is programmed at once, in bytes.
    pub write_size: u32,
    /// What an erased byte reads as.
    pub erased: u8,
    /// What happens where a unit can't be read.
    pub ecc: Ecc,
    /// The RAM that a firmware has its data in.
    pub ram: Ram,
    /// What the vector table must be aligned to: its size, rounded up to a power of two.
    pub vector_align: u32,
}

/// What happens where a unit of flash can't be read, because a power cut left it half programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ecc {
    /// The flash has no ECC: it reads as something.
    None,
    /// A non-maskable interrupt, with `ECCD` set.
    Nmi,
    /// A bus fault.
    BusFault,
}

/// A stretch of RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ram {
    /// Its address.
    pub origin: u32,
    /// Its size in bytes.
    pub size: u32,
}

const KIB: u32 = 1024;

const fn run(count: u32, kib: u32) -> Sectors {
    Sectors { count, size: kib * KIB }
}

impl Part {
    /// 2 MiB in two banks of uneven sectors.
    pub const STM32F429ZI: Self = Self {
        name: "STM32F429ZI",
        sectors: &[run(4, 16), run(1, 64), run(7, 128), run(4, 16), run(1, 64), run(7, 128)],
        write_size: 4,
        erased: 0xFF,
        ecc: Ecc::None,
        ram: Ram { origin: 0x2000_0000, size: 192 * KIB },
        vector_align: 512,
    };
    /// 1 MiB of uneven sectors.
    pub const STM32F407VG: Self = Self {
        name: "STM32F407VG",
        sectors: &[run(4, 16), run(1, 64), run(7, 128)],
        ram: Ram { origin: 0x2000_0000, size: 112 * KIB },
        ..Self::STM32F429ZI
    };
    /// 1 MiB in two banks.
    pub const STM32L476RG: Self = Self {
        name: "STM32L476RG",
        sectors: &[run(512, 2)],
        write_size: 8,
        erased: 0xFF,
        ecc: Ecc::Nmi,
        ram: Ram { origin: 0x2000_0000, size: 96 * KIB },
        vector_align: 512,
    };
    /// 512 KiB in two banks.
    pub const STM32G0B1RE: Self = Self {
        name: "STM32G0B1RE",
        sectors: &[run(256, 2)],
        ram: Ram { origin: 0x2000_0000, size: 144 * KIB },
        vector_align: 256,
        ..Self::STM32L476RG
    };
    /// 2 MiB in two banks.
    pub const STM32H563ZI: Self = Self {
        name: "STM32H563ZI",
        sectors: &[run(256, 8)],
        write_size: 16,
        erased: 0xFF,
        ecc: Ecc::Nmi,
        ram: Ram { origin: 0x2000_0000, size: 640 * KIB },
        vector_align: 1024,
    };
    /// 2 MiB in two banks.
    pub const STM32U575ZI: Self =
        Self { name: "STM32U575ZI", ram: Ram { origin: 0x2000_0000, size: 768 * KIB }, ..Self::STM32H563ZI };
    /// 2 MiB in two banks.
    pub const STM32H743ZI: Self = Self {
        name: "STM32H743ZI",
        sectors: &[run(16, 128)],
        write_size: 32,
        erased: 0xFF,
        ecc: Ecc::BusFault,
        // The one that DMA reaches.
        ram: Ram { origin: 0x2400_0000, size: 512 * KIB },
        vector_align: 1024,
    };

    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::STM32F429ZI,
        Self::STM32F407VG,
        Self::STM32L476RG,
        Self::STM32G0B1RE,
        Self::STM32H563ZI,
        Self::STM32U575ZI,
        Self::STM32H743ZI,
    ];

    /// The size of the flash in bytes.
    pub const fn size(&self) -> u32 {
        let (mut size, mut index) = (0, 0);
        while index < self.sectors.len() {
            size += self.sectors[index].count * self.sectors[index].size;
            index += 1;
        }
        size
    }

    /// The sector that a byte lies in; none behind the flash.
    pub const fn sector(&self, offset: u32) -> Option<Range<u32>> {
        let (mut from, mut index) = (0, 0);
        while index < self.sectors.len() {
            let Sectors { count, size } = self.sectors[index];
            let end = from + count * size;
            if offset < end {
                let start = from + (offset - from) / size * size;
                return Some(start..start + size);
            }
            (from, index) = (end, index + 1);
        }
        None
    }

    /// Whether a range is whole sectors of this part.
    pub const fn is_whole(&self, range: &Range<u32>) -> bool {
        let starts = match self.sector(range.start) {
            Some(sector) => sector.start == range.start,
            None => range.start == self.size(),
        };
        let ends = match self.sector(range.end) {
            Some(sector) => sector.start == range.end,
            None => range.end == self.size(),
        };
        starts && ends && range.start <= range.end
    }

    /// The size of the largest sector in a range: what [`Region`](crate::Region) has for its `ERASE_SIZE`.
    pub const fn erase_size(&self, range: &Range<u32>) -> u32 {
        let (mut largest, mut at) = (0, range.start);
        while at < range.end {
            let Some(sector) = self.sector(at) else { break };
            if sector.end - sector.start > largest {
                largest = sector.end - sector.start;
            }
            at = sector.end;
        }
        largest
    }

    /// Whether the sectors in a range are of one size.
    pub const fn is_even(&self, range: &Range<u32>) -> bool {
        let (size, mut at) = (self.erase_size(range), range.start);
        while at < range.end {
            let Some(sector) = self.sector(at) else { return false };
            if sector.end - sector.start != size {
                return false;
            }
            at = sector.end;
        }
        true
    }

    /// The units of a range of even sectors, for a slot writer or a journal.
    pub const fn geometry(&self, range: &Range<u32>) -> FlashGeometry {
        FlashGeometry { write_size: self.write_size, erase_size: self.erase_size(range), erased: self.erased }
    }
}
