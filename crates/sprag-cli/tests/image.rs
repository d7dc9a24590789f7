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
        ("--key e.pub.pem --version 1 --header-size 512 --pad-header", "a public key, where a private one is needed"),
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

/// Keys as openssl, imgtool and espsecure write them, and as they arrive: each in every form signs or verifies.
#[test]
fn keys_in_the_forms_that_people_have() {
    let dir = directory();
    let dir = dir.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    judged(dir, "openssl", "ecparam -name prime256v1 -genkey -out s.pem");
    judged(dir, "openssl", "ecparam -name prime256v1 -genkey -noout -out s-plain.pem");
    judged(dir, "openssl", "ec -in s.pem -outform DER -out s.der");
    judged(dir, "openssl", "pkcs8 -topk8 -nocrypt -in s.pem -out s-pkcs8.pem");
    judged(dir, "openssl", "pkcs8 -topk8 -nocrypt -in s.pem -outform DER -out s-pkcs8.der");
    judged(dir, "openssl", "pkey -in s.pem -pubout -out s-pub.pem");
    judged(dir, "openssl", "pkey -in s.pem -pubout -outform DER -out s-pub.der");
    judged(dir, "openssl", "pkey -in e.pem -outform DER -out e.der");
    judged(dir, "openssl", "pkey -in e.pem -pubout -outform DER -out e-pub.der");
    for key in ["s", "e"] {
        judged(dir, "openssl", &format!("req -x509 -key {key}.pem -subj /CN=code -days 9 -out {key}.crt"));
        judged(dir, "openssl", &format!("x509 -in {key}.crt -outform DER -out {key}.crt.der"));
        judged(dir, "openssl", &format!("x509 -in {key}.crt -text -out {key}-text.crt"));
    }
    let crlf = String::from_utf8(read("s-pub.pem")).unwrap().replace('\n', "\r\n");
    write("crlf.pem", crlf.as_bytes());
    write("bom.pem", &[b"\xEF\xBB\xBF", &read("s-pub.pem")[..]].concat());
    write("before.pem", &[b"Bag Attributes\n  friendlyName: code\n\n", &read("s.pem")[..]].concat());
    write("chain.crt", &[read("s.crt"), read("e.crt")].concat());

    let sign = "image sign app.bin --format mcuboot --version 1.2.3 --header-size 512 --pad-header";
    for (kind, private, public) in [
        (
            "s",
            &["s.pem", "s.der", "s-pkcs8.pem", "s-pkcs8.der", "before.pem"][..],
            &["s-pub.pem", "s-pub.der", "s.crt", "s.crt.der", "s-text.crt", "crlf.pem", "bom.pem", "chain.crt"][..],
        ),
        ("e", &["e.pem", "e.der"], &["e.pub.pem", "e-pub.der", "e.crt", "e.crt.der", "e-text.crt"]),
    ] {
        for key in private {
            run(dir, &format!("{sign} -o {kind}.bin --key {key}")).succeeded();
            run(dir, &format!("image verify {kind}.bin --key {key}")).succeeded();
        }
        for key in public {
            run(dir, &format!("image verify {kind}.bin --key {key}")).succeeded();
            let other = if kind == "s" { "e.pem" } else { "s.pem" };
            run(dir, &format!("{sign} -o other.bin --key {other}")).succeeded();
            let refused = run(dir, &format!("image verify other.bin --key {key}"));
            assert!(refused.code == Some(1) && refused.stderr.contains("(unknown-key)"), "{key}: {refused:?}");
            let refused = run(dir, &format!("{sign} -o no.bin --key {key}"));
            assert!(refused.code == Some(2) && refused.stderr.contains("a public key"), "{key}: {refused:?}");
        }
    }
    // Without the EC PARAMETERS before it: a key of its own.
    run(dir, &format!("{sign} -o plain.bin --key s-plain.pem")).succeeded();
    run(dir, "image verify plain.bin --key s-plain.pem").succeeded();

    // What is no such key is called what it is.
    judged(dir, "openssl", "ecparam -name secp384r1 -genkey -noout -out p384.pem");
    judged(dir, "openssl", "ecparam -name secp256k1 -genkey -noout -out k1.pem");
    judged(dir, "openssl", "genrsa -out rsa.pem 2048");
    judged(dir, "openssl", "genrsa -traditional -out rsa1.pem 2048");
    judged(dir, "openssl", "req -x509 -key rsa.pem -subj /CN=code -days 9 -out rsa.crt");
    judged(dir, "openssl", "pkcs8 -topk8 -v2 aes-128-cbc -passout pass:x -in s.pem -out secret.pem");
    judged(dir, "openssl", "ec -in s.pem -aes128 -passout pass:x -out secret1.pem");
    write("empty.pem", b"");
    write("utf16.pem", &[&[0xFF, 0xFE], &read("s-pub.pem")[..]].concat());
    write("cut.pem", &read("s-pub.pem")[..60]);
    write("damaged.pem", String::from_utf8(read("s-pub.pem")).unwrap().replacen('M', "!", 1).as_bytes());
    for (key, says) in [
        ("p384.pem", "no Ed25519 or P-256 key"),
        ("k1.pem", "no Ed25519 or P-256 key"),
        ("rsa.pem", "no Ed25519 or P-256 key"),
        ("rsa1.pem", "RSA PRIVATE KEY: not an Ed25519 or P-256 key"),
        ("rsa.crt", "a certificate whose key is neither"),
        ("secret.pem", "the key is encrypted"),
        ("secret1.pem", "the key is encrypted"),
        ("empty.pem", "the file is empty"),
        ("utf16.pem", "UTF-16"),
        ("cut.pem", "neither PEM nor DER"),
        ("damaged.pem", "the base64 is damaged"),
        ("app.bin", "neither PEM nor DER"),
    ] {
        let refused = run(dir, &format!("image verify s.bin --key {key}"));
        assert!(refused.code == Some(2) && refused.stderr.contains(says), "{key}: {refused:?}");
        assert!(refused.stderr.contains(key) && refused.stderr.lines().count() == 1, "{key}: {refused:?}");
    }
}

