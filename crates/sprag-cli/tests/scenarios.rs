//! `sprag fetch` against every scenario of `sprag serve --scenario`: exit code, reason, and the bytes that come of it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Ran, Running, bytes, sprag};
use sprag_cli::scenario::{FaultServer, SCENARIOS, Scenario, replacement};

/// The outcome of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// The object that is served.
    Object,
    /// The object that was put in its place.
    Replacement,
    /// Something that only a digest or a signature can tell from the object.
    Page,
    /// No file, this exit code and this reason.
    Fails(i32, &'static str),
}

struct Row {
    scenario: &'static str,
    comes: Comes,
    size: usize,
    options: &'static [&'static str],
}

const fn row(scenario: &'static str, comes: Comes) -> Row {
    Row { scenario, comes, size: 200_000, options: &[] }
}

const fn with(scenario: &'static str, comes: Comes, size: usize, options: &'static [&'static str]) -> Row {
    Row { scenario, comes, size, options }
}

use Comes::{Fails, Object, Page, Replacement};

/// The right outcomes.
const ROWS: &[Row] = &[
    row("plain", Object),
    with("plain", Object, 200_000, &["--range-size", "4096"]),
    row("no-etag", Object),
    row("weak-etag", Object),
    row("replaced", Replacement),
    row("changing-etag", Fails(1, "object-changed")),
    row("gzip", Fails(1, "body-encoded")),
    row("http10", Fails(1, "length-missing")),
    row("redirect-loop", Fails(1, "too-many-redirects")),
    row("lower-case-headers", Object),
    row("empty-header", Object),
    row("interim-answers", Object),
    with("cut-100", Object, 200_000, &["--range-size", "1000"]),
    row("cut-body", Object),
    with("silent-close", Object, 200_000, &["--range-size", "40000"]),
    row("no-answer", Object),
    with("trickle", Object, 30, &[]),
    with("hang", Fails(3, "answer-timeout"), 1_000, &["--timeout", "1", "--retries", "1"]),
    with("stall", Object, 200_000, &["--timeout", "1"]),
    row("slow-503", Object),
    row("retry-after", Object),
    with("busy", Fails(3, "http-503"), 1_000, &["--retries", "1"]),
    row("expired", Fails(3, "url-refused")),
    row("expired-midway", Fails(3, "url-refused")),
    row("not-found", Fails(1, "http-404")),
    row("range-ignored", Object),
    row("range-ignored-cut", Object),
    with("wrong-range", Fails(3, "wrong-range"), 1_000, &["--retries", "1"]),
    with("no-content-range", Fails(3, "wrong-range"), 1_000, &["--retries", "1"]),
    row("unknown-total", Fails(1, "length-missing")),
    row("same-length-twice", Object),
    row("wrong-region", Fails(1, "http-redirect")),
    // Over plain HTTP nothing tells it from the object. Over TLS the certificate does not fit.
    row("captive-portal", Page),
    with("endless-header", Fails(1, "header-too-long"), 1_000, &["--retries", "1"]),
    with("endless-refusal", Fails(3, "url-refused"), 1_000, &["--retries", "1"]),
    with("two-lengths", Fails(3, "header-malformed"), 1_000, &["--retries", "1"]),
    row("captive-portal-midway", Object),
    with("short-range", Fails(3, "wrong-range"), 1_000, &["--retries", "1"]),
    with("multipart-ranges", Fails(3, "wrong-range"), 1_000, &["--retries", "1"]),
    row("line-feeds", Object),
    row("long-etag", Fails(1, "etag-too-long")),
    row("unquoted-etag", Object),
    // A byte with each connection is no progress that is worth the connections.
    with("byte-per-connection", Fails(3, "connection-closed"), 2_000, &["--retries", "2"]),
    row("replaced-no-etag", Replacement),
    row("replaced-weak-etag", Replacement),
    row("replaced-now-etag", Replacement),
    row("empty-content-encoding", Object),
    row("aws-chunked", Object),
    row("chunked-no-length", Object),
    row("chunked-first", Object),
    // It can't be gone on with, because the server ignores ranges, so it is started over until that has been tried enough.
    row("chunked-cut", Fails(1, "range-ignored")),
    row("relative-redirects", Object),
    row("space-in-location", Fails(1, "redirect-malformed")),
    row("case-range-unit", Object),
    row("folded-header", Object),
    with("endless-cr", Fails(3, "not-http"), 1_000, &["--retries", "1"]),
    // Interim answers count towards the limit of the head.
    row("endless-interim", Fails(1, "header-too-long")),
];

/// No fetch takes longer, whatever the server does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a row. The error says what came instead.
async fn outcome(row: &Row) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let object = bytes(7, row.size);
    let scenario = Scenario::named(row.scenario).expect("a scenario of that name");
    let objects = BTreeMap::from([("v1/app.bin".to_owned(), object.clone())]);
    let address = "127.0.0.1:0".parse().expect("an address");
    let server = FaultServer::start(address, scenario, objects, |_| {}).await.expect("a port");
    let output = dir.path().join("app.bin");
    let mut command = sprag(["fetch", &server.url("v1/app.bin"), "--json"]);
    command.args(row.options).arg("-o").arg(&output);
    let begun = Instant::now();
    let ran = tokio::task::spawn_blocking(move || Ran::of(&mut command)).await.expect("a run");
    if begun.elapsed() > PATIENCE {
        return Err(format!("took {:?}", begun.elapsed()));
    }
    let cost = ran.json();
    let came = std::fs::read(&output).ok();
    let right = match row.comes {
        Object => ran.code == Some(0) && came.as_ref() == Some(&object),
        Replacement => ran.code == Some(0) && came == Some(replacement(&object)),
        Page => ran.code == Some(0) && came.is_some_and(|page| page.starts_with(b"<html>")),
        Fails(code, reason) => {
            // The last line says why, and one object, with the same reason.
            ran.code == Some(code) && cost["reason"] == reason && came.is_none() && ran.stderr.starts_with("sprag: ")
        }
    };
    let what = match std::fs::read(&output) {
        Ok(came) if came == object => "the object",
        Ok(came) if came == replacement(&object) => "its replacement",
        Ok(_) => "other bytes",
        Err(_) => "nothing",
    };
    match right {
        true => Ok(()),
        false => Err(format!(
            "exit {:?}, reason {}, {what} came, not {:?}: {}",
            ran.code, cost["reason"], row.comes, ran.stderr
        )),
    }
}

