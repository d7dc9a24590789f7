//! A status, the message that reports it, and the way from the one to the other.

use core::fmt;

#[cfg(feature = "aws")]
use crate::aws;
use crate::dialect::Dialect;
#[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
use crate::iotconnect;
use crate::job::Job;
#[cfg(feature = "ota-update")]
use crate::ota_update;
use crate::out::{TooSmall, Words};
/// How an update stands, in words that every dialect has its own for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Status {
    /// The bytes are on their way. IoTConnect 2.1: `st` 2; AWS: `IN_PROGRESS`.
    Downloading,
    /// The new firmware is up and running: after the reboot and its self-test, not before. IoTConnect: `st` 3
    /// (2.1) or 7 (2.0); AWS: `SUCCEEDED`; ota-update: `Success`.
    Done,
    /// Download, flash, self-test or start failed; the old firmware runs, and another try may end better. IoTConnect:
    /// `st` 4; AWS: `FAILED`, after which the service may try again; ota-update: `Failure`.
    Failed,
    /// Tried, and refused for good: what came is not what may run here. The same job will not end better. IoTConnect:
    /// `st` 4; AWS: `REJECTED`; ota-update: `Failure`.
    Refused,
    /// Not attempted: the job makes no sense here, and sending it again won't help. IoTConnect: `st` 1
    /// (2.1) or 4 (2.0); AWS: `REJECTED`; ota-update: `Failure`.
    Rejected,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Downloading => "downloading",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
        })
    }
}

/// A message to publish, at QoS 1, in the caller's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Publish<'b> {
    /// Where to.
    pub topic: &'b str,
    /// JSON.
    pub payload: &'b str,
}

/// A buffer has no room for what is to be published. Nothing is ever cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NoRoom {
    /// The one for the topic.
    Topic(TooSmall),
    /// The one for the payload.
    Payload(TooSmall),
}

impl NoRoom {
    /// `buffer-too-small`, for status reports.
    pub fn reason(&self) -> &'static str {
        "buffer-too-small"
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => write!(f, "topic: {error}"),
            Self::Payload(error) => write!(f, "payload: {error}"),
        }
    }
}

impl core::error::Error for NoRoom {}

/// Writes a report for a job whose document is gone, after the reboot into the new firmware for example: from its
/// dialect and its [id](Job::id), and for a child device of a gateway from its [tag](crate::Artifact::tag) as well.
///
/// Other than that it is [`Job::report`]; only ota-update's, of which this one always names a `File`: over MQTT, write
/// it with `ota_update::result`.
///
/// # Errors
/// As [`Job::report`].
///
/// ```
/// # #[cfg(feature = "iotconnect")] {
/// use sprag_job::{Dialect, Status, report};
///
/// let mut out = [0; 128];
/// let ack = report(Dialect::IotConnect21, "0a1b", Some("pump-2"), Status::Done, "1.5 runs", &mut out)?;
/// assert_eq!(ack, r#"{"d":{"ack":"0a1b","cid":"pump-2","type":1,"st":3,"msg":"1.5 runs"}}"#);
/// # }
/// # Ok::<(), sprag_job::TooSmall>(())
/// ```
pub fn report<'b>(
    dialect: Dialect,
    id: &str,
    child: Option<&str>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    write(dialect, Words::Plain(id), child.map(Words::Plain), status, message, out)
}

/// The report of a job whose document is at hand.
pub(crate) fn of<'b>(
    job: &Job<'_>,
    child: Option<Words<'_>>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    #[cfg(feature = "ota-update")]
    if job.dialect() == Dialect::OtaUpdate {
        return ota_update::write(job.answer(), Words::Quoted(job.id()), status, out);
    }
    write(job.dialect(), Words::Quoted(job.id()), child, status, message, out)
}

pub(crate) fn write<'b>(
    dialect: Dialect,
    id: Words<'_>,
    child: Option<Words<'_>>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    match dialect {
        #[cfg(feature = "iotconnect")]
        Dialect::IotConnect21 => iotconnect::v21::ack(id, child, status, message, out),
        #[cfg(feature = "iotconnect-20")]
        Dialect::IotConnect20 => iotconnect::v20::write(None, id, child, status, message, out),
        #[cfg(feature = "aws-jobs")]
        Dialect::AwsJobs => aws::request::report(status, message, out),
        #[cfg(feature = "afr-ota")]
        Dialect::AfrOta => aws::request::report(status, message, out),
        #[cfg(feature = "ota-update")]
        Dialect::OtaUpdate => ota_update::write(ota_update::Answer::File, id, status, out),
    }
}
