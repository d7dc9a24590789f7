//! The envelope that AWS IoT Jobs puts around a job document, and the list of what is pending for a thing.

use core::fmt;
use core::iter::FusedIterator;

use super::document::{self, Document};
use crate::error::ParseError;
use crate::field::Reader;
use crate::job::{Draft, Job};
use crate::json::{self, Node, Span, fields};
use crate::parse::{DOCUMENT, Key};
use crate::text::Text;

/// The longest `jobId`, in bytes.
pub const JOB_ID_MAX: usize = 64;

/// Where the id of a job stands.
pub(crate) const ID_PATH: &str = "execution.jobId";

/// A job execution as `notify-next`, `start-next/accepted` and `…/get/accepted` carry it. It borrows from the payload, which
/// has been read once: neither the document in it nor the token is looked for again.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    job_id: Text<'a>,
    status: Option<ExecutionStatus>,
    version_number: Option<u64>,
    execution_number: Option<u64>,
    details: Details<'a>,
    document: Document<'a>,
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
    read(payload).map(|(execution, _)| execution)
}

/// Reads an execution, and the `clientToken` of the request that it answers.
pub(crate) fn read(payload: &[u8]) -> Result<(Option<Execution<'_>>, Option<Text<'_>>), ParseError<'_>> {
    let mut spans = [Span::NONE; Key::COUNT];
    let (mut reader, sound) = Reader::document(payload, &DOCUMENT, &mut spans);
    let mut draft = Draft::new(reader.text);
    reader.object(0);
    let node = Key::Execution as u8;
    let mut execution = None;
    // Nothing pending is no fault; neither an execution nor its id, then.
    if reader.is_there(node) {
        reader.object(node);
        if !reader.is_object(node) || json::has_items(reader.text, reader.span(node)) {
            execution = Some(envelope(&mut reader, &mut draft));
        }
    }
    let token = reader.as_text(Key::ClientToken as u8);
    match sound.and_then(|()| reader.finish((execution, token))) {
        Err(error) => Err(draft.about(error)),
        read => read,
    }
}

/// Reads what is around a document.
#[inline(never)]
pub(crate) fn envelope<'a>(reader: &mut Reader<'_, 'a>, draft: &mut Draft<'a>) -> Execution<'a> {
    let job_id = checked_id(reader, Key::JobId as u8);
    draft.dialect = document::answers_in(reader);
    draft.head.id = job_id;
    draft.head.id_path = ID_PATH;
    Execution {
        job_id,
        status: reader.optional_text(Key::Status as u8).map(ExecutionStatus::of),
        version_number: reader.optional_u64(Key::VersionNumber as u8),
        execution_number: reader.optional_u64(Key::ExecutionNumber as u8),
        details: Details::of(reader, Key::StatusDetails as u8),
        document: Document::of(reader),
    }
}

/// Reads a job id; empty, with a fault, where it is none.
fn checked_id<'a>(reader: &mut Reader<'_, 'a>, node: u8) -> Text<'a> {
    let mut afresh = reader.afresh();
    let id = afresh.text(node);
    let mut len = 0usize;
    for byte in id.bytes() {
        len = len.saturating_add(1);
        // It goes into topics: anything else would lead elsewhere.
        if !is_id_byte(byte) || len > JOB_ID_MAX {
            afresh.wrong(node, "1 to 64 of a-z A-Z 0-9 _ -");
            break;
        }
    }
    reader.take_fault(&afresh);
    if afresh.is_sound() { id } else { Text::EMPTY }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

impl<'a> Execution<'a> {
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
        self.details.value(key)
    }

    /// `jobDocument` as it lies in the payload: sound JSON, most often an object, to be read with any parser. `None`
    /// when the answer came without it.
    pub fn document(&self) -> Option<&'a [u8]> {
        let span = self.document.span();
        if span.is_empty() { None } else { self.document.text.as_bytes().get(span.start..span.end) }
    }

    /// Reads the job document in the dialects `afr-ota` and `aws-jobs`, as far as they are enabled. The payload is not read
    /// again.
    ///
    /// # Errors
    /// As [`parse`](crate::parse). [`NotAnOta`](crate::ParseErrorKind::NotAnOta) is the document of another agent or of
    /// the application: leave the job to it. Every other error names the job, so that it can be refused.
    pub fn job(&self) -> Result<Job<'a>, ParseError<'a>> {
        self.document.job(self.job_id)
    }

    #[cfg(feature = "serde")]
    pub(crate) fn job_document(&self) -> &Document<'a> {
        &self.document
    }
}

/// `statusDetails`: a map of texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Details<'a> {
    text: &'a str,
    /// Empty where there are none.
    span: Span,
}

impl<'a> Details<'a> {
    pub(crate) fn of(reader: &Reader<'_, 'a>, node: u8) -> Self {
        let span = if reader.is_object(node) { reader.span(node) } else { Span::NONE };
        Self { text: reader.text, span }
    }

