//! The application's calls.
//!
//! Source: ESP-IDF, `esp_ota_ops.c`.

use std::error::Error;
use std::fmt;

use super::otadata::{Entry, INVALID, NEW, UNDEFINED, VALID, active, select};
use super::{App, Build, EspIdf};
use crate::flash::FlashError;

/// An `esp_err_t` that is not `ESP_OK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EspError {
    /// `ESP_FAIL`.
    Fail,
    /// `ESP_ERR_INVALID_ARG`.
    InvalidArg,
    /// `ESP_ERR_NOT_FOUND`.
    NotFound,
    /// `ESP_ERR_NOT_SUPPORTED`.
    NotSupported,
    /// `ESP_ERR_OTA_VALIDATE_FAILED`.
    ValidateFailed,
    /// `ESP_ERR_OTA_SMALL_SEC_VER`.
    SmallSecureVersion,
    /// `ESP_ERR_OTA_ROLLBACK_FAILED`.
    RollbackFailed,
}

impl EspError {
    /// Returns its name in ESP-IDF.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "ESP_FAIL",
            Self::InvalidArg => "ESP_ERR_INVALID_ARG",
            Self::NotFound => "ESP_ERR_NOT_FOUND",
            Self::NotSupported => "ESP_ERR_NOT_SUPPORTED",
            Self::ValidateFailed => "ESP_ERR_OTA_VALIDATE_FAILED",
            Self::SmallSecureVersion => "ESP_ERR_OTA_SMALL_SEC_VER",
            Self::RollbackFailed => "ESP_ERR_OTA_ROLLBACK_FAILED",
        }
    }
}

/// The reason why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// It returned this.
    Returned(EspError),
    /// It never returns: the loop that looks for a number finds none.
    NeverReturns,
    /// An assertion fails: with 16 slots and a test app, the test app is counted as the 17th.
    Asserts,
    /// The power failed.
    Flash(FlashError),
}

impl From<FlashError> for CallError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

impl From<EspError> for CallError {
    fn from(error: EspError) -> Self {
        Self::Returned(error)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned(error) => f.write_str(error.name()),
            Self::NeverReturns => f.write_str("the call never returns"),
            Self::Asserts => f.write_str("an assertion fails"),
            Self::Flash(error) => write!(f, "{error}"),
        }
    }
}

impl Error for CallError {}

