//! One job, from its document to the image that runs: the order in which the five crates act.

use core::ops::Range;

use embassy_futures::yield_now;
use embedded_storage_async::nor_flash::NorFlash;
use sprag_boot::{BootControl, State, Swap};
use sprag_fetch::{ETAG_MAX, Etag, Image, ImageSource};
use sprag_flash::{CONVERSATION, FeedError, JOB, SlotWriter};
use sprag_job::{Artifact, DigestAlgorithm, Job, SignatureAlgorithm, Status, TooSmall};
use sprag_verify::{Algorithm, Format, McuBoot, Policy, Promised, Signature, Version};

use crate::error::Error;
use crate::record::{ID_MAX, JobRecord, Phase};
use crate::report::Report;
use crate::wear::{Wear, WearLimits};

/// How often one run may begin anew: because the object changed under the reader, or what lay in the slot had gone bad.
const STARTS_MAX: u8 = 3;

/// The longest name of a board that a job may give, in bytes.
const HARDWARE_MAX: usize = 64;
/// The longest signature in base64: 72 bytes of DER.
const SIGNATURE_MAX: usize = 96;
/// The longest version: `v255.255.65535+4294967295`.
const VERSION_MAX: usize = 25;

/// What happens during a run, for progress reports, logs and counting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The download begins, or goes on behind what is in flash already.
    Downloading {
        /// Where, in bytes.
        offset: u32,
    },
    /// Something happened on the network.
    Fetch(sprag_fetch::Event),
    /// Bytes arrived.
    Progress {
        /// How many of the image have come now.
        received: u64,
        /// How many there are to be.
        total: u64,
    },
    /// The bytes that came are thrown away, and the download starts over: the object changed, the server can't go on in
    /// the middle of it, or what lies in the slot is damaged.
    StartedOver {
        /// [`Error::reason`] of what was found.
        reason: &'static str,
    },
    /// Everything is in flash, and is being verified there.
    Verifying,
    /// The image may run here.
    Verified {
        /// The version in its header.
        version: Version,
    },
}

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Outcome {
    /// The new image is staged: reset, so that it is tried.
    RebootToTest,
    /// This job came to this end before: it was delivered twice. Its final report is owed or has been made.
    AlreadyEnded(Status),
    /// The job's image has exactly the version of the running firmware, which is confirmed: the job is done, and its
    /// final report is owed. Nothing was staged.
    AlreadyRuns,
}

/// What a start of the device finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Startup {
    /// Nothing is under way. A final report may be owed all the same: see [`Updater::report`].
    Idle,
    /// A job was cut off: get its document (or a fresh one) and [`run`](Updater::run) it again. It goes on where it was.
    Unfinished,
    /// An image is staged, but the bootloader has not tried it yet: reset.
    Staged,
    /// This is the new image, on trial: test it, then [`confirm`](Updater::confirm) or [`reject`](Updater::reject) it.
    Trial,
}

/// Takes jobs to their end: the new image runs and is confirmed, or the old one still boots and the cloud knows why.
///
/// After every start of the device: [`start`](Self::start), then act on what it says, then publish what
/// [`report`](Self::report) gives. When a job arrives: [`run`](Self::run).
///
/// Images are MCUboot's, unless [`format`](Self::format) says otherwise.
#[derive(Debug)]
pub struct Updater<'b, 'k, C, S, J, B, F = McuBoot> {
    source: C,
    slot: SlotWriter<'b, S, J>,
    policy: Policy<'k>,
    boot: B,
    format: F,
    /// What runs, once it has been said.
    running: Option<Version>,
    limits: WearLimits,
    /// True when the reset before this start has been counted for the job in hand.
    is_reset_counted: bool,
}

type Result_<T, C> = Result<T, Error<<C as ImageSource>::Error>>;

