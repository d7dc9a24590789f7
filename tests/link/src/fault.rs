//! What goes wrong on the way: connections that die, and a power that fails; against the same download undisturbed.

use anyhow::Context;

use crate::grid::{Bench, Cell, RECEIVE, in_parallel};
use crate::run::{Outcome, Trouble};
use crate::ways::Way;
use crate::wire::Link;

/// A download that is disturbed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disturbed {
    /// Where.
    pub cell: Cell,
    /// How.
    pub trouble: Trouble,
    /// Who.
    pub way: Way,
}

/// How it went, and how it goes without.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// What was measured.
    pub disturbed: Disturbed,
    /// Name of the flash part.
    pub part: &'static str,
    /// With the trouble.
    pub with: Outcome,
    /// Without.
    pub without: Outcome,
}

/// Connections that die, on a usual link; and a power that fails every minute, on one that is slow enough for that.
pub fn all() -> Vec<Disturbed> {
    let dies = [32, 128, 512].map(|kib| (Trouble::ConnectionDies { after: kib * 1024 }, 80, 2_000_000));
    let fails = [(300, 64_000, 60), (80, 250_000, 20)];
    let fails = fails.map(|(rtt_ms, rate, s)| (Trouble::PowerFails { every_ns: s * 1_000_000_000 }, rtt_ms, rate));
    disturbed(&[0, 1, 2, 3, 4], &dies.into_iter().chain(fails).collect::<Vec<_>>())
}

/// One of each, on one part.
pub fn short() -> Vec<Disturbed> {
    let dies = (Trouble::ConnectionDies { after: 16 * 1024 }, 80, 2_000_000);
    disturbed(&[1], &[dies, (Trouble::PowerFails { every_ns: 2_000_000_000 }, 80, 250_000)])
}

fn disturbed(boards: &[usize], troubles: &[(Trouble, u32, u64)]) -> Vec<Disturbed> {
    let mut all = Vec::new();
    for &(trouble, rtt_ms, rate) in troubles {
        for &board in boards {
            let link = Link { rtt_ms, rate, loss_permille: 0 };
            let cell = Cell { board, link, tls: true, receive: RECEIVE[1] };
            all.extend(Way::ALL.map(|way| Disturbed { cell, trouble, way }));
        }
    }
    all
}

/// Measures them.
///
/// # Errors
/// A download that failed for another reason.
pub fn measure(bench: &Bench, all: &[Disturbed]) -> anyhow::Result<Vec<Compared>> {
    in_parallel(all, |disturbed| {
        let mut case = bench.case(disturbed.cell, disturbed.way);
        let without = case.run()?;
        case.trouble = disturbed.trouble;
        let with = case.run().with_context(|| format!("{disturbed:?}"))?;
        Ok(Compared { disturbed: *disturbed, part: case.board.part.name, with, without })
    })
}
