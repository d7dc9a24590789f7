//! The way from a document to the dialect that can read it.

use crate::artifact::Artifact;
use crate::artifacts::Source;
#[cfg(feature = "aws")]
use crate::aws;
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
#[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
use crate::iotconnect;
use crate::job::Job;
use crate::json::{self, Value};
#[cfg(feature = "ota-update")]
use crate::ota_update;
use crate::path::Path;
use crate::text::Text;

/// Reads a job document, in whichever of the enabled dialects it is written.
///
/// The whole of it must be sound JSON, to its end: whitespace and NULs may follow, since C clients hand out payloads
/// with their terminator, and a byte order mark may stand before it, nothing else. Fields that are not asked for are skipped, whatever they hold. Of a key that
/// is there twice the last one counts. Time is linear in the length, memory constant; what is returned borrows from
/// `document`.
///
/// # Errors
/// [`ParseError`] says what is wrong, where, and which job it is about if that much could be read.
/// [`ParseErrorKind::NotAnOta`](Kind::NotAnOta) and [`ParseErrorKind::NothingPending`](Kind::NothingPending) are not
/// faults.
pub fn parse(document: &[u8]) -> Result<Job<'_>, ParseError<'_>> {
    let (root, sound) = json::document(document);
    if let Err(error) = sound {
        return Err(error.about(subject(root)));
    }
    #[cfg(feature = "iotconnect")]
    if let Some(job) = iotconnect::v21::parse(root).or_else(|| iotconnect::pending::parse(root)) {
        return job;
    }
    #[cfg(feature = "iotconnect-20")]
    if let Some(job) = iotconnect::v20::parse(root) {
        return job;
    }
    #[cfg(feature = "aws")]
    if let Some(job) = aws::documents::parse(root) {
        return job;
    }
    #[cfg(feature = "ota-update")]
    if let Some(job) = ota_update::parse(root) {
        return job;
    }
    Err(unknown(root))
}

/// Returns the error for a document in none of the dialects. A document that looks like an OTA of one of them is a fault;
/// any other is for another agent, whose job must not be ended.
pub(crate) fn unknown(root: Value<'_>) -> ParseError<'_> {
    let [v, ct, cmd_type, afr_ota, operation] = Field::all(root, ["v", "ct", "cmdType", "afr_ota", "operation"]);
    let has = |field: Field<'_>| field.value().is_some();
    let is_ota = operation.as_text().is_some_and(|operation| operation == "ota");
    let kind = match has(v) && has(ct) || has(cmd_type) || has(afr_ota) || is_ota {
        true => Kind::UnknownDialect,
        false => Kind::NotAnOta { ct: None },
    };
    ParseError::new(kind, Path::DOCUMENT, root.offset())
}

/// Tells the dialect of a document by its envelope, without reading the job in it.
///
/// Messages of a dialect that are no OTA are told as well, and documents that [`parse`] refuses for what is in them.
///
/// # Errors
/// [`ParseErrorKind::UnknownDialect`](Kind::UnknownDialect) and [`ParseErrorKind::NotAnOta`](Kind::NotAnOta) for a document
/// in none of them, the faults of what is not JSON, and [`ParseErrorKind::NothingPending`](Kind::NothingPending) for AWS's
/// empty queue, which has no dialect.
///
/// ```
/// # #[cfg(feature = "iotconnect")] {
/// use sprag_job::{Dialect, detect};
///
/// assert_eq!(detect(br#"{"v":2.1,"ct":1}"#), Ok(Dialect::IotConnect21));
/// # }
/// ```
pub fn detect(document: &[u8]) -> Result<Dialect, ParseError<'_>> {
    let (root, sound) = json::document(document);
    sound?;
    #[cfg(feature = "iotconnect")]
    if iotconnect::v21::is_ours(root) || iotconnect::pending::is_ours(root) {
        return Ok(Dialect::IotConnect21);
    }
    #[cfg(feature = "iotconnect-20")]
    if iotconnect::v20::is_ours(root) {
        return Ok(Dialect::IotConnect20);
    }
    #[cfg(feature = "aws")]
    if let Some(dialect) = aws::documents::detect(root) {
        return dialect;
    }
    #[cfg(feature = "ota-update")]
    if ota_update::is_ours(root) {
        return Ok(Dialect::OtaUpdate);
    }
    Err(unknown(root))
}

/// The job that a document is about, as far as it can be read.
fn subject(root: Value<'_>) -> Option<(Dialect, Text<'_>)> {
    #[cfg(feature = "iotconnect")]
    if let Some(subject) = iotconnect::v21::subject(root).or_else(|| iotconnect::pending::subject(root)) {
        return Some(subject);
    }
    #[cfg(feature = "iotconnect-20")]
    if let Some(subject) = iotconnect::v20::subject(root) {
        return Some(subject);
    }
    #[cfg(feature = "aws")]
    if let Some(subject) = aws::documents::subject(root) {
        return Some(subject);
    }
    #[cfg(feature = "ota-update")]
    if let Some(subject) = ota_update::subject(root) {
        return Some(subject);
    }
    None
}

/// One artifact, of which errors name the fields alone.
pub(crate) fn artifact<'a>(source: &Source<'a>, value: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    match source.dialect() {
        #[cfg(feature = "iotconnect")]
        Dialect::IotConnect21 => iotconnect::v21::artifact(value),
        #[cfg(feature = "iotconnect-20")]
        Dialect::IotConnect20 => iotconnect::v20::artifact(value),
        #[cfg(feature = "aws-jobs")]
        Dialect::AwsJobs => aws::default_document::artifact(value),
        #[cfg(feature = "afr-ota")]
        Dialect::AfrOta => aws::afr_ota::artifact(source.streams, value),
        #[cfg(feature = "ota-update")]
        Dialect::OtaUpdate => ota_update::artifact(value),
    }
}
