//! `cargo xtask demo`: takes a device from an old image to a new one, and shows what happens on the way.

use std::io;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;
use sprag_cli::narrate::Narrator;
use sprag_tests::bootloader::Bootloader;
use sprag_tests::outcome::table;
use sprag_tests::scenario::{Scenario, Told};

/// Take a device from an old image to a new one, whatever happens on the way.
///
/// A cloud and a device, on this machine: an S3 server that verifies presigned URLs behind TLS, an IoTConnect job, NOR
/// flash in a file, a bootloader. Exits with 0 only if every scenario ended as it should.
#[derive(Debug, Parser)]
#[command(name = "demo", bin_name = "cargo xtask demo", max_term_width = 100)]
struct Cli {
    /// Play this one only; without it, all of them, one after the other.
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// What the device boots with.
    #[arg(long, value_enum, default_value_t)]
    bootloader: Bootloader,
    /// The seed of everything that is random. Default: a new one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the same as a JSON object on the last line, and everything else on stderr.
    #[arg(long)]
    json: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match play(&cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(cli: &Cli) -> anyhow::Result<bool> {
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let out: Box<dyn io::Write> = if cli.json { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    let mut narrator = Narrator::new(out);
    narrator.line(&format!("seed {seed}, bootloader {}", cli.bootloader.name()));
    let chosen = cli.scenario.map_or(Scenario::value_variants().to_vec(), |scenario| vec![scenario]);
    let mut outcomes = Vec::new();
    for scenario in chosen {
        let what = scenario.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        narrator.line(&format!("\n{}: {}", scenario.name(), what.unwrap_or_default()));
        let outcome = scenario
            .play(cli.bootloader, seed, &mut |told| match told {
                Told::Line(line) => {
                    narrator.finish_bar();
                    narrator.line(&format!("  * {line}"));
                }
                Told::Device(happening) => narrator.tell(happening),
            })
            .await?;
        narrator.finish_bar();
        narrator.line(&format!("  = {}", outcome.result));
        outcomes.push(outcome);
    }
    let ok = outcomes.iter().all(|outcome| outcome.ok);
    narrator.line(&format!("\n{}", table(&outcomes).trim_end()));
    if !ok {
        narrator.line(&format!("repeat it with --seed {seed} --bootloader {}", cli.bootloader.name()));
    }
    if cli.json {
        println!("{}", json!({ "ok": ok, "seed": seed, "bootloader": cli.bootloader.name(), "scenarios": outcomes }));
    }
    Ok(ok)
}
