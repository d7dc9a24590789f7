//! The envelope that AWS IoT Jobs puts around a job document.

use core::fmt;

use super::documents;
use super::execution_status::ExecutionStatus;
use crate::error::ParseError;
use crate::field::Field;
use crate::job::Job;
use crate::json::{self, Value};
use crate::text::Text;

/// The longest `jobId`, in bytes.
pub const JOB_ID_MAX: usize = 64;

const PREFIX: &str = "execution";

/// Where the id of a job stands.
pub(crate) const ID_PATH: &str = "execution.jobId";

/// A job execution as `notify-next`, `start-next/accepted` and `…/get/accepted` carry it. It borrows from the payload.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    job_id: Text<'a>,
    status: Option<ExecutionStatus>,
    version_number: Option<u64>,
    execution_number: Option<u64>,
    details: Option<Value<'a>>,
    document: Option<Value<'a>>,
    offset: usize,
}

impl fmt::Debug for Execution<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the document: whoever holds a presigned URL can fetch.
        let mut shown = f.debug_struct("Execution");
        shown.field("job_id", &self.job_id).field("status", &self.status);
        shown.field("version_number", &self.version_number).finish_non_exhaustive()
    }
}

/// Reads the payload of `notify-next`, `start-next/accepted`, `$next/get/accepted` or `{jobId}/get/accepted`.
///
/// `None` when nothing is pending: there is no `execution`, or nothing in it. The job document may be anything.
///
/// # Errors
/// What is not JSON, and an envelope without a `jobId` of 1 to 64 of `a-z A-Z 0-9 _ -`.
pub fn execution(payload: &[u8]) -> Result<Option<Execution<'_>>, ParseError<'_>> {
    let (root, sound) = json::document(payload);
    sound.map_err(|error| error.about(documents::subject(root)))?;
    Field::at(root, "").object()?;
    Execution::of(root)
}

/// The id of the execution that `root` has, if it is fit to be one.
pub(crate) fn job_id<'a>(root: Value<'a>) -> Option<Text<'a>> {
    checked_id(Field::of(Field::of(root, PREFIX).as_object()?, "jobId")).ok()
}

/// `clientToken` of the request that `payload`, which has been found sound, answers.
pub(crate) fn client_token(payload: &[u8]) -> Option<Text<'_>> {
    Field::of(json::document(payload).0, "clientToken").as_text()
}

pub(crate) fn checked_id<'a>(field: Field<'a>) -> Result<Text<'a>, ParseError<'a>> {
    let id = field.text()?;
    let sound = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    // It goes into topics: anything else would lead elsewhere.
    if sound && id.len() <= JOB_ID_MAX { Ok(id) } else { Err(field.wrong("1 to 64 of a-z A-Z 0-9 _ -")) }
}

impl<'a> Execution<'a> {
    pub(crate) fn of(root: Value<'a>) -> Result<Option<Self>, ParseError<'a>> {
        let envelope = Field::of(root, PREFIX);
        if envelope.value().is_none() {
            return Ok(None);
        }
        let object = envelope.object()?;
        if object.members().is_none_or(|mut members| members.next().is_none()) {
            return Ok(None);
        }
        let within = |error: ParseError<'a>| error.within(PREFIX);
        let [id, status, version, execution, details, document] =
            Field::all(object, ["jobId", "status", "versionNumber", "executionNumber", "statusDetails", "jobDocument"]);
        let job_id = checked_id(id).map_err(within)?;
        let read = || {
            Ok(Self {
                job_id,
                status: status.optional_text()?.map(ExecutionStatus::of),
                version_number: version.optional_u64()?,
                execution_number: execution.optional_u64()?,
                details: details.as_object(),
                document: document.value(),
                offset: object.offset(),
            })
        };
        read().map(Some).map_err(|error| within(error).about(documents::subject(root)))
    }

    /// `jobId`: 1 to 64 of `a-z A-Z 0-9 _ -`, without escapes worth the name.
    pub fn job_id(&self) -> Text<'a> {
        self.job_id
    }

    /// `status`. The service always sends it.
    pub fn status(&self) -> Option<ExecutionStatus> {
        self.status
    }

    /// `versionNumber`, which grows with every update and may be 0: what an update's `expectedVersion` must be. The
    /// service always sends it.
    pub fn version_number(&self) -> Option<u64> {
        self.version_number
    }

    /// `executionNumber`: which of the tries of the job on this thing it is.
    pub fn execution_number(&self) -> Option<u64> {
        self.execution_number
    }

    /// The value of a key in `statusDetails`, if it is there and a string.
    pub fn status_detail(&self, key: &str) -> Option<Text<'a>> {
        self.details?.members()?.filter(|(name, _)| *name == key).last()?.1.string()
    }

    /// `jobDocument` as it lies in the payload: sound JSON, most often an object, to be read with any parser. `None`
    /// when the answer came without it.
    pub fn document(&self) -> Option<&'a [u8]> {
        self.document.map(|document| document.raw().as_bytes())
    }

    /// Reads the job document in the dialects `afr-ota` and `aws-jobs`, as far as they are enabled.
    ///
    /// # Errors
    /// As [`parse`](crate::parse). [`NotAnOta`](crate::ParseErrorKind::NotAnOta) is the document of another agent or of
    /// the application: leave the job to it. Every other error names the job, so that it can be refused.
    pub fn job(&self) -> Result<Job<'a>, ParseError<'a>> {
        documents::job(self)
    }

    pub(crate) fn document_field(&self) -> Field<'a> {
        const NAME: &str = "execution.jobDocument";
        match self.document {
            Some(document) => Field::at(document, NAME),
            None => Field::absent(NAME, self.offset),
        }
    }
}
