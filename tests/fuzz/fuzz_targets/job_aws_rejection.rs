//! How AWS refuses a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;

fuzz_target!(|payload: &[u8]| match sprag_job::aws::rejection(payload) {
    Ok(rejection) => job::rejection(&rejection),
    Err(error) => job::error(&error, payload),
});
