//! A model of ESP-IDF's second-stage bootloader: which app it starts, and what it does to otadata on the way. Beside it,
//! the calls of `esp_ota_ops` that an application makes.
//!
//! Written from ESP-IDF's `bootloader_utility.c`, `bootloader_common_loader.c`, `flash_partitions.c` and `esp_ota_ops.c`,
//! as of the main line after v6.0, and independent of `sprag-boot`, which it judges. All writes to otadata go through the
//! flash like any others, so that the power can be cut within them. `cargo xtask vectors` compares the model with what
//! ESP-IDF's own code did.
//!
//! # Limits
//!
//! Left out of the bootloader: secure boot and flash encryption, GPIO for the factory or test app, the fast start from deep
//! sleep, and hooks. Left out of `esp_ota_ops`: the writing of an image, secure boot keys, and everything else that neither
//! reads nor writes otadata.

mod calls;
mod image;
mod otadata;
mod partitions;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use calls::{CallError, EspError};
pub use image::check_image;
pub use otadata::{ABORTED, Entry, INVALID, NEW, PENDING_VERIFY, UNDEFINED, VALID, crc};
use otadata::{active, select};
pub use partitions::Partitions;

use crate::flash::{FlashError, Region};

const SECTOR: u32 = 4096;

/// An app by its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// `factory`.
    Factory,
    /// `test`.
    Test,
    /// `ota_n`.
    Ota(usize),
}

/// The build options of bootloader and app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Without rollback.
    Plain,
    /// `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`.
    Rollback,
    /// `CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK`, which includes rollback.
    AntiRollback,
}

/// The secure version in the eFuses. Clones are handles to the same eFuses.
#[derive(Debug, Clone, Default)]
pub struct Efuse(Arc<AtomicU32>);

impl Efuse {
    /// Returns eFuses that hold this version.
    pub fn new(version: u32) -> Self {
        Self(Arc::new(AtomicU32::new(version)))
    }

    /// `esp_efuse_read_secure_version`.
    pub fn version(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// `esp_efuse_update_secure_version`, for eFuses that have enough bits.
    fn burn(&self, version: u32) {
        self.0.fetch_max(version, Ordering::Relaxed);
    }
}

/// The bootloader, built for one partition table.
#[derive(Debug, Clone)]
pub struct EspIdf {
    /// The whole flash, whose addresses the partitions are in.
    pub flash: Region,
    /// The partition table.
    pub partitions: Partitions,
    /// The build options.
    pub build: Build,
    /// The eFuses, which a bootloader without anti-rollback does not look at.
    pub efuse: Efuse,
    /// Returns whether an app partition with these bytes holds an image that may run.
    pub may_run: fn(&[u8]) -> bool,
}

/// The partition that the bootloader tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// `factory` also where there is no such partition: the others are then tried from `ota_0` up.
    pub first: App,
    /// `ota_has_initial_contents`: the app that is loaded gets an entry, unless it is `factory`.
    initial: bool,
}

impl EspIdf {
    /// Returns a bootloader over this flash. It starts apps for which `may_run` returns `true` of their partition's bytes.
    pub fn new(flash: Region, partitions: Partitions, build: Build, may_run: fn(&[u8]) -> bool) -> Self {
        Self { flash, partitions, build, efuse: Efuse::default(), may_run }
    }

    /// Reads both entries of otadata.
    ///
    /// # Errors
    /// The flash's.
    pub fn entries(&self) -> Result<[Entry; 2], FlashError> {
        let entry = |at| {
            let mut bytes = [0; 32];
            self.flash.read_now(at, &mut bytes)?;
            Ok(Entry::read(&bytes))
        };
        let at = self.partitions.otadata.start;
        Ok([entry(at)?, entry(at + SECTOR)?])
    }

    /// Resets the device: returns the app that runs; `None` when nothing does. The bootloader then resets again and again,
    /// and the device is bricked.
    ///
    /// # Errors
    /// The flash's: the power failed.
    pub fn boot(&self) -> Result<Option<App>, FlashError> {
        match self.select()? {
            Some(selection) => self.load(selection),
            None => Ok(None),
        }
    }

