//! ESP-IDF: the choice of the app partition, the calls of `esp_ota_ops`, and the reading of partition tables.
//!
//! `sprag-boot` is judged beside the model: it must read a table as the bootloader does or refuse it, foretell what the
//! bootloader tries first, and call nothing settled that the next reset changes. With anti-rollback it is judged only
//! where the secure versions let every image run, for it does not know the eFuses.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use embassy_futures::block_on;
use serde::Deserialize;
use sprag_boot::esp_idf::{self, Table};
use sprag_boot::{BootControl, State};
use sprag_testkit::esp_idf::{App, Build, CallError, Efuse, EspIdf, Partitions};
use sprag_testkit::flash::{FlashGeometry, SimFlash};

use crate::{Outcome, decode_flash};

const SECTOR: u32 = 4096;
const TABLE: u32 = 0x8000;
const OTADATA: u32 = 0xD000;

/// What a vector begins with.
#[derive(Deserialize)]
struct Vector {
    build: String,
    flash_size: u32,
    otadata: [Sector; 2],
    table: Option<String>,
    #[serde(default)]
    partitions: Vec<Partition>,
    #[serde(default)]
    images: BTreeMap<String, Image>,
    #[serde(default)]
    efuse: u32,
}

#[derive(Deserialize)]
struct Partition {
    r#type: u8,
    subtype: u8,
    offset: u32,
    size: u32,
}

impl Partition {
    /// Returns its row of a table.
    fn row(&self) -> Vec<u8> {
        let mut row = vec![0xAA, 0x50, self.r#type, self.subtype];
        row.extend(self.offset.to_le_bytes());
        row.extend(self.size.to_le_bytes());
        row.resize(32, 0);
        row
    }
}

#[derive(Deserialize)]
struct Image {
    bootable: bool,
    secure_version: Option<u32>,
}

/// A sector of otadata.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Sector {
    /// The first 32 bytes, in hexadecimal; the rest is erased.
    Entry(String),
    Whole {
        zlib: String,
    },
}

impl Sector {
    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = match self {
            Self::Entry(hex) => {
                let digits = |at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
                (0..hex.len()).step_by(2).map(digits).collect::<Option<_>>().context("an entry is not hexadecimal")?
            }
            Self::Whole { zlib } => decode_flash(zlib)?,
        };
        ensure!(bytes.len() <= SECTOR as usize, "a sector of otadata has {} bytes", bytes.len());
        bytes.resize(SECTOR as usize, 0xFF);
        Ok(bytes)
    }
}

/// What otadata became.
#[derive(Deserialize)]
#[serde(untagged)]
enum After {
    Same(String),
    Sectors([Sector; 2]),
}

/// What a boot did.
#[derive(Deserialize)]
struct Boot {
    chosen: String,
    rc: String,
    boots: Option<String>,
    ops: u64,
    otadata_after: After,
    efuse_after: Option<u32>,
}

/// What one more reset boots.
#[derive(Deserialize)]
struct Again {
    rc: String,
    boots: Option<String>,
}

/// What a call did.
#[derive(Deserialize)]
struct Call {
    running: String,
    next_update: Option<String>,
    boot_partition: Option<String>,
    running_state: Option<serde_json::Value>,
    call: String,
    returns: String,
    call_ops: Option<u64>,
    otadata_after: After,
    efuse_after: Option<u32>,
    next: Option<Boot>,
}

/// What became of a partition table.
#[derive(Deserialize)]
struct TableResult {
    bootable_at: Vec<u32>,
    accepted: bool,
    rc: String,
    chosen: Option<String>,
    boots_at: Option<u32>,
    changed: bool,
}

