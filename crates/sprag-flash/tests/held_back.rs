//! The first bytes of an image are held back until they are asked for: with the power cut in every operation and in every
//! way, the slot never begins with them before, and nothing of the image is lost.

mod common;

use common::{PARTS, TORN};
use embassy_futures::block_on;
use embedded_storage_async::nor_flash::ReadNorFlash;
use sprag_flash::{Error, FlashGeometry, HELD_BACK_MAX, Journal, SlotWriter};
use sprag_testkit::flash::{self, Region, SimFlash};

const SECTOR: u32 = 512;
const SLOT: u32 = 6 * SECTOR;
const LENGTH: u32 = 3 * SECTOR + 77;

fn image() -> Vec<u8> {
    (0..LENGTH).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Gives a writer to `life`. It is told what to hold back only where a download begins.
fn with<T>(flash: &SimFlash, life: impl FnOnce(&mut SlotWriter<'_, Region, Region>) -> T) -> T {
    let flash::FlashGeometry { write_size, erase_size, erased, .. } = flash.geometry();
    let geometry = FlashGeometry { write_size, erase_size, erased };
    let (mut buf, mut scratch) = ([0; 128], [0; 256]);
    let journal = Journal::new(flash.region(SLOT..flash.capacity()), geometry, &mut scratch);
    life(&mut SlotWriter::new(flash.region(0..SLOT), geometry, journal, &mut buf))
}

/// From one start to the next: goes on with the image or begins it, reads it back, and writes its beginning.
fn live(flash: &SimFlash, held_back: usize) -> Result<(), Error> {
    let image = image();
    with(flash, |writer| {
        block_on(async {
            let mut transfer = match writer.session().await? {
                Some(_) => writer.resume().await?,
                None => {
                    writer.hold_back(held_back);
                    writer.begin(b"image", LENGTH.into(), 0..SLOT, 0).await?
                }
            };
            while transfer.offset() < transfer.total() {
                let at = transfer.offset() as usize;
                let spare = transfer.spare();
                let count = spare.len().min(image.len() - at);
                spare[..count].copy_from_slice(&image[at..at + count]);
                match transfer.commit(count).await {
                    Err(Error::SectorLost) => return Ok(()),
                    result => result?,
                }
            }
            transfer.finish()?;
            let mut read = vec![0; image.len()];
            let (mut slot, _) = writer.slot(0..SLOT).await?;
            slot.read(0, &mut read).await.map_err(|_| Error::NoSession)?;
            assert_eq!(read, image, "the slot reads as if all of it were there");
            writer.write_head().await?;
            writer.write_head().await
        })
    })
}

/// Whether the slot begins with the image's first unit.
fn begins(flash: &SimFlash, held_back: usize) -> bool {
    flash.contents()[..held_back] == image()[..held_back]
}

#[test]
fn nothing_of_the_beginning_is_in_the_slot_before_it_is_asked_for() {
    for (write_size, _, erased) in PARTS.into_iter().filter(|(write_size, ..)| *write_size as usize <= HELD_BACK_MAX) {
        let held_back = write_size.max(8) as usize;
        let capacity = SLOT + 4 * SECTOR;
        let part = flash::FlashGeometry { write_size, erase_size: SECTOR, erased };
        for torn in TORN {
            for cut in 0.. {
                let flash = SimFlash::in_memory(capacity, part);
                flash.load(0, &vec![0x5A; SLOT as usize]).unwrap();
                flash.cut_power_after(cut, torn);
                let whole = live(&flash, held_back).is_ok() && !flash.is_dead();
                flash.power_on();
                // The session is whole before the first byte of the beginning goes to the slot.
                let written = with(&flash, |writer| block_on(writer.session()).unwrap().map_or(0, |it| it.written));
                assert!(written == LENGTH || !begins(&flash, held_back), "{torn:?} in operation {cut}");
                for _ in 0..4 {
                    if begins(&flash, held_back) {
                        break;
                    }
                    live(&flash, held_back).unwrap();
                }
                assert_eq!(flash.contents()[..LENGTH as usize], image(), "{torn:?} in operation {cut}");
                if whole {
                    break;
                }
            }
        }
    }
}

#[test]
fn lengths_that_cannot_work_are_refused() {
    let capacity = SLOT + 4 * SECTOR;
    let part = flash::FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF };
    for (length, error) in [(4, Error::Geometry), (12, Error::Geometry), (HELD_BACK_MAX + 8, Error::Geometry)] {
        let flash = SimFlash::in_memory(capacity, part);
        assert_eq!(live(&flash, length), Err(error), "{length}");
    }
    let flash = SimFlash::in_memory(capacity, part);
    assert_eq!(with(&flash, |writer| block_on(writer.write_head())), Err(Error::NoSession));
}
