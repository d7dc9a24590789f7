//! The power is cut where it is asked for, `show` prints what that left, and the next run goes on.

use serde_json::Value;

use crate::bench::{Bench, seed};
use crate::common::Ran;

/// Runs with a cut, which must happen, and gives what lies in the flash then.
#[track_caller]
fn cut(bench: &Bench, at: &str) -> Value {
    let ran = Ran::of(bench.run_command().args(["--power-cut-at", at]));
    ran.refused(3, &["the power failed in flash operation ", "run it again, and it goes on"]);
    let flash = bench.flash();
    let found = bench.show();
    assert_eq!(flash, bench.flash(), "show changes nothing");
    found
}

#[test]
fn a_cut_where_it_is_asked_for() {
    let bench = Bench::small();
    let image = bench.offer();
    // The job's record; somewhere in the image; and in a sector's erase, as each of them is torn in its way.
    let found = cut(&bench, "2:bits=1");
    assert_eq!((&found["job"], &found["secondary"]["programmed"]), (&Value::Null, &0.into()), "{found}");
    let found = cut(&bench, "1500:unreadable=7");
    let written = found["session"]["written"].as_u64().expect("a session");
    assert!(written > 8000 && written < image.len() as u64, "{found}");
    assert_eq!((&found["job"]["phase"], &found["journal"]["bank"]), (&"downloading".into(), &0.into()), "{found}");
    let more = cut(&bench, "700:before")["session"]["written"].as_u64().expect("a session");
    assert!(more > written, "it goes on: {more}");
    bench.run().succeeded();
    bench.assert_updated(&image);
}

#[test]
fn cuts_from_a_seed() {
    let bench = Bench::small();
    let image = bench.offer();
    let seed = seed();
    for n in 0..4 {
        cut(&bench, &format!("random:{}", seed + n));
    }
    bench.run().succeeded();
    bench.assert_updated(&image);
    // A cut that is not reached is no cut.
    let again = Ran::of(bench.run_command().args(["--power-cut-at", "random:1"]));
    again.succeeded();
    for bad in ["x", "random", "7:torn", "-1"] {
        let refused = bench.run_command().arg(format!("--power-cut-at={bad}")).output().expect("a process");
        assert_eq!(refused.status.code(), Some(2), "{bad}");
    }
}
