//! `cargo xtask size`: what the crates add to a firmware, from the sections of linked ELF files.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Add, Sub};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, bail};
use object::elf::FileHeader32;
use object::read::elf::ElfFile;
use object::{Endianness, Object, ObjectSection};

use crate::build;
use crate::toolchain::{self, BareMetal};
use crate::workspace::Workspace;

/// A Cortex-M4 and the RISC-V of the ESP32-C3, and the rows that they have beside those of all.
const TARGETS: [(&str, &[Row]); 2] = [("thumbv7em-none-eabihf", &[]), ("riscv32imc-unknown-none-elf", ESP32_C3)];

/// A row of the table, and the features of `tests/bare-metal` that put it into a program.
type Row = (&'static str, &'static str);

const ROWS: &[Row] = &[
    ("sprag-job: `iotconnect-2.1`", "job-iotconnect-21"),
    ("sprag-job: `iotconnect-2.0`", "job-iotconnect-20"),
    ("sprag-job: `aws-jobs`", "job-aws-jobs"),
    ("sprag-job: `afr-ota`", "job-afr-ota"),
    ("sprag-job: `ota-update`", "job-ota-update"),
    ("sprag-job: all dialects", "job-iotconnect-21,job-iotconnect-20,job-aws-jobs,job-afr-ota,job-ota-update"),
    ("sprag-job: `iotconnect-2.1` and its conversation", "job-iotconnect-21,job-iotconnect-conversation"),
    ("sprag-job: `aws-jobs` and the conversation", "job-aws-jobs,job-aws-conversation"),
    (
        "sprag-job: everything, errors as text included",
        "job-iotconnect-21,job-iotconnect-20,job-aws-jobs,job-afr-ota,job-ota-update,job-iotconnect-conversation,\
         job-aws-conversation,job-display",
    ),
    (HTTP, "fetch"),
    ("sprag-fetch: HTTP, minimal profile", "fetch-minimal"),
    (TLS, "fetch-tls"),
    (TLS_P256, "fetch-tls-p256"),
    ("beside it, `edge-http`: HTTP, no resuming", "edge"),
    ("sprag-flash: slot writer and journal", "flash"),
    ("sprag-flash: the journal alone, one `put` and one `get`", "journal"),
    ("beside it, `sequential-storage`: one `store_item` and one `fetch_item`", "sequential-storage"),
    ("sprag-verify: MCUboot images, a key's arithmetic elsewhere", "verify-mcuboot,key-elsewhere"),
    ("sprag-verify: ESP-IDF images, the same", "verify-esp-idf,key-elsewhere"),
    ("sprag-verify: raw images, the same", "verify-raw,key-elsewhere"),
    ("sprag-verify: MCUboot images, `ed25519-dalek`", "verify-mcuboot,key-ed25519-dalek"),
    ("sprag-verify: MCUboot images, `salty`", "verify-mcuboot,key-salty"),
    ("sprag-verify: MCUboot images, `p256`", "verify-mcuboot,key-p256"),
    ("HTTP, TLS 1.3, and MCUboot images with `p256`", "fetch-tls,verify-mcuboot,key-p256"),
    ("HTTP, TLS 1.3, and MCUboot images with the P-256 of TLS", "fetch-tls,verify-mcuboot,key-p256-of-tls"),
    ("sprag-boot: MCUboot's swaps", "boot-mcuboot"),
    ("sprag-boot: MCUboot's direct-XIP", "boot-xip"),
    ("sprag-boot: Infineon's MCUboot", "boot-cypress"),
    ("sprag-boot: ESP-IDF", "boot-esp-idf"),
    ("sprag-boot: embassy-boot", "boot-embassy"),
    (SIX_CRATES, "update,key-elsewhere"),
    (MINIMAL, "update-minimal,key-elsewhere"),
    ("sprag: the same with `salty`", "update,key-salty"),
    ("sprag: the same with `p256`", "update,key-p256"),
    (MQTT_CLIENT, "mqtt"),
    ("beside it, `reqwless` into embassy-boot's updater: no job, no resuming, no verifying, no report", "peer"),
];

/// `esp-hal-ota` reads that chip's registers and calls its ROM: elsewhere it may link, but would not run.
const ESP32_C3: &[Row] = &[(
    "beside it, `esp-hal-ota`, CRC and `memcpy` from ROM: no network, no job, no journal, no signature, no report",
    "esp-hal-ota",
)];

/// As boards have it: SHA-2 in a third of the code. `sha2` 0.11 takes it by `--cfg`; the one that `embedded-tls` has, by a
/// feature.
const COMPACT_SHA2: &str = r#"--cfg sha2_backend="soft" --cfg sha2_backend_soft="compact""#;

