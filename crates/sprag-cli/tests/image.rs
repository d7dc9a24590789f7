//! `sprag image` and `sprag keygen`, as processes; openssl and imgtool judge what they write.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Ran, sprag};
use serde_json::{Value, json};

/// Runs `sprag` with these words, in a directory.
fn run(dir: &Path, words: &str) -> Ran {
    Ran::of(sprag(words.split(' ')).current_dir(dir))
}

fn json(dir: &Path, words: &str) -> Value {
    serde_json::from_str(&run(dir, words).succeeded().stdout).unwrap()
}

/// What another program says, which must be content.
#[track_caller]
fn judged(dir: &Path, program: &str, words: &str) -> Vec<u8> {
    let output = Command::new(program).args(words.split(' ')).current_dir(dir).output();
    let output = output
        .unwrap_or_else(|error| panic!("{program} is needed: `cargo xtask test --step setup` installs it: {error}"));
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("app.bin"), vec![0x5A; 5000]).unwrap();
    for (kind, name) in [("ed25519", "e"), ("p256", "p")] {
        run(dir.path(), &format!("keygen --type {kind} -o {name}.pem --public {name}.pub.pem")).succeeded();
    }
    dir
}

#[test]
fn keys_are_openssls_and_imgtools() {
    let dir = directory();
    let dir = dir.path();
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    for name in ["e", "p"] {
        assert_eq!(judged(dir, "openssl", &format!("pkey -in {name}.pem -pubout")), read(&format!("{name}.pub.pem")));
        assert_eq!(judged(dir, "openssl", &format!("pkey -in {name}.pem")), read(&format!("{name}.pem")));
        judged(dir, "imgtool", &format!("keyinfo -k {name}.pem"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.join("e.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else's business");
    }
    // A key is never written over, and no two are the same.
    let before = read("e.pem");
    let again = run(dir, "keygen -o e.pem");
    assert_eq!((again.code, read("e.pem") == before), (Some(2), true));
    let said = run(dir, "keygen -o another.pem").succeeded().stdout;
    assert!(said.contains("const KEY: Ed25519Key = Ed25519Key::new([0x"), "{said}");
    assert_ne!(read("another.pem"), before);
}

#[test]
fn a_signed_image_is_imgtools() {
    let dir = directory();
    let dir = dir.path();
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let common = "--version 1.2.3+4 --header-size 0x200 --slot-size 0x10000";
    for (ours, theirs) in [
        ("--pad-header", "--pad-header"),
        ("--pad-header --security-counter auto --align 8", "--pad-header --security-counter auto --align 8"),
        ("--pad-header --security-counter 9 --board b", "--pad-header --security-counter 9 --custom-tlv 0x53a0 b"),
        ("--pad-header --align 16 --pad", "--pad-header --align 16 --pad"),
        ("--pad-header --align 32 --confirm", "--pad-header --align 32 --confirm"),
    ] {
        run(dir, &format!("image sign app.bin -o ours.bin --format mcuboot --key e.pem {common} {ours}")).succeeded();
        judged(dir, "imgtool", &format!("sign -k e.pem {common} {theirs} app.bin theirs.bin"));
        assert!(read("ours.bin") == read("theirs.bin"), "{ours}");
    }
    // A program that leaves room for its header.
    let with_room = [vec![0; 0x200], vec![0x5A; 700]].concat();
    std::fs::write(dir.join("room.bin"), with_room).unwrap();
    run(dir, &format!("image sign room.bin -o ours.bin --format mcuboot --key e.pem {common}")).succeeded();
    judged(dir, "imgtool", &format!("sign -k e.pem {common} room.bin theirs.bin"));
    assert!(read("ours.bin") == read("theirs.bin"));
    run(dir, &format!("image sign app.bin -o ours.bin --format mcuboot --key p.pem {common} --pad-header")).succeeded();
    judged(dir, "imgtool", "verify -k p.pem ours.bin");
}

#[test]
fn what_may_run_and_what_may_not() {
    let dir = directory();
    let dir = dir.path();
    let sign = "image sign app.bin --format mcuboot --version 1.2.3 --header-size 512 --pad-header --slot-size 0x10000";
    run(dir, &format!("{sign} -o e.bin --key e.pem --board board-a")).succeeded();
    run(dir, &format!("{sign} -o slot.bin --key p.pem --confirm")).succeeded();
    for (words, says) in [
        ("e.bin --key e.pub.pem", "e.bin: mcuboot 1.2.3, 5671 bytes, may run\n"),
        ("e.bin --key p.pem --key e.pem --newer-than 1.2.2+7 --board board-a", "may run"),
        ("slot.bin --key p.pub.pem", "slot.bin: mcuboot 1.2.3, "),
    ] {
        let said = run(dir, &format!("image verify {words}")).succeeded().stdout;
        assert!(said.contains(says), "{words}: {said}");
    }
    let mut flipped = std::fs::read(dir.join("e.bin")).unwrap();
    flipped[600] ^= 1;
    std::fs::write(dir.join("flipped.bin"), &flipped).unwrap();
    std::fs::write(dir.join("cut.bin"), &flipped[..5600]).unwrap();
    for (words, reason) in [
        ("e.bin --key p.pem", "unknown-key"),
        ("e.bin --key e.pem --newer-than 1.2.3", "same-version"),
        ("e.bin --key e.pem --newer-than 2", "not-newer"),
        ("e.bin --key e.pem --board board-b", "wrong-board"),
        ("slot.bin --key p.pem --board board-a", "board-missing"),
        ("flipped.bin --key e.pem", "digest-mismatch"),
        ("cut.bin --key e.pem", "image-length"),
        ("app.bin --key e.pem", "unsigned"),
    ] {
        let ran = run(dir, &format!("image verify {words}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{words}: {ran:?}");
        assert!(ran.stderr.ends_with(&format!("({reason})\n")) && ran.stderr.lines().count() == 1, "{words}: {ran:?}");
    }
    for words in ["none.bin --key e.pem", "e.bin --key none.pem", "e.bin --key app.bin", "e.bin"] {
        assert_eq!(run(dir, &format!("image verify {words}")).code, Some(2), "{words}");
    }
}

#[test]
fn a_raw_image_has_its_signature_beside_it() {
    let dir = directory();
    let dir = dir.path();
    for name in ["e", "p"] {
        let said = run(dir, &format!("image sign app.bin -o sig --format raw --key {name}.pem")).succeeded().stdout;
        let signature = std::fs::read_to_string(dir.join("sig")).unwrap();
        assert!(said.contains("size       5000\nsha256     ") && said.contains(&signature), "{said}");
        run(dir, &format!("image verify app.bin --key {name}.pub.pem --signature sig")).succeeded();
        let verify = format!("image verify app.bin --key {name}.pub.pem --signature sig");
        run(dir, &format!("{verify} --version 1.3 --newer-than 1.2")).succeeded();
        let refused = run(dir, &format!("{verify} --newer-than 1.2"));
        assert!(refused.code == Some(1) && refused.stderr.contains("(version-missing)"), "{refused:?}");
    }
    // As the cloud signs: openssl's ECDSA over SHA-256.
    judged(dir, "openssl", "dgst -sha256 -sign p.pem -out sig.der app.bin");
    judged(dir, "openssl", "base64 -A -in sig.der -out sig");
    run(dir, "image verify app.bin --key p.pub.pem --signature sig").succeeded();
    judged(dir, "openssl", "pkeyutl -sign -rawin -inkey e.pem -in app.bin -out sig.raw");
    judged(dir, "openssl", "base64 -A -in sig.raw -out sig");
    run(dir, "image verify app.bin --key e.pub.pem --signature sig").succeeded();
    assert_eq!(run(dir, "image verify app.bin --key p.pub.pem --signature sig").code, Some(1));
    assert_eq!(run(dir, "image verify app.bin --key p.pub.pem --signature app.bin").code, Some(2));
}

#[test]
fn an_image_is_shown_as_it_is() {
    let dir = directory();
    let dir = dir.path();
    let sign = "image sign app.bin --format mcuboot --version 1.2.3 --header-size 512 --pad-header --slot-size 0x10000";
    run(dir, &format!("{sign} -o e.bin --key e.pem --board board-a --security-counter 7")).succeeded();
    let shown = json(dir, "image inspect e.bin --json");
    assert_eq!(
        (&shown["format"], &shown["version"], &shown["digest"], &shown["payload_size"]),
        (&json!("mcuboot"), &json!("1.2.3"), &json!("right"), &json!(5000))
    );
    assert_eq!(
        shown["tlvs"][0],
        json!({ "type": "0x0050", "name": "security counter", "protected": true, "value": "7" })
    );
    assert_eq!(shown["tlvs"][1]["value"], json!("board-a"));
    let words = run(dir, "image inspect e.bin").succeeded().stdout;
    assert!(words.starts_with("format          mcuboot\nversion         1.2.3\n"), "{words}");

    let image = sprag_testkit::image::EspIdfImage {
        chip: 5,
        revisions: [3, 199],
        version: "1.5.0",
        secure_version: 3,
        project: "board-a",
        data: &[1; 64],
        program: &[2; 200],
    };
    std::fs::write(dir.join("esp.bin"), image.build()).unwrap();
    let shown = json(dir, "image inspect esp.bin --json");
    assert_eq!((&shown["format"], &shown["version"], &shown["chip"]), (&json!("esp-idf"), &json!("1.5.0"), &json!(5)));
    assert_eq!((&shown["checksum"], &shown["digest"]), (&json!("right"), &json!("right")));
    assert_eq!(shown["segments"][1]["address"], json!("0x40380000"));
    assert_eq!(json(dir, "image inspect app.bin --json")["format"], json!("raw"));
    for cut in [1, 8, 30, 100, 400] {
        std::fs::write(dir.join("cut.bin"), &image.build()[..cut]).unwrap();
        assert_eq!(run(dir, "image inspect cut.bin").code, Some(2), "{cut}");
    }
    let signed = std::fs::read(dir.join("e.bin")).unwrap();
    for cut in (4..signed.len()).step_by(199) {
        std::fs::write(dir.join("cut.bin"), &signed[..cut]).unwrap();
        assert_eq!(run(dir, "image inspect cut.bin").code, Some(2), "{cut}");
    }
}

#[test]
fn arguments_that_make_no_sense() {
    let dir = directory();
    let dir = dir.path();
    let sign = "image sign app.bin -o out.bin --format mcuboot";
    for (words, says) in [
        ("--key e.pem --version 1 --header-size 31 --pad-header", "--header-size: not 32 to 65535"),
        ("--key e.pem --version 1 --header-size 65536 --pad-header", "--header-size: not 32 to 65535"),
        ("--key e.pem --version 1 --header-size 512", "does not begin with 512 zeros"),
        ("--key e.pem --version 1 --header-size 512 --pad-header --align 3", "--align: 3 is not"),
        ("--key e.pem --version 1 --header-size 512 --pad-header --slot-size 6000", "--slot-size: 6000 bytes"),
        ("--key e.pub.pem --version 1 --header-size 512 --pad-header", "no Ed25519 or P-256 PRIVATE KEY"),
        ("--key e.pem --version 1.2.3.4 --header-size 512", "1.2.3.4"),
        ("--key e.pem --header-size 512", "--version"),
        ("--key e.pem --version 1 --header-size 512 --pad-header --pad", "--slot-size"),
    ] {
        let ran = run(dir, &format!("{sign} {words}"));
        assert_eq!(ran.code, Some(2), "{words}: {ran:?}");
        assert!(ran.stderr.contains(says), "{words}: {ran:?}");
        assert!(!dir.join("out.bin").exists());
    }
}
