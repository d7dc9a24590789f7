//! AWS IoT Jobs.

use core::fmt::Write;

use sprag_job::aws::{AwsJobs, Event, JobId, JobsError, RejectionCode, Saved, SelfTest, Verdict};
use sprag_job::{NoRoom, ParseErrorKind, Publish, Status, TooSmall};
use sprag_verify::Version;

use super::cloud::{Asked, Cloud, Heard, ReadJob, Scratch, Talk};
use super::exchange::{Say, State};
use crate::record::JobRecord;
use crate::report::Report;

/// After how many seconds of silence a request is made again.
const SILENCE_SECONDS: u32 = 30;
/// How long to wait when the service says that it is busy.
const BUSY_SECONDS: u32 = 10;
/// How long to wait after the service ended a job before it is asked for the next.
const GONE_SECONDS: u32 = 1;
/// The layout of what is kept.
const VERSION: u8 = 1;
/// Stands for a number that is not known.
const UNKNOWN: u64 = u64::MAX;

/// A conversation with AWS IoT Jobs.
///
/// What is kept across the reboot, as record of kind 4: a version byte, 1, and the version number and the number of the
/// execution (`u64`, little-endian; all ones when it is not known). The job's id is in the updater's own record.
#[derive(Debug)]
pub struct AwsCloud<'t> {
    jobs: AwsJobs<'t>,
    read: ReadJob,
    /// The number of what was said last.
    said: Option<u32>,
    /// Since when the service owes an answer.
    since: u32,
    /// Nothing is sent before this second.
    hold: Option<u32>,
    /// The last word was our own: a document that makes no sense here was refused.
    refusing: bool,
    /// The service has put another execution in the place of the one that a report may be owed for.
    replaced: bool,
}

impl<'t> AwsCloud<'t> {
    /// A conversation about the jobs of one thing.
    pub fn new(jobs: AwsJobs<'t>) -> Self {
        Self { jobs, read: sprag_job::parse, said: None, since: 0, hold: None, refusing: false, replaced: false }
    }

    /// Reads job documents with this function instead of [`sprag_job::parse`], for fleets that have a document of their
    /// own: `sprag_job::aws::custom_job`, with the feature `serde`.
    #[must_use]
    pub fn reading(mut self, read: ReadJob) -> Self {
        self.read = read;
        self
    }

    /// What was said last is to be said again.
    fn again(&mut self) {
        self.said = None;
        if self.refusing {
            // The document comes once more, and is refused once more.
            self.jobs.connected();
        }
    }

    fn refuse<'b>(&mut self, now: u32, reason: &'static str, out: Scratch<'b>) -> Heard<'b> {
        let answer = self.jobs.finish(now, Verdict::Rejected, reason, None, out.topic, out.payload).ok();
        (self.since, self.refusing) = (now, true);
        Heard::Refused { reason, answer }
    }
}

impl Cloud for AwsCloud<'_> {}