    pub(crate) fn value(&self, key: &str) -> Option<Text<'a>> {
        if self.span.is_empty() {
            return None;
        }
        let mut spans = [Span::NONE; 2];
        let mut at = self.span.start;
        json::next_element(self.text, &mut at, &Node::sole(key), &mut spans)?;
        let [_, value] = spans;
        Text::quoted(self.text, value)
    }
}

/// `status` of a job execution (AWS IoT Jobs, JobExecutionStatus).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ExecutionStatus {
    /// `QUEUED`: nobody has started it.
    Queued,
    /// `IN_PROGRESS`: this device has.
    InProgress,
    /// `SUCCEEDED`: the device said so.
    Succeeded,
    /// `FAILED`: the device said so; the service may try again.
    Failed,
    /// `TIMED_OUT`: the device let the step's time, or the job's, run out.
    TimedOut,
    /// `REJECTED`: the device said so.
    Rejected,
    /// `REMOVED`: the device is no target of the job any more.
    Removed,
    /// `CANCELED`: by the cloud.
    Canceled,
    /// A status that these crates do not know.
    Unknown,
}

impl ExecutionStatus {
    pub(crate) fn of(name: Text<'_>) -> Self {
        const NAMES: [(&str, ExecutionStatus); 8] = [
            ("QUEUED", ExecutionStatus::Queued),
            ("IN_PROGRESS", ExecutionStatus::InProgress),
            ("SUCCEEDED", ExecutionStatus::Succeeded),
            ("FAILED", ExecutionStatus::Failed),
            ("TIMED_OUT", ExecutionStatus::TimedOut),
            ("REJECTED", ExecutionStatus::Rejected),
            ("REMOVED", ExecutionStatus::Removed),
            ("CANCELED", ExecutionStatus::Canceled),
        ];
        NAMES.into_iter().find(|(known, _)| name == *known).map_or(Self::Unknown, |(_, status)| status)
    }

    /// Whether it stays so for good: the service takes no more updates.
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress | Self::Unknown)
    }
}

/// A job id: 1 to 64 of `a-z A-Z 0-9 _ -`. Kept across the reboot with [`Saved`](super::Saved).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobId {
    bytes: [u8; JOB_ID_MAX],
    len: u8,
}

impl JobId {
    /// `None` for what the service would not take as one.
    pub fn new(id: &str) -> Option<Self> {
        Self::from_bytes(id.bytes())
    }

    pub(crate) fn from_bytes(id: impl Iterator<Item = u8>) -> Option<Self> {
        let mut this = Self { bytes: [0; JOB_ID_MAX], len: 0 };
        for byte in id {
            if !is_id_byte(byte) {
                return None;
            }
            *this.bytes.get_mut(usize::from(this.len))? = byte;
            this.len = this.len.checked_add(1)?;
        }
        (this.len > 0).then_some(this)
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for JobId {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

/// The jobs that are pending for a thing, as `get/accepted` and `notify` list them. It borrows from the payload.
///
/// A conversation does not need it: the queue's head comes by `start-next`. It shows the rest of the queue.
#[derive(Debug, Clone)]
pub struct PendingJobs<'a> {
    in_progress: PendingList<'a>,
    queued: PendingList<'a>,
    token: Option<Text<'a>>,
}

/// Reads the payload of `get/accepted` (`inProgressJobs`, `queuedJobs`) or of `notify` (`jobs.IN_PROGRESS`,
/// `jobs.QUEUED`). A list that is not there is empty.
///
/// # Errors
/// What is not JSON or not an object, and jobs without a `jobId` of 1 to 64 of `a-z A-Z 0-9 _ -`.
///
/// ```
/// let payload = br#"{"timestamp":1700000000,"inProgressJobs":[],
///     "queuedJobs":[{"jobId":"fleet-1_5","queuedAt":1700000000,"versionNumber":1,"executionNumber":1}]}"#;
/// let pending = sprag_job::aws::pending_jobs(payload)?;
/// assert_eq!(pending.in_progress().count(), 0);
/// let next = pending.queued().next().unwrap();
/// assert_eq!(next.job_id(), "fleet-1_5");
/// assert_eq!((next.version_number(), next.started_at()), (Some(1), None));
/// # Ok::<(), sprag_job::ParseError<'static>>(())
/// ```
pub fn pending_jobs(payload: &[u8]) -> Result<PendingJobs<'_>, ParseError<'_>> {
    let mut spans = [Span::NONE; ListKey::COUNT];
    let mut reader = Reader::object_of(payload, &LISTS, &mut spans)?;
    let (in_progress, queued) = if reader.is_there(ListKey::Jobs as u8) {
        reader.object(ListKey::Jobs as u8);
        (ListKey::NotifiedInProgress as u8, ListKey::NotifiedQueued as u8)
    } else {
        (ListKey::InProgress as u8, ListKey::Queued as u8)
    };
    Ok(PendingJobs {
        in_progress: PendingList::checked(&mut reader, in_progress)?,
        queued: PendingList::checked(&mut reader, queued)?,
        token: reader.as_text(ListKey::ClientToken as u8),
    })
}

fields! {
    /// The lists of `get/accepted` and of `notify`.
    LISTS, ListKey:
    ClientToken = "clientToken",
    InProgress = "inProgressJobs",
    Queued = "queuedJobs",
    Jobs = "jobs",
    NotifiedInProgress = "jobs.IN_PROGRESS",
    NotifiedQueued = "jobs.QUEUED",
}

fields! {
    /// A job in one of the lists.
    SUMMARY, SummaryKey:
    JobId = "jobId",
    VersionNumber = "versionNumber",
    ExecutionNumber = "executionNumber",
    QueuedAt = "queuedAt",
    StartedAt = "startedAt",
    LastUpdatedAt = "lastUpdatedAt",
}

impl<'a> PendingJobs<'a> {
    /// Those that the device has started, in the payload's order.
    pub fn in_progress(&self) -> PendingList<'a> {
        self.in_progress.clone()
    }

    /// Those that wait, in the payload's order.
    pub fn queued(&self) -> PendingList<'a> {
        self.queued.clone()
    }

