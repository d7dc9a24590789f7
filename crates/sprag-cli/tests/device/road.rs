//! Updates that come to a good end.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use sprag_cli::s3::{CloseMode, Disturbance};

use crate::bench::{Bench, JOB, LARGE, NEW, SMALL, ack, seed};
use crate::common::Ran;

#[test]
fn updated_and_then_there_is_nothing_to_do() {
    let bench = Bench::large();
    let before = bench.untouchable();
    let image = bench.image(NEW, LARGE);
    bench.publish(image.clone());
    let url = bench.presign();
    assert!(url.len() >= 1200, "a URL of {} bytes is no long one", url.len());
    bench.order(&url);

    let came = bench.run_json().succeeded().json();
    let requests = (&came["requests"], &came["connections"], &came["retries"]);
    assert_eq!(requests, (&1.into(), &1.into(), &0.into()), "{came}");
    assert_eq!((&came["job"], &came["result"]), (&JOB.into(), &"updated".into()));
    assert_eq!((&came["version"], &came["running"]), (&"1.1.0".into(), &"1.1.0".into()));
    assert_eq!(came["bytes_fetched"], image.len());
    let acks = [
        ack(2, "downloading"),
        ack(2, "1.1.0 is verified, restarting to test it"),
        ack(3, "1.1.0 runs and is confirmed"),
    ];
    assert_eq!(came["acks"], serde_json::json!(acks));
    bench.assert_updated(&image);
    assert_eq!(bench.untouchable().1, before.1, "data of others was changed");

    // The same job once more, as a broker may deliver it.
    let flash = bench.flash();
    let came = bench.run_json().succeeded().json();
    assert_eq!((&came["result"], &came["requests"]), (&"already-done".into(), &0.into()), "{came}");
    assert_eq!((&came["running"], &came["acks"]), (&"1.1.0".into(), &serde_json::json!([])));
    assert!(bench.flash() == flash, "the flash was changed");
    assert_eq!(bench.server().stats().requests, 1);
}

#[test]
fn told_to_a_person() {
    let bench = Bench::small();
    bench.offer();
    let ran = bench.run().succeeded();
    assert_eq!(ran.stderr, "");
    for line in [
        "  boots 1.0.0",
        &format!("  reports {}", ack(2, "downloading")),
        "  verifying what lies in flash",
        "  boots 1.1.0, swapped in for a test",
        "  self-test passed: confirmed",
        &format!("  reports {}", ack(3, "1.1.0 runs and is confirmed")),
        "updated: 1.1.0 runs and is confirmed",
    ] {
        assert!(ran.stdout.lines().any(|printed| printed == line), "{line:?} is not in:\n{}", ran.stdout);
    }
    let flash = bench.flash();
    let shown = Ran::of(&mut bench.device("show", [])).succeeded().stdout;
    for line in [
        "primary    1.1.0; trailer: magic set, image_ok set, copy_done set",
        "secondary  1.0.0; trailer: magic erased, image_ok erased, copy_done erased",
        "boot       settled",
        "session    none",
        &format!("job        iotconnect-2.1 {JOB}: done, reported"),
    ] {
        assert!(shown.lines().any(|printed| printed == line), "{line:?} is not in:\n{shown}");
    }
    assert!(bench.flash() == flash, "looking at the flash changed it");
}

#[test]
fn a_url_of_the_old_signature() {
    let bench = Bench::small();
    let image = bench.offer();
    let expires = SystemTime::now() + Duration::from_secs(600);
    bench.order(&bench.server().presign_v2("firmware", "app.bin", expires));
    let came = bench.run_json().succeeded().json();
    assert_eq!((&came["result"], &came["requests"]), (&"updated".into(), &1.into()), "{came}");
    bench.assert_updated(&image);
}

#[test]
fn whatever_the_server_does_to_its_connections() {
    let mut random = fastrand::Rng::with_seed(seed());
    let bench = Bench::with(|config| {
        config.requests_per_connection = Some(1);
        config.close = CloseMode::Silent;
    });
    let image = bench.offer();
    // Two in a row that bring nothing at the most: the third wait would be a long one.
    bench.server().on_request(move |number| match number {
        1 | 5 => Some(Disturbance::HangUp),
        2 => Some(Disturbance::CutAfter(0)),
        4 => Some(Disturbance::slow_down(None)),
        // Enough bytes to count as progress: fewer than 512 in an answer do not.
        3 | 6..30 => Some(Disturbance::CutAfter(random.u64(600..2_000))),
        _ => None,
    });
    let came = bench.run_json().succeeded().json();
    assert_eq!(came["result"], "updated", "{came}");
    assert_eq!(came["bytes_fetched"], image.len(), "bytes came twice");
    bench.assert_updated(&image);
}

/// Keys as `openssl` writes them: the public half, or both.
#[test]
fn keys_from_openssl() {
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).status();
        assert!(ran.expect("openssl is not installed: this test needs it").success(), "openssl {arguments:?}");
    };
    for public in [true, false] {
        let bench = Bench::small();
        let (private, key) = (bench.path("private.pem"), bench.path("key.pem"));
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]);
        let pem = std::fs::read_to_string(&private).expect("a key");
        match public {
            true => openssl(&["pkey", "-in", &private, "-pubout", "-out", &key]),
            false => bench.write("key.pem", &pem),
        }
        let image = bench.image_by(&SigningKey::from_pkcs8_pem(&pem).expect("an Ed25519 key"), NEW, SMALL);
        bench.publish(image.clone());
        bench.order(&bench.presign());
        assert_eq!(bench.run_json().succeeded().json()["result"], "updated");
        bench.assert_updated(&image);
    }
}
