//! IoTConnect device message 2.0 and its older forms (Avnet): the OTA command, `cmdType` "0x02".
//!
//! ```json
//! {"cmdType":"0x02","data":{"cpid":"…","uniqueId":"…","command":"ota","ack":false,"ackId":"<guid>","cmdType":"0x02",
//!   "ver":{"sw":"0.2","hw":"0.1"},"urls":[{"url":"https://…"}]}}
//! ```
//!
//! SDKs hand on the inner object alone. In the oldest form `urls` has strings, or there is none and `command` is
//! `ota https://…`. Gateways find the tag of the child device in `tag` of an entry.

use crate::artifact::Artifact;
use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::text::Text;

/// `cmdType` of an OTA; "0x01" is a command, others are the SDK's own.
const OTA: i64 = 2;

fn field<'a>(scope: Scope<'a>, name: &'static str) -> Field<'a> {
    Field::of(scope.object, name)
}

/// A message of this kind.
struct Envelope<'a> {
    /// The inner object, in `data` or bare.
    scope: Scope<'a>,
    /// The command type, and where that lies.
    kind: Field<'a>,
    kind_prefix: &'static str,
}

fn envelope<'a>(root: Value<'a>) -> Option<Envelope<'a>> {
    let mut scope = Scope { object: root, prefix: "" };
    let (mut kind, mut kind_prefix) = (field(scope, "cmdType"), "");
    if let Some(object) = field(scope, "data").as_object() {
        scope = Scope { object, prefix: "data" };
        if kind.value().is_none() {
            (kind, kind_prefix) = (field(scope, "cmdType"), scope.prefix);
        }
    }
    kind.as_text()?;
    Some(Envelope { scope, kind, kind_prefix })
}

/// `"0x02"` as a number.
fn number(kind: Field<'_>) -> Option<i64> {
    let mut digits = kind.as_text()?.bytes();
    if digits.next() != Some(b'0') || !matches!(digits.next(), Some(b'x' | b'X')) {
        return None;
    }
    digits.try_fold(0i64, |number, digit| {
        let digit = char::from(digit).to_digit(16)?;
        number.checked_mul(16)?.checked_add(digit.into())
    })
}

pub(crate) fn is_ours(root: Value<'_>) -> bool {
    envelope(root).is_some()
}

/// Reads a sound document; `None` when it is not device message 2.0.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn parse<'a>(root: Value<'a>) -> Option<Result<Job<'a>, ParseError<'a>>> {
    let Envelope { scope, kind, kind_prefix } = envelope(root)?;
    let job = match check(kind) {
        Ok(()) => job(scope).map_err(|error| error.within(scope.prefix)),
        Err(error) => Err(error.within(kind_prefix)),
    };
    Some(job.map_err(|error| error.about(subject(root))))
}

/// The OTA that a document is about, which need not be sound.
pub(crate) fn subject<'a>(root: Value<'a>) -> Option<(Dialect, Text<'a>)> {
    let Envelope { scope, kind, .. } = envelope(root)?;
    check(kind).ok()?;
    Some((Dialect::IotConnect20, field(scope, "ackId").text().ok()?))
}

fn check<'a>(kind: Field<'a>) -> Result<(), ParseError<'a>> {
    match number(kind) {
        Some(OTA) => Ok(()),
        ct @ Some(_) => Err(kind.fault(Kind::NotAnOta { ct })),
        None => Err(kind.wrong("a number like 0x02")),
    }
}

fn job<'a>(scope: Scope<'a>) -> Result<Job<'a>, ParseError<'a>> {
    // An ack that is not wanted needs no id, though most have one.
    let [ack, id, ver, urls, command] = Field::all(scope.object, ["ack", "ackId", "ver", "urls", "command"]);
    let wanted = !ack.value().is_some_and(|ack| ack.is_false());
    let id = if wanted || id.value().is_some() { id.text()? } else { Text::EMPTY };
    let (mut version, mut hardware) = (None, None);
    if ver.value().is_some() {
        let ver = ver.object()?;
        let [sw, hw] = Field::all(ver, ["ver.sw", "ver.hw"]);
        (version, hardware) = (sw.optional_text()?, hw.optional_text()?);
    }
    let source = match (urls.value(), command.value()) {
        (None, Some(value)) if command.as_text().is_some_and(|command| command.after_word("ota").is_some()) => {
            Source::sole(Dialect::IotConnect20, scope, "command", value)
        }
        _ => Source::many(Dialect::IotConnect20, scope, "urls", urls.list()?),
    };
    let id_path = if scope.prefix.is_empty() { "ackId" } else { "data.ackId" };
    Job { id, id_path, version, hardware, source }.checked()
}

/// An entry of `urls`, an object or a string, or the command itself.
pub(crate) fn artifact<'a>(value: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    let whole = Field::at(value, "");
    if let Some(text) = whole.as_text() {
        let text = text.after_word("ota").unwrap_or(text);
        if text.is_empty() {
            return Err(whole.fault(Kind::Empty));
        }
        return Ok(Artifact::at(whole.url_in(text)?, whole));
    }
    whole.as_object().ok_or(whole.wrong("an object or a string"))?;
    let [url, name, tag] = Field::all(value, ["url", "fileName", "tag"]);
    Ok(Artifact { name: name.optional_text()?, tag: tag.optional_text()?, ..Artifact::at(url.url()?, url) })
}
