//! MCUboot's own tool as the judge of images, in both directions.

use std::path::Path;
use std::process::{Command, Output};

use embassy_futures::block_on;
use sprag::verify::{Error, Image, Key, Policy, Promised, Signature, mcuboot};
use sprag_cli::device::{Device, End, Happening, Settings};
use sprag_cli::key;
use sprag_cli::layout::Layout;
use sprag_cli::net::HostConnector;
use sprag_cli::s3::{Config, Server};
use sprag_testkit::flash::{FlashGeometry, SimFlash};
use sprag_testkit::image::{Extras, McuBootImage, Sha, Signer, Version, pad};
use sprag_tests::bench::job;

const LAYOUT: &str = "
write_size = 4
erase_size = 4096
erased_value = 0xFF
[regions.primary]
offset = 0x00000
size = 0x20000
[regions.secondary]
offset = 0x20000
size = 0x20000
[regions.journal]
offset = 0x40000
size = 0x02000
";

const SLOT: u32 = 0x20000;
const PAYLOAD: &[u8] = &[0x5A; 3_001];

fn imgtool(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("imgtool").args(arguments).current_dir(dir).output();
    output.expect("imgtool is needed: `cargo xtask test --step setup` installs it")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A directory with a key of this type, as imgtool makes it, and the key.
fn keyed(kind: &str) -> (tempfile::TempDir, Signer) {
    let dir = tempfile::tempdir().unwrap();
    let made = imgtool(dir.path(), &["keygen", "--key", "key.pem", "--type", kind]);
    assert!(made.status.success(), "{}", said(&made));
    std::fs::write(dir.path().join("payload.bin"), PAYLOAD).unwrap();
    let signer = key::read_private(&dir.path().join("key.pem")).unwrap();
    (dir, signer)
}

/// Signs the payload with imgtool.
fn signed_by_imgtool(dir: &Path, version: &str, extra: &[&str]) -> Vec<u8> {
    let base = ["sign", "--key", "key.pem", "--version", version, "--header-size", "0x200", "--pad-header"];
    let rest = ["--slot-size", "0x20000", "payload.bin", "signed.bin"];
    let output = imgtool(dir, &[&base[..], extra, &rest].concat());
    assert!(output.status.success(), "{extra:?}: {}", said(&output));
    std::fs::read(dir.join("signed.bin")).unwrap()
}

fn verify(image: &[u8], size: u32, policy: &Policy<'_>) -> Result<Image, Error> {
    let flash = SimFlash::in_memory(SLOT, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF });
    flash.load(0, image).unwrap();
    // The cases are for bootloaders of every build.
    let policy = policy.mcuboot_config(mcuboot::Config::any());
    block_on(mcuboot::verify(&mut flash.region(0..SLOT), size, &policy, &mut [0; 1024]))
}

/// The image's size, as it says itself: less than that of a file that was filled up to its slot.
fn image_size(image: &[u8], key: &dyn Key) -> u32 {
    match verify(image, 0, &Policy::signed_by(key)) {
        Err(Error::Length { image, .. }) => image,
        other => panic!("{other:?}"),
    }
}

/// What the two ways of making an image have in common: imgtool's arguments, and the test kit's.
struct Case {
    arguments: &'static [&'static str],
    extras: Extras<'static>,
    /// Alignment, and whether the image is confirmed, of one that fills its slot.
    padded: Option<(usize, bool)>,
}

const NEEDS: Version = Version { major: 1, minor: 2, revision: 3, build: 4 };
const CLASS: [u8; 16] = [0xAB; 16];

fn cases() -> Vec<Case> {
    let plain = Extras::default;
    let case = |arguments, extras| Case { arguments, extras, padded: None };
    let padded = |arguments, align, confirmed| Case { arguments, extras: plain(), padded: Some((align, confirmed)) };
    vec![
        case(&[], plain()),
        case(&["--align", "4", "--security-counter", "7"], Extras { security_counter: Some(7), ..plain() }),
        case(&["--security-counter", "auto"], Extras { security_counter: Some(0x0102_0003), ..plain() }),
        case(&["--dependencies", "(1, 1.2.3+4)"], Extras { dependencies: &[(1, NEEDS)], ..plain() }),
        case(&["--load-addr", "0x20000000"], Extras { load_addr: 0x2000_0000, ..plain() }),
        case(&["--rom-fixed", "0x10028000"], Extras { rom_fixed: 0x1002_8000, ..plain() }),
        case(
            &["--vid", "cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd", "--cid", "abababab-abab-abab-abab-abababababab"],
            Extras { vendor: Some([0xCD; 16]), class: Some(CLASS), ..plain() },
        ),
        case(
            &[
                "--security-counter",
                "7",
                "--dependencies",
                "(1, 1.2.3+4)",
                "--cid",
                "abababababababababababababababab",
                "--custom-tlv",
                "0x53a0",
                "board-a",
                "--custom-tlv",
                "0x00a7",
                "0x010203",
            ],
            Extras {
                security_counter: Some(7),
                dependencies: &[(1, NEEDS)],
                class: Some(CLASS),
                custom: &[(mcuboot::TLV_BOARD, b"board-a"), (0xA7, &[1, 2, 3])],
                ..plain()
            },
        ),
        padded(&["--align", "4", "--pad"], 4, false),
        padded(&["--align", "8", "--pad"], 8, false),
        padded(&["--align", "16", "--pad"], 16, false),
        padded(&["--align", "32", "--pad"], 32, false),
        padded(&["--align", "4", "--confirm"], 4, true),
        padded(&["--align", "16", "--confirm"], 16, true),
        padded(&["--align", "32", "--confirm"], 32, true),
    ]
}

