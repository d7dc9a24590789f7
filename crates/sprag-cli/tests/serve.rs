//! `sprag serve` as a process of its own, and what `--help` says.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use common::{Ran, Running, bytes, sprag, wait_until};

/// What `sprag serve` printed.
struct Served {
    process: Running,
    ca: String,
    urls: BTreeMap<String, String>,
}

/// Serves a directory, with temporary files where the test can see them, and reads until the URLs of `count` files are
/// there.
fn serve(directory: &Path, temporary: &Path, count: usize, options: &[&str]) -> Served {
    let directory = directory.display().to_string();
    let mut command = sprag(["serve", &directory]);
    command.args(options).env("TMPDIR", temporary).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Running::start(&mut command);
    let mut lines = BufReader::new(process.0.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("serve goes on").expect("a line");

    assert!(line().starts_with(&format!("serving {directory} at https://localhost:")));
    let ca = line().strip_prefix("trust it with --cacert ").expect("the certificate").to_owned();
    let urls = (0..count).map(|_| (line(), line().trim_start().to_owned())).collect();
    Served { process, ca, urls }
}

/// All files below a directory, hidden ones too.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.display().to_string(), fs::read(&path).expect("a file"))),
        }
    }
    found
}

#[test]
fn a_directory_is_served_and_left_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (build, temporary) = (dir.path().join("build"), dir.path().join("tmp"));
    fs::create_dir_all(build.join("v1.1")).expect("a directory");
    fs::create_dir(&temporary).expect("a directory");
    for (name, seed) in [("app.bin", 1), ("v1.1/app.bin", 2)] {
        fs::write(build.join(name), bytes(seed, 300_000)).expect("a file");
    }
    let before = files(&build);

    for (options, signal, parameter) in
        [(&[][..], "INT", "X-Amz-Signature="), (&["--v2", "--requests", "5", "--close", "silent"], "TERM", "Expires=")]
    {
        let mut served = serve(&build, &temporary, 2, options);
        assert!(Path::new(&served.ca).starts_with(&temporary), "{}", served.ca);
        for (name, url) in &served.urls {
            assert!(url.contains(parameter), "{url}");
            let output = dir.path().join("fetched.bin").display().to_string();
            let arguments = ["fetch", url, "-o", &output, "--cacert", &served.ca, "--range-size", "10000", "--json"];
            let cost = Ran::of(&mut sprag(arguments)).succeeded().json();
            assert_eq!(cost["bytes"], 300_000, "{cost}");
            // Where connections end without a word, the request that finds out is asked again.
            let (requests, connections) = if options.is_empty() { (30, 1) } else { (35, 6) };
            assert_eq!((&cost["requests"], &cost["connections"]), (&requests.into(), &connections.into()), "{cost}");
            assert!(fs::read(&output).expect("a file") == before[&build.join(name).display().to_string()]);
        }
        served.process.signal(signal);
        let mut status = None;
        wait_until("serve ends", || {
            status = served.process.ended();
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0), "after SIG{signal}");
        assert_eq!(files(&temporary).len(), 0, "the certificate is still there");
        assert!(files(&build) == before, "something was written into the directory");
    }
}

#[test]
fn what_can_not_be_served() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("file"), "").expect("a file");
    Ran::of(&mut sprag(["serve", &path("missing")])).refused(2, &[&path("missing"), "No such file"]);
    Ran::of(&mut sprag(["serve", &path("file")])).refused(2, &[&path("file"), "not a directory"]);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("bound").to_string();
    Ran::of(&mut sprag(["serve", &path(""), "--bind", &taken])).refused(2, &["cannot listen on", &taken]);
}

#[test]
fn help_says_what_there_is() {
    for (arguments, says) in [
        (
            &["--help"][..],
            &["fetch", "serve", "device", "0 done", "1 it came to its end and failed", "2 bad input"][..],
        ),
        (&["--help"], &["3 unfinished"]),
        (&["fetch", "--help"], &["--output", "--range-size", "--cacert", "--json", "FILE.part"]),
        (&["serve", "--help"], &["--bind", "--valid", "--v2", "--requests", "--close", "--ca", "--scenario", "Ctrl-C"]),
        (&["device", "--help"], &["init", "run", "show"]),
        (&["device", "run", "--help"], &["--flash", "--layout", "--job", "--key", "--cacert", "--json", "killed"]),
    ] {
        let help = Ran::of(&mut sprag(arguments.iter().copied())).succeeded().stdout;
        for text in says {
            assert!(help.contains(text), "{text:?} is not in what {arguments:?} prints:\n{help}");
        }
    }
}
