//! The result as a table and as JSON.

use serde_json::{Value, json};

use crate::explore::Counts;

/// What came of the cases of one part and one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The part.
    pub part: String,
    /// The family.
    pub family: String,
    /// How many images were brought.
    pub images: u64,
    /// All of them together.
    pub counts: Counts,
}

/// The rows of a table, with a sum below.
pub fn table(rows: &[Row]) -> String {
    let head = ["part", "bootloader", "images", "operations", "awaits", "cuts", "states tried", "calls after cuts"]
        .map(str::to_owned);
    let cells = |part: &str, family: &str, images: u64, counts: &Counts| {
        let numbers = [images, counts.operations, counts.polls, counts.cuts, counts.states, counts.calls];
        let [images, operations, polls, cuts, states, calls] = numbers.map(|n| n.to_string());
        [part.to_owned(), family.to_owned(), images, operations, polls, cuts, states, calls]
    };
    let (images, sum) = total(rows);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(|row| cells(&row.part, &row.family, row.images, &row.counts)));
    lines.push(cells("all", "", images, &sum));
    let widths: [usize; 8] = std::array::from_fn(|n| lines.iter().map(|line| line[n].len()).max().unwrap_or(0));
    let mut text = String::new();
    for line in lines {
        let line: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(n, cell)| {
                let width = widths[n];
                if n < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            })
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// All rows together.
pub fn total(rows: &[Row]) -> (u64, Counts) {
    rows.iter().fold((0, Counts::default()), |(images, mut counts), row| {
        counts += row.counts;
        (images + row.images, counts)
    })
}

/// The same as JSON.
pub fn as_json(rows: &[Row], seconds: f64, failure: Option<&str>) -> Value {
    let row = |Row { part, family, images, counts }: &Row| {
        json!({
            "part": part,
            "family": family,
            "images": images,
            "operations": counts.operations,
            "awaits": counts.polls,
            "cuts": counts.cuts,
            "states": counts.states,
            "calls": counts.calls,
        })
    };
    let (_, sum) = total(rows);
    json!({
        "ok": failure.is_none(),
        "failure": failure,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
        "cuts": sum.cuts,
        "states": sum.states,
        "calls": sum.calls,
        "seconds": seconds,
    })
}
