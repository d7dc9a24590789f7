//! A document, and everything in the job that it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;

fuzz_target!(|document: &[u8]| match sprag_job::parse(document) {
    Ok(found) => {
        assert_eq!(sprag_job::detect(document), Ok(found.dialect()));
        job::job(&found, document);
    }
    Err(error) => job::error(&error, document),
});
