//! Where an update's flash is, by the partition table in the flash.

use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::mutex::Mutex;
use embedded_storage::nor_flash::NorFlash as Driver;
use embedded_storage_async::nor_flash::ReadNorFlash;
use sprag_boot::EspIdf;
use sprag_boot::esp_idf::{App, Partition, Table};

use crate::error::MapError;
use crate::flash::{ERASE_SIZE, Flash};
use crate::region::Region;

/// The label of the journal's partition: of type `data`, subtype `undefined`, which ESP-IDF leaves alone.
pub const JOURNAL: &str = "sprag_journal";
/// The smallest journal: two banks of a sector each, in bytes.
pub const JOURNAL_MIN: u32 = 2 * ERASE_SIZE as u32;
/// What ESP-IDF aligns apps to: the largest page that its MMUs map the flash by, in bytes.
pub const PAGE: u32 = 0x1_0000;

/// What of the flash an update has to do with. Nothing else is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Map {
    table: Table,
    running: App,
    app: Partition,
    slot: Partition,
    otadata: Partition,
    journal: Partition,
}

/// The parts of the flash, each on its own, and the hand-over to the bootloader.
#[derive(Debug)]
pub struct Regions<'f, M: RawMutex, D: Driver, W: FnMut()> {
    /// The app that runs, from 0: for its version.
    pub app: Region<'f, M, D, W>,
    /// Where an update goes, in addresses of the flash, as [`EspIdf`]'s room is.
    pub slot: Region<'f, M, D, W>,
    /// The slot writer's journal, from 0.
    pub journal: Region<'f, M, D, W>,
    /// ESP-IDF's bootloader, which has otadata and nothing else. It is taken to have rollback: see
    /// [`EspIdf::without_rollback`] for one without, and [`EspIdf::keeping_the_trial`] for a `confirm` that is power-safe,
    /// which this flash can do.
    pub boot: EspIdf<Region<'f, M, D, W>>,
}

impl Map {
    /// Reads the partition table at `table_at` of the flash, [`Table::OFFSET`] unless ESP-IDF was told otherwise, and finds
    /// everything that an update needs. `address` is where in the flash the running code lies.
    ///
    /// # Errors
    /// [`MapError`]: each thing that is missing or out of place is an error of its own.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn read<F: ReadNorFlash>(flash: &mut F, table_at: u32, address: u32) -> Result<Self, MapError> {
        let table = Table::read(flash, table_at).await?;
        let running = table.app_at(address).ok_or(MapError::NotRunning { address })?;
        let app = table.app(running).ok_or(MapError::NotRunning { address })?;
        let otadata = table.otadata().ok_or(MapError::NoOtadata)?;
        let slot = table.next(running).and_then(|next| table.app(next)).ok_or(MapError::NoSlot)?;
        for partition in [app, slot] {
            if !partition.offset.is_multiple_of(PAGE) {
                return Err(MapError::SlotUnaligned(partition));
            }
        }
        let journal = Table::labelled(flash, table_at, JOURNAL).await?.ok_or(MapError::NoJournal)?;
        if !journal.offset.is_multiple_of(ERASE_SIZE as u32) || !journal.size.is_multiple_of(ERASE_SIZE as u32) {
            return Err(MapError::JournalUnaligned(journal));
        }
        if journal.size < JOURNAL_MIN {
            return Err(MapError::JournalTooSmall(journal));
        }
        // Not the table's own doing: a journal that is placed by hand.
        let table_itself = Partition { offset: 0, size: table_at.saturating_add(ERASE_SIZE as u32) };
        let apps = [App::Factory, App::Test].into_iter().chain((0..table.ota_count()).map(App::Ota));
        let mut others = apps.filter_map(|app| table.app(app)).chain([otadata, table_itself]);
        if others.any(|other| overlap(other, journal)) {
            return Err(MapError::JournalOverlaps(journal));
        }
        Ok(Self { table, running, app, slot, otadata, journal })
    }

    /// Which app runs.
    pub fn running(&self) -> App {
        self.running
    }

    /// Where an update goes.
    pub fn slot(&self) -> Partition {
        self.slot
    }

    /// Where the slot writer's journal is.
    pub fn journal(&self) -> Partition {
        self.journal
    }

    /// The parts of the flash that this is the map of.
    ///
    /// # Errors
    /// None that [`read`](Self::read) lets through: the hand-over's own are passed on.
    pub fn regions<'f, M: RawMutex, D: Driver, W: FnMut()>(
        &self,
        flash: &'f Mutex<M, Flash<D, W>>,
    ) -> Result<Regions<'f, M, D, W>, MapError> {
        let otadata = Region::in_place(flash, self.otadata);
        Ok(Regions {
            app: Region::new(flash, self.app),
            slot: Region::in_place(flash, self.slot),
            journal: Region::new(flash, self.journal),
            boot: EspIdf::new(otadata, self.table.clone(), self.running)?,
        })
    }
}

fn overlap(one: Partition, other: Partition) -> bool {
    let end = |partition: Partition| partition.offset.saturating_add(partition.size);
    one.offset < end(other) && other.offset < end(one)
}
