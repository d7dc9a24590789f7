//! IoTConnect device message 2.1 (Avnet; AWS and Azure): the OTA command, `ct` = 1, and its ack.
//!
//! ```json
//! {"v":"2.1","ct":1,"cmd":"ota","ack":"<guid>","sw":"1.5","hw":"1","urls":[{"url":"https://…","fileName":"a.bin"}]}
//! ```
//!
//! `v` is a string on the wire and a number in the documentation. `cmd` may be changed by a template and is not looked
//! at. Gateways find the tag of the child device in `tg` of an entry.

use crate::artifact::Artifact;
use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::out::{Out, TooSmall, Words};
use crate::status::Status;
use crate::text::Text;

const VERSION: &str = "2.1";
/// `ct` of an OTA; 0 is a command, 2 a module, 101 and up are the SDK's own.
const OTA: i64 = 1;

fn field<'a>(root: Value<'a>, name: &'static str) -> Field<'a> {
    Field::of(root, name)
}

/// Reads a sound document; `None` when it is not device message 2.1.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn parse<'a>(root: Value<'a>) -> Option<Result<Job<'a>, ParseError<'a>>> {
    is_ours(root).then(|| job(root).map_err(|error| error.about(subject(root))))
}

/// The OTA that a document is about, which need not be sound. A message of another kind has an `ack` too, which is not
/// ours to send.
pub(crate) fn subject<'a>(root: Value<'a>) -> Option<(Dialect, Text<'a>)> {
    if !is_ours(root) || check(field(root, "ct")).is_err() {
        return None;
    }
    Some((Dialect::IotConnect21, field(root, "ack").text().ok()?))
}

pub(crate) fn is_ours(root: Value<'_>) -> bool {
    field(root, "v").word().is_some_and(|version| version == VERSION)
}

fn check<'a>(ct: Field<'a>) -> Result<(), ParseError<'a>> {
    match ct.integer()? {
        OTA => Ok(()),
        other => Err(ct.fault(Kind::NotAnOta { ct: Some(other) })),
    }
}

fn job<'a>(root: Value<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let [ct, ack, sw, hw, urls] = Field::all(root, ["ct", "ack", "sw", "hw", "urls"]);
    check(ct)?;
    let id = ack.text()?;
    let (version, hardware) = (sw.optional_text()?, hw.optional_text()?);
    let elements = urls.list()?;
    let scope = Scope { object: root, prefix: "" };
    let source = Source::many(Dialect::IotConnect21, scope, "urls", elements);
    Job { id, id_path: "ack", version, hardware, source }.checked()
}

/// An entry of `urls`.
pub(crate) fn artifact<'a>(element: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    Field::at(element, "").object()?;
    let [url, name, tag] = Field::all(element, ["url", "fileName", "tg"]);
    Ok(Artifact { name: name.optional_text()?, tag: tag.optional_text()?, ..Artifact::at(url.url()?, url) })
}

/// The ack of an OTA (`type` 1). The child's `cid` comes after `ack`: who, then what.
pub(crate) fn ack<'b>(
    id: Words<'_>,
    child: Option<Words<'_>>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    let mut out = Out::new(out);
    if id.is_empty() {
        return out.finish();
    }
    out.raw(r#"{"d":{"ack":"#);
    out.string(id);
    if let Some(child) = child {
        out.raw(r#","cid":"#);
        out.string(child);
    }
    out.raw(r#","type":1,"st":"#);
    out.raw(match status {
        Status::Downloading => "2",
        Status::Done => "3",
        Status::Failed | Status::Refused => "4",
        Status::Rejected => "1",
    });
    out.raw(r#","msg":"#);
    out.string(Words::Plain(message));
    out.raw("}}");
    out.finish()
}
