//! The tables, in Markdown, and the same as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::board::Board;
use crate::fault::Compared;
use crate::grid::Measured;
use crate::reason::{Series, where_};
use crate::run::{Outcome, Trouble};
use crate::ways::Way;

/// What counts as near the limit.
const NEAR: f64 = 1.05;

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    /// The cells.
    pub grid: Vec<Measured>,
    /// What else was varied.
    pub reasons: Vec<Series>,
    /// What went wrong on purpose.
    pub faults: Vec<Compared>,
}

fn ratio(outcome: &Outcome, limit_ns: u64) -> Option<f64> {
    outcome.time_ns.map(|time| time as f64 / limit_ns as f64)
}

fn shown(ratio: Option<f64>) -> String {
    ratio.map_or("no end".to_owned(), |ratio| format!("{ratio:.3}"))
}

/// The ratios of one way in some cells, in their order of size.
pub fn ratios<'m>(cells: impl Iterator<Item = &'m Measured>, way: Way) -> Vec<(f64, &'m Measured)> {
    let mut ratios: Vec<_> = cells
        .filter_map(|measured| {
            let (_, outcome, _) = measured.ways.iter().find(|(found, ..)| *found == way)?;
            Some((ratio(outcome, measured.limit_ns)?, measured))
        })
        .collect();
    ratios.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    ratios
}

