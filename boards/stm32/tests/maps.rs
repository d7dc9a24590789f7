//! Every map with its part and its bootloader.

use embassy_futures::block_on;
use sprag_boot::mcuboot::Method;
use sprag_boot::{BootControl, EmbassyBoot, McuBoot, State, Swap};
use sprag_stm32::{Bootloader, Ecc, Map, MapError, Part, VERSION_AT};
use sprag_testkit::flash::{self, SimFlash};

#[test]
fn every_map_is_sound() {
    for map in Map::ALL {
        assert_eq!(map.check(), Ok(()), "{} {:?}", map.part.name, map.kind);
    }
}

#[test]
fn dual_bank_parts_run_on_while_the_update_is_written() {
    for map in Map::ALL {
        let bank = map.part.size() / 2;
        assert!(map.active.end <= bank && bank <= map.update.start, "{} {:?}", map.part.name, map.kind);
        assert!(bank <= map.journal.start, "{} {:?}", map.part.name, map.kind);
    }
}

#[test]
fn what_is_wrong_with_a_map() {
    let wrong = |change: fn(&mut Map)| {
        let mut map = Map::F429_EMBASSY;
        change(&mut map);
        map.check().unwrap_err()
    };
    assert_eq!(wrong(|map| map.active.start += 4096), MapError::Sectors);
    assert_eq!(wrong(|map| map.update.end += 0x2_0000), MapError::Sectors);
    assert_eq!(wrong(|map| map.bootloader = 0..0), MapError::Sectors);
    assert_eq!(wrong(|map| map.bootloader = 0x4000..0x8000), MapError::Sectors);
    assert_eq!(wrong(|map| map.bootloader.end = 0xC000), MapError::Overlap);
    assert_eq!(wrong(|map| map.active.end = 0x12_0000), MapError::Overlap);
    assert_eq!(wrong(|map| map.active.start = 0x1_0000), MapError::Uneven);
    assert_eq!(wrong(|map| map.journal.end = 0x10_4000), MapError::Journal);
    assert_eq!(wrong(|map| map.active.end = 0x10_0000), MapError::Slots);
    assert_eq!(wrong(|map| map.header = 0x200), MapError::Slots);
    assert_eq!(wrong(|map| map.header = 0x100), MapError::Vectors);
    let mut map = Map::F429_MCUBOOT;
    map.update.end -= 0x2_0000;
    assert_eq!(map.check(), Err(MapError::Slots));
    // A swapping MCUboot that stops at what it can't read.
    for map in Map::ALL {
        let mut map = map.clone();
        let is_mcuboot = map.kind != Bootloader::EmbassyBoot;
        map.kind = if is_mcuboot { Bootloader::McuBoot } else { continue };
        let expected = if map.part.ecc == Ecc::None { Ok(()) } else { Err(MapError::Ecc) };
        assert_eq!(map.check(), expected, "{}", map.part.name);
        map.kind = Bootloader::McuBootOverwrite;
        assert_eq!(map.check(), Ok(()), "{}", map.part.name);
        assert_eq!(map.mcuboot().method, Method::Overwrite);
    }
    assert!(MapError::Ecc.to_string().contains("overwrite-only"));
    let mut map = Map::L476_EMBASSY;
    map.state.end = map.state.start + 0x1800;
    assert_eq!(map.check(), Err(MapError::State));
}

#[test]
fn the_linker_is_told_the_same() {
    assert_eq!(
        Map::H563_MCUBOOT.firmware_x().to_string(),
        "/* STM32H563ZI, McuBootPastEcc. Written by sprag-stm32. */\n\
         MEMORY\n{\n\
         \x20 FLASH : ORIGIN = 0x08010400, LENGTH = 0xefc00\n\
         \x20 RAM   : ORIGIN = 0x20000000, LENGTH = 0xa0000\n}\n"
    );
    let embassy = Map::F429_EMBASSY.firmware_x().to_string();
    assert!(embassy.contains("FLASH : ORIGIN = 0x08020000, LENGTH = 0xc0000"), "{embassy}");
    assert!(embassy.contains("_stext = ORIGIN(FLASH) + 0x408;"), "{embassy}");
    assert!(embassy.contains(".sprag_version ORIGIN(FLASH) + 0x400 :"), "{embassy}");
    let bootloader = Map::F429_EMBASSY.bootloader_x().to_string();
    assert!(bootloader.contains("FLASH : ORIGIN = 0x08000000, LENGTH = 0x8000"), "{bootloader}");
    assert!(!bootloader.contains("SECTIONS"), "{bootloader}");
    assert!(Part::ALL.iter().all(|part| part.vector_align <= VERSION_AT));
    // What `cargo xtask build` holds the firmware against.
    assert_eq!(Map::H563_MCUBOOT.addresses(), 0x0801_0400..0x0810_0000);
    assert_eq!(Map::F429_EMBASSY.addresses(), 0x0802_0000..0x080E_0000);
}

/// The flash of a map's part, by that part's rules.
fn flash(map: &Map) -> SimFlash {
    let rules = match map.part.write_size {
        4 => flash::Part::stm32f4(),
        8 if map.part == Part::STM32G0B1RE => flash::Part::stm32g0(),
        8 => flash::Part::stm32l4(),
        16 => flash::Part::stm32h5(),
        _ => flash::Part::stm32h7(),
    };
    let sectors = map.part.sectors.iter().map(|run| flash::Sectors { count: run.count, size: run.size });
    let rules = rules.sectors(&sectors.collect::<Vec<_>>());
    assert_eq!(
        (rules.write_size, rules.erased, rules.ecc),
        (map.part.write_size, map.part.erased, map.part.write_size > 4)
    );
    SimFlash::of(rules)
}

/// Staged, taken back and staged again, by the rules of the part; and the room for an image.
#[test]
fn the_bootloader_is_told_by_the_rules_of_the_part() {
    for map in Map::ALL {
        let context = format!("{} {:?}", map.part.name, map.kind);
        let part = flash(map);
        let region = |range: &std::ops::Range<u32>| part.region(range.clone());
        block_on(async {
            let room = match map.kind {
                Bootloader::McuBoot | Bootloader::McuBootPastEcc | Bootloader::McuBootOverwrite => {
                    let boot = McuBoot::new(region(&map.active), region(&map.update), map.mcuboot());
                    hand_over(boot).await
                }
                Bootloader::EmbassyBoot => hand_over(EmbassyBoot::new(region(&map.state), map.embassy_boot())).await,
            };
            let slot = map.update.end - map.update.start;
            assert!(room.end <= slot && room.end - room.start >= slot / 2, "{context}: {room:?}");
            let is_whole = map.part.is_whole(&(map.update.start + room.start..map.update.start + room.end));
            assert!(is_whole, "{context}: {room:?}");
        });
        assert_eq!(part.violations(), [], "{context}");
    }
    // What `cargo xtask build` holds the signed image against.
    let part = flash(&Map::H563_MCUBOOT);
    let Map { active, update, .. } = Map::H563_MCUBOOT;
    let boot = McuBoot::new(part.region(active), part.region(update), Map::H563_MCUBOOT.mcuboot());
    assert_eq!((boot.image_region().start, boot.image_region().end), (0x2000, 119 * 0x2000));
}

async fn hand_over(mut boot: impl BootControl) -> sprag_boot::ImageRegion {
    for _ in 0..2 {
        boot.unstage().await.unwrap();
        assert_eq!(boot.state().await, Ok(State::Settled));
        boot.stage(Swap::Test).await.unwrap();
        assert_eq!(boot.state().await, Ok(State::Staged(Swap::Test)));
    }
    boot.image_region()
}