impl<'b, 'k, C, S, J, B> Updater<'b, 'k, C, S, J, B>
where
    C: ImageSource,
    S: NorFlash,
    J: NorFlash,
    B: BootControl,
{
    /// An updater over the five: where bytes come from (a [`Fetcher`](sprag_fetch::Fetcher), by HTTP), where they go,
    /// what may run, and who is told.
    pub fn new(source: C, slot: SlotWriter<'b, S, J>, policy: Policy<'k>, boot: B) -> Self {
        let (limits, is_reset_counted) = (WearLimits::DEFAULT, false);
        Self { source, slot, policy, boot, format: McuBoot, running: None, limits, is_reset_counted }
    }

    /// Takes images of another format: [`EspIdf`](sprag_verify::EspIdf), or [`Raw`](sprag_verify::Raw) ones that only the
    /// job vouches for. What the job promises of them is what its document says: digest, signature, version, hardware.
    pub fn format<F: Format>(self, format: F) -> Updater<'b, 'k, C, S, J, B, F> {
        let Self { source, slot, policy, boot, running, limits, is_reset_counted, .. } = self;
        Updater { source, slot, policy, boot, format, running, limits, is_reset_counted }
    }
}

impl<C, S, J, B, F> Updater<'_, '_, C, S, J, B, F> {
    /// Sets how often downloads may begin at byte 0, which bounds the wear of the flash.
    #[must_use]
    pub fn wear_limits(mut self, limits: WearLimits) -> Self {
        self.limits = limits;
        self
    }
}