/// A group of cells: its receive buffer, TLS, and loss.
fn groups(grid: &[Measured]) -> Vec<(usize, bool, u32)> {
    let mut groups = Vec::new();
    for measured in grid {
        let group = group_of(measured);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn group_of(measured: &Measured) -> (usize, bool, u32) {
    (measured.cell.receive, measured.cell.tls, measured.cell.link.loss_permille)
}

/// Median, worst cell, and how many are near the limit, for every way and every receive buffer.
pub fn summary(grid: &[Measured], boards: &[Board]) -> String {
    let mut text = String::from(
        "| receive buffer | | loss | way | RAM | median | worst | in the cell | within 1.05 |\n\
         |---:|---|---:|---|---:|---:|---:|---|---:|\n",
    );
    for group in groups(grid) {
        let (receive, tls, loss) = group;
        for way in Way::ALL {
            let ratios = ratios(grid.iter().filter(|measured| group_of(measured) == group), way);
            let Some((worst, cell)) = ratios.last() else { continue };
            let median = (ratios[(ratios.len() - 1) / 2].0 + ratios[ratios.len() / 2].0) / 2.0;
            let near = ratios.iter().filter(|(ratio, _)| *ratio <= NEAR).count();
            let ram = grid.iter().filter(|measured| group_of(measured) == group).flat_map(|measured| &measured.ways);
            let ram = ram.filter(|(found, ..)| *found == way).map(|(.., ram)| *ram).max().unwrap_or(0);
            let _ = writeln!(
                text,
                "| {receive} | {} | {} % | {} | {ram} | {median:.3} | {worst:.2} | {} | {near} of {} |",
                if tls { "TLS" } else { "HTTP" },
                f64::from(loss) / 10.0,
                way.name(),
                where_(&cell.cell, boards),
                ratios.len()
            );
        }
    }
    text
}

/// Every cell: the limit in seconds, the least that the receive buffer allows against it, and each way against it.
pub fn full(grid: &[Measured]) -> String {
    let mut text = String::new();
    for group in groups(grid) {
        let (receive, tls, loss) = group;
        let tls = if tls { "TLS" } else { "HTTP" };
        let _ = writeln!(text, "#### Receive buffer of {receive} bytes, {tls}, loss {} %\n", f64::from(loss) / 10.0);
        text += "| part | RTT ms | Mbit/s | limit s | window |";
        Way::ALL.iter().for_each(|way| text += &format!(" {} |", way.name()));
        text += "\n|---|---:|---:|---:|---:|";
        Way::ALL.iter().for_each(|_| text += "---:|");
        text.push('\n');
        for measured in grid.iter().filter(|measured| group_of(measured) == group) {
            let (link, limit) = (measured.cell.link, measured.limit_ns);
            let window = measured.window_limit_ns as f64 / limit as f64;
            let (part, rtt, rate) = (measured.part, link.rtt_ms, link.rate as f64 / 1e6);
            let _ = write!(text, "| {part} | {rtt} | {rate} | {:.3} | {window:.3} |", limit as f64 / 1e9);
            for (_, outcome, _) in &measured.ways {
                let _ = write!(text, " {} |", shown(ratio(outcome, limit)));
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// What was varied, and what came of it.
pub fn reasons(reasons: &[Series], boards: &[Board]) -> String {
    let mut text = String::new();
    for series in reasons {
        let _ = writeln!(text, "{} ({})\n", series.title, where_(&series.cell, boards));
        let _ = writeln!(text, "| {} | against the limit | RAM |\n|---:|---:|---:|", series.varied);
        for (name, ratio, ram) in &series.rows {
            let _ = writeln!(text, "| {name} | {ratio:.3} | {ram} |");
        }
        text.push('\n');
    }
    text
}

/// Time and bytes against the undisturbed run.
pub fn faults(faults: &[Compared], boards: &[Board]) -> String {
    let mut text = String::from(
        "| what goes wrong | where | way | undisturbed s | with it s | time | bytes | begun |\n\
         |---|---|---|---:|---:|---:|---:|---:|\n",
    );
    for compared in faults {
        let Compared { disturbed, with, without, .. } = compared;
        let undisturbed = without.time_ns.unwrap_or(0);
        let bytes = with.wire_bytes as f64 / without.wire_bytes as f64;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {} | {} | {bytes:.2} | {} |",
            trouble(disturbed.trouble),
            where_(&disturbed.cell, boards),
            disturbed.way.name(),
            undisturbed as f64 / 1e9,
            with.time_ns.map_or("no end".to_owned(), |time| format!("{:.1}", time as f64 / 1e9)),
            with.time_ns.map_or(String::new(), |time| format!("{:.2}", time as f64 / undisturbed as f64)),
            with.tries + 1,
        );
    }
    text
}

fn trouble(trouble: Trouble) -> String {
    match trouble {
        Trouble::None => "nothing".to_owned(),
        Trouble::ConnectionDies { after } => format!("connections die after {} KiB", after / 1024),
        Trouble::PowerFails { every_ns } => format!("the power fails every {} s", every_ns / 1_000_000_000),
    }
}

/// All of it, times in nanoseconds.
pub fn as_json(results: &Results, seed: u64) -> Value {
    let outcome = |outcome: &Outcome| {
        json!({
            "time_ns": outcome.time_ns, "wire_bytes": outcome.wire_bytes, "connections": outcome.counts.connections,
            "requests": outcome.counts.requests, "body_bytes": outcome.counts.body, "begun_again": outcome.tries,
        })
    };
    let cell = |part: &str, cell: &crate::grid::Cell| {
        json!({
            "part": part, "rtt_ms": cell.link.rtt_ms, "rate": cell.link.rate,
            "loss": f64::from(cell.link.loss_permille) / 1000.0, "tls": cell.tls, "receive_buffer": cell.receive,
        })
    };
    let grid: Vec<Value> = results
        .grid
        .iter()
        .map(|measured| {
            let ways: Vec<Value> = measured
                .ways
                .iter()
                .map(|(way, found, ram)| {
                    let ratio = ratio(found, measured.limit_ns);
                    json!({ "way": way, "ratio": ratio, "ram": ram, "outcome": outcome(found) })
                })
                .collect();
            let (limit, window) = (measured.limit_ns, measured.window_limit_ns);
            let cell = cell(measured.part, &measured.cell);
            json!({ "cell": cell, "limit_ns": limit, "window_limit_ns": window, "ways": ways })
        })
        .collect();
    let reasons: Vec<Value> = results
        .reasons
        .iter()
        .map(|series| {
            let rows: Vec<Value> = series
                .rows
                .iter()
                .map(|(name, ratio, ram)| json!({ "value": name, "ratio": ratio, "ram": ram }))
                .collect();
            json!({ "title": series.title, "varied": series.varied, "rows": rows })
        })
        .collect();
    let faults: Vec<Value> = results
        .faults
        .iter()
        .map(|compared| {
            let Compared { disturbed, part, with, without } = compared;
            json!({
                "cell": cell(part, &disturbed.cell), "trouble": trouble(disturbed.trouble), "way": disturbed.way,
                "with": outcome(with), "without": outcome(without),
            })
        })
        .collect();
    json!({ "seed": seed, "grid": grid, "reasons": reasons, "faults": faults })
}
