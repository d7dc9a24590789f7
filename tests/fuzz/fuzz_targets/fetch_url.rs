//! A URL: an error names a byte of it, and a host is one that can be asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fetch::{HOST_MAX, Url};

fuzz_target!(|bytes: &[u8]| match Url::parse(bytes.iter().copied()) {
    Ok(url) => assert!(!url.host().is_empty() && url.host().len() <= HOST_MAX && url.port() > 0),
    Err(error) => assert!(error.at <= bytes.len()),
});
