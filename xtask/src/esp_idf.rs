//! Firmware for ESP-IDF's bootloader: what its ELF file must be, and the image and the signature that an update is.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use object::Object;
use object::elf::{EM_RISCV, PT_LOAD};
use object::read::elf::ProgramHeader;

use crate::build::{Args, read_elf, say, sprag, version};
use crate::workspace::{Workspace, finish, output};

/// A build of a firmware.
pub(crate) struct App {
    /// Tells it from the others; the folder in target/firmware, and the chip's feature.
    chip: &'static str,
    /// Where its `Cargo.toml` and `.cargo/config.toml` are.
    folder: &'static str,
    target: &'static str,
    /// The chip's memory: what the bootloader maps the flash to, and what it loads from it.
    memory: &'static [Range<u64>],
    partitions: &'static str,
    /// The smallest app partition there, in bytes.
    room: u64,
}

/// As esp-hal's linker files have the memory.
pub(crate) const APPS: &[App] = &[
    App {
        chip: "esp32c3",
        folder: "boards/esp32/firmware",
        target: "riscv32imc-unknown-none-elf",
        memory: &[
            0x3C00_0000..0x3C40_0000,
            0x4200_0000..0x4240_0000,
            0x3FC8_0000..0x3FCE_0000,
            0x4037_C000..0x403E_0000,
            0x5000_0000..0x5000_2000,
        ],
        partitions: "boards/esp32/partitions.csv",
        room: 0x1F_0000,
    },
    App {
        chip: "esp32c6",
        folder: "boards/esp32/firmware",
        target: "riscv32imac-unknown-none-elf",
        memory: &[0x4200_0000..0x4240_0000, 0x4080_0000..0x4088_0000, 0x5000_0000..0x5000_4000],
        partitions: "boards/esp32/partitions.csv",
        room: 0x1F_0000,
    },
];

impl App {
    pub(crate) fn build(&self, workspace: &Workspace, args: &Args) -> Result<()> {
        let (found, out) = args.link(workspace, (self.chip, self.folder), self.target, self.chip)?;
        let (elf, image, signature) = (out.join("device.elf"), out.join("device.bin"), out.join("device.bin.sig"));
        let bytes = args.elf(workspace, &found, "device")?;
        look(&bytes, self.memory).with_context(|| self.chip.to_owned())?;
        fs::write(&elf, bytes)?;

        let mut make = workspace.cargo_step(&["run", "--quiet", "--package", "sprag-esp32-image", "--"]);
        make.arg(&elf).arg("--output").arg(&image);
        make.arg("--partition-table").arg(workspace.root.join(self.partitions));
        finish(make.stdout(Stdio::null()))?;
        self.inspect(workspace, &image)?;
        let size = fs::metadata(&image)?.len();
        ensure!(size <= self.room, "{}: the image has {size} bytes, a slot takes {}", self.chip, self.room);
        say(workspace, &image, size, self.room);

        // ESP-IDF's image has no place for an Ed25519 signature.
        args.sign_raw(workspace, &image, &signature)
    }

    /// What a device will find in the image: the version of the firmware's manifest, and bytes that are right.
    fn inspect(&self, workspace: &Workspace, image: &Path) -> Result<()> {
        let mut inspect = sprag(workspace);
        let said = output(inspect.args(["image", "inspect"]).arg(image))?;
        let version = version(workspace, self.folder)?;
        for line in ["format esp-idf", &format!("version {version}"), "checksum right", "digest right"] {
            ensure!(has_line(&said, line), "{}: of its image it is not said \"{line}\", but:\n{said}", self.chip);
        }
        Ok(())
    }
}

/// Whether a line has these words.
fn has_line(text: &str, words: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().eq(words.split(' ')))
}

/// An error where a byte of it, or the code that it starts with, lies where the chip has no memory.
fn look(elf: &[u8], memory: &[Range<u64>]) -> Result<()> {
    let file = read_elf(elf, EM_RISCV)?;
    let endian = file.endian();
    let mut code = false;
    for segment in file.elf_program_headers() {
        let (from, size) = (u64::from(segment.p_vaddr(endian)), u64::from(segment.p_memsz(endian)));
        if segment.p_type(endian) == PT_LOAD && size > 0 {
            let fits = memory.iter().any(|range| range.start <= from && from + size <= range.end);
            ensure!(fits, "{from:#010x}..{:#010x} is no memory of the chip", from + size);
            code |= (from..from + u64::from(segment.p_filesz(endian))).contains(&file.entry());
        }
    }
    ensure!(code, "the entry, {:#010x}, is no code of its own", file.entry());
    Ok(())
}

#[cfg(test)]
mod tests {
    use object::elf::EM_ARM;

    use super::*;
    use crate::build::tests::elf;

    #[test]
    fn what_does_not_lie_in_the_chip() {
        let memory = APPS[0].memory;
        let (rodata, code) = ((0x3C00_0020, &[0; 8][..]), (0x4038_0000, &[0; 16][..]));
        let refusal = |elf: &[u8]| format!("{:#}", look(elf, memory).expect_err("a bad firmware"));
        look(&elf(EM_RISCV, 0x4038_0004, &[rodata, code]), memory).unwrap();
        assert!(refusal(&elf(EM_ARM, 0x4038_0004, &[rodata, code])).contains("machine 40, not 243"));
        assert!(refusal(&elf(EM_RISCV, 0x4038_0010, &[rodata, code])).contains("no code of its own"));
        let beyond = (0x403D_FFFC, &[0; 8][..]);
        assert!(refusal(&elf(EM_RISCV, 0x4038_0004, &[code, beyond])).contains("0x403dfffc..0x403e0004 is no memory"));
        // The C6's flash is none of the C3's.
        assert!(look(&elf(EM_RISCV, 0x4038_0004, &[rodata, code]), APPS[1].memory).is_err());
    }

    #[test]
    fn lines_by_their_words() {
        let said = "format          esp-idf\nversion         0.1.0\n";
        assert!(has_line(said, "version 0.1.0") && has_line(said, "format esp-idf"));
        assert!(!has_line(said, "version 0.1") && !has_line(said, "digest right"));
    }

    #[test]
    fn every_app_is_one_of_this_workspace_and_fits_its_partitions() {
        let workspace = Workspace::find();
        for app in APPS {
            assert!(version(&workspace, app.folder).is_ok(), "{}", app.chip);
            let table = fs::read_to_string(workspace.root.join(app.partitions)).unwrap();
            let apps = table.lines().filter(|line| line.contains(" app,"));
            let sizes = apps.map(|line| line.rsplit("0x").next().and_then(|size| u64::from_str_radix(size, 16).ok()));
            assert_eq!(sizes.min(), Some(Some(app.room)));
        }
    }
}
