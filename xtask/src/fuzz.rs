//! `cargo xtask fuzz`: the fuzz targets in `tests/fuzz`, each from its seeds, without a sanitizer: the crates are safe
//! Rust, and this way a stable compiler will do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::setup;
use crate::workspace::{Workspace, finish, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this target
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    smoke(&mut Workspace::find(), args.target.as_deref(), args.seconds)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds all targets, or one, runs each for so long and sums it up.
pub(crate) fn smoke(workspace: &mut Workspace, target: Option<&str>, seconds: u32) -> Result<String> {
    setup::ensure(workspace, setup::FOR_FUZZ)?;
    let listed = output(&mut workspace.cargo_step(&["fuzz", "list", "--fuzz-dir", FOLDER]))?;
    let targets: Vec<&str> = listed.lines().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if targets.is_empty() {
        bail!(
            "no fuzz target {}; there are {}",
            target.unwrap_or("at all"),
            listed.lines().collect::<Vec<_>>().join(", ")
        );
    }
    let home = workspace.target.join("fuzz");
    let mut build =
        workspace.cargo_step(&["fuzz", "build", "--fuzz-dir", FOLDER, "--sanitizer", "none", "--target-dir"]);
    finish(build.arg(&home).args(target))?;
    let mut runs = 0;
    for target in &targets {
        runs += one(workspace, &home, target, seconds)?;
    }
    Ok(format!("{} targets, {runs} runs", targets.len()))
}

const FOLDER: &str = "tests/fuzz";

/// Runs a target and returns how often it ran. What libFuzzer says goes to a file, and its end to the error.
fn one(workspace: &Workspace, home: &Path, target: &str, seconds: u32) -> Result<u64> {
    let program = home.join(host(workspace)?).join("release").join(target);
    let (corpus, artifacts) = (home.join("corpus").join(target), home.join("artifacts").join(target));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let log = home.join(format!("{target}.log"));

    let mut command = workspace.command(&program);
    command.arg(format!("-max_total_time={seconds}")).args(["-max_len=4096", "-timeout=10", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    // What it learns goes to the first folder, what it starts from lies in the others.
    command.arg(&corpus);
    for seeds in of_prefixes(&workspace.root.join(FOLDER).join("seeds"), target) {
        match seeds.is_dir() {
            true => command.arg(seeds),
            false => command.arg(format!("-dict={}", seeds.display())),
        };
    }
    let status = command.stderr(File::create(&log)?).status().with_context(|| format!("cannot start {target}"))?;
    let said = fs::read(&log)?;
    let said = String::from_utf8_lossy(&said);
    if !status.success() {
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        bail!("{target} found something; repeat it with `{} FILE`\n{end}", program.display());
    }
    let number = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse().ok());
    let runs = said.lines().find(|line| line.starts_with("stat::number_of_executed_units")).and_then(number);
    let runs = runs.with_context(|| format!("{target} gave no statistics: see {}", log.display()))?;
    println!("    {target:<28} {runs:>10} runs in {seconds} s, nothing found");
    Ok(runs)
}

/// The seed folders and dictionaries of a target: `job` and `job.dict` serve `job_parse` too.
fn of_prefixes(seeds: &Path, target: &str) -> Vec<PathBuf> {
    let ends = target.match_indices('_').map(|(end, _)| end).chain([target.len()]);
    let names = ends.filter_map(|end| target.get(..end));
    names.flat_map(|name| [seeds.join(name), seeds.join(format!("{name}.dict"))]).filter(|path| path.exists()).collect()
}

/// The triple that cargo-fuzz builds for.
fn host(workspace: &Workspace) -> Result<String> {
    let about = output(workspace.command("rustc").arg("-vV"))?;
    about.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc names no host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_serve_every_target_whose_name_goes_on_from_theirs() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
        let names =
            |target| of_prefixes(&seeds, target).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        let found: Vec<std::ffi::OsString> = names("job_aws_jobs");
        assert_eq!(found, ["job", "job.dict", "job_aws_jobs"]);
        let found: Vec<std::ffi::OsString> = names("jobs");
        assert!(found.is_empty());
    }
}
