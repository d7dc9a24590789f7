//! The hand-over by otadata.

use embedded_storage_async::nor_flash::NorFlash;

use super::otadata::{self, Entry, NEW, PENDING_VERIFY, STATE_AT, UNDEFINED, VALID};
use super::table::{App, Partition, Table};
use super::{GEOMETRY, SECTOR};
use crate::control::{BootControl, ImageRegion, State, Swap};
use crate::error::{Area, Error};
use crate::flash;

/// The application's side of ESP-IDF's bootloader: what `esp_ota_set_boot_partition` and
/// `esp_ota_mark_app_valid_cancel_rollback` do, each entry of otadata written so that its CRC comes last.
///
/// The bootloader is taken to be built with `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`;
/// [`without_rollback`](Self::without_rollback) is for one that is not. The eFuses of anti-rollback are not read.
///
/// `unstage` and `stage` also write an entry for the running app when it has none and the bootloader would start another
/// app without it.
#[derive(Debug)]
pub struct EspIdf<F> {
    flash: F,
    table: Table,
    otadata: Partition,
    running: App,
    /// Where the next image goes, if there is a place for it.
    target: Option<(u8, Partition)>,
    rollback: bool,
    keep_trial: bool,
    /// The entry that is being confirmed: there is a moment in which the flash does not have it.
    confirming: Option<(u32, Entry)>,
}

impl<F: NorFlash> EspIdf<F> {
    /// The hand-over over the whole flash, whose addresses the table has. `running` is the app that calls: see
    /// [`Table::app_at`].
    ///
    /// # Errors
    /// [`Error::NoSlot`] when the table has no otadata. Where it has no app partition beside the one that runs there is no
    /// [image region](BootControl::image_region), but the running app can be confirmed.
    pub fn new(flash: F, table: Table, running: App) -> Result<Self, Error> {
        let otadata = table.otadata().ok_or(Error::NoSlot)?;
        let target = match table.next(running) {
            Some(app @ App::Ota(index)) => table.app(app).map(|partition| (index, partition)),
            _ => None,
        };
        Ok(Self { flash, table, otadata, running, target, rollback: true, keep_trial: false, confirming: None })
    }

    /// For a bootloader that has no rollback, and so no trials.
    #[must_use]
    pub fn without_rollback(mut self) -> Self {
        self.rollback = false;
        self
    }

    /// Makes [`confirm`](BootControl::confirm) power-safe: a cut in it leaves the image confirmed or on trial once more,
    /// where ESP-IDF's own way may bring the old image back. It costs the entry of the old image, and takes flash that
    /// can clear bits of what was programmed already, which encrypted flash can't: there, ESP-IDF's way is taken.
    #[must_use]
    pub fn keeping_the_trial(mut self) -> Self {
        self.keep_trial = true;
        self
    }

    /// The entries as the bootloader will see them after the next reset.
    async fn entries(&mut self) -> Result<[Entry; 2], Error> {
        let entries = read_entries(&mut self.flash, self.otadata).await?;
        Ok(if self.rollback { otadata::after_reset(entries) } else { entries })
    }

    fn is_running(&self, entry: &Entry) -> bool {
        entry.app(&self.table) == Some(self.running)
    }

    /// Returns the running app's entry while it is on trial. What runs is no longer new, with two exceptions: a confirm
    /// made it so again, or it runs because a newer image did not start. The next reset then begins its trial.
    async fn trial(&mut self) -> Result<Option<(u32, Entry)>, Error> {
        if !self.rollback {
            return Ok(None);
        }
        let entries = read_entries(&mut self.flash, self.otadata).await?;
        let on_trial = |entry: &Entry| matches!(entry.state, PENDING_VERIFY | NEW) && self.is_running(entry);
        let actives = [otadata::active(&entries), otadata::active(&otadata::after_reset(entries))];
        Ok(actives.into_iter().flatten().find(|(_, entry)| on_trial(entry)))
    }

    /// Returns whether the bootloader comes back to the running app once the entry at `staged` no longer counts.
    fn falls_back(&self, [first, second]: &[Entry; 2], staged: u32) -> bool {
        let other = if staged == 0 { second } else { first };
        if !other.counts() {
            return self.table.default_app() == self.running;
        }
        // An entry that is new would put it on trial.
        self.is_running(other) && !(self.rollback && other.state == NEW)
    }

    fn sector(&self, index: u32) -> u32 {
        self.otadata.offset.saturating_add(if index == 0 { 0 } else { SECTOR })
    }

