//! `cargo xtask build`: the firmware of every board, linked for its chip, looked at, and made into what is flashed.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use object::elf::{EM_ARM, EM_RISCV, FileHeader32, Machine, PT_LOAD};
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{Endianness, Object};

use crate::esp_idf;
use crate::toolchain::{self, BareMetal};
use crate::workspace::{Workspace, finish};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The board to build for
    #[arg(long, value_enum, default_value_t = Board::All)]
    board: Board,
    /// Build with the release profile
    #[arg(long)]
    release: bool,
    /// The private key that images are signed with, in PEM; without, a development key is made in target/firmware
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Board {
    Esp32,
    Psoc6,
    Stm32,
    All,
}

/// One build of a board's firmware.
struct Firmware {
    board: Board,
    /// Tells it from the board's others; the folder in target/firmware.
    name: &'static str,
    /// Where its `Cargo.toml` and `.cargo/config.toml` are.
    folder: &'static str,
    target: &'static str,
    features: &'static str,
    programs: &'static [Program],
}

/// A program of a firmware on a Cortex-M, and where it must lie: its vector table is the first of it.
struct Program {
    binary: &'static str,
    /// The flash that is its own: nothing of it may lie anywhere else.
    flash: Range<u64>,
    /// The RAM that it starts with its stack in.
    ram: Range<u64>,
    image: Image,
}

/// What is made of a program beside its ELF file.
enum Image {
    /// Its bytes.
    Binary,
    /// Its bytes, and the signature over them that a job's document carries.
    Raw,
    /// Its bytes, signed for MCUboot.
    McuBoot {
        header: u64,
        /// What the bootloader leaves of the slot for an image, in bytes.
        room: u64,
        align: u32,
    },
}

const FIRMWARE: &[Firmware] = &[
    Firmware {
        board: Board::Stm32,
        name: "nucleo-f429zi",
        folder: "boards/stm32/firmware",
        target: "thumbv7em-none-eabihf",
        features: "nucleo-f429zi,embassy-boot",
        programs: &[
            Program {
                binary: "bootloader",
                flash: 0x0800_0000..0x0800_8000,
                ram: 0x2000_0000..0x2003_0000,
                image: Image::Binary,
            },
            Program {
                binary: "device",
                flash: 0x0802_0000..0x080E_0000,
                ram: 0x2000_0000..0x2003_0000,
                image: Image::Raw,
            },
        ],
    },
    Firmware {
        board: Board::Stm32,
        name: "nucleo-h563zi",
        folder: "boards/stm32/firmware",
        target: "thumbv8m.main-none-eabihf",
        features: "nucleo-h563zi,mcuboot",
        programs: &[Program {
            binary: "device",
            flash: 0x0801_0400..0x0810_0000,
            ram: 0x2000_0000..0x200A_0000,
            // 120 sectors of 8 KiB, less one for the trailer and one for the swap by offset.
            image: Image::McuBoot { header: 0x400, room: 118 * 0x2000, align: 16 },
        }],
    },
    Firmware {
        board: Board::Psoc6,
        name: "psoc6-w5500",
        folder: "boards/psoc6/firmware",
        target: "thumbv7em-none-eabihf",
        features: "",
        programs: &[Program {
            binary: "sprag-psoc6-firmware",
            // The primary slot up to the sector that it shares with the one for updates: nothing runs from there.
            flash: 0x1002_8400..0x1010_0000,
            ram: 0x0802_0000..0x080F_F800,
            // Up to that sector, less eight rows.
            image: Image::McuBoot { header: 0x400, room: 0xD_7000, align: 8 },
        }],
    },
];

/// What a board crate has for chips that no firmware here is for: compiled, no more.
struct Driver {
    board: Board,
    package: &'static str,
    features: &'static str,
    target: &'static str,
}

