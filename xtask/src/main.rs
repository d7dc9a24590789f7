//! The developer's commands of this workspace, run as `cargo xtask COMMAND`.

mod bench;
mod build;
mod ci;
mod esp_idf;
mod fuzz;
mod journal;
mod panics;
mod program;
mod setup;
mod size;
mod stack;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use program::Program;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The developer's commands of this workspace")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show updates on the host, end to end; everything after it goes to the demo (try `cargo xtask demo --help`)
    Demo(program::Args),
    /// Cut the power in every flash operation of whole updates (try `cargo xtask powercut --help`)
    Powercut(program::Args),
    /// Compare the models with what real bootloaders did (try `cargo xtask vectors --help`)
    Vectors(program::Args),
    /// Check everything: set-up, formatting, lints, tests, docs, licences, the bare-metal build
    Test(test::Args),
    /// Run the fuzz targets, or one of them
    Fuzz(fuzz::Args),
    /// The stack of every entry point on an emulated Cortex-M3, against its budget
    Stack,
    /// The code size of the crates on chips
    Size(size::Args),
    /// The panicking paths that the linked code of layers 0 to 2 has; fails when there is one
    Panics,
    /// The firmware of every board, linked, looked at and signed
    Build(build::Args),
    /// Measurements that say the same on every machine: instructions, and downloads in virtual time
    Bench(bench::Args),
    /// What CI runs: every test step with nothing left out, then the demo with a fixed seed and the measurements
    Ci,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => Program::Demo.run(&args),
        Command::Powercut(args) => Program::Powercut.run(&args),
        Command::Vectors(args) => Program::Vectors.run(&args),
        Command::Test(args) => test::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Stack => stack::run(),
        Command::Size(args) => size::run(&args),
        Command::Panics => panics::run(),
        Command::Build(args) => build::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Ci => ci::run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_demo_gets_its_arguments_untouched() {
        let cli = Cli::try_parse_from(["cargo xtask", "demo", "--help", "--seed", "7", "--", "-x"]).unwrap();
        let Command::Demo(args) = cli.command else { panic!("not the demo") };
        assert_eq!(args.arguments, ["--help", "--seed", "7", "--", "-x"]);
    }

    #[test]
    fn steps_are_named_in_kebab_case_and_run_in_their_own_order() {
        let cli = Cli::try_parse_from(["cargo xtask", "test", "--step", "bare-metal", "--step", "fmt"]).unwrap();
        let Command::Test(args) = cli.command else { panic!("not the tests") };
        assert_eq!(args.chosen(), [test::Step::Fmt, test::Step::BareMetal]);
        assert!(Cli::try_parse_from(["cargo xtask", "test", "--step", "everything"]).is_err());
    }
}