    /// Makes an entry count no more. Its CRC goes first: within an erase that a cut ends too early, the state of an
    /// aborted image could read as another one, and the image would come back.
    async fn retire(&mut self, index: u32) -> Result<(), Error> {
        let at = self.sector(index);
        if read_entry(&mut self.flash, at).await?.sound {
            let (front, last) = split::<F>();
            let zeros = [0; otadata::SIZE];
            // Flash that can't be programmed twice refuses: the erase must do.
            let _ = self.flash.write(at.saturating_add(front), zeros.get(..last).unwrap_or_default()).await;
        }
        flash::erase(&mut self.flash, Area::State, at, at.saturating_add(SECTOR)).await
    }

    /// Writes an entry in the place of another, the CRC last.
    async fn write(&mut self, index: u32, seq: u32, state: u32) -> Result<(), Error> {
        self.retire(index).await?;
        let (at, bytes) = (self.sector(index), Entry::encode(seq, state));
        let (front, last) = split::<F>();
        let (body, crc) = bytes.split_at_checked(otadata::SIZE.saturating_sub(last)).ok_or(Error::Layout)?;
        if !body.is_empty() {
            flash::write(&mut self.flash, Area::State, at, body).await?;
        }
        flash::write(&mut self.flash, Area::State, at.saturating_add(front), crc).await
    }

    /// Confirms by an entry in the other sector, so that one of the two is there at any time; `false` when the flash does
    /// not allow it, or there is no number left.
    async fn confirm_in_other(&mut self, index: u32, entry: Entry) -> Result<bool, Error> {
        let App::Ota(running) = self.running else { return Ok(false) };
        let Some(seq) = self.next_seq(running, Some(entry.seq)) else { return Ok(false) };
        // PENDING_VERIFY to NEW is one bit cleared: from now on, a reset begins the trial anew.
        let at = self.sector(index).saturating_add(STATE_AT);
        if self.flash.write(at, &NEW.to_le_bytes()).await.is_err() {
            return Ok(false);
        }
        self.write(1u32.saturating_sub(index), seq, VALID).await?;
        Ok(true)
    }

    /// Writes an entry for the running app, with the lowest number it can have. Returns the number.
    async fn register(&mut self, index: u32) -> Result<u32, Error> {
        let App::Ota(running) = self.running else { return Err(Error::Layout) };
        let seq = u32::from(running).saturating_add(1);
        self.write(index, seq, VALID).await?;
        Ok(seq)
    }

    /// Writes an entry with the lowest number for the running app into the other sector, and then drops the entry at
    /// `index`: numbers begin anew. Returns the number.
    async fn renumber(&mut self, index: u32) -> Result<u32, Error> {
        let seq = self.register(1u32.saturating_sub(index)).await?;
        self.retire(index).await?;
        Ok(seq)
    }

    fn next_seq(&self, index: u8, above: Option<u32>) -> Option<u32> {
        otadata::next_seq(index, self.table.ota_count(), above)
    }
}

impl<F: NorFlash> BootControl for EspIdf<F> {
    /// The next app partition, in addresses of the whole flash. Empty when there is none beside the running app's.
    fn image_region(&self) -> ImageRegion {
        let Partition { offset, size } =
            self.target.map_or(Partition { offset: 0, size: 0 }, |(_, partition)| partition);
        ImageRegion { start: offset, end: offset.saturating_add(size), geometry: GEOMETRY }
    }

    async fn state(&mut self) -> Result<State, Error> {
        if self.trial().await?.is_some() {
            return Ok(State::Trial);
        }
        let before = read_entries(&mut self.flash, self.otadata).await?;
        Ok(match otadata::active(&self.entries().await?) {
            Some((_, entry)) if self.is_running(&entry) => State::Settled,
            Some((_, entry)) if self.rollback && entry.state == NEW => State::Staged(Swap::Test),
            Some(_) => State::Staged(Swap::Permanent),
            // Another app's trial ended before it began, because its image does not start. The next reset is the first
            // that goes by the default.
            None if otadata::active(&before).is_some() && self.table.default_app() != self.running => {
                State::Staged(Swap::Permanent)
            }
            None => State::Settled,
        })
    }

