//! A whole device on the host: flash in a file, a bootloader, and the firmware's side of an update.

use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use sprag::boot::{self, BootControl, McuBoot};
use sprag::fetch::{Fetcher, Limits, RetryPolicy};
use sprag::flash::journal::Standing;
use sprag::flash::{Geometry, Journal, Session, SlotWriter};
use sprag::job::{Job, Status, TooSmall};
use sprag::verify::{Ed25519Key, Key, Policy, Version};
use sprag::{JobRecord, Outcome, Startup, Updater};
use sprag_testkit::flash::{Region, SimFlash};
use sprag_testkit::mcuboot::{Boot, Bootloader, Method, Trailer};

use crate::layout::Layout;
use crate::net::{ConnectError, HostConnector, TokioDelay};

/// Resets within one run: far more than an update takes, so that a run ends whatever happens.
const RESETS_MAX: u32 = 8;
/// The firmware's buffers: two pages from network to flash, and the journal's scratch space.
pub const PAGE: usize = 1024;
const SCRATCH: usize = 256;

/// What the new firmware's self-test does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfTest {
    /// It passes, and the image is confirmed.
    Pass,
    /// It never comes to an end, and something resets the device.
    Hang,
}

/// How a device behaves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Ask for ranges of this size instead of one open range.
    pub range_size: Option<NonZeroU64>,
    /// How failures are tried again.
    pub retry: RetryPolicy,
    /// The new firmware's self-test.
    pub self_test: SelfTest,
}

impl Default for Settings {
    /// One open range, patience for a few seconds, a self-test that passes.
    fn default() -> Self {
        let seed = std::process::id();
        let retry = RetryPolicy { attempts: 5, first_ms: 200, longest_ms: 10_000, seed, ..RetryPolicy::default() };
        Self { range_size: None, retry, self_test: SelfTest::Pass }
    }
}

/// What happens while a device runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The bootloader started an image.
    Booted(Boot),
    /// Something happened in the updater.
    Update(sprag::Event),
    /// The new image is on trial, and its self-test passed or did not end.
    SelfTest(SelfTest),
    /// A report to the cloud, as published.
    Ack(String),
    /// Something happened in the conversation with the cloud: never its `Update` or `SelfTest`.
    Cloud(sprag::mqtt::Event),
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// The job is done: this version runs and is confirmed.
    Updated(Version),
    /// The job had come to this end before.
    AlreadyEnded(Status),
    /// The job came to its end without a new image: the old one runs.
    Ended {
        /// Failed or rejected.
        status: Status,
        /// Why, as a stable word.
        reason: String,
        /// Why, in a sentence, where more is known than the reason.
        error: Option<String>,
    },
    /// The job can go on: run it again, with a fresh document where it needs a new URL.
    Unfinished(sprag::Error<ConnectError>),
}

/// A device whose flash lies in a file.
#[derive(Debug)]
pub struct Device {
    flash: SimFlash,
    /// Sectors that the bootloader erased, so that they are not counted as the updater's.
    boot_erases: AtomicU64,
    layout: Layout,
    key: Box<dyn Key>,
    pub(crate) settings: Settings,
}

/// What lies in a device's flash.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The slot that runs.
    pub primary: SlotState,
    /// The slot that updates are put into.
    pub secondary: SlotState,
    /// Where the hand-over to the bootloader stands.
    pub boot: boot::State,
    /// The unfinished image, as the journal has it.
    pub session: Option<Session>,
    /// Where the journal stands; `None` when there is none.
    pub journal: Option<Standing>,
    /// The last job, as the journal has it.
    pub job: Option<JobRecord>,
}

/// What lies in a slot.
#[derive(Debug, Clone)]
pub struct SlotState {
    /// The version of the image, or why it is none that may run.
    pub image: Result<Version, String>,
    /// What the bootloader left behind the image.
    pub trailer: Trailer,
    /// Sectors that do not read as erased, of all in the slot.
    pub programmed: (usize, usize),
}