/// Judges one vector.
pub(crate) fn judge(line: &str) -> Result<Outcome> {
    let vector: Vector = serde_json::from_str(line)?;
    let is_call = serde_json::from_str::<serde_json::Value>(line)?.get("call").is_some();
    let mut differences = Differences::default();
    if let Some(table) = &vector.table {
        judge_table(&vector, &decode_flash(table)?, &serde_json::from_str(line)?, &mut differences)?;
    } else {
        let device = Device::new(&vector)?;
        if is_call {
            let call: Call = serde_json::from_str(line)?;
            device.judge_call(&call, &mut differences)?;
            if let Some(next) = &call.next {
                let running = device.judge_boot(next, &mut differences)?;
                device.judge_again(line, running, &mut differences)?;
            }
        } else {
            let running = device.judge_boot(&serde_json::from_str(line)?, &mut differences)?;
            device.judge_again(line, running, &mut differences)?;
        }
    }
    Ok(if differences.0.is_empty() { Outcome::Reproduced } else { Outcome::Wrong(differences.0.join("; ")) })
}

fn judge_table(vector: &Vector, table: &[u8], expected: &TableResult, differences: &mut Differences) -> Result<()> {
    let flash = SimFlash::in_memory(vector.flash_size, geometry(4));
    flash.load(TABLE, table)?;
    for at in &expected.bootable_at {
        flash.load(*at, &[0xE9])?;
    }
    let partitions = Partitions::read(table, vector.flash_size);
    differences.check("accepted", &expected.accepted, &partitions.is_some());
    let read = block_on(Table::read(&mut flash.region(0..vector.flash_size), TABLE));
    let Some(partitions) = partitions else {
        differences.check("rc", &expected.rc.as_str(), &"partition table refused");
        differences.check("sprag-boot: accepted", &false, &read.is_ok());
        return Ok(());
    };
    if let Ok(read) = &read {
        differences.check("sprag-boot: partitions", &partitions, &as_read(read));
    }
    // Where the table that was mutated had it.
    for (at, sector) in [OTADATA, OTADATA + SECTOR].into_iter().zip(&vector.otadata) {
        flash.load(at, &sector.bytes()?)?;
    }
    let before = flash.contents();
    let loader = EspIdf::new(flash.region(0..vector.flash_size), partitions, build(&vector.build)?, boots);
    let (mut rc, mut chosen, mut boots_at) = ("nothing chosen", None, None);
    if let Some(selection) = loader.select()? {
        chosen = Some(name(selection.first));
        let app = loader.load(selection)?;
        rc = if app.is_some() { "booted" } else { "reset" };
        boots_at = app.and_then(|app| loader.partitions.app(app)).map(|range| range.start);
    }
    differences.check("rc", &expected.rc.as_str(), &rc);
    differences.check("chosen", &expected.chosen, &chosen);
    differences.check("boots_at", &expected.boots_at, &boots_at);
    differences.check("changed", &expected.changed, &(flash.contents() != before));
    Ok(())
}

/// A device with the flash of a vector.
struct Device {
    flash: SimFlash,
    loader: EspIdf,
    table: Table,
    /// The lowest secure version of the images.
    lowest_version: u32,
}

impl Device {
    fn new(vector: &Vector) -> Result<Self> {
        let mut partitions = Partitions::default();
        for Partition { r#type, subtype, offset, size } in &vector.partitions {
            let range = *offset..offset + size;
            match (r#type, subtype) {
                (0, 0) => partitions.factory = range,
                (0, 0x20) => partitions.test = range,
                (0, subtype @ 0x10..=0x1F) => {
                    partitions.ota[usize::from(subtype - 0x10)] = range;
                    partitions.count += 1;
                }
                (1, 0) => partitions.otadata = range,
                other => bail!("a partition of type {other:?}"),
            }
        }
        let flash = SimFlash::in_memory(vector.flash_size, geometry(32));
        for (index, sector) in vector.otadata.iter().enumerate() {
            flash.load(partitions.otadata.start + SECTOR * index as u32, &sector.bytes()?)?;
        }
        for (name, image) in &vector.images {
            let range = partitions.app(app(name)?).with_context(|| format!("an image without a partition: {name}"))?;
            if image.bootable {
                flash.load(range.start, &[0xE9])?;
            }
            if let Some(version) = image.secure_version {
                flash.load(range.start + 32, &0xABCD_5432_u32.to_le_bytes())?;
                flash.load(range.start + 36, &version.to_le_bytes())?;
            }
        }
        let mut loader = EspIdf::new(flash.region(0..vector.flash_size), partitions, build(&vector.build)?, boots);
        loader.efuse = Efuse::new(vector.efuse);
        let table: Vec<u8> = vector.partitions.iter().flat_map(Partition::row).collect();
        flash.load(TABLE, &table)?;
        let table = block_on(Table::read(&mut flash.region(0..vector.flash_size), TABLE));
        let table = table.map_err(|error| anyhow!("sprag-boot: {error}"))?;
        let versions = vector.images.values().map(|image| image.secure_version.unwrap_or(0));
        let lowest_version = versions.min().unwrap_or(0);
        Ok(Self { flash, loader, table, lowest_version })
    }