impl<'b, 'k, C, S, J, B, F> Updater<'b, 'k, C, S, J, B, F>
where
    C: ImageSource,
    S: NorFlash,
    J: NorFlash,
    B: BootControl,
    F: Format,
{
    /// Finds out what the last reset led to. To be called once after each start, before anything else.
    ///
    /// `running` is the version of the firmware that calls it, exactly as it stands in its image's header, build number
    /// included: [`mcuboot::version`](sprag_verify::mcuboot::version) of the primary slot. By it an image that stayed is
    /// told from one that was reverted.
    ///
    /// # Errors
    /// [`Error::Flash`], [`Error::Boot`]; of these, [`Geometry`](sprag_boot::Error::Geometry) when the slot writer and the
    /// hand-over have been given different sectors or erased values.
    ///
    /// # Cancellation safety
    /// May be dropped and called again.
    pub async fn start(&mut self, running: Version) -> Result_<Startup, C> {
        self.image_region()?;
        (self.running, self.is_reset_counted) = (Some(running), false);
        let state = self.boot.state().await?;
        if state == State::Interrupted {
            // A bootloader completes its swap before it starts a firmware: this flash is not the one that runs.
            return Err(Error::Boot(sprag_boot::Error::SwapInterrupted));
        }
        let Some(mut record) = self.record().await? else {
            // What somebody else staged is somebody else's.
            return Ok(if state == State::Trial { Startup::Trial } else { Startup::Idle });
        };
        let before = record.phase;
        let startup = match (before, state) {
            (Phase::Staging, State::Trial) => {
                // From here on, an old image that runs again means that this one was reverted.
                record.phase = Phase::Staged;
                Startup::Trial
            }
            (_, State::Trial) => Startup::Trial,
            (Phase::Restarting, State::Staged(_)) => {
                // The bootloader won't, and never will: resetting for ever is no way to end.
                self.boot.unstage().await?;
                if running == record.version {
                    // An overwrite-only MCUboot was cut off after it had copied the image, before it erased the trailer.
                    record.end(Status::Done, "");
                } else {
                    record.end(Status::Failed, "not-swapped");
                }
                Startup::Idle
            }
            (Phase::Staging | Phase::Staged, State::Staged(_)) => {
                record.phase = Phase::Restarting;
                Startup::Staged
            }
            (Phase::Staging | Phase::Staged | Phase::Restarting, State::Settled) if running == record.version => {
                record.end(Status::Done, "");
                record.give_back(self.limits);
                Startup::Idle
            }
            (Phase::Staged | Phase::Restarting, State::Settled) => {
                record.end(Status::Failed, "reverted");
                Startup::Idle
            }
            (Phase::Started | Phase::Staging, _) => Startup::Unfinished,
            (Phase::Ended(_), _) | (_, State::Interrupted) => Startup::Idle,
        };
        if record.phase != before {
            self.save(&record).await?;
        }
        // What came of the image is of no more use when it runs, or its job has just ended.
        if state == State::Trial || record.phase != before && record.has_ended() {
            self.slot.forget().await?;
        }
        Ok(startup)
    }

    /// Runs a job: fetches the image into the slot, verifies it there, and hands it to the bootloader for a trial.
    ///
    /// # Errors
    /// See [`Error`]. When [`Error::is_retryable`], nothing is lost: run the same job again, with a fresh document where
    /// [`Error::needs_new_url`]; how often is for the caller to bound, with [`abandon`](Self::abandon). Otherwise the job
    /// has come to its end, and its final report is owed; only a job whose id is too long to be remembered
    /// ([`Error::JobId`]) is to be answered at once, with [`Job::report`].
    ///
    /// # Cancellation safety
    /// Dropping the future is like a power cut: the next run of the job goes on, and at most one sector is fetched again.
    pub async fn run(&mut self, job: &Job<'_>, events: &mut dyn FnMut(Event)) -> Result_<Outcome, C> {
        let (mut record, begins) = match self.arrived(job).await? {
            Arrived::AlreadyDone(outcome) => return Ok(outcome),
            Arrived::Begins(record) => (record, true),
            Arrived::Supersedes(record) => (record, false),
        };
        let result = if begins {
            match self.update(job, &mut record, events).await {
                Ok(Outcome::AlreadyRuns) => {
                    record.end(Status::Done, "same-version");
                    Ok(Outcome::AlreadyRuns)
                }
                Ok(outcome) => return Ok(outcome),
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => {
                    record.end(error.status(), error.reason());
                    Err(error)
                }
            }
        } else {
            // Every job ends with a report: the one that this one takes the place of, too. Its download is kept, for this
            // one may be the same update, sent again.
            record.end(Status::Failed, "superseded");
            Err(Error::ReportOwed)
        };
        self.boot.unstage().await?;
        self.save(&record).await?;
        if begins {
            self.slot.forget().await?;
        }
        result
    }

    /// Lets this many more downloads begin at byte 0, up to [`WearLimits::total`]: to be called now and then as time
    /// passes, as the agent does. Writes to the journal only when that changes something.
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Dropped early, they are added or not.
    pub async fn credit(&mut self, starts: u16) -> Result_<(), C> {
        if let Some(mut record) = self.record().await?
            && record.wear.credit(starts, self.limits)
        {
            self.save(&record).await?;
        }
        Ok(())
    }

    /// Confirms the running image, after its self-test: it stays for good, and the final report says so.
    ///
    /// # Errors
    /// [`Error::Boot`], [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// May be dropped and called again.
    pub async fn confirm(&mut self) -> Result_<(), C> {
        self.boot.confirm().await?;
        match self.record().await? {
            Some(mut record) if matches!(record.phase, Phase::Staging | Phase::Staged | Phase::Restarting) => {
                record.give_back(self.limits);
                Ok(self.end(record, Status::Done, "").await?)
            }
            _ => Ok(()),
        }
    }

    /// Gives a job up that can't go on (no network for a week, no fresh URL to be had): its final report, failed for this
    /// reason, is owed. `reason` is a word of at most [`REASON_MAX`](crate::REASON_MAX) bytes; a longer one is left out.
    ///
    /// # Errors
    /// [`Error::Boot`] while its image is on trial: [`reject`](Self::reject) it. [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// May be dropped and called again.
    pub async fn abandon(&mut self, reason: &str) -> Result_<(), C> {
        match self.record().await? {
            Some(record) if !record.has_ended() => {
                self.boot.unstage().await?;
                Ok(self.end(record, Status::Failed, reason).await?)
            }
            _ => Ok(()),
        }
    }

    /// Gives the running image up, because its self-test failed: reset, and the old one runs again. The final report
    /// says `reverted` after that reset, when it is true.
    ///
    /// # Errors
    /// [`Error::Boot`] when the running image is not on trial.
    ///
    /// # Cancellation safety
    /// May be dropped and called again.
    pub async fn reject(&mut self) -> Result_<(), C> {
        Ok(self.boot.go_back().await?)
    }

    /// What the journal says of the last job: the one to go on with when [`start`](Self::start) found it
    /// [`Unfinished`](Startup::Unfinished).
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn job(&mut self) -> Result_<Option<JobRecord>, C> {
        Ok(self.record().await?.filter(|record| !record.is_forgotten))
    }

    /// Forgets how the last job ended, so that the same one can be run again: AWS IoT Jobs tries failed ones anew under
    /// the id they had. Does nothing while the job has not ended, or its final report is owed.
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Dropped early, the job is forgotten or not.
    pub async fn forget_ended(&mut self) -> Result_<(), C> {
        match self.record().await? {
            Some(mut record) if record.has_ended() && record.reported => {
                // The counters stay: what begins again wears the same flash.
                record.is_forgotten = true;
                Ok(self.save(&record).await?)
            }
            _ => Ok(()),
        }
    }

    /// Owes the final report of the last job once more: the cloud has not taken note of it.
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Dropped early, the report is owed or not.
    pub async fn owe_again(&mut self) -> Result_<(), C> {
        Ok(self.set_reported(false).await?)
    }

    /// Keeps what of the conversation with the cloud must survive the reboot, in a record of its own (kind 4).
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Dropped early, what was kept before is kept, or this.
    pub async fn keep(&mut self, conversation: &[u8]) -> Result_<(), C> {
        if self.kept().await?.is_some_and(|kept| kept == conversation) {
            return Ok(());
        }
        Ok(self.slot.journal().put(CONVERSATION, conversation).await?)
    }

    /// What was [kept](Self::keep).
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn kept(&mut self) -> Result_<Option<&[u8]>, C> {
        Ok(self.slot.journal().get(CONVERSATION).await?)
    }

    /// The final report that is owed, if any. It stays owed until [`reported`](Self::reported).
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Reads only.
    pub async fn report(&mut self) -> Result_<Option<Report>, C> {
        Ok(self.record().await?.and_then(|record| match record.phase {
            Phase::Ended(status) if !record.reported => Some(Report { record, status }),
            _ => None,
        }))
    }

    /// Says that the final report has reached the cloud.
    ///
    /// # Errors
    /// [`Error::Flash`].
    ///
    /// # Cancellation safety
    /// Dropped early, the report is owed or not.
    pub async fn reported(&mut self) -> Result_<(), C> {
        Ok(self.set_reported(true).await?)
    }

    /// What the arrival of a job leads to.
    async fn arrived(&mut self, job: &Job<'_>) -> Result_<Arrived, C> {
        let mut id = [0; ID_MAX];
        let id = job.id().copy_to(&mut id).map_err(|TooSmall { needed, .. }| Error::JobId { length: needed })?;
        if self.running.is_none() {
            return Err(Error::NotStarted);
        }
        let state = self.boot.state().await?;
        if state == State::Trial {
            return Err(Error::Boot(sprag_boot::Error::OnTrial));
        }
        let mut id = heapless::String::try_from(id).map_err(|_| Error::JobId { length: id.len() })?;
        let mut wear = Wear::none(self.limits);
        match self.record().await? {
            Some(record) if record.is_of(job) => match (record.phase, state) {
                (Phase::Ended(status), _) => return Ok(Arrived::AlreadyDone(Outcome::AlreadyEnded(status))),
                (Phase::Staging | Phase::Staged | Phase::Restarting, State::Staged(_)) => {
                    return Ok(Arrived::AlreadyDone(Outcome::RebootToTest));
                }
                _ => {
                    wear = record.wear;
                    // Under the name that it has, if one of the two has one.
                    if id.is_empty() {
                        id = record.id;
                    }
                }
            },
            Some(record) if !record.has_ended() => return Ok(Arrived::Supersedes(record)),
            Some(JobRecord { reported: false, .. }) => return Err(Error::ReportOwed),
            Some(record) => wear = record.wear.next_job(),
            None => {}
        }
        Ok(Arrived::Begins(JobRecord::of(job, id, wear)))
    }

    /// Counts the reset before this start, if the job was under way then and has not come further since.
    async fn count_reset(&mut self, record: &mut JobRecord) -> Result_<(), C> {
        if core::mem::replace(&mut self.is_reset_counted, true) || record.wear.is_first_start() {
            return Ok(());
        }
        let written = self.slot.session().await?.map_or(0, |session| session.written);
        record.wear.count_reset(written)
    }

    async fn update(
        &mut self,
        job: &Job<'_>,
        record: &mut JobRecord,
        events: &mut dyn FnMut(Event),
    ) -> Result_<Outcome, C> {
        let artifact = sole_artifact(job).map_err(|count| Error::Artifacts { count })?;
        let location = artifact.location().ok_or(Error::NoUrl)?;
        if artifact.digest().is_some_and(|digest| digest.algorithm() != DigestAlgorithm::Sha256) {
            return Err(Error::DigestAlgorithm);
        }
        self.slot.hold_back(self.boot.held_back());
        self.count_reset(record).await?;
        let region = self.image_region()?;
        // A first start is taken with the record that is written anyway.
        let mut is_paid = record.wear.is_first_start();
        if is_paid {
            record.wear.take_start(self.limits)?;
        }
        self.save(record).await?;
        // Nothing may be staged while the slot is written to.
        self.boot.unstage().await?;
        let mut starts = 1u8;
        let image = loop {
            let fetched =
                self.fetch(job, location.bytes(), artifact.size(), region.clone(), (record, &mut is_paid), events);
            let failed = match fetched.await {
                // Erased by now: its bytes come again.
                Err(Error::Flash(sprag_flash::Error::SectorLost)) => continue,
                Err(Error::Fetch(error)) if error.needs_start_over() => Error::Fetch(error),
                Err(error) => return Err(error),
                Ok((size, joined)) => {
                    events(Event::Verifying);
                    let (mut slot, buffer) = self.slot.slot(region.clone()).await?;
                    let mut hardware = [0; HARDWARE_MAX];
                    let (promised, unusable) = promised(job, &artifact, size, &mut hardware);
                    match self.format.verify(&mut slot, promised, &self.policy, buffer).await {
                        Ok(image) => break image,
                        Err(sprag_verify::Error::SameVersion { version }) if self.running == Some(version) => {
                            record.version = version;
                            return Ok(Outcome::AlreadyRuns);
                        }
                        // What lay in the slot since an earlier run may have gone bad there, and what came in several
                        // answers may be of several objects, whatever the server said of them.
                        Err(error) if joined && error.is_damage() => unusable.explains(error),
                        Err(error) => return Err(unusable.explains(error)),
                    }
                }
            };
            self.slot.forget().await?;
            if starts >= STARTS_MAX {
                return Err(failed);
            }
            starts = starts.saturating_add(1);
            events(Event::StartedOver { reason: failed.reason() });
        };
        record.version = image.version;
        if self.running == Some(image.version) {
            return Ok(Outcome::AlreadyRuns);
        }
        events(Event::Verified { version: image.version });

        record.phase = Phase::Staging;
        record.is_upgrade = self.running.is_some_and(|running| image.version > running);
        self.save(record).await?;
        if let Err(error) = self.slot.write_head().await {
            // A torn beginning may refuse to be programmed again: the image is written anew.
            self.slot.forget().await?;
            return Err(Error::Flash(error));
        }
        self.boot.stage(Swap::Test).await?;
        record.phase = Phase::Staged;
        self.save(record).await?;
        // From the reset on, the slot holds the old image.
        self.slot.forget().await?;
        Ok(Outcome::RebootToTest)
    }

    /// Brings the object into the slot, from wherever the journal says; its size, and whether it is joined from the bytes
    /// of more than one answer.
    async fn fetch<L: Iterator<Item = u8> + Clone>(
        &mut self,
        job: &Job<'_>,
        location: L,
        size: Option<u64>,
        region: Range<u32>,
        (record, is_paid): (&mut JobRecord, &mut bool),
        events: &mut dyn FnMut(Event),
    ) -> Result_<(u32, bool), C> {
        let saved = self.slot.session().await?.filter(|saved| saved.start == region.start);
        // What the future holds at the same time is RAM: one download, opened in one place.
        let (transfer, resumed_at, session) = match saved.and_then(|saved| pinned(job, &saved)) {
            Some(etag) => {
                let transfer = self.slot.resume().await?;
                let (offset, total) = (transfer.offset(), Some(transfer.total().into()));
                (Some(transfer), Some(offset), sprag_fetch::Session { offset: offset.into(), total, etag: Some(etag) })
            }
            None => (None, None, sprag_fetch::Session { total: size, ..sprag_fetch::Session::default() }),
        };
        let mut download = self.source.open(location, session)?;
        events(Event::Downloading { offset: resumed_at.unwrap_or(0) });
        let mut joined = resumed_at.is_some();
        let mut events = |event| {
            joined |= matches!(&event, Event::Fetch(sprag_fetch::Event::Requested(range)) if range.first > 0);
            events(event);
        };
        let mut transfer = match transfer {
            Some(transfer) => transfer,
            None => {
                let received = download.read(self.slot.buffer(), &mut |event| events(Event::Fetch(event))).await?;
                events(progress(download.session()));
                if !core::mem::take(is_paid) {
                    record.wear.take_start(self.limits)?;
                    self.slot.journal().put(JOB, &record.encode()).await?;
                }
                let mut identity = heapless::Vec::<u8, { 8 + ETAG_MAX }>::new();
                let etag = download.session().etag.as_deref().unwrap_or_default();
                let _ = identity.extend_from_slice(&job.identity().to_le_bytes());
                let _ = identity.extend_from_slice(etag.as_bytes());
                // In chunks, an object may come whose size only its last one says: too late for what is to be erased.
                let no_length = sprag_fetch::Error::Answer(sprag_fetch::AnswerError::NoLength);
                let total = download.session().total.ok_or(Error::Fetch(no_length))?;
                self.slot.begin(&identity, total, region, received).await?
            }
        };
        let fed = transfer.feed(async |buffer: &mut [u8]| {
            let count = download.read(buffer, &mut |event| events(Event::Fetch(event))).await?;
            events(progress(download.session()));
            // Where the network is fast and the flash's driver blocks, nothing else would get its turn.
            yield_now().await;
            Ok(count)
        });
        fed.await.map_err(|error| match error {
            FeedError::Flash(error) => Error::Flash(error),
            FeedError::Source(error) => Error::Fetch(error),
        })?;
        let total = transfer.total();
        transfer.finish()?;
        Ok((total, joined))
    }

    /// Returns the bootloader's image region, in the slot writer's flash: both must have been given the same sectors and the
    /// same erased value.
    fn image_region(&self) -> Result_<Range<u32>, C> {
        let region = self.boot.image_region();
        let slot = self.slot.geometry();
        if (region.geometry.erase_size, region.geometry.erased) != (slot.erase_size, slot.erased) {
            return Err(Error::Boot(sprag_boot::Error::Geometry));
        }
        Ok(region.into())
    }

    async fn record(&mut self) -> Result<Option<JobRecord>, sprag_flash::Error> {
        Ok(self.slot.journal().get(JOB).await?.and_then(JobRecord::decode))
    }

    async fn save(&mut self, record: &JobRecord) -> Result<(), sprag_flash::Error> {
        self.slot.journal().put(JOB, &record.encode()).await
    }

    /// The job has come to its end, and what came of its image is of no more use.
    async fn end(&mut self, mut record: JobRecord, status: Status, reason: &str) -> Result<(), sprag_flash::Error> {
        record.end(status, reason);
        self.save(&record).await?;
        self.slot.forget().await
    }

    async fn set_reported(&mut self, reported: bool) -> Result<(), sprag_flash::Error> {
        match self.record().await? {
            Some(mut record) if record.has_ended() => {
                record.reported = reported;
                self.save(&record).await
            }
            _ => Ok(()),
        }
    }
}

