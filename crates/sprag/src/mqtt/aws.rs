//! AWS IoT Jobs.

use core::fmt::Write;

use sprag_job::aws::{AwsJobs, Event, JobId, JobsError, Saved, SelfTest, Verdict};
use sprag_job::{NoRoom, Publish, Status, TooSmall};
use sprag_verify::Version;

use super::cloud::{Cloud, Heard, ReadJob, Scratch, Talk};
use super::exchange::{Say, State};
use crate::record::JobRecord;
use crate::updater::Report;

/// After how many seconds of silence a request is made again.
const SILENCE_SECONDS: u32 = 30;
/// How long to wait when the service says that it is busy.
const BUSY_SECONDS: u32 = 10;
/// The layout of what is kept.
const VERSION: u8 = 1;

/// A conversation with AWS IoT Jobs.
///
/// What is kept across the reboot, as record of kind 4: a version byte, 1, and the execution's version number (`u64`,
/// little-endian) if it is known. The job's id is in the updater's own record.
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
}

impl<'t> AwsCloud<'t> {
    /// A conversation about the jobs of one thing.
    pub fn new(jobs: AwsJobs<'t>) -> Self {
        Self { jobs, read: sprag_job::parse, said: None, since: 0, hold: None }
    }

    /// Reads job documents with this function instead of [`sprag_job::parse`], for fleets that have a document of their
    /// own: `sprag_job::aws::custom_job`.
    #[must_use]
    pub fn reading(mut self, read: ReadJob) -> Self {
        self.read = read;
        self
    }

    fn refuse<'b>(&mut self, now: u32, reason: &'static str, out: Scratch<'b>) -> Heard<'b> {
        let answer = self.jobs.finish(now, Verdict::Rejected, reason, None, out.topic, out.payload).ok();
        self.since = now;
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
        let is_new = self.said != Some(number);
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
                _ => Ok(None),
            }
            .inspect(|publish| self.said = publish.map(|_| number).or(self.said))
        };
        if let Ok(Some(_)) = publish {
            self.since = now;
        }
        publish.or_else(|error| match error {
            JobsError::NoRoom(error) => Err(error),
            // Ours are made to fit: stable words and numbers.
            _ => Ok(None),
        })
    }

    fn arrived<'b>(
        &mut self,
        now: u32,
        topic: &str,
        payload: &[u8],
        number: u32,
        room: Option<usize>,
        out: Scratch<'b>,
    ) -> Heard<'b> {
        let other = match self.jobs.arrived(topic, payload) {
            Event::Job(_) | Event::Replaced(_) => true,
            Event::Again(_) | Event::Fresh(_) => false,
            Event::Gone(_) => return Heard::Gone,
            Event::Accepted(_) if self.said == Some(number) => return Heard::Told,
            Event::Retry(_) => {
                self.said = None;
                return Heard::Nothing;
            }
            Event::Refused(rejection) if rejection.code().is_retryable() => {
                (self.said, self.hold) = (None, Some(now.wrapping_add(BUSY_SECONDS)));
                return Heard::Nothing;
            }
            Event::Refused(_) if self.said == Some(number) => return Heard::NotTaken,
            Event::Malformed(error) => return Heard::Refused { reason: error.reason(), answer: None },
            _ => return Heard::Nothing,
        };
        match (self.read)(payload) {
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
        self.jobs.saved().is_some_and(|saved| saved.job_id.as_str() == report.id())
    }

    fn read(&self) -> ReadJob {
        self.read
    }

    fn state(&self) -> State {
        let mut state = State::new();
        let _ = state.push(VERSION);
        if let Some(version) = self.jobs.saved().and_then(|saved| saved.version) {
            let _ = state.extend_from_slice(&version.to_le_bytes());
        }
        state
    }

    fn restore(&mut self, record: Option<&JobRecord>, state: &[u8]) {
        let owed = record.filter(|record| !record.reported && record.dialect.is_aws());
        let Some(job_id) = owed.and_then(|record| JobId::new(&record.id)) else { return };
        let version = match state.split_first() {
            Some((&VERSION, version)) => version.first_chunk().map(|version| u64::from_le_bytes(*version)),
            _ => None,
        };
        self.jobs.take_up(Saved { job_id, version });
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
        (Status::Done, _) => Some(SelfTest::Accepted),
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