    /// Judges what `sprag-boot` says of the flash while `running` runs.
    fn judge_product(&self, running: App, again: &Again, differences: &mut Differences) -> Result<()> {
        if self.lowest_version < self.loader.efuse.version() {
            return Ok(());
        }
        let rollback = self.loader.build != Build::Plain;
        let mut whole = self.loader.flash.clone();
        let chosen = block_on(esp_idf::chosen(&mut whole, &self.table, rollback));
        let chosen = chosen.map_err(|error| anyhow!("sprag-boot: {error}"))?;
        let mut boot = sprag_boot::EspIdf::new(whole, self.table.clone(), product_app(running))?;
        if !rollback {
            boot = boot.without_rollback();
        }
        let state = block_on(boot.state()).map_err(|error| anyhow!("sprag-boot: {error}"))?;
        if state == State::Settled {
            differences.check("sprag-boot: settled", &again.boots, &Some(name(running)));
        }
        // A copy, for the choice writes.
        let flash = SimFlash::in_memory(self.flash.capacity(), self.flash.geometry());
        flash.load(0, &self.flash.contents())?;
        let loader = EspIdf { flash: flash.region(self.loader.flash.range()), ..self.loader.clone() };
        let first = loader.select()?.map(|selection| match selection.first {
            App::Factory if self.loader.partitions.factory.is_empty() => App::Ota(0),
            first => first,
        });
        differences.check("sprag-boot: chosen", &first.map(product_app), &Some(chosen));
        Ok(())
    }

    fn judge_call(&self, expected: &Call, differences: &mut Differences) -> Result<()> {
        let running = app(&expected.running)?;
        if let Some(next) = &expected.next_update {
            differences.check("next_update", next, &self.loader.next_update_partition(running).map_or_else(none, name));
        }
        if let Some(boots) = &expected.boot_partition {
            differences.check("boot_partition", boots, &self.loader.boot_partition()?.map_or_else(none, name));
        }
        if let Some(state) = &expected.running_state {
            let expected = state.as_str().map_or_else(|| state.to_string(), str::to_owned);
            let found = match self.loader.state_partition(running) {
                Ok(state) => state_name(state),
                Err(error) => error.to_string(),
            };
            differences.check("running_state", &expected, &found);
        }
        let before = self.start();
        let argument =
            expected.call.strip_prefix("esp_ota_set_boot_partition(").and_then(|rest| rest.strip_suffix(')'));
        let result = match (expected.call.as_str(), argument) {
            (_, Some(name)) => self.loader.set_boot_partition(app(name)?),
            ("esp_ota_mark_app_valid_cancel_rollback()", _) => self.loader.mark_app_valid_cancel_rollback(running),
            ("esp_ota_mark_app_invalid_rollback()", _) => self.loader.mark_app_invalid_rollback(),
            (call, _) => bail!("an unknown call: {call}"),
        };
        let returns = match result {
            Ok(()) => "ESP_OK".to_owned(),
            Err(CallError::NeverReturns) => "had not returned after 5 s".to_owned(),
            Err(error) => error.to_string(),
        };
        differences.check("returns", &expected.returns, &returns);
        if let Some(operations) = expected.call_ops {
            differences.check("call_ops", &operations, &self.operations());
        }
        self.check_after(&before, &expected.otadata_after, expected.efuse_after, differences)
    }

