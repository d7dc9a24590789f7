//! The linker's files: where firmware and bootloader lie, from the map that the program has as well.

use std::path::PathBuf;
use std::{env, fs};

use sprag_stm32::Map;

fn main() {
    let has = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    let map = match (has("NUCLEO_F429ZI"), has("MCUBOOT")) {
        (true, true) => Map::F429_MCUBOOT,
        (true, false) => Map::F429_EMBASSY,
        (false, true) => Map::H563_MCUBOOT,
        (false, false) => Map::H563_EMBASSY,
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    for (program, memory) in [("device", map.firmware_x()), ("bootloader", map.bootloader_x())] {
        if program == "bootloader" && !has("EMBASSY_BOOT") {
            continue;
        }
        let folder = out.join(program);
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join("memory.x"), memory.to_string()).expect("the folder can be written");
        // Without pages: else the linker puts its own headers into what is flashed, before a program that starts within one.
        let folder = format!("-L{}", folder.display());
        for argument in ["--nmagic", "-Tlink.x", "-Tdefmt.x", &folder] {
            println!("cargo::rustc-link-arg-bin={program}={argument}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}
