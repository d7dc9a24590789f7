//! `cargo xtask demo`: the demo of the end-to-end tests, arguments and exit code passed through.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments of the demo itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let status = command(&Workspace::find()).args(&args.arguments).status().context("cannot start cargo")?;
    // A demo ended by a signal has no code of its own.
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

/// The demo without arguments, in the caller's own folder: paths in its arguments mean what the caller meant.
pub(crate) fn command(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--manifest-path"]).arg(workspace.root.join("Cargo.toml"));
    command.args(["--package", "sprag-tests", "--bin", "demo", "--"]);
    command
}