/// The limits for `.text` on a Cortex-M4, in bytes: a name, the row, the row that is subtracted from it, and the limit.
const BUDGETS: &[(&str, &str, Option<&str>, u64)] = &[
    ("six crates, every feature of the row", SIX_CRATES, None, 42_000),
    ("six crates, minimal profile", MINIMAL, None, 34_000),
    ("MQTT client", MQTT_CLIENT, None, 15_000),
    ("TLS with P-256 alone, on top of HTTP", TLS_P256, Some(HTTP), 70_000),
    ("TLS with RSA and P-384, on top of HTTP", TLS, Some(HTTP), 95_000),
    ("MQTT client, TCP", MQTT_CLIENT, None, 15_000),
];
/// The limits for the firmware of the NUCLEO-H563ZI, in bytes of flash and of static RAM.
const FIRMWARE_BUDGETS: [(&str, u64); 2] = [("H563 firmware, flash", 290_000), ("H563 firmware, static RAM", 72_000)];

const SIX_CRATES: &str = "sprag: `iotconnect-2.1`, HTTP, MCUboot's swaps, a key's arithmetic elsewhere";
const MINIMAL: &str = "sprag: the same, minimal profile";
const TLS: &str = "sprag-fetch: HTTP and TLS 1.3";
const TLS_P256: &str = "sprag-fetch: HTTP and TLS 1.3, P-256 alone";
const HTTP: &str = "sprag-fetch: HTTP";
const MQTT_CLIENT: &str = "sprag: the MQTT client over TCP, MQTT 3.1.1 and 5";

/// Sizes by target and row.
type Sizes = BTreeMap<(String, String), Sections>;

