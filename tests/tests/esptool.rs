//! Espressif's own tools as the judges of images, in both directions.

use std::path::Path;
use std::process::{Command, Output};

use embassy_futures::block_on;
use sprag::verify::{Error, EspIdf, Format, Image, Key, Policy, Promised, Version};
use sprag_cli::key;
use sprag_testkit::flash::{FlashGeometry, SimFlash};
use sprag_testkit::image::{EspIdfImage, Signer, sign_secure_boot};

const IMAGE: EspIdfImage<'_> = EspIdfImage {
    chip: 5,
    revisions: [3, 199],
    version: "1.2.3",
    secure_version: 7,
    project: "board-a",
    data: &[0x5A; 64],
    program: &[0xA5; 500],
};

fn tool(dir: &Path, program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).current_dir(dir).output();
    output.unwrap_or_else(|error| {
        panic!("{program} is needed: `cargo xtask test --step setup` installs it, with esptool: {error}")
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[track_caller]
fn succeeds(dir: &Path, program: &str, arguments: &[&str]) -> String {
    let output = tool(dir, program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
    said(&output)
}

fn signer(seed: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()
}

/// A directory with the keys `1.pem` to `4.pem`.
fn keyed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for seed in 1..=4 {
        let pem = key::private_pem(&Signer::from(&signer(seed))).unwrap();
        std::fs::write(dir.path().join(format!("{seed}.pem")), pem).unwrap();
    }
    dir
}

fn public(seed: u8) -> Box<dyn Key> {
    key::public(&Signer::from(&signer(seed)))
}

fn verify(image: &[u8], policy: &Policy<'_>) -> Result<Image, Error> {
    let capacity = 0x40000;
    let flash = SimFlash::in_memory(capacity, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF });
    flash.load(0, image).unwrap();
    let promised = Promised::size(image.len() as u32);
    block_on(EspIdf.verify(&mut flash.region(0..capacity), promised, policy, &mut [0; 1024]))
}

/// An executable for a 32-bit little-endian machine with nothing but sections that are loaded: names, addresses, bytes.
///
/// Source: Tool Interface Standard, "Executable and Linking Format", version 1.2.
fn elf(machine: u16, sections: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let (mut names, mut bodies, mut headers) = (vec![0], Vec::new(), vec![[0_u32; 10]]);
    let mut section = |name: &str, kind, flags, address, body: &[u8]| {
        let header =
            [names.len() as u32, kind, flags, address, 52 + bodies.len() as u32, body.len() as u32, 0, 0, 4, 0];
        headers.push(header);
        names.extend(name.bytes().chain([0]));
        bodies.extend(body);
    };
    for (name, address, body) in sections {
        section(name, 1, 6, *address, body); // PROGBITS, ALLOC and EXECINSTR
    }
    section(".shstrtab", 3, 0, 0, &[]);
    let (shstrtab, offset) = (headers.len() - 1, 52 + bodies.len() as u32);
    (headers[shstrtab][4], headers[shstrtab][5]) = (offset, names.len() as u32);
    bodies.extend(names);

    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2, machine] {
        elf.extend(half.to_le_bytes());
    }
    for word in [1, sections[0].1, 0, 52 + bodies.len() as u32, 0] {
        elf.extend(word.to_le_bytes());
    }
    for half in [52, 32, 0, 40, headers.len() as u16, shstrtab as u16] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(bodies);
    elf.extend(headers.as_flattened().iter().flat_map(|word| word.to_le_bytes()));
    elf
}

