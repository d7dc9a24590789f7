//! What happened, step by step: announced, timed, summed up at the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How a step ended that did not fail.
pub(crate) enum Done {
    /// It ran, perhaps with something worth a line in the summary.
    Well(Option<String>),
    /// It ran the tests: a line for the summary, and the runner's own closing lines.
    Tested { note: String, closing: Vec<String> },
    /// It could not run on this machine, and this is why.
    LeftOut(String),
}

struct Row {
    name: &'static str,
    took: Duration,
    result: String,
}

pub(crate) struct Journal {
    rows: Vec<Row>,
    closing: Vec<String>,
    left_out: Vec<&'static str>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), closing: Vec::new(), left_out: Vec::new() }
    }

    /// Runs one step between the line that announces it and the line with its result.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        what: &str,
        repeat: &str,
        work: impl FnOnce() -> Result<Done>,
    ) -> Result<()> {
        println!("==> {name}: {what}");
        let start = Instant::now();
        let done = work().with_context(|| format!("step {name} failed (repeat just this step: `{repeat}`)"))?;
        let took = start.elapsed();
        let result = match done {
            Done::Well(None) => "ok".to_owned(),
            Done::Well(Some(note)) => format!("ok, {note}"),
            Done::Tested { note, closing } => {
                self.closing = closing;
                format!("ok, {note}")
            }
            Done::LeftOut(why) => {
                self.left_out.push(name);
                format!("LEFT OUT: {why}")
            }
        };
        println!("    {name} {result} ({:.1} s)", took.as_secs_f64());
        self.rows.push(Row { name, took, result });
        Ok(())
    }

    /// Seconds per step, what was left out, and the test runner's own closing lines once more.
    pub(crate) fn close(&self) {
        println!("\n==> summary");
        let total: Duration = self.rows.iter().map(|row| row.took).sum();
        for row in &self.rows {
            println!("{:>8.1} s  {:<10}  {}", row.took.as_secs_f64(), row.name, row.result);
        }
        println!("{:>8.1} s  in all", total.as_secs_f64());
        match self.left_out.as_slice() {
            [] => println!("every step passed"),
            names => println!("every step that ran passed; left out: {}", names.join(", ")),
        }
        for line in &self.closing {
            println!("{line}");
        }
    }
}
