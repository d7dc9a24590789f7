//! A person at a desk: readers that go away, disks that are full, paths that are no files, and files of others.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Ran, bytes, sprag};
use sprag_cli::scenario::{FaultServer, Scenario};

const SIZE: usize = 200_000;

/// Files that the commands work on.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A key, a signed image, a device with it, and a job.
    fn furnished() -> Self {
        let desk = Self::new();
        let write = |name: &str, text: &str| fs::write(desk.path(name), text).expect("a file");
        write("job.json", r#"{"v":"2.1","ct":1,"ack":"7","urls":[{"url":"https://h/a"}]}"#);
        write("bad.json", r#"{"v":"2.1","ct":1,"ack":"7","urls":[{}]}"#);
        let region =
            |name: &str, offset: u32, size: u32| format!("[regions.{name}]\noffset = {offset}\nsize = {size}\n");
        let layout = [
            "write_size = 8\nerase_size = 4096\nerased_value = 0xFF\n".to_owned(),
            region("primary", 0, 65_536),
            region("secondary", 65_536, 65_536),
            region("journal", 131_072, 8_192),
        ];
        write("layout.toml", &layout.concat());
        fs::write(desk.path("app.bin"), bytes(1, 5_000)).expect("a file");
        fs::create_dir(desk.path("build")).expect("a directory");
        fs::write(desk.path("build/app.bin"), bytes(1, 5_000)).expect("a file");
        let [key, public, app, image, flash, layout] =
            ["key.pem", "key.pub.pem", "app.bin", "app.signed.bin", "flash.bin", "layout.toml"]
                .map(|name| desk.path(name));
        Ran::of(&mut sprag(["keygen", "-o", &key, "--public", &public])).succeeded();
        let sign =
            ["--format", "mcuboot", "--version", "1.0.0", "--header-size", "0x200", "--pad-header", "--align", "8"];
        Ran::of(sprag(["image", "sign", &app, "-o", &image, "--key", &key]).args(sign)).succeeded();
        Ran::of(&mut sprag(["device", "init", "--flash", &flash, "--layout", &layout, "--image", &image])).succeeded();
        desk
    }

    fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A server that plays a scenario, in a runtime of its own.
struct Served {
    server: FaultServer,
    runtime: tokio::runtime::Runtime,
    object: Vec<u8>,
}

impl Served {
    fn new(scenario: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let object = bytes(7, SIZE);
        let objects = BTreeMap::from([("app.bin".to_owned(), object.clone())]);
        let address = "127.0.0.1:0".parse().expect("an address");
        let scenario = Scenario::named(scenario).expect("a scenario");
        let server = runtime.block_on(FaultServer::start(address, scenario, objects, |_| {})).expect("a port");
        Self { server, runtime, object }
    }

    fn url(&self) -> String {
        let _ = &self.runtime;
        self.server.url("app.bin")
    }
}

/// A name, and an output that nothing can be written to.
type Unwritable = (&'static str, fn() -> Stdio);

fn unwritable() -> [Unwritable; 2] {
    [
        ("a full disk", || OpenOptions::new().write(true).open("/dev/full").expect("a device").into()),
        ("a reader that has gone", || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            writer.into()
        }),
    ]
}

/// The commands, and the codes that they end with where all can be written.
fn commands(desk: &Desk, url: &str, refused: &str) -> Vec<(Vec<String>, i32)> {
    let [job, bad, image, flash, layout, build] =
        ["job.json", "bad.json", "app.signed.bin", "flash.bin", "layout.toml", "build"].map(|name| desk.path(name));
    let [app, key, public] = ["app.bin", "key.pem", "key.pub.pem"].map(|name| desk.path(name));
    let [out, sig, device] = ["out.bin", "app.sig", "--flash"]
        .map(|name| if name.starts_with('-') { name.to_owned() } else { desk.path(name) });
    let lines: Vec<(Vec<&str>, i32)> = vec![
        (vec!["--help"], 0),
        (vec!["--version"], 0),
        (vec!["help", "fetch"], 0),
        (vec!["fetch", "--help"], 0),
        (vec!["fetch"], 2),
        (vec!["fetch", url, "-o", &out], 0),
        (vec!["fetch", url, "-o", &out, "--json"], 0),
        (vec!["fetch", refused, "-o", &out, "--json"], 3),
        (vec!["fetch", "ftp://h/a", "-o", &out, "--json"], 2),
        (vec!["fetch", url, "-o", &build, "--json"], 2),
        (vec!["job", "inspect", &job], 0),
        (vec!["job", "inspect", &job, "--json"], 0),
        (vec!["job", "inspect", &bad], 2),
        (vec!["job", "inspect", &bad, "--json"], 2),
        (vec!["job", "make", "--dialect", "iotconnect-2.1", "--url", "https://h/a", "--version", "1"], 0),
        (vec!["image", "inspect", &image], 0),
        (vec!["image", "inspect", &image, "--json"], 0),
        (vec!["image", "verify", &image, "--key", &public], 0),
        (vec!["image", "verify", &app, "--key", &public], 1),
        (vec!["image", "sign", &app, "-o", &sig, "--format", "raw", "--key", &key], 0),
        (vec!["device", "show", &device, &flash, "--layout", &layout], 0),
        (vec!["device", "show", &device, &flash, "--layout", &layout, "--json"], 0),
        (vec!["device", "show", &device, &job, "--layout", &layout, "--json"], 2),
        (vec!["boot", "show", &device, &flash, "--layout", &layout], 0),
        (vec!["boot", "show", &device, &flash, "--layout", &layout, "--json"], 0),
        (vec!["serve", "--scenario", "list"], 0),
        (vec!["serve", &build], 0),
        (vec!["serve", &build, "--scenario", "plain"], 0),
    ];
    lines.into_iter().map(|(line, code)| (line.into_iter().map(str::to_owned).collect(), code)).collect()
}

/// Closed or full standard output and standard error: no command panics, and the exit code is the command's own. Only a
/// success that can't be printed ends with 1.
#[test]
fn no_command_panics_where_nobody_reads() {
    let desk = Desk::furnished();
    let (served, refused) = (Served::new("plain"), Served::new("expired"));
    for (line, code) in commands(&desk, &served.url(), &refused.url()) {
        let command = || {
            let mut command = sprag(line.iter().map(String::as_str));
            command.env("TMPDIR", desk.dir.path());
            command
        };
        let ends_by_itself = line[0] != "serve" || line[1] == "--scenario";
        if ends_by_itself {
            assert_eq!(Ran::of(&mut command()).code, Some(code), "{line:?}");
        }
        for (where_to, stdout) in unwritable() {
            let ran = Ran::of(command().stdout(stdout()));
            let expected = if code == 0 { 1 } else { code };
            // A command that has nothing to say on standard output is not hurt.
            let silent = code != 0 && !line.iter().any(|word| word == "--json");
            assert!(!ran.stderr.contains("panicked"), "{line:?} to {where_to}: {}", ran.stderr);
            assert_eq!(ran.code, Some(expected), "{line:?} to {where_to}: {}", ran.stderr);
            if !silent {
                let said = ran.stderr.lines().any(|line| line.starts_with("sprag: standard output: "));
                assert!(said, "{line:?} to {where_to}: {}", ran.stderr);
            }
            for (_, stderr) in unwritable() {
                let status = command().stdout(stdout()).stderr(stderr()).status().expect("a process");
                assert_eq!(status.code(), Some(expected), "{line:?} to {where_to}, and no standard error");
            }
            if code != 0 {
                let status = command().stdout(Stdio::null()).stderr(stdout()).status().expect("a process");
                assert_eq!(status.code(), Some(code), "{line:?}, no standard error");
            }
        }
    }
    let left = desk.names();
    assert!(!left.iter().any(|name| name.contains("-ca.pem") || name.ends_with(".part")), "{left:?}");
}

/// With `--json`, every failure prints one object with the reason on the last line.
#[test]
fn failures_are_told_in_json_where_it_was_asked_for() {
    let desk = Desk::furnished();
    let (served, refused) = (Served::new("plain"), Served::new("expired"));
    let mut lines: Vec<_> = commands(&desk, &served.url(), &refused.url());
    let long = |name: &str| desk.path(name);
    for (line, code) in [
        (vec!["fetch", "--json"], 2),
        (vec!["job", "inspect", "--json"], 2),
        (vec!["job", "inspect", "--json", "/no/such"], 2),
        (vec!["image", "inspect", "--json", "/no/such"], 2),
        (vec!["boot", "show", "--json", "--flash", "/no/such", "--layout", "/no/such"], 2),
        (vec!["device", "run", "--json", "--flash", "/no", "--layout", "/no", "--job", "/no", "--key", "/no"], 2),
        (vec!["fetch", "http://h/a", "-o", &long("x"), "--json", "--cacert", "/no/such"], 2),
        (vec!["fetch", "http://h/a", "-o", &long("no/x"), "--json"], 2),
    ] {
        lines.push((line.into_iter().map(str::to_owned).collect(), code));
    }
    let mut failures = 0;
    for (line, code) in lines.into_iter().filter(|(line, code)| *code != 0 && line.iter().any(|word| word == "--json"))
    {
        let ran = Ran::of(&mut sprag(line.iter().map(String::as_str)));
        assert_eq!(ran.code, Some(code), "{line:?}: {}", ran.stderr);
        let object = ran.json();
        assert!(object.get("reason").is_some(), "{line:?}: {object}");
        let error = object["error"].as_str().unwrap_or_default();
        assert!(!error.is_empty() && ran.stderr.contains(error), "{line:?}: {object}, {}", ran.stderr);
        failures += 1;
    }
    assert!(failures >= 12);
}

/// Outputs that can't be written are refused before the first request, and nothing is left behind.
#[test]
fn outputs_that_can_not_be_are_refused_at_once() {
    // Nobody answers there: who asked would be told so, with 3.
    let nobody = common::Nobody::at(0);
    let url = format!("http://127.0.0.1:{}/app.bin", nobody.port());
    let desk = Desk::new();
    fs::create_dir(desk.path("dir")).expect("a directory");
    fs::write(desk.path("file"), "mine").expect("a file");
    symlink("loop", desk.path("loop")).expect("a link");
    symlink("dir", desk.path("to-dir")).expect("a link");
    symlink("newdir/", desk.path("to-newdir")).expect("a link");
    let socket = std::os::unix::net::UnixListener::bind(desk.path("socket")).expect("a socket");
    let mut outputs: Vec<String> = [
        "",
        "dir",
        "dir/",
        "newdir/",
        "newdir//",
        "newdir/.",
        "newdir/..",
        "dir/.",
        "dir/..",
        ".",
        "..",
        "file/x",
        "file/",
        "no/x",
        "loop",
        "to-dir",
        "to-newdir",
        "socket",
    ]
    .map(|name| desk.path(name))
    .into();
    outputs.extend((246..=300).map(|length| desk.path(&"n".repeat(length))));
    outputs.extend(["/", ".", ".."].map(str::to_owned));
    let before = desk.names();
    for output in outputs {
        let ran = Ran::of(&mut sprag(["fetch", &url, "-o", &output, "--retries", "1", "--json"]));
        assert_eq!(ran.json()["reason"], "output-unusable", "{output:?}: {ran:?}");
        assert_eq!(ran.code, Some(2), "{output:?}: {ran:?}");
        assert_eq!(desk.names(), before, "{output:?} left something");
    }
    // As long as it can be.
    Ran::of(&mut sprag(["fetch", &url, "-o", &desk.path(&"n".repeat(245)), "--retries", "1"]))
        .refused(3, &["can't connect"]);
    assert_eq!(desk.names(), before);
    drop(socket);
}

/// A FIFO and a device node are written into, and stay what they are.
#[test]
fn what_is_no_regular_file_is_never_replaced() {
    let (desk, served) = (Desk::new(), Served::new("cut-body"));
    let fifo = desk.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut came = Vec::new();
            File::open(fifo).expect("a FIFO").read_to_end(&mut came).expect("bytes");
            came
        }
    });
    let cost = Ran::of(&mut sprag(["fetch", &served.url(), "-o", &fifo, "--json"])).succeeded().json();
    assert_eq!(cost["bytes"], SIZE);
    assert!(reader.join().expect("no panic") == served.object);
    assert!(fs::symlink_metadata(&fifo).expect("there").file_type().is_fifo());
    // By links, so that a mistake costs the link and no device of this machine.
    for (device, code, reason) in [("/dev/null", 0, None), ("/dev/full", 1, Some("output-failed"))] {
        let link = desk.path(&device[5..]);
        symlink(device, &link).expect("a link");
        let ran = Ran::of(&mut sprag(["fetch", &served.url(), "-o", &link, "--json"]));
        assert_eq!((ran.code, ran.json()["reason"].as_str()), (Some(code), reason), "{ran:?}");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink(), "the link was replaced");
        assert!(fs::metadata(&link).expect("there").file_type().is_char_device());
    }
    assert_eq!(desk.names(), ["fifo", "full", "null"]);
}

