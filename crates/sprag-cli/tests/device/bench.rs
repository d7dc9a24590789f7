//! A cloud in this process, and the files of a device that `sprag device` runs on.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use serde_json::Value;
use sprag_cli::s3::{Config, Server};
use sprag_testkit::image::{McuBootImage, Version};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::common::{Nobody, Ran, bytes, sprag};

/// The version that runs at first, and the one that the job brings.
pub(crate) const OLD: Version = Version { major: 1, minor: 0, revision: 0, build: 0 };
pub(crate) const NEW: Version = Version { major: 1, minor: 1, revision: 0, build: 0 };
/// The payload of a small image, for what does not depend on its size; and its slot.
pub(crate) const SMALL: usize = 40_001;
pub(crate) const SMALL_SLOT: usize = 0x2_0000;
/// What such a slot takes: MCUboot needs a sector for its trailer, and one to move the old image up by.
pub(crate) const SMALL_ROOM: usize = SMALL_SLOT - 2 * SECTOR;
/// A payload that ends behind every boundary, and its slot.
pub(crate) const LARGE: usize = 1024 * 1024 + 1;
const LARGE_SLOT: usize = 0x11_0000;

/// What the cloud knows the job by.
pub(crate) const JOB: &str = "6a1f3b52-0c8e-4c5a-9d35-1f0e8d2b7c44";
const HOUR: Duration = Duration::from_secs(3600);
const SECTOR: usize = 4096;

pub(crate) struct Bench {
    /// Before the runtime that it runs on, in the order of their ends.
    server: Option<Server>,
    config: Config,
    runtime: Runtime,
    dir: TempDir,
    slot: usize,
    signing: SigningKey,
}

impl Bench {
    /// A device that runs [`OLD`], whose slots take a [`SMALL`] image; and a server that behaves.
    pub(crate) fn small() -> Self {
        Self::new(SMALL_SLOT, |_| {})
    }

    /// The same for a [`LARGE`] image.
    pub(crate) fn large() -> Self {
        Self::new(LARGE_SLOT, |_| {})
    }

