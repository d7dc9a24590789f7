//! `cargo xtask test`: everything that has to hold before a change goes in, cheapest first.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::journal::{Done, Journal};
use crate::setup;
use crate::toolchain::{self, BareMetal};
use crate::workspace::{LAYERS, Workspace, finish, shown};

/// The chip family every CI run builds layers 0 to 2 for.
const TARGET: &str = "thumbv7em-none-eabihf";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Install or name what the other steps need beyond cargo
    Setup,
    /// Formatting
    Fmt,
    /// Clippy, and layers 0 to 2 with each feature alone
    Lint,
    /// Unit and integration tests
    Tests,
    /// The examples in the documentation
    Doctests,
    /// The documentation builds and its links hold
    Docs,
    /// Licences, sources and duplicates of the dependencies
    Deny,
    /// Floors 1 and 2 for a Cortex-M4
    BareMetal,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only this step; may be given more than once
    #[arg(long = "step", value_name = "NAME")]
    steps: Vec<Step>,
    /// Let the deny step ask the advisory database as well (needs the network)
    #[arg(long)]
    advisories: bool,
}

impl Args {
    /// The steps to run: those asked for, in the order they have, or all.
    pub(crate) fn chosen(&self) -> Vec<Step> {
        Step::ALL.into_iter().filter(|step| self.steps.is_empty() || self.steps.contains(step)).collect()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// Check the advisory database.
    pub(crate) advisories: bool,
    /// Fail where a step would otherwise be left out.
    pub(crate) complete: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut workspace = Workspace::find();
    let mut journal = Journal::new();
    let options = Options { advisories: args.advisories, complete: false };
    run_steps(&mut workspace, &args.chosen(), options, &mut journal)?;
    journal.close();
    Ok(ExitCode::SUCCESS)
}

/// Runs these steps in order and stops at the first that fails.
pub(crate) fn run_steps(
    workspace: &mut Workspace,
    steps: &[Step],
    options: Options,
    journal: &mut Journal,
) -> Result<()> {
    for step in steps {
        let mut repeat = format!("cargo xtask test --step {}", step.name());
        if *step == Step::Deny && options.advisories {
            repeat.push_str(" --advisories");
        }
        journal.step(step.name(), step.what(), &repeat, || step.run(workspace, options))?;
    }
    Ok(())
}

impl Step {
    pub(crate) const ALL: [Self; 8] =
        [Self::Setup, Self::Fmt, Self::Lint, Self::Tests, Self::Doctests, Self::Docs, Self::Deny, Self::BareMetal];

    /// The name as `--step` takes it.
    fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Fmt => "fmt",
            Self::Lint => "lint",
            Self::Tests => "tests",
            Self::Doctests => "doctests",
            Self::Docs => "docs",
            Self::Deny => "deny",
            Self::BareMetal => "bare-metal",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Setup => "what the steps need beyond cargo",
            Self::Fmt => "formatting",
            Self::Lint => "clippy, and layers 0 to 2 with each feature alone",
            Self::Tests => "unit and integration tests",
            Self::Doctests => "the examples in the documentation",
            Self::Docs => "the documentation builds and its links hold",
            Self::Deny => "licences, sources and duplicates of the dependencies",
            Self::BareMetal => "layers 0 to 2 for a Cortex-M4 (thumbv7em-none-eabihf)",
        }
    }

    fn run(self, workspace: &mut Workspace, options: Options) -> Result<Done> {
        match self {
            Self::Setup => set_up(workspace, options),
            Self::Fmt => fmt(workspace),
            Self::Lint => lint(workspace),
            Self::Tests => tests(workspace),
            Self::Doctests => well(finish(&mut workspace.cargo_step(&["test", "--workspace", "--doc"]))),
            Self::Docs => {
                let mut doc = workspace.cargo_step(&["doc", "--workspace", "--no-deps", "--all-features"]);
                well(finish(doc.env("RUSTDOCFLAGS", "-D warnings")))
            }
            Self::Deny => deny(workspace, options),
            Self::BareMetal => bare_metal(workspace, options),
        }
    }
}