const DRIVERS: &[Driver] = &[
    Driver {
        board: Board::Stm32,
        package: "sprag-stm32",
        features: "defmt,l4,embassy-stm32/stm32l476rg",
        target: "thumbv7em-none-eabihf",
    },
    Driver {
        board: Board::Stm32,
        package: "sprag-stm32",
        features: "defmt,g0,embassy-stm32/stm32g0b1re",
        target: "thumbv6m-none-eabi",
    },
    Driver {
        board: Board::Stm32,
        package: "sprag-stm32",
        features: "defmt,h7,embassy-stm32/stm32h743zi",
        target: "thumbv7em-none-eabihf",
    },
    Driver {
        board: Board::Stm32,
        package: "sprag-stm32",
        features: "defmt,u5,embassy-stm32/stm32u575zi",
        target: "thumbv8m.main-none-eabihf",
    },
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find();
    for driver in DRIVERS.iter().filter(|row| args.board == Board::All || args.board == row.board) {
        let Driver { package, features, target, .. } = driver;
        let found = BareMetal::find_or_install(&workspace, target).with_context(|| toolchain::none_for(target))?;
        println!("{package} with {features}, {target}: {found}");
        let mut command = found.cargo(&workspace, "check");
        command.args(["--locked", "--quiet", "--package", package, "--features", features]);
        finish(release(&mut command, args))?;
    }
    for firmware in FIRMWARE.iter().filter(|row| args.board == Board::All || args.board == row.board) {
        build(&workspace, firmware, args)?;
    }
    if matches!(args.board, Board::All | Board::Esp32) {
        esp_idf::APPS.iter().try_for_each(|app| app.build(&workspace, args))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Links the firmware of the NUCLEO-H563ZI with the release profile, and returns its ELF file.
pub(crate) fn h563(workspace: &Workspace) -> Result<Vec<u8>> {
    let name = "nucleo-h563zi";
    let firmware = FIRMWARE.iter().find(|firmware| firmware.name == name).context("no such firmware")?;
    let args = Args::release();
    let (found, _) = args.link(workspace, (name, firmware.folder), firmware.target, firmware.features)?;
    args.elf(workspace, &found, "device")
}

impl Args {
    /// Every board, with the release profile and a development key.
    pub(crate) fn release() -> Self {
        Self { board: Board::All, release: true, key: None }
    }

    /// Links the firmware in a folder for a chip. The toolchain that did it, and where to put what is made of it: a folder
    /// by this name.
    pub(crate) fn link(
        &self,
        workspace: &Workspace,
        (name, folder): (&str, &str),
        target: &str,
        features: &str,
    ) -> Result<(BareMetal, PathBuf)> {
        let found = BareMetal::find_or_install(workspace, target).with_context(|| toolchain::none_for(target))?;
        println!("{name}, {target}: {found}");
        let mut command = found.cargo(workspace, "build");
        // Cargo looks for settings, size-saving flags among them, from the folder that it runs in.
        command.current_dir(workspace.root.join(folder)).args(["--locked", "--quiet", "--features", features]);
        finish(release(&mut command, self))?;
        let out = workspace.target.join("firmware").join(name);
        fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
        Ok((found, out))
    }

    /// The ELF file of a program that was linked.
    pub(crate) fn elf(&self, workspace: &Workspace, found: &BareMetal, program: &str) -> Result<Vec<u8>> {
        let elf = found.program(workspace, self.release, program);
        fs::read(&elf).with_context(|| format!("{}", elf.display()))
    }

    /// Signs a file, in a format that is to be said yet.
    fn sign(&self, workspace: &Workspace, file: &Path, signed: &Path) -> Result<Command> {
        let mut sign = sprag(workspace);
        sign.args(["image", "sign"]).arg(file).arg("--output").arg(signed).arg("--key");
        sign.arg(match &self.key {
            Some(key) => std::path::absolute(key)?,
            None => development_key(workspace)?,
        });
        sign.stdout(Stdio::null());
        Ok(sign)
    }

    /// The signature over a file, for the job to carry.
    pub(crate) fn sign_raw(&self, workspace: &Workspace, file: &Path, signature: &Path) -> Result<()> {
        finish(self.sign(workspace, file, signature)?.args(["--format", "raw"]))?;
        println!("    {}: what the job's document has to say of it", shown(workspace, signature));
        Ok(())
    }
}

fn build(workspace: &Workspace, firmware: &Firmware, args: &Args) -> Result<()> {
    let Firmware { name, folder, target, features, programs, .. } = firmware;
    let (found, out) = args.link(workspace, (name, folder), target, features)?;
    for program in *programs {
        let bytes = args.elf(workspace, &found, program.binary)?;
        let file = out.join(program.binary);
        let placed = place(&bytes, machine(target)?, program).with_context(|| format!("{name}: {}", program.binary))?;
        fs::write(file.with_extension("elf"), &bytes)?;
        let binary = file.with_extension("bin");
        fs::write(&binary, &placed)?;
        say(workspace, &binary, placed.len() as u64, program.flash.end - program.flash.start);
        let signed = match program.image {
            Image::Binary => continue,
            Image::Raw => file.with_extension("bin.sig"),
            Image::McuBoot { .. } => file.with_extension("signed.bin"),
        };
        if let Image::McuBoot { header, align, room } = program.image {
            let mut sign = args.sign(workspace, &binary, &signed)?;
            let version = version(workspace, folder)?;
            sign.args(["--format", "mcuboot", "--pad-header", "--version", &version]);
            sign.args(["--header-size", &header.to_string(), "--align", &align.to_string()]);
            finish(&mut sign)?;
            let size = fs::metadata(&signed)?.len();
            ensure!(
                size <= room,
                "{name}: the signed image has {size} bytes, its slot takes {room} beside the trailer"
            );
            say(workspace, &signed, size, room);
        } else {
            args.sign_raw(workspace, &binary, &signed)?;
        }
    }
    Ok(())
}

fn release<'c>(command: &'c mut Command, args: &Args) -> &'c mut Command {
    if args.release { command.arg("--release") } else { command }
}