    /// Judges a boot. Returns the app that the model boots.
    fn judge_boot(&self, expected: &Boot, differences: &mut Differences) -> Result<Option<App>> {
        let before = self.start();
        let Some(selection) = self.loader.select()? else { bail!("nothing is chosen") };
        differences.check("chosen", &expected.chosen, &name(selection.first));
        let boots = self.loader.load(selection)?;
        differences.check("rc", &expected.rc.as_str(), &if boots.is_some() { "booted" } else { "reset" });
        differences.check("boots", &expected.boots, &boots.map(name));
        differences.check("ops", &expected.ops, &self.operations());
        self.check_after(&before, &expected.otadata_after, expected.efuse_after, differences)?;
        Ok(boots)
    }

    /// Judges the reset after that in which `running` was booted.
    fn judge_again(&self, line: &str, running: Option<App>, differences: &mut Differences) -> Result<()> {
        #[derive(Deserialize)]
        struct Rest {
            again: Again,
        }
        let Rest { again } = serde_json::from_str(line)?;
        if let Some(running) = running {
            self.judge_product(running, &again, differences)?;
        }
        let boots = self.loader.boot()?;
        differences.check("again.rc", &again.rc.as_str(), &if boots.is_some() { "booted" } else { "reset" });
        differences.check("again.boots", &again.boots, &boots.map(name));
        Ok(())
    }

    /// Counts operations from here on. Returns otadata and the eFuses as they are.
    fn start(&self) -> ([Vec<u8>; 2], u32) {
        self.flash.reset_stats();
        (self.otadata(), self.loader.efuse.version())
    }

    fn operations(&self) -> u64 {
        let stats = self.flash.stats();
        stats.programs + stats.erases
    }

    fn otadata(&self) -> [Vec<u8>; 2] {
        let contents = self.flash.contents();
        [0, 1].map(|index| {
            let at = (self.loader.partitions.otadata.start + SECTOR * index) as usize;
            contents[at..at + SECTOR as usize].to_vec()
        })
    }

    fn check_after(
        &self,
        before: &([Vec<u8>; 2], u32),
        otadata: &After,
        efuse: Option<u32>,
        differences: &mut Differences,
    ) -> Result<()> {
        let expected = match otadata {
            After::Same(word) => {
                ensure!(word == "same", "otadata_after: {word:?}");
                before.0.clone()
            }
            After::Sectors([first, second]) => [first.bytes()?, second.bytes()?],
        };
        for (index, (expected, found)) in expected.iter().zip(self.otadata()).enumerate() {
            if *expected != found {
                let hex = |bytes: &[u8]| bytes[..32].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                differences.check(&format!("otadata_after[{index}]"), &hex(expected), &hex(&found));
            }
        }
        differences.check("efuse_after", &efuse.unwrap_or(before.1), &self.loader.efuse.version());
        Ok(())
    }
}

/// What the model did otherwise.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.0.push(format!("{what}: expected {expected:?}, the model has {found:?}"));
        }
    }
}

/// With units of 32 bytes an entry is written in one operation, as the vectors count.
fn geometry(write_size: u32) -> FlashGeometry {
    FlashGeometry { write_size, erase_size: SECTOR, erased: 0xFF }
}

/// The check of an image of the vectors' bootloader.
fn boots(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0xE9)
}

fn build(name: &str) -> Result<Build> {
    Ok(match name {
        "none" => Build::Plain,
        "rollback" => Build::Rollback,
        "anti-rollback" => Build::AntiRollback,
        name => bail!("an unknown build: {name}"),
    })
}

fn app(name: &str) -> Result<App> {
    Ok(match name {
        "factory" => App::Factory,
        "test" => App::Test,
        name => {
            let index = name.strip_prefix("ota_").and_then(|index| index.parse().ok());
            App::Ota(index.with_context(|| format!("an unknown app: {name}"))?)
        }
    })
}

fn name(app: App) -> String {
    match app {
        App::Factory => "factory".to_owned(),
        App::Test => "test".to_owned(),
        App::Ota(index) => format!("ota_{index}"),
    }
}

fn product_app(app: App) -> esp_idf::App {
    match app {
        App::Factory => esp_idf::App::Factory,
        App::Test => esp_idf::App::Test,
        App::Ota(index) => esp_idf::App::Ota(u8::try_from(index).unwrap_or(u8::MAX)),
    }
}

