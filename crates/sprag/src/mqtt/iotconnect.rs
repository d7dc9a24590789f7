//! IoTConnect.

use core::fmt::Write;

use sprag_job::iotconnect::{Event, IotConnect};
use sprag_job::{Dialect, Job, NoRoom, ParseError, Publish, Status, TooSmall};

use super::cloud::{Asked, Cloud, Heard, ReadJob, Scratch, Talk};
use super::exchange::{STATE_MAX, Say, State};
use crate::record::{ID_MAX, JobRecord};
use crate::report::Report;

/// The layout of what is kept.
const VERSION: u8 = 1;
/// The longest message of an ack, in bytes.
const MESSAGE_MAX: usize = 64;

/// A conversation with IoTConnect. `SEEN` OTAs are remembered across the reboot, 8 at most: what the service delivers
/// again is not done again.
///
/// What is kept, as record of kind 4: a version byte, 1, and a `u64` (little-endian) for each OTA that was seen.
#[derive(Debug)]
pub struct IotConnectCloud<'t, const SEEN: usize> {
    conversation: IotConnect<'t, SEEN>,
    /// The OTA that reports are about, and its identity.
    current: Option<(Dialect, heapless::String<ID_MAX>, u64)>,
    /// The number of what was said last.
    said: Option<u32>,
    /// The service is to be asked whether an OTA was missed.
    ask: bool,
}

impl<'t, const SEEN: usize> IotConnectCloud<'t, SEEN> {
    const FITS: () = assert!(SEEN * 8 < STATE_MAX, "8 OTAs can be remembered");

    /// A conversation of one device.
    pub fn new(conversation: IotConnect<'t, SEEN>) -> Self {
        let () = Self::FITS;
        Self { conversation, current: None, said: None, ask: false }
    }

    /// A new OTA, unless its like is already in hand.
    fn take<'b>(&mut self, job: &Job<'_>, length: usize, room: Option<usize>, mut out: Scratch<'b>) -> Heard<'b> {
        let mut id = [0; ID_MAX];
        let reason = match (job.id().copy_to(&mut id), job.require_https()) {
            (Err(_), _) => "job-id-too-long",
            (_, Err(error)) => error.reason(),
            _ if room.is_none() => {
                // Once refused, it is not done later.
                self.conversation.remember(job);
                "busy"
            }
            _ if room.is_some_and(|room| length > room) => "document-too-large",
            (Ok(id), _) if !self.fits(job.dialect(), id, out.reborrow()) => {
                self.conversation.remember(job);
                "job-id-too-long"
            }
            (Ok(id), Ok(())) => {
                let other = !self.is_current(job);
                // An answer to a request need not name the job that is in hand.
                if other || !id.is_empty() {
                    self.current = heapless::String::try_from(id).ok().map(|id| (job.dialect(), id, job.identity()));
                }
                self.conversation.remember(job);
                return Heard::Document { other };
            }
        };
        let answer = self.conversation.ack(job, Status::Rejected, reason, out.topic, out.payload).ok().flatten();
        Heard::Refused { reason, answer }
    }

    /// Returns whether every ack of this OTA fits into the buffers: one that could not be sent would be tried for ever.
    fn fits(&self, dialect: Dialect, id: &str, out: Scratch<'_>) -> bool {
        const LONGEST: &str = match str::from_utf8(&[b'x'; MESSAGE_MAX]) {
            Ok(text) => text,
            Err(_) => "",
        };
        self.conversation.ack_for((dialect, id), Status::Failed, LONGEST, out.topic, out.payload).is_ok()
    }

    /// Whether it is the OTA in hand: by its id, or by what it is where one of the two has none.
    fn is_current(&self, job: &Job<'_>) -> bool {
        self.current.as_ref().is_some_and(|(_, id, identity)| match id.is_empty() || job.id().is_empty() {
            true => *identity == job.identity(),
            false => job.id() == id.as_str(),
        })
    }

