//! The demo's scenarios, each from a clean state with ten seeds, all ten at a time; and with every bootloader.

use clap::ValueEnum;
use sprag_tests::bootloader::Bootloader;
use sprag_tests::scenario::Scenario;
use tokio::task::LocalSet;

const SEEDS: std::ops::Range<u64> = 1..11;

async fn play(scenario: Scenario) {
    let local = LocalSet::new();
    let runs: Vec<_> = SEEDS
        .map(|seed| {
            let run = async move { (seed, scenario.play(Bootloader::default(), seed, &mut |_| {}).await) };
            local.spawn_local(run)
        })
        .collect();
    local.await;
    for run in runs {
        let (seed, outcome) = run.await.unwrap();
        let outcome = outcome.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
        assert!(outcome.ok, "seed {seed}: {}", outcome.result);
    }
}

macro_rules! scenarios {
    ($($name:ident => $scenario:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                play(Scenario::$scenario).await;
            }
        )*

        #[test]
        fn none_is_left_out() {
            assert_eq!(Scenario::value_variants(), [$(Scenario::$scenario),*]);
        }
    };
}

scenarios! {
    stream => Stream,
    ranges => Ranges,
    power_cut => PowerCut,
    expired_url => ExpiredUrl,
    replaced_object => ReplacedObject,
    bad_signature => BadSignature,
    no_confirm => NoConfirm,
}

/// An update in one go, one that is cut off, and the two that end with the old image, with each bootloader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bootloader() {
    let scenarios = [Scenario::Stream, Scenario::PowerCut, Scenario::BadSignature, Scenario::NoConfirm];
    for bootloader in Bootloader::value_variants() {
        let local = LocalSet::new();
        let runs = scenarios.map(|scenario| {
            local.spawn_local(async move { (scenario, scenario.play(*bootloader, 1, &mut |_| {}).await) })
        });
        local.await;
        for run in runs {
            let (scenario, outcome) = run.await.unwrap();
            let outcome = outcome.unwrap_or_else(|error| panic!("{bootloader:?}, {scenario:?}: {error:#}"));
            assert!(outcome.ok, "{bootloader:?}, {scenario:?}: {}", outcome.result);
        }
    }
}
