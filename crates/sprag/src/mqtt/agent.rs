//! The device's task: does the jobs that the link hands over, one after the other, each to its end.

use embassy_futures::select::{Either, Either3, select, select3};
use embedded_hal_async::delay::DelayNs;
use embedded_storage_async::nor_flash::NorFlash;
use sprag_boot::BootControl;
use sprag_fetch::{Backoff, ImageSource};
use sprag_job::{Job, Status};
use sprag_verify::{Format, Version};

use super::client::Broker;
use super::cloud::{Cloud, ReadJob, Scratch};
use super::event::Event;
use super::exchange::{Document, Exchange, Say, Stop, Told};
use super::link::Link;
use crate::error::Error;
use crate::record::Phase;
use crate::updater::{Outcome, Startup, Updater};

/// How long to wait between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// After the first fruitless try, in milliseconds; it doubles with each one after it, and jitter takes up to half off.
    pub first_ms: u32,
    /// The longest, in milliseconds.
    pub longest_ms: u32,
}

impl Waits {
    pub(crate) fn backoff(self, seed: u32) -> Backoff {
        Backoff::new(self.first_ms, self.longest_ms, seed)
    }
}

/// What bounds the conversation. The defaults suit cellular links and AWS's broker.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a connection, TLS and MQTT's CONNECT included, in milliseconds.
    pub connect_ms: u32,
    /// For a message to be taken by the connection, or to come in once it has begun, in milliseconds.
    pub send_ms: u32,
    /// For the broker's acknowledgement, in seconds.
    pub answer_seconds: u32,
    /// A PINGREQ goes out after this many seconds in which nothing was sent; after twice as many in which nothing came,
    /// the connection is given up. Shorter than the keep-alive that the MQTT client has agreed on.
    pub keep_alive_seconds: u32,
    /// Between connections to the broker, which are tried for ever.
    pub reconnect: Waits,
    /// Between the runs of a job that stopped.
    pub rerun: Waits,
    /// After how many runs in a row that brought no byte a job ends as failed.
    pub reruns: u8,
    /// Before the next job is looked at, when jobs in a row ended without an update: a flood of jobs must not wear the
    /// journal out.
    pub flood: Waits,
    /// Seconds of uptime that allow one more download from byte 0: see [`WearLimits`](crate::WearLimits).
    pub start_every_seconds: u32,
    /// Seeds the jitter of the waits. **It is to differ between devices** (serial number, MAC address): a fleet that lost
    /// its broker together must not come back together.
    pub seed: u32,
}

impl Limits {
    /// The defaults, with a [`seed`](Self::seed) that differs between devices.
    pub fn new(seed: u32) -> Self {
        Self {
            connect_ms: 30_000,
            send_ms: 20_000,
            answer_seconds: 20,
            keep_alive_seconds: 60,
            reconnect: Waits { first_ms: 1_000, longest_ms: 120_000 },
            rerun: Waits { first_ms: 5_000, longest_ms: 900_000 },
            reruns: 12,
            flood: Waits { first_ms: 1_000, longest_ms: 3_600_000 },
            start_every_seconds: 36_000,
            seed,
        }
    }
}

/// For how long the reset waits for the cloud to know of it, and a stopped job for the document of the next, in
/// milliseconds.
const RESTART_MS: u32 = 30_000;
/// For how long a document that was asked for is waited for before that counts as another try, in milliseconds.
const ASK_MS: u32 = 30_000;

/// The caller's buffers.
#[derive(Debug)]
pub struct Buffers<'b> {
    /// Holds a job document: the longest that is taken.
    pub document: &'b mut [u8],
    /// Holds a topic: 226 bytes for AWS ([`TOPIC_MAX`](sprag_job::aws::TOPIC_MAX)).
    pub topic: &'b mut [u8],
    /// Holds what is published: 512 bytes do.
    pub payload: &'b mut [u8],
}

/// The device is to be reset now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Reset;

/// A device's whole life with its cloud: listens for jobs, runs them with an [`Updater`], reports each to its one end, and
/// carries on where it was after every loss of the broker, of the power, or of patience.
///
/// Two tasks in one future: the link keeps the connection to the broker, the other works on the job. A download goes on
/// while the broker is away.
#[derive(Debug)]
pub struct Agent<K, T, D> {
    cloud: K,
    clock: T,
    delay: D,
    limits: Limits,
}

