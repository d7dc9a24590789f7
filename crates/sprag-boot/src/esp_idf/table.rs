//! The partition table.
//!
//! Format: ESP-IDF, `components/partition_table` and `esp_flash_partitions.h`; checked as `esp_partition_table_verify`
//! does it.

use embedded_storage_async::nor_flash::ReadNorFlash;
use md5::{Digest, Md5};

use super::SECTOR;
use crate::error::{Area, Error};
use crate::flash;

/// The most app partitions for updates that there can be: `ota_0` to `ota_15`.
pub const OTA_MAX: usize = 16;

const ENTRY: u32 = 32;
/// The table, its MD5 and its end, in bytes.
const SIZE_MAX: u32 = 0xC00;

/// An app partition by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum App {
    /// `factory`.
    Factory,
    /// `test`.
    Test,
    /// `ota_0` to `ota_15`.
    Ota(u8),
}

/// Where a partition lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Partition {
    /// In bytes from the start of the flash.
    pub offset: u32,
    /// In bytes.
    pub size: u32,
}

/// What of a partition table matters to an update: the app partitions, and otadata.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Table {
    otadata: Option<Partition>,
    factory: Option<Partition>,
    test: Option<Partition>,
    ota: [Option<Partition>; OTA_MAX],
    count: u8,
}

impl Table {
    /// Where the table lies unless `CONFIG_PARTITION_TABLE_OFFSET` says otherwise.
    pub const OFFSET: u32 = 0x8000;

    /// Reads the table at `offset` of the whole flash, and checks it as the bootloader does: magic of each entry, MD5
    /// where there is one, partitions within the flash, a proper end. Beyond that, `ota_n` and otadata must be whole
    /// sectors, `ota_0` to `ota_n` without a gap, for the bootloader counts them, and the MD5 the last row.
    ///
    /// # Errors
    /// [`Error::Table`] names the entry; [`Error::TableDigest`], [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn read<F: ReadNorFlash>(flash: &mut F, offset: u32) -> Result<Self, Error> {
        let mut table = Self { otadata: None, factory: None, test: None, ota: [None; OTA_MAX], count: 0 };
        walk(flash, offset, |entry| table.take(entry)).await?;
        table.without_gaps()
    }

    /// Where the first partition of this label lies, whatever it holds, in the table at `offset`: an application's own. It
    /// is checked as [`read`](Self::read) checks all of them: magic, MD5, within the flash.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn labelled<F: ReadNorFlash>(
        flash: &mut F,
        offset: u32,
        label: &str,
    ) -> Result<Option<Partition>, Error> {
        let mut found = None;
        walk(flash, offset, |entry| {
            let end = entry.label.iter().position(|byte| *byte == 0).unwrap_or(entry.label.len());
            if found.is_none() && entry.label.get(..end) == Some(label.as_bytes()) {
                found = Some(entry.partition);
            }
            Some(())
        })
        .await?;
        Ok(found)
    }

    /// Takes an entry up; `None` when it can't be.
    fn take(&mut self, entry: &Entry) -> Option<()> {
        const APP: u8 = 0;
        const DATA: u8 = 1;
        let Entry { kind, subtype, partition, .. } = *entry;
        let place = match (kind, subtype) {
            (APP, 0x00) => &mut self.factory,
            (APP, 0x10..=0x1F) => {
                self.count = self.count.checked_add(1)?;
                self.ota.get_mut(usize::from(subtype & 0x0F))?
            }
            (APP, 0x20) => &mut self.test,
            (DATA, 0x00) => &mut self.otadata,
            _ => return Some(()),
        };
        let Partition { offset, size } = partition;
        let least = match (kind, subtype) {
            (DATA, _) => SECTOR.saturating_mul(2),
            (_, 0x10..=0x1F) => SECTOR,
            // Never written.
            _ => 0,
        };
        let sound = least == 0 || (offset.is_multiple_of(SECTOR) && size.is_multiple_of(SECTOR) && size >= least);
        (sound && place.replace(partition).is_none()).then_some(())
    }

    fn without_gaps(self) -> Result<Self, Error> {
        let all = self.ota.iter().take(self.count.into()).all(Option::is_some);
        if all { Ok(self) } else { Err(Error::Table { at: 0 }) }
    }

    /// Where an app lies, if there is such a partition.
    pub fn app(&self, app: App) -> Option<Partition> {
        match app {
            App::Factory => self.factory,
            App::Test => self.test,
            App::Ota(index) => *self.ota.get(usize::from(index))?,
        }
    }

    /// The app whose partition this address of the flash is in: which app runs, by an address of its code that the
    /// caller's HAL has translated from the instruction bus to the flash.
    pub fn app_at(&self, address: u32) -> Option<App> {
        let slots = (0..self.count).map(App::Ota);
        [App::Factory, App::Test].into_iter().chain(slots).find(|app| {
            self.app(*app).is_some_and(|partition| {
                address.checked_sub(partition.offset).is_some_and(|into| into < partition.size)
            })
        })
    }

    /// How many `ota_n` partitions there are.
    pub fn ota_count(&self) -> u8 {
        self.count
    }

    /// The partition that says which app runs.
    pub fn otadata(&self) -> Option<Partition> {
        self.otadata
    }

    /// Where an update goes while `running` runs: the next `ota_n`, or `ota_0` from `factory` and `test`.
    pub fn next(&self, running: App) -> Option<App> {
        let next = match running {
            App::Ota(index) => index.checked_add(1)?.checked_rem(self.count)?,
            App::Factory | App::Test => 0,
        };
        Some(App::Ota(next)).filter(|next| self.count > 0 && *next != running)
    }

    /// What runs while otadata says nothing.
    pub(crate) fn default_app(&self) -> App {
        if self.factory.is_some() { App::Factory } else { App::Ota(0) }
    }
}

