//! How an update stands.

use core::fmt;

/// How an update stands, in words that every dialect has its own for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Status {
    /// The bytes are on their way. IoTConnect 2.1: `st` 2; AWS: `IN_PROGRESS`.
    Downloading,
    /// The new firmware is up and running: after the reboot and its self-test, not before. IoTConnect: `st` 3
    /// (2.1) or 7 (2.0); AWS: `SUCCEEDED`; ota-update: `Success`.
    Done,
    /// Download, flash, self-test or start failed; the old firmware runs, and another try may end better. IoTConnect:
    /// `st` 4; AWS: `FAILED`, after which the service may try again; ota-update: `Failure`.
    Failed,
    /// Tried, and refused for good: what came is not what may run here. The same job will not end better. IoTConnect:
    /// `st` 4; AWS: `REJECTED`; ota-update: `Failure`.
    Refused,
    /// Not attempted: the job makes no sense here, and sending it again won't help. IoTConnect: `st` 1
    /// (2.1) or 4 (2.0); AWS: `REJECTED`; ota-update: `Failure`.
    Rejected,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Downloading => "downloading",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
        })
    }
}
