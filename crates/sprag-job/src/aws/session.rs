//! The device's side of AWS IoT Jobs, as a state machine without I/O.

use super::event::{SelfTest, Verdict};
use super::execution::JobId;
use super::request::{self, JobsError, Update};
use crate::out::{Out, TooSmall};
use crate::progress::{Pace, Thinning, percent};
use crate::report::{NoRoom, Publish, Status};

/// After how many seconds without an answer an update counts as lost.
const ANSWER_SECONDS: u32 = 60;

/// How `expectedVersion` is written. The service takes both; the documentation of its MQTT operations and AWS's C
/// library quote it, the service model has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ExpectedVersion {
    /// `"expectedVersion":"3"`, as in the field for years.
    #[default]
    Quoted,
    /// `"expectedVersion":3`.
    Number,
}

/// How a conversation is held. Start from [`Settings::default`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings {
    /// Progress is reported when it has grown by this many percent …
    pub progress_percent: u8,
    /// … and this many seconds have passed since the last report.
    pub progress_seconds: u32,
    /// The step timeout to ask for with every `IN_PROGRESS`, which starts it anew, in minutes (1 to 10080). It does not go
    /// out with start-next, which may give the job of another agent. Without growth, progress is reported when half of it
    /// has passed: a download that waits for its network is alive.
    pub step_timeout_minutes: Option<u16>,
    /// How `expectedVersion` is written.
    pub expected_version: ExpectedVersion,
    /// What `clientToken` counts from. Another number after each start keeps answers to requests from before apart.
    pub first_token: u32,
}

impl Settings {
    pub(crate) fn pace(&self) -> Pace {
        let half = self.step_timeout_minutes.map(|minutes| u32::from(minutes).saturating_mul(30));
        Pace { percent: self.progress_percent, seconds: self.progress_seconds, at_least: half }
    }
}

impl Default for Settings {
    /// Every 10 percent and 30 seconds; no step timeout; quoted versions; tokens from 0.
    fn default() -> Self {
        Self {
            progress_percent: 10,
            progress_seconds: 30,
            step_timeout_minutes: None,
            expected_version: ExpectedVersion::Quoted,
            first_token: 0,
        }
    }
}

/// What must survive the reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Saved {
    /// The job in hand.
    pub job_id: JobId,
    /// The version that the next update expects; `None` sends it without.
    pub version: Option<u64>,
    /// Which try of the job on this thing it is: the service may try one that failed again under the same id.
    pub number: Option<u64>,
}

/// The device's side of AWS IoT Jobs for one thing: what to subscribe to, what to publish, what arrived messages mean.
/// No I/O, no clock: sockets are the caller's, and time comes in as seconds from any start.
///
/// - After every (re)connection: subscribe to each of [`filters`](Self::filter), call [`connected`](Self::connected).
/// - Whenever something happened: publish what [`next_request`](Self::next_request) gives until it gives `None`.
/// - Give every message to [`arrived`](Self::arrived) and act on its [`Event`](super::Event).
/// - Keep [`saved`](Self::saved) when it changes; after the reboot, build the machine with [`restore`](Self::restore).
///
/// One job is in hand at a time, and each comes to one end: the device's [`finish`](Self::finish), or the cloud's
/// [`Event::Gone`](super::Event::Gone). Jobs done before come no second time, whatever is delivered twice.
///
/// ```
/// use sprag_job::aws::{AwsJobs, Event, PAYLOAD_MAX, Settings, TOPIC_MAX, Verdict};
///
/// let (mut topic, mut payload) = ([0; TOPIC_MAX], [0; PAYLOAD_MAX]);
/// let mut jobs = AwsJobs::new("pump-7", Settings::default())?;
/// jobs.connected();
/// let request = jobs.next_request(&mut topic, &mut payload)?.unwrap();
/// assert_eq!(request.topic, "$aws/things/pump-7/jobs/start-next");
/// assert_eq!(request.payload, r#"{"clientToken":"0"}"#);
///
/// let answer =
///     br#"{"clientToken":"0","execution":{"jobId":"j1","status":"IN_PROGRESS","versionNumber":1,"jobDocument":{}}}"#;
/// let event = jobs.arrived("$aws/things/pump-7/jobs/start-next/accepted", answer);
/// assert!(matches!(event, Event::Job(_)));
///
/// let update = jobs.finish(0, Verdict::Rejected, "wrong board", None, &mut topic, &mut payload)?;
/// assert_eq!(update.topic, "$aws/things/pump-7/jobs/j1/update");
/// assert!(update.payload.starts_with(r#"{"status":"REJECTED","statusDetails":{"reason":"wrong board"},"#));
/// # Ok::<(), sprag_job::aws::JobsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AwsJobs<'t> {
    pub(crate) thing: &'t str,
    pub(crate) settings: Settings,
    pub(crate) hand: Option<Hand>,
    pub(crate) want: Want,
    pub(crate) asked: Option<Asked>,
    pub(crate) token: u32,
}

