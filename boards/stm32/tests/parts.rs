//! The tables of parts against ST's own data, as `stm32-metapac` carries them: read as text, for it compiles one chip.

use std::path::{Path, PathBuf};
use std::process::Command;

use sprag_stm32::{BASE, Ecc, Part};

/// The folder of stm32-metapac's chips, wherever cargo has put it.
fn chips() -> PathBuf {
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let metapac = packages.iter().find(|package| package["name"] == "stm32-metapac").unwrap();
    Path::new(metapac["manifest_path"].as_str().unwrap()).parent().unwrap().join("src/chips")
}

/// The number behind this key, in what comes before the next key of the same name.
fn number(text: &str, key: &str) -> Option<u32> {
    let value = text.split_once(&format!("{key}: "))?.1;
    let value = &value[..value.find(',')?];
    match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => value.parse().ok(),
    }
}

/// A stretch of memory, as the metadata have it.
struct Stretch {
    address: u32,
    size: u32,
    /// Erase size, write size and erased value of flash.
    flash: Option<[u32; 3]>,
}

fn memory(metadata: &str) -> Vec<Stretch> {
    let memory = metadata.split_once("memory: &[&[").unwrap().1.split_once("]],").unwrap().0;
    let stretches = memory.split("MemoryRegion {").skip(1).map(|text| Stretch {
        address: number(text, "address").unwrap(),
        size: number(text, "size").unwrap(),
        flash: number(text, "write_size")
            .map(|write_size| [number(text, "erase_size").unwrap(), write_size, number(text, "erase_value").unwrap()]),
    });
    stretches.collect()
}

#[test]
fn sectors_and_units_of_every_part_are_what_st_says() {
    let chips = chips();
    for part in Part::ALL {
        let metadata = std::fs::read_to_string(chips.join(part.name.to_lowercase()).join("metadata.rs")).unwrap();
        // One-time-programmable and other flash lies elsewhere.
        let flash = |stretch: &&Stretch| stretch.flash.is_some_and(|[erase_size, ..]| erase_size > 0);
        let memory = memory(&metadata);
        let mut end = BASE;
        for Stretch { address, size, flash } in memory.iter().filter(flash) {
            assert_eq!(*address, end, "{}: the flash has a gap", part.name);
            let [erase_size, write_size, erased] = flash.unwrap();
            assert_eq!((part.write_size, u32::from(part.erased)), (write_size, erased), "{}", part.name);
            for sector in (*address..address + size).step_by(erase_size as usize) {
                let start = sector - BASE;
                assert_eq!(part.sector(start), Some(start..start + erase_size), "{}", part.name);
                assert_eq!(part.sector(start + erase_size - 1), Some(start..start + erase_size), "{}", part.name);
            }
            end = address + size;
        }
        assert_eq!(part.size(), end - BASE, "{}", part.name);
        assert_eq!(part.sector(part.size()), None, "{}", part.name);
        // Units wider than a word have an ECC.
        assert_eq!(part.ecc == Ecc::None, part.write_size <= 4, "{}", part.name);
    }
}

#[test]
fn the_ram_of_every_part_is_there() {
    let chips = chips();
    for part in Part::ALL {
        let metadata = std::fs::read_to_string(chips.join(part.name.to_lowercase()).join("metadata.rs")).unwrap();
        let mut ram: Vec<Stretch> = memory(&metadata).into_iter().filter(|stretch| stretch.flash.is_none()).collect();
        ram.sort_by_key(|stretch| stretch.address);
        let mut end = part.ram.origin;
        for Stretch { address, size, .. } in ram {
            if address == end {
                end += size;
            }
        }
        assert!(part.ram.origin + part.ram.size <= end, "{}: {:#x} is not all RAM", part.name, part.ram.origin);
    }
}

#[test]
fn vector_tables_are_aligned_to_their_size() {
    let chips = chips();
    for part in Part::ALL {
        let metadata = std::fs::read_to_string(chips.join(part.name.to_lowercase()).join("metadata.rs")).unwrap();
        let shared = metadata.split_once("include!(\"../").unwrap().1.split_once('"').unwrap().0;
        let shared = std::fs::read_to_string(chips.join(shared)).unwrap();
        let interrupts = shared.split_once("INTERRUPTS: &[Interrupt] = &[").unwrap().1.split_once("];").unwrap().0;
        let last = interrupts.split("number: ").skip(1).map(|text| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().unwrap()
        });
        // 16 of the core's own come before them; the alignment is that of VTOR (ARMv7-M, B3.2.5).
        let vectors = (16 + last.max().unwrap() + 1) * 4;
        assert_eq!(part.vector_align, vectors.next_power_of_two(), "{}", part.name);
    }
}
