//! `cargo xtask powercut`: the campaign against power cuts, arguments and exit code passed through.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments of the campaign itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let status = command(&Workspace::find()).args(&args.arguments).status().context("cannot start cargo")?;
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

/// The campaign without arguments, built for speed.
pub(crate) fn command(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--profile", "powercut", "--manifest-path"]);
    command.arg(workspace.root.join("Cargo.toml"));
    command.args(["--package", "sprag-powercut", "--bin", "powercut", "--"]);
    command
}
