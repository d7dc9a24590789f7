//! The CRC algorithms of journals and bootloaders.
//!
//! They work without tables: a table is 1 KiB of flash, and no record is longer than a few hundred bytes.

use ::crc::{Algorithm, CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc, NoTable};

/// CRC-32 (ISO-HDLC), of Sprag's journal and of ESP-IDF's ECDSA signature block.
pub const CRC_32: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// CRC-32C (Castagnoli), of Infineon's status partition.
pub const CRC_32C: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// CRC-32 from an initial value of 0, of ESP-IDF's otadata: `esp_rom_crc32_le(UINT32_MAX, …)`.
pub const CRC_32_FROM_0: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&Algorithm {
    width: 32,
    poly: 0x04c1_1db7,
    init: 0,
    refin: true,
    refout: true,
    xorout: 0xffff_ffff,
    check: 0xd202_d277,
    residue: 0,
});
