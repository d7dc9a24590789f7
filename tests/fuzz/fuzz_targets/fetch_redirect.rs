//! Redirects: `Location`s of any bytes, a line each, in a buffer of any size.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (room, lines) = input;
    sprag_fetch::fuzzing::redirects(lines.split(|byte| *byte == b'\n'), &mut vec![0; room.into()]);
});
