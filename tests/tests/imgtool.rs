//! MCUboot's own tool as the judge of images, in both directions.

use std::path::Path;
use std::process::{Command, Output};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use sprag_cli::device::{Device, End, Happening, Settings};
use sprag_cli::layout::Layout;
use sprag_cli::net::HostConnector;
use sprag_cli::s3::{Config, Server};
use sprag_testkit::flash::{Geometry, SimFlash};
use sprag_testkit::image::{McuBootImage, Version};
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

fn imgtool(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("imgtool").args(arguments).current_dir(dir).output();
    output.expect("imgtool is needed: `cargo xtask test --step setup` installs it")
}

/// Signs a payload with imgtool; the image, and the key that imgtool made.
fn signed_by_imgtool(dir: &Path, version: &str, extra: &[&str]) -> Vec<u8> {
    std::fs::write(dir.join("payload.bin"), vec![0x5A; 30_001]).unwrap();
    let base = ["sign", "--key", "key.pem", "--version", version, "--header-size", "0x200", "--pad-header"];
    let sizes = ["--align", "4", "--slot-size", "0x20000"];
    let files = ["payload.bin", "signed.bin"];
    let output = imgtool(dir, &[&base[..], &sizes, extra, &files].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(dir.join("signed.bin")).unwrap()
}

#[test]
fn what_imgtool_signs_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let made = imgtool(dir.path(), &["keygen", "--key", "key.pem", "--type", "ed25519"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = sprag_cli::key::read_public(&dir.path().join("key.pem")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let old = signed_by_imgtool(dir.path(), "1.0.0", &[]);
    for (version, extra) in [
        ("1.1.0", &[][..]),
        ("1.1.0+7", &["--security-counter", "auto"]),
        ("2.0.0", &["--dependencies", "(1, 1.2.3+4)", "--load-addr", "0x8000000"]),
    ] {
        let new = signed_by_imgtool(dir.path(), version, extra);
        let end = runtime.block_on(install(&old, new.clone(), key));
        let End::Updated(updated) = end else { panic!("{version}: {end:?}") };
        assert_eq!(updated.to_string(), version);
    }
}

async fn install(old: &[u8], new: Vec<u8>, key: [u8; 32]) -> End {
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

/// What the test kit signs is, byte for byte, what imgtool makes of the same payload and key, and passes its check.
#[test]
fn what_the_test_kit_signs_is_imgtools() {
    let dir = tempfile::tempdir().unwrap();
    let made = imgtool(dir.path(), &["keygen", "--key", "key.pem", "--type", "ed25519"]);
    assert!(made.status.success());
    let pem = std::fs::read_to_string(dir.path().join("key.pem")).unwrap();
    let key = SigningKey::from_pkcs8_pem(&pem).unwrap();
    let theirs = signed_by_imgtool(dir.path(), "1.2.3+4", &[]);
    let version = Version { major: 1, minor: 2, revision: 3, build: 4 };
    let ours = McuBootImage { version, header_size: 0x200, payload: &[0x5A; 30_001] }.sign(&key);
    assert!(ours == theirs, "the images differ");

    std::fs::write(dir.path().join("ours.bin"), &ours).unwrap();
    let verified = imgtool(dir.path(), &["verify", "--key", "key.pem", "ours.bin"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let mut flipped = ours;
    flipped[700] ^= 1;
    std::fs::write(dir.path().join("ours.bin"), &flipped).unwrap();
    assert!(!imgtool(dir.path(), &["verify", "--key", "key.pem", "ours.bin"]).status.success());
}

/// What is staged ends, byte for byte, like what imgtool pads for the same alignment and erased value. Only `swap_info`
/// differs, which imgtool leaves erased.
#[test]
fn what_is_staged_is_what_imgtool_pads() {
    use sprag::boot::{BootControl, Layout, McuBoot, Swap};
    const SLOT: u32 = 0x2_0000;
    let dir = tempfile::tempdir().unwrap();
    let made = imgtool(dir.path(), &["keygen", "--key", "key.pem", "--type", "ed25519"]);
    assert!(made.status.success());
    std::fs::write(dir.path().join("payload.bin"), [0x5A; 1000]).unwrap();
    for align in [1u32, 2, 4, 8, 16, 32] {
        for (erased, swap) in [0xFF, 0x00].map(|e| [(e, Swap::Test), (e, Swap::Permanent)]).into_iter().flatten() {
            let (align_text, max_align) = (align.to_string(), align.max(8).to_string());
            if swap == Swap::Test && align != 8 {
                continue; // The same without image_ok: once is enough.
            }
            let erased_text = if erased == 0 { "0" } else { "0xff" };
            let mut arguments = vec!["sign", "--key", "key.pem", "--version", "1.0.0", "--header-size", "0x20"];
            arguments.extend(["--pad-header", "--slot-size", "0x20000", "--align", &align_text]);
            arguments.extend(["--max-align", &max_align, "--erased-val", erased_text, "--pad"]);
            if swap == Swap::Permanent {
                arguments.push("--confirm");
            }
            let signed = imgtool(dir.path(), &[&arguments[..], &["payload.bin", "padded.bin"]].concat());
            assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
            let mut theirs = std::fs::read(dir.path().join("padded.bin")).unwrap();
            assert_eq!(theirs.len(), SLOT as usize);

            let flash =
                SimFlash::in_memory(Geometry { capacity: 2 * SLOT, write_size: align, erase_size: 4096, erased });
            let [primary, secondary] = [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)];
            let mut boot = McuBoot::new(primary, secondary.clone(), Layout::new(SLOT, align, 4096, erased));
            embassy_futures::block_on(boot.stage(swap)).unwrap();
            let ours = secondary.contents();
            let cell = align.max(8) as usize;
            let fields = 4 * cell + align.max(16) as usize;
            let swap_info = theirs.len()
                - match cell {
                    8 => 40,
                    16 => 64,
                    _ => 128,
                };
            assert_eq!(theirs[swap_info], erased);
            theirs[swap_info] = if swap == Swap::Test { 2 } else { 3 };
            let from = theirs.len() - fields;
            assert_eq!(ours[from..], theirs[from..], "align {align}, erased {erased:#x}, {swap:?}");
        }
    }
}
