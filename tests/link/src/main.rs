//! `cargo xtask bench link`: whole downloads into flash, by virtual time.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sprag_link_bench::authority::Authority;
use sprag_link_bench::board::Board;
use sprag_link_bench::grid::{self, Bench, in_parallel};
use sprag_link_bench::object::{HOST, Object};
use sprag_link_bench::report::{self, Results};
use sprag_link_bench::{fault, plot, reason};

/// Whole downloads into flash over a simulated link, in virtual time.
///
/// Beside each time: what link and flash allow at best, Infineon's way (ranges of 4096 bytes, one after the other),
/// ESP-IDF's (ranges of 64 KiB), and reqwless. The same seed gives the same numbers on every machine.
#[derive(Debug, Parser)]
#[command(name = "link", bin_name = "cargo xtask bench link", max_term_width = 100)]
struct Cli {
    /// A small image and a few cells.
    #[arg(long)]
    short: bool,
    /// For the image, loss, jitter and keys.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the result as a JSON object, and nothing else.
    #[arg(long)]
    json: bool,
    /// Every cell, too.
    #[arg(long)]
    full: bool,
    /// Draw the picture, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("link: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let size = if cli.short { 64 << 10 } else { 1 << 20 };
    let bench = Bench {
        boards: Board::all(),
        authority: Authority::new(HOST)?,
        object: Object::new(size, cli.seed),
        seed: cli.seed,
    };
    let cells = if cli.short { grid::short() } else { grid::all() };
    let faults = if cli.short { fault::short() } else { fault::all() };
    let results = Results {
        grid: in_parallel(&cells, |cell| bench.measure(*cell))?,
        reasons: if cli.short { Vec::new() } else { reason::measure(&bench)? },
        faults: fault::measure(&bench, &faults)?,
    };
    if let Some(path) = &cli.plot {
        plot::draw(path, &results.grid)?;
    }
    if cli.json {
        println!("{}", report::as_json(&results, cli.seed));
        return Ok(());
    }
    println!("### Against the limit\n\n{}", report::summary(&results.grid, &bench.boards));
    if !results.reasons.is_empty() {
        println!("### Why\n\n{}", report::reasons(&results.reasons, &bench.boards));
    }
    println!("### What goes wrong\n\n{}", report::faults(&results.faults, &bench.boards));
    if cli.full {
        println!("### Every cell\n\n{}", report::full(&results.grid));
    }
    Ok(())
}
