//! Flash operations whose errors name the area they failed in.

#[cfg(feature = "mcuboot")]
use core::ops::Range;

#[cfg(any(feature = "mcuboot", feature = "embassy-boot"))]
use embedded_storage_async::nor_flash::NorFlashErrorKind;
use embedded_storage_async::nor_flash::{NorFlash, NorFlashError, ReadNorFlash};
#[cfg(feature = "mcuboot")]
use sprag_core::{FlashGeometry, scan};

use crate::error::{Area, Error};

fn failed<E: NorFlashError>(area: Area) -> impl FnOnce(E) -> Error {
    move |error| Error::Flash { area, kind: error.kind() }
}

pub(crate) fn capacity<F: ReadNorFlash>(flash: &F) -> Result<u32, Error> {
    u32::try_from(flash.capacity()).map_err(|_| Error::Layout)
}

pub(crate) async fn read<F: ReadNorFlash>(flash: &mut F, area: Area, at: u32, bytes: &mut [u8]) -> Result<(), Error> {
    flash.read(at, bytes).await.map_err(failed(area))
}

/// Reads a cell that a cut may have torn; whether it could be read. A torn one can't on some parts with ECC, however often
/// it is tried; a disturbance is over by the second time.
#[cfg(any(feature = "mcuboot", feature = "embassy-boot"))]
pub(crate) async fn read_torn<F: ReadNorFlash>(
    flash: &mut F,
    area: Area,
    at: u32,
    cell: &mut [u8],
) -> Result<bool, Error> {
    for _ in 0..2 {
        match read(flash, area, at, cell).await {
            Ok(()) => return Ok(true),
            Err(Error::Flash { kind: NorFlashErrorKind::Other, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

pub(crate) async fn write<F: NorFlash>(flash: &mut F, area: Area, at: u32, bytes: &[u8]) -> Result<(), Error> {
    flash.write(at, bytes).await.map_err(failed(area))
}

pub(crate) async fn erase<F: NorFlash>(flash: &mut F, area: Area, from: u32, to: u32) -> Result<(), Error> {
    flash.erase(from, to).await.map_err(failed(area))
}

/// Erases the sectors of a range: those that are not blank, or all of them. From the end down, where the most telling bytes
/// of a slot are.
#[cfg(feature = "mcuboot")]
pub(crate) async fn clean<F: NorFlash>(
    flash: &mut F,
    area: Area,
    Range { start, end }: Range<u32>,
    geometry: FlashGeometry,
    all: bool,
) -> Result<(), Error> {
    let mut to = end;
    while to > start {
        let from = to.saturating_sub(geometry.erase_size);
        if all || !is_blank(flash, from..to, geometry).await {
            erase(flash, area, from, to).await?;
        }
        to = from;
    }
    Ok(())
}

/// Returns whether all of it reads as erased: see [`scan::is_blank`].
#[cfg(feature = "mcuboot")]
pub(crate) async fn is_blank<F: ReadNorFlash>(flash: &mut F, range: Range<u32>, geometry: FlashGeometry) -> bool {
    // Reads are not bound to write units.
    let geometry = FlashGeometry { write_size: 1, ..geometry };
    scan::is_blank(flash, geometry, &mut [0; 64], (range.start, range.end)).await
}

/// Checks that a range which was just erased reads as the layout says: a wrong erased value would leave a trailer that the
/// bootloader reads otherwise.
#[cfg(feature = "mcuboot")]
pub(crate) async fn check_erased<F: ReadNorFlash>(
    flash: &mut F,
    area: Area,
    range: Range<u32>,
    geometry: FlashGeometry,
) -> Result<(), Error> {
    if is_blank(flash, range, geometry).await { Ok(()) } else { Err(Error::NotErased { area }) }
}
