//! `cargo xtask panics`: which panicking paths the linked code of layers 0 to 2 has.
//!
//! A program with all of it is linked so that no two functions become one, and its calls are followed backwards from
//! `core::panicking`: through the standard library's own functions to the first that are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::ExitCode;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use anyhow::{Context, Result, bail};
use object::elf::FileHeader32;
use object::read::elf::ElfFile;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::toolchain::{self, BareMetal};
use crate::workspace::Workspace;

const TARGET: &str = "thumbv7em-none-eabihf";

/// What `tests/bare-metal` is to hold: layers 0 to 2, and a handler that keeps panics apart.
const FEATURES: &str = "panics,job-iotconnect-21,job-iotconnect-20,job-aws-jobs,job-afr-ota,job-ota-update,\
    job-iotconnect-conversation,job-aws-conversation,job-display,fetch,flash,verify-mcuboot,verify-esp-idf,verify-raw,\
    boot-mcuboot,boot-xip,boot-cypress,boot-esp-idf,boot-embassy,update,key-elsewhere,mqtt";

/// Functions stay apart, and calls direct: no folding of equal ones, no outlining of equal pieces.
const FLAGS: &str = "-Clink-arg=--icf=none -Cllvm-args=-enable-machine-outliner=never";

/// The standard library's word for a future that is polled after its end. The compiler puts it into every `async fn`, and no
/// caller that uses `await` gets there.
const RESUMED: &str = "panic_const_async_fn_resumed";

pub(crate) fn run() -> Result<ExitCode> {
    println!("{}", find(&Workspace::find())?);
    Ok(ExitCode::SUCCESS)
}

/// Prints what is found and returns a line for the summary; a path of our own is an error.
pub(crate) fn find(workspace: &Workspace) -> Result<String> {
    let found = BareMetal::find_or_install(workspace, TARGET).with_context(|| toolchain::none_for(TARGET))?;
    let path = found.measured(workspace, "size", FEATURES, |build| {
        build.env("RUSTFLAGS", FLAGS).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
    })?;
    let bytes = fs::read(path)?;
    let program = Program::read(&bytes)?;
    let (mut resumed, mut paths) = (0, BTreeMap::<(String, String), usize>::new());
    for (at, callee) in program.panics() {
        if callee.contains(RESUMED) {
            resumed += 1;
        } else {
            *paths.entry((program.place(at)?, callee)).or_default() += 1;
        }
    }
    println!("| where | what | calls |\n|---|---|---:|");
    for ((place, callee), calls) in &paths {
        println!("| {place} | `{callee}` | {calls} |");
    }
    println!("| in `async fn`s, by the compiler | `core::panicking::panic_const::{RESUMED}` | {resumed} |\n");
    if resumed == 0 {
        bail!("not one panicking path was found, not even those that every `async fn` has: the search is broken");
    }
    match paths.len() {
        0 => Ok(format!("none, but for {resumed} futures polled after their end")),
        count => bail!("{count} panicking paths on layers 0 to 2"),
    }
}

/// A linked program: its functions, its code, and where that comes from.
struct Program<'a> {
    /// By their first byte: their last but one, and their name.
    functions: BTreeMap<u32, (u32, String)>,
    code: &'a [u8],
    start: u32,
    lines: addr2line::Context<EndianSlice<'a, LittleEndian>>,
}