/// What the arrival of a job leads to.
enum Arrived {
    /// Nothing: it was done before.
    AlreadyDone(Outcome),
    /// Its beginning, or its going on.
    Begins(JobRecord),
    /// The end of this other one.
    Supersedes(JobRecord),
}

/// The one artifact that a job has for this device itself, or how many it has.
fn sole_artifact<'j>(job: &Job<'j>) -> Result<Artifact<'j>, usize> {
    let mut own = job.artifacts().filter(|artifact| artifact.tag().is_none());
    match (own.next(), own.count()) {
        (Some(artifact), 0) => Ok(artifact),
        (first, others) => Err(others.saturating_add(usize::from(first.is_some()))),
    }
}

/// The ETag of the object that a job's bytes in the slot are of, if they are this job's.
fn pinned(job: &Job<'_>, saved: &sprag_flash::Session<'_>) -> Option<Etag> {
    let (identity, etag) = saved.identity.split_first_chunk::<8>()?;
    let etag = core::str::from_utf8(etag).ok().and_then(|etag| Etag::try_from(etag).ok())?;
    // Without a strong ETag nothing tells the object from another one of the same size: none has been kept then.
    (*identity == job.identity().to_le_bytes() && etag.starts_with('"')).then_some(etag)
}

/// What of a job's document can't be held against an image. It does no harm where the image says the same itself; where it does
/// not, this is the reason, and not that the document had said nothing.
#[derive(Default)]
struct Unusable {
    /// The algorithm of a signature that can't be verified here.
    algorithm: Option<SignatureAlgorithm>,
    /// The signature is not encoded as its algorithm asks for.
    is_misencoded: bool,
    /// The version can't be compared.
    version: bool,
    /// The length of a name of a board that no policy could ask for.
    board: Option<usize>,
}

