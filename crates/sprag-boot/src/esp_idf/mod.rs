//! ESP-IDF's second-stage bootloader: app partitions, and two entries of otadata that say which of them runs.

mod control;
mod otadata;
mod table;

pub use control::{EspIdf, chosen};
pub use table::{App, OTA_MAX, Partition, Table};

/// What ESP32 flash is erased in, in bytes.
const SECTOR: u32 = 4096;
/// What an erased byte reads as.
const ERASED: u8 = 0xFF;
