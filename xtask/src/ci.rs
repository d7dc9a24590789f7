//! `cargo xtask ci`: the test steps with nothing left out, then the demo and the measurements; what `.ci/run` calls.

use std::process::ExitCode;

use anyhow::Result;

use crate::journal::{Done, Journal};
use crate::program::Program;
use crate::workspace::{Workspace, finish};
use crate::{bench, build, fuzz, panics, size, stack, test};

pub(crate) fn run() -> Result<ExitCode> {
    let mut workspace = Workspace::find();
    let mut journal = Journal::new();
    let options = test::Options { advisories: false, complete: true };
    test::run_steps(&mut workspace, &test::Step::ALL, options, &mut journal)?;
    journal.step("demo", "every scenario, seed 1", "cargo xtask demo --seed 1", || {
        finish(Program::Demo.command(&workspace).args(["--seed", "1"]))?;
        Ok(Done::Well(None))
    })?;
    journal.step("fuzz", "every fuzz target for a moment", "cargo xtask fuzz --seconds 2", || {
        let note = fuzz::smoke(&mut workspace, None, 2)?;
        Ok(Done::Well(Some(note)))
    })?;
    journal.step("stack", "every entry point on a Cortex-M3", "cargo xtask stack", || {
        Ok(Done::Well(Some(stack::measure(&mut workspace)?)))
    })?;
    journal.step("size", "code size against the baseline", "cargo xtask size --compare", || {
        Ok(Done::Well(Some(size::measure(&workspace, size::Baseline::Compare)?)))
    })?;
    journal.step("build", "the firmware of every board", "cargo xtask build --release", || {
        build::run(&build::Args::release())?;
        Ok(Done::Well(None))
    })?;
    journal.step("panics", "panicking paths on layers 0 to 2", "cargo xtask panics", || {
        Ok(Done::Well(Some(panics::find(&workspace)?)))
    })?;
    journal.step("bench", "instructions, and that they grow linearly", "cargo xtask bench job", || {
        Ok(Done::Well(Some(bench::measure(&mut workspace, bench::Subject::Job)?)))
    })?;
    journal.step("cpu", "instructions of an update", "cargo xtask bench cpu", || {
        bench::measure(&mut workspace, bench::Subject::Cpu)?;
        Ok(Done::Well(None))
    })?;
    journal.step("link", "downloads in virtual time, a few", "cargo xtask bench link --short", || {
        finish(Program::Link.command(&workspace).arg("--short"))?;
        Ok(Done::Well(None))
    })?;
    journal.step("vectors", "what real bootloaders did, against the models", "cargo xtask vectors", || {
        finish(&mut Program::Vectors.command(&workspace))?;
        Ok(Done::Well(None))
    })?;
    journal.step("powercut", "a sample of the campaign, seed 1", "cargo xtask powercut", || {
        finish(&mut Program::Powercut.command(&workspace))?;
        Ok(Done::Well(None))
    })?;
    journal.step("boards", "the campaign with a board's real sectors", "cargo xtask powercut --board stm32", || {
        finish(Program::Powercut.command(&workspace).args(["--board", "stm32"]))?;
        Ok(Done::Well(None))
    })?;
    journal.close();
    Ok(ExitCode::SUCCESS)
}