impl Talk for AwsCloud<'_> {
    const IS_ONE_BY_ONE: bool = true;

    fn filter<'b>(&self, index: usize, out: &'b mut [u8]) -> Option<Result<&'b str, TooSmall>> {
        self.jobs.filter(index, out)
    }

    fn connected(&mut self) {
        self.jobs.connected();
        (self.said, self.hold) = (None, None);
    }

    fn next<'b>(
        &mut self,
        now: u32,
        say: &Say,
        number: u32,
        Scratch { topic, payload }: Scratch<'b>,
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        // The clock may wrap.
        if self.hold.is_some_and(|until| until.wrapping_sub(now) <= BUSY_SECONDS && until != now) {
            return Ok(None);
        }
        self.hold = None;
        if self.jobs.is_waiting() && now.wrapping_sub(self.since) >= SILENCE_SECONDS {
            self.connected();
        }
        if !matches!(say, Say::End(_)) {
            self.replaced = false;
        }
        let (is_new, was_waiting) = (self.said != Some(number), self.jobs.is_waiting());
        if is_new && matches!(say, Say::Fresh) {
            self.jobs.refresh();
            self.said = Some(number);
        }
        let publish = if self.jobs.has_request() {
            self.jobs.next_request(topic, payload)
        } else if self.jobs.saved().is_none() {
            Ok(None)
        } else {
            match say {
                Say::Progress { received, total } if *total > 0 => {
                    self.jobs.progress(now, *received, *total, topic, payload)
                }
                Say::Restarting { version } if is_new => {
                    self.jobs.self_test(now, SelfTest::Ready, &hex(*version), topic, payload).map(Some)
                }
                Say::Testing { version } if is_new => {
                    self.jobs.self_test(now, SelfTest::Active, &hex(*version), topic, payload).map(Some)
                }
                Say::End(report) if is_new => {
                    let test = self_test(report);
                    self.jobs.finish(now, verdict(report), report.reason(), test, topic, payload).map(Some)
                }
                Say::Nothing | Say::End(_) => Ok(None),
                // Whatever it waits for, the device is alive.
                _ => self.jobs.keep_alive(now, topic, payload),
            }
            .inspect(|publish| self.said = publish.map(|_| number).or(self.said))
        };
        if !was_waiting && let Ok(Some(_)) = publish {
            self.since = now;
        }
        publish.or_else(|error| match error {
            JobsError::NoRoom(error) => Err(error),
            // Ours are made to fit: stable words and numbers.
            _ => Ok(None),
        })
    }

    fn arrived<'b>(&mut self, topic: &str, payload: &[u8], asked: Asked, out: Scratch<'b>) -> Heard<'b> {
        let Asked { now, number, wants, room } = asked;
        let was_owed = self.jobs.awaits_update();
        let other = match self.jobs.arrived(topic, payload) {
            Event::Job(_) => true,
            Event::Replaced(_) => {
                self.replaced = true;
                true
            }
            // What nobody waits for is not judged, either: the job is being worked on.
            Event::Again(_) | Event::Fresh(_) if wants || self.refusing => false,
            Event::Gone(_) => {
                // Were the same one given again at once, there would be no end to it.
                self.hold = Some(now.wrapping_add(GONE_SECONDS));
                return Heard::Gone;
            }
            Event::Accepted(_) => {
                self.refusing = false;
                return if self.said == Some(number) { Heard::Told } else { Heard::Nothing };
            }
            Event::Retry(_) => {
                self.again();
                return Heard::Nothing;
            }
            Event::Refused(rejection) => {
                // What these crates do not know yet may pass, as what says so by itself.
                if rejection.code().is_retryable() || rejection.code() == RejectionCode::Unknown {
                    self.again();
                    self.hold = Some(now.wrapping_add(BUSY_SECONDS));
                    return Heard::Nothing;
                }
                let answers_update = was_owed && !self.jobs.awaits_update();
                return if answers_update && self.said == Some(number) { Heard::NotTaken } else { Heard::Nothing };
            }
            Event::Malformed(error) => return Heard::Refused { reason: error.reason(), answer: None },
            _ => return Heard::Nothing,
        };
        self.refusing = false;
        match (self.read)(payload) {
            // The job of another agent on the same thing is not to be ended.
            Err(error) if matches!(error.kind(), ParseErrorKind::NotAnOta { .. }) => {
                self.jobs.leave();
                Heard::Refused { reason: error.reason(), answer: None }
            }
            Err(error) => self.refuse(now, error.reason(), out),
            Ok(_) if room.is_none_or(|room| payload.len() > room) => self.refuse(now, "document-too-large", out),
            Ok(job) => match job.require_https() {
                Err(error) => self.refuse(now, error.reason(), out),
                Ok(()) => Heard::Document { other },
            },
        }
    }

    fn delivered(&mut self, _: u32) -> bool {
        // The service's own answer counts.
        false
    }

    fn can_report(&self, report: &Report) -> bool {
        !self.replaced && self.jobs.saved().is_some_and(|saved| saved.job_id.as_str() == report.id())
    }

    fn read(&self) -> ReadJob {
        self.read
    }

    fn state(&self) -> State {
        let mut state = State::new();
        let _ = state.push(VERSION);
        if let Some(Saved { version, number, .. }) = self.jobs.saved() {
            for number in [version, number] {
                let _ = state.extend_from_slice(&number.unwrap_or(UNKNOWN).to_le_bytes());
            }
        }
        state
    }

    fn restore(&mut self, record: Option<&JobRecord>, state: &[u8]) {
        let owed = record.filter(|record| !record.reported && record.dialect.is_aws());
        let Some(job_id) = owed.and_then(|record| JobId::new(&record.id)) else { return };
        let mut numbers = match state.split_first() {
            Some((&VERSION, numbers)) => numbers,
            _ => &[],
        }
        .chunks_exact(8)
        .map(|bytes| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).filter(|number| *number != UNKNOWN));
        let (version, number) = (numbers.next().flatten(), numbers.next().flatten());
        self.jobs.take_up(Saved { job_id, version, number });
    }
}

fn verdict(report: &Report) -> Verdict {
    match report.status() {
        Status::Done => Verdict::Succeeded,
        Status::Failed => Verdict::Failed,
        _ => Verdict::Rejected,
    }
}

/// What became of the trial, if it came to one.
fn self_test(report: &Report) -> Option<SelfTest> {
    match (report.status(), report.reason()) {
        (Status::Done, "") => Some(SelfTest::Accepted),
        (_, "reverted") => Some(SelfTest::Rejected),
        (_, "not-swapped") => Some(SelfTest::Aborted),
        _ => None,
    }
}

/// A version as AWS's own libraries write it into `updatedBy`: major, minor and revision as one number in hexadecimal.
fn hex(version: Version) -> heapless::String<10> {
    let mut text = heapless::String::new();
    let number = u32::from_be_bytes([
        version.major,
        version.minor,
        version.revision.to_be_bytes()[0],
        version.revision.to_be_bytes()[1],
    ]);
    let _ = write!(text, "0x{number:x}");
    text
}
