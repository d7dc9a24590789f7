//! What a device says to AWS IoT Jobs: topics under `$aws/things/{thing}/jobs/`, payloads, and what the service takes into
//! `statusDetails`. Nothing is cut or cleaned: what it does not take is an error here.

use core::fmt;

use super::session::{ExpectedVersion, Settings};
use crate::out::{Out, TooSmall, Words};
use crate::report::{NoRoom, Publish, Status};

/// The longest name of a thing, in bytes.
pub const THING_NAME_MAX: usize = 128;

/// The longest topic, in bytes: a buffer of this size always does.
pub const TOPIC_MAX: usize = 226;

/// The longest request whose texts (a reason, a version) take 256 bytes at most, escapes included, in bytes: a buffer of this
/// size always does for the reasons of these crates.
pub const PAYLOAD_MAX: usize = 512;

/// What to subscribe to: 7 filters, where the broker allows 8 in one SUBSCRIBE.
pub(crate) const FILTERS: [&str; 7] = [
    "notify-next",
    "start-next/accepted",
    "start-next/rejected",
    "+/get/accepted",
    "+/get/rejected",
    "+/update/accepted",
    "+/update/rejected",
];

/// What a topic that came in says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic<'a> {
    NotifyNext,
    StartNext { accepted: bool },
    Get { job: &'a str, accepted: bool },
    Update { job: &'a str, accepted: bool },
}

/// Whether it can be the name of a thing: 1 to 128 of `a-z A-Z 0-9 : _ -`.
pub(crate) fn is_thing(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-');
    (1..=THING_NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// `None` for the topics of another thing and of other operations.
pub(crate) fn read_topic<'a>(thing: &str, topic: &'a str) -> Option<Topic<'a>> {
    let rest = topic.strip_prefix("$aws/things/")?.strip_prefix(thing)?.strip_prefix("/jobs/")?;
    if rest == "notify-next" {
        return Some(Topic::NotifyNext);
    }
    let (operation, accepted) = match rest.strip_suffix("/accepted") {
        Some(operation) => (operation, true),
        None => (rest.strip_suffix("/rejected")?, false),
    };
    if operation == "start-next" {
        return Some(Topic::StartNext { accepted });
    }
    let topic = match operation.strip_suffix("/get") {
        Some(job) => Topic::Get { job, accepted },
        None => Topic::Update { job: operation.strip_suffix("/update")?, accepted },
    };
    // A job's id has no slash, so these are of another operation.
    match topic {
        Topic::Get { job, .. } | Topic::Update { job, .. } if job.bytes().any(|byte| byte == b'/') => None,
        topic => Some(topic),
    }
}

/// Writes `$aws/things/{thing}/jobs/{one}{two}`.
pub(crate) fn write_topic<'b>(thing: &str, one: &str, two: &str, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
    let mut out = Out::new(out);
    for part in ["$aws/things/", thing, "/jobs/", one, two] {
        out.raw(part);
    }
    out.finish()
}

/// The most characters of a value.
pub const VALUE_MAX: usize = 1024;

/// Why AWS would not take a status detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadDetail {
    /// A value without a character.
    Empty,
    /// Too many characters.
    TooLong {
        /// How many there are.
        length: usize,
        /// How many there may be: [`VALUE_MAX`].
        limit: usize,
    },
    /// A control character.
    Character,
}

impl BadDetail {
    /// A stable name, at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "detail-empty",
            Self::TooLong { .. } => "detail-too-long",
            Self::Character => "detail-character",
        }
    }
}

impl fmt::Display for BadDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty status detail"),
            Self::TooLong { length, limit } => {
                write!(f, "status detail of {length} characters, {limit} at most")
            }
            Self::Character => f.write_str("character not allowed in a status detail"),
        }
    }
}

impl core::error::Error for BadDetail {}

fn check(text: &str, limit: usize, allowed: impl Fn(char) -> bool) -> Result<(), BadDetail> {
    let (mut length, mut sound) = (0usize, true);
    for char in text.chars() {
        length = length.saturating_add(1);
        sound &= allowed(char);
    }
    match length {
        0 => Err(BadDetail::Empty),
        length if length > limit => Err(BadDetail::TooLong { length, limit }),
        _ if !sound => Err(BadDetail::Character),
        _ => Ok(()),
    }
}