    fn refuse<'b>(&self, error: &ParseError<'_>, out: Scratch<'b>) -> Heard<'b> {
        let reason = error.reason();
        let answer = self.conversation.refuse(error, reason, out.topic, out.payload).ok().flatten();
        Heard::Refused { reason, answer }
    }
}

impl<const SEEN: usize> Cloud for IotConnectCloud<'_, SEEN> {}

impl<const SEEN: usize> Talk for IotConnectCloud<'_, SEEN> {
    const IS_ONE_BY_ONE: bool = false;

    fn filter<'b>(&self, index: usize, out: &'b mut [u8]) -> Option<Result<&'b str, TooSmall>> {
        (index == 0).then(|| self.conversation.topics().command(out))
    }

    fn connected(&mut self) {
        (self.said, self.ask) = (None, true);
    }

    fn next<'b>(
        &mut self,
        now: u32,
        say: &Say,
        number: u32,
        Scratch { topic, payload }: Scratch<'b>,
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        let is_new = self.said != Some(number);
        if self.ask || is_new && matches!(say, Say::Fresh) {
            self.ask = false;
            if matches!(say, Say::Fresh) {
                self.said = Some(number);
            }
            return self.conversation.pending(topic, payload).transpose();
        }
        let Some((dialect, id, _)) = &self.current else { return Ok(None) };
        let mut message = heapless::String::<MESSAGE_MAX>::new();
        let publish = match say {
            Say::Progress { received, total } if *total > 0 => {
                return self.conversation.progress((*dialect, id), now, (*received, *total), topic, payload);
            }
            Say::Restarting { version } if is_new => {
                let _ = write!(message, "{version} is verified, restarting to test it");
                self.conversation.ack_for((*dialect, id), Status::Downloading, &message, topic, payload)?
            }
            Say::End(report) if is_new => {
                let _ = match report.status() {
                    Status::Done => write!(message, "{} runs and is confirmed", report.version()),
                    _ => write!(message, "{}", report.reason()),
                };
                let about = (report.dialect(), report.id());
                self.conversation.ack_for(about, report.status(), &message, topic, payload)?
            }
            _ => None,
        };
        self.said = publish.map(|_| number).or(self.said);
        Ok(publish)
    }

    fn arrived<'b>(&mut self, topic: &str, payload: &[u8], asked: Asked, out: Scratch<'b>) -> Heard<'b> {
        let Asked { room, wants, .. } = asked;
        match self.conversation.arrived(topic, payload) {
            Event::Job(job) => self.take(&job, payload.len(), room, out),
            // With a fresh URL perhaps: of use if that is waited for.
            Event::Duplicate(job) if wants && room.is_some() && self.is_current(&job) => {
                self.take(&job, payload.len(), room, out)
            }
            Event::Malformed(error) => self.refuse(&error, out),
            _ => Heard::Nothing,
        }
    }

    fn delivered(&mut self, number: u32) -> bool {
        self.said == Some(number)
    }

    fn can_report(&self, report: &Report) -> bool {
        // Without an id there is nothing to answer to.
        !report.dialect().is_aws() && !report.id().is_empty()
    }

    fn read(&self) -> ReadJob {
        sprag_job::parse
    }

    fn state(&self) -> State {
        let mut state = State::new();
        let _ = state.push(VERSION);
        for seen in self.conversation.seen() {
            let _ = state.extend_from_slice(&seen.to_le_bytes());
        }
        state
    }

    fn restore(&mut self, record: Option<&JobRecord>, state: &[u8]) {
        if let Some((&VERSION, rest)) = state.split_first() {
            let mut seen = [0; SEEN];
            for (seen, bytes) in seen.iter_mut().zip(rest.chunks_exact(8)) {
                *seen = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            }
            self.conversation.recall(seen);
            // It is kept before it is begun. If the power failed in between, it is still to be done.
            let (id, identity) = record.map_or(("", 0), |record| (record.id.as_str(), record.identity));
            self.conversation.forget_newest_unless(id, identity);
        }
        let ours = record.filter(|record| !record.reported && !record.dialect.is_aws());
        self.current = ours.map(|record| (record.dialect, record.id.clone(), record.identity));
    }
}
