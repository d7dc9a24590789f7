//! `cargo xtask bench`: instructions per document, counted by callgrind, and downloads in virtual time; never timed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::program::{self, Program};
use crate::setup;
use crate::stack;
use crate::workspace::{Workspace, finish, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
pub(crate) enum Subject {
    /// Instructions of sprag-job beside serde_json and serde-json-core, and that they grow linearly
    Job,
    /// Instructions of an update on an emulated Cortex-M3: per KiB, per signature, per job document
    Cpu,
    /// Whole downloads into flash over a simulated link (try `cargo xtask bench link --help`)
    Link(program::Args),
}

/// How much more a document of twice the length may cost, in percent.
const LINEAR_PERCENT: u64 = 220;

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    measure(&mut Workspace::find(), args.subject)?;
    Ok(ExitCode::SUCCESS)
}

/// Measures, prints the tables and returns what is worth a line in the summary.
pub(crate) fn measure(workspace: &mut Workspace, subject: Subject) -> Result<String> {
    match subject {
        Subject::Job => job(workspace),
        Subject::Cpu => cpu(workspace),
        Subject::Link(args) => {
            finish(Program::Link.command(workspace).args(args.arguments))?;
            Ok(String::new())
        }
    }
}

/// Counts instructions where each takes a nanosecond of the emulator's time.
fn cpu(workspace: &mut Workspace) -> Result<String> {
    let said = stack::said_by(workspace, "cpu", &["-icount", "shift=0,align=off,sleep=off"])?;
    println!("| what | instructions of a Cortex-M3 |\n|---|---:|");
    for line in said.lines() {
        let [what, count, instructions] = line.split('\t').collect::<Vec<_>>()[..] else {
            bail!("the firmware said: {line}")
        };
        let (count, instructions): (u64, u64) = (count.parse()?, instructions.parse()?);
        println!("| {what} | {} |", instructions / count.max(1));
    }
    Ok(String::new())
}

/// Counts instructions; more than linear growth is an error.
fn job(workspace: &mut Workspace) -> Result<String> {
    setup::ensure(workspace, setup::FOR_BENCH)?;
    let counts = counts(workspace, &program(workspace)?)?;

    // A row is a document, a column a reader; the program names both, in the order of the counts.
    let mut readers: Vec<&str> = Vec::new();
    let mut documents: Vec<(&str, &str)> = Vec::new();
    for count in counts.iter().filter(|count| count.twice.is_none()) {
        if !readers.contains(&count.reader.as_str()) {
            readers.push(&count.reader);
        }
        if !documents.iter().any(|(name, _)| *name == count.document) {
            documents.push((&count.document, &count.bytes));
        }
    }
    println!("| document | bytes | {} |\n|---|---:|{}", readers.join(" | "), "---:|".repeat(readers.len()));
    for (document, bytes) in documents {
        let cell = |reader: &&str| {
            let count = counts.iter().find(|count| count.reader == **reader && count.document == document);
            count.map_or("".to_owned(), |count| count.instructions.to_string())
        };
        println!("| {document} | {bytes} | {} |", readers.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }

    println!("\n| hostile document | bytes | instructions | twice as long | ratio |\n|---|---:|---:|---:|---:|");
    let mut worst = 0;
    for once in counts.iter().filter(|count| count.twice == Some(false)) {
        let is_double = |count: &&Count| count.twice == Some(true) && count.document == once.document;
        let double = counts.iter().find(is_double).with_context(|| format!("{} has no double", once.document))?;
        let percent = double.instructions * 100 / once.instructions.max(1);
        let (document, bytes, one, two) = (&once.document, &once.bytes, once.instructions, double.instructions);
        println!("| {document} | {bytes} | {one} | {two} | {}.{:02} |", percent / 100, percent % 100);
        worst = worst.max(percent);
    }
    if worst > LINEAR_PERCENT {
        bail!("a document of twice the length takes {worst} % of the instructions, {LINEAR_PERCENT} % at most");
    }
    Ok(format!("twice the length, {worst} % of the instructions at most"))
}

struct Count {
    reader: String,
    document: String,
    bytes: String,
    /// Of a hostile document: whether it is the one of twice the length.
    twice: Option<bool>,
    instructions: u64,
}

/// Builds the benchmark and names its program.
fn program(workspace: &Workspace) -> Result<PathBuf> {
    let bench = ["bench", "--no-run", "--package", "sprag-job", "--features", "serde", "--bench", "instructions"];
    let said = output(workspace.cargo_step(&bench).args(["--message-format", "json"]))?;
    let named = said.split_once(r#""executable":""#).and_then(|(_, rest)| rest.split_once('"'));
    Ok(named.context("cargo names no benchmark")?.0.into())
}

/// Runs the program under callgrind. It measures one reading after the other, each by a call of its function
/// `measured`, behind which callgrind writes down what that call has cost; and names each on standard output.
fn counts(workspace: &Workspace, program: &Path) -> Result<Vec<Count>> {
    let folder = workspace.target.join("bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let mut valgrind = workspace.command("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--toggle-collect=measured", "--dump-after=measured"]);
    valgrind.arg(format!("--callgrind-out-file={}", folder.join("out").display()));
    let said = output(valgrind.arg(program))?;
    let named: Vec<&str> = said.lines().collect();
    let mut counts = Vec::new();
    for (index, line) in named.iter().enumerate() {
        let [reader, document, bytes, twice] = line.split('\t').collect::<Vec<_>>()[..] else {
            bail!("bad line: {line}")
        };
        let dump = folder.join(format!("out.{}", index + 1));
        let text = fs::read_to_string(&dump).with_context(|| format!("cannot read {}", dump.display()))?;
        let summary = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
        let instructions = summary.context("callgrind gave no sum")?.trim().parse()?;
        let twice = match twice {
            "once" => Some(false),
            "twice" => Some(true),
            _ => None,
        };
        counts.push(Count {
            reader: reader.into(),
            document: document.into(),
            bytes: bytes.into(),
            twice,
            instructions,
        });
    }
    Ok(counts)
}