/// The calls of `esp_ota_ops` that an app makes. They do not depend on which app runs, except where they say so.
impl EspIdf {
    /// `esp_ota_set_boot_partition`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn set_boot_partition(&self, app: App) -> Result<(), CallError> {
        let range = self.partitions.app(app).ok_or(EspError::InvalidArg)?;
        if !self.may_load(&range) {
            return Err(EspError::ValidateFailed.into());
        }
        if app == App::Factory {
            let otadata = self.partitions.otadata.clone();
            return Ok(self.flash.erase_now(otadata.start, otadata.end)?);
        }
        if self.build == Build::AntiRollback {
            let version = self.secure_version(&range).ok_or(EspError::NotFound)?;
            if version < self.efuse.version() {
                self.flash.erase_now(range.start, range.end)?;
                return Err(EspError::SmallSecureVersion.into());
            }
        }
        let count = self.slot_count()?;
        let slot = match app {
            App::Ota(index) => index as u32,
            // Its subtype's lower bits are those of ota_0.
            App::Factory | App::Test => 0,
        };
        if slot >= count {
            return Err(EspError::InvalidArg.into());
        }
        let mut entries = self.entries()?;
        let (index, seq) = match active(&entries) {
            Some(index) if entries[index].slot(count) == slot => (index, entries[index].seq),
            Some(index) => (1 - index, next_seq(entries[index].seq, slot, count).ok_or(CallError::NeverReturns)?),
            None => (0, slot + 1),
        };
        let state = if self.build == Build::Plain { UNDEFINED } else { NEW };
        let Entry { seq: to, state: becomes, crc, .. } = &mut entries[index];
        (*to, *becomes, *crc) = (seq, state, super::crc(seq));
        Ok(self.write(index, &entries[index])?)
    }

    /// `esp_ota_mark_app_valid_cancel_rollback`, which marks the entry that counts, whether it is the running app's or
    /// not. With anti-rollback, the eFuses take the secure version of `running`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn mark_app_valid_cancel_rollback(&self, running: App) -> Result<(), CallError> {
        let mut entries = self.entries()?;
        let index = active(&entries).ok_or(EspError::Fail)?;
        if self.slot_count()? == 0 {
            return Err(EspError::Fail.into());
        }
        if entries[index].state == VALID {
            return Ok(());
        }
        entries[index].state = VALID;
        self.write(index, &entries[index])?;
        if self.build == Build::AntiRollback {
            let range = self.partitions.app(running).ok_or(EspError::InvalidArg)?;
            let version = self.secure_version(&range).ok_or(EspError::NotFound)?;
            self.efuse.burn(version);
        }
        Ok(())
    }

    /// `esp_ota_mark_app_invalid_rollback`, which marks the entry that counts.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn mark_app_invalid_rollback(&self) -> Result<(), CallError> {
        let mut entries = self.entries()?;
        let index = active(&entries).ok_or(EspError::Fail)?;
        if self.slot_count()? == 0 {
            return Err(EspError::Fail.into());
        }
        if !self.check_rollback_is_possible()? {
            return Err(EspError::RollbackFailed.into());
        }
        entries[index].state = INVALID;
        Ok(self.write(index, &entries[index])?)
    }

    /// `esp_ota_check_rollback_is_possible`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn check_rollback_is_possible(&self) -> Result<bool, CallError> {
        let count = self.slot_count()?;
        let entries = self.entries()?;
        let counts = entries.map(|entry| entry.is_valid());
        let Some(active) = select(&entries, counts) else { return Ok(false) };
        if count == 0 {
            return Ok(false);
        }
        let other = 1 - active;
        let app = if counts[other] { App::Ota(entries[other].slot(count) as usize) } else { App::Factory };
        if app == App::Factory && self.build == Build::AntiRollback {
            return Ok(false);
        }
        Ok(self.partitions.app(app).is_some_and(|range| {
            self.may_load(&range) && (self.build != Build::AntiRollback || self.is_secure(&range))
        }))
    }

    /// `esp_ota_get_boot_partition`: returns the app that is configured to boot, whether its image may run or not.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn boot_partition(&self) -> Result<Option<App>, CallError> {
        let count = self.slot_count()?;
        let entries = self.entries()?;
        if count > 0
            && !entries.iter().all(Entry::is_invalid)
            && let Some(active) = active(&entries)
        {
            return Ok(Some(App::Ota(entries[active].slot(count) as usize)));
        }
        let slots = (0..16).map(App::Ota);
        Ok([App::Factory].into_iter().chain(slots).chain([App::Test]).find(|app| self.partitions.app(*app).is_some()))
    }

    /// `esp_ota_get_next_update_partition` from `running`: returns the slot that an update goes to.
    pub fn next_update_partition(&self, running: App) -> Option<App> {
        let slots = || (0..16).map(App::Ota).filter(|app| self.partitions.app(*app).is_some());
        slots().skip_while(|app| *app != running).nth(1).or_else(|| slots().next())
    }

    /// `esp_ota_get_state_partition`: returns the state in the first entry of `app`, whether that entry counts or not.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn state_partition(&self, app: App) -> Result<u32, CallError> {
        let App::Ota(index) = app else { return Err(EspError::NotSupported.into()) };
        let count = self.slot_count()?;
        if count == 0 {
            return Err(EspError::NotFound.into());
        }
        let entries = self.entries()?;
        let entry = entries.iter().find(|entry| entry.slot(count) as usize == index && entry.crc_fits());
        Ok(entry.ok_or(EspError::NotFound)?.state)
    }

    /// `esp_ota_get_app_partition_count`: `ota_0` and those that follow without a gap.
    fn slot_count(&self) -> Result<u32, CallError> {
        let count = (0..16).take_while(|index| self.partitions.app(App::Ota(*index)).is_some()).count() as u32;
        // The subtype behind that of ota_15 is the test app's.
        if count == 16 && self.partitions.app(App::Test).is_some() { Err(CallError::Asserts) } else { Ok(count) }
    }
}

/// `compute_ota_seq_for_target_slot`: returns the first of the numbers `base`, `base + count` and so on that is not below
/// `current`. They wrap around as they do there, so that a number can be one that stands for another slot. Returns `None`
/// when the wrapped numbers come round without reaching it.
fn next_seq(current: u32, slot: u32, count: u32) -> Option<u32> {
    let base = (slot + 1) % count;
    let mut from = base;
    loop {
        let steps = current.saturating_sub(from).div_ceil(count);
        let reached = u64::from(from) + u64::from(steps) * u64::from(count);
        match u32::try_from(reached) {
            Ok(seq) => return Some(seq),
            Err(_) => from = reached as u32,
        }
        if from == base {
            return None;
        }
    }
}
