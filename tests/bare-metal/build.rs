//! The chip's memory for the linker, and the documents to measure with: what fuzzing starts from.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// QEMU's mps2-an385: 4 MiB of code memory, 4 MiB of RAM.
const MEMORY: &str = "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 4M RAM : ORIGIN = 0x20000000, LENGTH = 4M }\n";

fn main() {
    if env::var_os("CARGO_FEATURE_STACK").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    fs::write(out.join("memory.x"), MEMORY).expect("the folder can be written");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bin=stack=-Tlink.x");

    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/job");
    println!("cargo::rerun-if-changed={}", seeds.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&seeds).expect("seeds").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let items: String = files.iter().map(|file| format!("include_bytes!({file:?}),\n")).collect();
    fs::write(out.join("documents.rs"), format!("&[{items}]")).expect("the folder can be written");
}
