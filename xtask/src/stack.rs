//! `cargo xtask stack`: how much stack the entry points need on a Cortex-M3, emulated by QEMU. `tests/bare-metal` paints
//! the stack, this reads what it says.

use std::collections::BTreeMap;
use std::process::{ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::setup;
use crate::toolchain::{self, BareMetal};
use crate::workspace::Workspace;

const TARGET: &str = "thumbv7m-none-eabi";

/// Bytes of stack for any document.
const BUDGET: u32 = 4096;

/// What stands in the place of the document where a whole update was measured.
const UPDATE: &str = "update";

/// A firmware that hangs has failed.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn run() -> Result<ExitCode> {
    measure(&mut Workspace::find())?;
    Ok(ExitCode::SUCCESS)
}

/// Measures, prints the table and returns the worst of it; more than the budget is an error.
pub(crate) fn measure(workspace: &mut Workspace) -> Result<String> {
    let said = said_by(workspace, "stack", &[])?;

    let (mut worst, mut update) = (BTreeMap::<&str, (u32, &str)>::new(), Vec::new());
    for line in said.lines() {
        let mut words = line.split('\t');
        let (Some(entry), Some(document), Some(bytes)) = (words.next(), words.next(), words.next()) else {
            bail!("the firmware said: {line}");
        };
        let bytes: u32 = bytes.parse().with_context(|| format!("the firmware said: {line}"))?;
        if document == UPDATE {
            update.push((entry, bytes));
            continue;
        }
        let most = worst.entry(entry).or_default();
        *most = (*most).max((bytes, document));
    }
    println!("| entry point | bytes of stack | most for |\n|---|---:|---|");
    for (entry, (bytes, document)) in &worst {
        println!("| `{entry}` | {bytes} | {document} |");
    }
    println!("\n| a whole update, from the document to the staged image | bytes |\n|---|---:|");
    for (what, bytes) in update {
        println!("| {what} | {bytes} |");
    }
    let (entry, (most, document)) = worst.iter().max_by_key(|(_, most)| **most).context("the firmware said nothing")?;
    if *most > BUDGET {
        bail!("`{entry}` takes {most} bytes of stack for {document}, {BUDGET} at most");
    }
    Ok(format!("{most} bytes at most, of {BUDGET}"))
}

/// Builds the program of `tests/bare-metal` that has this name, and returns what it says on the emulated chip.
pub(crate) fn said_by(workspace: &mut Workspace, program: &str, more: &[&str]) -> Result<String> {
    setup::ensure(workspace, setup::FOR_STACK)?;
    let found = BareMetal::find_or_install(workspace, TARGET).with_context(|| toolchain::none_for(TARGET))?;
    emulate(workspace, found.measured(workspace, program, program, |_| {})?, more)
}

/// What the firmware says by semihosting before it ends.
fn emulate(workspace: &Workspace, firmware: std::path::PathBuf, more: &[&str]) -> Result<String> {
    let mut qemu = workspace.command("qemu-system-arm");
    qemu.args(["-machine", "mps2-an385", "-nographic", "-monitor", "none", "-serial", "none"]);
    qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(firmware).args(more);
    let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start qemu-system-arm")?;
    let start = Instant::now();
    let output = child.stdout.take().context("no output of qemu-system-arm")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(output));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("the firmware has not ended after {} s", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(20));
    };
    let said = reader.join().ok().context("cannot read what the firmware says")??;
    if !status.success() {
        bail!("the firmware failed: {}", said.lines().last().unwrap_or("it said nothing"));
    }
    Ok(said)
}
