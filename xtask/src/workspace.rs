//! Where the workspace is, and how its child processes are started.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Layers 0 to 2, bottom first: the crates that have to build for a chip.
pub(crate) const LAYERS: [&str; 7] =
    ["sprag-core", "sprag-job", "sprag-fetch", "sprag-flash", "sprag-verify", "sprag-boot", "sprag"];

pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder; our own tools live in it too.
    pub(crate) target: PathBuf,
    /// Folders that come first on the PATH of every child process.
    tool_folders: Vec<PathBuf>,
}

impl Workspace {
    pub(crate) fn find() -> Self {
        let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&here).parent().unwrap_or(Path::new(".")).to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        // Absolute, because steps run in the root, wherever xtask was called.
        let target = std::path::absolute(&target).unwrap_or(target);
        Self { root, target, tool_folders: Vec::new() }
    }

    /// The cargo that started this program, in the caller's folder.
    pub(crate) fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// The same cargo in the workspace's root, with the words of a step.
    pub(crate) fn cargo_step(&self, arguments: &[&str]) -> Command {
        let mut command = self.cargo();
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// A child process with our tools on its PATH, in the caller's folder.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", self.path());
        if env::var_os("CARGO_TARGET_DIR").is_some() {
            command.env("CARGO_TARGET_DIR", &self.target);
        }
        // `cargo run` describes this package in the environment; build scripts that watch these variables would
        // run again each time xtask and plain cargo take turns.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name.as_ref());
            }
        }
        command
    }

    /// Puts a folder of programs in front of every child's PATH.
    pub(crate) fn add_tools(&mut self, folder: PathBuf) {
        if !self.tool_folders.contains(&folder) {
            self.tool_folders.insert(0, folder);
        }
    }

    /// The first program of this name on the children's PATH.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        let file = format!("{program}{}", env::consts::EXE_SUFFIX);
        env::split_paths(&self.path()).map(|folder| folder.join(&file)).find(|path| path.is_file())
    }

    fn path(&self) -> OsString {
        let inherited = env::var_os("PATH").unwrap_or_default();
        // Debian keeps nginx where only root's PATH looks.
        let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        let folders = self.tool_folders.iter().cloned().chain(env::split_paths(&inherited)).chain(system);
        env::join_paths(folders).unwrap_or(inherited)
    }
}

/// Runs a command to its end, its output going where ours goes.
pub(crate) fn finish(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end and returns its standard output; a failure names the last line of its errors.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        bail!("`{}` ended with {}: {}", shown(command), output.status, last.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command as a reader would type it: the program without its folder.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}
