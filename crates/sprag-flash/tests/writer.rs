//! Whole images into a slot, with the power cut everywhere: nothing lost, one sector at most fetched twice, and nothing
//! touched that does not belong to the image.

mod common;

use common::{PARTS, Params, TORN, operations, part};
use embassy_futures::block_on;
use embedded_storage_async::nor_flash::ReadNorFlash;
use sprag_flash::{Error, Geometry, JOB, Journal, SlotWriter};
use sprag_testkit::flash::Region;

const RESERVED: u32 = 100;

/// What of the slot is not the bootloader's.
fn room(device: &Device) -> std::ops::Range<u32> {
    0..device.slot.range().end - RESERVED
}

struct Device {
    slot: Region,
    journal: Region,
    geometry: Geometry,
}

/// A slot full of an older image, up to its last byte, and a journal of two to three sectors.
fn device(params: Params) -> Device {
    let (region, geometry) = part(params, 8);
    let split = region.range().end - 3 * params.1.max(256);
    let device = Device {
        slot: region.flash().region(0..split),
        journal: region.flash().region(split..region.range().end),
        geometry,
    };
    region.flash().load(0, &vec![0x5A; split as usize]).unwrap();
    device
}

fn image(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// One run from wherever the journal says, fed in chunks of `chunk`. Gives the bytes that had to be fetched.
fn run(device: &Device, image: &[u8], chunk: usize, budget: &mut u32) -> (u32, Result<(), Error>) {
    // No whole number of units of 16 bytes and more.
    let (mut scratch, mut buf) = ([0; 256], [0; 140]);
    let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
    let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut buf);
    let mut fetched = 0;
    let total = image.len() as u64;
    let work = async {
        let session = writer.session().await?;
        let mut transfer = match session.filter(|s| s.identity == b"image" && u64::from(s.total) == total) {
            Some(_) => writer.resume().await?,
            None => {
                let first = chunk.min(image.len()).min(writer.buffer().len());
                writer.buffer()[..first].copy_from_slice(&image[..first]);
                fetched += first as u32;
                writer.begin(b"image", total, room(device), first).await?
            }
        };
        while transfer.offset() < transfer.total() {
            let rest = &image[transfer.offset() as usize..];
            let spare = transfer.spare();
            let count = chunk.min(rest.len()).min(spare.len());
            spare[..count].copy_from_slice(&rest[..count]);
            fetched += count as u32;
            transfer.commit(count).await?;
        }
        transfer.finish()
    };
    let result = common::poll(work, budget).unwrap_or(Err(Error::Interrupted));
    (fetched, result)
}

fn check(device: &Device, image: &[u8]) {
    let slot = device.slot.contents();
    assert_eq!(slot[..image.len()], *image);
    let sector = device.geometry.erase_size as usize;
    let touched = image.len().next_multiple_of(sector);
    let padding = &slot[image.len()..touched];
    assert!(padding.iter().all(|byte| *byte == device.geometry.erased), "behind the image nothing is programmed");
    assert!(slot[touched..].iter().all(|byte| *byte == 0x5A), "sectors behind the image are not erased");
}

fn lengths(geometry: Geometry) -> [u32; 4] {
    let sector = geometry.erase_size;
    [1, sector, 2 * sector + 1, 3 * sector - 1]
}

#[test]
fn undisturbed_each_sector_is_erased_once() {
    for params in PARTS {
        for length in lengths(device(params).geometry) {
            for chunk in [1, 7, 64, 1000] {
                let device = device(params);
                let image = image(length);
                let (fetched, result) = run(&device, &image, chunk, &mut u32::MAX.clone());
                assert_eq!((fetched, result), (length, Ok(())));
                check(&device, &image);
                let sectors = (device.slot.range().end / params.1) as usize;
                let erases = &device.slot.flash().stats().erases_per_sector[..sectors];
                let wanted = length.div_ceil(params.1) as usize;
                assert!(erases.iter().enumerate().all(|(n, e)| *e == u32::from(n < wanted)), "{erases:?}");
                let (fetched, result) = run(&device, &image, chunk, &mut u32::MAX.clone());
                assert_eq!((fetched, result), (0, Ok(())), "a finished image is not written again");
            }
        }
    }
}

#[test]
fn a_cut_anywhere_costs_at_most_one_sector() {
    let mut states = 0u32;
    for params in PARTS {
        for length in lengths(device(params).geometry) {
            let image = image(length);
            let first = device(params);
            run(&first, &image, 50, &mut u32::MAX.clone()).1.unwrap();
            for cut in 0..operations(&first.slot) {
                for torn in TORN {
                    let device = device(params);
                    device.slot.flash().cut_power_after(cut, torn);
                    let (before, result) = run(&device, &image, 50, &mut u32::MAX.clone());
                    result.unwrap_err();
                    device.slot.flash().power_on();
                    let (after, result) = run(&device, &image, 50, &mut u32::MAX.clone());
                    assert_eq!(result, Ok(()), "cut at {cut}, {torn:?}");
                    check(&device, &image);
                    assert!(before + after <= length + params.1, "{before} + {after} for {length}");
                    states += 1;
                }
            }
        }
    }
    println!("{states} states");
}