    /// `bootloader_utility_get_selected_boot_partition`: returns what is tried first; `None` when otadata is too small,
    /// and the bootloader resets without trying.
    ///
    /// # Errors
    /// The flash's: the power failed.
    pub fn select(&self) -> Result<Option<Selection>, FlashError> {
        let Partitions { otadata, factory, count, .. } = &self.partitions;
        let from = |first| Ok(Some(Selection { first, initial: false }));
        if otadata.start == 0 {
            return from(App::Factory);
        }
        if (otadata.len() as u32) < 2 * SECTOR {
            return Ok(None);
        }
        let mut entries = self.entries()?;
        if self.build != Build::Plain {
            for (index, entry) in entries.iter_mut().enumerate().filter(|(_, entry)| entry.state == PENDING_VERIFY) {
                entry.state = ABORTED;
                self.write(index, entry)?;
            }
        }
        let initial = entries.iter().all(Entry::is_initial);
        let active = if self.build == Build::AntiRollback {
            if initial {
                return Ok(Some(Selection { first: App::Factory, initial }));
            }
            // With no slot at all, the bootloader divides by zero here. Nothing boots then.
            if *count == 0 {
                return Ok(None);
            }
            let counts = entries.map(|entry| entry.is_valid() && self.is_secure(&self.slot(&entry)));
            select(&entries, counts)
        } else if entries.iter().all(Entry::is_invalid) || *count == 0 {
            if factory.start != 0 {
                return from(App::Factory);
            }
            return Ok(Some(Selection { first: App::Ota(0), initial }));
        } else {
            active(&entries)
        };
        let Some(active) = active else { return from(App::Factory) };
        let entry = &mut entries[active];
        if self.build != Build::Plain && entry.state == NEW {
            entry.state = PENDING_VERIFY;
            self.write(active, entry)?;
        }
        if self.build == Build::AntiRollback && entry.state == VALID {
            self.burn(&self.slot(entry));
        }
        from(App::Ota(entry.slot(*count) as usize))
    }

    /// `bootloader_utility_load_boot_image`: returns the app that runs.
    ///
    /// # Errors
    /// The flash's: the power failed.
    pub fn load(&self, selection: Selection) -> Result<Option<App>, FlashError> {
        let start = match selection.first {
            App::Ota(index) => index as i64,
            _ => -1,
        };
        let app = |index: i64| usize::try_from(index).map_or(App::Factory, App::Ota);
        // Downwards to the factory app, then upwards, and the test app last.
        let order = (-1..=start).rev().chain(start + 1..i64::from(self.partitions.count)).map(app);
        for app in order.chain([App::Test]) {
            let Some(range) = self.partitions.app(app) else { continue };
            if (self.build == Build::AntiRollback && !self.is_secure(&range)) || !self.may_load(&range) {
                continue;
            }
            if let (App::Ota(index), true) = (app, selection.initial) {
                self.write(0, &Entry::new(index as u32 + 1, VALID))?;
                if self.build == Build::AntiRollback {
                    self.burn(&range);
                }
            }
            return Ok(Some(app));
        }
        Ok(None)
    }

    /// Returns where the slot of an entry lies.
    fn slot(&self, entry: &Entry) -> Range<u32> {
        let index = entry.slot(self.partitions.count) as usize;
        self.partitions.ota.get(index).cloned().unwrap_or_default()
    }

    fn may_load(&self, partition: &Range<u32>) -> bool {
        let mut bytes = vec![0; partition.len()];
        self.flash.read_now(partition.start, &mut bytes).is_ok() && (self.may_run)(&bytes)
    }

    /// `bootloader_common_get_partition_description`, as far as the secure version goes.
    fn secure_version(&self, partition: &Range<u32>) -> Option<u32> {
        const MAGIC: [u8; 4] = 0xABCD_5432_u32.to_le_bytes();
        let mut bytes = [0; 8];
        if partition.start == 0 || self.flash.read_now(partition.start + 32, &mut bytes).is_err() {
            return None;
        }
        let [magic @ .., a, b, c, d] = bytes;
        (magic == MAGIC).then_some(u32::from_le_bytes([a, b, c, d]))
    }

    /// `check_anti_rollback`.
    fn is_secure(&self, partition: &Range<u32>) -> bool {
        self.secure_version(partition).is_some_and(|version| version >= self.efuse.version())
    }

    /// `update_anti_rollback`.
    fn burn(&self, partition: &Range<u32>) {
        if let Some(version) = self.secure_version(partition) {
            self.efuse.burn(version);
        }
    }

    /// `write_otadata`, and `rewrite_ota_seq`.
    fn write(&self, index: usize, entry: &Entry) -> Result<(), FlashError> {
        let at = self.partitions.otadata.start + SECTOR * index as u32;
        // Otadata that is not aligned makes the bootloader erase the sector that it begins in.
        let sector = at / SECTOR * SECTOR;
        self.flash.erase_now(sector, sector + SECTOR)?;
        if !at.is_multiple_of(4) {
            // The driver refuses to write there, and the bootloader goes on.
            return Ok(());
        }
        self.flash.write_now(at, &entry.bytes())
    }
}

#[cfg(test)]
mod tests;
