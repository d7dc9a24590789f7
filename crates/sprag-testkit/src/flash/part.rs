//! What kinds of flash parts there are: units, sectors, erased value, what may be programmed twice, and how long it takes.

use super::{FlashGeometry, Sectors};

/// What may be programmed again before the next erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramRule {
    /// Whatever only takes bits away from the erased state.
    Nor,
    /// Anything, by a driver that does not check: bits that are programmed already stay so.
    Unchecked,
    /// Nothing: each unit is programmed once, as its ECC is.
    Once,
    /// Only with all bits programmed, which has a valid ECC.
    OnceOrAll,
}

/// How long operations take: the typical values of the data sheet that `source` names. They are second-hand; what depends
/// on them should be checked against the data sheet of the part in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One program of one unit, in nanoseconds.
    pub program_ns: u64,
    /// Erases of sectors up to a size in bytes, in nanoseconds, by size; the last one stands for larger sectors too.
    pub erase_ns: &'static [(u32, u64)],
    /// Where the numbers are from.
    pub source: &'static str,
}

impl Timing {
    /// Operations that take no time.
    pub const NONE: Self = Self { program_ns: 0, erase_ns: &[], source: "no time passes" };

    /// One erase of a sector of so many bytes, in nanoseconds.
    pub fn erase_of(&self, size: usize) -> u64 {
        let fitting = self.erase_ns.iter().find(|(limit, _)| size <= *limit as usize);
        fitting.or(self.erase_ns.last()).map_or(0, |(_, ns)| *ns)
    }
}

/// A kind of flash part, to make a [`SimFlash`](super::SimFlash) of.
///
/// The presets have the sectors of a common member of the family. Exhaustive tests want fewer and smaller ones, by the
/// same rules: [`sectors`](Self::sectors).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name, in lower case.
    pub name: &'static str,
    /// The unit of programming in bytes, which is also its alignment.
    pub write_size: u32,
    /// Its sectors, in the order of their addresses.
    pub sectors: Vec<Sectors>,
    /// What an erased byte reads as.
    pub erased: u8,
    /// What may be programmed again.
    pub rule: ProgramRule,
    /// Whether each unit has an error-correcting code, so that a torn one may fail to read.
    pub ecc: bool,
    /// How long operations take.
    pub timing: Timing,
}

const MS: u64 = 1_000_000;
const US: u64 = 1_000;

impl Part {
    /// STM32F4 (1 MiB, RM0090): words, sectors of three sizes, no ECC.
    pub fn stm32f4() -> Self {
        let sectors = [(4, 16), (1, 64), (7, 128)].map(|(count, kib)| Sectors { count, size: kib * 1024 });
        let timing = Timing {
            program_ns: 16 * US,
            erase_ns: &[(16 << 10, 250 * MS), (64 << 10, 550 * MS), (128 << 10, 1000 * MS)],
            source: "STM32F405/407 data sheet DS8626, flash memory programming, x32",
        };
        Self { sectors: sectors.to_vec(), timing, ..Self::plain("stm32f4", 4, 1, 1) }
    }

    /// STM32L4 (1 MiB, RM0351): double words with ECC, pages of 2 KiB.
    pub fn stm32l4() -> Self {
        let timing = Timing {
            program_ns: 81_690,
            erase_ns: &[(2048, 22_020 * US)],
            source: "STM32L476 data sheet DS10198, flash memory characteristics",
        };
        Self { rule: ProgramRule::OnceOrAll, ecc: true, timing, ..Self::plain("stm32l4", 8, 512, 2048) }
    }

    /// STM32G0 (128 KiB, RM0444): double words with ECC, once per erase, pages of 2 KiB.
    pub fn stm32g0() -> Self {
        let timing = Timing {
            program_ns: 85 * US,
            erase_ns: &[(2048, 22 * MS)],
            source: "STM32G071 data sheet DS12232, flash memory characteristics",
        };
        Self { rule: ProgramRule::Once, ecc: true, timing, ..Self::plain("stm32g0", 8, 64, 2048) }
    }

    /// STM32U5 (2 MiB, RM0456): quad words with ECC, once per erase, pages of 8 KiB.
    pub fn stm32u5() -> Self {
        let timing = Timing {
            program_ns: 118 * US,
            erase_ns: &[(8192, 1500 * US)],
            source: "STM32U575 data sheet DS13737, flash memory characteristics",
        };
        Self { rule: ProgramRule::Once, ecc: true, timing, ..Self::plain("stm32u5", 16, 256, 8192) }
    }

