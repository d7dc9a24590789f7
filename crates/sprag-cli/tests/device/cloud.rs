//! What the cloud has to offer can't be had, or can't be used.

use std::time::{Duration, SystemTime};

use ed25519_dalek::SigningKey;
use sprag_cli::s3::Disturbance;

use crate::bench::{Bench, NEW, OLD, SMALL, SMALL_ROOM, SMALL_SLOT, ack};

/// The job fails for good: it is reported with `reason`, the old image runs, and nothing else was touched.
#[track_caller]
fn assert_fails(bench: &Bench, reason: &str, says: &[&str]) {
    let before = bench.untouchable();
    let ran = bench.run().refused(1, &["refused: ", "; the old image runs"]);
    for text in says {
        assert!(ran.stderr.contains(text), "{text:?} is not in: {}", ran.stderr);
    }
    assert!(ran.stdout.contains(&ack(4, reason)), "{reason} is not in: {}", ran.stdout);
    assert!(bench.untouchable() == before, "more than the secondary slot and the journal was changed");
    bench.assert_old_runs();
    let job = &bench.show()["job"];
    assert_eq!((&job["phase"], &job["reason"], &job["reported"]), (&"refused".into(), &reason.into(), &true.into()));
}

/// The job stops: nothing but the secondary slot and the journal was touched, and it can go on.
#[track_caller]
fn assert_stops(bench: &Bench, says: &[&str]) {
    let before = bench.untouchable();
    bench.run().refused(3, says);
    assert!(bench.untouchable() == before, "more than the secondary slot and the journal was changed");
    bench.assert_old_runs();
    assert_eq!(bench.show()["job"]["phase"], "downloading");
}

/// Goes on with the job: how many bytes that takes.
#[track_caller]
fn assert_updates(bench: &Bench, image: &[u8]) -> u64 {
    let came = bench.run_json().succeeded().json();
    assert_eq!(came["result"], "updated", "{came}");
    bench.assert_updated(image);
    came["bytes_fetched"].as_u64().expect("a number")
}

/// Brings 20,000 bytes, and then a refusal that a fresh URL would overcome: 19,456 of them are in whole blocks.
#[track_caller]
fn stop_in_the_middle(bench: &Bench) {
    bench.server().on_request(|number| match number {
        1 => Some(Disturbance::CutAfter(20_000)),
        2 => Some(Disturbance::ExpireUrls),
        _ => None,
    });
    assert_stops(bench, &["403", "AccessDenied", "URL", "run it again with a fresh URL"]);
    assert_eq!(bench.show()["session"]["written"], 19_456);
}

#[test]
fn a_url_that_has_expired() {
    let bench = Bench::small();
    let image = bench.offer();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    bench.order(&bench.server().presign_at("firmware", "app.bin", hour_ago, Duration::from_secs(60)));
    assert_stops(&bench, &["403", "AccessDenied", "URL", "run it again with a fresh URL"]);
    // With the same it can't but end the same.
    assert_stops(&bench, &["run it again with a fresh URL"]);
    bench.order(&bench.presign());
    assert_eq!(assert_updates(&bench, &image), image.len() as u64);
}

#[test]
fn a_url_that_expires_in_the_middle() {
    let bench = Bench::small();
    let image = bench.offer();
    stop_in_the_middle(&bench);
    bench.order(&bench.presign());
    assert_eq!(assert_updates(&bench, &image), image.len() as u64 - 19_456);
    let ranges: Vec<_> = bench.server().stats().log.into_iter().filter_map(|request| request.range).collect();
    assert_eq!(ranges, ["bytes=0-", "bytes=20000-", "bytes=19456-"]);
}

#[test]
fn a_server_that_is_not_there() {
    let mut bench = Bench::small();
    let image = bench.offer();
    stop_in_the_middle(&bench);
    bench.order(&bench.presign());
    let authority = bench.server().url_base().trim_start_matches("https://").to_owned();
    let nobody = bench.server_goes();
    assert_stops(&bench, &["can't connect", &authority, "run it again, and it goes on"]);
    drop(nobody);
    bench.server_comes();
    assert_eq!(assert_updates(&bench, &image), image.len() as u64 - 19_456);
}