/// As curl does.
#[test]
fn a_symbolic_link_is_followed() {
    let (desk, served) = (Desk::new(), Served::new("plain"));
    fs::create_dir(desk.path("there")).expect("a directory");
    for (link, target, exists) in
        [("one", "there/target.bin", true), ("two", "there/new.bin", false), ("three", "one", true)]
    {
        symlink(target, desk.path(link)).expect("a link");
        if exists {
            fs::write(desk.path("there/target.bin"), "old").expect("a file");
        }
        Ran::of(&mut sprag(["fetch", &served.url(), "-o", &desk.path(link)])).succeeded();
        assert!(fs::symlink_metadata(desk.path(link)).expect("there").is_symlink());
        assert!(fs::read(desk.path(link)).expect("a file") == served.object);
    }
    assert_eq!((desk.names().len(), names(&desk.dir.path().join("there")).len()), (4, 2));
}

/// The file that is replaced keeps its mode.
#[test]
fn a_file_keeps_who_may_run_it() {
    use std::os::unix::fs::PermissionsExt;
    let (desk, served) = (Desk::new(), Served::new("plain"));
    fs::write(desk.path("x"), "old").expect("a file");
    fs::set_permissions(desk.path("x"), fs::Permissions::from_mode(0o750)).expect("a mode");
    Ran::of(&mut sprag(["fetch", &served.url(), "-o", &desk.path("x")])).succeeded();
    assert_eq!(fs::metadata(desk.path("x")).expect("there").permissions().mode() & 0o777, 0o750);
}

