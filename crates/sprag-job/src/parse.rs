//! The way from a document to the dialect that can read it: one pass over the bytes for all of them.

#[cfg(feature = "aws")]
use crate::aws;
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind, Path};
use crate::field::Reader;
#[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
use crate::iotconnect;
use crate::job::{Draft, Job};
use crate::json::{Span, fields};
#[cfg(feature = "ota-update")]
use crate::ota_update;

fields! {
    /// Every field of every dialect outside of lists.
    DOCUMENT, Key:
    V = "v",
    Ct = "ct",
    CmdType = "cmdType",
    AfrOta = "afr_ota",
    Operation = "operation",
    #[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
    Ack = "ack",
    #[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
    Urls = "urls",
    // IoTConnect 2.1.
    #[cfg(feature = "iotconnect")]
    Sw = "sw",
    #[cfg(feature = "iotconnect")]
    Hw = "hw",
    // A pending OTA, in `d` or bare.
    #[cfg(feature = "iotconnect")]
    Ota = "ota",
    #[cfg(feature = "iotconnect")]
    OtaAck = "ota.ack",
    #[cfg(feature = "iotconnect")]
    OtaVer = "ota.ver",
    #[cfg(feature = "iotconnect")]
    OtaVerSw = "ota.ver.sw",
    #[cfg(feature = "iotconnect")]
    OtaVerHw = "ota.ver.hw",
    #[cfg(feature = "iotconnect")]
    OtaSw = "ota.sw",
    #[cfg(feature = "iotconnect")]
    OtaHw = "ota.hw",
    #[cfg(feature = "iotconnect")]
    OtaUrls = "ota.urls",
    #[cfg(feature = "iotconnect")]
    D = "d",
    #[cfg(feature = "iotconnect")]
    DCt = "d.ct",
    #[cfg(feature = "iotconnect")]
    DAck = "d.ack",
    #[cfg(feature = "iotconnect")]
    DOta = "d.ota",
    #[cfg(feature = "iotconnect")]
    DOtaAck = "d.ota.ack",
    #[cfg(feature = "iotconnect")]
    DOtaVer = "d.ota.ver",
    #[cfg(feature = "iotconnect")]
    DOtaVerSw = "d.ota.ver.sw",
    #[cfg(feature = "iotconnect")]
    DOtaVerHw = "d.ota.ver.hw",
    #[cfg(feature = "iotconnect")]
    DOtaSw = "d.ota.sw",
    #[cfg(feature = "iotconnect")]
    DOtaHw = "d.ota.hw",
    #[cfg(feature = "iotconnect")]
    DOtaUrls = "d.ota.urls",
    // IoTConnect 2.0, in `data` or bare.
    #[cfg(feature = "iotconnect-20")]
    AckId = "ackId",
    #[cfg(feature = "iotconnect-20")]
    Ver = "ver",
    #[cfg(feature = "iotconnect-20")]
    VerSw = "ver.sw",
    #[cfg(feature = "iotconnect-20")]
    VerHw = "ver.hw",
    #[cfg(feature = "iotconnect-20")]
    Command = "command",
    #[cfg(feature = "iotconnect-20")]
    Data = "data",
    #[cfg(feature = "iotconnect-20")]
    DataCmdType = "data.cmdType",
    #[cfg(feature = "iotconnect-20")]
    DataAck = "data.ack",
    #[cfg(feature = "iotconnect-20")]
    DataAckId = "data.ackId",
    #[cfg(feature = "iotconnect-20")]
    DataVer = "data.ver",
    #[cfg(feature = "iotconnect-20")]
    DataVerSw = "data.ver.sw",
    #[cfg(feature = "iotconnect-20")]
    DataVerHw = "data.ver.hw",
    #[cfg(feature = "iotconnect-20")]
    DataUrls = "data.urls",
    #[cfg(feature = "iotconnect-20")]
    DataCommand = "data.command",
    // AWS: the envelope, and the documents in it or bare.
    #[cfg(feature = "aws")]
    Timestamp = "timestamp",
    #[cfg(feature = "aws")]
    ClientToken = "clientToken",
    #[cfg(feature = "aws")]
    Execution = "execution",
    #[cfg(feature = "aws")]
    JobId = "execution.jobId",
    #[cfg(feature = "aws")]
    Status = "execution.status",
    #[cfg(feature = "aws")]
    VersionNumber = "execution.versionNumber",
    #[cfg(feature = "aws")]
    ExecutionNumber = "execution.executionNumber",
    #[cfg(feature = "aws")]
    StatusDetails = "execution.statusDetails",
    #[cfg(feature = "aws")]
    Job = "execution.jobDocument",
    #[cfg(feature = "aws")]
    JobV = "execution.jobDocument.v",
    #[cfg(feature = "aws")]
    JobCt = "execution.jobDocument.ct",
    #[cfg(feature = "aws")]
    JobCmdType = "execution.jobDocument.cmdType",
    #[cfg(feature = "aws")]
    JobAfrOta = "execution.jobDocument.afr_ota",
    #[cfg(feature = "aws")]
    JobOperation = "execution.jobDocument.operation",
    #[cfg(feature = "afr-ota")]
    AfrFiles = "afr_ota.files",
    #[cfg(feature = "afr-ota")]
    AfrStream = "afr_ota.streamname",
    #[cfg(feature = "afr-ota")]
    AfrProtocols = "afr_ota.protocols",
    #[cfg(feature = "afr-ota")]
    JobAfrFiles = "execution.jobDocument.afr_ota.files",
    #[cfg(feature = "afr-ota")]
    JobAfrStream = "execution.jobDocument.afr_ota.streamname",
    #[cfg(feature = "afr-ota")]
    JobAfrProtocols = "execution.jobDocument.afr_ota.protocols",
    #[cfg(feature = "aws-jobs")]
    Version = "version",
    #[cfg(feature = "aws-jobs")]
    Hardware = "hardware",
    #[cfg(feature = "aws-jobs")]
    Artifact = "artifact",
    #[cfg(feature = "aws-jobs")]
    Files = "files",
    #[cfg(feature = "aws-jobs")]
    JobVersion = "execution.jobDocument.version",
    #[cfg(feature = "aws-jobs")]
    JobHardware = "execution.jobDocument.hardware",
    #[cfg(feature = "aws-jobs")]
    JobArtifact = "execution.jobDocument.artifact",
    #[cfg(feature = "aws-jobs")]
    JobFiles = "execution.jobDocument.files",
    // ota-update, whose names are found in any case. A `version` that the line above has found is one of them too.
    #[cfg(feature = "ota-update")]
    Message = "~Message",
    #[cfg(feature = "ota-update")]
    Product = "~Product",
    #[cfg(feature = "ota-update")]
    Board = "~Board",
    #[cfg(feature = "ota-update")]
    AnyVersion = "~Version",
    #[cfg(feature = "ota-update")]
    Connection = "~Connection",
    #[cfg(feature = "ota-update")]
    File = "~File",
    #[cfg(feature = "ota-update")]
    UniqueTopicName = "~UniqueTopicName",
}

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
    let mut spans = [Span::NONE; Key::COUNT];
    let (mut reader, sound) = Reader::document(document, &DOCUMENT, &mut spans);
    let mut draft = Draft::new(reader.text);
    read(&mut reader, &mut draft);
    let job = sound.and_then(|()| reader.finish(())).and_then(|()| draft.job());
    job.map_err(|error| draft.about(error))
}

