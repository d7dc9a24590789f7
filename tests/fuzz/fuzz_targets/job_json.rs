//! What is JSON to serde_json is JSON here, and the other way round.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sprag_job::{ParseErrorKind as Kind, parse};

fuzz_target!(|document: &[u8]| {
    let sound = match parse(document) {
        Ok(_) => true,
        // A limit of ours, below that of serde_json.
        Err(error) if matches!(error.kind(), Kind::TooDeep { .. }) => return,
        Err(error) => !error.reason().starts_with("json-"),
    };
    let end = document.iter().rposition(|byte| !b" \t\r\n\0".contains(byte)).map_or(0, |last| last + 1);
    match serde_json::from_slice::<Value>(&document[..end]) {
        Ok(_) => assert!(sound, "serde_json takes it"),
        // A limit of serde_json: an f64.
        Err(error) if error.to_string().starts_with("number out of range") => {}
        Err(error) => assert!(!sound, "serde_json refuses it: {error}"),
    }
});
