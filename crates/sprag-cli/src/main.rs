//! The desk: `sprag fetch`, `sprag serve`, `sprag device`, `sprag job`, `sprag image`, `sprag keygen`.

#![forbid(unsafe_code)]
// These panic when the output is closed: see `stdio`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

// First, because its macros replace the standard library's in all modules that follow.
#[macro_use]
mod stdio;
mod commands;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use commands::{CODE_INPUT, Failure};
use serde_json::json;

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
    let parsed = Cli::command().try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return explained(&error),
    };
    let wants_json = asks_for_json(&matches);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(cli.command.run()),
        Err(error) => Err(Failure::Ended(error.to_string())),
    };
    let (message, code) = match &result {
        Ok(()) => (None, 0),
        Err(failure) => (Some(failure.to_string().replace('\n', " ")), failure.code()),
    };
    if let Some(message) = &message
        && wants_json
        && !stdio::is_used()
    {
        println!("{}", json!({ "reason": null, "error": message, "exit_code": code }));
    }
    ended(message.as_deref(), code)
}

/// Prints one line for each thing that failed, and returns the exit code.
fn ended(message: Option<&str>, code: u8) -> ExitCode {
    let unwritten = stdio::failure();
    // A download to standard output has reported it already.
    let is_said = message.is_some_and(|message| message.starts_with("standard output: "));
    if let Some(error) = unwritten.as_ref().filter(|_| !is_said) {
        eprintln!("sprag: standard output: {error}");
    }
    if let Some(message) = message {
        eprintln!("sprag: {message}");
    }
    // The command's own failure takes precedence over a failed print.
    ExitCode::from(if unwritten.is_some() && code == 0 { commands::CODE_ENDED } else { code })
}

/// Prints clap's message. Help and version are not errors.
fn explained(error: &clap::Error) -> ExitCode {
    let printed = error.print().and_then(|()| io::stdout().flush());
    if error.use_stderr() {
        if std::env::args_os().any(|argument| argument == "--json") {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            println!("{}", json!({ "reason": "usage", "error": line, "exit_code": CODE_INPUT }));
        }
        return ExitCode::from(CODE_INPUT);
    }
    if let Err(error) = printed {
        stdio::failed(&error);
    }
    ended(None, 0)
}

/// Returns whether the command was given `--json`.
fn asks_for_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, inner)) => asks_for_json(inner),
        None => matches.try_get_one::<bool>("json").is_ok_and(|json| json.is_some_and(|json| *json)),
    }
}