/// The job in hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hand {
    pub(crate) id: JobId,
    pub(crate) version: Option<u64>,
    pub(crate) number: Option<u64>,
    pub(crate) sent: Option<Sent>,
    pub(crate) thin: Thinning,
    /// When the service last heard that the step is alive; `None` when it has not heard so on this connection.
    pub(crate) alive: Option<u32>,
}

/// An update that has not been answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) token: u32,
    pub(crate) at: u32,
    pub(crate) status: Status,
    /// The version that comes of it.
    pub(crate) next: Option<u64>,
}

/// The request that is to be published next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    StartNext,
    Describe,
}

/// The request that has not been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: Want,
    pub(crate) token: u32,
}

impl Hand {
    pub(crate) fn new(id: JobId, version: Option<u64>, number: Option<u64>) -> Self {
        Self { id, version, number, sent: None, thin: Thinning::default(), alive: None }
    }
}

impl<'t> AwsJobs<'t> {
    /// A machine for the thing of that name, with nothing in hand.
    ///
    /// # Errors
    /// [`JobsError::ThingName`].
    pub fn new(thing: &'t str, settings: Settings) -> Result<Self, JobsError> {
        if !request::is_thing(thing) {
            return Err(JobsError::ThingName);
        }
        let token = settings.first_token;
        Ok(Self { thing, settings, hand: None, want: Want::Nothing, asked: None, token })
    }

    /// A machine that goes on with the job that was in hand before the reboot.
    ///
    /// # Errors
    /// [`JobsError::ThingName`].
    pub fn restore(thing: &'t str, settings: Settings, saved: Saved) -> Result<Self, JobsError> {
        let mut jobs = Self::new(thing, settings)?;
        jobs.take_up(saved);
        Ok(jobs)
    }

    /// Takes the job that was in hand before the reboot in hand again.
    pub fn take_up(&mut self, saved: Saved) {
        self.hand = Some(Hand::new(saved.job_id, saved.version, saved.number));
    }

    /// What must survive the reboot: the job in hand. `None` when there is none.
    pub fn saved(&self) -> Option<Saved> {
        self.hand.map(|hand| Saved { job_id: hand.id, version: hand.version, number: hand.number })
    }

    /// Leaves the job in hand to another agent on the same thing: nothing is said about it. For documents that are
    /// [not an OTA](crate::ParseErrorKind::NotAnOta). Start-next has made it `IN_PROGRESS`, and has left its step timer
    /// to the other agent. The service tells by itself when another job is the next.
    pub fn leave(&mut self) {
        self.hand = None;
        self.asked = None;
        self.want = Want::Nothing;
    }

    /// How many topic filters there are to subscribe to: they fit in one SUBSCRIBE of AWS's broker.
    pub const FILTERS: usize = request::FILTERS.len();