/// Returns the partitions that `sprag-boot` has read.
fn as_read(table: &Table) -> Partitions {
    let range = |partition: Option<esp_idf::Partition>| {
        partition.map(|partition| partition.offset..partition.offset + partition.size).unwrap_or_default()
    };
    let slot = |index: usize| range(table.app(product_app(App::Ota(index))));
    Partitions {
        otadata: range(table.otadata()),
        factory: range(table.app(esp_idf::App::Factory)),
        test: range(table.app(esp_idf::App::Test)),
        ota: std::array::from_fn(slot),
        count: table.ota_count().into(),
    }
}

fn none() -> String {
    "none".to_owned()
}

fn state_name(state: u32) -> String {
    match state {
        0 => "NEW".to_owned(),
        1 => "PENDING".to_owned(),
        2 => "VALID".to_owned(),
        3 => "INVALID".to_owned(),
        4 => "ABORTED".to_owned(),
        u32::MAX => "UNDEFINED".to_owned(),
        state => (state as i32).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call, the boot after it and one more reset: each field that is altered makes it wrong.
    #[test]
    fn a_vector_that_was_altered_is_wrong() {
        let vector = VECTOR;
        assert_eq!(judge(vector).unwrap(), Outcome::Reproduced);
        for (from, to) in [
            (r#""next_update":"ota_0""#, r#""next_update":"ota_1""#),
            (r#""boot_partition":"ota_0""#, r#""boot_partition":"ota_1""#),
            (r#""running_state":"ESP_ERR_NOT_FOUND""#, r#""running_state":"VALID""#),
            (r#""returns":"ESP_OK""#, r#""returns":"ESP_FAIL""#),
            (r#""call_ops":2"#, r#""call_ops":3"#),
            (r#""chosen":"ota_0""#, r#""chosen":"ota_1""#),
            (r#""boots":"ota_0","ops""#, r#""boots":"ota_1","ops""#),
            (r#""ops":2,"#, r#""ops":4,"#),
            ("ffff010000009a984347", "ffff020000009a984347"),
            (r#""again":{"rc":"booted","boots":"ota_0"}"#, r#""again":{"rc":"booted","boots":"ota_1"}"#),
        ] {
            let altered = vector.replacen(from, to, 1);
            assert_ne!(altered, vector, "{from}");
            assert!(matches!(judge(&altered), Ok(Outcome::Wrong(_))), "{to}");
        }
    }

    const VECTOR: &str = r#"{"id":"e-findings-B1-rb-2-1-3-c","build":"rollback","partitions":[{"type":1,"subtype":0,"offset":53248,"size":8192},{"type":0,"subtype":16,"offset":65536,"size":8192},{"type":0,"subtype":17,"offset":73728,"size":8192}],"flash_size":81920,"prev":"e-findings-B1-rb-2-1-3","images":{"ota_0":{"bootable":true},"ota_1":{"bootable":true}},"otadata":["ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","01000000ffffffffffffffffffffffffffffffffffffffff030000009a984347"],"entries":"[blank][1/INVALID]","what":"then all images boot; the next update is chosen","running":"ota_1","next_update":"ota_0","boot_partition":"ota_0","running_state":"ESP_ERR_NOT_FOUND","call":"esp_ota_set_boot_partition(ota_0)","returns":"ESP_OK","otadata_after":["01000000ffffffffffffffffffffffffffffffffffffffff000000009a984347","01000000ffffffffffffffffffffffffffffffffffffffff030000009a984347"],"entries_after":"[1/NEW][1/INVALID]","call_ops":2,"next":{"chosen":"ota_0","rc":"booted","boots":"ota_0","ops":2,"otadata_after":["01000000ffffffffffffffffffffffffffffffffffffffff010000009a984347","01000000ffffffffffffffffffffffffffffffffffffffff030000009a984347"],"entries_after":"[1/PENDING][1/INVALID]"},"again":{"rc":"booted","boots":"ota_0"},"finding":"B1"}"#;
}
