//! The linker's view of a map: `memory.x` for cortex-m-rt.

use core::fmt;

use crate::map::{Bootloader, Map};
use crate::part::BASE;

/// Where a firmware for embassy-boot has its version, in bytes from its start: `sprag::verify::Raw(VersionAt::Offset(..))`.
/// Behind the vector table of every part here.
pub const VERSION_AT: u32 = 0x400;

/// A `memory.x`, to be written by a build script: see [`Map::firmware_x`] and [`Map::bootloader_x`].
#[derive(Debug, Clone, Copy)]
pub struct MemoryX<'m> {
    map: &'m Map,
    firmware: bool,
}

impl Map {
    /// `memory.x` of the firmware. For embassy-boot it takes the 8 bytes in the section `.sprag_version`, which must be
    /// there, to [`VERSION_AT`].
    pub const fn firmware_x(&self) -> MemoryX<'_> {
        MemoryX { map: self, firmware: true }
    }

    /// `memory.x` of the bootloader.
    pub const fn bootloader_x(&self) -> MemoryX<'_> {
        MemoryX { map: self, firmware: false }
    }
}

impl fmt::Display for MemoryX<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Map { part, kind, bootloader, active, header, .. } = self.map;
        let (start, end) = match self.firmware {
            true => (active.start + header, active.end),
            false => (bootloader.start, bootloader.end),
        };
        writeln!(f, "/* {}, {kind:?}. Written by sprag-stm32. */", part.name)?;
        writeln!(f, "MEMORY")?;
        writeln!(f, "{{")?;
        writeln!(f, "  FLASH : ORIGIN = {:#010x}, LENGTH = {:#x}", BASE + start, end - start)?;
        writeln!(f, "  RAM   : ORIGIN = {:#010x}, LENGTH = {:#x}", part.ram.origin, part.ram.size)?;
        writeln!(f, "}}")?;
        if self.firmware && *kind == Bootloader::EmbassyBoot {
            writeln!(f, "_stext = ORIGIN(FLASH) + {:#x};", VERSION_AT + 8)?;
            writeln!(f, "SECTIONS")?;
            writeln!(f, "{{")?;
            writeln!(f, "  .sprag_version ORIGIN(FLASH) + {VERSION_AT:#x} : {{ KEEP(*(.sprag_version)) }} > FLASH")?;
            writeln!(f, "}} INSERT AFTER .vector_table;")?;
        }
        Ok(())
    }
}