/// Every case: taken here; and for the same input the test kit, and so `sprag image sign`, makes the same bytes.
#[track_caller]
fn both_ways(dir: &Path, signer: &Signer, cases: &[Case]) {
    let key = key::public(signer);
    for Case { arguments, extras, padded } in cases {
        let theirs = signed_by_imgtool(dir, "1.2.3+4", arguments);
        let size = image_size(&theirs, &*key);
        let image = verify(&theirs, size, &Policy::signed_by(&*key)).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
        assert_eq!((image.version.to_string(), image.counter), ("1.2.3+4".to_owned(), extras.security_counter));

        let mut ours = McuBootImage { version: NEEDS, header_size: 0x200, payload: PAYLOAD }.sign_with(signer, extras);
        if let Some((align, confirmed)) = padded {
            assert_eq!(theirs.len(), SLOT as usize);
            pad(&mut ours, SLOT as usize, *align, 0xFF, *confirmed);
        }
        match signer {
            Signer::Ed25519(_) => {
                assert!(ours == theirs, "{arguments:?}: the images differ");
                if !arguments.is_empty() {
                    continue; // What imgtool says of its own bytes is no news.
                }
            }
            // Signatures differ, because imgtool's are random, and so their lengths may.
            Signer::P256(_) => {
                let name = key.hash();
                let at = theirs.windows(name.len()).position(|window| window == name).unwrap() + name.len();
                let area = 0x200 + PAYLOAD.len() + usize::from(u16::from_le_bytes([ours[10], ours[11]]));
                let same =
                    |range: std::ops::Range<usize>| assert!(ours[range.clone()] == theirs[range], "{arguments:?}");
                same(0..area + 2);
                same(area + 4..at + 2);
            }
        }
        std::fs::write(dir.join("ours.bin"), &ours).unwrap();
        let verified = imgtool(dir, &["verify", "--key", "key.pem", "ours.bin"]);
        assert!(verified.status.success(), "{arguments:?}: {}", said(&verified));
    }
}

#[test]
fn ed25519_both_ways() {
    let (dir, signer) = keyed("ed25519");
    both_ways(dir.path(), &signer, &cases());
}

#[test]
fn every_digest_of_ed25519_both_ways() {
    let (dir, signer) = keyed("ed25519");
    let case = |arguments, extras| Case { arguments, extras, padded: None };
    let counter = Some(7);
    both_ways(
        dir.path(),
        &signer,
        &[
            case(&["--sha", "256"], Extras::default()),
            case(&["--sha", "512"], Extras { sha: Sha::Sha512, ..Extras::default() }),
            case(&["--pure"], Extras { pure: true, ..Extras::default() }),
            case(
                &["--pure", "--security-counter", "7"],
                Extras { pure: true, security_counter: counter, ..Extras::default() },
            ),
        ],
    );
}

#[test]
fn ecdsa_both_ways() {
    let (dir, signer) = keyed("ecdsa-p256");
    // What is filled up is filled up behind the signature, whatever that is.
    both_ways(dir.path(), &signer, &cases()[..9]);
    // Bootloaders that know a key by what is burnt want the whole of it.
    let full = signed_by_imgtool(dir.path(), "1.2.3", &["--public-key-format", "full"]);
    let (key, size) = (key::public(&signer), full.len() as u32);
    verify(&full, size, &Policy::signed_by(&*key)).unwrap();
    let other = key::public(&keyed("ecdsa-p256").1);
    assert_eq!(verify(&full, size, &Policy::signed_by(&*other)), Err(Error::UnknownKey));
    for at in 0x200 + PAYLOAD.len()..full.len() {
        let mut flipped = full.clone();
        flipped[at] ^= 1 << (at % 8);
        verify(&flipped, size, &Policy::signed_by(&*key)).expect_err(&format!("byte {at}"));
    }
    // Older bootloaders want ECDSA signatures of one size: zeros behind the DER.
    let padded = signed_by_imgtool(dir.path(), "1.2.3", &["--pad-sig"]);
    verify(&padded, padded.len() as u32, &Policy::signed_by(&*key)).unwrap();
}