#[test]
fn a_certificate_that_does_not_match() {
    let bench = Bench::small();
    let image = bench.offer();
    stop_in_the_middle(&bench);
    bench.order(&bench.presign());
    let authority = bench.server().url_base().trim_start_matches("https://");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert;
    bench.write("ca.pem", other.pem());
    assert_stops(&bench, &["can't connect", authority, "certificate"]);
    assert_eq!(bench.server().stats().requests, 2, "a request was sent all the same");

    bench.write("ca.pem", bench.server().ca_pem().expect("TLS"));
    assert_eq!(assert_updates(&bench, &image), image.len() as u64 - 19_456);
}

#[test]
fn an_object_that_is_not_there() {
    let bench = Bench::small();
    let image = bench.offer();
    bench.order(&bench.server().presign("firmware", "other.bin", Duration::from_secs(60)));
    assert_fails(&bench, "http-404", &["404"]);

    // That was its end: what is there by now is another job's.
    bench.order(&bench.presign());
    let flash = bench.flash();
    let ran = bench.run().refused(1, &["this job was refused before", "a job of its own"]);
    assert!(!ran.stdout.contains("reports"), "{}", ran.stdout);
    assert!(bench.flash() == flash, "the flash was changed");
    assert_eq!(bench.server().stats().requests, 1);

    bench.order_as("a-job-of-its-own", &bench.presign());
    assert_updates(&bench, &image);
    assert_eq!(bench.show()["job"]["id"], "a-job-of-its-own");
}

#[test]
fn an_image_larger_than_its_slot() {
    let bench = Bench::small();
    // It fits into the slot, but not beside what MCUboot needs there.
    let image = bench.image(NEW, SMALL_ROOM);
    bench.publish(image);
    bench.order(&bench.presign());
    let before = bench.flash();
    let room = format!("the image does not fit: the slot takes {SMALL_ROOM} bytes");
    assert_fails(&bench, "image-too-large", &[&room]);
    assert!(bench.flash()[..2 * SMALL_SLOT] == before[..2 * SMALL_SLOT], "a slot was changed");
}

#[test]
fn images_that_may_not_run() {
    let signed_by_another = |bench: &Bench| bench.image_by(&SigningKey::from_bytes(&[8; 32]), NEW, SMALL);
    let torn = |bench: &Bench| {
        let mut image = bench.image(NEW, SMALL);
        image[SMALL / 2] ^= 0x10;
        image
    };
    let cut_short = |bench: &Bench| bench.image(NEW, SMALL)[..SMALL].to_vec();
    type Make<'a> = &'a dyn Fn(&Bench) -> Vec<u8>;
    for (image, reason, says) in [
        (&signed_by_another as Make<'_>, "unknown-key", "the image is not signed by a trusted key"),
        (&torn, "digest-mismatch", "the image's digest does not match"),
        (&cut_short, "image-malformed", "the image is malformed at byte"),
        (&|_| vec![b'x'; SMALL], "not-an-image", "is no image of this format"),
    ] {
        let bench = Bench::small();
        bench.publish(image(&bench));
        bench.order(&bench.presign());
        assert_fails(&bench, reason, &[says]);
    }
}

/// An image of the version that runs and is confirmed: the job's purpose is met, and nothing is swapped.
#[test]
fn the_version_that_runs_already() {
    let bench = Bench::small();
    bench.publish(bench.image(OLD, SMALL));
    bench.order(&bench.presign());
    let came = bench.run_json().succeeded().json();
    assert_eq!(came["acks"], serde_json::json!([ack(2, "downloading"), ack(3, "1.0.0 runs and is confirmed")]));
    bench.assert_old_runs();
}
