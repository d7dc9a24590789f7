//! Files that can't be used: refused before the flash is touched.

use std::fs::{self, File};

use crate::bench::{Bench, LARGE, NEW, OLD, SMALL_ROOM};
use crate::common::Ran;

/// A run is bad input, the message says this, and the flash is as it was.
#[track_caller]
fn assert_refused(bench: &Bench, says: &[&str]) {
    let flash = bench.flash();
    let ran = bench.run().refused(2, says);
    assert_eq!(ran.stdout, "");
    assert!(bench.flash() == flash, "the flash was changed");
}

#[test]
fn layouts() {
    let bench = Bench::small();
    bench.offer();
    let (good, path) = (bench.layout(), bench.path("layout.toml"));
    let journal = "[regions.journal]\noffset = 0x40000\nsize = 0x2000";
    assert!(good.contains(journal), "{good}");
    for (from, to, says) in [
        ("offset = 0x20000", "offset = 0x1f000", "regions.secondary: begins at 0x1f000, within regions.primary"),
        ("offset = 0x20000", "offset = 0x20800", "regions.secondary.offset: 0x20800 is not aligned to a sector"),
        ("size = 0x2000\n", "size = 0x2001\n", "regions.journal.size: 0x2001 is not aligned to a sector"),
        (journal, "", "regions.journal: missing"),
        ("write_size = 8", "write_size = 3", "write_size: 3 is not"),
        ("erase_size = 4096", "erase_size: 4096", "line 2: "),
        ("erase_size = 4096", "erase_sise = 4096", "line 2: unknown field `erase_sise`"),
    ] {
        bench.write("layout.toml", good.replacen(from, to, 1));
        assert_refused(&bench, &[&path, says]);
    }
    bench.write("layout.toml", "{\"regions\": []}");
    assert_refused(&bench, &[&path, "line 1: "]);
    fs::remove_file(&path).expect("a file");
    assert_refused(&bench, &[&path, "No such file"]);

    bench.write("layout.toml", good);
    bench.run().succeeded();
}

#[test]
fn the_layout_in_the_readme() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").expect("an example");
    let bench = Bench::small();
    bench.write("layout.toml", rest.split("```").next().expect("its end"));
    fs::remove_file(bench.path("flash.bin")).expect("a file");
    Ran::of(&mut bench.device("init", ["--image", &bench.path("old.bin")])).succeeded();
    bench.assert_old_runs();
}

#[test]
fn flashes() {
    let bench = Bench::small();
    bench.offer();
    let (path, whole) = (bench.path("flash.bin"), bench.flash());
    bench.write("flash.bin", &whole[..whole.len() - 2 * 4096]);
    assert_refused(&bench, &[&path, "270336 bytes, but the layout's regions reach to 274432"]);
    bench.write("flash.bin", &whole[..whole.len() - 1]);
    assert_refused(&bench, &[&path, "no whole number of sectors of 4096 bytes"]);
    bench.write("flash.bin", &whole);

    let file = File::open(&path).expect("the flash");
    file.lock().expect("a lock");
    assert_refused(&bench, &[&path, "in use by another process"]);
    Ran::of(&mut bench.device("show", [])).refused(2, &[&path, "in use by another process"]);
    drop(file);

    fs::remove_file(&path).expect("a file");
    bench.run().refused(2, &[&path, "sprag device init", "No such file"]);
    assert!(!fs::exists(&path).expect("a path"), "a flash was made");

    bench.write("flash.bin", &whole);
    bench.run().succeeded();
}

#[test]
fn keys_and_certificates() {
    let bench = Bench::small();
    bench.offer();
    for (name, content, says) in [
        ("key.pem", &b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"[..], "no Ed25519 or P-256 key"),
        ("key.pem", b"secret", "no key: neither PEM nor DER"),
        ("key.pem", b"\x30\x2a\xff\xfe", "no Ed25519 or P-256 key"),
        ("ca.pem", b"trust me", "no certificate in PEM or DER"),
        ("ca.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ca.pem"),
    ] {
        let (path, good) = (bench.path(name), fs::read(bench.path(name)).expect("a file"));
        bench.write(name, content);
        assert_refused(&bench, &[&path, says]);
        fs::remove_file(&path).expect("a file");
        assert_refused(&bench, &[&path, "No such file"]);
        bench.write(name, good);
    }
    bench.run().succeeded();
}

#[test]
fn first_images() {
    let bench = Bench::small();
    let (path, old) = (bench.path("flash.bin"), bench.path("old.bin"));
    let init = || Ran::of(&mut bench.device("init", ["--image", &old]));
    // What is there already is not overwritten.
    let flash = bench.flash();
    init().refused(2, &[&path, "File exists"]);
    assert!(bench.flash() == flash, "the flash was changed");

    fs::remove_file(&path).expect("a file");
    let mut torn = bench.image(OLD, 10_000);
    torn[5_000] ^= 1;
    let too_large = format!("does not fit: the primary slot takes {SMALL_ROOM}");
    for (image, says) in [
        (bench.image(NEW, LARGE), &*too_large),
        // It fits into the slot, but not beside what MCUboot needs there.
        (bench.image(NEW, SMALL_ROOM), &too_large),
        (b"no image".to_vec(), "can't be started: no image magic"),
        (torn, "can't be started: the digest does not match"),
    ] {
        bench.write("old.bin", image);
        init().refused(2, &[says]);
        assert!(!fs::exists(&path).expect("a path"), "a flash was made");
    }
    fs::remove_file(&old).expect("a file");
    init().refused(2, &[&old, "No such file"]);
}
