//! The journal against power cuts: before, within and again after every operation, on every kind of part.

mod common;

use common::{PARTS, TORN, operations, part};
use embassy_futures::block_on;
use proptest::prelude::*;
use sprag_flash::{Error, FlashGeometry, Journal};
use sprag_testkit::cancel;
use sprag_testkit::flash::Region;

type Record = Option<Vec<u8>>;

fn get(region: &Region, geometry: FlashGeometry, kind: u8) -> Record {
    let mut scratch = [0; 256];
    let mut journal = Journal::new(region.clone(), geometry, &mut scratch);
    block_on(journal.get(kind)).unwrap().map(<[u8]>::to_vec)
}

/// A run of puts that fills banks several times over.
fn puts() -> Vec<(u8, Vec<u8>)> {
    (0..16u8).map(|n| (n % 3 + 1, vec![n; usize::from(n % 5) * 7])).collect()
}

/// Applies puts until one fails; how many were done.
fn apply(region: &Region, geometry: FlashGeometry, puts: &[(u8, Vec<u8>)]) -> usize {
    let mut scratch = [0; 256];
    let mut journal = Journal::new(region.clone(), geometry, &mut scratch);
    puts.iter().take_while(|(kind, payload)| block_on(journal.put(*kind, payload)).is_ok()).count()
}

fn expected(done: &[(u8, Vec<u8>)], kind: u8) -> Record {
    done.iter().rev().find(|(k, _)| *k == kind).map(|(_, payload)| payload.clone()).filter(|p| !p.is_empty())
}

#[test]
fn what_was_put_is_there_on_every_part() {
    for params in PARTS {
        let (region, geometry) = part(params, 4);
        let puts = puts();
        for done in 0..puts.len() {
            assert_eq!(apply(&region, geometry, &puts[done..=done]), 1);
            for kind in 1..=4 {
                assert_eq!(get(&region, geometry, kind), expected(&puts[..=done], kind), "{params:?}");
            }
        }
    }
}

/// Cuts at every operation, in every way; then once more at every operation of what follows. After each cut the journal
/// is as it was before the put that was hit or as it was to be after it, and takes the rest.
#[test]
fn a_put_is_all_or_nothing_at_every_cut_and_second_cut() {
    let mut states = 0u32;
    for params in PARTS {
        let puts = puts();
        let (region, geometry) = part(params, 4);
        apply(&region, geometry, &puts);
        for first in 0..operations(&region) {
            for torn in TORN {
                let (region, geometry) = part(params, 4);
                region.flash().cut_power_after(first, torn);
                let done = apply(&region, geometry, &puts);
                region.flash().power_on();
                check(&region, geometry, &puts, done);
                let snapshot = region.contents();

                region.flash().reset_stats();
                let next = &puts[done..puts.len().min(done + 2)];
                assert_eq!(apply(&region, geometry, next), next.len());
                for second in 0..operations(&region) {
                    region.flash().load(0, &snapshot).unwrap();
                    region.flash().cut_power_after(second, torn);
                    let more = apply(&region, geometry, next);
                    region.flash().power_on();
                    check(&region, geometry, &puts, done + more);
                    assert_eq!(apply(&region, geometry, next), next.len());
                    check(&region, geometry, &puts, done + next.len());
                    states += 1;
                }
                states += 1;
            }
        }
    }
    println!("{states} states");
    assert!(states > 10_000, "{states}");
}

fn check(region: &Region, geometry: FlashGeometry, puts: &[(u8, Vec<u8>)], done: usize) {
    for kind in 1..=4 {
        let now = get(region, geometry, kind);
        let before = expected(&puts[..done], kind);
        let after = expected(&puts[..puts.len().min(done + 1)], kind);
        assert!(now == before || now == after, "{now:?} is neither {before:?} nor {after:?}");
    }
}

/// A future that is dropped between two flash operations is a cut that the same journal object survives.
#[test]
fn a_dropped_put_is_like_a_power_cut() {
    for params in PARTS {
        let puts = puts();
        for polls in 0..200 {
            let (region, geometry) = part(params, 4);
            let mut scratch = [0; 256];
            let mut journal = Journal::new(region.clone(), geometry, &mut scratch);
            let mut budget = polls;
            let done = puts
                .iter()
                .take_while(|(kind, payload)| {
                    block_on(cancel::after(&mut budget, journal.put(*kind, payload))).is_some()
                })
                .count();
            check(&region, geometry, &puts, done);
            block_on(journal.put(1, b"after")).unwrap();
            assert_eq!(get(&region, geometry, 1).as_deref(), Some(&b"after"[..]));
        }
    }
}

#[test]
fn parameters_that_cannot_work_are_named() {
    let (region, geometry) = part((8, 256, 0xFF), 4);
    let mut small = [0; 16];
    let mut journal = Journal::new(region.clone(), geometry, &mut small);
    assert_eq!(block_on(journal.put(1, &[1; 20])), Err(Error::Buffer { needed: 32 }));
    let mut scratch = [0; 2048];
    let mut journal = Journal::new(region.clone(), geometry, &mut scratch);
    assert_eq!(block_on(journal.put(1, &[1; 600])), Err(Error::JournalTooSmall { needed: 1536 }));
    assert_eq!(block_on(journal.put(0, &[1])), Err(Error::Record));
    assert_eq!(block_on(journal.put(sprag_flash::journal::KINDS + 1, &[1])), Err(Error::Record));
    let mut journal = Journal::new(region.flash().region(0..256), geometry, &mut scratch);
    assert_eq!(block_on(journal.put(1, &[1])), Err(Error::JournalTooSmall { needed: 512 }));
    let mut journal = Journal::new(region, FlashGeometry { write_size: 0, ..geometry }, &mut scratch);
    assert_eq!(block_on(journal.get(1)), Err(Error::Geometry));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever lies in the region at first, behind a good header too: no panic, and puts make a journal of it.
    #[test]
    fn garbage_is_started_anew(
        garbage in proptest::collection::vec(any::<u8>(), 1024),
        behind_header in any::<bool>(),
        which in 0..PARTS.len(),
    ) {
        let (region, geometry) = part(PARTS[which], 4);
        apply(&region, geometry, &puts()[..3]);
        let keep = if behind_header { geometry.write_size.max(12).next_multiple_of(geometry.write_size) } else { 0 };
        region.flash().load(keep, &garbage[keep as usize..]).unwrap();
        for kind in 1..=4 {
            get(&region, geometry, kind);
        }
        prop_assert_eq!(apply(&region, geometry, &puts()), puts().len());
        prop_assert_eq!(get(&region, geometry, 1), expected(&puts(), 1));
    }
}
