//! A whole device on the host: flash in a file, a bootloader, and the firmware's side of an update.

use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use sprag::boot::{self, BootControl};
use sprag::fetch::{Fetcher, Limits, RetryPolicy};
use sprag::flash::journal::JournalStats;
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::job::{Job, Status, TooSmall};
use sprag::verify::{Key, Policy, Version};
use sprag::{JobRecord, Outcome, Startup, Updater};
use sprag_testkit::flash::{Region, SimFlash};
use sprag_testkit::mcuboot::Trailer;

use crate::layout::Layout;
use crate::loader::{AnyBoot, AnyFormat, Found, Place, Started};
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
    Booted(Started),
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

/// How much of an image is in the slot.
#[derive(Debug, Clone, Copy)]
pub struct Downloaded {
    /// Bytes that are in flash.
    pub written: u32,
    /// The size of the image in bytes.
    pub total: u32,
}

/// What lies in a device's flash.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The slots, the one that runs at first in front.
    pub slots: Vec<SlotState>,
    /// The one of them that the running image lies in.
    pub running: usize,
    /// True when images run from more than one slot.
    pub runs_in_place: bool,
    /// Where the hand-over to the bootloader stands.
    pub boot: boot::State,
    /// The unfinished image, as the journal has it.
    pub session: Option<Downloaded>,
    /// Where the journal stands; `None` when there is none.
    pub journal: Option<JournalStats>,
    /// The last job, as the journal has it.
    pub job: Option<JobRecord>,
}

impl Inspection {
    /// Returns the version of the running image.
    pub fn running_version(&self) -> Option<Version> {
        self.slots.get(self.running).and_then(|slot| slot.image.as_ref().ok()).copied()
    }
}

/// What lies in a slot.
#[derive(Debug, Clone)]
pub struct SlotState {
    /// Its name: that of its region or partition.
    pub name: String,
    /// The version of the image, or why it is none that may run.
    pub image: Result<Version, String>,
    /// The trailer that the bootloader left behind the image, for bootloaders that have one.
    pub trailer: Option<Trailer>,
    /// Sectors that do not read as erased, of all in the slot.
    pub programmed: (usize, usize),
}

pub(crate) type HostUpdater<'b> =
    Updater<'b, 'b, Fetcher<&'b HostConnector, TokioDelay>, Region, Region, AnyBoot<'b>, AnyFormat>;

/// What the firmware keeps in RAM, new after each reset.
pub(crate) struct Ram {
    page: [u8; PAGE],
    second: [u8; PAGE],
    scratch: Vec<u8>,
    /// For the hand-over.
    row: Vec<u8>,
}

