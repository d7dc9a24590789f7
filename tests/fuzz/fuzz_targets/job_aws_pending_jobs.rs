//! AWS's list of pending jobs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;

fuzz_target!(|payload: &[u8]| match sprag_job::aws::pending_jobs(payload) {
    Ok(pending) => job::pending_jobs(&pending),
    Err(error) => job::error(&error, payload),
});