    /// STM32H5 (2 MiB, RM0481): quad words with ECC, once per erase, sectors of 8 KiB.
    pub fn stm32h5() -> Self {
        let timing = Timing {
            program_ns: 31 * US,
            erase_ns: &[(8192, 2 * MS)],
            source: "STM32H563 data sheet DS14258, flash memory characteristics",
        };
        Self { rule: ProgramRule::Once, ecc: true, timing, ..Self::plain("stm32h5", 16, 256, 8192) }
    }

    /// STM32H7 (2 MiB, RM0433): flash words of 32 bytes with ECC, sectors of 128 KiB.
    pub fn stm32h7() -> Self {
        let timing = Timing {
            program_ns: 130 * US,
            erase_ns: &[(128 << 10, 1100 * MS)],
            source: "STM32H743 data sheet DS12110, flash memory programming, x32",
        };
        Self { rule: ProgramRule::OnceOrAll, ecc: true, timing, ..Self::plain("stm32h7", 32, 16, 128 << 10) }
    }

    /// STM32L0 (192 KiB, RM0367): words with ECC, once per erase, pages of 128 bytes, erased to 0x00.
    pub fn stm32l0() -> Self {
        let timing = Timing {
            program_ns: 3280 * US,
            erase_ns: &[(128, 3280 * US)],
            source: "STM32L073 data sheet DS10685, flash memory and data EEPROM characteristics",
        };
        let rule = ProgramRule::Once;
        Self { erased: 0x00, rule, ecc: true, timing, ..Self::plain("stm32l0", 4, 1536, 128) }
    }

    /// ESP32 with an external SPI NOR of 4 MiB: words by its driver, sectors of 4 KiB.
    pub fn esp32() -> Self {
        // 0.7 ms for a page of 256 bytes.
        let timing = Timing {
            program_ns: 700 * US / 64,
            erase_ns: &[(4096, 45 * MS)],
            source: "Winbond W25Q32FV data sheet, AC electrical characteristics",
        };
        Self { timing, ..Self::plain("esp32", 4, 1024, 4096) }
    }

    /// PSoC 6, internal flash (1 MiB): rows of 512 bytes that are programmed and erased as a whole, erased to 0x00.
    pub fn psoc6() -> Self {
        let timing = Timing {
            program_ns: 5 * MS,
            erase_ns: &[(512, 11 * MS)],
            source: "CY8C62x8 data sheet 002-23185, flash specifications (largest values)",
        };
        Self { erased: 0x00, rule: ProgramRule::Once, timing, ..Self::plain("psoc6", 512, 2048, 512) }
    }

    /// S25FL512S and its like: SPI NOR with sectors of 256 KiB, in units of the 16 bytes that its ECC covers. (Single
    /// bytes can be programmed, but programming a unit twice switches its ECC off.)
    pub fn s25fl() -> Self {
        // 340 us for a page of 512 bytes.
        let timing = Timing {
            program_ns: 340 * US / 32,
            erase_ns: &[(256 << 10, 520 * MS)],
            source: "S25FL512S data sheet 001-98284, program and erase performance",
        };
        Self { timing, ..Self::plain("s25fl", 16, 256, 256 << 10) }
    }

    /// All presets.
    pub fn all() -> [Self; 10] {
        [
            Self::stm32f4(),
            Self::stm32l4(),
            Self::stm32g0(),
            Self::stm32u5(),
            Self::stm32h5(),
            Self::stm32h7(),
            Self::stm32l0(),
            Self::esp32(),
            Self::psoc6(),
            Self::s25fl(),
        ]
    }

    /// The same rules with other sectors.
    #[must_use]
    pub fn sectors(mut self, sectors: &[Sectors]) -> Self {
        self.sectors = sectors.to_vec();
        self
    }

    /// A part of uniform sectors with NOR's rules, no ECC, and no time.
    pub fn uniform(capacity: u32, geometry: FlashGeometry) -> Self {
        let FlashGeometry { write_size, erase_size, erased } = geometry;
        Self { erased, ..Self::plain("part", write_size, capacity / erase_size.max(1), erase_size) }
    }

    /// Its size in bytes.
    pub fn capacity(&self) -> u32 {
        self.sectors.iter().map(|run| run.count * run.size).sum()
    }

    /// Returns its geometry, with the largest sector as the sector.
    pub fn geometry(&self) -> FlashGeometry {
        let erase_size = self.sectors.iter().map(|run| run.size).max().unwrap_or(0);
        FlashGeometry { write_size: self.write_size, erase_size, erased: self.erased }
    }

    fn plain(name: &'static str, write_size: u32, count: u32, size: u32) -> Self {
        let sectors = vec![Sectors { count, size }];
        Self { name, write_size, sectors, erased: 0xFF, rule: ProgramRule::Nor, ecc: false, timing: Timing::NONE }
    }
}
