//! A session as it was kept: what is read is written again as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fetch::Session;

fuzz_target!(|bytes: &[u8]| {
    if let Some(session) = Session::decode(bytes) {
        assert_eq!(session.encode(), bytes);
    }
});