/// Tells the dialect of a document by its envelope, without regard to the job in it.
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
    let mut spans = [Span::NONE; Key::COUNT];
    let (mut reader, sound) = Reader::document(document, &DOCUMENT, &mut spans);
    sound?;
    let mut draft = Draft::new(reader.text);
    read(&mut reader, &mut draft);
    match (draft.dialect, reader.finish(())) {
        (Some(dialect), _) if draft.is_told => return Ok(dialect),
        (_, Err(error)) if error.kind() == Kind::NothingPending => return Err(error),
        _ => {}
    }
    let mut reader = reader.afresh();
    unknown(&mut reader, MARKS);
    Err(reader.finish(()).err().unwrap_or(ParseError::new(Kind::UnknownDialect, Path::DOCUMENT, 0)))
}

/// Asks each dialect to read the document. The first one whose own it is does.
fn read<'a>(reader: &mut Reader<'_, 'a>, draft: &mut Draft<'a>) {
    #[cfg(feature = "iotconnect")]
    if iotconnect::v21::read(reader, draft) {
        return;
    }
    #[cfg(feature = "iotconnect-20")]
    if iotconnect::v20::read(reader, draft) {
        return;
    }
    #[cfg(feature = "aws")]
    if aws::document::read(reader, draft) {
        return;
    }
    #[cfg(feature = "ota-update")]
    if ota_update::read(reader, draft) {
        return;
    }
    unknown(reader, MARKS);
}

/// The document, and what looks like an OTA of one of the dialects.
const MARKS: [u8; 6] =
    [Key::Root as u8, Key::V as u8, Key::Ct as u8, Key::CmdType as u8, Key::AfrOta as u8, Key::Operation as u8];

/// Keeps the fault of a document in none of the dialects. A document that looks like an OTA of one of them is a fault;
/// any other is for another agent, whose job must not be ended.
pub(crate) fn unknown(reader: &mut Reader<'_, '_>, [whole, v, ct, cmd_type, afr_ota, operation]: [u8; 6]) {
    let is_ota = reader.as_text(operation).is_some_and(|operation| operation == "ota");
    let is_known =
        is_ota || reader.is_there(v) && reader.is_there(ct) || reader.is_there(cmd_type) || reader.is_there(afr_ota);
    reader.fault(whole, if is_known { Kind::UnknownDialect } else { Kind::NotAnOta { ct: None } });
}