#[test]
fn standard_output_takes_the_object_and_nothing_else() {
    let desk = Desk::new();
    let fetch = |served: &Served, more: &[&str]| {
        let mut command = sprag(["fetch", &served.url(), "-o", "-"]);
        command.args(more).current_dir(desk.dir.path()).output().expect("a process")
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let served = Served::new("cut-body");
    let plain = fetch(&served, &[]);
    assert!(plain.status.success() && plain.stdout == served.object);
    assert!(text(&plain.stderr).starts_with("standard output: 200000 bytes, "), "{}", text(&plain.stderr));
    let json = fetch(&served, &["--json"]);
    let cost: serde_json::Value = serde_json::from_str(text(&json.stderr).trim()).expect("an object");
    assert!(json.stdout == served.object && cost["bytes"] == SIZE && cost["reason"].is_null(), "{cost}");

    // Bytes that were written can't be taken back, so the next run starts over.
    let midway = Served::new("expired-midway");
    let failed = fetch(&midway, &["--json"]);
    assert_eq!(failed.status.code(), Some(3), "{}", text(&failed.stderr));
    assert!(midway.object.starts_with(&failed.stdout) && text(&failed.stderr).contains("url-refused"));
    let replaced = fetch(&Served::new("replaced"), &[]);
    assert_eq!(replaced.status.code(), Some(1), "{}", text(&replaced.stderr));

    for (where_to, stdout) in unwritable() {
        let ran = Ran::of(sprag(["fetch", &served.url(), "-o", "-"]).stdout(stdout()));
        ran.refused(1, &["standard output: "])
            .stderr
            .lines()
            .for_each(|line| assert!(!line.contains("panic"), "{where_to}"));
    }
    assert_eq!(desk.names(), Vec::<String>::new(), "a file was made");
}

/// The disk is full in mid-download: unfinished, in JSON too, and it goes on where it was.
#[test]
fn a_full_disk_is_no_bad_input() {
    let (desk, served) = (Desk::new(), Served::new("plain"));
    let output = desk.path("x");
    // A limit for the size of files, and no signal for passing it: the same error path as a disk that is full.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 100; exec \"{}\" fetch {} -o {output} --json",
        env!("CARGO_BIN_EXE_sprag"),
        served.url()
    );
    let ran = Ran::of(Command::new("sh").args(["-c", &limited]));
    let object = ran.json();
    assert_eq!((ran.code, object["reason"].as_str()), (Some(3), Some("disk-full")), "{ran:?}");
    assert!(ran.stderr.contains("x.part: ") && ran.stderr.contains("run it again"), "{}", ran.stderr);
    let came = fs::metadata(desk.path("x.part")).expect("what came").len();
    assert!(came > 0 && came < SIZE as u64);
    let cost = Ran::of(&mut sprag(["fetch", &served.url(), "-o", &output, "--json"])).succeeded().json();
    assert_eq!((&cost["resumed_from"], &cost["bytes_twice"]), (&came.into(), &0.into()), "{cost}");
    assert!(fs::read(&output).expect("a file") == served.object);
    assert_eq!(desk.names(), ["x"]);
}

