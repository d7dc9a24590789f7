//! The hostile flash keeps each part's rules, tears operations as it says, and counts what was done.

use std::sync::{Arc, Mutex};

use embassy_futures::block_on;
use embedded_storage::nor_flash as blocking;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use sprag_testkit::flash::{Disturbance, FlashError, Part, ProgramRule, Region, Sectors, SimFlash, Torn};

fn whole(flash: &SimFlash) -> Region {
    flash.region(0..flash.capacity())
}

#[test]
fn every_part_keeps_its_rules() {
    for part in Part::all() {
        let flash = SimFlash::of(part.clone());
        let region = whole(&flash);
        // Two bits of each byte, and then all of them.
        let first = vec![part.erased ^ 0x81; part.write_size as usize];
        let all = vec![!part.erased; part.write_size as usize];
        assert_eq!(region.contents(), vec![part.erased; part.capacity() as usize], "{}", part.name);
        region.write_now(0, &first).unwrap();
        let again = region.write_now(0, &first);
        let rest = region.write_now(0, &all);
        let twice = Err(FlashError::ProgrammedTwice { offset: 0 });
        match part.rule {
            ProgramRule::Nor => {
                assert_eq!((again, rest), (Ok(()), Ok(())));
                assert_eq!(region.write_now(0, &first), Err(FlashError::NotErased { offset: 0 }));
            }
            ProgramRule::Once => assert_eq!((again, rest), (twice.clone(), twice)),
            ProgramRule::OnceOrAll => assert_eq!((again, rest), (twice, Ok(()))),
            ProgramRule::Unchecked => unreachable!("no part is so"),
        }
        region.erase_now(0, part.sectors[0].size).unwrap();
        let programs = flash.stats().programs * part.timing.program_ns;
        assert_eq!(flash.stats().time_ns, programs + part.timing.erase_ns[0].1, "{}", part.timing.source);
    }
}

