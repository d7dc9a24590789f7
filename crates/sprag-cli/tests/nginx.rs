//! `sprag fetch` from a real nginx over TLS 1.3, by the desk's TLS and by the device's.

mod common;
#[path = "nginx/server.rs"]
mod server;

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Nobody, Ran, Running, bytes, sprag, wait_until};
use rand_core::OsRng;
use serde_json::{Value, json};
use server::Nginx;
use sprag::fetch::{
    Connector, Error, Event, Fetcher, Limits, READ_BUFFER_FULL, RetryPolicy, Session, Tls, TlsConnector, Trust, Url,
    WRITE_BUFFER_MIN, Waiting,
};
use sprag_cli::net::{self, ConnectError, EmbeddedConnector, HostConnector, HostStack, TokioDelay};

const SIZE: usize = 1_048_577;

/// The desk's TLS, and the device's.
const WHOSE: [&str; 2] = ["rustls", "embedded"];

/// A server with one file of [`SIZE`] bytes, and where it is fetched to.
struct Bench {
    nginx: Nginx,
    content: Vec<u8>,
    output: String,
    tls: &'static str,
}

impl Bench {
    fn new(tls: &'static str) -> Self {
        let (nginx, content) = (Nginx::start(), bytes(1, SIZE));
        nginx.publish("app.bin", &content, 60);
        let output = nginx.path("fetched.bin").display().to_string();
        Self { nginx, content, output, tls }
    }

    fn fetch(&self, path: &str) -> Command {
        let ca = self.nginx.path("ca.pem").display().to_string();
        sprag(["fetch", &self.nginx.url(path), "-o", &self.output, "--cacert", &ca, "--tls", self.tls, "--json"])
    }

    /// The file is there, and nothing of the way to it.
    #[track_caller]
    fn assert_fetched(&self, content: &[u8]) {
        // Not by `assert_eq`: nobody wants to read two megabytes.
        assert!(fs::read(&self.output).expect("a file") == content, "other bytes than were served");
        self.assert_nothing_beside();
    }

    #[track_caller]
    fn assert_nothing_beside(&self) {
        for ending in [".part", ".part.json"] {
            assert!(!Path::new(&format!("{}{ending}", self.output)).exists(), "a {ending} was left");
        }
    }

