//! The device's side of IoTConnect, as a state machine without I/O.

use super::topics::Topics;
#[cfg(feature = "iotconnect-20")]
use super::v20;
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::job::{self, Job};
use crate::out::{Out, TooSmall, Words};
use crate::parse::parse;
use crate::progress::{Pace, Thinning, percent};
use crate::report::{self, NoRoom, Publish, Status};

/// The longest ack of device message 2.1, in bytes, whose id and message take 200 bytes together at most, escapes included: a
/// GUID has 36. One of 2.0 names its sender as well.
pub const PAYLOAD_MAX: usize = 256;

/// What a message means.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Not on the command topic.
    NotForUs,
    /// An OTA to do. Once it is kept safe, [`remember`](IotConnect::remember) it.
    Job(Job<'a>),
    /// An OTA that was [remembered](IotConnect::remember): delivered twice ([`Job::require_new`] says where). Nothing to
    /// do, or say again how it ended.
    Duplicate(Job<'a>),
    /// The answer to [`pending`](IotConnect::pending): no OTA was missed.
    Idle,
    /// A command or another message, for the rest of the application: with its `ct`, where it is one of IoTConnect's.
    Other(Option<i32>),
    /// The payload makes no sense. It may name a job all the same: see [`ParseError::rejection`].
    Malformed(ParseError<'a>),
}

/// The device's side of IoTConnect: where to listen, where acks go, which OTA is new. Of the last `SEEN` OTAs it
/// remembers the ids, for the service repeats itself.
///
/// ```
/// use sprag_job::{Status, iotconnect::{Event, IotConnect, PAYLOAD_MAX, Topics}};
///
/// let mut cloud = IotConnect::<8>::new(Topics::Aws { client_id: "pump-7" });
/// let (mut topic, mut payload) = ([0; 128], [0; PAYLOAD_MAX]);
/// assert_eq!(cloud.topics().command(&mut topic).unwrap(), "iot/pump-7/cmd");
///
/// let message = br#"{"v":"2.1","ct":1,"ack":"0a1b","urls":[{"url":"https://h/a"}]}"#;
/// let Event::Job(job) = cloud.arrived("iot/pump-7/cmd", message) else { panic!() };
/// cloud.remember(&job);
/// assert!(matches!(cloud.arrived("iot/pump-7/cmd", message), Event::Duplicate(_)));
///
/// let ack = cloud.ack(&job, Status::Downloading, "", &mut topic, &mut payload)?.unwrap();
/// assert_eq!(ack.topic, "$aws/rules/msg_d2c_ack/pump-7/2.1/6");
/// assert_eq!(ack.payload, r#"{"d":{"ack":"0a1b","type":1,"st":2,"msg":""}}"#);
/// # Ok::<(), sprag_job::NoRoom>(())
/// ```
#[derive(Debug, Clone)]
pub struct IotConnect<'t, const SEEN: usize> {
    topics: Topics<'t>,
    /// Newest first; 0 is none.
    seen: [u64; SEEN],
    pace: Pace,
    thin: Thinning,
    /// Whom acks of device message 2.0 name.
    #[cfg(feature = "iotconnect-20")]
    device: Option<v20::Device<'t>>,
}

impl<'t, const SEEN: usize> IotConnect<'t, SEEN> {
    /// A machine that remembers nothing.
    pub fn new(topics: Topics<'t>) -> Self {
        Self::restore(topics, [0; SEEN])
    }

    /// A machine that remembers what [`seen`](Self::seen) gave before the reboot.
    pub fn restore(topics: Topics<'t>, seen: [u64; SEEN]) -> Self {
        let pace = Pace { percent: 10, seconds: 30, at_least: None };
        Self {
            topics,
            seen,
            pace,
            thin: Thinning::default(),
            #[cfg(feature = "iotconnect-20")]
            device: None,
        }
    }

    /// Names this device in acks of device message 2.0, as the service wants it there. Those of 2.1 go by their topic.
    #[cfg(feature = "iotconnect-20")]
    #[must_use]
    pub fn device_20(mut self, device: v20::Device<'t>) -> Self {
        self.device = Some(device);
        self
    }

    /// Reports progress only when it has grown by this many percent and this many seconds have passed. At first: 10 and 30.
    #[must_use]
    pub fn progress_every(mut self, percent: u8, seconds: u32) -> Self {
        self.pace = Pace { percent, seconds, at_least: None };
        self
    }

    /// Remembers what [`seen`](Self::seen) gave before the reboot, and nothing else.
    pub fn recall(&mut self, seen: [u64; SEEN]) {
        self.seen = seen;
    }

    /// Forgets the OTA that was remembered last, unless it is the one of this [id](Job::id) and
    /// [identity](Job::identity): for one that was remembered before the reboot, but never begun.
    pub fn forget_newest_unless(&mut self, id: &str, identity: u64) {
        if self.seen.first().is_some_and(|newest| *newest != job::kept_key(id, identity)) {
            self.seen.rotate_left(1);
            if let Some(last) = self.seen.last_mut() {
                *last = 0;
            }
        }
    }

    /// What must survive the reboot: a number for each remembered OTA.
    pub fn seen(&self) -> [u64; SEEN] {
        self.seen
    }

    /// The topics.
    pub fn topics(&self) -> &Topics<'t> {
        &self.topics
    }

    /// Reports progress of the OTA of that dialect and [id](Job::id): `received` of `total` bytes at `now`, in seconds
    /// from any start. Thinned as [`progress_every`](Self::progress_every) says, so it may be called for every block.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn progress<'b>(
        &mut self,
        (dialect, id): (Dialect, &str),
        now: u32,
        (received, total): (u64, u64),
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        let percent = percent(received, total);
        if !self.thin.is_due(&self.pace, now, percent) {
            return Ok(None);
        }
        let mut message = [0; 18];
        let mut text = Out::new(&mut message);
        text.raw("downloading, ");
        text.number(percent.into());
        text.raw(" %");
        let message = text.finish().map_err(NoRoom::Payload)?;
        let publish = self.ack_for((dialect, id), Status::Downloading, message, topic, payload)?;
        self.thin.reported(now, percent);
        Ok(publish)
    }

    /// Writes the ack of an OTA whose document is gone, after the reboot for example, from its dialect and its
    /// [id](Job::id); `None` when [there is nothing to publish](Job::report).
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn ack_for<'b>(
        &self,
        (dialect, id): (Dialect, &str),
        status: Status,
        message: &str,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        self.publish((dialect, Words::Plain(id)), status, message, topic, payload)
    }

    /// Writes the ack that refuses what [makes no sense](Event::Malformed), [`Status::Rejected`], if it has an id.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn refuse<'b>(
        &self,
        error: &ParseError<'_>,
        message: &str,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        let Some((dialect, id)) = error.dialect().zip(error.id()) else { return Ok(None) };
        self.publish((dialect, Words::Quoted(id)), Status::Rejected, message, topic, payload)
    }

    fn publish<'b>(
        &self,
        (dialect, id): (Dialect, Words<'_>),
        status: Status,
        message: &str,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        #[cfg(feature = "iotconnect-20")]
        if let (Dialect::IotConnect20, Some(device)) = (dialect, self.device) {
            return self.addressed(topic, device.ack(id, status, message, payload));
        }
        self.addressed(topic, report::write(dialect, id, None, status, message, payload))
    }

    fn addressed<'b>(
        &self,
        topic: &'b mut [u8],
        payload: Result<&'b str, TooSmall>,
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        if payload == Ok("") {
            return Ok(None);
        }
        both(self.topics.ack(topic), payload).map(Some)
    }

    /// Remembers an OTA: by its id, or by [its identity](Job::identity) when it has none.
    pub fn remember(&mut self, job: &Job<'_>) {
        let key = job.key();
        if !self.seen.contains(&key)
            && let Some(oldest) = self.seen.last_mut()
        {
            *oldest = key;
            self.seen.rotate_right(1);
            self.thin = Thinning::default();
        }
    }

    /// Takes a message. What it means borrows from `payload`.
    pub fn arrived<'a>(&mut self, topic: &str, payload: &'a [u8]) -> Event<'a> {
        if !self.topics.is_command(topic) {
            return Event::NotForUs;
        }
        match parse(payload) {
            Ok(job) if job.require_new(&self.seen).is_err() => Event::Duplicate(job),
            Ok(job) => Event::Job(job),
            Err(error) => match error.kind() {
                Kind::NotAnOta { ct } => Event::Other(ct),
                Kind::NothingPending => Event::Idle,
                _ => Event::Malformed(error),
            },
        }
    }

    /// Writes the request for an OTA that was missed, `{"mt":205}`; to be published after each connection. `None` on
    /// Azure without the topics of an identity reply.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn pending<'b>(&self, topic: &'b mut [u8], payload: &'b mut [u8]) -> Option<Result<Publish<'b>, NoRoom>> {
        let topic = self.topics.identity(topic)?;
        let mut out = Out::new(payload);
        out.raw(r#"{"mt":205}"#);
        Some(both(topic, out.finish()))
    }

    /// Writes the ack of a job whose document is at hand; `None` when [there is nothing to publish](Job::report). For
    /// one whose document is gone: [`ack_for`](Self::ack_for).
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn ack<'b>(
        &self,
        job: &Job<'_>,
        status: Status,
        message: &str,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, NoRoom> {
        self.publish((job.dialect(), Words::Quoted(job.id())), status, message, topic, payload)
    }
}

fn both<'b>(topic: Result<&'b str, TooSmall>, payload: Result<&'b str, TooSmall>) -> Result<Publish<'b>, NoRoom> {
    Ok(Publish { topic: topic.map_err(NoRoom::Topic)?, payload: payload.map_err(NoRoom::Payload)? })
}
