//! What `sprag-boot` stages beside what MCUboot's own tool pads.

use std::path::Path;
use std::process::{Command, Output};

use sprag_testkit::flash::{FlashGeometry, SimFlash};

fn imgtool(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("imgtool").current_dir(dir).args(arguments).output();
    output.expect("imgtool is needed: `cargo xtask test --step setup` installs it")
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

            let flash = SimFlash::in_memory(2 * SLOT, FlashGeometry { write_size: align, erase_size: 4096, erased });
            let [primary, secondary] = [flash.region(0..SLOT), flash.region(SLOT..2 * SLOT)];
            let mut boot = McuBoot::new(
                primary,
                secondary.clone(),
                Layout::new(FlashGeometry { write_size: align, erase_size: 4096, erased }),
            );
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