impl<K: Cloud, T: Fn() -> u32, D: DelayNs + Clone> Agent<K, T, D> {
    /// An agent for this cloud. `clock` gives seconds from any start; it may wrap.
    pub fn new(cloud: K, clock: T, delay: D, limits: Limits) -> Self {
        Self { cloud, clock, delay, limits }
    }

    /// Runs until the device is to be reset, however long that takes. To be called once after each start, in the place of
    /// [`Updater::start`]; the application goes on beside it, in tasks of its own.
    ///
    /// `running` is as for [`Updater::start`], and images are of the updater's format. `self_test` is called when this
    /// image is on trial: `true` confirms it, `false` gives it up; while it is under way, the cloud can be spoken to, so
    /// it may wait for [`Event::Connected`].
    ///
    /// # Errors
    /// Flash or bootloader fail: [`Error::Flash`], [`Error::Boot`].
    ///
    /// # Cancellation safety
    /// Dropping the future is like a power cut: the next start goes on.
    pub async fn run<M, C, S, J, B, F>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
        broker: &mut M,
        running: Version,
        buffers: Buffers<'_>,
        self_test: impl AsyncFnOnce() -> bool,
        events: &mut dyn FnMut(Event),
    ) -> Result<Reset, Error<C::Error>>
    where
        M: Broker,
        C: ImageSource,
        S: NorFlash,
        J: NorFlash,
        B: BootControl,
        F: Format,
    {
        let startup = updater.start(running).await?;
        let record = updater.job().await?;
        self.cloud.restore(record.as_ref(), updater.kept().await?.unwrap_or_default());

        let exchange = Exchange::new(events);
        let (room, read) = (buffers.document.len(), self.cloud.read());
        let mut device = Device {
            exchange: &exchange,
            delay: self.delay.clone(),
            read,
            again: K::IS_ONE_BY_ONE,
            reruns: self.limits.rerun.backoff(self.limits.seed),
            reruns_max: self.limits.reruns,
            flood: self.limits.flood.backoff(self.limits.seed),
            flood_ms: None,
            start_every_seconds: self.limits.start_every_seconds,
            credited: (self.clock)(),
            clock: &self.clock,
            running,
            job: None,
            furthest: 0,
        };
        let mut link = Link {
            cloud: &mut self.cloud,
            exchange: &exchange,
            clock: &self.clock,
            delay: self.delay.clone(),
            limits: self.limits,
            scratch: Scratch { topic: buffers.topic, payload: buffers.payload },
            spare: Some(buffers.document),
            room,
            owes_document: false,
            unsaid: None,
            lost_reports: 0,
            is_reporting: false,
        };
        match select(device.run(updater, startup, self_test), link.run(broker)).await {
            Either::First(result) => result,
            Either::Second(never) => never,
        }
    }
}

/// The side of the device.
struct Device<'x, 'b, 'e, D, T> {
    exchange: &'x Exchange<'b, 'e>,
    delay: D,
    read: ReadJob,
    /// Whether a job that has ended is done again when it is given again.
    again: bool,
    reruns: Backoff,
    reruns_max: u8,
    /// Counts jobs in a row that ended without an update.
    flood: Backoff,
    /// The wait before the next job is looked at, in milliseconds.
    flood_ms: Option<u32>,
    start_every_seconds: u32,
    /// Up to which second uptime has been counted for [`Updater::credit`].
    credited: u32,
    clock: &'x T,
    running: Version,
    /// The identity of the job that runs are counted for.
    job: Option<u64>,
    /// The most bytes that came of it: what comes again is no progress.
    furthest: u64,
}

/// What comes after a job, or a part of one.
enum Next {
    Reset,
    /// Another document, or for this reason a fresh one of the same job.
    Listen(&'static str),
    /// The document that is on its way.
    Other,
}

type Result_<T, C> = Result<T, Error<<C as ImageSource>::Error>>;

impl<'b, D: DelayNs, T: Fn() -> u32> Device<'_, 'b, '_, D, T> {
    async fn run<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
        startup: Startup,
        self_test: impl AsyncFnOnce() -> bool,
    ) -> Result_<Reset, C> {
        match startup {
            Startup::Staged => return Ok(Reset),
            Startup::Trial => {
                self.exchange.say(Say::Testing { version: self.running });
                let passed = self_test().await;
                self.exchange.event(Event::SelfTest { passed });
                if !passed {
                    updater.reject().await?;
                    return Ok(Reset);
                }
                updater.confirm().await?;
            }
            Startup::Idle | Startup::Unfinished => {}
        }
        let (mut reason, mut overtaken) = ("no-document", false);
        loop {
            self.report(updater).await?;
            let document = if core::mem::take(&mut overtaken) {
                self.wait_out_flood().await;
                match select(self.exchange.document.wait(), self.delay.delay_ms(RESTART_MS)).await {
                    Either::First(document) => Some(document),
                    Either::Second(()) => None,
                }
            } else {
                self.listen(updater, reason).await?
            };
            let Some(Document { buffer, length, state }) = document else { continue };
            // From here on, a stop is about this one.
            self.exchange.stop.reset();
            let next = match (self.read)(buffer.get(..length).unwrap_or_default()) {
                Ok(job) => {
                    updater.keep(&state).await?;
                    self.work(updater, &job).await
                }
                // The link has read it before.
                Err(error) => Ok(Next::Listen(error.reason())),
            };
            self.exchange.returned.signal(buffer);
            match next? {
                Next::Reset => return Ok(Reset),
                Next::Listen(why) => reason = why,
                Next::Other => overtaken = true,
            }
        }
    }