/// Images as ESP-IDF's build makes them, from an ELF file on, signed by espsecure.
#[test]
fn what_esptool_makes_and_espsecure_signs_is_taken() {
    const XTENSA: u16 = 94;
    const RISC_V: u16 = 243;
    let dir = keyed();
    let key = public(1);
    let policy = Policy::signed_by(&*key).newer_than(Version::new(1, 2, 2)).counter_at_least(7).for_board("board-a");
    // Where each chip maps its flash for data and for instructions, and where its RAM for instructions is.
    for (chip, id, machine, [data, text, ram]) in [
        ("esp32", 0, XTENSA, [0x3F40_0020, 0x400D_0020, 0x4008_0000]),
        ("esp32s3", 9, XTENSA, [0x3C00_0020, 0x4200_0020, 0x4037_8000]),
        ("esp32c3", 5, RISC_V, [0x3C00_0020, 0x4201_0020, 0x4038_0000]),
        ("esp32c6", 13, RISC_V, [0x4200_0020, 0x4201_0020, 0x4080_0000]),
    ] {
        let description = IMAGE.description();
        let sections = [
            (".flash.appdesc", data, &description[..]),
            (".flash.text", text, &[0x13; 3000]),
            (".iram0.text", ram, &[0x6F; 500]),
        ];
        std::fs::write(dir.path().join("app.elf"), elf(machine, &sections)).unwrap();
        let arguments =
            ["--chip", chip, "elf2image", "--min-rev-full", "3", "--max-rev-full", "199", "-o", "app.bin", "app.elf"];
        succeeds(dir.path(), "esptool", &arguments);
        let plain = std::fs::read(dir.path().join("app.bin")).unwrap();
        assert_eq!(verify(&plain, &policy), Err(Error::Unsigned), "{chip}");
        let arguments = ["sign-data", "--version", "2", "--keyfile", "1.pem", "--output", "signed.bin", "app.bin"];
        succeeds(dir.path(), "espsecure", &arguments);
        let signed = std::fs::read(dir.path().join("signed.bin")).unwrap();
        let image = verify(&signed, &policy.for_chip(id).chip_revision(3)).unwrap_or_else(|e| panic!("{chip}: {e}"));
        assert_eq!((image.version, image.counter), (Version::new(1, 2, 3), Some(7)));
        assert!(matches!(verify(&signed, &policy.for_chip(99)), Err(Error::Chip { image, .. }) if image == id));
        assert!(matches!(
            verify(&signed, &policy.chip_revision(2)),
            Err(Error::ChipRevision { least: 3, most: 199, .. })
        ));
        let other = public(2);
        assert_eq!(verify(&signed, &Policy::signed_by(&*other)), Err(Error::UnknownKey));
        // What the description is of begins where it has to, and its bytes are all covered.
        for at in (0..plain.len()).step_by(997) {
            let mut flipped = signed.clone();
            flipped[at] ^= 1 << (at % 8);
            verify(&flipped, &policy).expect_err(&format!("{chip}: byte {at}"));
        }
    }
}

/// Several keys' blocks; and a flipped bit at every byte that is signed.
#[test]
fn signature_blocks_of_several_keys() {
    let dir = keyed();
    std::fs::write(dir.path().join("app.bin"), IMAGE.build()).unwrap();
    let sign = ["sign-data", "--version", "2", "-k", "3.pem", "-k", "1.pem", "-k", "2.pem", "--output", "signed.bin"];
    succeeds(dir.path(), "espsecure", &[&sign[..], &["app.bin"]].concat());
    let signed = std::fs::read(dir.path().join("signed.bin")).unwrap();
    for seed in 1..=3 {
        verify(&signed, &Policy::signed_by(&*public(seed))).unwrap();
    }
    assert_eq!(verify(&signed, &Policy::signed_by(&*public(4))), Err(Error::UnknownKey));
    let (old, new) = (public(3), public(1));
    let (both, revoked) = ([&*old, &*new], [old.hash()]);
    verify(&signed, &Policy::signed_by_any(&both).revoking(&revoked)).unwrap();
    assert_eq!(verify(&signed, &Policy::signed_by(&*old).revoking(&revoked)), Err(Error::RevokedKey));
    let policy = Policy::signed_by(&*new);
    for at in 0..signed.len() - 4096 {
        let mut flipped = signed.clone();
        flipped[at] ^= 1 << (at % 8);
        verify(&flipped, &policy).expect_err(&format!("byte {at}"));
    }
}

/// What the test kit builds and signs is good to Espressif's tools, and the blocks are theirs but for the signatures, which
/// are random there.
#[test]
fn what_the_test_kit_makes_is_theirs() {
    let dir = keyed();
    let ours = sign_secure_boot(IMAGE.build(), &[&signer(1), &signer(2)]);
    std::fs::write(dir.path().join("app.bin"), IMAGE.build()).unwrap();
    std::fs::write(dir.path().join("ours.bin"), &ours).unwrap();
    let info = succeeds(dir.path(), "esptool", &["--chip", "esp32c3", "image-info", "app.bin"]);
    for expected in ["(valid)", "board-a", "1.2.3", "Secure version: 7"] {
        assert!(info.contains(expected), "{expected}: {info}");
    }
    assert!(!info.contains("invalid"), "{info}");
    for seed in ["1.pem", "2.pem"] {
        succeeds(dir.path(), "espsecure", &["verify-signature", "--version", "2", "--keyfile", seed, "ours.bin"]);
    }
    assert!(
        !tool(dir.path(), "espsecure", &["verify-signature", "--version", "2", "-k", "3.pem", "ours.bin"])
            .status
            .success()
    );

    let sign = ["sign-data", "--version", "2", "-k", "1.pem", "-k", "2.pem", "--output", "theirs.bin", "app.bin"];
    succeeds(dir.path(), "espsecure", &sign);
    let theirs = std::fs::read(dir.path().join("theirs.bin")).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let sector = ours.len() - 4096;
    for at in 0..ours.len() {
        let in_block = at.checked_sub(sector).filter(|at| *at < 2 * 1216).map(|at| at % 1216);
        let random = in_block.is_some_and(|at| (101..165).contains(&at) || (1196..1200).contains(&at));
        assert!(random || ours[at] == theirs[at], "byte {at}");
    }
}