    /// Kills a slow fetch when more than `bytes` have come; returns the length of the incomplete file.
    fn kill_after(&self, bytes: u64, path: &str) -> u64 {
        let part = format!("{}.part", self.output);
        let length = || fs::metadata(&part).map_or(0, |metadata| metadata.len());
        let mut process = Running::start(self.fetch(path).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("the part grows", || length() > bytes);
        process.kill();
        let length = length();
        assert!(length < SIZE as u64, "killed too late");
        assert!(!Path::new(&self.output).exists(), "a file that is not whole has the name of a whole one");
        length
    }
}

/// Returns where a fetch resumed after a kill that left `came` bytes. A kill within a write leaves bytes that no digest covers:
/// they are fetched again, at most a segment of the record.
fn resumed(cost: &Value, came: u64) -> u64 {
    let resumed = cost["resumed_from"].as_u64().expect("a number");
    assert!(resumed <= came && came - resumed < 64 * 1024, "{came} bytes were there: {cost}");
    resumed
}

#[test]
fn ranges_over_connections_that_end_after_100_requests() {
    WHOSE.into_iter().for_each(ranges_over_connections_that_end);
}

fn ranges_over_connections_that_end(tls: &'static str) {
    let mut bench = Bench::new(tls);
    let ran = Ran::of(bench.fetch("/app.bin").args(["--range-size", "4096"])).succeeded();
    bench.assert_fetched(&bench.content);
    let cost = ran.json();
    for (name, value) in [("requests", 257), ("connections", 3), ("retries", 0), ("resumed_from", 0)] {
        assert_eq!(cost[name], value, "{name} in {cost}");
    }
    assert_eq!((&cost["bytes"], &cost["bytes_fetched"]), (&json!(SIZE), &json!(SIZE)));

    // nginx saw the same.
    let log = bench.nginx.log(257);
    let mut connections: Vec<_> = log.iter().map(|request| request.connection.as_str()).collect();
    connections.dedup();
    assert_eq!((log.len(), connections.len()), (257, 3));
    assert!(log.iter().all(|request| request.status == "206" && request.protocol == "TLSv1.3"));
}

#[test]
fn one_open_range_and_once_more_over_a_finished_file() {
    WHOSE.into_iter().for_each(one_open_range_and_once_more);
}

fn one_open_range_and_once_more(tls: &'static str) {
    let bench = Bench::new(tls);
    let cost = Ran::of(&mut bench.fetch("/app.bin")).succeeded().json();
    assert_eq!((&cost["requests"], &cost["connections"]), (&json!(1), &json!(1)));
    assert_eq!((&cost["bytes"], &cost["started_over"]), (&json!(SIZE), &json!(false)));
    bench.assert_fetched(&bench.content);

    let other = bytes(2, 3);
    bench.nginx.publish("app.bin", &other, 30);
    let cost = Ran::of(&mut bench.fetch("/app.bin")).succeeded().json();
    assert_eq!((&cost["requests"], &cost["bytes"], &cost["resumed_from"]), (&json!(1), &json!(3), &json!(0)));
    bench.assert_fetched(&other);
}

#[test]
fn killed_in_the_middle_it_goes_on() {
    WHOSE.into_iter().for_each(killed_in_the_middle);
}

fn killed_in_the_middle(tls: &'static str) {
    let bench = Bench::new(tls);
    let came = bench.kill_after(300_000, "/slow/app.bin");
    let cost = Ran::of(bench.fetch("/app.bin").args(["--range-size", "65536"])).succeeded().json();
    let rest = SIZE as u64 - resumed(&cost, came);
    assert_eq!((&cost["bytes"], &cost["bytes_fetched"]), (&json!(SIZE), &json!(rest)));
    assert_eq!(cost["started_over"], json!(false));
    bench.assert_fetched(&bench.content);
}

/// Unless it is told not to.
#[test]
fn an_earlier_run_can_be_left_out() {
    let bench = Bench::new("rustls");
    bench.kill_after(200_000, "/slow/app.bin");
    let cost = Ran::of(bench.fetch("/app.bin").args(["--resume", "never"])).succeeded().json();
    assert_eq!((&cost["resumed_from"], &cost["bytes_fetched"]), (&json!(0), &json!(SIZE)));
    bench.assert_fetched(&bench.content);
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_fetched_from_its_first_byte() {
    WHOSE.into_iter().for_each(replaced_meanwhile);
}

fn replaced_meanwhile(tls: &'static str) {
    let mut bench = Bench::new(tls);
    let came = bench.kill_after(200_000, "/slow/app.bin");
    let other = bytes(2, SIZE);
    bench.nginx.publish("app.bin", &other, 30);
    let cost = Ran::of(&mut bench.fetch("/app.bin")).succeeded().json();
    let twice = resumed(&cost, came);
    assert_eq!((&cost["bytes_twice"], &cost["started_over"]), (&json!(twice), &json!(true)));
    bench.assert_fetched(&other);
    let statuses: Vec<_> = bench.nginx.log(3).into_iter().map(|request| request.status).collect();
    assert_eq!(statuses[statuses.len() - 2..], ["412", "206"]);
}

/// A server that ignores ranges costs what is there already: thrown away, or fetched again and skipped.
#[test]
fn ranges_that_are_ignored() {
    for (tls, skips) in WHOSE.into_iter().flat_map(|tls| [(tls, false), (tls, true)]) {
        let bench = Bench::new(tls);
        let came = bench.kill_after(200_000, "/slow-whole/app.bin");
        let policy = if skips { "skip" } else { "refuse" };
        let ran = Ran::of(bench.fetch("/whole/app.bin").args(["--ranges-ignored", policy]));
        let cost = ran.succeeded().json();
        let twice = resumed(&cost, came);
        assert_eq!((&cost["bytes_twice"], &cost["started_over"]), (&json!(twice), &json!(!skips)), "{tls}");
        bench.assert_fetched(&bench.content);
    }
}

/// 503 with `Retry-After`, until it is no longer busy.
#[test]
fn a_busy_server_is_waited_for() {
    for tls in WHOSE {
        let mut bench = Bench::new(tls);
        let busy = bench.nginx.path("busy");
        fs::write(&busy, "").expect("a file");
        Ran::of(bench.fetch("/busy/app.bin").args(["--retries", "2"])).refused(3, &["503", "run it again"]);
        let fetching = Running::start(bench.fetch("/busy/app.bin").stdout(Stdio::null()));
        assert!(bench.nginx.log(3).iter().all(|request| request.status == "503"));
        fs::remove_file(&busy).expect("a file");
        let mut fetching = fetching;
        wait_until("it is fetched", || fetching.ended().is_some());
        assert_eq!(fetching.ended().and_then(|status| status.code()), Some(0));
        bench.assert_fetched(&bench.content);
        // After a 503, on a connection of its own.
        let log = bench.nginx.log(4);
        let mut connections: Vec<_> = log.iter().map(|request| &request.connection).collect();
        connections.dedup();
        assert_eq!((log.len(), connections.len(), log[log.len() - 1].status.as_str()), (log.len(), log.len(), "206"));
    }
}

/// Something to be done through each of the two.
trait Through {
    async fn run<C: Connector<Error = ConnectError>>(&self, connector: &C);
}

async fn through_both(nginx: &Nginx, what: &impl Through) {
    let ca = nginx.path("ca.pem");
    what.run(&HostConnector::new(Some(&ca)).expect("a certificate")).await;

    let (stack, roots) = (HostStack::default(), net::roots(Some(&ca)).expect("a certificate"));
    let roots: Vec<&[u8]> = roots.iter().map(AsRef::as_ref).collect();
    let tls = Tls::new(&stack, &stack, Trust::new(&roots, &net::unix_seconds));
    let (mut read, mut write) = (vec![0; READ_BUFFER_FULL], [0; WRITE_BUFFER_MIN]);
    let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
    what.run(&EmbeddedConnector::new(TlsConnector::new(&tls, sessions))).await;
}

/// The connection is closed while nothing is asked, as a device does that erases flash meanwhile: it costs a connection.
#[tokio::test]
async fn a_connection_that_was_idle_for_too_long() {
    struct Idle(String, Vec<u8>);
    impl Through for Idle {
        async fn run<C: Connector<Error = ConnectError>>(&self, connector: &C) {
            let size = NonZeroU64::new(500_000).expect("a size");
            let mut fetcher = Fetcher::new(connector, TokioDelay).range_size(size);
            let url = Url::parse(self.0.bytes()).expect("a URL");
            let mut download = fetcher.download(url, Session::default());
            let (mut bytes, mut buffer, mut connections) = (Vec::<u8>::new(), vec![0; 50_000], 0);
            loop {
                let mut events = |event| connections += u32::from(event == Event::Connected);
                let count = download.read(&mut buffer, &mut events).await.expect("bytes");
                bytes.extend(&buffer[..count]);
                match bytes.len() {
                    _ if count == 0 => break,
                    500_000 => tokio::time::sleep(Duration::from_millis(1500)).await,
                    _ => {}
                }
            }
            assert!(bytes == self.1, "other bytes than were served");
            assert_eq!(connections, 2);
        }
    }
    let bench = Bench::new("");
    through_both(&bench.nginx, &Idle(bench.nginx.url("/idle/app.bin"), bench.content.clone())).await;
}

/// Every stall limit is kept, and yet it would take more than an hour.
#[tokio::test]
async fn a_server_that_crawls_is_given_up_on() {
    struct Crawl(String);
    impl Through for Crawl {
        async fn run<C: Connector<Error = ConnectError>>(&self, connector: &C) {
            let limits = Limits { rate_floor: 1000, behind_ms: 1000, ..Limits::default() };
            let retry = RetryPolicy { attempts: 2, first_ms: 1, ..RetryPolicy::default() };
            let mut fetcher = Fetcher::new(connector, TokioDelay).limits(limits).retry(retry);
            let mut download = fetcher.download(Url::parse(self.0.bytes()).expect("a URL"), Session::default());
            let mut buffer = [0; 512];
            let error = loop {
                match download.read(&mut buffer, &mut |_| {}).await {
                    Ok(count) => assert!(count > 0, "a megabyte came through"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::Timeout(Waiting::Rate)), "{error}");
            assert!(download.session().offset > 0);
        }
    }
    let bench = Bench::new("");
    through_both(&bench.nginx, &Crawl(bench.nginx.url("/crawling/app.bin"))).await;
}

#[test]
fn what_is_not_there_is_an_end() {
    let bench = Bench::new("embedded");
    Ran::of(&mut bench.fetch("/other.bin")).refused(1, &["404"]);
    assert!(!Path::new(&bench.output).exists());
    bench.assert_nothing_beside();
}

#[test]
fn a_server_that_can_not_be_trusted_is_not_asked() {
    WHOSE.into_iter().for_each(a_server_that_can_not_be_trusted);
}

fn a_server_that_can_not_be_trusted(tls: &'static str) {
    let mut bench = Bench::new(tls);
    let (url, authority) = (bench.nginx.url("/app.bin"), bench.nginx.authority());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert;
    let other_ca = bench.nginx.path("other.pem").display().to_string();
    fs::write(&other_ca, other.pem()).expect("a file");
    let says = ["can't connect", authority.as_str(), "certificate"];

    let ran = Ran::of(&mut sprag(["fetch", &url, "-o", &bench.output, "--tls", tls, "--json"]));
    assert_eq!(ran.json()["reason"], "server-not-trusted");
    ran.refused(3, &says);
    Ran::of(&mut sprag(["fetch", &url, "-o", &bench.output, "--cacert", &other_ca, "--tls", tls])).refused(3, &says);
    // By its address it is not the one that the certificate names.
    let (url, authority) = (url.replace("localhost", "127.0.0.1"), authority.replace("localhost", "127.0.0.1"));
    let ca = bench.nginx.path("ca.pem").display().to_string();
    let ran = Ran::of(&mut sprag(["fetch", &url, "-o", &bench.output, "--cacert", &ca, "--tls", tls]));
    ran.refused(3, &["can't connect", &authority, "certificate"]);

    assert!(!Path::new(&bench.output).exists());
    bench.assert_nothing_beside();
    assert_eq!(bench.nginx.log(0).len(), 0, "a request was sent all the same");
}

#[test]
fn nobody_listens() {
    let (nobody, dir) = (Nobody::at(0), tempfile::tempdir().expect("a temporary directory"));
    let authority = format!("localhost:{}", nobody.port());
    let output = dir.path().join("app.bin").display().to_string();
    let ran = Ran::of(&mut sprag(["fetch", &format!("https://{authority}/app.bin"), "-o", &output]));
    ran.refused(3, &["can't connect", &authority, "run it again"]);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "something was left");
}

#[test]
fn a_url_that_is_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = dir.path().join("app.bin").display().to_string();
    for (url, says, at) in [
        ("ftp://localhost/app.bin", "http:// or https://", "byte 0"),
        ("https://localhost/a b.bin", "printable ASCII", "byte 19"),
        ("https://user:pw@localhost/app.bin", "user name", "byte 15"),
        ("https://localhost/app.bin#top", "fragment", "byte 25"),
        ("https://localhost:99999/", "port", "byte"),
    ] {
        Ran::of(&mut sprag(["fetch", url, "-o", &output])).refused(2, &["the URL", says, at]);
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "something was left");
}

#[test]
fn a_file_that_can_not_be_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (url, missing, folder) = ("https://localhost/app.bin", path("missing/app.bin"), path(""));
    Ran::of(&mut sprag(["fetch", url, "-o", &missing])).refused(2, &[&missing, "No such file"]);
    Ran::of(&mut sprag(["fetch", url, "-o", &folder])).refused(2, &[&folder, "a directory"]);

    // Two at once would tear each other's part.
    fs::write(path("app.bin.part.json"), "{\"sprag\":1,\"total\":null,\"etag\":null}\n").expect("a file");
    let part = fs::File::create(path("app.bin.part")).expect("a file");
    part.lock().expect("a lock");
    Ran::of(&mut sprag(["fetch", url, "-o", &path("app.bin")])).refused(2, &["app.bin.part", "in use by another"]);
}
