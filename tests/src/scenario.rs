//! The seven scenarios of the demo: each ends in one way only, or fails.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use sprag_cli::device::{Happening, PAGE, SelfTest};
use sprag_cli::s3::Disturbance;
use sprag_testkit::flash::Torn;
use sprag_testkit::image::Version;

use crate::bench::{Bench, End, NEW, OLD, PAYLOAD, ack, version};
use crate::bootloader::Bootloader;
use crate::outcome::Outcome;

const RANGE: NonZeroU64 = NonZeroU64::new(4096).unwrap();
const SECTOR: u64 = 4096;

/// One thing that happens to an update, and how it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One open range: 1 GET, updated, confirmed
    Stream,
    /// Ranges of 4096 bytes, the server closing after 100: 257 requests, 3 connections, updated
    Ranges,
    /// The power fails at a random moment of the download: goes on, at most one sector fetched twice, updated
    PowerCut,
    /// The URL expires in mid-transfer: a new job document with a new URL, on from the same byte, updated
    ExpiredUrl,
    /// The object changes between two requests: noticed, started over, the new one installed or refused by its version
    ReplacedObject,
    /// The signature does not fit: refused before staging, the old image boots
    BadSignature,
    /// The new image never confirms itself: the next boot is the old image again, where the bootloader has trials
    NoConfirm,
}

/// Where a scenario tells what happens.
pub type Tell<'t> = &'t mut (dyn FnMut(Told<'_>) + 't);

/// What a scenario tells.
#[derive(Debug)]
pub enum Told<'a> {
    /// Something that the scenario does.
    Line(String),
    /// Something that happens on the device.
    Device(&'a Happening),
}

impl Scenario {
    /// The name as `--scenario` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Ranges => "ranges",
            Self::PowerCut => "power-cut",
            Self::ExpiredUrl => "expired-url",
            Self::ReplacedObject => "replaced-object",
            Self::BadSignature => "bad-signature",
            Self::NoConfirm => "no-confirm",
        }
    }

    /// Plays it from a clean state.
    ///
    /// # Errors
    /// The bench can't be set up. How the scenario itself went is in the outcome.
    pub async fn play(self, bootloader: Bootloader, seed: u64, tell: Tell<'_>) -> anyhow::Result<Outcome> {
        let mut bench = Bench::with(bootloader, seed).await?;
        let size = bench.image(NEW, PAYLOAD).len() as u64;
        let verdict = match self {
            Self::Stream => stream(&mut bench, tell).await,
            Self::Ranges => ranges(&mut bench, tell).await,
            Self::PowerCut => power_cut(&mut bench, tell).await,
            Self::ExpiredUrl => expired_url(&mut bench, tell).await,
            Self::ReplacedObject => replaced_object(&mut bench, tell).await,
            Self::BadSignature => bad_signature(&mut bench, tell).await,
            Self::NoConfirm => no_confirm(&mut bench, tell).await,
        };
        Ok(Outcome::of(self.name(), &bench, size, verdict))
    }
}

