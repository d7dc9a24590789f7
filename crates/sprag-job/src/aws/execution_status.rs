//! How the service says a job execution stands.

use crate::text::Text;

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
