//! otadata entries as an independent program computes them: Python's `struct` and `binascii`.

use std::process::Command;

use embassy_futures::block_on;
use sprag::boot::esp_idf::{App, Table};
use sprag::boot::{BootControl, EspIdf, Swap};
use sprag_testkit::flash::{FlashGeometry, SimFlash};

const NEW: u32 = 0;
const VALID: u32 = 2;

/// Entries of these numbers and states, in the order given.
fn by_python(entries: &[(u32, u32)]) -> Vec<Vec<u8>> {
    const PROGRAM: &str = "
import binascii, struct, sys
for pair in sys.argv[1:]:
    seq, state = map(int, pair.split(','))
    number = struct.pack('<I', seq)
    print((number + b'\\xff' * 20 + struct.pack('<II', state, binascii.crc32(number, 0xFFFFFFFF))).hex())
";
    let pairs = entries.iter().map(|(seq, state)| format!("{seq},{state}"));
    let output = Command::new("python3").args(["-c", PROGRAM]).args(pairs).output();
    let output = output.expect("python3 is needed: `cargo xtask test --step setup` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let byte = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

#[test]
fn entries_are_those_that_python_computes() {
    const SLOTS: u32 = 3;
    // The running app's number, and the next one's. From the end they begin anew.
    let numbers: Vec<(u32, u32)> =
        [1, 2, 3, 255, 65_535, 1 << 24, 0x7FFF_FFFF, u32::MAX - 3].iter().map(|seq| (*seq, seq + 1)).collect();
    let asked: Vec<(u32, u32)> =
        numbers.iter().flat_map(|(own, next)| [(*own, VALID), (*next, NEW), (*next, VALID)]).collect();
    let entries = by_python(&asked);
    assert_eq!(entries.len(), asked.len());

    let capacity = 0x2_0000;
    let flash = SimFlash::in_memory(capacity, FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF });
    let row = |kind: u8, subtype: u8, offset: u32, size: u32| {
        let mut row = vec![0xAA, 0x50, kind, subtype];
        row.extend(offset.to_le_bytes().into_iter().chain(size.to_le_bytes()).chain([0; 20]));
        row
    };
    let slots = (0..SLOTS).flat_map(|n| row(0, 0x10 + n as u8, 0x1_0000 + n * 4096, 4096));
    flash.load(Table::OFFSET, &row(1, 0, 0xD000, 0x2000).into_iter().chain(slots).collect::<Vec<_>>()).unwrap();
    let whole = flash.region(0..capacity);
    let table = block_on(Table::read(&mut whole.clone(), Table::OFFSET)).unwrap();
    let entry = |at: usize| flash.contents()[at..at + 32].to_vec();
    for ((own, next), expected) in numbers.into_iter().zip(entries.chunks(3)) {
        let app = |seq: u32| App::Ota(((seq - 1) % SLOTS) as u8);
        flash.load(0xD000, &[0xFF; 0x2000]).unwrap();
        flash.load(0xD000, &expected[0]).unwrap();
        let mut boot = EspIdf::new(whole.clone(), table.clone(), app(own)).unwrap();
        for (swap, expected) in [(Swap::Test, &expected[1]), (Swap::Permanent, &expected[2])] {
            block_on(boot.stage(swap)).unwrap();
            assert_eq!(entry(0xE000), *expected, "{own} to {next}");
            block_on(boot.unstage()).unwrap();
        }
        // On trial, as the bootloader leaves it, and confirmed.
        flash.load(0xE000, &expected[1]).unwrap();
        flash.load(0xE000 + 24, &[1, 0, 0, 0]).unwrap();
        let mut boot = EspIdf::new(whole.clone(), table.clone(), app(next)).unwrap();
        block_on(boot.confirm()).unwrap();
        assert_eq!(entry(0xE000), expected[2]);
        assert_eq!(entry(0xD000), expected[0], "the old one's is untouched");
    }
}