pub(crate) type HostUpdater<'b> =
    Updater<'b, 'b, Fetcher<&'b HostConnector, TokioDelay>, Region, Region, McuBoot<Region, Region>>;

/// What the firmware keeps in RAM, new after each reset.
pub(crate) struct Ram {
    page: [u8; PAGE],
    second: [u8; PAGE],
    scratch: [u8; SCRATCH],
}

impl Device {
    /// Makes a new flash file with `image` in its primary slot and everything else erased.
    ///
    /// # Errors
    /// The file exists already or can't be made; the image does not fit, or the bootloader could not start it.
    pub fn create(path: &Path, layout: &Layout, image: &[u8]) -> anyhow::Result<()> {
        // Tried in memory first: a device that does not boot is noticed here, not at its first run.
        let bench = Self {
            flash: SimFlash::in_memory(layout.geometry),
            boot_erases: AtomicU64::new(0),
            layout: layout.clone(),
            key: Box::new(Ed25519Key::new([0; 32])),
            settings: Settings::default(),
        };
        let room = bench.mcuboot().room();
        let limit = (room.end - room.start) as usize;
        anyhow::ensure!(
            image.len() <= limit,
            "the image of {} bytes does not fit: the primary slot takes {limit}",
            image.len()
        );
        bench.flash.load(layout.primary.start, image)?;
        if let Err(why) = bench.bootloader().check(&bench.region(&layout.primary)) {
            anyhow::bail!("the image can't be started: {why}");
        }
        let named = || format!("{}", path.display());
        // An incomplete flash file is of no use. An error of the removal has the same cause as the one that is reported.
        let remove = |error: &io::Error| {
            use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
            if matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull) {
                let _ = std::fs::remove_file(path);
            }
        };
        let flash = SimFlash::create(path, layout.geometry).inspect_err(remove).with_context(named)?;
        flash.load(layout.primary.start, image)?;
        Ok(())
    }

    /// Opens the flash of a device. It stays locked until the device is dropped.
    ///
    /// # Errors
    /// The file is missing, in use, or does not fit the layout.
    pub fn open(path: &Path, layout: &Layout, key: Box<dyn Key>, settings: Settings) -> anyhow::Result<Self> {
        let named = || format!("{}", path.display());
        let size = std::fs::metadata(path).with_context(named)?.len();
        let layout = layout.clone().for_file_of(size).with_context(named)?;
        let flash = SimFlash::open(path, layout.geometry).with_context(named)?;
        Ok(Self { flash, boot_erases: AtomicU64::new(0), layout, key, settings })
    }

    /// The flash, for counting and for cutting the power.
    pub fn flash(&self) -> &SimFlash {
        &self.flash
    }

    /// About how many flash operations an update takes: as many as the running image has units.
    ///
    /// # Errors
    /// The flash can't be read.
    pub fn operations(&self) -> anyhow::Result<u64> {
        let mut header = [0; 16];
        self.region(&self.layout.primary).read_now(0, &mut header)?;
        let [.., a, b, c, d] = header;
        let image = u32::from_le_bytes([a, b, c, d]).min(self.layout.primary.end - self.layout.primary.start);
        Ok(u64::from(image / self.layout.geometry.write_size).max(1))
    }

    fn region(&self, range: &Range<u32>) -> Region {
        self.flash.region(range.clone())
    }

    fn boot_layout(&self) -> boot::Layout {
        let sprag_testkit::flash::Geometry { write_size, erase_size, erased, .. } = self.layout.geometry;
        boot::Layout::new(self.layout.primary.end - self.layout.primary.start, write_size, erase_size, erased)
    }

    fn mcuboot(&self) -> McuBoot<Region, Region> {
        McuBoot::new(self.region(&self.layout.primary), self.region(&self.layout.secondary), self.boot_layout())
    }

    fn slot_writer<'b>(
        &self,
        scratch: &'b mut [u8],
        page: &'b mut [u8],
        second: &'b mut [u8],
    ) -> SlotWriter<'b, Region, Region> {
        let sprag_testkit::flash::Geometry { write_size, erase_size, erased, .. } = self.layout.geometry;
        let geometry = Geometry { write_size, erase_size, erased };
        let journal = Journal::new(self.region(&self.layout.journal), geometry, scratch);
        let slot = self.region(&self.layout.secondary);
        SlotWriter::new(slot, geometry, journal, page).second_buffer(second)
    }

    pub(crate) fn updater<'b>(
        &'b self,
        ram: &'b mut Ram,
        connector: &'b HostConnector,
        running: Version,
    ) -> HostUpdater<'b> {
        let Ram { page, second, scratch } = ram;
        let slot = self.slot_writer(scratch, page, second);
        let mut fetcher = Fetcher::new(connector, TokioDelay).retry(self.settings.retry).limits(Limits::default());
        if let Some(size) = self.settings.range_size {
            fetcher = fetcher.range_size(size);
        }
        Updater::new(fetcher, slot, Policy::signed_by(&*self.key).newer_than(running), self.mcuboot())
    }

    pub(crate) fn ram() -> Ram {
        Ram { page: [0; PAGE], second: [0; PAGE], scratch: [0; SCRATCH] }
    }

    /// A reset: the bootloader decides, swaps, and starts an image.
    ///
    /// # Errors
    /// Nothing in the primary slot can be started.
    pub fn reset(&self) -> anyhow::Result<Boot> {
        let before = self.flash.stats().erases;
        // A power cut that is asked for is the firmware's.
        let boot = self.flash.spared(|| self.bootloader().boot()).context("the device does not boot");
        self.boot_erases.fetch_add(self.flash.stats().erases - before, Ordering::Relaxed);
        boot
    }

    /// Sectors that the updater erased so far, in the slot and in its journal: all but the bootloader's.
    pub fn updater_erases(&self) -> u64 {
        self.flash.stats().erases - self.boot_erases.load(Ordering::Relaxed)
    }

    fn bootloader(&self) -> Bootloader {
        // Without a key: a bootloader has its own, and what the firmware takes is judged by the firmware's key.
        Bootloader::new(self.region(&self.layout.primary), self.region(&self.layout.secondary), Method::Move)
    }

    /// Runs the device, through as many resets as it takes, until the job has come to its end or can't go on.
    ///
    /// Dropping the future is a power cut: the next run goes on.
    ///
    /// # Errors
    /// The device does not boot, or its flash fails for good.
    pub async fn run(
        &self,
        job: &Job<'_>,
        connector: &HostConnector,
        on: &mut impl FnMut(Happening),
    ) -> anyhow::Result<End> {
        let mut error = None;
        for _ in 0..RESETS_MAX {
            if let Some(end) = self.run_once(job, connector, &mut error, on).await? {
                return Ok(end);
            }
        }
        anyhow::bail!("the device was reset {RESETS_MAX} times without coming to an end")
    }

    /// From one reset to the next; an end, unless the device is reset.
    async fn run_once(
        &self,
        job: &Job<'_>,
        connector: &HostConnector,
        failure: &mut Option<String>,
        on: &mut impl FnMut(Happening),
    ) -> anyhow::Result<Option<End>> {
        let boot = self.reset()?;
        on(Happening::Booted(boot));
        let running = version(boot.running);
        let mut ram = Self::ram();
        let mut updater = self.updater(&mut ram, connector, running);
        match updater.start(running).await? {
            Startup::Staged => return Ok(None),
            Startup::Trial => {
                on(Happening::SelfTest(self.settings.self_test));
                if self.settings.self_test == SelfTest::Hang {
                    return Ok(None);
                }
                updater.confirm().await?;
            }
            Startup::Idle | Startup::Unfinished => {}
        }
        loop {
            if let Some(report) = updater.report().await? {
                let message = match report.status() {
                    Status::Done => format!("{} runs and is confirmed", report.version()),
                    _ => report.reason().to_owned(),
                };
                let mut out = [0; 512];
                let ack = report.write(&message, &mut out)?;
                if !ack.is_empty() {
                    on(Happening::Ack(ack.to_owned()));
                }
                updater.reported().await?;
                if job.id() == report.id() && job.dialect() == report.dialect() {
                    return Ok(Some(match report.status() {
                        Status::Done => End::Updated(report.version()),
                        status => End::Ended { status, reason: report.reason().to_owned(), error: failure.take() },
                    }));
                }
            }
            let mut on_event = |event| {
                let ack = progress_message(&event).map(|message| ack(job, Status::Downloading, &message));
                if let Some(Ok(ack)) = ack.filter(|ack| ack.as_deref() != Ok("")) {
                    on(Happening::Ack(ack));
                }
                on(Happening::Update(event));
            };
            match updater.run(job, &mut on_event).await {
                Ok(Outcome::RebootToTest) => return Ok(None),
                Ok(Outcome::AlreadyEnded(status)) => return Ok(Some(End::AlreadyEnded(status))),
                Ok(Outcome::AlreadyRuns) | Err(sprag::Error::ReportOwed) => {}
                Err(error) if error.is_retryable() => return Ok(Some(End::Unfinished(error))),
                Err(error) => {
                    *failure = Some(error.to_string());
                    // A job whose id can't be remembered is answered here and now.
                    if updater.report().await?.is_none() {
                        on(Happening::Ack(ack(job, Status::Rejected, error.reason())?));
                        let reason = error.reason().to_owned();
                        return Ok(Some(End::Ended { status: Status::Rejected, reason, error: failure.take() }));
                    }
                }
            }
        }
    }

    /// What lies in the flash: nothing is changed.
    ///
    /// # Errors
    /// The flash can't be read.
    pub async fn inspect(&self) -> anyhow::Result<Inspection> {
        let bootloader = self.bootloader();
        let slot = |range: &Range<u32>| {
            let region = self.region(range);
            let image = bootloader.check(&region).map(version).map_err(str::to_owned);
            let sprag_testkit::flash::Geometry { erase_size, erased, .. } = self.layout.geometry;
            let contents = region.contents();
            let sectors = contents.chunks(erase_size as usize);
            let all = sectors.len();
            let programmed = sectors.filter(|sector| sector.iter().any(|byte| *byte != erased)).count();
            anyhow::Ok(SlotState { image, trailer: bootloader.trailer(&region)?, programmed: (programmed, all) })
        };
        let mut ram = Self::ram();
        let connector = HostConnector::trusting_pem("")?;
        let mut updater = self.updater(&mut ram, &connector, Version::default());
        let job = updater.job().await?;
        let mut ram = Self::ram();
        let mut writer = self.slot_writer(&mut ram.scratch, &mut ram.page, &mut ram.second);
        let session = writer.session().await?;
        let journal = writer.journal().standing().await?;
        Ok(Inspection {
            primary: slot(&self.layout.primary)?,
            secondary: slot(&self.layout.secondary)?,
            boot: self.mcuboot().state().await?,
            session,
            journal,
            job,
        })
    }
}

fn ack(job: &Job<'_>, status: Status, message: &str) -> Result<String, TooSmall> {
    let mut out = [0; 256];
    match job.report(status, message, &mut out) {
        Ok(ack) => Ok(ack.to_owned()),
        Err(TooSmall { needed, .. }) => job.report(status, message, &mut vec![0; needed]).map(str::to_owned),
    }
}

/// What is reported on the way, if this is a step that the cloud hears of.
fn progress_message(event: &sprag::Event) -> Option<String> {
    match event {
        sprag::Event::Downloading { offset: 0 } => Some("downloading".to_owned()),
        sprag::Event::Downloading { offset } => Some(format!("downloading, from byte {offset} on")),
        sprag::Event::Verified { version } => Some(format!("{version} is verified, restarting to test it")),
        _ => None,
    }
}

pub(crate) fn version(version: sprag_testkit::image::Version) -> Version {
    let sprag_testkit::image::Version { major, minor, revision, build } = version;
    Version { major, minor, revision, build }
}
