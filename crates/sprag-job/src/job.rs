//! A job as a document describes it.

use core::fmt;

use crate::artifacts::{Artifacts, Source};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::identity;
use crate::out::{TooSmall, Words};
use crate::path::Path;
use crate::report;
use crate::status::Status;
use crate::text::Text;

/// An update that the cloud asks for. It borrows from its document.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub(crate) id: Text<'a>,
    /// The whole path of the field that has the id.
    pub(crate) id_path: &'static str,
    pub(crate) version: Option<Text<'a>>,
    pub(crate) hardware: Option<Text<'a>>,
    pub(crate) source: Source<'a>,
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the document: whoever holds a presigned URL can fetch.
        let mut shown = f.debug_struct("Job");
        shown.field("dialect", &self.dialect()).field("id", &self.id).field("version", &self.version);
        shown.finish_non_exhaustive()
    }
}

impl<'a> Job<'a> {
    /// The job, once each of its artifacts is sound.
    pub(crate) fn checked(self) -> Result<Self, ParseError<'a>> {
        let mut source = self.source;
        while let Some(artifact) = source.try_next() {
            artifact?;
        }
        Ok(self)
    }

    /// What the cloud knows the job by and reports name:
    ///
    /// | dialect | id |
    /// |---|---|
    /// | `iotconnect-2.1` | `ack`, a GUID of up to 36 characters by its documentation, of any length here |
    /// | `iotconnect-2.0` | `ackId` |
    /// | `aws-jobs`, `afr-ota` | `jobId` of the execution, up to 64 characters |
    /// | `ota-update` | `File`, or `UniqueTopicName` when it comes over MQTT: what its result names. Another version may come under the same one |
    ///
    /// Brokers deliver twice: deduplicate by it, or by [`identity`](Self::identity) where it does not tell two jobs
    /// apart: in ota-update, and when it is empty.
    ///
    /// Empty when the document has none and the cloud can therefore not be answered by name: IoTConnect's pending OTA
    /// without `ack`, a 2.0 document whose `ack` is false, an AWS job document without its execution around it.
    pub fn id(&self) -> Text<'a> {
        self.id
    }

    /// The dialect the document is written in, and reports will be.
    pub fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    /// The version of the new firmware, in whatever form its makers write it: `sw` in IoTConnect, `version` in
    /// `aws-jobs`, `Version` in ota-update. `afr_ota` has none.
    pub fn version(&self) -> Option<Text<'a>> {
        self.version
    }

    /// The hardware it is for: `hw` in IoTConnect, `hardware` in `aws-jobs`, `Board` in ota-update. `afr_ota` has none.
    pub fn hardware(&self) -> Option<Text<'a>> {
        self.hardware
    }

    /// What is to be downloaded, in the document's order: one artifact or more, without an upper limit. Each call walks
    /// the document anew; nothing is stored.
    pub fn artifacts(&self) -> Artifacts<'a> {
        Artifacts(self.source)
    }

    /// What stays the same when the cloud sends the same update again: FNV-1a, 64 bits, over the dialect and
    ///
    /// - in IoTConnect and for a job without an id: version, hardware, and name and tag of each artifact;
    /// - in AWS: the jobId;
    /// - in ota-update: product, board, version and file.
    ///
    /// A record of bytes downloaded so far can be kept under it. Neither the URLs count, which are signed afresh each
    /// time, nor IoTConnect's `ack`, which is new each time: else every resend would throw away what is there already.
    /// Two updates may therefore share an identity, surely so when the documents name no version and no file; whoever
    /// resumes a download must pin it by size and ETag as well, and verify the image that comes out of it.
    ///
    /// The value for a given job does not change between releases, so it may be stored.
    pub fn identity(&self) -> u64 {
        identity::of(self)
    }

    /// A number for the job as it was sent: of its [id](Self::id), or [`identity`](Self::identity) where that is empty.
    /// Never 0. It is what [`require_new`](Self::require_new) compares, and does not change between releases.
    pub fn key(&self) -> u64 {
        let key = if self.id.is_empty() { self.identity() } else { identity::of_text(self.id) };
        key.max(1)
    }

    /// Refuses a job that was delivered before: one whose [`key`](Self::key) is among `seen`. Brokers and services
    /// deliver twice. In ota-update, whose id the next version may share, use [`identity`](Self::identity) instead.
    ///
    /// # Errors
    /// [`ParseErrorKind::Duplicate`](crate::ParseErrorKind::Duplicate) with the place of the id, or the document's
    /// where it has none.
    ///
    /// ```
    /// # #[cfg(feature = "iotconnect")] {
    /// let document = br#"{"v":"2.1","ct":1,"ack":"7","urls":[{"url":"http://h/a"}]}"#;
    /// let job = sprag_job::parse(document).unwrap();
    /// assert!(job.require_new(&[]).is_ok());
    /// let error = job.require_new(&[job.key()]).unwrap_err();
    /// assert_eq!(error.to_string(), "ack: delivered before (at byte 24)");
    /// # }
    /// ```
    pub fn require_new(&self, seen: &[u64]) -> Result<(), ParseError<'a>> {
        if !seen.contains(&self.key()) {
            return Ok(());
        }
        let (path, offset) = match self.id.is_empty() {
            true => (Path::DOCUMENT.within(self.source.scope().prefix), self.source.scope().object.offset()),
            false => (Path::field(self.id_path), self.source.scope().object.offset_of(self.id)),
        };
        Err(ParseError::new(Kind::Duplicate, path, offset).about(self.subject()))
    }

    fn subject(&self) -> Option<(Dialect, Text<'a>)> {
        (!self.id.is_empty()).then_some((self.dialect(), self.id))
    }

    /// Refuses a job of which any artifact would come over plain HTTP or MQTT.
    ///
    /// # Errors
    /// [`ParseErrorKind::NotHttps`](crate::ParseErrorKind::NotHttps) (or
    /// [`Missing`](crate::ParseErrorKind::Missing), without a URL) with the place of the first such URL; like every
    /// error it names the job, so it can be refused.
    ///
    /// ```
    /// # #[cfg(feature = "iotconnect")] {
    /// let document = br#"{"v":"2.1","ct":1,"ack":"7","urls":[{"url":"http://h/a"}]}"#;
    /// let error = sprag_job::parse(document).unwrap().require_https().unwrap_err();
    /// assert_eq!(error.to_string(), "urls[0].url: https is required (at byte 43)");
    /// # }
    /// ```
    pub fn require_https(&self) -> Result<(), ParseError<'a>> {
        for artifact in self.artifacts() {
            artifact.require_https().map_err(|error| error.about(self.subject()))?;
        }
        Ok(())
    }

    /// Writes the report to publish for this job to the start of `out`: exactly its bytes, nothing after them.
    /// `message` is free text for people; it is escaped, never shortened, and may be empty.
    ///
    /// | dialect | report |
    /// |---|---|
    /// | `iotconnect-2.1` | `{"d":{"ack":"<id>","type":1,"st":2,"msg":"<message>"}}`, for the ack topic |
    /// | `iotconnect-2.0` | `{"mt":11,"d":{"ackId":"<id>","msg":"<message>","st":7}}`: what is known here. The service wants the sender named as well: `iotconnect::ack_20` writes it all |
    /// | `aws-jobs`, `afr-ota` | `{"status":"FAILED","statusDetails":{"reason":"<message>"}}`, for `{jobId}/update`; without `statusDetails` when there is no message. `aws::AwsJobs` adds the version and minds the answers |
    /// | `ota-update` | `{"Message":"Success","File":"<id>"}`, `UniqueTopicName` in place of `File` over MQTT; there is no room for the message |
    ///
    /// **Empty** when there is nothing to publish: the dialect has no word for the status (2.0 and ota-update know no
    /// "downloading"), or IoTConnect gave no id to answer to.
    ///
    /// # Errors
    /// [`TooSmall`] with the size of `out` that would do; what lies in `out` then means nothing. `usize::MAX` when no
    /// size would: AWS refuses a reason of more than 1024 characters or with control characters in it, and nothing is
    /// cut off or left out here.
    pub fn report<'b>(&self, status: Status, message: &str, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
        report::of(self, None, status, message, out)
    }

    /// As [`report`](Self::report), for the child device behind this gateway that has the tag `child`
    /// ([`Artifact::tag`](crate::Artifact::tag)): `cid` after `ack` in IoTConnect 2.1, `childId` in 2.0. The other
    /// dialects know no children and leave it out.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub fn report_for_child<'b>(
        &self,
        child: Text<'_>,
        status: Status,
        message: &str,
        out: &'b mut [u8],
    ) -> Result<&'b str, TooSmall> {
        report::of(self, Some(Words::Quoted(child)), status, message, out)
    }
}