pub(crate) fn say(workspace: &Workspace, file: &Path, size: u64, room: u64) {
    println!("    {}: {size} bytes, {} % of its room", shown(workspace, file), size * 100 / room);
}

fn shown<'p>(workspace: &Workspace, file: &'p Path) -> std::path::Display<'p> {
    file.strip_prefix(&workspace.root).unwrap_or(file).display()
}

fn machine(target: &str) -> Result<Machine> {
    Ok(match target.split('-').next() {
        Some(arm) if arm.starts_with("thumb") => EM_ARM,
        Some(riscv) if riscv.starts_with("riscv") => EM_RISCV,
        _ => bail!("what machine is {target}?"),
    })
}

/// An ELF file for this machine.
pub(crate) fn read_elf(bytes: &[u8], machine: Machine) -> Result<ElfFile<'_, FileHeader32<Endianness>>> {
    let file = ElfFile::<FileHeader32<Endianness>>::parse(bytes)?;
    let actual = file.elf_header().e_machine(file.endian());
    ensure!(actual == machine, "built for machine {}, not {}", actual.0, machine.0);
    Ok(file)
}

/// The bytes that go to the flash, from its first one on; an error where one of them, or what the core starts with, does
/// not lie where it must.
fn place(elf: &[u8], machine: Machine, program: &Program) -> Result<Vec<u8>> {
    let Program { flash, ram, .. } = program;
    let file = read_elf(elf, machine)?;
    let endian = file.endian();
    let mut placed = Vec::new();
    let mut pieces: Vec<(u64, &[u8])> = Vec::new();
    for segment in file.elf_program_headers() {
        let (kind, at) = (segment.p_type(endian), u64::from(segment.p_paddr(endian)));
        let bytes = segment.data(endian, elf).ok().context("a segment is not in the file")?;
        if kind == PT_LOAD && !bytes.is_empty() {
            let end = at + bytes.len() as u64;
            ensure!(
                flash.start <= at && end <= flash.end,
                "{at:#010x}..{end:#010x} is not in its flash, {:#010x}..{:#010x}",
                flash.start,
                flash.end
            );
            pieces.push((at, bytes));
        }
    }
    pieces.sort_by_key(|(at, _)| *at);
    for (at, bytes) in pieces {
        let from = usize::try_from(at - flash.start)?;
        ensure!(placed.len() <= from, "two segments lie at {at:#010x}");
        placed.resize(from, 0xFF);
        placed.extend_from_slice(bytes);
    }
    let word = |index: usize| {
        let bytes = placed.get(4 * index..4 * index + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).map(u64::from).context("there is no vector table at the start of its flash")
    };
    let (stack, reset) = (word(0)?, word(1)?);
    ensure!(ram.start < stack && stack <= ram.end, "the stack begins at {stack:#010x}, not in RAM");
    ensure!(reset == file.entry(), "the reset vector, {reset:#010x}, is not the entry, {:#010x}", file.entry());
    let code = flash.start..flash.start + placed.len() as u64;
    ensure!(reset & 1 == 1 && code.contains(&reset), "the reset vector, {reset:#010x}, is no code of its own");
    Ok(placed)
}

/// A key for desks, made once and kept.
fn development_key(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("firmware");
    let key = folder.join("development.pem");
    if !key.is_file() {
        let mut keygen = sprag(workspace);
        keygen.args(["keygen", "--output"]).arg(&key).arg("--public").arg(folder.join("development.pub.pem"));
        finish(keygen.stdout(Stdio::null()))?;
        println!("    {}: a development key, not for the field", shown(workspace, &key));
    }
    Ok(key)
}

