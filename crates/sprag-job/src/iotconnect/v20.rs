//! IoTConnect device message 2.0 and its older forms (Avnet): the OTA command, `cmdType` "0x02", and its ack.
//!
//! ```json
//! {"cmdType":"0x02","data":{"cpid":"…","uniqueId":"…","command":"ota","ack":false,"ackId":"<guid>","cmdType":"0x02",
//!   "ver":{"sw":"0.2","hw":"0.1"},"urls":[{"url":"https://…"}]}}
//! ```
//!
//! SDKs hand on the inner object alone. In the oldest form `urls` has strings, or there is none and `command` is
//! `ota https://…`. Gateways find the tag of the child device in `tag` of an entry.

use crate::artifact::{self, Artifact, Item};
use crate::dialect::Dialect;
use crate::error::ParseErrorKind as Kind;
use crate::field::Reader;
use crate::job::Draft;
use crate::location::Location;
use crate::out::{Out, TooSmall, Words};
use crate::parse::Key;
use crate::report::Status;
use crate::text::Text;

/// `cmdType` of an OTA; "0x01" is a command, others are the SDK's own.
const OTA: i64 = 2;

/// `"0x02"` as a number.
fn number(kind: Text<'_>) -> Option<i64> {
    let mut digits = kind.bytes();
    if digits.next() != Some(b'0') || !matches!(digits.next(), Some(b'x' | b'X')) {
        return None;
    }
    digits.try_fold(0i64, |number, digit| {
        let digit = char::from(digit).to_digit(16)?;
        number.checked_mul(16)?.checked_add(digit.into())
    })
}

/// The object itself, and the fields in it.
static BARE: [Key; 8] = [Key::Root, Key::Ack, Key::AckId, Key::Ver, Key::VerSw, Key::VerHw, Key::Urls, Key::Command];
static IN_DATA: [Key; 8] = [
    Key::Data,
    Key::DataAck,
    Key::DataAckId,
    Key::DataVer,
    Key::DataVerSw,
    Key::DataVerHw,
    Key::DataUrls,
    Key::DataCommand,
];

/// Reads a document; `false` when it is not device message 2.0.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn read<'a>(reader: &mut Reader<'_, 'a>, draft: &mut Draft<'a>) -> bool {
    let is_wrapped = reader.is_object(Key::Data as u8);
    let mut kind = Key::CmdType as u8;
    if is_wrapped && !reader.is_there(kind) {
        kind = Key::DataCmdType as u8;
    }
    let Some(word) = reader.as_text(kind) else { return false };
    draft.is(Dialect::IotConnect20);
    match number(word) {
        Some(OTA) => {}
        Some(other) => {
            reader.fault(kind, Kind::NotAnOta { ct: i32::try_from(other).ok() });
            return true;
        }
        None => {
            reader.wrong(kind, "a number like 0x02");
            return true;
        }
    }
    let [object, ack, id, ver, sw, hw, urls, command] = if is_wrapped { IN_DATA } else { BARE }.map(|key| key as u8);
    draft.object(reader, object);
    draft.head.id_path = reader.path(id);
    // An ack that is not wanted needs no id, though most have one.
    if reader.first(ack) != Some(b'f') || reader.is_there(id) {
        draft.head.id = reader.text(id);
    }
    if reader.is_there(ver) {
        reader.object(ver);
    }
    draft.head.version = reader.optional_text(sw);
    draft.head.hardware = reader.optional_text(hw);
    let is_command = reader.as_text(command).is_some_and(|command| command.after_word("ota").is_some());
    if is_command && !reader.is_there(urls) {
        draft.sole(reader, command);
    } else {
        draft.list(reader, urls);
    }
    true
}

/// An entry of `urls`, an object or a string, or the command itself.
pub(crate) fn artifact<'a>(item: &mut Reader<'_, 'a>, artifact: &mut Artifact<'a>) {
    if item.is_object(0) {
        return artifact::named(item, artifact, [Item::FileName, Item::Tag]);
    }
    if item.as_text(0).is_none() {
        item.wrong(0, "an object or a string");
    }
    let text = item.text(0);
    let url = text.after_word("ota").unwrap_or(text);
    item.url_in(0, url);
    artifact.place(item, 0);
    artifact.location = Some(Location::Url(url));
}

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
