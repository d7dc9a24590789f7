//! AWS IoT Jobs: the envelope of a job execution, the documents in it, and the answers of the service.
//!
//! The envelope is read first and on its own: a document that makes no sense still has a job id, and can be refused by
//! it instead of blocking the queue.
//!
//! ```
//! # #[cfg(feature = "aws-jobs")] {
//! // As it came from `…/jobs/start-next/accepted` or `…/jobs/notify-next`.
//! let payload = br#"{"timestamp":1700000000,"execution":{"jobId":"fleet-1_5","status":"IN_PROGRESS","versionNumber":2,
//!     "statusDetails":{"self_test":"ready"},
//!     "jobDocument":{"operation":"ota","version":"1.5","artifact":{"url":"https://h/app.bin","size":343135}}}}"#;
//! let execution = sprag_job::aws::execution(payload)?.expect("something is pending");
//! assert_eq!(execution.job_id(), "fleet-1_5");
//! assert_eq!(execution.version_number(), Some(2));
//! assert_eq!(execution.status_detail("self_test").unwrap(), "ready");
//!
//! let job = execution.job()?;
//! assert_eq!(job.artifacts().next().unwrap().size(), Some(343_135));
//! # }
//! # Ok::<(), sprag_job::ParseError<'static>>(())
//! ```

mod answer;
mod arrived;
#[cfg(feature = "serde")]
mod custom;
pub(crate) mod document;
mod event;
mod execution;
pub(crate) mod request;
mod session;

pub use answer::{Rejection, RejectionCode, State, Updated, rejection, updated};
#[cfg(feature = "serde")]
pub use custom::{Custom, DocumentError, EscapedStr, JsonText, SERDE_MAX_DEPTH, custom_job};
pub use event::{Event, Gone, SelfTest, Verdict};
pub use execution::{
    Execution, ExecutionStatus, JOB_ID_MAX, JobId, PendingJob, PendingJobs, PendingList, execution, pending_jobs,
};
pub use request::{BadDetail, JobsError, PAYLOAD_MAX, THING_NAME_MAX, TOPIC_MAX, VALUE_MAX, check_value};
pub use session::{AwsJobs, ExpectedVersion, Saved, Settings};