#[test]
fn sectors_of_three_sizes_are_erased_as_they_lie() {
    let flash = SimFlash::of(Part::stm32f4());
    let region = whole(&flash);
    assert_eq!(flash.geometry().erase_size, 128 << 10);
    region.erase_now(48 << 10, 256 << 10).unwrap();
    assert_eq!(flash.stats().erases_per_sector, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
    for (from, to) in [(0, 8 << 10), (16 << 10, 100 << 10), (64 << 10, 192 << 10)] {
        assert!(matches!(region.erase_now(from, to), Err(FlashError::NotAligned { .. })), "{from}..{to}");
    }
    assert_eq!(flash.violations().len(), 3);
}

/// Each way to tear a program or an erase, on a part with ECC and on one without.
#[test]
fn what_is_torn_is_as_it_was_said() {
    for ecc in [false, true] {
        let part = Part { ecc, ..Part::stm32g0() }.sectors(&[Sectors { count: 4, size: 256 }]);
        for torn in Torn::WAYS {
            let flash = SimFlash::of(part.clone());
            let region = whole(&flash);
            flash.cut_power_after(0, torn);
            assert_eq!(region.write_now(0, &[0; 8]), Err(FlashError::PowerLost));
            flash.power_on();
            let found = &region.contents()[..8];
            let zeros = found.iter().map(|byte| byte.count_zeros()).sum::<u32>();
            let expected = match torn {
                Torn::Nothing | Torn::Began => 0..=0,
                Torn::Half => 32..=32,
                Torn::Almost(_) => 56..=63,
                Torn::Whole => 64..=64,
                _ => 1..=63,
            };
            assert!(expected.contains(&zeros), "{torn}: {found:x?}");
            let read = block_on(ReadNorFlash::read(&mut region.clone(), 0, &mut [0; 8]));
            let unreadable = ecc && matches!(torn, Torn::Unreadable(_));
            assert_eq!(read, if unreadable { Err(FlashError::Unreadable { offset: 0 }) } else { Ok(()) });
            // Only what never began can be programmed now, and only what came to its end is anybody's fault.
            assert_eq!(region.write_now(0, &[0; 8]).is_ok(), torn == Torn::Nothing, "{torn}");
            assert_eq!(flash.violations().len(), usize::from(torn == Torn::Whole), "{torn}");
            region.erase_now(0, 256).unwrap();
            region.write_now(0, &[0; 8]).unwrap();
        }
        for torn in Torn::WAYS {
            let flash = SimFlash::of(part.clone());
            let region = whole(&flash);
            region.write_now(0, &[0; 256]).unwrap();
            flash.cut_power_after(0, torn);
            assert_eq!(region.erase_now(0, 256), Err(FlashError::PowerLost));
            flash.power_on();
            assert_eq!(region.contents()[256..], [0xFF; 768], "nothing beside it");
            // However blank it reads, it has to be erased again.
            let refused = region.write_now(248, &[0; 8]);
            let expected = match torn {
                Torn::Nothing => FlashError::ProgrammedTwice { offset: 248 },
                _ => FlashError::EraseUnfinished { offset: 248 },
            };
            assert_eq!(refused, Err(expected), "{torn}");
            region.erase_now(0, 256).unwrap();
            region.write_now(248, &[0; 8]).unwrap();
        }
    }
}

/// An erase that programs first: bits that were erased are programmed, none is erased, and the sector must be erased again.
#[test]
fn an_erase_that_is_cut_while_it_programs_leaves_more_bits_programmed() {
    for erased in [0x00, 0xFF] {
        let part = Part { erased, ..Part::stm32g0() }.sectors(&[Sectors { count: 1, size: 256 }]);
        let region = whole(&SimFlash::of(part));
        region.write_now(0, &[0x5A; 8]).unwrap();
        let before = region.contents();
        region.flash().cut_power_after(0, Torn::Preprogrammed(5));
        assert_eq!(region.erase_now(0, 256), Err(FlashError::PowerLost));
        region.flash().power_on();
        let programmed = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ erased).collect::<Vec<u8>>();
        let (before, after) = (programmed(&before), programmed(&region.contents()));
        assert!(before.iter().zip(&after).all(|(before, after)| before & !after == 0), "no bit is erased");
        assert_ne!(before[8..], after[8..]);
        assert_eq!(region.write_now(248, &[0x5A; 8]), Err(FlashError::EraseUnfinished { offset: 248 }));
    }
}

#[test]
fn ways_are_read_as_they_are_written() {
    for torn in Torn::WAYS.into_iter().chain([Torn::Bytes(3), Torn::Preprogrammed(5)]) {
        assert_eq!(torn.to_string().parse(), Ok(torn));
    }
    for bad in ["", "torn", "bits", "bits=", "half=1", "bytes=-1"] {
        assert!(bad.parse::<Torn>().is_err(), "{bad}");
    }
}

