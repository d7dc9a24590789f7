//! What a TLS server sends before anybody believes it: its records, and a chain of certificates.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, Vec<&[u8]>, &[u8])| {
    let (piece, chain, root) = input;
    sprag_fetch::fuzzing::tls_records(root, piece.into());
    let _ = sprag_fetch::fuzzing::tls_chain(root, &chain, "host.example");
});
