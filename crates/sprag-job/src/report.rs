//! The way from a status to the bytes of a dialect.

#[cfg(feature = "aws")]
use crate::aws;
use crate::dialect::Dialect;
#[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
use crate::iotconnect;
use crate::job::Job;
#[cfg(feature = "ota-update")]
use crate::ota_update;
use crate::out::{TooSmall, Words};
use crate::status::Status;

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
        let answer = ota_update::answer(job.source.scope().object);
        return ota_update::write(answer, Words::Quoted(job.id), status, out);
    }
    write(job.dialect(), Words::Quoted(job.id), child, status, message, out)
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
        Dialect::IotConnect20 => iotconnect::ack_20::write(None, id, child, status, message, out),
        #[cfg(feature = "aws-jobs")]
        Dialect::AwsJobs => aws::report::write(status, message, out),
        #[cfg(feature = "afr-ota")]
        Dialect::AfrOta => aws::report::write(status, message, out),
        #[cfg(feature = "ota-update")]
        Dialect::OtaUpdate => ota_update::write(ota_update::Answer::File, id, status, out),
    }
}
