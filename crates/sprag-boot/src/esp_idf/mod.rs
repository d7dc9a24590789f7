//! ESP-IDF's second-stage bootloader: app partitions, and two entries of otadata that say which of them runs.

use sprag_core::FlashGeometry;

mod control;
mod otadata;
mod table;

pub use control::{EspIdf, chosen};
pub use table::{App, OTA_MAX, Partition, Table};

/// The geometry of an ESP32's flash.
const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 4, erase_size: SECTOR, erased: ERASED };
/// The size of a sector in bytes.
const SECTOR: u32 = 4096;
/// The value of an erased byte.
const ERASED: u8 = 0xFF;