/// Images of bootloaders that know no keys: digested by imgtool, signed by whoever makes the jobs.
#[test]
fn what_imgtool_digests_the_job_may_sign() {
    let (dir, signer) = keyed("ecdsa-p256");
    let key = key::public(&signer);
    for sha in ["256", "384", "512"] {
        let sign = ["sign", "--version", "1.2.3", "--header-size", "0x200", "--pad-header", "--slot-size", "0x20000"];
        let rest = ["--sha", sha, "payload.bin", "signed.bin"];
        let output = imgtool(dir.path(), &[&sign[..], &rest].concat());
        assert!(output.status.success(), "{}", said(&output));
        let image = std::fs::read(dir.path().join("signed.bin")).unwrap();
        let flash = SimFlash::in_memory(SLOT, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF });
        flash.load(0, &image).unwrap();
        let policy = Policy::signed_by(&*key).mcuboot_config(mcuboot::Config::any());
        let judge = |promised: Promised<'_>| {
            block_on(mcuboot::verify(&mut flash.region(0..SLOT), promised, &policy, &mut [0; 1024])).map(|_| ())
        };
        let promised = Promised::size(image.len() as u32);
        assert_eq!(judge(promised), Err(Error::Unsigned));
        let signature = Signature::ecdsa_p256(&signer.sign(&image)).unwrap();
        assert_eq!(judge(promised.signature(signature)), Ok(()), "SHA-{sha}");
    }
}

/// What imgtool put into an image is what the policy is held against.
#[test]
fn claims_that_imgtool_writes() {
    let (dir, signer) = keyed("ed25519");
    let image = signed_by_imgtool(dir.path(), "1.2.3+4", cases()[7].arguments);
    let key = key::public(&signer);
    let policy = Policy::signed_by(&*key);
    let judge = |policy: Policy<'_>| verify(&image, image.len() as u32, &policy).err();
    let version = |major| sprag::verify::Version::new(major, 2, 3);
    assert_eq!(
        judge(policy.counter_at_least(7).for_class(CLASS).for_board("board-a").beside(&[version(0), version(2)])),
        None
    );
    assert_eq!(judge(policy.counter_at_least(8)), Some(Error::CounterTooLow { image: 7, least: 8 }));
    assert_eq!(judge(policy.for_class([0; 16])), Some(Error::Class));
    assert_eq!(judge(policy.for_board("board-b")), Some(Error::Board));
    let needs = sprag::verify::Version { build: 4, ..version(1) };
    assert_eq!(judge(policy.beside(&[version(0), version(1)])), Some(Error::Dependency { image: 1, needs }));
    assert_eq!(judge(policy.newer_than(needs)), Some(Error::SameVersion { version: needs }));
}

/// A flipped bit at every byte of an image with all that imgtool can put into it.
#[test]
fn every_flipped_byte_is_refused() {
    let (dir, signer) = keyed("ed25519");
    std::fs::write(dir.path().join("payload.bin"), &PAYLOAD[..64]).unwrap();
    let image = signed_by_imgtool(dir.path(), "1.2.3+4", cases()[7].arguments);
    let key = key::public(&signer);
    let policy = Policy::signed_by(&*key);
    verify(&image, image.len() as u32, &policy).unwrap();
    for at in 0..image.len() {
        let mut flipped = image.clone();
        flipped[at] ^= 1 << (at % 8);
        verify(&flipped, image.len() as u32, &policy).expect_err(&format!("byte {at}"));
    }
}

#[test]
fn what_imgtool_signs_is_installed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (kind, version, extra) in [
        ("ed25519", "1.1.0", &[][..]),
        ("ed25519", "1.1.0+7", &["--security-counter", "auto"]),
        ("ecdsa-p256", "2.0.0", &["--dependencies", "(1, 1.2.3+4)", "--load-addr", "0x8000000"]),
    ] {
        let (dir, signer) = keyed(kind);
        std::fs::write(dir.path().join("payload.bin"), vec![0x5A; 30_001]).unwrap();
        let old = signed_by_imgtool(dir.path(), "1.0.0", &[]);
        let new = signed_by_imgtool(dir.path(), version, extra);
        let end = runtime.block_on(install(&old, new.clone(), key::public(&signer)));
        let End::Updated(updated) = end else { panic!("{version}: {end:?}") };
        assert_eq!(updated.to_string(), version);
    }
}

async fn install(old: &[u8], new: Vec<u8>, key: Box<dyn Key>) -> End {
    let dir = tempfile::tempdir().unwrap();
    let flash = dir.path().join("flash.bin");
    let layout = Layout::parse(LAYOUT).unwrap();
    Device::create(&flash, &layout, old).unwrap();
    let root = dir.path().join("s3");
    std::fs::create_dir(&root).unwrap();
    let server = Server::start(Config::new(root)).await.unwrap();
    server.put("firmware", "app.bin", new.clone()).await.unwrap();
    let document = job(&server.presign("firmware", "app.bin", std::time::Duration::from_secs(60)));
    let job = sprag::job::parse(document.as_bytes()).unwrap();
    let connector = HostConnector::trusting_pem(server.ca_pem().unwrap()).unwrap();
    let device = Device::open(&flash, &layout, key, Settings::default()).unwrap();
    let end = device.run(&job, &connector, &mut |_: Happening| {}).await.unwrap();
    assert_eq!(device.flash().contents()[..new.len()], new);
    end
}
