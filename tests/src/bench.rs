//! What a scenario is played on: a cloud, a device, and the images between them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sprag::job::iotconnect::IotConnect as Conversation;
use sprag::mqtt::{Account, Event, IotConnectCloud};
use sprag_cli::device::{Device, Happening, Settings};
use sprag_cli::key;
use sprag_cli::layout::Layout;
use sprag_cli::net::HostConnector;
use sprag_cli::online;
use sprag_cli::s3::{Config, Server};
use sprag_cli::tally::Tally;
use sprag_testkit::image::{Signer, Version};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::bootloader::Bootloader;
use crate::broker;
use crate::cloud::iotconnect::{IotConnect, is_final};

/// The payload of the new image: one byte more than a megabyte, so that it ends behind every boundary.
pub const PAYLOAD: usize = 1024 * 1024 + 1;
/// What an IoTConnect command is acknowledged by.
pub const ACK_ID: &str = "6a1f3b52-0c8e-4c5a-9d35-1f0e8d2b7c44";

/// Devices so far: each has a name of its own at the broker.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Far more time than any scenario takes.
const PATIENCE: Duration = Duration::from_secs(120);

const BUCKET: &str = "firmware";
const KEY: &str = "device/app.signed.bin";

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
    /// The bucket.
    pub server: Arc<Server>,
    /// What the device is set to.
    pub settings: Settings,
    /// Random choices of the scenario.
    pub random: fastrand::Rng,
    layout: Layout,
    /// What the device boots with.
    pub bootloader: Bootloader,
    secret: [u8; 32],
    signer: Signer,
    /// What the device cost so far, over all its runs.
    pub tally: Tally,
    /// The cloud that gives the job and hears the reports.
    pub cloud: IotConnect,
    broker: SocketAddr,
    /// Bytes on the wire so far, both ways, TLS included.
    pub wire_bytes: u64,
    /// Sectors that the updater erased so far.
    pub erases: u64,
}

impl Bench {
    /// Returns a server with nothing in it, and a device with MCUboot that runs [`OLD`].
    ///
    /// # Errors
    /// Files or sockets can't be had.
    pub async fn new(seed: u64) -> anyhow::Result<Self> {
        Self::with(Bootloader::default(), seed).await
    }

    /// Returns the same with a device that boots with this bootloader.
    ///
    /// # Errors
    /// Files or sockets can't be had.
    pub async fn with(bootloader: Bootloader, seed: u64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut random = fastrand::Rng::with_seed(seed);
        let secret = std::array::from_fn(|_| random.u8(..));
        let root = dir.path().join("s3");
        std::fs::create_dir(&root)?;
        let server = Arc::new(Server::start(Config::new(root)).await?);
        let broker = broker::embedded()?;
        let device = format!("device-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let cloud = IotConnect::new(&device, &broker.ip().to_string(), broker.port()).await;
        let bench = Self {
            server,
            cloud,
            broker,
            settings: Settings::default(),
            random,
            layout: Layout::parse(&bootloader.layout())?,
            bootloader,
            secret,
            signer: bootloader.signer(secret)?,
            tally: Tally::default(),
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
        self.bootloader.image(self.secret, version, &payload).expect("a key that was taken before")
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
        Device::open(&self.flash_path(), &self.layout, key::public(&self.signer), self.settings)
    }

    /// Lets a device run until the cloud has heard how its job ended, or the power fails; everything is counted.
    ///
    /// # Errors
    /// The device does not boot.
    pub async fn run(&mut self, device: &Device, tell: &mut impl FnMut(&Happening)) -> anyhow::Result<End> {
        let connector = HostConnector::trusting_pem(self.server.ca_pem().context("the server has no certificate")?)?;
        let host = self.broker.ip().to_string();
        let account = Account::plain(&host, self.cloud.device()).port(self.broker.port());
        let mut memory = vec![0; online::BROKER_MEMORY];
        let mut broker = online::broker(&connector, account, &mut memory);
        let conversation = || IotConnectCloud::<8>::new(Conversation::new(self.cloud.topics()));

        let before = device.updater_erases();
        let mut heard = self.cloud.acks().len();
        let mut acked = self.cloud.acked();
        let (tally, reported, tell) = (&mut self.tally, Notify::new(), RefCell::new(tell));
        let mut on = |happening| {
            tally.count(&happening);
            if let Happening::Cloud(Event::Reported { .. }) = happening {
                reported.notify_one();
            }
            (tell.borrow_mut())(&happening);
        };
        let mut tell_acks = || {
            for ack in self.cloud.acks().into_iter().skip(heard) {
                (tell.borrow_mut())(&Happening::Ack(ack));
                heard += 1;
            }
        };
        let serve = online::serve(device, &mut broker, &connector, online::limits(), conversation, &mut on);
        let listen = async {
            while acked.changed().await.is_ok() {
                tell_acks();
            }
        };
        let end = tokio::select! {
            Err(error) = serve => End::Dead(error),
            // By the device's own word; the cloud has it then, or is about to.
            () = reported.notified() => {
                self.cloud.ended().await;
                End::Reported
            }
            () = listen => bail!("the cloud is gone"),
            () = tokio::time::sleep(PATIENCE) => bail!("the device did not come to an end"),
        };
        tell_acks();
        self.wire_bytes += connector.wire_bytes();
        self.erases += device.updater_erases() - before;
        Ok(end)
    }

    /// Has the cloud give the device a job with this URL, when it asks next.
    ///
    /// # Errors
    /// The URL is too short to prove anything.
    pub fn give(&self, url: &str) -> anyhow::Result<()> {
        ensure!(url.len() >= 1200, "the presigned URL has {} bytes: too short to prove anything", url.len());
        self.cloud.command(job(url));
        Ok(())
    }

    /// The final reports that the cloud heard.
    pub fn finals(&self) -> Vec<String> {
        self.cloud.acks().into_iter().filter(|ack| is_final(ack)).collect()
    }
}

/// How a run of a device ended.
#[derive(Debug)]
pub enum End {
    /// The cloud has heard how its job ended.
    Reported,
    /// The device is dead: its power failed.
    Dead(anyhow::Error),
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