/// What growth is worth a word.
const TOLERATED_PERCENT: u64 = 2;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make what is measured the baseline
    #[arg(long, conflicts_with = "compare")]
    save: bool,
    /// Say what has changed against the baseline
    #[arg(long)]
    compare: bool,
    /// Measure only the rows whose features contain this text
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["save", "json"])]
    row: Option<String>,
    /// Build the firmware of the NUCLEO-H563ZI as well, and print a JSON object as the last line: the sizes of all rows, and each
    /// budget with its name, `bytes` and `budget`
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Baseline {
    Leave,
    Save,
    Compare,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let baseline = match (args.save, args.compare) {
        (true, _) => Baseline::Save,
        (_, true) => Baseline::Compare,
        _ => Baseline::Leave,
    };
    let workspace = Workspace::find();
    let (note, sizes) = measure_all(&workspace, baseline, args.row.as_deref().unwrap_or_default())?;
    if let Some(grown) = note.strip_prefix("GROWN: ") {
        println!("grown by more than {TOLERATED_PERCENT} %: {grown}");
    }
    if args.json {
        let firmware = of_elf(&build::h563(&workspace)?, Path::new("the firmware of the NUCLEO-H563ZI"))?;
        println!("{}", json(&sizes, firmware)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The sizes of all rows, and how they stand against the budgets, as a JSON object. Names have no character that JSON escapes.
fn json(sizes: &Sizes, firmware: Sections) -> Result<String> {
    let text = |row: &str| {
        let size = sizes.get(&(TARGETS[0].0.to_owned(), row.to_owned()));
        size.map(|size| size.text).with_context(|| format!("no row {row}"))
    };
    let budget =
        |name: &str, bytes: u64, budget: u64| format!(r#"{{"name":"{name}","bytes":{bytes},"budget":{budget}}}"#);
    let mut budgets = Vec::new();
    for (name, row, without, limit) in BUDGETS {
        let bytes = text(row)?.saturating_sub(without.map(text).transpose()?.unwrap_or(0));
        budgets.push(budget(name, bytes, *limit));
    }
    for ((name, limit), bytes) in FIRMWARE_BUDGETS.into_iter().zip([firmware.flash(), firmware.data + firmware.bss]) {
        budgets.push(budget(name, bytes, limit));
    }
    let row = |((target, what), size): (&(String, String), &Sections)| {
        let Sections { text, rodata, data, bss } = size;
        format!(r#"{{"target":"{target}","what":"{what}","text":{text},"rodata":{rodata},"data":{data},"bss":{bss}}}"#)
    };
    let rows: Vec<_> = sizes.iter().map(row).collect();
    Ok(format!(r#"{{"budgets":[{}],"rows":[{}]}}"#, budgets.join(","), rows.join(",")))
}

/// Measures, prints a table for each target and returns what is worth a line in the summary.
pub(crate) fn measure(workspace: &Workspace, baseline: Baseline) -> Result<String> {
    measure_all(workspace, baseline, "").map(|(note, _)| note)
}

/// As [`measure`], for the rows whose features contain `part`; and the size of each by target and name.
fn measure_all(workspace: &Workspace, baseline: Baseline, part: &str) -> Result<(String, Sizes)> {
    let file = workspace.root.join("tests/bare-metal/size.tsv");
    let known = match baseline {
        Baseline::Compare => {
            read(&fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?)?
        }
        _ => BTreeMap::new(),
    };
    let mut targets = Vec::new();
    for (target, own) in TARGETS {
        let found = BareMetal::find_or_install(workspace, target).with_context(|| toolchain::none_for(target))?;
        targets.push((target, found, ROWS.iter().chain(own).filter(|(_, features)| features.contains(part))));
    }
    // Linking such a program keeps one core busy, and each target has a folder of its own: both at a time.
    let sizes: Vec<Result<Vec<Sections>>> = thread::scope(|scope| {
        let sizes_of = |found, rows| scope.spawn(move || sizes(workspace, found, rows));
        let threads: Vec<_> = targets.iter().map(|(_, found, rows)| sizes_of(found, rows.clone())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("it could not be measured"))).collect()
    });

    let (mut saved, mut grown) = (String::from("target\twhat\ttext\trodata\tdata\tbss\n"), Vec::new());
    let mut all = BTreeMap::new();
    for ((target, found, rows), sizes) in targets.into_iter().zip(sizes) {
        println!("{target}, {found}:");
        let changed = if baseline == Baseline::Compare { " change |" } else { "" };
        println!("| what | `.text` | `.rodata` | `.data` | `.bss` |{changed}");
        println!("|---|---:|---:|---:|---:|{}", if changed.is_empty() { "" } else { "---:|" });
        for ((what, _), size) in rows.zip(sizes?) {
            let Sections { text, rodata, data, bss } = size;
            print!("| {what} | {text} | {rodata} | {data} | {bss} |");
            if let Some(before) = known.get(&(target.to_owned(), (*what).to_owned())) {
                let (now, then) = (size.flash(), before.flash());
                print!(" {:+} |", now as i64 - then as i64);
                if now * 100 > then * (100 + TOLERATED_PERCENT) {
                    grown.push(format!("{what} on {target} from {then} to {now}"));
                }
            } else if baseline == Baseline::Compare {
                print!(" new |");
            }
            println!();
            all.insert((target.to_owned(), (*what).to_owned()), size);
            saved += &format!("{target}\t{what}\t{text}\t{rodata}\t{data}\t{bss}\n");
        }
        println!();
    }
    if baseline == Baseline::Save {
        fs::write(&file, saved)?;
    }
    let note = match grown.as_slice() {
        [] => format!("{} programs, none grown by more than {TOLERATED_PERCENT} %", all.len()),
        grown => format!("GROWN: {}", grown.join(", ")),
    };
    Ok((note, all))
}

/// What each of the rows adds to the empty program.
fn sizes(workspace: &Workspace, found: &BareMetal, rows: impl Iterator<Item = &'static Row>) -> Result<Vec<Sections>> {
    let empty = sections(workspace, found, "")?;
    rows.map(|(_, features)| Ok(sections(workspace, found, features)? - empty)).collect()
}

/// The sections of a program that count, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sections {
    text: u64,
    rodata: u64,
    data: u64,
    bss: u64,
}

impl Sections {
    /// What it takes in flash.
    fn flash(self) -> u64 {
        self.text + self.rodata + self.data
    }
}

impl Add for Sections {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            text: self.text + other.text,
            rodata: self.rodata + other.rodata,
            data: self.data + other.data,
            bss: self.bss + other.bss,
        }
    }
}

impl Sub for Sections {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            text: self.text.saturating_sub(other.text),
            rodata: self.rodata.saturating_sub(other.rodata),
            data: self.data.saturating_sub(other.data),
            bss: self.bss.saturating_sub(other.bss),
        }
    }
}

/// Builds the program with these features and reads its sections.
fn sections(workspace: &Workspace, found: &BareMetal, features: &str) -> Result<Sections> {
    let path = found.measured(workspace, "size", features, |build| {
        build.env("RUSTFLAGS", COMPACT_SHA2);
    })?;
    of_elf(&fs::read(&path)?, &path)
}

fn of_elf(bytes: &[u8], path: &Path) -> Result<Sections> {
    let file = ElfFile::<FileHeader32<Endianness>>::parse(bytes).with_context(|| format!("{}", path.display()))?;
    let mut sum = Sections::default();
    for section in file.sections() {
        let (name, size) = (section.name()?, section.size());
        let is = |kind: &str| name.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        sum = sum
            + Sections {
                text: if is(".text") { size } else { 0 },
                rodata: if is(".rodata") { size } else { 0 },
                data: if is(".data") || is(".sdata") { size } else { 0 },
                bss: if is(".bss") || is(".sbss") { size } else { 0 },
            };
    }
    Ok(sum)
}

/// Reads the baseline.
fn read(table: &str) -> Result<Sizes> {
    let mut rows = BTreeMap::new();
    for line in table.lines().skip(1) {
        let [target, what, numbers @ ..] = &line.split('\t').collect::<Vec<_>>()[..] else { bail!("bad line: {line}") };
        let numbers: Vec<u64> = numbers.iter().map(|number| number.parse()).collect::<Result<_, _>>()?;
        let [text, rodata, data, bss] = numbers[..] else { bail!("bad line: {line}") };
        rows.insert(((*target).to_owned(), (*what).to_owned()), Sections { text, rodata, data, bss });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read_back() {
        let rows = read("target\twhat\ttext\trodata\tdata\tbss\nt\tw: x\t1\t2\t3\t4\n").unwrap();
        let sections = Sections { text: 1, rodata: 2, data: 3, bss: 4 };
        assert_eq!(rows, BTreeMap::from([(("t".into(), "w: x".into()), sections)]));
        assert_eq!((sections.flash(), sections - sections), (6, Sections::default()));
        assert!(read("\nt\tw\t1").is_err());
    }
}