/// The desk's program, from this workspace.
pub(crate) fn sprag(workspace: &Workspace) -> Command {
    workspace.cargo_step(&["run", "--quiet", "--package", "sprag-cli", "--bin", "sprag", "--"])
}

/// The version in a firmware's manifest.
pub(crate) fn version(workspace: &Workspace, folder: &str) -> Result<String> {
    let file = workspace.root.join(folder).join("Cargo.toml");
    let manifest = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(version.with_context(|| format!("{} has no version", file.display()))?.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const FLASH: u64 = 0x0801_0000;

    fn program() -> Program {
        Program { binary: "x", flash: FLASH..FLASH + 0x100, ram: 0x2000_0000..0x2000_8000, image: Image::Binary }
    }

    /// An ELF file for a 32-bit machine with these segments.
    pub(crate) fn elf(machine: Machine, entry: u32, segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x01\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2u16.to_le_bytes(), machine.0.to_le_bytes()].concat());
        // Version, entry, program headers, section headers, flags.
        file.extend([1, entry, 52, 0, 0].map(u32::to_le_bytes).concat());
        // Sizes and counts of headers.
        file.extend([52, 32, segments.len() as u16, 40, 0, 0].map(u16::to_le_bytes).concat());
        let mut data = 52 + 32 * segments.len() as u32;
        for (at, bytes) in segments {
            let (at, size) = (*at as u32, bytes.len() as u32);
            file.extend([PT_LOAD.0, data, at, at, size, size, 5, 4].map(u32::to_le_bytes).concat());
            data += size;
        }
        segments.iter().for_each(|(_, bytes)| file.extend(*bytes));
        file
    }

    fn vectors(stack: u32, reset: u32) -> Vec<u8> {
        [stack, reset, 0, 0].map(u32::to_le_bytes).concat()
    }

    fn refusal(elf: &[u8]) -> String {
        format!("{:#}", place(elf, EM_ARM, &program()).expect_err("a bad firmware"))
    }

    #[test]
    fn the_bytes_of_a_program_with_a_gap_and_its_pieces_out_of_order() {
        let vectors = vectors(0x2000_8000, 0x0801_0021);
        let file = elf(EM_ARM, 0x0801_0021, &[(FLASH + 0x20, &[1, 2, 3]), (FLASH, &vectors)]);
        let placed = place(&file, EM_ARM, &program()).unwrap();
        assert_eq!(placed, [&vectors[..], &[0xFF; 16], &[1, 2, 3]].concat());
    }

    #[test]
    fn what_does_not_lie_where_it_must() {
        let (good, reset) = (vectors(0x2000_8000, 0x0801_0009), 0x0801_0009);
        assert!(refusal(&elf(EM_RISCV, reset, &[(FLASH, &good)])).contains("machine 243, not 40"));
        assert!(
            refusal(&elf(EM_ARM, reset, &[(FLASH - 4, &good)])).contains("0x0800fffc..0x0801000c is not in its flash")
        );
        assert!(
            refusal(&elf(EM_ARM, reset, &[(FLASH, &good), (FLASH + 0xFF, &[0; 2])])).contains("is not in its flash")
        );
        assert!(refusal(&elf(EM_ARM, reset, &[(FLASH, &good), (FLASH + 15, &[0])])).contains("two segments"));
        assert!(refusal(&elf(EM_ARM, reset, &[(FLASH + 4, &good)])).contains("not in RAM"));
        assert!(refusal(&elf(EM_ARM, reset, &[(FLASH, &good[..6])])).contains("no vector table"));
        assert!(refusal(&elf(EM_ARM, reset, &[(FLASH, &vectors(0x2000_8004, reset))])).contains("not in RAM"));
        assert!(refusal(&elf(EM_ARM, reset + 2, &[(FLASH, &good)])).contains("is not the entry"));
        for elsewhere in [0x0801_0008, 0x0802_0009] {
            let file = elf(EM_ARM, elsewhere, &[(FLASH, &vectors(0x2000_8000, elsewhere))]);
            assert!(refusal(&file).contains("no code of its own"));
        }
    }

    #[test]
    fn every_row_is_a_firmware_of_this_workspace() {
        let workspace = Workspace::find();
        for row in FIRMWARE {
            assert!(machine(row.target).is_ok() && version(&workspace, row.folder).is_ok(), "{}", row.name);
            for program in row.programs {
                if let Image::McuBoot { room, .. } = program.image {
                    assert!(room < program.flash.end - program.flash.start, "{}", row.name);
                }
            }
        }
    }
}