/// A file that is no image is called what it is, by both commands; and nobody has promised a length at the desk.
#[test]
fn files_that_are_no_images_are_named() {
    let dir = directory();
    let dir = dir.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    for (bytes, says) in [
        (&b"\x7fELF\x01\x01\x01\0\0\0"[..], "an ELF file"),
        (b":020000040800F2\n:00000001FF\n", "an Intel HEX file"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (&[&[0xE9, 3, 2, 0x2F][..], &[0; 200]].concat(), "an ESP image without an app description"),
    ] {
        write("file", bytes);
        let refused = run(dir, "image verify file --key e.pem");
        assert!(refused.code == Some(1) && refused.stderr.contains(says), "{says}: {refused:?}");
        assert!(refused.stderr.lines().count() == 1 && refused.stdout.is_empty(), "{says}: {refused:?}");
        if bytes[0] != 0xE9 {
            assert!(run(dir, "image inspect file").succeeded().stdout.contains(says), "{says}");
            assert!(json(dir, "image inspect file --json")["looks_like"].as_str().unwrap().contains(says));
        }
    }
    write("empty", b"");
    for (words, code) in [("image verify empty --key e.pem", 1), ("image inspect empty", 2)] {
        let refused = run(dir, words);
        assert!(refused.code == Some(code) && refused.stderr.contains("an empty file"), "{words}: {refused:?}");
    }

    let sign = "image sign app.bin --format mcuboot --version 1.2.3 --header-size 512 --pad-header";
    run(dir, &format!("{sign} -o e.bin --key e.pem")).succeeded();
    let image = std::fs::read(dir.join("e.bin")).unwrap();
    let size = image.len();
    for more in [&[0xFF; 3][..], &[0xFF; 16], &[0xFF; 4096], &[0]] {
        write("more.bin", &[&image, more].concat());
        let refused = run(dir, "image verify more.bin --key e.pem");
        let says = format!("the image ends at byte {size}, and the file has {} bytes more", more.len());
        assert!(refused.code == Some(1) && refused.stderr.contains(&says), "{refused:?}");
        assert!(refused.stderr.ends_with("(image-length)\n") && !refused.stderr.contains("promised"), "{refused:?}");
    }
    write("cut.bin", &image[..size - 1]);
    let refused = run(dir, "image verify cut.bin --key e.pem");
    assert!(refused.code == Some(1) && refused.stderr.contains("it is cut short (image-length)"), "{refused:?}");
}

/// The output is complete, or as it was before. Links and devices stay what they are.
#[cfg(unix)]
#[test]
fn a_signed_image_takes_its_place_at_once() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let dir = directory();
    let dir = dir.path();
    let sign = |output: &str| run(dir, &format!("image sign app.bin -o {output} --format raw --key e.pem"));
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    sign("new.sig").succeeded();
    let signature = read("new.sig");

    // A file with a second name keeps its bytes under that one: it was not written in place.
    std::fs::write(dir.join("old.sig"), "old").unwrap();
    std::fs::hard_link(dir.join("old.sig"), dir.join("kept.sig")).unwrap();
    std::fs::set_permissions(dir.join("old.sig"), PermissionsExt::from_mode(0o640)).unwrap();
    sign("old.sig").succeeded();
    assert!(read("old.sig") == signature && read("kept.sig") == b"old");
    assert_eq!(std::fs::metadata(dir.join("old.sig")).unwrap().permissions().mode() & 0o777, 0o640);

    std::fs::write(dir.join("target.sig"), "old").unwrap();
    symlink("target.sig", dir.join("link.sig")).unwrap();
    symlink("dangling.sig", dir.join("nowhere.sig")).unwrap();
    for (link, target) in [("link.sig", "target.sig"), ("nowhere.sig", "dangling.sig")] {
        sign(link).succeeded();
        assert!(std::fs::symlink_metadata(dir.join(link)).unwrap().is_symlink(), "{link}");
        assert!(read(target) == signature, "{target}");
    }
    sign(&"n".repeat(255)).succeeded();

    judged(dir, "mkfifo", "fifo");
    let reader = std::thread::spawn({
        let fifo = dir.join("fifo");
        move || std::fs::read(fifo).unwrap()
    });
    sign("fifo").succeeded();
    assert!(reader.join().unwrap() == signature);
    assert!(std::fs::symlink_metadata(dir.join("fifo")).unwrap().file_type().is_fifo());
    sign("/dev/null").succeeded();
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());

    // A full disk: no file grows beyond 8 blocks of 512 bytes.
    std::fs::write(dir.join("old.bin"), "old").unwrap();
    let before = names();
    let mut limited = Command::new("sh");
    limited.current_dir(dir).args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sprag")]);
    let words =
        "image sign app.bin -o old.bin --format mcuboot --key e.pem --version 1.0.0 --header-size 32 --pad-header";
    let refused = Ran::of(limited.args(words.split(' ')));
    assert!(refused.code == Some(2) && refused.stderr.contains("old.bin"), "{refused:?}");
    assert_eq!(read("old.bin"), b"old");
    assert_eq!(names(), before, "nothing half-written is left");

    sign("no/such/directory").refused(2, &["no/such/directory"]);
    sign(".").refused(2, &["directory"]);
    assert_eq!(names(), before);
}
