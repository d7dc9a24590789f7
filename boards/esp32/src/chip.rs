//! What of the board is the chip's: flash, the page that runs, watchdog, reset. All of it `esp-hal`'s and `esp-storage`'s.

use core::cell::RefCell;

use esp_hal::peripherals::{FLASH, RTC_TIMER};
use esp_hal::rtc_cntl::{Rtc, Rwdt, RwdtStage};
use esp_hal::time::Duration;
use esp_storage::FlashStorage;
use sprag_boot::esp_idf::Table;

use crate::error::MapError;
use crate::flash::Flash;
use crate::map::Map;

/// The watchdog of the RTC: it resets the whole chip, and runs on a clock of its own. `esp-hal` switches it off at its
/// start, so a new image on trial has none until it starts it again.
pub struct Watchdog(RefCell<Rwdt>);

impl core::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}

impl Watchdog {
    /// Starts it. It must be fed within `timeout`: a second and more, for an erase of a sector can take 0.4 s.
    pub fn start(timer: RTC_TIMER<'_>, timeout: Duration) -> Self {
        let mut watchdog = Rtc::new(timer).rwdt;
        watchdog.set_timeout(RwdtStage::Stage0, timeout);
        watchdog.enable();
        watchdog.feed();
        Self(RefCell::new(watchdog))
    }

    /// Feeds it. Not from interrupts.
    pub fn feed(&self) {
        self.0.borrow_mut().feed();
    }
}

/// The flash, and what lies where in it.
#[derive(Debug)]
pub struct Board<'d, W> {
    /// To be put into a `Mutex` for [`Map::regions`].
    pub flash: Flash<FlashStorage<'d>, W>,
    /// What an update has to do with.
    pub map: Map,
}

impl<'d, W: FnMut()> Board<'d, W> {
    /// Takes the flash and reads its partition table, at [`Table::OFFSET`]. `feed` feeds the watchdog during erases.
    ///
    /// # Errors
    /// [`MapError`].
    ///
    /// # Cancellation safety
    /// Reads only; the flash is gone with the future.
    pub async fn new(flash: FLASH<'d>, feed: W) -> Result<Self, MapError> {
        if esp_storage::flash_encryption() {
            return Err(MapError::Encrypted);
        }
        let address = running_address();
        let driver = FlashStorage::new(flash);
        // The other core must not run from the flash while it is written.
        #[cfg(any(feature = "esp32", feature = "esp32s3"))]
        let driver = driver.multicore_auto_park();
        let mut flash = Flash::new(driver, feed);
        let map = Map::read(&mut flash, Table::OFFSET, address).await?;
        Ok(Self { flash, map })
    }
}

/// Where in the flash the running image begins: what the bootloader has mapped to the first page of read-only data, which is
/// where an image's first segment lies. As `booted_partition` of `esp-bootloader-esp-idf` finds it.
fn running_address() -> u32 {
    #[cfg(not(feature = "esp32c6"))]
    {
        // A table of its own; pages of 64 KiB. On the S2, read-only data begins in its entry 128.
        let first = if cfg!(feature = "esp32s2") { 128 } else { 0 };
        let entry = esp_hal::peripherals::MMU_TABLE::regs().entry(first).read();
        u32::from(entry.paddr().bits()) << 16
    }
    #[cfg(feature = "esp32c6")]
    {
        // An entry is chosen by an index, 0 after a reset. Nobody else chooses one: we have the flash.
        let mmu = esp_hal::peripherals::SPI0::regs();
        mmu.mmu_item_index().reset();
        let page_bits = 16 - u32::from(mmu.mmu_power_ctrl().read().spi_mmu_page_size().bits());
        u32::from(mmu.mmu_item_content().read().paddr().bits()) << page_bits
    }
}

/// Resets the chip: the bootloader runs, and tries what is staged.
pub fn reset() -> ! {
    esp_hal::system::software_reset()
}