/// Checks the value of a status detail, a reason for example: 1 to 1024 characters, no control characters.
///
/// # Errors
/// [`BadDetail`].
pub fn check_value(value: &str) -> Result<(), BadDetail> {
    check(value, VALUE_MAX, |char| !char.is_control())
}

/// The word for it.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Downloading => "IN_PROGRESS",
        Status::Done => "SUCCEEDED",
        Status::Failed => "FAILED",
        Status::Refused | Status::Rejected => "REJECTED",
    }
}

/// `{"status":"FAILED","statusDetails":{"reason":"…"}}`.
pub(crate) fn report<'b>(status: Status, message: &str, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
    // A value that is empty is refused by the service; without details, those of before stay.
    if !message.is_empty() && check_value(message).is_err() {
        return Err(TooSmall { needed: usize::MAX });
    }
    let mut out = Out::new(out);
    out.raw(r#"{"status":""#);
    out.raw(word(status));
    out.raw("\"");
    if !message.is_empty() {
        out.raw(r#","statusDetails":{"reason":"#);
        out.string(Words::Plain(message));
        out.raw("}");
    }
    out.raw("}");
    out.finish()
}

/// Why a request was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JobsError {
    /// Not the name of a thing: 1 to 128 of `a-z A-Z 0-9 : _ -`.
    ThingName,
    /// No job is in hand to speak of.
    NoJob,
    /// A reason or version that the service would refuse. Nothing is cut: shorten it.
    Detail(BadDetail),
    /// A buffer is too small.
    NoRoom(NoRoom),
}

