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

/// With Infineon's line, `image_ok` without a magic makes the next test a permanent swap. It is written to external flash
/// only.
#[test]
fn a_record_that_is_kept_is_found() {
    is_found_in(Bug::RecordKept, cases_of("s25fl", "cypress-external"));
}

/// With Infineon's line, what is neither set nor erased is not reverted. A row is torn in that way while it is programmed
/// before its erase.
#[test]
fn a_torn_flag_that_is_taken_for_a_trial_is_found() {
    for (part, family) in [("psoc6", "cypress"), ("s25fl", "cypress-external")] {
        is_found_in(Bug::TornFlagOnTrial, cases_of(part, family));
    }
}

/// The same by the call that gives a trial up: it is done, and the new image stays.
#[test]
fn a_trial_that_is_given_up_in_vain_is_found() {
    let families = families::all();
    let case = cases_of("psoc6", "cypress").swap_remove(0);
    let replay = |bug| {
        let step = "trial/confirm/0:preprogrammed=5/1/go-back".parse().unwrap();
        families[case.family].replay(&case, &[step], &settings(bug), &mut |_| {})
    };
    assert_eq!(replay(None), Ok(()));
    assert_eq!(replay(Some(Bug::TornFlagOnTrial)), Err("it was to go back, and 2.0.0 runs".to_owned()));
}

/// What is wrong with a hand-over is found whatever it hands over to.
#[test]
fn staging_too_early_is_found_with_every_bootloader() {
    for (part, family) in [
        ("psoc6", "cypress"),
        ("s25fl", "cypress-external"),
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
