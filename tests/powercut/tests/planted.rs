//! The campaign is worth what it finds: writers and hand-overs that are wrong on purpose must each be found, by a failure
//! that the printed steps show again.

use sprag_powercut::{Bug, Case, Depth, Settings, cases, families};

/// The cases of a part and a family, the smallest first.
fn cases_of(part: &str, family: &str) -> Vec<Case> {
    let families = families::all();
    let mut cases = cases(&families);
    cases.retain(|case| case.part.name == part && families[case.family].name() == family);
    assert!(!cases.is_empty(), "{part} has no {family}");
    cases.sort_by_key(|case| case.image.length);
    cases
}

/// On a part with ECC: good images, and one forged.
fn small_cases() -> Vec<Case> {
    cases_of("stm32h5", "mcuboot-swap")
}

fn settings(bug: Option<Bug>) -> Settings {
    Settings { depth: Depth::Sample { seed: 1, cuts: 1000 }, bug, states: Default::default() }
}

fn is_found(bug: Bug) {
    is_found_in(bug, small_cases());
}

fn is_found_in(bug: Bug, cases: Vec<Case>) {
    let families = families::all();
    let settings = settings(Some(bug));
    for case in cases {
        let family = &families[case.family];
        let Err(failure) = family.explore(&case, &settings) else { continue };
        println!("{failure}");
        let again = family.replay(&case, &failure.steps, &settings, &mut |line| println!("  {line}"));
        assert_eq!(again, Err(failure.what.clone()), "the steps {:?} do not show it again", failure.steps);
        return;
    }
    panic!("{bug} was not found");
}

#[test]
fn a_magic_that_is_written_first_is_found() {
    is_found(Bug::MagicFirst);
}

#[test]
fn a_torn_sector_that_is_not_erased_is_found() {
    is_found(Bug::TornNotErased);
}

#[test]
fn progress_that_is_recorded_before_the_bytes_is_found() {
    is_found(Bug::RecordedBeforeWritten);
}

#[test]
fn padding_into_the_trailer_is_found() {
    is_found(Bug::PaddedIntoTrailer);
}

#[test]
fn a_double_program_is_found() {
    is_found(Bug::ProgrammedTwice);
}

#[test]
fn staging_before_verifying_is_found() {
    is_found(Bug::StagedBeforeVerified);
}

#[test]
fn a_journal_without_crc_is_found() {
    is_found(Bug::JournalWithoutCrc);
}

/// By offset, what the last swap left in the first sector keeps the next update from running.
#[test]
fn a_first_sector_that_is_kept_is_found() {
    for part in ["stm32l4", "esp32"] {
        is_found_in(Bug::FirstSectorKept, cases_of(part, "mcuboot-offset"));
    }
}

/// By scratch, the status of the last swap is left without a magic.
#[test]
fn a_trailer_that_is_erased_in_part_is_found() {
    for part in ["stm32l4", "esp32"] {
        is_found_in(Bug::LastSectorErased, cases_of(part, "mcuboot-scratch"));
    }
}

/// What is wrong with a hand-over is found whatever it hands over to.
#[test]
fn staging_too_early_is_found_with_every_bootloader() {
    for (part, family) in [
        ("psoc6", "cypress"),
        ("esp32", "esp-idf"),
        ("esp32", "esp-idf-keeping"),
        ("s25fl", "embassy-boot"),
        ("stm32l4", "mcuboot-offset"),
        ("stm32l4", "mcuboot-overwrite"),
        ("stm32l4", "mcuboot-scratch"),
    ] {
        for bug in [Bug::MagicFirst, Bug::StagedBeforeVerified] {
            is_found_in(bug, cases_of(part, family));
        }
    }
}

/// The same cases without a bug.
#[test]
fn what_is_right_is_not_blamed() {
    let families = families::all();
    for case in small_cases() {
        if let Err(failure) = families[case.family].explore(&case, &settings(None)) {
            panic!("{failure}");
        }
    }
}
