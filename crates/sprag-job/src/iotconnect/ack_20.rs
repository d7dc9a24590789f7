//! The ack of IoTConnect device message 2.0.

use crate::out::{Out, TooSmall, Words};
use crate::status::Status;

/// Who sends an ack of device message 2.0, and when: what the service wants to know beside the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sender<'a> {
    /// `t`: the time, as ISO 8601 in UTC: `2026-11-23T19:59:55.000Z`.
    pub time: &'a str,
    /// `uniqueId`: the device's.
    pub unique_id: &'a str,
    /// `cpId`: the company's.
    pub cp_id: &'a str,
    /// `sdk`: what the device speaks with.
    pub sdk: Sdk<'a>,
}

/// `sdk` of device message 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sdk<'a> {
    /// `l`: its language.
    pub language: &'a str,
    /// `v`: its version.
    pub version: &'a str,
    /// `e`: the environment of the account.
    pub environment: &'a str,
}

/// The device as acks of device message 2.0 name it, and its clock: what [`IotConnect`](super::IotConnect) makes a
/// [`Sender`] of.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// See [`Sender::unique_id`].
    pub unique_id: &'a str,
    /// See [`Sender::cp_id`].
    pub cp_id: &'a str,
    /// See [`Sender::sdk`].
    pub sdk: Sdk<'a>,
    /// The time now, as [`Sender::time`] has it. What is no ASCII is left out.
    pub time: fn() -> [u8; 24],
}

impl Device<'_> {
    /// An ack by this device, now.
    pub(super) fn ack<'b>(
        &self,
        id: Words<'_>,
        status: Status,
        message: &str,
        out: &'b mut [u8],
    ) -> Result<&'b str, TooSmall> {
        let Self { unique_id, cp_id, sdk, time } = *self;
        let time = time();
        let time = core::str::from_utf8(&time).unwrap_or_default();
        write(Some(&Sender { time, unique_id, cp_id, sdk }), id, None, status, message, out)
    }
}

/// Writes the whole ack of an OTA in device message 2.0 (`mt` 11), `childId` included for a gateway's child:
/// `st` is 7 (firmware executed) for [`Status::Done`], 4 (failed) for the other ends.
///
/// Empty, which is nothing to publish, for [`Status::Downloading`], which 2.0 has no word for, and without an `id`.
///
/// # Errors
/// [`TooSmall`] with the size of `out` that would do.
///
/// ```
/// use sprag_job::{Status, iotconnect::{Sdk, Sender, ack_20}};
///
/// let sdk = Sdk { language: "Rust", version: "2.0", environment: "prod" };
/// let sender = Sender { time: "2026-11-23T19:59:55.000Z", unique_id: "pump-7", cp_id: "acme", sdk };
/// let mut out = [0; 256];
/// assert_eq!(ack_20(&sender, "0a1b", None, Status::Done, "", &mut out)?, concat!(
///     r#"{"mt":11,"t":"2026-11-23T19:59:55.000Z","uniqueId":"pump-7","cpId":"acme","#,
///     r#""sdk":{"l":"Rust","v":"2.0","e":"prod"},"d":{"ackId":"0a1b","msg":"","st":7}}"#,
/// ));
/// # Ok::<(), sprag_job::TooSmall>(())
/// ```
pub fn ack_20<'b>(
    sender: &Sender<'_>,
    id: &str,
    child: Option<&str>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    write(Some(sender), Words::Plain(id), child.map(Words::Plain), status, message, out)
}

pub(crate) fn write<'b>(
    sender: Option<&Sender<'_>>,
    id: Words<'_>,
    child: Option<Words<'_>>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    let mut out = Out::new(out);
    let st = match status {
        Status::Downloading => return out.finish(),
        _ if id.is_empty() => return out.finish(),
        Status::Done => "7",
        Status::Failed | Status::Refused | Status::Rejected => "4",
    };
    let mut field = |name: &str, words: Words<'_>| {
        out.raw(name);
        out.string(words);
    };
    match sender {
        None => field(r#"{"mt":11,"d":{"ackId":"#, id),
        Some(sender) => {
            field(r#"{"mt":11,"t":"#, Words::Plain(sender.time));
            field(r#","uniqueId":"#, Words::Plain(sender.unique_id));
            field(r#","cpId":"#, Words::Plain(sender.cp_id));
            field(r#","sdk":{"l":"#, Words::Plain(sender.sdk.language));
            field(r#","v":"#, Words::Plain(sender.sdk.version));
            field(r#","e":"#, Words::Plain(sender.sdk.environment));
            field(r#"},"d":{"ackId":"#, id);
        }
    }
    if let Some(child) = child {
        field(r#","childId":"#, child);
    }
    field(r#","msg":"#, Words::Plain(message));
    out.raw(r#","st":"#);
    out.raw(st);
    out.raw("}}");
    out.finish()
}
