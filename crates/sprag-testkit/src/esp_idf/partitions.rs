//! The partition table, as the bootloader reads it.
//!
//! Source: ESP-IDF, `esp_flash_partitions.h`, `flash_partitions.c`, `bootloader_utility.c`.

use std::ops::Range;

use md5::{Digest, Md5};

use super::App;

/// `MAX_OTA_SLOTS`.
const SLOTS: usize = 16;
const ROW: usize = 32;
/// `ESP_PARTITION_TABLE_MAX_ENTRIES`.
const ROWS: usize = 0xC00 / ROW;

/// The partitions that the bootloader goes by, `bootloader_state_t`. An empty range is a partition that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partitions {
    /// `ota_info`.
    pub otadata: Range<u32>,
    /// `factory`.
    pub factory: Range<u32>,
    /// `test`.
    pub test: Range<u32>,
    /// `ota`. There can be gaps.
    pub ota: [Range<u32>; SLOTS],
    /// `app_count`: how many rows of the table name an `ota_n`, which is more than there are when one is named twice.
    pub count: u32,
}

impl Partitions {
    /// Returns a map with otadata at this address, and these app partitions.
    ///
    /// # Panics
    /// There are more than 16 of them.
    pub fn new(otadata: u32, factory: Option<Range<u32>>, ota: impl IntoIterator<Item = Range<u32>>) -> Self {
        let mut map =
            Self { otadata: otadata..otadata + 0x2000, factory: factory.unwrap_or_default(), ..Self::default() };
        for range in ota {
            map.ota[map.count as usize] = range;
            map.count += 1;
        }
        map
    }

    /// Reads a table: `esp_partition_table_verify` and `bootloader_utility_load_partition_table`. `flash_size` is the
    /// size of the whole flash. Returns `None` when the bootloader refuses the table.
    pub fn read(table: &[u8], flash_size: u32) -> Option<Self> {
        let rows: Vec<&[u8]> = table.chunks_exact(ROW).take(ROWS).collect();
        let word = |row: &[u8], at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        let mut has_digest = false;
        let mut length = None;
        for (index, row) in rows.iter().enumerate() {
            match row[..4] {
                [0xAA, 0x50, ..] => {
                    let (offset, size) = (word(row, 4), word(row, 8));
                    if offset.checked_add(size).is_none_or(|end| end > flash_size) {
                        return None;
                    }
                }
                [0xEB, 0xEB, ..] => {
                    let digest = Md5::digest(&table[..index * ROW]);
                    if has_digest || row[16..] != digest[..] {
                        return None;
                    }
                    has_digest = true;
                }
                [0xFF, 0xFF, 0xFF, 0xFF] if index > 0 => {
                    length = Some(index - usize::from(has_digest));
                    break;
                }
                _ => return None,
            }
        }
        let mut map = Self::default();
        // The row of the digest is counted out, but not stepped over: the last row is lost when the digest is not the
        // last.
        for row in &rows[..length?] {
            let (offset, size) = (word(row, 4), word(row, 8));
            let range = offset..offset.wrapping_add(size);
            match (row[2], row[3]) {
                (0, 0x00) => map.factory = range,
                (0, 0x20) => map.test = range,
                (0, subtype @ 0x10..=0x1F) => {
                    map.ota[usize::from(subtype & 0x0F)] = range;
                    map.count += 1;
                }
                (1, 0x00) => map.otadata = range,
                _ => {}
            }
        }
        Some(map)
    }

    /// Returns an app's partition; `None` when there is none that the bootloader would load from.
    pub fn app(&self, app: App) -> Option<Range<u32>> {
        let range = match app {
            App::Factory => self.factory.clone(),
            App::Test => self.test.clone(),
            App::Ota(index) if index < SLOTS && (index as u32) < self.count => self.ota[index].clone(),
            App::Ota(_) => return None,
        };
        (!range.is_empty()).then_some(range)
    }

    /// Returns the app whose partition begins there.
    pub fn app_at(&self, offset: u32) -> Option<App> {
        let slots = (0..SLOTS).map(App::Ota);
        [App::Factory, App::Test]
            .into_iter()
            .chain(slots)
            .find(|app| self.app(*app).is_some_and(|range| range.start == offset))
    }
}
