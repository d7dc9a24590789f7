//! AWS's answer to an update.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;

fuzz_target!(|payload: &[u8]| match sprag_job::aws::updated(payload) {
    Ok(updated) => job::updated(&updated),
    Err(error) => job::error(&error, payload),
});
