//! The dialect of a document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;

fuzz_target!(|document: &[u8]| match sprag_job::detect(document) {
    Ok(dialect) => assert!(sprag_job::Dialect::ALL.contains(&dialect)),
    Err(error) => {
        job::error(&error, document);
        assert!(sprag_job::parse(document).is_err());
    }
});
