//! The envelope of an AWS job execution, and the job in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;

fuzz_target!(|payload: &[u8]| match sprag_job::aws::execution(payload) {
    Ok(Some(execution)) => job::execution(&execution, payload),
    Ok(None) => {}
    Err(error) => job::error(&error, payload),
});