async fn stream(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<String> {
    let url = bench.publish(bench.image(NEW, PAYLOAD)).await?;
    bench.give(&url)?;
    run(bench, tell).await?;
    must_update(bench, NEW)?;
    must_request(bench, 1, 1..=1)?;
    must_fetch_twice(bench, 0)?;
    must_report(
        bench,
        &[
            ack(2, "downloading"),
            ack(2, "1.1.0 is verified, restarting to test it"),
            ack(3, "1.1.0 runs and is confirmed"),
        ],
    )?;
    Ok("updated and confirmed".to_owned())
}

async fn ranges(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<String> {
    bench.settings.range_size = Some(RANGE);
    let url = bench.publish(bench.image(NEW, PAYLOAD)).await?;
    bench.give(&url)?;
    run(bench, tell).await?;
    must_update(bench, NEW)?;
    let ranges = (bench.image(NEW, PAYLOAD).len() as u64).div_ceil(RANGE.get());
    must_request(bench, ranges, 3..=3)?;
    must_fetch_twice(bench, 0)?;
    Ok("updated and confirmed".to_owned())
}

async fn power_cut(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<String> {
    let image = bench.image(NEW, PAYLOAD);
    let url = bench.publish(image.clone()).await?;
    bench.give(&url)?;
    let device = bench.device()?;
    // Every unit of the image is programmed once: the cut falls somewhere into the download.
    let operation = bench.random.u64(1..image.len() as u64 / bench.bootloader.write_size());
    let torn = match bench.random.u8(..3) {
        0 => Torn::Nothing,
        1 => Torn::Half,
        _ => Torn::Bits(bench.random.u64(..)),
    };
    device.flash().cut_power_after(operation, torn);
    match run_on(bench, &device, tell).await? {
        End::Dead(error) => tell(Told::Line(format!("power fails within flash operation {operation}: {error}"))),
        End::Reported => bail!("the power cut went unnoticed"),
    }
    drop(device);
    tell(Told::Line("power returns: a new process with nothing but the flash file".to_owned()));
    run(bench, tell).await?;
    must_update(bench, NEW)?;
    // The block that showed that its sector was torn comes once more.
    must_fetch_twice(bench, SECTOR + PAGE as u64)?;
    Ok(format!("cut in operation {operation}, went on, updated and confirmed"))
}

async fn expired_url(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<String> {
    bench.settings.range_size = Some(RANGE);
    bench.publish(bench.image(NEW, PAYLOAD)).await?;
    // Presigned a minute ago, for a minute and a few seconds; a request in the middle is held up until they are over.
    let start = SystemTime::now() - Duration::from_secs(60);
    let url = bench.presign(start, Duration::from_secs(64));
    let over = start + Duration::from_millis(65_100);
    let held = bench.random.u64(2..=257);
    bench.server.on_request(move |number| {
        let left = over.duration_since(SystemTime::now()).unwrap_or_default();
        (number == held).then_some(Disturbance::Delay(left))
    });
    bench.give(&url)?;
    // The second time the device asks: the same job with a new URL.
    bench.give(&bench.presign(SystemTime::now(), Duration::from_secs(3600)))?;
    run(bench, tell).await?;
    must_update(bench, NEW)?;
    must_fetch_twice(bench, 0)?;
    let log = bench.server.stats().log;
    let first_after = log.iter().rev().take_while(|record| record.status == Some(206)).last();
    let range = first_after.and_then(|record| record.range.clone()).context("no request was answered")?;
    let before = u64::try_from(log.iter().take_while(|record| record.status == Some(206)).count())?;
    let came = before * RANGE.get();
    ensure!(came > 0, "the URL expired before the transfer began");
    ensure!(log.iter().any(|record| record.status == Some(403)), "the URL's expiry went unnoticed");
    ensure!(range.starts_with(&format!("bytes={came}-")), "went on at {range}, not at byte {came}");
    Ok(format!("expired at byte {came}, went on there, updated and confirmed"))
}

async fn replaced_object(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<String> {
    bench.settings.range_size = Some(RANGE);
    let url = bench.publish(bench.image(NEW, PAYLOAD)).await?;
    // Of the same size, so that only its ETag tells it apart; newer than the one that runs, or older.
    let other = if bench.random.bool() { version(1, 2) } else { version(0, 9) };
    let at = bench.random.u64(2..=257);
    let replacement = std::sync::Mutex::new(Some(bench.replacement(bench.image(other, PAYLOAD))));
    bench.server.on_request(move |number| {
        (number == at).then(|| replacement.lock().ok().and_then(|mut replacement| replacement.take())).flatten()
    });
    bench.give(&url)?;
    run(bench, tell).await?;
    let refused = bench.server.stats().log.iter().filter(|record| record.status == Some(412)).count();
    ensure!(refused == 1, "{refused} requests were answered with 412, not one");
    if other > OLD {
        must_update(bench, other)?;
        return Ok(format!("replaced at request {at}, started over, 1.2.0 installed and confirmed"));
    }
    must_fail(bench, "not-newer")?;
    Ok(format!("replaced at request {at}, started over, 0.9.0 refused by its version"))
}

async fn bad_signature(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<String> {
    let mut image = bench.image(NEW, PAYLOAD);
    let reason = bench.bootloader.spoil(&mut image, &mut bench.random);
    let url = bench.publish(image).await?;
    bench.give(&url)?;
    run(bench, tell).await?;
    must_fail(bench, reason)?;
    must_report(bench, &[ack(2, "downloading"), ack(4, reason)])?;
    Ok("refused before staging, the old image boots".to_owned())
}

async fn no_confirm(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<String> {
    bench.settings.self_test = SelfTest::Hang;
    let url = bench.publish(bench.image(NEW, PAYLOAD)).await?;
    bench.give(&url)?;
    run(bench, tell).await?;
    if !bench.bootloader.has_trials() {
        must_update(bench, NEW)?;
        return Ok("there are no trials: the new image stays".to_owned());
    }
    must_fail(bench, "reverted")?;
    must_report(
        bench,
        &[ack(2, "downloading"), ack(2, "1.1.0 is verified, restarting to test it"), ack(4, "reverted")],
    )?;
    Ok("tested, not confirmed, the old image boots again".to_owned())
}

/// Runs a device to the end of its job.
async fn run(bench: &mut Bench, tell: Tell<'_>) -> anyhow::Result<()> {
    let device = bench.device()?;
    match run_on(bench, &device, tell).await? {
        End::Reported => Ok(()),
        End::Dead(error) => Err(error),
    }
}

async fn run_on(bench: &mut Bench, device: &sprag_cli::device::Device, tell: Tell<'_>) -> anyhow::Result<End> {
    bench.run(device, &mut |happening| tell(Told::Device(happening))).await
}

/// The new version runs, stays after another reset, and the last report said so.
fn must_update(bench: &Bench, version: Version) -> anyhow::Result<()> {
    must_boot(bench, version)?;
    let Version { major, minor, revision, .. } = version;
    must_end_with(bench, 3, &format!("{major}.{minor}.{revision} runs and is confirmed"))
}

/// The job failed for this reason, the old version runs, and the last report said why.
fn must_fail(bench: &Bench, reason: &str) -> anyhow::Result<()> {
    must_boot(bench, OLD)?;
    must_end_with(bench, 4, reason)
}

fn must_boot(bench: &Bench, version: Version) -> anyhow::Result<()> {
    let running = bench.device()?.reset()?.running;
    ensure!(running == version, "{running:?} runs after another reset, not {version:?}");
    Ok(())
}

fn must_end_with(bench: &Bench, status: u8, message: &str) -> anyhow::Result<()> {
    let finals = bench.finals();
    ensure!(finals == [ack(status, message)], "the final reports are {finals:?}, not {status} with {message:?}");
    Ok(())
}

/// These reports were made; how far the download was is not looked at.
fn must_report(bench: &Bench, acks: &[String]) -> anyhow::Result<()> {
    let is_percent = |c: char| c.is_ascii_digit() || c == ' ' || c == '%';
    let reports: Vec<String> = bench.cloud.acks();
    let plain = reports.iter().map(|ack| match ack.split_once("downloading, ") {
        Some((head, rest)) => format!("{head}downloading{}", rest.trim_start_matches(is_percent)),
        None => ack.clone(),
    });
    ensure!(plain.eq(acks.iter().cloned()), "reported {reports:?}, not {acks:?}");
    Ok(())
}

fn must_request(bench: &Bench, requests: u64, connections: std::ops::RangeInclusive<u64>) -> anyhow::Result<()> {
    let stats = bench.server.stats();
    ensure!(stats.requests == requests, "the server saw {} requests, not {requests}", stats.requests);
    ensure!(bench.tally.requests == requests, "the device counted {} requests", bench.tally.requests);
    ensure!(connections.contains(&stats.connections), "{} connections, not {connections:?}", stats.connections);
    Ok(())
}

fn must_fetch_twice(bench: &Bench, at_most: u64) -> anyhow::Result<()> {
    let size = bench.image(NEW, PAYLOAD).len() as u64;
    let twice = bench.tally.bytes.checked_sub(size).context("bytes are missing from the count")?;
    ensure!(twice <= at_most, "{twice} bytes were fetched twice, more than {at_most}");
    Ok(())
}
