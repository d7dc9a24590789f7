use super::*;
use crate::flash::{FlashGeometry, SimFlash};
use crate::image::EspIdfImage;

const OTADATA: u32 = 4096;

/// An image here is a partition that begins with 0x5A.
fn device(factory: bool, images: &[bool]) -> EspIdf {
    let sector = |index: u32| index * 4096..(index + 1) * 4096;
    let flash = SimFlash::in_memory(20 * 4096, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF });
    let ota: Vec<_> = (0..images.len() as u32).map(|index| sector(4 + index)).collect();
    for (partition, _) in ota.iter().zip(images).filter(|(_, image)| **image) {
        flash.load(partition.start, &[0x5A]).unwrap();
    }
    flash.load(3 * 4096, &[0x5A]).unwrap();
    let partitions = Partitions::new(OTADATA, factory.then(|| sector(3)), ota);
    EspIdf::new(flash.region(0..20 * 4096), partitions, Build::Rollback, |bytes| bytes[0] == 0x5A)
}

fn put(device: &EspIdf, entries: [Option<Entry>; 2]) {
    for (at, entry) in [OTADATA, OTADATA + SECTOR].into_iter().zip(entries) {
        device.flash.flash().load(at, &entry.map_or([0xFF; 32], |entry| entry.bytes())).unwrap();
    }
}

#[test]
fn the_crc_is_that_of_the_rom() {
    for (seq, expected) in [(1, 0x4743_989A), (2, 0x55F6_3774), (3, 0xED4A_5011), (4, 0x709D_68A8)] {
        assert_eq!(crc(seq), expected);
    }
}

#[test]
fn the_higher_number_of_those_that_count_runs() {
    let device = device(true, &[true, true, true]);
    let torn = Entry { crc: 0, ..Entry::new(9, VALID) };
    for (entries, app) in [
        ([None, None], App::Factory),
        ([Some(Entry::new(1, VALID)), None], App::Ota(0)),
        ([Some(Entry::new(1, VALID)), Some(Entry::new(2, u32::MAX))], App::Ota(1)),
        ([Some(Entry::new(6, VALID)), Some(Entry::new(2, VALID))], App::Ota(2)),
        ([Some(Entry::new(1, VALID)), Some(Entry::new(2, ABORTED))], App::Ota(0)),
        ([Some(Entry::new(1, VALID)), Some(Entry::new(2, INVALID))], App::Ota(0)),
        ([Some(torn), Some(Entry::new(2, VALID))], App::Ota(1)),
        ([Some(torn), None], App::Factory),
    ] {
        put(&device, entries);
        assert_eq!(device.boot().unwrap(), Some(app), "{entries:?}");
    }
}

#[test]
fn a_new_app_runs_once_unless_it_is_marked_valid() {
    let device = device(false, &[true, true]);
    put(&device, [Some(Entry::new(1, VALID)), Some(Entry::new(2, NEW))]);
    assert_eq!(device.boot().unwrap(), Some(App::Ota(1)));
    assert_eq!(device.entries().unwrap()[1].state, PENDING_VERIFY);
    assert_eq!(device.boot().unwrap(), Some(App::Ota(0)));
    assert_eq!(device.entries().unwrap()[1].state, ABORTED);
}

#[test]
fn an_image_is_checked_to_its_end() {
    let image = EspIdfImage {
        chip: 5,
        revisions: [0, 199],
        version: "1.0.0",
        secure_version: 0,
        project: "",
        data: &[1; 8],
        program: &[2; 40],
    };
    let image = image.build();
    assert!(check_image(&[&image[..], &[0xFF; 64]].concat()));
    for at in (0..image.len()).filter(|at| *at < 4 || *at >= 24) {
        let mut flipped = image.clone();
        flipped[at] ^= 0x10;
        assert!(!check_image(&flipped), "{at}");
        assert!(!check_image(&image[..at]), "{at}");
    }
}

#[test]
fn an_image_that_cannot_run_gives_way_downwards_then_upwards() {
    for (images, seq, app) in [
        ([true, true, false], 3, Some(App::Ota(1))),
        ([false, false, true], 2, Some(App::Ota(2))),
        ([false, false, false], 1, None),
    ] {
        let device = device(false, &images);
        put(&device, [Some(Entry::new(seq, VALID)), None]);
        assert_eq!(device.boot().unwrap(), app);
    }
    let blank = device(false, &[false, true]);
    assert_eq!(blank.boot().unwrap(), Some(App::Ota(1)));
    assert_eq!(blank.entries().unwrap()[0], Entry::new(2, VALID), "what runs is written down");
}