    async fn stage(&mut self, swap: Swap) -> Result<(), Error> {
        let (index, _) = self.target.ok_or(Error::NoSlot)?;
        let state = match (self.rollback, swap) {
            (true, Swap::Test) => NEW,
            (true, Swap::Permanent) => VALID,
            (false, _) => UNDEFINED,
        };
        if self.trial().await?.is_some() {
            return Err(Error::OnTrial);
        }
        let entries = self.entries().await?;
        if let Some((staged, entry)) = otadata::active(&entries)
            && (entry.state, entry.app(&self.table)) == (state, Some(App::Ota(index)))
            && self.falls_back(&entries, staged)
        {
            return Ok(());
        }
        self.unstage().await?;
        // What counts now is the running app's, or nothing does: either way the other sector is free.
        let (place, above) = match otadata::active(&self.entries().await?) {
            Some((active, entry)) if self.next_seq(index, Some(entry.seq)).is_none() => {
                (active, Some(self.renumber(active).await?))
            }
            Some((active, entry)) => (1u32.saturating_sub(active), Some(entry.seq)),
            None => (0, None),
        };
        let seq = self.next_seq(index, above).ok_or(Error::Layout)?;
        self.write(place, seq, state).await
    }

    async fn unstage(&mut self) -> Result<(), Error> {
        if self.trial().await?.is_some() {
            return Err(Error::OnTrial);
        }
        let entries = self.entries().await?;
        let (staged, entry) = match otadata::active(&entries) {
            Some((_, entry)) if self.is_running(&entry) => return Ok(()),
            Some(active) => active,
            // The bootloader fell back to the running app. Without an entry of its own, it would start any image that
            // begins to boot before it, staged or not, and not come back after a trial that fails.
            None if matches!(self.running, App::Ota(_)) && self.table.default_app() != self.running => {
                return self.register(0).await.map(|_| ());
            }
            None => return Ok(()),
        };
        let other = 1u32.saturating_sub(staged);
        match self.running {
            _ if self.falls_back(&entries, staged) => self.retire(staged).await,
            App::Ota(running) => match self.next_seq(running, Some(entry.seq)) {
                Some(seq) => self.write(other, seq, VALID).await,
                None => self.renumber(staged).await.map(|_| ()),
            },
            App::Factory | App::Test => {
                self.retire(other).await?;
                self.retire(staged).await
            }
        }
    }

    /// As ESP-IDF does it, the entry is erased and written again: dropped between the two, the call is to be made again on
    /// the same value, and a reset brings the old image back.
    async fn confirm(&mut self) -> Result<(), Error> {
        if let Some(trial) = self.trial().await? {
            self.confirming = Some(trial);
        }
        let Some((index, entry)) = self.confirming else { return Ok(()) };
        if !self.keep_trial || !self.confirm_in_other(index, entry).await? {
            self.write(index, entry.seq, VALID).await?;
        }
        self.confirming = None;
        Ok(())
    }

    /// Writes nothing: the bootloader aborts what was not confirmed. Only after a [`confirm`](BootControl::confirm) that
    /// keeps the trial and was cut off, the entry is dropped, for the bootloader would begin the trial anew.
    async fn go_back(&mut self) -> Result<(), Error> {
        self.confirming = None;
        match self.trial().await? {
            Some((index, entry)) if entry.state == NEW => self.retire(index).await,
            Some(_) => Ok(()),
            None => Err(Error::NotOnTrial),
        }
    }
}

/// Where the last piece of an entry begins, the CRC's, and how long it is: so that it can be written by itself.
const fn split<F: NorFlash>() -> (u32, usize) {
    match F::WRITE_SIZE {
        0..=4 => (28, 4),
        5..=16 => (16, 16),
        _ => (0, 32),
    }
}

async fn read_entry<F: NorFlash>(flash: &mut F, at: u32) -> Result<Entry, Error> {
    let mut bytes = [0; otadata::SIZE];
    flash::read(flash, Area::State, at, &mut bytes).await?;
    Ok(Entry::decode(&bytes))
}

async fn read_entries<F: NorFlash>(flash: &mut F, otadata: Partition) -> Result<[Entry; 2], Error> {
    let first = read_entry(flash, otadata.offset).await?;
    Ok([first, read_entry(flash, otadata.offset.saturating_add(SECTOR)).await?])
}

/// The app that the bootloader will try first at the next reset. Whether it runs depends on its image.
///
/// # Errors
/// [`Error::Flash`].
///
/// # Cancellation safety
/// Reads only.
pub async fn chosen<F: NorFlash>(flash: &mut F, table: &Table, rollback: bool) -> Result<App, Error> {
    let Some(otadata) = table.otadata() else { return Ok(table.default_app()) };
    let mut entries = read_entries(flash, otadata).await?;
    if rollback {
        entries = otadata::after_reset(entries);
    }
    let app = otadata::active(&entries).and_then(|(_, entry)| entry.app(table));
    Ok(app.unwrap_or_else(|| table.default_app()))
}
