//! What the link needs of a conversation with a cloud.

use sprag_job::{Job, NoRoom, ParseError, Publish, TooSmall};

use super::exchange::{Say, State};
use crate::record::JobRecord;
use crate::report::Report;

/// Reads a job document as it arrived, envelope included.
pub type ReadJob = for<'a> fn(&'a [u8]) -> Result<Job<'a>, ParseError<'a>>;

/// A conversation with a cloud, made from one of `sprag-job`'s: [`AwsCloud`](super::AwsCloud) or
/// [`IotConnectCloud`](super::IotConnectCloud).
pub trait Cloud: Talk {}

/// Where a message is put together.
pub struct Scratch<'b> {
    pub(crate) topic: &'b mut [u8],
    pub(crate) payload: &'b mut [u8],
}

impl Scratch<'_> {
    pub(crate) fn reborrow(&mut self) -> Scratch<'_> {
        Scratch { topic: self.topic, payload: self.payload }
    }
}

/// In which situation a message arrives.
#[derive(Clone, Copy)]
// Read by the clouds, and each of them is a feature.
#[cfg_attr(not(any(feature = "aws-jobs", feature = "afr-ota", feature = "iotconnect")), allow(dead_code))]
pub struct Asked {
    /// Seconds.
    pub(crate) now: u32,
    /// The number of what the device has to say.
    pub(crate) number: u32,
    /// Whether a document of the job in hand is of use; else it is not even judged.
    pub(crate) wants: bool,
    /// How many bytes a document may have; without, there is no place for one now.
    pub(crate) room: Option<usize>,
}

/// What a message means.
pub enum Heard<'b> {
    Nothing,
    /// A job document. `other`: not of the job that is in hand already.
    Document {
        other: bool,
    },
    /// A document that makes no sense here: what to answer, where that is known.
    Refused {
        reason: &'static str,
        answer: Option<Publish<'b>>,
    },
    /// The cloud has taken what was said last.
    Told,
    /// The cloud has ended the job.
    Gone,
    /// The cloud will not take what was said last.
    NotTaken,
}

/// The conversation as the link holds it. Not to be implemented outside.
pub trait Talk {
    /// The topic filter at `index`; `None` behind the last.
    fn filter<'b>(&self, index: usize, out: &'b mut [u8]) -> Option<Result<&'b str, TooSmall>>;

    /// Everything is subscribed to: what was under way before is forgotten.
    fn connected(&mut self);

    /// What is to be published next.
    fn next<'b>(&mut self, now: u32, say: &Say, number: u32, out: Scratch<'b>) -> Result<Option<Publish<'b>>, NoRoom>;

    /// Takes a message.
    fn arrived<'b>(&mut self, topic: &str, payload: &[u8], asked: Asked, out: Scratch<'b>) -> Heard<'b>;

    /// The broker has what [`next`](Self::next) gave last: whether that is all that what was said took.
    fn delivered(&mut self, number: u32) -> bool;

    /// Whether this report can be made in this conversation.
    fn can_report(&self, report: &Report) -> bool;

    /// Whether the cloud gives one job at a time, keeps count of what has ended, and so gives one that has ended only in
    /// order to have it done again.
    const IS_ONE_BY_ONE: bool;

    /// The job in the document that was announced.
    fn read(&self) -> ReadJob;

    /// What must survive the reboot.
    fn state(&self) -> State;

    /// What did.
    fn restore(&mut self, record: Option<&JobRecord>, state: &[u8]);
}