/// An entry of a table, as far as it is looked at.
struct Entry {
    kind: u8,
    subtype: u8,
    partition: Partition,
    label: [u8; 16],
}

/// Hands out the entries of the table at `offset` one after the other, each of them checked, and checks that the table
/// comes to its end. An entry that can't be taken, `None`, is malformed.
async fn walk<F: ReadNorFlash>(
    flash: &mut F,
    offset: u32,
    mut take: impl FnMut(&Entry) -> Option<()>,
) -> Result<(), Error> {
    let (mut digest, mut digested) = (Md5::new(), false);
    let capacity = flash::capacity(flash)?;
    let mut at = 0;
    while at < SIZE_MAX {
        let mut row = [0; ENTRY as usize];
        let from = offset.checked_add(at).ok_or(Error::Layout)?;
        flash::read(flash, Area::PartitionTable, from, &mut row).await?;
        let malformed = Error::Table { at };
        match row {
            // ESP-IDF takes rows behind the digest, but loses the last one.
            [0xAA, 0x50, ..] if digested => return Err(malformed),
            [0xAA, 0x50, kind, subtype, o0, o1, o2, o3, s0, s1, s2, s3, label @ .., _, _, _, _] => {
                let partition = Partition {
                    offset: u32::from_le_bytes([o0, o1, o2, o3]),
                    size: u32::from_le_bytes([s0, s1, s2, s3]),
                };
                if partition.offset.checked_add(partition.size).is_none_or(|end| end > capacity) {
                    return Err(malformed);
                }
                take(&Entry { kind, subtype, partition, label }).ok_or(malformed)?;
                digest.update(row);
            }
            [0xEB, 0xEB, ..] if digested => return Err(malformed),
            [0xEB, 0xEB, ..] => {
                let found: [u8; 16] = core::mem::take(&mut digest).finalize().into();
                if !row.ends_with(&found) {
                    return Err(Error::TableDigest);
                }
                digested = true;
            }
            [0xFF, 0xFF, 0xFF, 0xFF, ..] if at > 0 => return Ok(()),
            _ => return Err(malformed),
        }
        at = at.saturating_add(ENTRY);
    }
    Err(Error::Table { at })
}
