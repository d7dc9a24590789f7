//! MCUboot: what it is told, and what runs by its header.

use embedded_storage_async::nor_flash::NorFlash;
use sprag::boot::McuBoot;
use sprag::verify::{self, Version, mcuboot};
use sprag_stm32::{Flash, Region};

use crate::SLOT_ERASE;
use crate::board::MAP;

/// What images are.
pub(crate) const FORMAT: verify::McuBoot = verify::McuBoot;

type Slot<'f, F> = Region<'f, F, SLOT_ERASE>;

/// The hand-over, and the version that runs.
pub(crate) async fn open<F: NorFlash>(flash: &Flash<F>) -> (McuBoot<Slot<'_, F>, Slot<'_, F>>, Version) {
    let mut primary = defmt::unwrap!(flash.region(MAP.active).ok());
    let secondary = defmt::unwrap!(flash.region(MAP.update).ok());
    // Started by a debugger, without a header: any image is newer.
    let running = mcuboot::version(&mut primary, &mut [0; 64]).await.unwrap_or_default();
    (McuBoot::new(primary, secondary, MAP.mcuboot()), running)
}
