//! The list of what is pending for a thing.

use core::iter::FusedIterator;

use super::execution::checked_id;
use crate::error::ParseError;
use crate::field::Field;
use crate::json::{Elements, Value};
use crate::path::Path;
use crate::text::Text;

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
    let root = Field::document(payload)?;
    let jobs = Field::of(root, "jobs");
    let (in_progress, queued) = if jobs.value().is_some() {
        let jobs = jobs.object()?;
        (Field::of(jobs, "jobs.IN_PROGRESS"), Field::of(jobs, "jobs.QUEUED"))
    } else {
        (Field::of(root, "inProgressJobs"), Field::of(root, "queuedJobs"))
    };
    Ok(PendingJobs {
        in_progress: PendingList::checked(in_progress)?,
        queued: PendingList::checked(queued)?,
        token: Field::of(root, "clientToken").as_text(),
    })
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
pub struct PendingList<'a>(Option<Elements<'a>>);

impl<'a> PendingList<'a> {
    fn checked(field: Field<'a>) -> Result<Self, ParseError<'a>> {
        let elements = field.value().map(|value| value.elements().ok_or(field.wrong("an array"))).transpose()?;
        for (index, element) in elements.into_iter().flatten().enumerate() {
            let within = |path: Path| path.of_item(field.name(), Some(index));
            PendingJob::of(element).map_err(|error| error.seen(within))?;
        }
        Ok(Self(elements))
    }
}

impl<'a> Iterator for PendingList<'a> {
    type Item = PendingJob<'a>;

    fn next(&mut self) -> Option<PendingJob<'a>> {
        // Each has been found sound when the list was read.
        PendingJob::of(self.0.as_mut()?.next()?).ok()
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
    fn of(value: Value<'a>) -> Result<Self, ParseError<'a>> {
        let object = Field::at(value, "").object()?;
        let [id, version, execution, queued, started, updated] =
            Field::all(object, ["jobId", "versionNumber", "executionNumber", "queuedAt", "startedAt", "lastUpdatedAt"]);
        Ok(Self {
            job_id: checked_id(id)?,
            version_number: version.optional_u64()?,
            execution_number: execution.optional_u64()?,
            queued_at: queued.optional_u64()?,
            started_at: started.optional_u64()?,
            last_updated_at: updated.optional_u64()?,
        })
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
