//! `cargo xtask vectors`: what real bootloaders did, against the models and checks of this workspace.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sprag_vectors::Tally;

/// Compares the bootloader models and the image checks with what real bootloaders did.
///
/// Prints for each file how many vectors were reproduced, left out on purpose (with the reason) and wrong. The public
/// keys are read from keys.json and keys-2.json in each file's folder. Exits with 0 when no vector is wrong, with 1 when
/// one is, and with 2 when a file cannot be read.
#[derive(Debug, Parser)]
#[command(name = "vectors", bin_name = "cargo xtask vectors", max_term_width = 100)]
struct Cli {
    /// Files of vectors, one JSON object a line, plain (.jsonl) or compressed (.jsonl.xz) [default: those in tests/vectors]
    files: Vec<PathBuf>,
    /// How many wrong vectors of each file to describe
    #[arg(long, default_value_t = 10, value_name = "N")]
    show: usize,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vectors: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let files = if cli.files.is_empty() { sprag_vectors::supplied()? } else { cli.files.clone() };
    let mut whole = Tally::default();
    for file in &files {
        let tally = Tally::of_file(file)?;
        println!("{}: {tally}", file.display());
        for (what, count) in &tally.left_out {
            println!("    left out {count}: {what}");
        }
        for (id, why) in tally.wrong.iter().take(cli.show) {
            println!("    wrong {id}: {why}");
        }
        if let Some(more @ 1..) = tally.wrong.len().checked_sub(cli.show) {
            println!("    wrong: {more} more");
        }
        whole += tally;
    }
    println!("{} vectors: {whole}", whole.total());
    Ok(whole.wrong.is_empty())
}
