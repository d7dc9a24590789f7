//! Every family and method of bootloaders, through a device's life: with the layouts of the README.

use std::fs;
use std::path::Path;

use p256::ecdsa::SigningKey;
use sprag_cli::device::{Device, End, SelfTest, Settings};
use sprag_cli::key;
use sprag_cli::layout::Layout;
use sprag_cli::net::HostConnector;
use sprag_testkit::image::{EspIdfImage, Signer, Version, sign_secure_boot};

use crate::bench::{Bench, SMALL, document};
use crate::common::{Ran, bytes};

/// A bootloader, and what is true for it.
struct Case {
    name: &'static str,
    layout: String,
    /// The slot that runs at first, and the other one where images run from both.
    slots: &'static [&'static str],
    has_trials: bool,
}

impl Case {
    fn is_esp_idf(&self) -> bool {
        self.name.starts_with("esp-idf")
    }
}

/// Returns the README's layout for a family.
fn documented(family: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### Bootloaders").expect("the section");
    let blocks = section.split("```toml\n").skip(1).filter_map(|block| block.split("```").next());
    let mut found = blocks.filter(|block| block.contains(&format!("family = \"{family}\"\n")));
    found.next().unwrap_or_else(|| panic!("no layout for {family}")).to_owned()
}

fn cases() -> Vec<Case> {
    let case = |name, family: &str, [from, to]: [&str; 2], slots, has_trials| {
        let layout = documented(family);
        assert!(layout.contains(from), "{layout}");
        Case { name, layout: layout.replace(from, to), slots, has_trials }
    };
    let method = |name, to| case(name, "mcuboot", ["\"scratch\"", to], &["primary"], to != "\"overwrite\"");
    let both = &["primary", "secondary"][..];
    vec![
        method("mcuboot-move", "\"move\""),
        method("mcuboot-scratch", "\"scratch\""),
        method("mcuboot-offset", "\"offset\""),
        method("mcuboot-overwrite", "\"overwrite\""),
        case("mcuboot-xip", "mcuboot-xip", ["", ""], both, true),
        case("mcuboot-xip-no-revert", "mcuboot-xip", ["revert = true", "revert = false"], both, false),
        case("mcuboot-cypress", "mcuboot-cypress", ["", ""], &["primary"], true),
        case("esp-idf", "esp-idf", ["", ""], &["ota_0", "ota_1"], true),
        case("esp-idf-no-rollback", "esp-idf", ["rollback = true", "rollback = false"], &["ota_0", "ota_1"], false),
        case("embassy-boot", "embassy-boot", ["", ""], &["active"], true),
    ]
}

fn esp_key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).expect("a scalar")
}

/// A signed image of 1.`minor`.0.
fn image(bench: &Bench, case: &Case, minor: u8) -> Vec<u8> {
    if !case.is_esp_idf() {
        return bench.image(Version { major: 1, minor, revision: 0, build: 0 }, SMALL);
    }
    let (version, program) = (format!("1.{minor}.0"), bytes(minor.into(), SMALL / 4 * 4));
    let image = EspIdfImage {
        chip: 5,
        revisions: [0, 199],
        version: &version,
        secure_version: 0,
        project: "board-a",
        data: &[minor; 4],
        program: &program,
    };
    sign_secure_boot(image.build(), &[&esp_key()])
}

/// Has the cloud offer 1.`minor`.0 by a job of its own.
fn offer(bench: &Bench, case: &Case, minor: u8) {
    bench.publish(image(bench, case, minor));
    let job = document(&bench.presign()).replace("1.1.0", &format!("1.{minor}.0"));
    bench.write("job.json", job.replace(crate::bench::JOB, &format!("job-{minor}")));
}

/// The version that runs for good, and the slot that it runs from.
#[track_caller]
fn assert_runs(bench: &Bench, version: &str, slot: &str) {
    let flash = bench.flash();
    let found = bench.show();
    assert_eq!(found["running"], slot, "{found}");
    assert_eq!((&found[slot]["version"], &found["boot"]), (&version.into(), &"settled".into()), "{found}");
    assert!(bench.flash() == flash, "show changed the flash");
}

