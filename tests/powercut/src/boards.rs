//! The parameters that the board crates have for their firmwares: real sectors, so that there is more to cut than time for it.

use sprag_stm32::{Bootloader, Map};
use sprag_testkit::flash::{Part, Sectors};

use crate::case::{Case, History, Image, Kind};
use crate::families::AnyFamily;

/// The boards by name.
pub const NAMES: [&str; 3] = ["stm32", "esp32", "psoc6"];

/// The cases of a board: what its maps say.
///
/// # Panics
/// A board's map contradicts the test kit's part.
pub fn cases(board: &str, families: &[Box<dyn AnyFamily>]) -> Vec<Case> {
    let all = crate::cases(families);
    // Of the part that has the board's name.
    let of_grid = |board: &'static str, family: &str| -> Vec<Case> {
        let is = |case: &&Case| case.part.name == board && families[case.family].name().starts_with(family);
        all.iter().filter(is).map(|case| Case { board: Some(board), ..case.clone() }).collect()
    };
    match board {
        "stm32" => Map::ALL.iter().flat_map(|map| stm32(map, families)).collect(),
        // The sectors and rows of these two are the real ones in the grid, too.
        "esp32" => of_grid("esp32", "esp-idf"),
        "psoc6" => of_grid("psoc6", "cypress"),
        _ => Vec::new(),
    }
}

/// Images of one sector and a half, of two, and a forged one.
fn stm32(map: &Map, families: &[Box<dyn AnyFamily>]) -> Vec<Case> {
    let part = Part::all().into_iter().find(|part| {
        // `STM32H563ZI` is an `stm32h5`.
        map.part.name.to_lowercase().starts_with(part.name)
    });
    let part = part.expect("a part of the test kit for each of the board's");
    assert_eq!((part.write_size, part.erased), (map.part.write_size, map.part.erased), "{}", map.part.name);
    let name = match map.kind {
        Bootloader::McuBoot | Bootloader::McuBootPastEcc => "mcuboot-offset",
        Bootloader::McuBootOverwrite => "mcuboot-overwrite",
        Bootloader::EmbassyBoot => "embassy-boot",
    };
    let sector = map.part.erase_size(&map.update);
    // Those of the slots: the maps have them of one size.
    let part = part.sectors(&[Sectors { count: 2, size: sector }]);
    let Some(family) = families.iter().position(|family| family.name() == name && family.fits(&part)) else {
        return Vec::new();
    };
    let images = [
        Image { length: sector + sector / 2 + 3, kind: Kind::Plain },
        Image { length: 2 * sector, kind: Kind::Plain },
        Image { length: sector + 5, kind: Kind::Forged },
    ];
    let case = |(n, image)| {
        let history = History::of(families[family].as_ref(), n);
        Case { part: part.clone(), sector, family, image, history, is_even: true, board: Some("stm32") }
    };
    images.into_iter().enumerate().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_has_cases_of_its_bootloaders() {
        let families = crate::families::all();
        for (board, expected) in [
            ("stm32", &["embassy-boot", "mcuboot-offset"][..]),
            ("esp32", &["esp-idf", "esp-idf-keeping"]),
            ("psoc6", &["cypress"]),
        ] {
            let cases = cases(board, &families);
            let mut found: Vec<&str> = cases.iter().map(|case| families[case.family].name()).collect();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, expected);
            assert!(cases.iter().all(|case| case.board == Some(board)));
        }
    }
}
