//! A job as a document describes it, and its artifacts one after the other.

use core::fmt;
use core::iter::FusedIterator;

use crate::artifact::{self, Artifact, Item, Protocols};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind, Path};
use crate::field::{Fault, Reader};
use crate::json::{self, Span};
use crate::out::{TooSmall, Words};
use crate::report::{self, Status};
use crate::text::Text;

/// An update that the cloud asks for. It borrows from its document.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) head: Head<'a>,
    /// The first artifact, which most often is the only one, and where the rest of the list starts.
    pub(crate) first: Artifact<'a>,
    pub(crate) rest: usize,
}

/// What a document says of the job as a whole.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// The document, as it arrived.
    pub(crate) document: &'a str,
    /// Where the object starts that is the dialect's own, and its path.
    pub(crate) object: usize,
    pub(crate) object_path: &'static str,
    pub(crate) id: Text<'a>,
    /// The path of the field that has the id.
    pub(crate) id_path: &'static str,
    pub(crate) version: Option<Text<'a>>,
    pub(crate) hardware: Option<Text<'a>>,
    /// What the job offers; by default whatever a file has.
    pub(crate) protocols: Option<Protocols>,
    /// `streamname` of `afr_ota`, `Product` of ota-update.
    pub(crate) extra: Option<Text<'a>>,
    /// The artifacts, or the one that could have been a list.
    pub(crate) list: Span,
    pub(crate) list_path: &'static str,
    pub(crate) is_list: bool,
}

/// What a dialect reads of a document that is its own, even of one that is broken: then it is what stands before the fault.
pub(crate) struct Draft<'a> {
    /// The dialect to answer in.
    pub(crate) dialect: Option<Dialect>,
    /// It is that of the document.
    pub(crate) is_told: bool,
    pub(crate) head: Head<'a>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(document: &'a str) -> Self {
        let head = Head {
            document,
            object: 0,
            object_path: "",
            id: Text::EMPTY,
            id_path: "",
            version: None,
            hardware: None,
            protocols: None,
            extra: None,
            list: Span::NONE,
            list_path: "",
            is_list: false,
        };
        Self { dialect: None, is_told: false, head }
    }

    /// The document is of this dialect.
    pub(crate) fn is(&mut self, dialect: Dialect) {
        self.dialect = Some(dialect);
        self.is_told = true;
    }

    /// The dialect's own object is this one.
    pub(crate) fn object(&mut self, reader: &Reader<'_, 'a>, node: u8) {
        self.head.object = reader.offset(node);
        self.head.object_path = reader.path(node);
    }

    /// The artifacts are in this list, which must have some.
    pub(crate) fn list(&mut self, reader: &mut Reader<'_, 'a>, node: u8) {
        self.sole(reader, node);
        self.head.list.start = reader.list(node).start.wrapping_add(1);
        self.head.is_list = true;
    }

    /// The artifact is this one.
    pub(crate) fn sole(&mut self, reader: &Reader<'_, 'a>, node: u8) {
        self.head.list = reader.span(node);
        self.head.list_path = reader.path(node);
    }

    fn subject(&self) -> Option<(Dialect, Text<'a>)> {
        if self.head.id.is_empty() { None } else { self.dialect.map(|dialect| (dialect, self.head.id)) }
    }

    /// Says which job an error is about. The job of another agent is not to be ended.
    pub(crate) fn about(&self, error: ParseError<'a>) -> ParseError<'a> {
        match error.kind() {
            Kind::NotAnOta { .. } => error,
            _ => error.about(self.subject()),
        }
    }

    /// The job, once each of its artifacts is sound.
    #[inline(never)]
    pub(crate) fn job(&mut self) -> Result<Job<'a>, ParseError<'a>> {
        let Some(dialect) = self.dialect else {
            return Err(ParseError::new(Kind::UnknownDialect, Path::DOCUMENT, 0));
        };
        let mut at = self.head.list.start;
        let mut job = Job { dialect, head: self.head, first: Artifact::NONE, rest: at };
        let mut artifact = Artifact::NONE;
        let mut index = 0usize;
        while let Some(fault) = job.head.read_next(dialect, &mut at, index, &mut artifact) {
            if let Some(fault) = fault {
                let index = job.head.is_list.then_some(index);
                return Err(fault.error().in_item(job.head.list_path, index));
            }
            if index == 0 {
                job.first = artifact;
                job.rest = at;
            }
            index = index.wrapping_add(1);
        }
        Ok(job)
    }
}

impl<'a> Head<'a> {
    /// Reads the artifact of this number, whose place is looked for at `at`, and says what is wrong with it; `None` when
    /// there is none.
    #[inline(never)]
    pub(crate) fn read_next(
        &self,
        dialect: Dialect,
        at: &mut usize,
        index: usize,
        artifact: &mut Artifact<'a>,
    ) -> Option<Option<Fault>> {
        if !self.is_list && index > 0 {
            return None;
        }
        let mut spans = [Span::NONE; Item::COUNT];
        json::next_element(self.document, at, &artifact::ITEM, &mut spans)?;
        let mut item = Reader::new(self.document, &artifact::ITEM, &spans);
        *artifact = Artifact::NONE;
        artifact::read(dialect, self, &mut item, artifact);
        artifact.path = artifact.path.of_item(self.list_path, self.is_list.then_some(index));
        Some(item.fault)
    }
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the document: whoever holds a presigned URL can fetch.
        let mut shown = f.debug_struct("Job");
        shown.field("dialect", &self.dialect).field("id", &self.head.id).field("version", &self.head.version);
        shown.finish_non_exhaustive()
    }
}

