//! The payloads of the requests.

use super::details;
use super::report;
use super::settings::{ExpectedVersion, Settings};
use super::topics;
use crate::out::{Out, TooSmall, Words};
use crate::publish::{NoRoom, Publish};
use crate::status::Status;

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
    Detail(details::BadDetail),
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
    out.raw(report::word(update.status));
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
    let topic = topics::write(thing, one, two, topic).map_err(|error| JobsError::NoRoom(NoRoom::Topic(error)))?;
    let payload = payload.map_err(|error| JobsError::NoRoom(NoRoom::Payload(error)))?;
    Ok(Publish { topic, payload })
}
