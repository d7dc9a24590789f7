//! IoTConnect's answer to `{"mt":205}`, the request for an OTA that was missed.
//!
//! ```json
//! {"d":{"ct":205,"ec":0,"ota":{"ver":{"sw":"1.5","hw":"1"},"urls":[{"url":"https://…","fileName":"a.bin"}]}}}
//! ```
//!
//! What is sure of it is `ota.ver.sw`, `ota.ver.hw` and `ota.urls`; the `d` around it is that of every answer on the
//! identity topic, and is not required here. An `ack` in `ota`, or beside it, is the job's id. Without one the job has
//! an empty id and no ack can be sent for it.

use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::text::Text;

/// `ct` of the answer.
const PENDING: i64 = 205;

/// The object that has `ota`, and the path to it.
fn envelope(root: Value<'_>) -> (Value<'_>, &'static str) {
    Field::of(root, "d").as_object().map_or((root, ""), |inner| (inner, "d"))
}

fn ota<'a>(envelope: Value<'a>) -> Option<Value<'a>> {
    let ota = Field::of(envelope, "ota").as_object()?;
    let has = |name| Field::of(ota, name).value().is_some();
    (has("urls") || has("ver")).then_some(ota)
}

fn is_answer(envelope: Value<'_>) -> bool {
    Field::of(envelope, "ct").integer().is_ok_and(|ct| ct == PENDING)
}

pub(crate) fn is_ours(root: Value<'_>) -> bool {
    let (envelope, _) = envelope(root);
    ota(envelope).is_some() || is_answer(envelope)
}

/// Reads a sound document; `None` when it is no such answer.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn parse<'a>(root: Value<'a>) -> Option<Result<Job<'a>, ParseError<'a>>> {
    let (envelope, prefix) = envelope(root);
    match ota(envelope) {
        Some(ota) => {
            let job = job(envelope, Scope { object: ota, prefix });
            Some(job.map_err(|error| error.within(prefix).about(subject(root))))
        }
        None if is_answer(envelope) => Some(Err(Field::of(envelope, "ota").fault(Kind::NothingPending).within(prefix))),
        None => None,
    }
}

pub(crate) fn subject<'a>(root: Value<'a>) -> Option<(Dialect, Text<'a>)> {
    let (envelope, _) = envelope(root);
    let id = id(envelope, ota(envelope)?).ok()?;
    (!id.is_empty()).then_some((Dialect::IotConnect21, id))
}

fn id<'a>(envelope: Value<'a>, ota: Value<'a>) -> Result<Text<'a>, ParseError<'a>> {
    Ok(id_field(envelope, ota).optional_text()?.unwrap_or(Text::EMPTY))
}

fn id_field<'a>(envelope: Value<'a>, ota: Value<'a>) -> Field<'a> {
    Field::of(ota, "ota.ack").or(Field::of(envelope, "ack"))
}

fn job<'a>(envelope: Value<'a>, scope: Scope<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let ota = scope.object;
    let ver = Field::of(ota, "ota.ver").as_object().unwrap_or(ota);
    let elements = Field::of(ota, "ota.urls").list()?;
    let id_path = match (scope.prefix, id_field(envelope, ota).name()) {
        ("", path) => path,
        (_, "ack") => "d.ack",
        _ => "d.ota.ack",
    };
    let job = Job {
        id: id(envelope, ota)?,
        id_path,
        version: Field::of(ver, "ota.ver.sw").optional_text()?,
        hardware: Field::of(ver, "ota.ver.hw").optional_text()?,
        source: Source::many(Dialect::IotConnect21, scope, "ota.urls", elements),
    };
    job.checked()
}