impl Device {
    /// Makes a new flash file with `image` in the slot that runs at first. All else is erased, but for what the
    /// bootloader needs to start it.
    ///
    /// # Errors
    /// The file exists already or can't be made; the image does not fit, or the bootloader could not start it.
    pub fn create(path: &Path, layout: &Layout, image: &[u8]) -> anyhow::Result<()> {
        // Tried in memory first: a device that does not boot is noticed here, not at its first run.
        let bench = SimFlash::in_memory(layout.capacity, layout.geometry);
        layout.loader.install(&bench, image)?;
        layout.loader.reset(&bench).context("the image can't be started")?;
        let named = || format!("{}", path.display());
        // An incomplete flash file is of no use. An error of the removal has the same cause as the one that is reported.
        let remove = |error: &io::Error| {
            use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
            if matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull) {
                let _ = std::fs::remove_file(path);
            }
        };
        let flash = SimFlash::create(path, layout.capacity, layout.geometry).inspect_err(remove).with_context(named)?;
        layout.loader.install(&flash, image)
    }

    /// Opens the flash of a device. It stays locked until the device is dropped.
    ///
    /// # Errors
    /// The file is missing, in use, or does not fit the layout.
    pub fn open(path: &Path, layout: &Layout, key: Box<dyn Key>, settings: Settings) -> anyhow::Result<Self> {
        let named = || format!("{}", path.display());
        let size = std::fs::metadata(path).with_context(named)?.len();
        let layout = layout.clone().for_file_of(size).with_context(named)?;
        let flash = SimFlash::open(path, layout.capacity, layout.geometry).with_context(named)?;
        Ok(Self { flash, boot_erases: AtomicU64::new(0), layout, key, settings })
    }

    /// The flash, for counting and for cutting the power.
    pub fn flash(&self) -> &SimFlash {
        &self.flash
    }

    /// About how many flash operations an update takes: as many as the first slot that holds an image has programmed units.
    ///
    /// # Errors
    /// The flash can't be read.
    pub fn operations(&self) -> anyhow::Result<u64> {
        let slots = self.layout.loader.found(&self.flash)?;
        let slot = slots.iter().find(|slot| slot.image.is_ok()).context("no slot holds an image")?;
        let FlashGeometry { write_size, erased, .. } = self.layout.geometry;
        let contents = slot.region.contents();
        let units = contents.chunks(write_size as usize).filter(|unit| unit.iter().any(|byte| *byte != erased));
        Ok(units.count().max(1) as u64)
    }

    fn slot_writer<'b>(
        &self,
        place: Place,
        scratch: &'b mut [u8],
        page: &'b mut [u8],
        second: &'b mut [u8],
    ) -> SlotWriter<'b, Region, Region> {
        let geometry = self.layout.geometry;
        let journal = Journal::new(self.flash.region(self.layout.journal.clone()), geometry, scratch);
        let slot = self.layout.loader.target(&self.flash, place);
        SlotWriter::new(slot, geometry, journal, page).second_buffer(second)
    }

    /// The firmware's updater, in the image that runs from `place`.
    ///
    /// # Errors
    /// The bootloader's own data can't be read.
    pub(crate) async fn updater<'b>(
        &'b self,
        ram: &'b mut Ram,
        connector: &'b HostConnector,
        running: Version,
        place: Place,
    ) -> anyhow::Result<HostUpdater<'b>> {
        let Ram { page, second, scratch, row } = ram;
        let slot = self.slot_writer(place, scratch, page, second);
        let boot = self.layout.loader.control(&self.flash, place, row).await?;
        let mut fetcher = Fetcher::new(connector, TokioDelay).retry(self.settings.retry).limits(Limits::default());
        if let Some(size) = self.settings.range_size {
            fetcher = fetcher.range_size(size);
        }
        let policy = Policy::signed_by(&*self.key).newer_than(running);
        Ok(Updater::new(fetcher, slot, policy, boot).format(self.layout.loader.format()))
    }

    pub(crate) fn ram(&self) -> Ram {
        let scratch = SCRATCH.max(self.layout.geometry.write_size as usize);
        Ram { page: [0; PAGE], second: [0; PAGE], scratch: vec![0; scratch], row: vec![] }
    }

    /// A reset: the bootloader decides, swaps, and starts an image.
    ///
    /// # Errors
    /// No image can be started.
    pub fn reset(&self) -> anyhow::Result<Started> {
        let before = self.flash.stats().erases;
        // A power cut that is asked for is the firmware's.
        let boot = self.flash.spared(|| self.layout.loader.reset(&self.flash)).context("the device does not boot");
        self.boot_erases.fetch_add(self.flash.stats().erases - before, Ordering::Relaxed);
        boot
    }

    /// Sectors that the updater erased so far, in the slot and in its journal: all but the bootloader's.
    pub fn updater_erases(&self) -> u64 {
        self.flash.stats().erases - self.boot_erases.load(Ordering::Relaxed)
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
        let mut ram = self.ram();
        let mut updater = self.updater(&mut ram, connector, running, boot.place).await?;
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
        let (place, _) = self.layout.loader.place(&self.flash).await.map_err(anyhow::Error::from)?;
        let found = self.layout.loader.found(&self.flash)?;
        let running = self.layout.loader.index_of(&found, place);
        let slot = |Found { name, region, image, trailer }: Found| {
            let FlashGeometry { erase_size, erased, .. } = self.layout.geometry;
            let contents = region.contents();
            let sectors = contents.chunks(erase_size as usize);
            let all = sectors.len();
            let programmed = sectors.filter(|sector| sector.iter().any(|byte| *byte != erased)).count();
            SlotState { name, image: image.map(version), trailer, programmed: (programmed, all) }
        };
        let mut ram = self.ram();
        let connector = HostConnector::trusting_pem("")?;
        let mut updater = self.updater(&mut ram, &connector, Version::default(), place).await?;
        let job = updater.job().await?;
        let mut ram = self.ram();
        let mut writer = self.slot_writer(place, &mut ram.scratch, &mut ram.page, &mut ram.second);
        let session = writer.session().await?;
        let session = session.map(|session| Downloaded { written: session.written, total: session.total });
        let journal = writer.journal().stats().await?;
        Ok(Inspection {
            slots: found.into_iter().map(slot).collect(),
            running,
            runs_in_place: place.name().is_some(),
            boot: self.layout.loader.control(&self.flash, place, &mut ram.row).await?.state().await?,
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