#[test]
fn power_fails_at_a_byte_or_at_random() {
    let part = Part::esp32();
    let flash = SimFlash::of(part.clone());
    let region = whole(&flash);
    flash.cut_power_after_bytes(4096 + 6);
    region.erase_now(0, 4096).unwrap();
    region.write_now(0, &[0; 12]).unwrap_err();
    assert!(flash.is_dead());
    flash.power_on();
    assert_eq!(region.contents()[..8], [0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);

    let flash = SimFlash::of(part.sectors(&[Sectors { count: 1, size: 256 }]));
    let draws: Vec<_> = (0..200).map(|seed| flash.cut_power_at_random(seed, 100)).collect();
    assert_eq!(flash.cut_power_at_random(7, 100), draws[7], "from a seed");
    assert!(draws.iter().all(|(operation, _)| *operation < 100));
    assert!(Torn::WAYS.iter().all(|way| draws.iter().any(|(_, drawn)| drawn == way)));
}

/// One run, and a flash for each cut in it; the same as running again and cutting there.
#[test]
fn a_run_forks_at_every_operation() {
    let part = Part::stm32l4().sectors(&[Sectors { count: 2, size: 64 }]);
    let life = |flash: &SimFlash| {
        let region = whole(flash);
        region.erase_now(0, 64)?;
        region.write_now(0, &[0x12; 24])
    };
    let forks = Arc::new(Mutex::new(Vec::new()));
    let flash = SimFlash::of(part.clone());
    let seen = forks.clone();
    flash.before_operations(move |cut| {
        let number = cut.operation().number;
        seen.lock().unwrap().extend(Torn::WAYS.map(|torn| (number, torn, cut.leaves(torn))));
    });
    life(&flash).unwrap();
    flash.unobserved();
    let forks = std::mem::take(&mut *forks.lock().unwrap());
    assert_eq!(forks.len(), 4 * Torn::WAYS.len());
    for (number, torn, snapshot) in forks {
        let flash = SimFlash::of(part.clone());
        flash.cut_power_after(number, torn);
        assert_eq!(life(&flash), Err(FlashError::PowerLost));
        flash.power_on();
        assert_eq!(flash.snapshot().digest(), snapshot.digest(), "{number}, {torn}");
        assert_eq!(snapshot.contents(), flash.contents());
        // And it is a flash of its own.
        let fork = snapshot.power_on();
        fork.load(0, &[0x77]).unwrap();
        assert_ne!(fork.contents(), flash.contents());
    }
}

#[test]
fn operations_fail_and_lie_where_they_are_told_to() {
    let flash = SimFlash::of(Part::esp32());
    let region = whole(&flash);
    flash.disturb(0, Disturbance::Fails);
    flash.disturb(1, Disturbance::FailsDone);
    flash.disturb(2, Disturbance::Lies(Torn::Half));
    assert_eq!(region.write_now(0, &[0; 4]), Err(FlashError::Failed));
    assert_eq!(region.write_now(4, &[0; 4]), Err(FlashError::Failed));
    assert_eq!(region.write_now(8, &[0; 4]), Ok(()));
    assert_eq!(region.contents()[..12], [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
}

#[test]
fn bits_flip_at_rest_and_ecc_mends_one() {
    for (part, one, two) in [(Part::esp32(), 0x01, 0x03), (Part::stm32g0(), 0, 0x03)] {
        let flash = SimFlash::of(part.clone());
        let mut region = whole(&flash);
        for (bits, changed) in [(0x01, one), (0x03, two)] {
            flash.load(16, &[0x55]).unwrap();
            flash.rot(16, bits).unwrap();
            assert_eq!(region.contents()[16], 0x55 ^ changed, "{}", part.name);
            let read = block_on(ReadNorFlash::read(&mut region, 16, &mut [0]));
            assert_eq!(read.is_err(), part.ecc && bits == 0x03);
        }
    }
}

/// The blocking traits and the sized driver do the same as the async ones.
#[test]
fn blocking_drivers_and_sized_ones() {
    fn write(driver: &mut impl blocking::NorFlash<Error = FlashError>) -> Result<(), FlashError> {
        driver.erase(0, 4096)?;
        driver.write(8, &[1; 8])
    }
    let flash = SimFlash::of(Part::esp32());
    write(&mut whole(&flash)).unwrap();
    let mut sized = whole(&flash).sized::<4, 4096>();
    let error = blocking::NorFlash::write(&mut sized, 2, &[1; 4]).unwrap_err();
    assert_eq!(error.to_string(), "flash: 4 bytes at 0x2 are not aligned to 4");
    write(&mut sized).unwrap();
    block_on(NorFlash::write(&mut sized, 16, &[2; 4])).unwrap();
    let mut found = [0; 12];
    blocking::ReadNorFlash::read(&mut sized, 8, &mut found).unwrap();
    assert_eq!(found, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
}