impl Unusable {
    fn explains<E>(&self, error: sprag_verify::Error) -> Error<E> {
        match (error, self.algorithm, self.board) {
            (sprag_verify::Error::Unsigned, Some(algorithm), _) => Error::SignatureAlgorithm { algorithm },
            (sprag_verify::Error::Unsigned, ..) if self.is_misencoded => {
                Error::Verify(sprag_verify::Error::SignatureEncoding)
            }
            (sprag_verify::Error::NoVersion, ..) if self.version => Error::VersionFormat,
            (sprag_verify::Error::NoBoard, _, Some(length)) => Error::Board { length },
            (error, ..) => Error::Verify(error),
        }
    }
}

/// What a job's document says of a file that has come, and what of it is of no use.
fn promised<'h>(job: &Job<'_>, artifact: &Artifact<'_>, size: u32, hardware: &'h mut [u8]) -> (Promised<'h>, Unusable) {
    let mut promised = Promised::size(size);
    let mut unusable = Unusable::default();
    if let Some(digest) = artifact.digest() {
        let mut sha256 = [0; 32];
        sha256.iter_mut().zip(digest.bytes()).for_each(|(to, byte)| *to = byte);
        promised = promised.digest(sha256);
    }
    if let Some(signature) = artifact.signature() {
        let algorithm = match signature.algorithm() {
            SignatureAlgorithm::Sha256Ecdsa => Some(Algorithm::EcdsaP256),
            #[cfg(feature = "ed25519")]
            SignatureAlgorithm::Ed25519 => Some(Algorithm::Ed25519),
            other => {
                unusable.algorithm = Some(other);
                None
            }
        };
        let mut text = [0; SIGNATURE_MAX];
        let text = signature.value().copy_to(&mut text).unwrap_or_default();
        if let Some(algorithm) = algorithm {
            match Signature::from_base64(algorithm, text) {
                Ok(signature) => promised = promised.signature(signature),
                Err(_) => unusable.is_misencoded = true,
            }
        }
    }
    if let Some(version) = job.version() {
        let mut text = [0; VERSION_MAX];
        match version.copy_to(&mut text).unwrap_or_default().parse() {
            Ok(version) => promised = promised.version(version),
            Err(_) => unusable.version = true,
        }
    }
    if let Some(board) = job.hardware() {
        match board.copy_to(hardware) {
            Ok(board) => promised = promised.board(board),
            Err(TooSmall { needed }) => unusable.board = Some(needed),
        }
    }
    (promised, unusable)
}

fn progress(session: &sprag_fetch::Session) -> Event {
    Event::Progress { received: session.offset, total: session.total.unwrap_or(session.offset) }
}
