//! What a message from the service means for the device.

use super::answer::Rejection;
use super::execution::{Execution, ExecutionStatus};
use crate::error::ParseError;
use crate::report::Status;

/// What a message from the service means. After each, publish what
/// [`next_request`](super::AwsJobs::next_request) gives.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The topic is of another thing or of no operation here.
    NotForUs,
    /// Nothing for the device to do: a second delivery, an answer to an older request.
    Nothing,
    /// The queue is empty.
    Idle,
    /// A job to do. It is in hand now: [`saved`](super::AwsJobs::saved) is to be kept, and every further word is about it
    /// until it has come to its end. Read the document with [`Execution::job`] or your own struct; when it makes no
    /// sense, [`finish`](super::AwsJobs::finish) it with [`Verdict::Rejected`].
    Job(Execution<'a>),
    /// The job in hand again, after a reconnection or a reboot: go on with it. Its `self_test` is still among the status
    /// details.
    Again(Execution<'a>),
    /// The cloud has ended the job in hand and given out another one, which is in hand now: stop, then begin this one.
    Replaced(Execution<'a>),
    /// The job in hand with fresh URLs, as [`refresh`](super::AwsJobs::refresh) asked for them.
    Fresh(Execution<'a>),
    /// The job in hand is over without the device: stop, and say nothing.
    Gone(Gone),
    /// An update was accepted. After any but [`Status::Downloading`] the job is over and nothing is in hand.
    Accepted(Status),
    /// An update of that status missed a change on the service's side, which is known by now: send it again if it still
    /// matters, as a final one does.
    Retry(Status),
    /// A request was refused. When its code [is retryable](super::RejectionCode::is_retryable), wait, then call
    /// [`next_request`](super::AwsJobs::next_request) or send the update again; otherwise the request is at fault.
    Refused(Rejection<'a>),
    /// The payload makes no sense.
    Malformed(ParseError<'a>),
}

/// How a job came to its end without the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Gone {
    /// The job was deleted.
    Deleted,
    /// It has that status: canceled, removed, timed out. `None` when the service did not say which.
    Ended(Option<ExecutionStatus>),
}

/// How a device ends a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// `SUCCEEDED`: the new firmware runs and has passed its self-test.
    Succeeded,
    /// `FAILED`: the service may try again, up to 10 times.
    Failed,
    /// `REJECTED`: trying again can't help: wrong hardware, a bad document, a bad signature.
    Rejected,
}

impl Verdict {
    /// Of a failure: [`Failed`](Self::Failed) when it may be retried, else [`Rejected`](Self::Rejected).
    pub fn of_failure(retryable: bool) -> Self {
        if retryable { Self::Failed } else { Self::Rejected }
    }

    pub(crate) fn status(self) -> Status {
        match self {
            Self::Succeeded => Status::Done,
            Self::Failed => Status::Failed,
            Self::Rejected => Status::Rejected,
        }
    }
}

/// `self_test` in the status details: how far the trial of the new firmware is, across the reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SelfTest {
    /// `ready`: the image is in place, the reboot comes.
    Ready,
    /// `active`: the new image runs and tests itself.
    Active,
    /// `accepted`: it has passed.
    Accepted,
    /// `rejected`: it has failed; the old image runs again.
    Rejected,
    /// `aborted`: it could not be carried out.
    Aborted,
}

impl SelfTest {
    const ALL: [Self; 5] = [Self::Ready, Self::Active, Self::Accepted, Self::Rejected, Self::Aborted];

    /// Its word in the status details.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Aborted => "aborted",
        }
    }

    /// What the status details of an execution say of it.
    pub fn of(execution: &Execution<'_>) -> Option<Self> {
        let word = execution.status_detail("self_test")?;
        Self::ALL.into_iter().find(|step| word == step.name())
    }
}
