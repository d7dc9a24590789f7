//! What a scenario is played on: a cloud, a device, and the images between them.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use ed25519_dalek::SigningKey;
use sprag_cli::device::{Device, End, Happening, Settings};
use sprag_cli::key;
use sprag_cli::layout::Layout;
use sprag_cli::net::HostConnector;
use sprag_cli::s3::{Config, Server};
use sprag_cli::tally::Tally;
use sprag_testkit::image::{McuBootImage, Version};
use tempfile::TempDir;

/// The payload of the new image: one byte more than a megabyte, so that it ends behind every boundary.
pub const PAYLOAD: usize = 1024 * 1024 + 1;
/// What an IoTConnect command is acknowledged by.
pub const ACK_ID: &str = "6a1f3b52-0c8e-4c5a-9d35-1f0e8d2b7c44";

const BUCKET: &str = "firmware";
const KEY: &str = "device/app.signed.bin";

const LAYOUT: &str = "
write_size = 8
erase_size = 4096
erased_value = 0xFF

[regions.primary]
offset = 0x000000
size = 0x110000

[regions.secondary]
offset = 0x110000
size = 0x110000

[regions.journal]
offset = 0x220000
size = 0x002000
";

/// The version that runs at first.
pub const OLD: Version = version(1, 0);
/// The version that the job brings.
pub const NEW: Version = version(1, 1);

/// `major.minor.0`.
pub const fn version(major: u8, minor: u8) -> Version {
    Version { major, minor, revision: 0, build: 0 }
}

/// A cloud and a device, made from a seed.
#[allow(missing_debug_implementations)] // The server has none.
pub struct Bench {
    dir: TempDir,
    /// The cloud.
    pub server: Server,
    /// What the device is set to.
    pub settings: Settings,
    /// Random choices of the scenario.
    pub random: fastrand::Rng,
    layout: Layout,
    signing: SigningKey,
    /// What the device cost so far, over all its runs.
    pub tally: Tally,
    /// Reports of the device so far.
    pub acks: Vec<String>,
    /// Bytes on the wire so far, both ways, TLS included.
    pub wire_bytes: u64,
    /// Sectors that the updater erased so far.
    pub erases: u64,
}

impl Bench {
    /// A server with nothing in it, and a device that runs [`OLD`].
    ///
    /// # Errors
    /// Files or sockets can't be had.
    pub async fn new(seed: u64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut random = fastrand::Rng::with_seed(seed);
        let signing = SigningKey::from_bytes(&std::array::from_fn(|_| random.u8(..)));
        let root = dir.path().join("s3");
        std::fs::create_dir(&root)?;
        let server = Server::start(Config::new(root)).await?;
        let bench = Self {
            server,
            settings: Settings::default(),
            random,
            layout: Layout::parse(LAYOUT)?,
            signing,
            tally: Tally::default(),
            acks: Vec::new(),
            wire_bytes: 0,
            erases: 0,
            dir,
        };
        let old = bench.image(OLD, 64 * 1024);
        Device::create(&bench.flash_path(), &bench.layout, &old)?;
        Ok(bench)
    }

    /// Where the device's flash lies.
    pub fn flash_path(&self) -> PathBuf {
        self.dir.path().join("flash.bin")
    }

    /// A signed image whose payload depends on the version.
    pub fn image(&self, version: Version, payload: usize) -> Vec<u8> {
        let seed = u64::from(version.major) << 8 | u64::from(version.minor);
        let mut random = fastrand::Rng::with_seed(seed);
        let payload: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(payload).collect();
        McuBootImage { version, header_size: 0x200, payload: &payload }.sign(&self.signing)
    }

    /// Puts the object that the job names, and presigns it for an hour.
    ///
    /// # Errors
    /// The server's.
    pub async fn publish(&self, object: Vec<u8>) -> anyhow::Result<String> {
        self.server.put(BUCKET, KEY, object).await?;
        Ok(self.presign(std::time::SystemTime::now(), std::time::Duration::from_secs(3600)))
    }

    /// Presigns the object, as of `start`.
    pub fn presign(&self, start: std::time::SystemTime, valid: std::time::Duration) -> String {
        self.server.presign_at(BUCKET, KEY, start, valid)
    }

    /// What replaces the object from a request on.
    pub fn replacement(&self, bytes: Vec<u8>) -> sprag_cli::s3::Disturbance {
        sprag_cli::s3::Disturbance::Replace { bucket: BUCKET.to_owned(), key: KEY.to_owned(), bytes }
    }

    /// Switches the device on: a new process with nothing but its flash.
    ///
    /// # Errors
    /// The flash file can't be opened.
    pub fn device(&self) -> anyhow::Result<Device> {
        Device::open(&self.flash_path(), &self.layout, key::public(&(&self.signing).into()), self.settings)
    }

    /// Lets a device run the job with this URL, until it is done or can't go on; everything is counted.
    ///
    /// # Errors
    /// The device does not boot.
    pub async fn run(&mut self, device: &Device, url: &str, tell: &mut impl FnMut(&Happening)) -> anyhow::Result<End> {
        ensure!(url.len() >= 1200, "the presigned URL has {} bytes: too short to prove anything", url.len());
        let document = job(url);
        let job = sprag::job::parse(document.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let connector = HostConnector::trusting_pem(self.server.ca_pem().context("the server has no certificate")?)?;
        let before = device.updater_erases();
        let (tally, acks) = (&mut self.tally, &mut self.acks);
        let end = device
            .run(&job, &connector, &mut |happening| {
                tally.count(&happening);
                if let Happening::Ack(ack) = &happening {
                    acks.push(ack.clone());
                }
                tell(&happening);
            })
            .await;
        self.wire_bytes += connector.wire_bytes();
        self.erases += device.updater_erases() - before;
        end
    }
}

/// An IoTConnect 2.1 OTA message, with the URL as .NET writes it into JSON.
pub fn job(url: &str) -> String {
    let url = url.replace('&', "\\u0026");
    format!(
        r#"{{"v":"2.1","ct":1,"cmd":"ota","ack":"{ACK_ID}","sw":"1.1.0","hw":"1","urls":[{{"url":"{url}","fileName":"app.signed.bin"}}]}}"#
    )
}

/// The ack for [`job`] with this status.
pub fn ack(status: u8, message: &str) -> String {
    format!(r#"{{"d":{{"ack":"{ACK_ID}","type":1,"st":{status},"msg":"{message}"}}}}"#)
}
