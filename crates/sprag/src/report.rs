//! What the cloud is told of a job in the end.

use sprag_job::{Dialect, Status, TooSmall};
use sprag_verify::Version;

use crate::record::JobRecord;

/// The final report of a job, to be published once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub(crate) record: JobRecord,
    pub(crate) status: Status,
}

impl Report {
    /// The job's id.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The dialect that the job came in.
    pub fn dialect(&self) -> Dialect {
        self.record.dialect
    }

    /// How it ended: done, failed or rejected.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why it failed, as a stable word; empty when it is done.
    pub fn reason(&self) -> &str {
        &self.record.reason
    }

    /// The version of the job's image; zeros when it never got so far.
    pub fn version(&self) -> Version {
        self.record.version
    }

    /// The bytes to publish, written to `out`; empty when there is nothing to publish, because the job has no id to answer
    /// to.
    ///
    /// # Errors
    /// [`TooSmall`] names the size that would do.
    pub fn write<'b>(&self, message: &str, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
        sprag_job::report(self.record.dialect, &self.record.id, None, self.status, message, out)
    }
}