/// A flash file that the disk has no space for is not left behind, and one that is there already is not touched.
#[test]
fn a_flash_file_is_made_whole_or_not_at_all() {
    let desk = Desk::furnished();
    let init = |flash: &str, limit: &str| {
        let program = env!("CARGO_BIN_EXE_sprag");
        let [flash, layout, image] = [flash, "layout.toml", "app.signed.bin"].map(|name| desk.path(name));
        let line = format!(
            "trap '' XFSZ; ulimit -f {limit}; exec \"{program}\" device init --flash {flash} --layout {layout} --image {image}"
        );
        Ran::of(Command::new("sh").args(["-c", &line]))
    };
    let before = desk.names();
    init("new.bin", "20").refused(2, &["new.bin"]);
    assert_eq!(desk.names(), before);
    let flash = fs::read(desk.path("flash.bin")).expect("a file");
    init("flash.bin", "20").refused(2, &["flash.bin"]);
    assert!(fs::read(desk.path("flash.bin")).expect("a file") == flash);
    init("new.bin", "unlimited").succeeded();
}

/// After a power failure of the PC the size of a file may be on the disk, and its data not.
#[test]
fn zeros_behind_a_part_are_not_taken_for_the_object() {
    let plain = Served::new("plain");
    for zeros in [1, 5_000, SIZE * 7 / 10, SIZE] {
        let (desk, midway) = (Desk::new(), Served::new("expired-midway"));
        let output = desk.path("x");
        Ran::of(&mut sprag(["fetch", &midway.url(), "-o", &output])).refused(3, &["403"]);
        let part = desk.path("x.part");
        let came = fs::metadata(&part).expect("a part").len();
        assert_eq!(came, SIZE as u64 * 3 / 10);
        OpenOptions::new().append(true).open(&part).expect("a file").write_all(&vec![0; zeros]).expect("room");
        let cost = Ran::of(&mut sprag(["fetch", &plain.url(), "-o", &output, "--json"])).succeeded().json();
        assert_eq!((&cost["resumed_from"], &cost["bytes_twice"]), (&came.into(), &0.into()), "{zeros}: {cost}");
        assert!(fs::read(&output).expect("a file") == plain.object, "{zeros} zeros");
    }
}

