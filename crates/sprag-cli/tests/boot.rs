//! `sprag boot`, as a process: each family on a flash file, and its bootloader's model between the calls.

mod common;

use std::path::{Path, PathBuf};

use common::{Ran, sprag};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use sprag_testkit::esp_idf::{Build, Entry, EspIdf, Partitions};
use sprag_testkit::flash::{FlashGeometry, SimFlash};
use sprag_testkit::image::{McuBootImage, Version};
use sprag_testkit::mcuboot::{Bootloader, Cypress, Method, Xip, check_image};
use tempfile::TempDir;

const UNITS: &str = "write_size = 8\nerase_size = 4096\nerased_value = 0xFF\n";
const SLOTS: &str = "[regions.primary]\noffset = 0x0\nsize = 0x8000\n\
    [regions.secondary]\noffset = 0x8000\nsize = 0x8000\n";
const NOR: FlashGeometry = FlashGeometry { write_size: 8, erase_size: 4096, erased: 0xFF };
/// The size of a flash with both slots and nothing else.
const CAPACITY: u32 = 0x1_0000;

fn image(major: u8) -> Vec<u8> {
    let version = Version { major, minor: 0, revision: 0, build: 0 };
    McuBootImage { version, header_size: 32, payload: &[major; 500] }.sign(&SigningKey::from_bytes(&[1; 32]))
}

/// A flash file and its layout.
struct Desk {
    dir: TempDir,
    capacity: u32,
    geometry: FlashGeometry,
}

impl Desk {
    fn new(capacity: u32, geometry: FlashGeometry, layout: &str, contents: &[(u32, &[u8])]) -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap(), capacity, geometry };
        std::fs::write(desk.path("layout.toml"), layout).unwrap();
        let flash = SimFlash::create(&desk.path("flash.bin"), capacity, geometry).unwrap();
        contents.iter().for_each(|(at, bytes)| flash.load(*at, bytes).unwrap());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn flash(&self) -> SimFlash {
        SimFlash::open(&self.path("flash.bin"), self.capacity, self.geometry).unwrap()
    }

    fn boot(&self, arguments: &[&str]) -> Ran {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (flash, layout) = (text(&self.path("flash.bin")), text(&self.path("layout.toml")));
        let files = ["--flash", &flash, "--layout", &layout];
        Ran::of(&mut sprag(["boot"].into_iter().chain(arguments.iter().copied()).chain(files)))
    }

    /// Makes a call; where the hand-over stands then, in a word.
    fn call(&self, arguments: &[&str]) -> String {
        self.boot(arguments).succeeded().stdout.trim().to_owned()
    }

    fn show(&self) -> Value {
        self.boot(&["show", "--json"]).succeeded().json()
    }
}

#[test]
fn mcuboot_by_every_method() {
    for (method, model, start) in [
        ("move", Method::Move, 0),
        ("scratch", Method::Move, 0),
        ("offset", Method::Offset, 4096),
        ("overwrite", Method::Overwrite, 0),
    ] {
        let layout = format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot'\nmethod = '{method}'\n");
        let desk = Desk::new(CAPACITY, NOR, &layout, &[(0, &image(1)), (0x8000 + start, &image(2))]);
        let reset = || {
            let flash = desk.flash();
            let (primary, secondary) = (flash.region(0..0x8000), flash.region(0x8000..0x1_0000));
            Bootloader::new(primary, secondary, model.clone()).boot().unwrap().running.major
        };
        let shown = desk.show();
        assert_eq!((&shown["family"], &shown["boot"]), (&json!("mcuboot"), &json!("settled")));
        assert_eq!(shown["room"]["offset"], json!(0x8000 + start));
        assert_eq!((&shown["primary"]["version"], &shown["secondary"]["version"]), (&json!("1.0.0"), &json!("2.0.0")));
        let staged = desk.call(&["stage"]);
        assert_eq!(staged, if method == "overwrite" { "staged for good" } else { "staged for a test" });
        assert_eq!(desk.show()["secondary"]["magic"], json!("set"));
        assert_eq!(desk.call(&["unstage"]), "settled");
        assert_eq!(reset(), 1);
        assert_eq!(desk.call(&["stage"]), staged);
        assert_eq!(reset(), 2);
        if method != "overwrite" {
            assert_eq!(desk.show()["boot"], json!("on trial"));
            desk.boot(&["stage"]).refused(1, &["on trial"]);
        }
        assert_eq!(desk.call(&["confirm"]), "settled");
        assert_eq!(reset(), 2);
    }
}

