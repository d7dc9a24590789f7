//! The blocking journal and slot writer do the same operations as the asynchronous ones, and go on where those stopped.

mod common;

use std::convert::Infallible;

use common::{PARTS, TORN, operations, part, small_parts};
use embassy_futures::block_on;
use embedded_storage::nor_flash::ReadNorFlash;
use sprag_flash::{Error, FeedError, FlashGeometry, blocking};
use sprag_testkit::flash::{Region, SimFlash};

#[test]
fn the_journal_does_the_same_operations() {
    for params in PARTS {
        let (one, geometry) = part(params, 4);
        let (two, _) = part(params, 4);
        let (mut scratch, mut other) = ([0; 256], [0; 256]);
        let mut journal = blocking::Journal::new(one.clone(), geometry, &mut scratch);
        let mut asynchronous = sprag_flash::Journal::new(two.clone(), geometry, &mut other);
        for n in 0..40u8 {
            let payload = vec![n; usize::from(n % 5) * 7];
            let kind = n % 3 + 1;
            assert_eq!(journal.put(kind, &payload), Ok(()));
            assert_eq!(block_on(asynchronous.put(kind, &payload)), Ok(()));
            assert_eq!(journal.get(kind), block_on(asynchronous.get(kind)));
            assert_eq!(journal.stats(), block_on(asynchronous.stats()));
            assert_eq!((one.contents(), operations(&one)), (two.contents(), operations(&two)));
        }
        assert_eq!(journal.put(0, b"none"), Err(Error::Record));
    }
}

struct Device {
    slot: Region,
    journal: Region,
    geometry: FlashGeometry,
    runs: Vec<sprag_flash::Sectors>,
}

impl Device {
    fn new(small: &common::Small) -> Self {
        let flash = SimFlash::of(small.part.clone());
        let part = &small.part;
        let end = part.capacity();
        let split = end - (16 * part.write_size).max(1024).next_multiple_of(2 * small.erase_size);
        flash.load(0, &vec![0x5A; split as usize]).unwrap();
        let geometry = FlashGeometry { write_size: part.write_size, erase_size: small.erase_size, erased: part.erased };
        Self { slot: flash.region(0..split), journal: flash.region(split..end), geometry, runs: small.slot.clone() }
    }

    /// One life of a device whose driver blocks.
    fn blocking(&self, image: &[u8], feed: bool) -> Result<(), Error> {
        let (mut scratch, mut buf) = ([0; 600], [0; 512]);
        let journal = blocking::Journal::new(self.journal.clone(), self.geometry, &mut scratch);
        let mut writer =
            blocking::SlotWriter::new(self.slot.clone(), self.geometry, journal, &mut buf).sectors(&self.runs);
        let mut is_known = writer.session()?.is_some_and(|session| session.identity == b"image");
        loop {
            let mut transfer = if is_known {
                writer.resume()?
            } else {
                writer.begin(b"image", image.len() as u64, 0..self.slot.range().end, 0)?
            };
            is_known = true;
            let mut offset = transfer.offset() as usize;
            let mut read = |room: &mut [u8]| {
                let count = room.len().min(50);
                room[..count].copy_from_slice(&image[offset..offset + count]);
                offset += count;
                count
            };
            let fed = if feed {
                transfer.feed(|room| Ok::<_, Infallible>(read(room)))
            } else {
                loop {
                    if transfer.offset() == transfer.total() {
                        break Ok(());
                    }
                    let count = read(transfer.spare());
                    if let Err(error) = transfer.commit(count) {
                        break Err(FeedError::Flash(error));
                    }
                }
            };
            match fed {
                Ok(()) => return transfer.finish(),
                Err(FeedError::Flash(Error::SectorLost)) => {}
                Err(FeedError::Flash(error)) => return Err(error),
                Err(FeedError::Source(never)) => match never {},
            }
        }
    }

