//! A system call as the ROM takes it: four words in SRAM, of which it overwrites the first with a status.
//!
//! Source: Infineon's peripheral driver library (`cy_flash.c`), "SROM API".

use crate::error::Error;

/// The four words of a system call's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Call([u32; 4]);

/// The ROM does not give the caller's core back before it is done.
const BLOCKING: u32 = 1 << 8;
/// The data to be programmed lies in SRAM.
const FROM_SRAM: u32 = 0x100;

impl Call {
    /// Erases a row.
    pub(crate) const fn erase_row(address: u32) -> Self {
        Self([0x1C << 24, address, 0, 0])
    }

    /// Erases eight rows that lie together.
    pub(crate) const fn erase_subsector(address: u32) -> Self {
        Self([0x1D << 24, address, 0, 0])
    }

    /// Programs an erased row with the 512 bytes at `data`.
    pub(crate) const fn program_row(address: u32, data: u32) -> Self {
        Self([0x06 << 24, FROM_SRAM, address, data])
    }

    /// The same call, in blocking mode.
    pub(crate) const fn blocking(self) -> Self {
        let Self([opcode, first, second, third]) = self;
        Self([opcode | BLOCKING, first, second, third])
    }

    /// The words as they go into SRAM.
    pub const fn words(self) -> [u32; 4] {
        self.0
    }
}

/// What the first word of the context says once the ROM has let go of the channel: whether it is done.
pub(crate) const fn is_done(status: u32) -> Result<bool, Error> {
    match status {
        0xA000_0000 => Ok(true),
        0xA000_0009 => Ok(false),
        0xF000_0001 => Err(Error::Protection),
        0xF000_0003 => Err(Error::PageLatch),
        0xF000_0004 => Err(Error::Address),
        0xF000_0005 => Err(Error::RowProtected),
        0xF000_0022 => Err(Error::Comparison),
        status => Err(Error::Unknown { status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that Infineon's driver library puts there: opcode in the top byte, bit 8 for blocking mode.
    #[test]
    fn words_are_the_ones_of_infineons_driver() {
        assert_eq!(Call::erase_row(0x1010_E000).words(), [0x1C00_0000, 0x1010_E000, 0, 0]);
        assert_eq!(Call::erase_subsector(0x1010_E000).words(), [0x1D00_0000, 0x1010_E000, 0, 0]);
        let program = Call::program_row(0x1010_E200, 0x0800_1000);
        assert_eq!(program.words(), [0x0600_0000, 0x100, 0x1010_E200, 0x0800_1000]);
        assert_eq!(program.blocking().words(), [0x0600_0100, 0x100, 0x1010_E200, 0x0800_1000]);
    }

    #[test]
    fn every_status_that_is_documented_has_a_meaning_and_no_other_one_counts_as_success() {
        assert_eq!(is_done(0xA000_0000), Ok(true));
        assert_eq!(is_done(0xA000_0009), Ok(false));
        let errors = [1, 3, 4, 5, 0x22].map(|code| is_done(0xF000_0000 | code));
        let expected =
            [Error::Protection, Error::PageLatch, Error::Address, Error::RowProtected, Error::Comparison].map(Err);
        assert_eq!(errors, expected);
        // The opcode itself, which is there until the ROM has looked at it; zero; success with something else in it.
        for status in [0x1C00_0000, 0, 0xA000_0001, 0xF000_0002, u32::MAX] {
            assert_eq!(is_done(status), Err(Error::Unknown { status }));
        }
    }
}