    /// The wait before another run; `None` when there have been enough.
    fn another_run(&mut self) -> Option<u32> {
        let wait_ms = self.reruns.next_ms();
        (self.reruns.fruitless() < self.reruns_max).then_some(wait_ms)
    }

    /// Makes the final report that is owed, if one is, however long the broker is away.
    async fn report<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
    ) -> Result_<(), C> {
        while let Some(report) = updater.report().await? {
            let status = report.status();
            // A job that is done because its image runs already was no update.
            if status == Status::Done && report.reason().is_empty() {
                self.flood.reset();
            } else {
                self.flood_ms = Some(self.flood.next_ms());
            }
            self.exchange.say(Say::End(report));
            let Told { taken, .. } = self.exchange.told.wait().await;
            updater.reported().await?;
            self.exchange.event(Event::Reported { status, taken });
        }
        Ok(())
    }

    /// Waits for a document. While a job is unfinished, for this reason, the cloud is asked for a fresh one of it, and in
    /// the end it is given up.
    async fn listen<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
        reason: &'static str,
    ) -> Result_<Option<Document<'b>>, C> {
        let exchange = self.exchange;
        exchange.stop.reset();
        if !is_unfinished(updater).await? {
            self.reruns.reset();
            exchange.say(Say::Nothing);
            self.wait_out_flood().await;
            return Ok(Some(exchange.document.wait().await));
        }
        // Without a broker no document can come: that is no try.
        let is_first = self.reruns.fruitless() == 0 || !exchange.is_connected.get();
        let wait_ms = if exchange.is_connected.get() { self.another_run() } else { Some(ASK_MS) };
        let Some(wait_ms) = wait_ms else {
            updater.abandon(reason).await?;
            return Ok(None);
        };
        exchange.event(Event::Waiting { reason, wait_ms, fresh_url: true });
        // Asked for at once the first time; a URL that is refused again and again is asked for with growing waits.
        let waits = if is_first { [None, Some(wait_ms)] } else { [Some(wait_ms), Some(ASK_MS)] };
        exchange.wants_document.set(true);
        for (round, wait_ms) in waits.into_iter().enumerate() {
            let Some(wait_ms) = wait_ms else { continue };
            if round == 1 {
                exchange.say(Say::Fresh);
            }
            let heard = select3(exchange.document.wait(), self.delay.delay_ms(wait_ms), exchange.stop.wait()).await;
            match heard {
                Either3::First(document) => {
                    exchange.wants_document.set(false);
                    return Ok(Some(document));
                }
                Either3::Second(()) => {}
                Either3::Third(stop) => {
                    let _ = self.stop(updater, stop).await?;
                    break;
                }
            }
        }
        exchange.wants_document.set(false);
        Ok(None)
    }

    /// Runs a job until it has come to its end, or takes another document, or a reset.
    async fn work<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
        job: &Job<'_>,
    ) -> Result_<Next, C> {
        let exchange = self.exchange;
        self.credit(updater).await?;
        if self.job != Some(job.identity()) {
            (self.job, self.furthest) = (Some(job.identity()), 0);
            self.reruns.reset();
        }
        loop {
            exchange.begin();
            let before = self.furthest;
            let furthest = &mut self.furthest;
            let mut events = |event: crate::Event| {
                if let crate::Event::Progress { received, total } = event {
                    *furthest = received.max(*furthest);
                    exchange.progress(received, total);
                }
                exchange.event(Event::Update(event));
            };
            let outcome = match select(updater.run(job, &mut events), exchange.stop.wait()).await {
                Either::First(outcome) => outcome,
                Either::Second(stop) => return self.stop(updater, stop).await,
            };
            let error = match outcome {
                Ok(Outcome::RebootToTest) => return self.restart(updater).await,
                Ok(Outcome::AlreadyRuns) => return Ok(Next::Listen("")),
                // Given again though it runs: the cloud has not heard that, or has timed it out meanwhile.
                Ok(Outcome::AlreadyEnded(Status::Done)) if self.again && self.runs(updater).await? => {
                    updater.owe_again().await?;
                    return Ok(Next::Listen(""));
                }
                Ok(Outcome::AlreadyEnded(_)) if self.again && updater.report().await?.is_none() => {
                    updater.forget_ended().await?;
                    continue;
                }
                Ok(Outcome::AlreadyEnded(_)) => return Ok(Next::Listen("")),
                Err(Error::ReportOwed) => {
                    self.report(updater).await?;
                    continue;
                }
                Err(error) => error,
            };
            if self.furthest > before {
                self.reruns.reset();
            }
            let reason = error.reason();
            let wait_ms = match error.is_retryable() {
                true if error.needs_new_url() => return Ok(Next::Listen(reason)),
                true => self.another_run(),
                false => None,
            };
            let Some(wait_ms) = wait_ms else {
                updater.abandon(reason).await?;
                // What can't even be remembered can't be reported: flash or bootloader fail.
                let is_known = updater.job().await?.is_some_and(|record| record.is_of(job));
                return if is_known { Ok(Next::Listen(reason)) } else { Err(error) };
            };
            exchange.event(Event::Waiting { reason, wait_ms, fresh_url: false });
            if let Either::Second(stop) = select(self.delay.delay_ms(wait_ms), exchange.stop.wait()).await {
                return self.stop(updater, stop).await;
            }
        }
    }

    /// Lets downloads begin at byte 0 again as time passes.
    async fn credit<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
    ) -> Result_<(), C> {
        let passed = (self.clock)().wrapping_sub(self.credited);
        let starts = passed.checked_div(self.start_every_seconds).unwrap_or(0);
        self.credited = self.credited.wrapping_add(starts.saturating_mul(self.start_every_seconds));
        updater.credit(u16::try_from(starts).unwrap_or(u16::MAX)).await
    }

    /// Waits before the next job is looked at, when those before it ended without an update.
    async fn wait_out_flood(&mut self) {
        if let Some(wait_ms) = self.flood_ms.take() {
            self.exchange.event(Event::Waiting { reason: "jobs-without-update", wait_ms, fresh_url: false });
            self.delay.delay_ms(wait_ms).await;
        }
    }

    /// Whether the image of the last job is what runs.
    async fn runs<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
    ) -> Result_<bool, C> {
        Ok(updater.job().await?.is_some_and(|record| record.version == self.running))
    }

    /// The image is staged: lets the cloud know, if it is there.
    async fn restart<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
    ) -> Result_<Next, C> {
        let exchange = self.exchange;
        let version = updater.job().await?.map(|job| job.version).unwrap_or_default();
        exchange.say(Say::Restarting { version });
        match select3(exchange.told.wait(), self.delay.delay_ms(RESTART_MS), exchange.stop.wait()).await {
            Either3::First(Told { state, .. }) => updater.keep(&state).await?,
            Either3::Second(()) => {}
            Either3::Third(stop) => return self.stop(updater, stop).await,
        }
        Ok(Next::Reset)
    }

    /// Stops what is being done. A job that another one takes the place of is ended, and reported, when that one begins.
    async fn stop<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
        &mut self,
        updater: &mut Updater<'_, '_, C, S, J, B, F>,
        stop: Stop,
    ) -> Result_<Next, C> {
        self.exchange.say(Say::Nothing);
        self.exchange.event(Event::Stopped);
        if stop == Stop::Gone && is_unfinished(updater).await? {
            updater.abandon("cancelled").await?;
            // By the cloud's own word: it need not be told.
            updater.reported().await?;
        }
        Ok(if stop == Stop::Superseded { Next::Other } else { Next::Listen("stopped") })
    }
}

async fn is_unfinished<C: ImageSource, S: NorFlash, J: NorFlash, B: BootControl, F: Format>(
    updater: &mut Updater<'_, '_, C, S, J, B, F>,
) -> Result_<bool, C> {
    Ok(updater.job().await?.is_some_and(|job| !matches!(job.phase, Phase::Ended(_))))
}