    /// One life of a device with an executor.
    fn asynchronous(&self, image: &[u8]) -> Result<(), Error> {
        let (mut scratch, mut buf) = ([0; 600], [0; 512]);
        let journal = sprag_flash::Journal::new(self.journal.clone(), self.geometry, &mut scratch);
        let mut writer =
            sprag_flash::SlotWriter::new(self.slot.clone(), self.geometry, journal, &mut buf).sectors(&self.runs);
        block_on(async {
            let mut is_known = writer.session().await?.is_some_and(|session| session.identity == b"image");
            loop {
                let mut transfer = if is_known {
                    writer.resume().await?
                } else {
                    writer.begin(b"image", image.len() as u64, 0..self.slot.range().end, 0).await?
                };
                is_known = true;
                let mut offset = transfer.offset() as usize;
                let fed = transfer.feed(async |room: &mut [u8]| {
                    let count = room.len().min(50);
                    room[..count].copy_from_slice(&image[offset..offset + count]);
                    offset += count;
                    Ok::<_, Infallible>(count)
                });
                match fed.await {
                    Ok(()) => return transfer.finish(),
                    Err(FeedError::Flash(Error::SectorLost)) => {}
                    Err(FeedError::Flash(error)) => return Err(error),
                    Err(FeedError::Source(never)) => match never {},
                }
            }
        })
    }
}

/// Cut at every operation in every way, an image comes whole, whichever of both goes on with it.
#[test]
fn one_goes_on_where_the_other_was_cut() {
    for small in small_parts() {
        let image: Vec<u8> =
            (0..2 * small.erase_size + 77).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let whole = Device::new(&small);
        assert_eq!(whole.blocking(&image, true), Ok(()));
        let same = Device::new(&small);
        assert_eq!(same.asynchronous(&image), Ok(()));
        assert_eq!(operations(&whole.slot), operations(&same.slot), "{}", small.part.name);
        assert!(whole.slot.flash().contents() == same.slot.flash().contents());
        for cut in 0..operations(&whole.slot) {
            for torn in TORN {
                let context = format!("{} cut at {cut}, {torn:?}", small.part.name);
                for is_first_blocking in [true, false] {
                    let device = Device::new(&small);
                    let flash = device.slot.flash();
                    flash.cut_power_after(cut, torn);
                    let first =
                        if is_first_blocking { device.blocking(&image, false) } else { device.asynchronous(&image) };
                    assert!(first.is_err() || flash.is_dead(), "{context}");
                    flash.power_on();
                    let second =
                        if is_first_blocking { device.asynchronous(&image) } else { device.blocking(&image, true) };
                    assert_eq!(second, Ok(()), "{context}");
                    assert!(device.slot.contents()[..image.len()] == image, "{context}");
                    assert_eq!(flash.violations(), [], "{context}");
                }
            }
        }
    }
}

/// A source that fails loses nothing that is in flash, and what was held back is shown and written.
#[test]
fn the_rest_of_the_interface_is_there() {
    let small = small_parts().remove(2);
    let device = Device::new(&small);
    let image: Vec<u8> = (0..600u32).map(|n| n as u8).collect();
    let (mut scratch, mut buf) = ([0; 256], [0; 64]);
    let journal = blocking::Journal::new(device.journal.clone(), device.geometry, &mut scratch);
    let mut writer = blocking::SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut buf);
    let held_back = device.geometry.write_size.max(8) as usize;
    writer.hold_back(held_back);
    let room = 0..device.slot.range().end;
    assert_eq!(writer.resume().err(), Some(Error::NoSession));
    writer.buffer()[..20].copy_from_slice(&image[..20]);
    let mut transfer = writer.begin(b"image", 600, room.clone(), 20).unwrap();
    let mut offset = transfer.offset() as usize;
    let fed = transfer.feed(|room| {
        let count = room.len().min(200usize.saturating_sub(offset));
        if count == 0 {
            return Err("no more");
        }
        room[..count].copy_from_slice(&image[offset..offset + count]);
        offset += count;
        Ok(count)
    });
    assert_eq!(fed, Err(FeedError::Source("no more")));
    assert_eq!(transfer.finish(), Err(Error::Length));
    let written = writer.session().unwrap().unwrap().written as usize;
    assert!(written <= 200 && 200 - written < 64, "{written}");
    let mut transfer = writer.resume().unwrap();
    while transfer.offset() < transfer.total() {
        let from = transfer.offset() as usize;
        let spare = transfer.spare();
        let count = spare.len();
        spare.copy_from_slice(&image[from..from + count]);
        transfer.commit(count).unwrap();
    }
    transfer.finish().unwrap();
    assert_ne!(device.slot.contents()[..held_back], image[..held_back]);
    let mut read = [0; 600];
    writer.slot(room).unwrap().0.read(0, &mut read).unwrap();
    assert_eq!(read[..], image);
    writer.write_head().unwrap();
    assert_eq!(device.slot.contents()[..600], image);
    writer.forget().unwrap();
    assert_eq!(writer.session(), Ok(None));
}
