//! `cargo xtask ci`: the test steps with nothing left out, then the demo and the campaign against power
//! cuts; what `.ci/run` calls.

use std::process::ExitCode;

use anyhow::Result;

use crate::journal::{Done, Journal};
use crate::workspace::{Workspace, finish};
use crate::{demo, powercut, test};

pub(crate) fn run() -> Result<ExitCode> {
    let mut workspace = Workspace::find();
    let mut journal = Journal::new();
    let options = test::Options { advisories: false, complete: true };
    test::run_steps(&mut workspace, &test::Step::ALL, options, &mut journal)?;
    journal.step("demo", "every scenario, seed 1", "cargo xtask demo --seed 1", || {
        finish(demo::command(&workspace).args(["--seed", "1"]))?;
        Ok(Done::Well(None))
    })?;
    journal.step("powercut", "a sample of the campaign, seed 1", "cargo xtask powercut", || {
        finish(&mut powercut::command(&workspace))?;
        Ok(Done::Well(None))
    })?;
    journal.close();
    Ok(ExitCode::SUCCESS)
}
