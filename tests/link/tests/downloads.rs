//! What the numbers rest on: that they are the same each time, that what was downloaded lies in flash, and that what is
//! said of a round trip is so.

use sprag_link_bench::authority::Authority;
use sprag_link_bench::board::Board;
use sprag_link_bench::fault;
use sprag_link_bench::grid::{self, Bench, Cell, RECEIVE, in_parallel};
use sprag_link_bench::object::{HOST, Object};
use sprag_link_bench::report::{self, Results};
use sprag_link_bench::run::{Outcome, Trouble};
use sprag_link_bench::ways::Way;
use sprag_link_bench::wire::Link;

fn bench(size: usize) -> Bench {
    // Made anew: what of a key is random must not show.
    let authority = Authority::new(HOST).unwrap();
    Bench { boards: Board::all(), authority, object: Object::new(size, 1), seed: 1 }
}

fn cell(board: usize, rtt_ms: u32, rate: u64, tls: bool) -> Cell {
    Cell { board, link: Link { rtt_ms, rate, loss_permille: 0 }, tls, receive: RECEIVE[1] }
}

fn seconds(outcome: Outcome) -> f64 {
    outcome.time_ns.unwrap() as f64 / 1e9
}

#[test]
fn two_runs_are_equal() {
    let run = || {
        let bench = bench(48 << 10);
        let grid = in_parallel(&grid::short(), |cell| bench.measure(*cell)).unwrap();
        let faults = fault::measure(&bench, &fault::short()).unwrap();
        report::as_json(&Results { grid, reasons: Vec::new(), faults }, bench.seed)
    };
    let (one, other) = (run(), run());
    assert_eq!(one, other);
    assert_eq!(one["grid"].as_array().unwrap().len(), grid::short().len());
}

/// `Case::run` compares what lies in flash with the image; here is what it took.
#[test]
fn every_way_on_every_part() {
    let bench = bench(40 << 10);
    let cases: Vec<(usize, bool)> = (0..bench.boards.len()).flat_map(|board| [(board, false), (board, true)]).collect();
    let ways =
        in_parallel(&cases, |&(board, tls)| bench.measure(cell(board, 20, 2_000_000, tls)).map(|cell| cell.ways));
    for (ways, (board, tls)) in ways.unwrap().into_iter().zip(cases) {
        let case = bench.case(cell(board, 20, 2_000_000, tls), Way::Sprag);
        let requests: Vec<u32> = ways.iter().map(|(_, outcome, _)| outcome.counts.requests).collect();
        assert_eq!(requests, [1, 10, 1, 1], "{}, TLS {tls}", case.board.part.name);
        for (way, outcome, _) in ways {
            assert!(outcome.time_ns.unwrap() >= case.limit_ns(), "{} is faster than the limit", way.name());
        }
    }
}

/// From the first packet to the first bytes: TCP, the request, and TLS one more. Nothing waits for an acknowledgement.
#[test]
fn a_connection_costs_two_round_trips_and_tls_one_more() {
    for (tls, round_trips) in [(false, 2.0), (true, 3.0)] {
        let outcome = bench(512).case(cell(1, 300, 200_000_000, tls), Way::Sprag).run().unwrap();
        let taken = seconds(outcome) / 0.3;
        // Jitter is a tenth at most.
        assert!((round_trips..round_trips * 1.1 + 0.05).contains(&taken), "{taken} round trips, TLS {tls}");
    }
}

#[test]
fn more_than_a_hundred_requests_take_another_connection() {
    let outcome = bench(1 << 20).case(cell(1, 1, 20_000_000, false), Way::Infineon).run().unwrap();
    assert_eq!((outcome.counts.requests, outcome.counts.connections), (256, 3));
}

#[test]
fn sprag_goes_on_where_the_others_begin_again() {
    let bench = bench(64 << 10);
    let run = |way, trouble| {
        let mut case = bench.case(cell(1, 80, 250_000, true), way);
        case.trouble = trouble;
        case.run().unwrap()
    };
    let size = bench.object.0.len() as u64;
    for trouble in [Trouble::ConnectionDies { after: 16 << 10 }, Trouble::PowerFails { every_ns: 1_500_000_000 }] {
        let sprag = run(Way::Sprag, trouble);
        assert!(sprag.time_ns.is_some(), "{trouble:?}: {sprag:?}");
        for way in [Way::Infineon, Way::EspIdf, Way::Reqwless] {
            assert_eq!(run(way, trouble).time_ns, None, "{trouble:?}: {way:?}");
        }
    }
    // No byte comes twice over connections that die; each power cut costs what was under way, and a record of TLS.
    assert_eq!(run(Way::Sprag, Trouble::ConnectionDies { after: 16 << 10 }).counts.body, size);
    let cuts = run(Way::Sprag, Trouble::PowerFails { every_ns: 1_500_000_000 });
    assert!(cuts.tries > 0 && cuts.counts.body < size * 4, "{cuts:?}");
}
