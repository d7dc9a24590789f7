//! `sprag fetch` from a real nginx over TLS 1.3.

mod common;
#[path = "nginx/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Nobody, Ran, Running, bytes, sprag, wait_until};
use serde_json::json;
use server::Nginx;

const SIZE: usize = 1_048_577;

/// A server with one file of [`SIZE`] bytes, and where it is fetched to.
struct Bench {
    nginx: Nginx,
    content: Vec<u8>,
    output: String,
}

impl Bench {
    fn new() -> Self {
        let (nginx, content) = (Nginx::start(), bytes(1, SIZE));
        nginx.publish("app.bin", &content, 60);
        let output = nginx.path("fetched.bin").display().to_string();
        Self { nginx, content, output }
    }

    fn fetch(&self, path: &str) -> Command {
        let ca = self.nginx.path("ca.pem").display().to_string();
        sprag(["fetch", &self.nginx.url(path), "-o", &self.output, "--cacert", &ca, "--json"])
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

    /// Kills a slow fetch when more than `bytes` have come; what is there then.
    fn kill_after(&self, bytes: u64) -> u64 {
        let part = format!("{}.part", self.output);
        let length = || fs::metadata(&part).map_or(0, |metadata| metadata.len());
        let mut process = Running::start(self.fetch("/slow/app.bin").stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("the part grows", || length() > bytes);
        process.kill();
        let length = length();
        assert!(length < SIZE as u64, "killed too late");
        assert!(!Path::new(&self.output).exists(), "a file that is not whole has the name of a whole one");
        length
    }
}

#[test]
fn ranges_over_connections_that_end_after_100_requests() {
    let mut bench = Bench::new();
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
    let bench = Bench::new();
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
    let bench = Bench::new();
    let came = bench.kill_after(300_000);
    let cost = Ran::of(bench.fetch("/app.bin").args(["--range-size", "65536"])).succeeded().json();
    assert_eq!((&cost["resumed_from"], &cost["bytes"]), (&json!(came), &json!(SIZE)));
    assert_eq!((&cost["bytes_fetched"], &cost["started_over"]), (&json!(SIZE as u64 - came), &json!(false)));
    bench.assert_fetched(&bench.content);
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_fetched_from_its_first_byte() {
    let mut bench = Bench::new();
    let came = bench.kill_after(200_000);
    let other = bytes(2, SIZE);
    bench.nginx.publish("app.bin", &other, 30);
    let cost = Ran::of(&mut bench.fetch("/app.bin")).succeeded().json();
    assert_eq!((&cost["resumed_from"], &cost["started_over"]), (&json!(came), &json!(true)));
    bench.assert_fetched(&other);
    let statuses: Vec<_> = bench.nginx.log(3).into_iter().map(|request| request.status).collect();
    assert_eq!(statuses[statuses.len() - 2..], ["412", "206"]);
}

#[test]
fn what_is_not_there_is_an_end() {
    let bench = Bench::new();
    Ran::of(&mut bench.fetch("/other.bin")).refused(1, &["404"]);
    assert!(!Path::new(&bench.output).exists());
    bench.assert_nothing_beside();
}

#[test]
fn a_server_that_can_not_be_trusted_is_not_asked() {
    let mut bench = Bench::new();
    let (url, authority) = (bench.nginx.url("/app.bin"), bench.nginx.authority());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert;
    let other_ca = bench.nginx.path("other.pem").display().to_string();
    fs::write(&other_ca, other.pem()).expect("a file");
    let says = ["can't connect", authority.as_str(), "certificate"];

    Ran::of(&mut sprag(["fetch", &url, "-o", &bench.output])).refused(3, &says);
    Ran::of(&mut sprag(["fetch", &url, "-o", &bench.output, "--cacert", &other_ca])).refused(3, &says);
    // By its address it is not the one that the certificate names.
    let (url, authority) = (url.replace("localhost", "127.0.0.1"), authority.replace("localhost", "127.0.0.1"));
    let ca = bench.nginx.path("ca.pem").display().to_string();
    let ran = Ran::of(&mut sprag(["fetch", &url, "-o", &bench.output, "--cacert", &ca]));
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
    let part = fs::File::create(path("app.bin.part")).expect("a file");
    part.lock().expect("a lock");
    Ran::of(&mut sprag(["fetch", url, "-o", &path("app.bin")])).refused(2, &["app.bin.part", "in use by another"]);
}