    /// `clientToken` of the request.
    pub fn client_token(&self) -> Option<Text<'a>> {
        self.token
    }
}

/// Pending jobs, read from the payload one at a time. Made by [`PendingJobs`].
#[derive(Debug, Clone)]
pub struct PendingList<'a> {
    text: &'a str,
    /// Where the next one is looked for; `None` where there is no list.
    at: Option<usize>,
}

impl<'a> PendingList<'a> {
    fn checked(reader: &mut Reader<'_, 'a>, node: u8) -> Result<Self, ParseError<'a>> {
        let at = reader.is_there(node).then(|| reader.array(node).start.saturating_add(1));
        let list = reader.finish(Self { text: reader.text, at })?;
        let mut jobs = list.clone();
        let mut index = 0usize;
        while let Some(job) = jobs.try_next() {
            job.map_err(|error| error.in_item(reader.path(node), Some(index)))?;
            index = index.saturating_add(1);
        }
        Ok(list)
    }

    fn try_next(&mut self) -> Option<Result<PendingJob<'a>, ParseError<'a>>> {
        let mut spans = [Span::NONE; SummaryKey::COUNT];
        json::next_element(self.text, self.at.as_mut()?, &SUMMARY, &mut spans)?;
        let mut reader = Reader::new(self.text, &SUMMARY, &spans);
        let job = PendingJob::of(&mut reader);
        Some(reader.finish(job))
    }
}

impl<'a> Iterator for PendingList<'a> {
    type Item = PendingJob<'a>;

    fn next(&mut self) -> Option<PendingJob<'a>> {
        // Each has been found sound when the list was read.
        self.try_next()?.ok()
    }
}

impl FusedIterator for PendingList<'_> {}

/// A pending job, without its document (AWS IoT Jobs, JobExecutionSummary). Times are as the service writes them:
/// seconds by its documentation, milliseconds in some of its examples.
#[derive(Debug, Clone, Copy)]
pub struct PendingJob<'a> {
    job_id: Text<'a>,
    version_number: Option<u64>,
    execution_number: Option<u64>,
    queued_at: Option<u64>,
    started_at: Option<u64>,
    last_updated_at: Option<u64>,
}

impl<'a> PendingJob<'a> {
    fn of(reader: &mut Reader<'_, 'a>) -> Self {
        reader.object(0);
        Self {
            job_id: checked_id(reader, SummaryKey::JobId as u8),
            version_number: reader.optional_u64(SummaryKey::VersionNumber as u8),
            execution_number: reader.optional_u64(SummaryKey::ExecutionNumber as u8),
            queued_at: reader.optional_u64(SummaryKey::QueuedAt as u8),
            started_at: reader.optional_u64(SummaryKey::StartedAt as u8),
            last_updated_at: reader.optional_u64(SummaryKey::LastUpdatedAt as u8),
        }
    }

    /// `jobId`: 1 to 64 of `a-z A-Z 0-9 _ -`.
    pub fn job_id(&self) -> Text<'a> {
        self.job_id
    }

    /// `versionNumber`, which grows with every update.
    pub fn version_number(&self) -> Option<u64> {
        self.version_number
    }

    /// `executionNumber`: which of the tries of the job on this thing it is.
    pub fn execution_number(&self) -> Option<u64> {
        self.execution_number
    }

    /// `queuedAt`.
    pub fn queued_at(&self) -> Option<u64> {
        self.queued_at
    }

    /// `startedAt`; not there while it is queued.
    pub fn started_at(&self) -> Option<u64> {
        self.started_at
    }

    /// `lastUpdatedAt`.
    pub fn last_updated_at(&self) -> Option<u64> {
        self.last_updated_at
    }
}
