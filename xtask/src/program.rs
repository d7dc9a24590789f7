//! Programs of this workspace that take the rest of the command line: arguments and exit code are passed through.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments of the program itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The demo of the end-to-end tests.
    Demo,
    /// The campaign against power cuts, built for speed.
    Powercut,
    /// Downloads over a simulated link, built for speed.
    Link,
    /// The vectors of real bootloaders, built for speed.
    Vectors,
}

impl Program {
    pub(crate) fn run(self, args: &Args) -> Result<ExitCode> {
        let status = self.command(&Workspace::find()).args(&args.arguments).status().context("cannot start cargo")?;
        // A program ended by a signal has no code of its own.
        Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
    }

    /// The program without arguments, in the caller's own folder: paths in its arguments mean what the caller meant.
    pub(crate) fn command(self, workspace: &Workspace) -> Command {
        let (package, binary, profile) = match self {
            Self::Demo => ("sprag-tests", "demo", "dev"),
            Self::Powercut => ("sprag-powercut", "powercut", "powercut"),
            Self::Link => ("sprag-link-bench", "link", "release"),
            Self::Vectors => ("sprag-vectors", "vectors", "powercut"),
        };
        let mut command = workspace.cargo();
        command.args(["run", "--quiet", "--profile", profile, "--manifest-path"]);
        command.arg(workspace.root.join("Cargo.toml"));
        command.args(["--package", package, "--bin", binary, "--"]);
        command
    }
}
