//! A job that outlives the buffer that its document came in.

use crate::artifact::{Artifact, Protocols};
use crate::dialect::Dialect;
#[cfg(feature = "serde")]
use crate::error::Path;
use crate::job::{Head, Job, checksum, offset};
use crate::json::Span;
#[cfg(feature = "serde")]
use crate::location::Location;
#[cfg(feature = "serde")]
use crate::signature::{Digest, Signature, SignatureAlgorithm};
use crate::text::Text;

/// Where the parts of a [`Job`] lie in its document, without the document: for a document that is copied to another buffer
/// once it is known to be a job. There, [`job`](Self::job) is the same job, and the document is not parsed again.
///
/// ```
/// # #[cfg(feature = "iotconnect")] {
/// let message = br#"{"v":"2.1","ct":1,"ack":"7","urls":[{"url":"https://h/a"}]}"#.to_vec();
/// let spans = sprag_job::parse(&message).unwrap().spans().unwrap();
/// let mut kept = [0; 128];
/// let kept = &mut kept[..message.len()];
/// kept.copy_from_slice(&message);
/// drop(message);
///
/// let job = spans.job(kept).unwrap();
/// assert_eq!(job.id(), "7");
/// assert_eq!(job.artifacts().next().unwrap().url(), "https://h/a");
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobSpans {
    dialect: Dialect,
    /// Of the document.
    length: usize,
    checksum: u32,
    object: usize,
    object_path: &'static str,
    id: Option<Span>,
    id_path: &'static str,
    version: Option<Span>,
    hardware: Option<Span>,
    protocols: Option<Protocols>,
    extra: Option<Span>,
    list: Span,
    list_path: &'static str,
    is_list: bool,
    #[cfg(feature = "serde")]
    custom: Option<Custom>,
}

/// The artifact of a document of the user's own.
#[cfg(feature = "serde")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Custom {
    url: Span,
    name: Option<Span>,
    size: Option<u32>,
    sha256: Option<Span>,
    signature: Option<(SignatureAlgorithm, Span)>,
    path: Path,
    offset: usize,
}

impl Job<'_> {
    /// Where the parts of this job lie in its document. `None` for a job with a text that is not in it, as `aws::custom_job`
    /// may make one.
    pub fn spans(&self) -> Option<JobSpans> {
        let head = &self.head;
        let place = |text: Text<'_>| {
            let start = offset(head.document, text)?;
            Some(Span { start, end: start.checked_add(text.raw().len())? })
        };
        // What is not there is no obstacle; what is not in the document is.
        let optional = |text: Option<Text<'_>>| match text {
            None => Some(None),
            Some(text) => place(text).map(Some),
        };
        Some(JobSpans {
            dialect: self.dialect,
            length: head.document.len(),
            checksum: checksum(head.document),
            object: head.object,
            object_path: head.object_path,
            id: if head.id.is_empty() { None } else { Some(place(head.id)?) },
            id_path: head.id_path,
            version: optional(head.version)?,
            hardware: optional(head.hardware)?,
            protocols: head.protocols,
            extra: optional(head.extra)?,
            list: head.list,
            list_path: head.list_path,
            is_list: head.is_list,
            #[cfg(feature = "serde")]
            custom: match head.list.is_empty() {
                false => None,
                true => Some(Custom {
                    url: place(self.first.url())?,
                    name: optional(self.first.name)?,
                    size: self.first.by_aws.size,
                    sha256: optional(self.first.digest().map(|digest| digest.hex()))?,
                    signature: match self.first.signature() {
                        Some(signature) => Some((signature.algorithm(), place(signature.value())?)),
                        None => None,
                    },
                    path: self.first.path,
                    offset: self.first.offset,
                }),
            },
        })
    }
}

impl JobSpans {
    /// The job, in a document of the same bytes as the one that it was read from. `None` for any other document.
    pub fn job<'d>(&self, document: &'d [u8]) -> Option<Job<'d>> {
        let document = core::str::from_utf8(document.get(..self.length)?).ok()?;
        if checksum(document) != self.checksum {
            return None;
        }
        let text = |span: Span| document.get(span.start..span.end).map(Text::new);
        let head = Head {
            document,
            object: self.object,
            object_path: self.object_path,
            id: self.id.and_then(text).unwrap_or_default(),
            id_path: self.id_path,
            version: self.version.and_then(text),
            hardware: self.hardware.and_then(text),
            protocols: self.protocols,
            extra: self.extra.and_then(text),
            list: self.list,
            list_path: self.list_path,
            is_list: self.is_list,
        };
        let mut first = Artifact::NONE;
        let mut rest = self.list.start;
        #[cfg(feature = "serde")]
        if let Some(custom) = &self.custom {
            first.location = Some(Location::Url(text(custom.url)?));
            first.name = custom.name.and_then(text);
            first.by_aws.size = custom.size;
            first.by_aws.digest = custom.sha256.and_then(text).and_then(Digest::sha256);
            first.by_aws.signature = match custom.signature {
                Some((algorithm, value)) => Some(Signature { algorithm, value: text(value)? }),
                None => None,
            };
            (first.path, first.offset) = (custom.path, custom.offset);
            return Some(Job { dialect: self.dialect, head, first, rest });
        }
        match head.read_next(self.dialect, &mut rest, 0, &mut first)? {
            None => Some(Job { dialect: self.dialect, head, first, rest }),
            Some(_) => None,
        }
    }
}