    /// The same as [`small`](Self::small), with a server of another kind.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::new(SMALL_SLOT, change)
    }

    fn new(slot: usize, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("s3");
        fs::create_dir(&root).expect("a directory");
        let mut config = Config::new(root);
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut bench = Self { server: None, config, runtime, dir, slot, signing: SigningKey::from_bytes(&[7; 32]) };
        bench.server_comes();
        bench.write("layout.toml", bench.layout());
        let key = bench.signing.verifying_key().to_public_key_pem(LineEnding::LF).expect("a PEM text");
        bench.write("key.pem", key);
        bench.write("old.bin", bench.image(OLD, 10_000));
        Ran::of(&mut bench.device("init", ["--image", &bench.path("old.bin")])).succeeded();
        // What the device has nothing to do with: other data of the firmware's, and flash that no region names.
        let mut flash = bench.flash();
        let config = bench.config_range();
        flash[config].fill(0xA5);
        flash.extend([0x5A; SECTOR]);
        bench.write("flash.bin", flash);
        bench
    }

    pub(crate) fn layout(&self) -> String {
        let Self { slot, .. } = self;
        let (journal, config) = (self.journal_range(), self.config_range());
        format!(
            "write_size = 8
erase_size = {SECTOR}
erased_value = 0xFF

[regions.primary]
offset = 0x0
size = {slot:#x}

[regions.secondary]
offset = {slot:#x}
size = {slot:#x}

[regions.journal]
offset = {:#x}
size = {:#x}

[regions.config]
offset = {:#x}
size = {SECTOR:#x}
",
            journal.start,
            journal.len(),
            config.start,
        )
    }

    fn journal_range(&self) -> Range<usize> {
        2 * self.slot..2 * self.slot + 2 * SECTOR
    }

    fn config_range(&self) -> Range<usize> {
        self.journal_range().end..self.journal_range().end + SECTOR
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Writes `flash.bin`, `layout.toml`, `job.json`, `key.pem` or `ca.pem` anew.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    pub(crate) fn flash(&self) -> Vec<u8> {
        fs::read(self.path("flash.bin")).expect("the flash")
    }

    /// What an update that comes to nothing leaves as it is: all but the secondary slot and the journal.
    pub(crate) fn untouchable(&self) -> (Vec<u8>, Vec<u8>) {
        let mut flash = self.flash();
        let behind = flash.split_off(self.journal_range().end);
        flash.truncate(self.slot);
        (flash, behind)
    }

    pub(crate) fn primary(&self) -> Vec<u8> {
        let mut flash = self.flash();
        flash.truncate(self.slot);
        flash
    }

    /// Whether the image's byte at `offset` has come into the secondary slot.
    pub(crate) fn is_programmed(&self, offset: usize) -> bool {
        let mut unit = [0; 16];
        let mut file = File::open(self.path("flash.bin")).expect("the flash");
        file.seek(SeekFrom::Start((self.slot + offset / 16 * 16) as u64)).expect("a place in the flash");
        file.read_exact(&mut unit).expect("16 bytes");
        unit != [0xFF; 16]
    }

    /// A signed image whose payload is another one for each version.
    pub(crate) fn image(&self, version: Version, payload: usize) -> Vec<u8> {
        self.image_by(&self.signing, version, payload)
    }

    pub(crate) fn image_by(&self, key: &SigningKey, version: Version, payload: usize) -> Vec<u8> {
        let payload = bytes(version.minor.into(), payload);
        McuBootImage { version, header_size: 0x200, payload: &payload }.sign(key)
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server is there")
    }

    /// Starts the server; the next runs trust it.
    pub(crate) fn server_comes(&mut self) {
        let server = self.runtime.block_on(Server::start(self.config.clone())).expect("a server");
        self.write("ca.pem", server.ca_pem().expect("TLS"));
        // Where it is started again it has the same address: its URLs stay good.
        self.config.bind = server.addr();
        self.server = Some(server);
    }

    /// Ends the server. Nobody else gets its port.
    pub(crate) fn server_goes(&mut self) -> Nobody {
        let server = self.server.take().expect("the server is there");
        let port = server.addr().port();
        self.runtime.block_on(server.stop());
        Nobody::at(port)
    }

    /// Puts the object that jobs name.
    pub(crate) fn publish(&self, object: Vec<u8>) {
        self.runtime.block_on(self.server().put("firmware", "app.bin", object)).expect("an object");
    }

    pub(crate) fn presign(&self) -> String {
        self.server().presign("firmware", "app.bin", HOUR)
    }

    /// Hands the device a job with this URL.
    pub(crate) fn order(&self, url: &str) {
        self.order_as(JOB, url);
    }

    /// The same under another id.
    pub(crate) fn order_as(&self, id: &str, url: &str) {
        self.write("job.json", document(url).replace(JOB, id));
    }

    /// A small image of [`NEW`], and a job that brings it.
    pub(crate) fn offer(&self) -> Vec<u8> {
        let image = self.image(NEW, SMALL);
        self.publish(image.clone());
        self.order(&self.presign());
        image
    }

    /// `sprag device …`, with the flash and the layout of this one.
    pub(crate) fn device<'a>(&self, verb: &str, more: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = sprag(["device", verb, "--flash", &self.path("flash.bin")]);
        command.args(["--layout", &self.path("layout.toml")]).args(more);
        command
    }

    pub(crate) fn run_command(&self) -> Command {
        let [job, key, ca] = ["job.json", "key.pem", "ca.pem"].map(|name| self.path(name));
        self.device("run", ["--job", &job, "--key", &key, "--cacert", &ca])
    }

    pub(crate) fn run(&self) -> Ran {
        Ran::of(&mut self.run_command())
    }

    pub(crate) fn run_json(&self) -> Ran {
        Ran::of(self.run_command().arg("--json"))
    }

    /// What lies in the flash, as `sprag device show` sees it.
    #[track_caller]
    pub(crate) fn show(&self) -> Value {
        Ran::of(&mut self.device("show", ["--json"])).succeeded().json()
    }

    /// The new version runs for good, the cloud knows, and the slot holds that image and nothing else.
    #[track_caller]
    pub(crate) fn assert_updated(&self, image: &[u8]) {
        let found = self.show();
        assert_eq!((&found["primary"]["version"], &found["boot"]), (&"1.1.0".into(), &"settled".into()), "{found}");
        assert_eq!((&found["job"]["phase"], &found["job"]["reported"]), (&"done".into(), &true.into()), "{found}");
        assert_eq!(found["session"], Value::Null, "{found}");
        let primary = self.primary();
        assert!(primary.starts_with(image), "the primary slot holds something else");
        // MCUboot's status has three units for each sector, and for 128 sectors at least.
        let trailer = (3 * 8 * (self.slot / SECTOR).max(128) + 64).next_multiple_of(SECTOR);
        let behind = &primary[image.len()..self.slot - trailer];
        assert!(behind.iter().all(|byte| *byte == 0xFF), "something lies behind the image");
    }

    /// The old version runs, and the next reset changes nothing about it.
    #[track_caller]
    pub(crate) fn assert_old_runs(&self) {
        let found = self.show();
        assert_eq!((&found["primary"]["version"], &found["boot"]), (&"1.0.0".into(), &"settled".into()), "{found}");
    }
}

/// An IoTConnect 2.1 OTA message, with the URL as .NET writes it into JSON.
pub(crate) fn document(url: &str) -> String {
    let url = url.replace('&', "\\u0026");
    format!(
        r#"{{"v":"2.1","ct":1,"cmd":"ota","ack":"{JOB}","sw":"1.1.0","hw":"1","urls":[{{"url":"{url}","fileName":"app.bin"}}]}}"#
    )
}

/// The ack for [`document`] with this status.
pub(crate) fn ack(status: u8, message: &str) -> String {
    format!(r#"{{"d":{{"ack":"{JOB}","type":1,"st":{status},"msg":"{message}"}}}}"#)
}

/// Where a test that draws lots begins. Printed, and taken back: `SPRAG_TEST_SEED=… cargo test`.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("SPRAG_TEST_SEED").ok().map(|seed| seed.parse().expect("SPRAG_TEST_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("SPRAG_TEST_SEED={seed}");
    seed
}