    /// The topic filter at `index`, written to `out`; `None` from [`FILTERS`](Self::FILTERS) on.
    ///
    /// # Errors
    /// [`TooSmall`]: [`TOPIC_MAX`](super::TOPIC_MAX) bytes always do.
    pub fn filter<'b>(&self, index: usize, out: &'b mut [u8]) -> Option<Result<&'b str, TooSmall>> {
        request::FILTERS.get(index).map(|filter| request::write_topic(self.thing, filter, "", out))
    }

    /// To be called when the connection is there (again) and the filters are subscribed to: what was under way is
    /// forgotten, and the service is asked what is to be done.
    pub fn connected(&mut self) {
        self.asked = None;
        self.want = Want::StartNext;
        if let Some(hand) = &mut self.hand {
            (hand.sent, hand.alive) = (None, None);
        }
    }

    /// Asks for the document of the job in hand anew, with fresh URLs, for a download whose URL has expired. The answer
    /// is [`Event::Fresh`](super::Event::Fresh).
    pub fn refresh(&mut self) {
        if self.hand.is_some() && self.want == Want::Nothing {
            self.want = Want::Describe;
        }
    }

    /// Whether [`next_request`](Self::next_request) has something to publish.
    pub fn has_request(&self) -> bool {
        match self.want {
            Want::Nothing => false,
            Want::StartNext => true,
            Want::Describe => self.hand.is_some(),
        }
    }

    /// Whether a request or an update has not been answered yet. When the service is silent for too long, act as after a
    /// reconnection: [`connected`](Self::connected).
    pub fn is_waiting(&self) -> bool {
        self.asked.is_some() || self.hand.is_some_and(|hand| hand.sent.is_some())
    }

    /// Whether an update has not been answered yet.
    pub fn awaits_update(&self) -> bool {
        self.hand.is_some_and(|hand| hand.sent.is_some())
    }

    /// Returns whether the next word is to start the step timer: the service has given the job on this connection, and
    /// has not heard of it since.
    fn starts_timer(&self) -> bool {
        let is_given = self.asked.is_none() && self.want == Want::Nothing;
        is_given && self.settings.step_timeout_minutes.is_some() && self.hand.is_some_and(|hand| hand.alive.is_none())
    }

    /// Says that the job in hand is alive, whatever it waits for: a bare `IN_PROGRESS`, as soon as the service has given
    /// the job on this connection, and when half of the step timeout that [`Settings`] ask for has passed since the last
    /// word. The first one starts the timer, since start-next does not. Without a step timeout, nothing is said. May be
    /// called at any time, and as often as wanted, once the document is known to be one for this device.
    ///
    /// # Errors
    /// [`JobsError::NoJob`], [`JobsError::NoRoom`].
    pub fn keep_alive<'b>(
        &mut self,
        now: u32,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, JobsError> {
        let starts_timer = self.starts_timer();
        let hand = self.hand.as_mut().ok_or(JobsError::NoJob)?;
        let half = self.settings.pace().at_least;
        let is_late = hand.alive.zip(half).is_some_and(|(since, half)| now.wrapping_sub(since) >= half);
        if hand.sent.is_some() || !(starts_timer || is_late) {
            return Ok(None);
        }
        self.update(now, Status::Downloading, [("", ""); 3], topic, payload).map(Some)
    }

    /// What the machine itself wants published: `start-next` or a describe. `None` when there is nothing.
    ///
    /// # Errors
    /// [`JobsError::NoRoom`]; the request is still wanted then.
    pub fn next_request<'b>(
        &mut self,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, JobsError> {
        let (want, token) = (self.want, self.token);
        let publish = match (want, &self.hand) {
            (Want::StartNext, _) => {
                let payload = request::start_next(token, payload);
                request::publish((self.thing, "start-next", ""), topic, payload)?
            }
            (Want::Describe, Some(hand)) => {
                request::publish((self.thing, hand.id.as_str(), "/get"), topic, request::describe(token, payload))?
            }
            _ => {
                self.want = Want::Nothing;
                return Ok(None);
            }
        };
        self.asked = Some(Asked { what: want, token });
        self.want = Want::Nothing;
        self.token = token.wrapping_add(1);
        Ok(Some(publish))
    }

    /// Reports progress: `received` of `total` bytes at `now`, in seconds. Thinned as [`Settings`] say, so it may be
    /// called for every block; held back while an update waits for its answer, a minute at most.
    ///
    /// # Errors
    /// [`JobsError::NoJob`], [`JobsError::NoRoom`].
    pub fn progress<'b>(
        &mut self,
        now: u32,
        received: u64,
        total: u64,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Option<Publish<'b>>, JobsError> {
        let percent = percent(received, total);
        let starts_timer = self.starts_timer();
        let hand = self.hand.as_mut().ok_or(JobsError::NoJob)?;
        if hand.sent.is_some_and(|sent| now.wrapping_sub(sent.at) >= ANSWER_SECONDS) {
            hand.sent = None;
        }
        if hand.sent.is_some() || !(starts_timer || hand.thin.is_due(&self.settings.pace(), now, percent)) {
            return Ok(None);
        }
        let mut digits = [0; 3];
        let mut text = Out::new(&mut digits);
        text.number(percent.into());
        let text = text.finish().map_err(|error| JobsError::NoRoom(NoRoom::Payload(error)))?;
        let details = [("progress", text), ("", ""), ("", "")];
        let publish = self.update(now, Status::Downloading, details, topic, payload)?;
        if let Some(hand) = &mut self.hand {
            hand.thin.reported(now, percent);
        }
        Ok(Some(publish))
    }

    /// Says how far the self-test is, `IN_PROGRESS`: [`SelfTest::Ready`] before the reboot, [`SelfTest::Active`] after
    /// it. `version` is that of the image that says so (`updatedBy`), which AWS's own libraries write in hexadecimal;
    /// it may be empty.
    ///
    /// # Errors
    /// [`JobsError::NoJob`], [`JobsError::Detail`], [`JobsError::NoRoom`].
    pub fn self_test<'b>(
        &mut self,
        now: u32,
        step: SelfTest,
        version: &str,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Publish<'b>, JobsError> {
        let details = [("self_test", step.name()), ("updatedBy", version), ("", "")];
        self.update(now, Status::Downloading, details, topic, payload)
    }

    /// Ends the job in hand. It stays in hand until the service has [accepted](super::Event::Accepted) it: on
    /// [`Event::Retry`](super::Event::Retry), and after a reconnection, say the same again.
    ///
    /// `reason` may be empty; else it is of 1 to 1024 characters without control characters.
    ///
    /// # Errors
    /// [`JobsError::NoJob`], [`JobsError::Detail`], [`JobsError::NoRoom`].
    pub fn finish<'b>(
        &mut self,
        now: u32,
        verdict: Verdict,
        reason: &str,
        self_test: Option<SelfTest>,
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Publish<'b>, JobsError> {
        let step = self_test.as_ref().map_or("", SelfTest::name);
        self.update(now, verdict.status(), [("reason", reason), ("self_test", step), ("", "")], topic, payload)
    }

    fn update<'b>(
        &mut self,
        now: u32,
        status: Status,
        details: [(&str, &str); 3],
        topic: &'b mut [u8],
        payload: &'b mut [u8],
    ) -> Result<Publish<'b>, JobsError> {
        for (_, value) in details.iter().filter(|(_, value)| !value.is_empty()) {
            request::check_value(value).map_err(JobsError::Detail)?;
        }
        let hand = self.hand.as_mut().ok_or(JobsError::NoJob)?;
        // Right behind another update, its version is the one that comes of that.
        let version = hand.sent.map_or(hand.version, |sent| sent.next);
        let token = self.token;
        let payload = request::update(&self.settings, &Update { status, details, version, token }, payload);
        let publish = request::publish((self.thing, hand.id.as_str(), "/update"), topic, payload)?;
        hand.alive = Some(now);
        hand.sent = Some(Sent { token, at: now, status, next: version.and_then(|version| version.checked_add(1)) });
        self.token = token.wrapping_add(1);
        Ok(publish)
    }
}
