//! A chunked body: any bytes, in pieces of any size.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    sprag_fetch::fuzzing::chunked(bytes, piece.into(), &mut vec![0; bytes.len()]);
});