fn with_version(device: &EspIdf, app: App, version: u32) {
    let at = device.partitions.app(app).unwrap().start + 32;
    device.flash.flash().load(at, &[0xABCD_5432_u32.to_le_bytes(), version.to_le_bytes()].concat()).unwrap();
}

#[test]
fn an_app_below_the_efuse_is_passed_over() {
    let mut device = device(false, &[true, true]);
    device.build = Build::AntiRollback;
    device.efuse = Efuse::new(2);
    with_version(&device, App::Ota(0), 2);
    with_version(&device, App::Ota(1), 1);
    put(&device, [Some(Entry::new(1, VALID)), Some(Entry::new(2, NEW))]);
    assert_eq!(device.boot().unwrap(), Some(App::Ota(0)));
    assert_eq!(device.set_boot_partition(App::Ota(1)), Err(CallError::Returned(EspError::SmallSecureVersion)));
    assert!(!device.may_load(&device.partitions.app(App::Ota(1)).unwrap()), "it was erased");
    with_version(&device, App::Ota(0), 3);
    assert_eq!(device.boot().unwrap(), Some(App::Ota(0)));
    assert_eq!(device.efuse.version(), 3, "a valid app's version is burnt");
}

#[test]
fn the_test_app_is_the_last_resort() {
    let mut device = device(true, &[false, false]);
    device.partitions.test = 10 * 4096..11 * 4096;
    device.flash.flash().load(10 * 4096, &[0x5A]).unwrap();
    assert_eq!(device.boot().unwrap(), Some(App::Factory));
    device.flash.flash().load(3 * 4096, &[0]).unwrap();
    assert_eq!(device.boot().unwrap(), Some(App::Test));
}

#[test]
fn an_entry_keeps_its_label() {
    let device = device(true, &[true, true]);
    put(&device, [Some(Entry { label: [7; 20], ..Entry::new(1, NEW) }), None]);
    device.boot().unwrap();
    device.mark_app_valid_cancel_rollback(App::Ota(0)).unwrap();
    assert_eq!(device.entries().unwrap()[0], Entry { label: [7; 20], ..Entry::new(1, VALID) });
}

#[test]
fn numbers_end_as_they_do_there() {
    let staged = |seq, slot, count: usize| {
        let device = device(true, &vec![true; count]);
        put(&device, [Some(Entry::new(seq, VALID)), None]);
        device.set_boot_partition(App::Ota(slot)).map(|()| device.entries().unwrap()[1].seq)
    };
    assert_eq!(staged(5, 1, 2), Ok(6));
    assert_eq!(staged(u32::MAX - 1, 0, 2), Ok(u32::MAX), "which counts as blank");
    assert_eq!(staged(u32::MAX - 1, 3, 4), Err(CallError::NeverReturns));
    // 1 + 3 n wraps around to 0 + 3 n, which ends with a number that counts as blank.
    assert_eq!(staged(u32::MAX - 1, 0, 3), Ok(u32::MAX));
    assert_eq!(staged(0, 2, 3), Ok(0));
}

#[test]
fn a_row_behind_the_digest_costs_the_last_one() {
    use md5::{Digest, Md5};
    let row = |subtype: u8, offset: u32| {
        [&[0xAA, 0x50, 0, subtype][..], &offset.to_le_bytes(), &0x1000_u32.to_le_bytes(), &[0; 20]].concat()
    };
    let (first, second) = (row(0x10, 0x4000), row(0x11, 0x5000));
    let digest = [&[0xEB, 0xEB][..], &[0xFF; 14], &Md5::digest(&first)].concat();
    let end = vec![0xFF; 32];
    let read =
        |rows: &[&Vec<u8>]| Partitions::read(&rows.iter().copied().flatten().copied().collect::<Vec<_>>(), 0x6000);
    assert_eq!(read(&[&first, &digest, &end]).unwrap().count, 1);
    assert_eq!(read(&[&first, &digest, &second, &end]).unwrap().count, 1);
    assert_eq!(read(&[&first, &second, &end]).unwrap().count, 2);
    assert_eq!((read(&[&first, &second, &digest, &end]), read(&[&end]), read(&[&first])), (None, None, None));
    assert_eq!(read(&[&row(0x10, 0x6000), &end]), None, "outside of the flash");
}