/// Packages with a `Cargo.lock` of their own, which the workspace's commands do not reach.
const OUTSIDE: [&str; 5] =
    ["tests/fuzz", "tests/bare-metal", "boards/esp32/firmware", "boards/psoc6/firmware", "boards/stm32/firmware"];

fn fmt(workspace: &Workspace) -> Result<Done> {
    finish(&mut workspace.cargo_step(&["fmt", "--all", "--check"]))?;
    for folder in OUTSIDE {
        let manifest = workspace.root.join(folder).join("Cargo.toml");
        finish(workspace.cargo_step(&["fmt", "--check", "--manifest-path"]).arg(manifest))?;
    }
    Ok(Done::Well(None))
}

fn well(result: Result<()>) -> Result<Done> {
    result.map(|()| Done::Well(None))
}

fn set_up(workspace: &mut Workspace, options: Options) -> Result<Done> {
    for tools in [setup::FOR_TESTS, setup::FOR_DENY] {
        for line in setup::ensure(workspace, tools)? {
            println!("    {line}");
        }
    }
    match BareMetal::find_or_install(workspace, TARGET) {
        Some(found) => println!("    bare metal: {found}"),
        None if options.complete => bail!("{}", toolchain::none_for(TARGET)),
        None => {
            println!("    bare metal: {}", toolchain::none_for(TARGET));
            return Ok(Done::Well(Some("but without a Rust for bare metal".to_owned())));
        }
    }
    Ok(Done::Well(None))
}

fn lint(workspace: &Workspace) -> Result<Done> {
    let deny_warnings = ["--", "-D", "warnings"];
    let whole = ["clippy", "--workspace", "--all-targets", "--all-features"];
    finish(workspace.cargo_step(&whole).args(deny_warnings))?;

    let mut rungs = 0;
    for layer in LAYERS {
        let manifest = workspace.root.join("crates").join(layer).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let bare = ["clippy", "--quiet", "--package", layer, "--lib", "--no-default-features"];
        finish(workspace.cargo_step(&bare).args(deny_warnings))?;
        rungs += 1;
        for feature in features(&text) {
            finish(workspace.cargo_step(&bare).args(["--features", feature]).args(deny_warnings))?;
            rungs += 1;
        }
    }
    Ok(Done::Well(Some(format!("{rungs} feature sets of {} crates", LAYERS.len()))))
}

/// The features a manifest declares, `default` aside: the keys of its `[features]` table, as cargo itself has
/// already accepted the file.
fn features(manifest: &str) -> Vec<&str> {
    let table = manifest.lines().map(str::trim).skip_while(|line| *line != "[features]").skip(1);
    let mut names = Vec::new();
    let mut open_brackets = 0_i32;
    for line in table.map(|line| line.split('#').next().unwrap_or_default()) {
        if open_brackets == 0 {
            if line.starts_with('[') {
                break;
            }
            if let Some((key, _)) = line.split_once('=') {
                names.push(key.trim().trim_matches('"'));
            }
        }
        open_brackets += line.chars().map(|c| i32::from(c == '[') - i32::from(c == ']')).sum::<i32>();
    }
    names.retain(|name| *name != "default");
    names
}

/// A package whose tests also run without its default features, and the features that they run with.
const MINIMAL: (&str, &str) = ("sprag-fetch", "embedded-tls");