/// A copy of a device whose MCUboot was cut off in a swap: `show` names it, and every other call is refused.
#[test]
fn an_interrupted_swap_is_shown_and_left_alone() {
    for method in ["move", "scratch", "offset"] {
        let layout = format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot'\nmethod = '{method}'\n");
        let magic = [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
        // Neither slot has an image at its start: that a swap is under way is said all the same.
        let desk = Desk::new(CAPACITY, NOR, &layout, &[(0x8000 - 16, &magic), (0x8000 - 40, &[2])]);
        let before = desk.flash().contents();
        assert_eq!(desk.show()["boot"], json!("interrupted swap"));
        let text = desk.boot(&["show"]).succeeded().stdout;
        assert!(text.contains("interrupted swap"), "{text}");
        for call in [&["stage"][..], &["stage", "--permanent"], &["unstage"], &["confirm"]] {
            desk.boot(call).refused(1, &["cut off in the middle of a swap", "at a reset first"]);
        }
        assert!(desk.flash().contents() == before);
    }
}

/// By offset the secondary slot may be one sector larger, by moving the primary one: as MCUboot has it.
#[test]
fn a_slot_may_be_one_sector_larger() {
    let slots = |primary: u32, secondary: u32| {
        format!(
            "[regions.primary]\noffset = 0\nsize = {primary:#x}\n\
             [regions.secondary]\noffset = {primary:#x}\nsize = {secondary:#x}\n"
        )
    };
    for (primary, secondary, accepts) in
        [(0x8000, 0x9000, "offset"), (0x9000, 0x8000, "move"), (0x8000, 0xA000, ""), (0xA000, 0x8000, "")]
    {
        let start = if accepts == "offset" { 0x1000 } else { 0 };
        for method in ["move", "scratch", "offset", "overwrite"] {
            let regions = slots(primary, secondary);
            let layout = format!("{UNITS}{regions}[boot]\nfamily = 'mcuboot'\nmethod = '{method}'\n");
            let capacity = (primary + secondary).max(0x1_1000);
            let desk = Desk::new(capacity, NOR, &layout, &[(0, &image(1)), (primary + start, &image(2))]);
            if method == accepts {
                assert_eq!(desk.call(&["stage"]), "staged for a test");
                assert_eq!(desk.show()["secondary"]["magic"], json!("set"));
            } else {
                desk.boot(&["stage"]).refused(2, &["regions.secondary:", "slots that are swapped are of one size"]);
            }
        }
    }
}

#[test]
fn mcuboot_where_images_lie() {
    for (revert, first) in [(true, "staged for a test"), (false, "staged for good")] {
        let layout = |running| {
            format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot-xip'\nrunning = '{running}'\nrevert = {revert}\n")
        };
        let desk = Desk::new(CAPACITY, NOR, &layout("secondary"), &[(0, &image(1)), (0x8000, &image(0))]);
        let reset = || {
            let flash = desk.flash();
            let slots = [flash.region(0..0x8000), flash.region(0x8000..0x1_0000)];
            Xip::new(slots, revert).boot().unwrap().running.major
        };
        desk.call(&["stage", "--permanent"]);
        assert_eq!(reset(), 1);
        std::fs::write(desk.path("layout.toml"), layout("primary")).unwrap();
        desk.boot(&["stage"]).refused(1, &["not newer"]);
        desk.flash().load(0x8000, &image(2)).unwrap();
        assert_eq!(desk.call(&["stage"]), first);
        assert_eq!(reset(), 2);
        std::fs::write(desk.path("layout.toml"), layout("secondary")).unwrap();
        assert_eq!(desk.show()["boot"], json!(if revert { "on trial" } else { "settled" }));
        assert_eq!(desk.call(&["confirm"]), "settled");
        assert_eq!(reset(), 2);
    }
}

/// Without reverts, the newer image may run or be staged: nothing is done on a guess. With them, the trailers tell.
#[test]
fn mcuboot_where_images_lie_without_the_running_slot() {
    let layout = format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot-xip'\n");
    for (revert, says) in [(true, None), (false, Some("boot.running: missing; the flash does not say"))] {
        let magic = [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
        let parts: [(u32, &[u8]); 4] =
            [(0, &image(1)), (0x8000, &image(2)), (0x8000 - 16, &magic), (0x8000 - 24, &[1])];
        let desk = Desk::new(CAPACITY, NOR, &format!("{layout}revert = {revert}\n"), &parts);
        let before = desk.flash().contents();
        match says {
            Some(says) => {
                for call in ["stage", "unstage"] {
                    desk.boot(&[call]).refused(2, &["layout.toml: ", says, "\"secondary\" or \"primary\""]);
                }
                assert!(desk.flash().contents() == before);
            }
            None => {
                assert_eq!(desk.show()["room"]["offset"], json!(0x8000), "the primary slot has a trailer and runs");
                assert_eq!(desk.call(&["stage"]), "staged for a test");
                assert_eq!(desk.call(&["unstage"]), "settled");
            }
        }
    }
}

#[test]
fn infineons_mcuboot() {
    let layout = "write_size = 512\nerase_size = 512\nerased_value = 0\n".to_owned()
        + SLOTS
        + "[regions.status]\noffset = 0x10000\nsize = 0x3000\n[boot]\nfamily = 'mcuboot-cypress'\nmax_sectors = 64\n";
    let capacity = 0x1_4000;
    let geometry = FlashGeometry { write_size: 512, erase_size: 512, erased: 0 };
    let desk = Desk::new(capacity, geometry, &layout, &[(0, &image(1)), (0x8000, &image(2))]);
    let reset = || {
        let flash = desk.flash();
        let [primary, secondary] = [0..0x8000, 0x8000..0x1_0000].map(|range| flash.region(range));
        let status = flash.region(0x1_0000..0x1_3000);
        let scratch = flash.region(0x1_3000..0x1_4000);
        let model = Cypress::new(primary, secondary, status, scratch, 64);
        model.boot().unwrap().running.major
    };
    desk.boot(&["stage", "--permanent"]).refused(1, &["runs no image for good that was not tried"]);
    assert_eq!(desk.call(&["stage"]), "staged for a test");
    assert_eq!(reset(), 2);
    assert_eq!(desk.show()["boot"], json!("on trial"));
    assert_eq!(desk.call(&["confirm"]), "settled");
    assert_eq!(reset(), 2);
}

#[test]
fn esp_idf() {
    let table = |rows: &[(u8, u8, u32, u32)]| {
        let mut bytes = Vec::new();
        for (kind, subtype, offset, size) in rows {
            bytes.extend([0xAA, 0x50, *kind, *subtype]);
            bytes.extend(offset.to_le_bytes().into_iter().chain(size.to_le_bytes()).chain([0; 20]));
        }
        bytes
    };
    let rows = [(1, 0, 0xD000, 0x2000), (0, 0x10, 0x1_0000, 0x1_0000), (0, 0x11, 0x2_0000, 0x1_0000)];
    let layout = "write_size = 4\nerase_size = 4096\nerased_value = 0xFF\n[boot]\nfamily = 'esp-idf'\n";
    let capacity = 0x3_0000;
    let geometry = FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF };
    let desk =
        Desk::new(capacity, geometry, layout, &[(0x8000, &table(&rows)), (0x1_0000, &image(1)), (0x2_0000, &image(2))]);
    let reset = || {
        let partitions = Partitions::new(0xD000, None, [0x1_0000..0x2_0000, 0x2_0000..0x3_0000]);
        let may_run = |bytes: &[u8]| check_image(bytes, None).is_ok();
        let loader = EspIdf::new(desk.flash().region(0..0x3_0000), partitions, Build::Rollback, may_run);
        format!("{:?}", loader.boot().unwrap().unwrap())
    };
    assert_eq!(reset(), "Ota(0)");
    let shown = desk.show();
    assert_eq!(shown["room"], json!({ "offset": 0x2_0000, "size": 0x1_0000 }));
    assert_eq!(shown["otadata_0"], json!({ "seq": 1, "state": "valid", "sound": true }));
    assert_eq!((&shown["ota_0"]["running"], &shown["ota_1"]["next"]), (&json!(true), &json!(false)));
    assert_eq!(desk.call(&["stage"]), "staged for a test");
    assert_eq!(desk.show()["otadata_1"]["state"], json!("new"));
    assert_eq!(desk.show()["ota_1"]["next"], json!(true));
    assert_eq!(reset(), "Ota(1)");
    assert_eq!(desk.show()["boot"], json!("on trial"));
    assert_eq!(desk.call(&["confirm"]), "settled");
    assert_eq!(reset(), "Ota(1)");
    desk.flash().load(0xD000 + 28, &[0; 4]).unwrap();
    let words = desk.boot(&["show"]).succeeded().stdout;
    assert!(words.contains("otadata_0  1, valid; its CRC does not fit"), "{words}");
    assert!(words.contains("ota_1      0x20000, 65536 bytes; running; tried first at the next reset"), "{words}");
    desk.flash().load(0x8000, &[0]).unwrap();
    desk.boot(&["show"]).refused(1, &["the partition table is malformed at byte 0"]);
}

/// A valid entry may be the running app's, or that of one staged for good: nothing is done on a guess.
#[test]
fn esp_idf_without_the_running_app() {
    let row = |kind: u8, subtype: u8, offset: u32, size: u32| {
        [&[0xAA, 0x50, kind, subtype][..], &offset.to_le_bytes(), &size.to_le_bytes(), &[0; 20]].concat()
    };
    let rows = [row(1, 0, 0xD000, 0x2000), row(0, 0x10, 0x1_0000, 0x1_0000), row(0, 0x11, 0x2_0000, 0x1_0000)];
    let layout = "write_size = 4\nerase_size = 4096\nerased_value = 0xFF\n[boot]\nfamily = 'esp-idf'\n";
    let capacity = 0x3_0000;
    let geometry = FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF };
    let known = format!("{layout}running = 'ota_0'\n");
    for (rollback, stage) in [(true, &["stage", "--permanent"][..]), (false, &["stage"])] {
        let rollback = format!("rollback = {rollback}\n");
        let first = Entry::new(1, 2).bytes();
        let parts: [(u32, &[u8]); 2] = [(0x8000, &rows.concat()), (0xD000, &first)];
        let desk = Desk::new(capacity, geometry, &format!("{layout}{rollback}"), &parts);
        assert_eq!(desk.call(&["unstage"]), "settled", "ota_0 runs in any case");
        assert_eq!(desk.call(stage), "staged for good");
        let staged = desk.flash().contents();
        let shown = desk.show();
        assert_eq!(shown["running"], json!(["ota_1", "ota_0"]));
        for call in [&["unstage"][..], stage] {
            desk.boot(call).refused(2, &["layout.toml: boot.running: missing", "\"ota_1\" or \"ota_0\""]);
        }
        assert!(desk.flash().contents() == staged);
        std::fs::write(desk.path("layout.toml"), format!("{known}{rollback}")).unwrap();
        assert_eq!(desk.show()["boot"], json!("staged for good"));
        assert_eq!(desk.show()["running"], json!(null));
        assert_eq!(desk.call(&["unstage"]), "settled");
        assert_eq!(desk.flash().contents()[0xE000..0xE020], [0xFF; 32], "the staged entry is gone");
    }
}

