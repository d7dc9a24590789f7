//! The desk: `sprag fetch`, `sprag serve`, `sprag device`, `sprag job`, `sprag image`, `sprag keygen`.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::Parser;

/// Firmware updates over the air, at the desk.
///
/// Exit codes: 0 done; 1 it came to its end and failed; 2 bad input (arguments, files, job documents); 3 unfinished, run
/// it again and it goes on.
#[derive(Debug, Parser)]
#[command(name = "sprag", version, about, long_about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sprag: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sprag: {}", failure.to_string().replace('\n', " "));
            ExitCode::from(failure.code())
        }
    }
}