/// A kill is no loss of power: every byte that came is there.
#[test]
fn after_a_kill_it_goes_on_with_every_byte() {
    let served = Served::new("trickle");
    for least in [1, 10, 25] {
        let desk = Desk::new();
        let (output, part) = (desk.path("x"), desk.path("x.part"));
        let mut command = sprag(["fetch", &served.url(), "-o", &output]);
        let mut fetching = common::Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let length = || fs::metadata(&part).map_or(0, |there| there.len());
        common::wait_until("bytes come", || length() >= least);
        fetching.kill();
        let came = length();
        let plain = Served::new("plain");
        let cost = Ran::of(&mut sprag(["fetch", &plain.url(), "-o", &output, "--json"])).succeeded().json();
        assert_eq!((&cost["resumed_from"], &cost["bytes_twice"]), (&came.into(), &0.into()), "{cost}");
        assert!(fs::read(&output).expect("a file") == plain.object);
    }
}

/// Files of other programs with the same names are not touched, whether the fetch succeeds or fails.
#[test]
fn another_programs_part_is_left_alone() {
    for scenario in ["plain", "expired", "not-found"] {
        let (desk, served) = (Desk::new(), Served::new(scenario));
        fs::write(desk.path("fw.part"), "mine").expect("a file");
        fs::write(desk.path("precious"), "mine").expect("a file");
        symlink("precious", desk.path("sl.part")).expect("a link");
        for name in ["fw", "sl"] {
            let ran = Ran::of(&mut sprag(["fetch", &served.url(), "-o", &desk.path(name)]));
            ran.refused(2, &[&desk.path(&format!("{name}.part")), "not made by sprag"]);
        }
        assert_eq!(fs::read(desk.path("fw.part")).expect("a file"), b"mine");
        assert_eq!(fs::read(desk.path("precious")).expect("a file"), b"mine");
        assert_eq!(desk.names(), ["fw.part", "precious", "sl.part"]);
    }
}

/// Nothing half-written is left: of a key, of its public half, of a certificate.
#[test]
fn a_key_is_written_whole_or_not_at_all() {
    let desk = Desk::new();
    fs::write(desk.path("there"), "mine").expect("a file");
    for (private, public) in [("there", "new"), ("new", "there"), ("no/new", "new"), ("new", "no/new")] {
        let ran = Ran::of(&mut sprag(["keygen", "-o", &desk.path(private), "--public", &desk.path(public)]));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert_eq!(desk.names(), ["there"], "{private} {public}");
        assert_eq!(fs::read(desk.path("there")).expect("a file"), b"mine");
    }
    let full =
        format!("trap '' XFSZ; ulimit -f 0; exec \"{}\" keygen -o {}", env!("CARGO_BIN_EXE_sprag"), desk.path("new"));
    assert_eq!(Ran::of(Command::new("sh").args(["-c", &full])).code, Some(2));
    assert_eq!(desk.names(), ["there"]);
}