impl<'a> Program<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let file = ElfFile::<FileHeader32<Endianness>>::parse(bytes)?;
        let text = file.section_by_name(".text").context("no code")?;
        let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
        let functions = functions.map(|symbol| {
            // The lowest bit says Thumb.
            let start = symbol.address() as u32 & !1;
            let name = format!("{:#}", rustc_demangle::demangle(symbol.name().unwrap_or_default()));
            (start, (start + symbol.size() as u32, name))
        });
        let section = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
            let data = file.section_by_name(id.name()).and_then(|section| section.data().ok());
            Ok(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
        };
        Ok(Self {
            functions: functions.collect(),
            code: text.data()?,
            start: text.address() as u32,
            lines: addr2line::Context::from_dwarf(Dwarf::load(section)?)?,
        })
    }

    /// The name of the function around an address.
    fn function(&self, at: u32) -> Option<(u32, &str)> {
        let (start, (end, name)) = self.functions.range(..=at).next_back()?;
        (at < *end).then_some((*start, name.as_str()))
    }

    /// The calls from outside the standard library that lead to a panic: where, and what is called.
    fn panics(&self) -> Vec<(u32, String)> {
        let calls = calls(self.code, self.start);
        // The handler itself may be part of them by now.
        let panics = self.functions.iter().filter(|(_, (_, name))| name.starts_with("core::panicking::"));
        let mut lead_there: BTreeSet<u32> = panics.map(|(start, _)| *start).collect();
        loop {
            let more: BTreeSet<u32> = calls
                .iter()
                .filter(|(_, to)| lead_there.contains(to))
                .filter_map(|(from, _)| self.function(*from))
                .filter(|(start, name)| is_standard(name) && !lead_there.contains(start))
                .map(|(start, _)| start)
                .collect();
            if more.is_empty() {
                break;
            }
            lead_there.extend(more);
        }
        let outside = calls.iter().filter(|(_, to)| lead_there.contains(to));
        let outside = outside.filter(|(from, _)| self.function(*from).is_some_and(|(_, name)| !is_standard(name)));
        outside.map(|(from, to)| (*from, self.function(*to).map_or("?", |(_, name)| name).to_owned())).collect()
    }

    /// The line of this workspace, or of whatever crate it is, that an instruction comes from.
    fn place(&self, at: u32) -> Result<String> {
        let mut frames = self.lines.find_frames(at.into()).skip_all_loads()?;
        let mut place = String::from("?");
        while let Some(frame) = frames.next()? {
            let Some((file, line)) = frame.location.and_then(|location| location.file.zip(location.line)) else {
                continue;
            };
            if file.contains("/library/core/") {
                continue;
            }
            // From the crate's folder on.
            let folders: Vec<&str> = file.split('/').collect();
            let source = folders.iter().rposition(|folder| *folder == "src").unwrap_or(0);
            place = format!("{}:{line}", folders.get(source.saturating_sub(1)..).unwrap_or_default().join("/"));
            break;
        }
        Ok(place)
    }
}

fn is_standard(name: &str) -> bool {
    let name = name.trim_start_matches(['<', '&', '[']);
    ["core::", "alloc::", "compiler_builtins::", "__rustc", "rust_begin_unwind", "u8", "str"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The direct calls and jumps in Thumb-2 code: from where, to where.
///
/// Source: ARMv7-M Architecture Reference Manual (DDI 0403), A7.7.12 (B, encodings T3 and T4) and A7.7.18 (BL).
fn calls(code: &[u8], start: u32) -> Vec<(u32, u32)> {
    let half = |at: usize| Some(u32::from(u16::from_le_bytes([*code.get(at)?, *code.get(at + 1)?])));
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(first) = half(at) {
        if first >> 11 < 0b11101 {
            at += 2;
            continue;
        }
        let Some(second) = half(at + 2) else { break };
        let from = start + at as u32;
        at += 4;
        if first >> 11 != 0b11110 || second >> 15 != 1 {
            continue;
        }
        let (sign, j1, j2, low) = (first >> 10 & 1, second >> 13 & 1, second >> 11 & 1, second & 0x7FF);
        let offset = if second & 0x1000 != 0 {
            // Two bits of the offset are stored as their difference from the sign.
            let (i1, i2) = (!(j1 ^ sign) & 1, !(j2 ^ sign) & 1);
            sign_extend(sign << 24 | i1 << 23 | i2 << 22 | (first & 0x3FF) << 12 | low << 1, 25)
        } else if second & 0x4000 == 0 && first >> 7 & 7 != 7 {
            sign_extend(sign << 20 | j2 << 19 | j1 << 18 | (first & 0x3F) << 12 | low << 1, 21)
        } else {
            continue;
        };
        found.push((from, from.wrapping_add(4).wrapping_add(offset)));
    }
    found
}

fn sign_extend(value: u32, bits: u32) -> u32 {
    ((value << (32 - bits)) as i32 >> (32 - bits)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an assembler makes them: `bl` forwards and backwards, `b.w`, `beq.w`; and what are no calls.
    #[test]
    fn calls_and_jumps_are_found_between_other_instructions() {
        let code: [u16; 12] = [
            0xBF00, // nop
            0xF000, 0xF802, // bl +4
            0xF7FF, 0xFFFB, // bl -10
            0xF000, 0xB801, // b.w +2
            0xF000, 0x8001, // beq.w +2
            0xF3AF, 0x8000, // nop.w
            0xBF00,
        ];
        let bytes: Vec<u8> = code.iter().flat_map(|half| half.to_le_bytes()).collect();
        let found = calls(&bytes, 0x1000);
        assert_eq!(found, [(0x1002, 0x100A), (0x1006, 0x1000), (0x100A, 0x1010), (0x100E, 0x1014)]);
    }

    #[test]
    fn the_standard_librarys_functions_are_told_from_ours() {
        assert!(is_standard("core::slice::index::slice_index_fail"));
        assert!(is_standard("<core::net::parser::Parser>::read_ipv4_addr"));
        assert!(!is_standard("sprag_fetch::url::parse"));
        assert!(!is_standard("<sprag_flash::slot::Core>::step"));
    }
}