impl<'a> Job<'a> {
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
        self.head.id
    }

    /// The dialect the document is written in, and reports will be.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The version of the new firmware, in whatever form its makers write it: `sw` in IoTConnect, `version` in
    /// `aws-jobs`, `Version` in ota-update. `afr_ota` has none.
    pub fn version(&self) -> Option<Text<'a>> {
        self.head.version
    }

    /// The hardware it is for: `hw` in IoTConnect, `hardware` in `aws-jobs`, `Board` in ota-update. `afr_ota` has none.
    pub fn hardware(&self) -> Option<Text<'a>> {
        self.head.hardware
    }

    /// What is to be downloaded, in the document's order: one artifact or more, without an upper limit. Each call walks
    /// over them anew; nothing is stored.
    pub fn artifacts(&self) -> Artifacts<'a> {
        Artifacts { job: *self, at: self.rest, index: 0 }
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
    #[inline(never)]
    pub fn identity(&self) -> u64 {
        let head = &self.head;
        let mut hash = Fnv::new();
        hash.text(Some(self.dialect.name().into()));
        if self.dialect.is_aws() && !head.id.is_empty() {
            hash.text(Some(Words::Quoted(head.id)));
            return hash.0;
        }
        #[cfg(feature = "ota-update")]
        if self.dialect == Dialect::OtaUpdate {
            hash.text(head.extra.map(Words::Quoted));
        }
        hash.text(head.version.map(Words::Quoted));
        hash.text(head.hardware.map(Words::Quoted));
        for artifact in self.artifacts() {
            hash.text(artifact.name.map(Words::Quoted));
            hash.text(artifact.tag.map(Words::Quoted));
        }
        hash.0
    }

    /// A number for the job as it was sent: of its [id](Self::id), or [`identity`](Self::identity) where that is empty.
    /// Never 0. It is what [`require_new`](Self::require_new) compares, and does not change between releases.
    pub fn key(&self) -> u64 {
        if self.head.id.is_empty() { self.identity().max(1) } else { key(Words::Quoted(self.head.id)) }
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
        let (path, offset) = match self.head.id.is_empty() {
            true => (self.head.object_path, self.head.object),
            // That of the quote before it.
            false => (self.head.id_path, offset(self.head.document, self.head.id).map_or(0, |at| at.saturating_sub(1))),
        };
        Err(ParseError::new(Kind::Duplicate, Path::field(path), offset).about(self.subject()))
    }

    fn subject(&self) -> Option<(Dialect, Text<'a>)> {
        (!self.head.id.is_empty()).then_some((self.dialect, self.head.id))
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

/// Returns where in the document a text lies, which may be elsewhere.
pub(crate) fn offset(document: &str, text: Text<'_>) -> Option<usize> {
    let at = text.raw().as_ptr().addr().checked_sub(document.as_ptr().addr())?;
    (at.checked_add(text.raw().len())? <= document.len()).then_some(at)
}

/// The artifacts of a job, read from the document one at a time. Made by [`Job::artifacts`](crate::Job::artifacts).
#[derive(Clone)]
pub struct Artifacts<'a> {
    job: Job<'a>,
    /// Where the next one is looked for.
    at: usize,
    /// How many have come.
    index: usize,
}

impl fmt::Debug for Artifacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Artifacts").finish_non_exhaustive()
    }
}

impl<'a> Iterator for Artifacts<'a> {
    type Item = Artifact<'a>;

    fn next(&mut self) -> Option<Artifact<'a>> {
        let Job { dialect, head, first, .. } = &self.job;
        let mut artifact = *first;
        if self.index > 0 {
            // Each has been found sound when the job was read.
            let None = head.read_next(*dialect, &mut self.at, self.index, &mut artifact)? else { return None };
        }
        self.index = self.index.wrapping_add(1);
        Some(artifact)
    }
}

impl FusedIterator for Artifacts<'_> {}

/// See [`Job::key`], from a text that is not empty.
fn key(id: Words<'_>) -> u64 {
    let mut hash = Fnv::new();
    hash.text(Some(id));
    hash.0.max(1)
}

/// See [`Job::key`], from what was kept of the job.
#[cfg(feature = "iotconnect")]
pub(crate) fn kept_key(id: &str, identity: u64) -> u64 {
    if id.is_empty() { identity.max(1) } else { key(id.into()) }
}

/// FNV-1a, 32 bits, which tells two documents of one length apart.
pub(crate) fn checksum(document: &str) -> u32 {
    document.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits, over fields that are kept apart.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Hashes a field with its end, or its absence: 0xFF and 0xFE occur in no UTF-8, so fields can't run together.
    #[inline(never)]
    fn text(&mut self, text: Option<Words<'_>>) {
        let last = match text {
            Some(text) => {
                text.bytes().for_each(|byte| self.byte(byte));
                0xff
            }
            None => 0xfe,
        };
        self.byte(last);
    }

    #[inline(never)]
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}