#[test]
fn a_future_dropped_at_any_await_costs_no_more() {
    for params in PARTS {
        let image = image(2 * params.1 + 1);
        for polls in 0.. {
            let device = device(params);
            let (_, result) = run(&device, &image, 50, &mut polls.clone());
            assert_eq!(run(&device, &image, 50, &mut u32::MAX.clone()).1, Ok(()));
            check(&device, &image);
            if result.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn another_image_begins_anew_and_the_callers_record_stays() {
    let device = device((8, 256, 0xFF));
    run(&device, &image(700), 50, &mut 30.clone()).1.unwrap_err();
    let (mut scratch, mut buf) = ([0; 256], [0; 64]);
    let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
    let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut buf);
    block_on(async {
        let before = writer.session().await?.unwrap();
        assert_eq!((&before.identity[..], before.total), (&b"image"[..], 700));
        assert!(before.written > 0 && before.written.is_multiple_of(256), "{before:?}");
        writer.journal().put(JOB, b"job").await?;
        writer.begin(b"another", 300, room(&device), 0).await?;
        let after = writer.session().await?.unwrap();
        assert_eq!((&after.identity[..], after.total, after.written), (&b"another"[..], 300, 0));
        writer.forget().await?;
        assert_eq!(writer.session().await?, None);
        assert_eq!(writer.journal().get(JOB).await?, Some(&b"job"[..]));
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_erased() {
    let device = device((8, 256, 0xFF));
    let before = device.slot.flash().contents();
    let (mut scratch, mut buf) = ([0; 256], [0; 64]);
    let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
    let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut buf);
    let limit = (device.slot.range().end - RESERVED) / 256 * 256;
    for size in [u64::from(limit) + 1, u64::from(u32::MAX) + 1, u64::MAX] {
        let error = block_on(writer.begin(b"image", size, room(&device), 0)).unwrap_err();
        assert_eq!(error, Error::TooLarge { size, limit });
    }
    assert_eq!(block_on(writer.begin(&[0; 97], 10, room(&device), 0)).unwrap_err(), Error::Record);
    assert_eq!(block_on(writer.resume()).unwrap_err(), Error::NoSession);
    assert_eq!(device.slot.flash().contents(), before);

    block_on(async {
        let mut transfer = writer.begin(b"image", 10, room(&device), 4).await?;
        assert_eq!(transfer.spare().len(), 6, "never more room than the image has bytes left");
        assert_eq!(transfer.commit(7).await, Err(Error::Length));
        transfer.finish()
    })
    .map_err(|error| assert_eq!(error, Error::Length))
    .unwrap_err();
}

/// A flash that holds more than the slot: the image goes to the start of its room, and is read back there.
#[test]
fn an_image_lies_where_its_room_begins() {
    let device = device((8, 256, 0xFF));
    let (mut scratch, mut buf) = ([0; 256], [0; 64]);
    let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
    let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut buf);
    let image = image(300);
    block_on(async {
        assert_eq!(writer.begin(b"image", 300, 100..1000, 0).await.unwrap_err(), Error::Geometry, "not a sector");
        let limit = Error::TooLarge { size: 513, limit: 512 };
        assert_eq!(writer.begin(b"image", 513, 256..768, 0).await.unwrap_err(), limit);
        let mut transfer = writer.begin(b"image", 300, 256..768, 0).await?;
        while transfer.offset() < 300 {
            let at = transfer.offset() as usize;
            let spare = transfer.spare();
            let count = spare.len();
            spare.copy_from_slice(&image[at..at + count]);
            transfer.commit(count).await?;
        }
        transfer.finish()?;
        assert_eq!(writer.session().await?.map(|session| (session.start, session.written)), Some((256, 300)));
        let (mut window, _) = writer.slot(256..768);
        let (mut there, mut beyond) = ([0; 300], [0; 300]);
        window.read(0, &mut there).await.unwrap();
        assert_eq!((&there[..], window.capacity()), (&image[..], 512));
        assert!(window.read(300, &mut beyond).await.is_err(), "it ends where the room does");
        Ok::<(), Error>(())
    })
    .unwrap();
    let slot = device.slot.contents();
    assert!(slot[..256].iter().chain(&slot[768..]).all(|byte| *byte == 0x5A), "nothing else is touched");
}

/// Some bootloaders erase what they can't run: then nothing of it counts, and the image begins anew.
#[test]
fn an_image_that_was_erased_meanwhile_is_written_again() {
    let device = device((8, 256, 0xFF));
    let image = image(700);
    run(&device, &image, 50, &mut u32::MAX.clone()).1.unwrap();
    device.slot.erase_now(0, 1024).unwrap();
    assert_eq!(run(&device, &image, 50, &mut u32::MAX.clone()), (700, Ok(())));
    assert_eq!(device.slot.contents()[..700], image);
}
