//! `sprag-verify` as a firmware uses it: may what lies in the slot run here?

use core::hint::black_box;

use embassy_futures::block_on;
use sprag_verify::{Policy, Promised, Version};

use crate::chip::Flash;
use crate::key::key;

pub fn run(_: &[u8], out: &mut [u8]) {
    let key = key();
    let policy = Policy::signed_by(&key).newer_than(black_box(Version::new(1, 0, 0))).for_board(black_box("board"));
    let promised = || Promised::size(black_box(10_000));
    #[cfg(feature = "verify-mcuboot")]
    let _ = black_box(block_on(sprag_verify::mcuboot::verify(&mut Flash, promised(), &policy, out)));
    #[cfg(feature = "verify-esp-idf")]
    let _ = black_box(block_on(sprag_verify::esp_idf::verify(&mut Flash, promised(), &policy, out)));
    #[cfg(feature = "verify-raw")]
    let _ = {
        let at = sprag_verify::VersionAt::Offset(black_box(512));
        black_box(block_on(sprag_verify::raw::verify(&mut Flash, promised(), at, &policy, out)))
    };
}