fn live(case: &Case) {
    let bench = Bench::small();
    bench.write("layout.toml", &case.layout);
    if case.is_esp_idf() {
        bench.write("key.pem", key::public_pem(&Signer::from(&esp_key())).expect("a PEM text"));
    }
    fs::remove_file(bench.path("flash.bin")).expect("a file");
    bench.write("old.bin", image(&bench, case, 0));
    Ran::of(&mut bench.device("init", ["--image", &bench.path("old.bin")])).succeeded();
    assert_runs(&bench, "1.0.0", case.slots[0]);

    // Three in a row: each begins with what the one before left behind.
    let slot = |updates: usize| case.slots[updates % case.slots.len()];
    for minor in 1..=3 {
        offer(&bench, case, minor);
        let came = bench.run_json().succeeded().json();
        let version = format!("1.{minor}.0");
        assert_eq!((&came["result"], &came["version"]), (&"updated".into(), &version.clone().into()), "{came}");
        assert_eq!(came["running"], version, "{came}");
        assert_runs(&bench, &version, slot(minor.into()));
        assert_eq!(bench.show()["job"]["phase"], "done");
    }

    // A self-test that hangs. Where there are no trials it is not asked for, and the new image stays.
    offer(&bench, case, 4);
    let (end, tests) = hang(&bench);
    let updates = match (case.has_trials, end) {
        (true, End::Ended { reason, .. }) if reason == "reverted" => 3,
        (false, End::Updated(version)) if version.minor == 4 => 4,
        (_, end) => panic!("{end:?}"),
    };
    assert_eq!(tests, usize::from(case.has_trials));
    assert_runs(&bench, &format!("1.{updates}.0"), slot(updates));

    // The power fails in the middle of the download.
    offer(&bench, case, 5);
    let image = image(&bench, case, 5);
    bench.server().on_request(move |number| (number == 1).then_some(sprag_cli::s3::Disturbance::CutAfter(20_000)));
    let middle = if case.layout.contains("write_size = 512") { "60" } else { "2500" };
    let ran = Ran::of(bench.run_command().args(["--power-cut-at", middle]));
    ran.refused(3, &["the power failed in flash operation ", "run it again, and it goes on"]);
    let found = bench.show();
    let written = found["session"]["written"].as_u64().unwrap_or_else(|| panic!("no session: {found}"));
    assert!(written > 0 && written < image.len() as u64, "{found}");
    assert_eq!(found[slot(updates)]["version"], format!("1.{updates}.0"), "{found}");
    let came = bench.run_json().succeeded().json();
    assert_eq!((&came["result"], &came["running"]), (&"updated".into(), &"1.5.0".into()), "{came}");
    assert!(came["bytes_fetched"].as_u64() < Some(image.len() as u64), "it began anew: {came}");
    assert_runs(&bench, "1.5.0", slot(updates + 1));
}

/// Runs a device whose self-tests hang, and returns how many there were.
fn hang(bench: &Bench) -> (End, usize) {
    let layout = Layout::read(Path::new(&bench.path("layout.toml"))).expect("a layout");
    let key = key::read_public(Path::new(&bench.path("key.pem"))).expect("a key");
    let settings = Settings { self_test: SelfTest::Hang, ..Settings::default() };
    let device = Device::open(Path::new(&bench.path("flash.bin")), &layout, key, settings).expect("a device");
    let document = fs::read(bench.path("job.json")).expect("a file");
    let job = sprag::job::parse(&document).expect("a job");
    let connector = HostConnector::new(Some(Path::new(&bench.path("ca.pem")))).expect("a connector");
    let mut tests = 0;
    let mut on = |happening| tests += usize::from(matches!(happening, sprag_cli::device::Happening::SelfTest(_)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let end = runtime.block_on(device.run(&job, &connector, &mut on)).expect("it boots");
    (end, tests)
}

/// One after the other: a process that is started while another thread of this one has a flash open holds its lock for a moment.
#[test]
fn every_family_and_method() {
    let cases = cases();
    let fails = |case: &Case| {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(case.name.to_owned());
            thread.spawn_scoped(scope, || live(case)).expect("a thread").join().is_err()
        })
    };
    let failed: Vec<&str> = cases.iter().filter(|case| fails(case)).map(|case| case.name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn what_a_family_needs_is_named() {
    for (family, from, to, says) in [
        ("mcuboot", "scratch = {", "other = {", "regions.scratch: missing"),
        ("mcuboot-cypress", "scratch = {", "other = {", "regions.scratch: missing"),
        ("mcuboot-cypress", "status = {", "other = {", "regions.status: missing"),
        (
            "mcuboot-cypress",
            "0x4000 }\nscratch",
            "0x400 }\nscratch",
            "regions.status: 0x400 bytes, but the bootloader needs",
        ),
        ("mcuboot-cypress", "max_sectors = 256", "max_sectors = 255", "boot.max_sectors: 255, but the slots have 256"),
        ("mcuboot-cypress", "[boot]", "[boot]\nscratch = false", "boot.scratch: false, but a device on the host"),
        ("mcuboot-xip", "secondary = {", "other = {", "regions.secondary: missing"),
        ("esp-idf", "ota_1 = {", "other = {", "regions.ota_1: missing"),
        ("esp-idf", "otadata = {", "other = {", "regions.otadata: missing"),
        ("esp-idf", "0x8000", "0xd000", "boot.table_offset: 0xd000 is within regions.otadata"),
        ("embassy-boot", "dfu = {", "other = {", "regions.dfu: missing"),
        (
            "embassy-boot",
            "size = 0x21000",
            "size = 0x20000",
            "regions.dfu: 0x20000 bytes, but embassy-boot takes a sector more",
        ),
        ("embassy-boot", "write_size = 8", "write_size = 1024", "write_size: 1024"),
        (
            "embassy-boot",
            "write_size = 8",
            "write_size = 32",
            "regions.state: 0x1000 bytes, but the progress of a swap takes 0x1040",
        ),
        ("embassy-boot", "0xFF", "0x00", "erased_value: 0x00, but embassy-boot is built for 0xFF here"),
    ] {
        let layout = documented(family);
        assert!(layout.contains(from), "{layout}");
        let error = format!("{:#}", Layout::parse(&layout.replacen(from, to, 1)).expect_err(says));
        assert!(error.contains(says) && !error.contains('\n'), "{says:?} is not in: {error}");
    }
}