#[test]
fn embassy_boot() {
    let layout = format!(
        "{UNITS}[regions.active]\noffset = 0x0\nsize = 0x4000\n[regions.dfu]\noffset = 0x4000\nsize = 0x5000\n\
         [regions.state]\noffset = 0x9000\nsize = 0x1000\n[boot]\nfamily = 'embassy-boot'\n"
    );
    let desk = Desk::new(CAPACITY, NOR, &layout, &[(0, &image(1)), (0x4000, &image(2))]);
    assert_eq!(desk.show()["magic"], json!("erased"));
    assert_eq!(desk.call(&["stage"]), "staged for a test");
    assert_eq!(desk.show()["magic"], json!("swap"));
    desk.boot(&["stage", "--permanent"]).refused(1, &["not tried"]);
    // As embassy-boot leaves it when it has swapped.
    desk.flash().load(0x9000 + 16, &[0; 64]).unwrap();
    assert_eq!(desk.show()["boot"], json!("on trial"));
    desk.boot(&["unstage"]).refused(1, &["on trial"]);
    assert_eq!(desk.call(&["confirm"]), "settled");
    assert_eq!(desk.show()["magic"], json!("boot"));
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    for (layout, says) in [
        (format!("{UNITS}{SLOTS}[boot]\nfamily = 'u-boot'\n"), "unknown variant `u-boot`"),
        (format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot'\nmethod = 'magic'\n"), "unknown variant `magic`"),
        (format!("{UNITS}[boot]\nfamily = 'mcuboot'\n"), "regions.primary: missing"),
        (format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot-cypress'\nmax_sectors = 64\n"), "regions.status: missing"),
        (format!("{UNITS}{SLOTS}[boot]\nfamily = 'embassy-boot'\n"), "regions.active: missing"),
        (format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot-xip'\nrunning = 'both'\n"), "unknown variant `both`"),
    ] {
        let desk = Desk::new(CAPACITY, NOR, &layout, &[]);
        desk.boot(&["show"]).refused(2, &["layout.toml", says]);
    }
    let huge = format!("{UNITS}{SLOTS}[boot]\nfamily = 'mcuboot'\nmax_sectors = 100000\n");
    let desk = Desk::new(CAPACITY, NOR, &huge, &[(0x8000, &image(2))]);
    desk.boot(&["stage"]).refused(2, &["layout.toml: the bootloader's layout does not fit the flash"]);
    let desk = Desk::new(CAPACITY, NOR, &format!("{UNITS}{SLOTS}"), &[]);
    desk.boot(&["stage"]).refused(1, &["there is no image that may run where updates go"]);
    std::fs::remove_file(desk.path("flash.bin")).unwrap();
    desk.boot(&["show"]).refused(2, &["flash.bin"]);
}