async fn outcomes(rows: &'static [Row]) -> Vec<(&'static str, Result<(), String>)> {
    let mut all = tokio::task::JoinSet::new();
    let mut found = Vec::new();
    for row in rows {
        all.spawn(async move { (row.scenario, outcome(row).await) });
        if all.len() >= 8 {
            found.extend(all.join_next().await.map(|one| one.expect("no panic")));
        }
    }
    while let Some(one) = all.join_next().await {
        found.push(one.expect("no panic"));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_ends_as_it_should() {
    let wrong: Vec<_> =
        outcomes(ROWS).await.into_iter().filter_map(|(name, outcome)| Some((name, outcome.err()?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// S3's redirect to another region is told with its code and the region.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_another_region_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let objects = BTreeMap::from([("v1/app.bin".to_owned(), bytes(7, 1_000))]);
    let scenario = Scenario::named("wrong-region").expect("a scenario of that name");
    let address = "127.0.0.1:0".parse().expect("an address");
    let server = FaultServer::start(address, scenario, objects, |_| {}).await.expect("a port");
    let mut command = sprag(["fetch", &server.url("v1/app.bin")]);
    command.arg("-o").arg(dir.path().join("app.bin"));
    let ran = tokio::task::spawn_blocking(move || Ran::of(&mut command)).await.expect("a run");
    let said = "301 (PermanentRedirect, the bucket is in ";
    assert!(ran.code == Some(1) && ran.stderr.contains(said), "{}", ran.stderr);
}

#[test]
fn every_scenario_has_a_row_and_a_description() {
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.scenario).collect();
    let scenarios: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    assert_eq!(rows, scenarios);
    assert_eq!(scenarios.len(), SCENARIOS.len(), "two of one name");
    let listed = Ran::of(&mut sprag(["serve", "--scenario", "list"])).succeeded().stdout;
    assert_eq!(listed.lines().count(), SCENARIOS.len());
    for (line, scenario) in listed.lines().zip(SCENARIOS) {
        assert!(
            line.starts_with(scenario.name) && line.contains(scenario.does) && line.contains(scenario.source),
            "{line}"
        );
        assert!(scenario.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    }
    Ran::of(&mut sprag(["serve", "--scenario", "rain"])).code.filter(|code| *code == 2).expect("exit 2");
    Ran::of(&mut sprag(["serve", "--scenario", "plain"])).refused(2, &["directory"]);
}

/// As a process: what it prints can be fetched, in subfolders too.
#[test]
fn a_scenario_is_served_as_a_process() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a temporary directory");
    let build = dir.path().join("build");
    std::fs::create_dir_all(build.join("a b")).expect("a directory");
    let object = bytes(3, 5_000);
    for name in ["app-1.0_x.bin", "a b/100%+&.bin"] {
        std::fs::write(build.join(name), &object).expect("a file");
    }
    let mut command = sprag(["serve", "--scenario", "cut-body"]);
    command.arg(&build).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Running::start(&mut command);
    let mut lines = BufReader::new(process.0.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("serve goes on").expect("a line");
    assert!(line().ends_with(" as cut-body: closes each connection after 20 % of the object"));
    for _ in 0..2 {
        let (_, url) = (line(), line());
        let output = dir.path().join("out").display().to_string();
        let cost = Ran::of(&mut sprag(["fetch", url.trim(), "-o", &output, "--json"])).succeeded().json();
        assert_eq!(cost["connections"], 5, "{cost}");
        assert!(std::fs::read(&output).expect("a file") == object);
    }
    process.signal("TERM");
    common::wait_until("serve ends", || process.ended().is_some());
    assert_eq!(process.ended().and_then(|status| status.code()), Some(0));
}