fn tests(workspace: &mut Workspace) -> Result<Done> {
    setup::ensure(workspace, setup::FOR_TESTS)?;
    let has_nextest = workspace.which("cargo-nextest").is_some();
    let (package, features) = MINIMAL;
    let runner: &[&str] = if has_nextest { &["nextest", "run"] } else { &["test", "--lib", "--tests"] };
    let minimal = ["--package", package, "--no-default-features", "--features", features];
    finish(workspace.cargo_step(runner).args(minimal))?;
    if has_nextest {
        let mut command = workspace.cargo_step(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        let said = finish_heard(&mut command, Stream::Errors)?;
        // From the summary on: what nextest has to say about slow or flaky tests follows it.
        let closing: Vec<String> =
            said.into_iter().skip_while(|line| !plain(line).trim_start().starts_with("Summary [")).collect();
        let summary = closing.first().map(|line| plain(line)).unwrap_or_default();
        let note = summary.split_once("] ").map_or("nextest gave no summary", |(_, counts)| counts).to_owned();
        return Ok(Done::Tested { note, closing });
    }
    let targets = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
    let said = finish_heard(&mut workspace.cargo_step(&targets), Stream::Output)?;
    let closing: Vec<String> = said.into_iter().filter(|line| plain(line).starts_with("test result: ")).collect();
    let count = |word| closing.iter().map(|line| counted(&plain(line), word)).sum::<u64>();
    let note = format!("{} tests passed, {} ignored", count("passed"), count("ignored"));
    Ok(Done::Tested { note, closing })
}

/// The number before `word` in a closing line of `cargo test`.
fn counted(line: &str, word: &str) -> u64 {
    let mut pieces = line.split([';', '.']).map(str::trim);
    pieces.find_map(|piece| piece.strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
}

/// A line without its colours.
fn plain(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Errors,
}

/// Runs a command to its end and returns the lines of one of its streams, each passed on as it comes.
fn finish_heard(command: &mut Command, stream: Stream) -> Result<Vec<String>> {
    // Behind a pipe the runner would not know that somebody is looking.
    if std::io::stderr().is_terminal() && std::env::var_os("CARGO_TERM_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    match stream {
        Stream::Output => command.stdout(Stdio::piped()),
        Stream::Errors => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
    let lines = match stream {
        Stream::Output => child.stdout.take().map(|pipe| passed_on(pipe, std::io::stdout())),
        Stream::Errors => child.stderr.take().map(|pipe| passed_on(pipe, std::io::stderr())),
    };
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    lines.transpose().map(Option::unwrap_or_default)
}

fn passed_on(from: impl Read, mut to: impl Write) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in BufReader::new(from).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(to, "{line}")?;
        lines.push(line);
    }
    Ok(lines)
}

fn deny(workspace: &mut Workspace, options: Options) -> Result<Done> {
    setup::ensure(workspace, setup::FOR_DENY)?;
    let mut command = workspace.cargo_step(&["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    if options.advisories {
        command.arg("advisories");
    }
    finish(&mut command)?;
    Ok(Done::Well((!options.advisories).then(|| "advisories not asked (--advisories asks them)".to_owned())))
}

fn bare_metal(workspace: &mut Workspace, options: Options) -> Result<Done> {
    let Some(found) = BareMetal::find_or_install(workspace, TARGET) else {
        let none = toolchain::none_for(TARGET);
        if options.complete {
            bail!("{none}");
        }
        return Ok(Done::LeftOut(none));
    };
    println!("    {found}");
    let build = || {
        let mut command = found.cargo(workspace, "build");
        command.arg("--release");
        for layer in LAYERS {
            command.args(["--package", layer]);
        }
        command
    };
    finish(&mut build())?;
    finish(build().args(["--features", "sprag/defmt,sprag/embedded-tls"]))?;
    Ok(Done::Well(Some(format!("without features, and with defmt and embedded-tls, {found}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_names_are_the_ones_the_command_line_takes() {
        for step in Step::ALL {
            assert_eq!(Step::from_str(step.name(), false), Ok(step));
        }
    }

    #[test]
    fn features_are_read_from_a_manifest() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\ndefault = [\"a\"]\n## About a.\na = []\nb = [ # why\n  \
                        \"a\",\n  \"dep:c\",\n]\n\"c\" = [\"dep:c\"]\n\n[dependencies]\nc = { features = [\"d\"] }\n";
        assert_eq!(features(manifest), ["a", "b", "c"]);
        assert!(features("[package]\nname = \"x\"\n").is_empty());
    }

    #[test]
    fn counts_and_colours_of_closing_lines() {
        let line = "test result: \u{1b}[32mok\u{1b}[0m. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out";
        assert_eq!(plain(line), "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out");
        assert_eq!((counted(&plain(line), "passed"), counted(&plain(line), "ignored")), (12, 3));
    }
}
