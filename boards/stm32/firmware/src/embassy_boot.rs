//! embassy-boot: what it is told, and what runs by its own word.

use embedded_storage_async::nor_flash::NorFlash;
use sprag::boot::EmbassyBoot;
use sprag::verify::{Raw, Version, VersionAt};
use sprag_stm32::{Flash, Region, VERSION_AT};

use crate::board::MAP;

/// What images are: any bytes, signed as the job says, with their version where the linker puts it.
pub(crate) const FORMAT: Raw = Raw(VersionAt::Offset(VERSION_AT));

const VERSION: Version = Version::new(
    number(env!("CARGO_PKG_VERSION_MAJOR")) as u8,
    number(env!("CARGO_PKG_VERSION_MINOR")) as u8,
    number(env!("CARGO_PKG_VERSION_PATCH")),
);

/// Covered by the image's signature.
#[used]
#[unsafe(link_section = ".sprag_version")]
static IN_THE_IMAGE: [u8; 8] = VERSION.to_bytes();

const STATE_ERASE: usize = MAP.part.erase_size(&MAP.state) as usize;

/// The hand-over, and the version that runs.
pub(crate) async fn open<F: NorFlash>(flash: &Flash<F>) -> (EmbassyBoot<Region<'_, F, STATE_ERASE>>, Version) {
    let state = defmt::unwrap!(flash.region(MAP.state).ok());
    (EmbassyBoot::new(state, MAP.embassy_boot()), VERSION)
}

/// A part of the package's version.
const fn number(digits: &str) -> u16 {
    match u16::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("not a version"),
    }
}