impl JobsError {
    /// A stable name, at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ThingName => "thing-name",
            Self::NoJob => "no-job",
            Self::Detail(error) => error.reason(),
            Self::NoRoom(error) => error.reason(),
        }
    }

    /// `false`: the same call will not do better the next time.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl core::fmt::Display for JobsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::ThingName => f.write_str("not the name of a thing"),
            Self::NoJob => f.write_str("no job in hand"),
            Self::Detail(error) => error.fmt(f),
            Self::NoRoom(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for JobsError {}

fn token(out: &mut Out<'_>, token: u32) {
    out.raw(r#""clientToken":""#);
    out.number(token.into());
    out.raw("\"}");
}

fn step_timeout(out: &mut Out<'_>, settings: &Settings) {
    if let Some(minutes) = settings.step_timeout_minutes {
        out.raw(r#""stepTimeoutInMinutes":"#);
        out.number(minutes.into());
        out.raw(",");
    }
}

/// `start-next`, without status details, which stay as they are, and without a step timeout: the job may be another agent's.
pub(crate) fn start_next(id: u32, out: &mut [u8]) -> Result<&str, TooSmall> {
    let mut out = Out::new(out);
    out.raw("{");
    token(&mut out, id);
    out.finish()
}

/// `{jobId}/get`.
pub(crate) fn describe(id: u32, out: &mut [u8]) -> Result<&str, TooSmall> {
    let mut out = Out::new(out);
    out.raw(r#"{"includeJobDocument":true,"#);
    token(&mut out, id);
    out.finish()
}

/// What an update says beside the job.
pub(crate) struct Update<'u> {
    pub(crate) status: Status,
    /// Those with an empty value are left out.
    pub(crate) details: [(&'u str, &'u str); 3],
    pub(crate) version: Option<u64>,
    pub(crate) token: u32,
}

/// `{jobId}/update`.
pub(crate) fn update<'b>(settings: &Settings, update: &Update<'_>, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
    let mut out = Out::new(out);
    out.raw(r#"{"status":""#);
    out.raw(word(update.status));
    out.raw("\",");
    let mut separator = r#""statusDetails":{"#;
    for (key, value) in update.details.iter().filter(|(_, value)| !value.is_empty()) {
        out.raw(separator);
        out.string(Words::Plain(key));
        out.raw(":");
        out.string(Words::Plain(value));
        separator = ",";
    }
    if separator == "," {
        out.raw("},");
    }
    if let Some(version) = update.version {
        let quote = if settings.expected_version == ExpectedVersion::Quoted { "\"" } else { "" };
        out.raw(r#""expectedVersion":"#);
        out.raw(quote);
        out.number(version);
        out.raw(quote);
        out.raw(",");
    }
    // The answer is to say which version comes next.
    out.raw(r#""includeJobExecutionState":true,"#);
    if update.status == Status::Downloading {
        step_timeout(&mut out, settings);
    }
    token(&mut out, update.token);
    out.finish()
}

/// Both buffers together.
pub(crate) fn publish<'b>(
    (thing, one, two): (&str, &str, &str),
    topic: &'b mut [u8],
    payload: Result<&'b str, TooSmall>,
) -> Result<Publish<'b>, JobsError> {
    let topic = write_topic(thing, one, two, topic).map_err(|error| JobsError::NoRoom(NoRoom::Topic(error)))?;
    let payload = payload.map_err(|error| JobsError::NoRoom(NoRoom::Payload(error)))?;
    Ok(Publish { topic, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn topics_are_read_for_one_thing_only() {
        let read =
            |rest: &'static str| read_topic("t", std::boxed::Box::leak(format!("$aws/things/{rest}").into_boxed_str()));
        assert_eq!(read("t/jobs/notify-next"), Some(Topic::NotifyNext));
        assert_eq!(read("t/jobs/start-next/rejected"), Some(Topic::StartNext { accepted: false }));
        assert_eq!(read("t/jobs/j/get/accepted"), Some(Topic::Get { job: "j", accepted: true }));
        assert_eq!(read("t/jobs/$next/get/accepted"), Some(Topic::Get { job: "$next", accepted: true }));
        assert_eq!(read("t/jobs/j/update/rejected"), Some(Topic::Update { job: "j", accepted: false }));
        for other in [
            "t2/jobs/notify-next",
            "u/jobs/notify-next",
            "t/jobs/notify",
            "t/jobs/j/update",
            "t/jobs/a/b/get/accepted",
            "t/shadow",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn the_longest_topic_fits() {
        let (thing, job) = ("t".repeat(THING_NAME_MAX), "j".repeat(64));
        assert!(is_thing(&thing) && !is_thing("") && !is_thing("a/b") && !is_thing(&format!("{thing}t")));
        let mut out = [0; TOPIC_MAX];
        assert!(write_topic(&thing, &job, "/update", &mut out).is_ok());
        assert!(write_topic(&thing, &job, "/update/accepted", &mut out).unwrap().len() <= TOPIC_MAX);
    }

    #[test]
    fn the_longest_request_fits() {
        let settings = Settings { step_timeout_minutes: Some(u16::MAX), ..Settings::default() };
        let (reason, version) = ("x".repeat(200), "v".repeat(56));
        for status in [Status::Downloading, Status::Rejected] {
            let details = [("reason", reason.as_str()), ("self_test", "accepted"), ("updatedBy", version.as_str())];
            let longest = Update { status, details, version: Some(u64::MAX), token: u32::MAX };
            assert!(update(&settings, &longest, &mut [0; PAYLOAD_MAX]).is_ok());
        }
    }

    #[test]
    fn the_limits_are_the_services() {
        assert_eq!(check_value(&"é".repeat(VALUE_MAX)), Ok(()));
        assert_eq!(check_value(&"é".repeat(1025)), Err(BadDetail::TooLong { length: 1025, limit: 1024 }));
        assert_eq!(check_value(""), Err(BadDetail::Empty));
        for value in ["a\nb", "\0", "\u{7f}", "\u{85}"] {
            assert_eq!(check_value(value), Err(BadDetail::Character), "{value:?}");
        }
        for bad in [BadDetail::Empty, BadDetail::Character, BadDetail::TooLong { length: 2, limit: 1 }] {
            assert!(bad.reason().len() <= 24);
        }
    }
}
