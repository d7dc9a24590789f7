//! MCUboot's own tool as the judge of images, in both directions.

use std::path::Path;
use std::process::{Command, Output};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use sprag::verify::Key;
use sprag_cli::device::{Device, End, Happening, Settings};
use sprag_cli::layout::Layout;
use sprag_cli::net::HostConnector;
use sprag_cli::s3::{Config, Server};
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
    let key = || sprag_cli::key::read_public(&dir.path().join("key.pem")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let old = signed_by_imgtool(dir.path(), "1.0.0", &[]);
    for (version, extra) in [
        ("1.1.0", &[][..]),
        ("1.1.0+7", &["--security-counter", "auto"]),
        ("2.0.0", &["--dependencies", "(1, 1.2.3+4)", "--load-addr", "0x8000000"]),
    ] {
        let new = signed_by_imgtool(dir.path(), version, extra);
        let end = runtime.block_on(install(&old, new.clone(), key()));
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
