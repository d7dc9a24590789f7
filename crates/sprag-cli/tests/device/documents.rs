//! Job documents that are none: refused before the flash is touched.

use crate::bench::{Bench, ack, document, seed};

const URL: &str = "https://localhost/app.bin?X-Amz-Signature=0123&X-Amz-Expires=60";

/// It is bad input, the message says this, and the flash is as it was.
#[track_caller]
fn assert_refused(bench: &Bench, document: impl AsRef<[u8]>, says: &[&str]) {
    let flash = bench.flash();
    bench.write("job.json", document);
    let ran = bench.run().refused(2, &[&bench.path("job.json")]);
    for text in says {
        assert!(ran.stderr.contains(text), "{text:?} is not in: {}", ran.stderr);
    }
    assert_eq!(ran.stdout, "");
    assert!(bench.flash() == flash, "the flash was changed");
}

#[test]
fn cut_short() {
    let (bench, whole) = (Bench::small(), document(URL));
    let mut random = fastrand::Rng::with_seed(seed());
    for length in [0, 1, 9, whole.len() / 2, whole.len() - 3, whole.len() - 1] {
        assert_refused(&bench, &whole[..length], &["cut short", &format!("at byte {length}")]);
    }
    // In the middle of an escape, of a number, of a word: anywhere.
    for _ in 0..12 {
        assert_refused(&bench, &whole[..random.usize(..whole.len())], &["at byte "]);
    }
}

#[test]
fn not_a_job() {
    let (bench, whole) = (Bench::small(), document(URL));
    let urls = &whole[whole.find(r#","urls""#).expect("a field")..whole.len() - 1];
    // Each names the byte at which this begins.
    for (document, says, at) in [
        ("Update, please".to_owned(), "document: expected", "Update"),
        (whole.replacen(':', "=", 1), "document: expected", "="),
        ("[1, 2]".to_owned(), "document: not an OTA", "["),
        (whole.replace(urls, ""), "urls: missing", "{"),
        (whole.replace(urls, r#","urls":[]"#), "urls: empty", "[]"),
        (whole.replace(r#""url":"#, r#""uri":"#), "urls[0].url: missing", r#"{"uri""#),
        (whole.replace(r#""ct":1"#, r#""ct":0"#), "ct: not an OTA (ct 0)", "0"),
        (whole.replace("https:", "ftp:"), "urls[0].url: bad URL, expected http:// or https://", r#""ftp"#),
        (whole.replace("localhost", ""), "urls[0].url: bad URL, expected a host", r#""https"#),
        (whole.replace("app.bin?", "a b?"), "urls[0].url: bad URL, expected printable ASCII", r#""https"#),
    ] {
        let at = format!("(at byte {})", document.find(at).expect("a place"));
        assert_refused(&bench, document, &[says, &at]);
    }
}

#[test]
fn not_text() {
    let bench = Bench::small();
    let mut whole = document(URL).into_bytes();
    whole[30] = 0xFF;
    assert_refused(&bench, whole, &["UTF-8", "at byte 30"]);
}

#[test]
fn no_file() {
    let bench = Bench::small();
    let flash = bench.flash();
    bench.run().refused(2, &[&bench.path("job.json"), "No such file"]);
    assert!(bench.flash() == flash, "the flash was changed");
}

/// A sound document whose URL the fetcher refuses. The device has an id to answer to: it rejects the job and says so.
#[test]
fn a_url_with_a_password() {
    let bench = Bench::small();
    let before = bench.untouchable();
    bench.order("https://user:pw@localhost/app.bin");
    let ran = bench.run().refused(1, &["rejected", "the URL carries a user name (at byte 15 of the URL)"]);
    assert!(ran.stdout.contains(&ack(1, "url-userinfo")), "{}", ran.stdout);
    assert!(bench.untouchable() == before, "more than the journal was changed");
    bench.assert_old_runs();
}
