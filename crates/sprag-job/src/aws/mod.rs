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

#[cfg(feature = "afr-ota")]
pub(crate) mod afr_ota;
mod answer;
mod arrived;
#[cfg(feature = "serde")]
mod custom;
#[cfg(all(feature = "aws-jobs", feature = "serde"))]
mod custom_job;
#[cfg(feature = "aws-jobs")]
pub(crate) mod default_document;
mod details;
pub(crate) mod documents;
mod event;
mod execution;
mod execution_status;
mod job_id;
mod pending_jobs;
pub(crate) mod report;
mod session;
mod settings;
mod topics;
mod update;

pub use answer::{Rejection, RejectionCode, State, Updated, rejection, updated};
#[cfg(feature = "serde")]
pub use custom::{DocumentError, SERDE_MAX_DEPTH};
#[cfg(all(feature = "aws-jobs", feature = "serde"))]
pub use custom_job::{Custom, custom_job};
pub use details::{BadDetail, KEY_MAX, VALUE_MAX, check_key, check_value};
pub use event::{Event, Gone, SelfTest, Verdict};
pub use execution::{Execution, JOB_ID_MAX, execution};
pub use execution_status::ExecutionStatus;
pub use job_id::JobId;
pub use pending_jobs::{PendingJob, PendingJobs, PendingList, pending_jobs};
pub use session::{AwsJobs, Saved};
pub use settings::{ExpectedVersion, Settings};
pub use topics::{THING_NAME_MAX, TOPIC_MAX};
pub use update::JobsError;
