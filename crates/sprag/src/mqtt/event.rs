//! What happens in a conversation with the cloud.

use sprag_job::Status;

/// What happens, for logs, lamps and counting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The broker is there, and everything is subscribed to.
    Connected,
    /// The broker can't be had, or no longer.
    Disconnected {
        /// What was being done, as a stable word: `connect`, `subscribe`, `publish`, `ping`, `receive`; `silent` when nothing
        /// came for too long, `busy` when a document could not be handed over; `topic-buffer` when the caller's is too small for
        /// what is subscribed to.
        during: &'static str,
        /// The wait before the next try, in milliseconds.
        retry_ms: u32,
    },
    /// A job document came that makes no sense here. The cloud is told by the job's name where it has one.
    Refused {
        /// A stable word.
        reason: &'static str,
    },
    /// Something could not be said to the cloud, because the caller's topic or payload buffer is too small for it. The
    /// device goes on as if it had been said.
    TooLong {
        /// The size that would have done, in bytes.
        needed: usize,
    },
    /// A message came that is larger than the MQTT client's memory, and was skipped. It may have been a job document.
    MessageTooLarge {
        /// The size that would have done, in bytes.
        needed: usize,
    },
    /// The service refused what it was told, and will not take it, or every connection of the last
    /// hundred ended while the final report was on its way: the job is left to the service.
    NotTaken,
    /// Something happened in the updater.
    Update(crate::Event),
    /// A run stopped; it goes on after the wait, with a fresh document where it takes one.
    Waiting {
        /// A stable word for why.
        reason: &'static str,
        /// In milliseconds.
        wait_ms: u32,
        /// Whether the cloud is asked for a fresh URL meanwhile.
        fresh_url: bool,
    },
    /// The cloud took the job back, or gave another one in its place: the download stops.
    Stopped,
    /// The self-test of the new image is over.
    SelfTest {
        /// Whether it passed.
        passed: bool,
    },
    /// The final report of a job is through.
    Reported {
        /// How the job ended.
        status: Status,
        /// Whether the cloud took it; else it ended the job itself, or does not know it.
        taken: bool,
    },
}
