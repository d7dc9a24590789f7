//! Why a document is not a job: what is wrong, with which field, where.

use core::fmt;

use crate::dialect::Dialect;
use crate::out::{TooSmall, Words};
use crate::report::{self, Status};
use crate::text::Text;

/// The place of a field in a job document, shown as `urls[1].url` or `execution.jobDocument.afr_ota.files[0].filesize`;
/// `document` is the document as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Path {
    /// A list, or what could have been one, as seen from the root; empty for a field that is not in an item.
    list: &'static str,
    index: Option<usize>,
    field: &'static str,
}

impl Path {
    pub(crate) const DOCUMENT: Self = Self::field("");

    /// A field, from the root or from an item; dots lead into objects.
    pub(crate) const fn field(field: &'static str) -> Self {
        Self { list: "", index: None, field }
    }

    /// The same field of an item: the one at `index` of a list, or the one item of what could have been a list.
    pub(crate) const fn of_item(self, list: &'static str, index: Option<usize>) -> Self {
        Self { list, index, ..self }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.list)?;
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        match (self.list, self.field) {
            ("", "") => f.write_str("document"),
            (_, "") => Ok(()),
            ("", field) => f.write_str(field),
            (_, field) => write!(f, ".{field}"),
        }
    }
}

/// What is wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The document ends before its value does: a payload buffer may have been too small for it.
    CutShort,
    /// Not JSON (RFC 8259).
    Syntax {
        /// What should have stood there.
        expected: &'static str,
    },
    /// Bytes that are not UTF-8.
    BadUtf8,
    /// A backslash that starts no escape of JSON, or half a surrogate pair.
    BadEscape,
    /// More objects and arrays inside each other than are followed.
    TooDeep {
        /// How many are followed: [`MAX_DEPTH`](crate::MAX_DEPTH).
        limit: usize,
    },
    /// An OTA in a dialect that is not enabled, or in a version of one that is not known: `afr_ota`, `"operation":"ota"`,
    /// `cmdType`, or `v` beside `ct`.
    UnknownDialect,
    /// A message or a job document of another kind that comes the same way: a command, or the job of another agent on the
    /// same thing. Not a fault, and no error of this kind has an [`id`](ParseError::id): hand it on or leave it alone.
    NotAnOta {
        /// Its `ct` (IoTConnect device message 2.1) or the number in its `cmdType` (2.0). `None` for a document that is in
        /// none of the dialects, and for a number of more than 32 bits, which neither message has.
        ct: Option<i32>,
    },
    /// The cloud's answer that there is nothing to do: AWS's empty queue, IoTConnect's pending OTA without an OTA, an
    /// ota-update message other than `Update Available`. Not a fault.
    NothingPending,
    /// A field that must be there is not, or is `null`.
    Missing,
    /// A text or list that must have something in it has nothing.
    Empty,
    /// A field of another type than it must be.
    WrongType {
        /// What it must be.
        expected: &'static str,
    },
    /// A URL that can't be fetched.
    BadUrl {
        /// What it must be or have.
        expected: &'static str,
    },
    /// `${aws:iot:s3-presigned-url…` where a URL should be: AWS puts the URL in its place only for jobs that were made
    /// with a `presignedUrlConfig`.
    PresignedPlaceholder,
    /// Another `${aws:iot:…` in a text that AWS should have replaced: a job parameter or a code-signing signature.
    Placeholder,
    /// A job that was delivered before: see [`Job::require_new`](crate::Job::require_new).
    Duplicate,
    /// A job document of the user's own that is not what their struct wants: see `aws::custom_job`. Feature `serde`.
    #[cfg(feature = "serde")]
    Document(crate::aws::DocumentError),
    /// A URL over another scheme where [`Job::require_https`](crate::Job::require_https) was asked.
    NotHttps,
}

impl ParseErrorKind {
    /// A stable name for status reports, at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CutShort => "json-cut-short",
            Self::Syntax { .. } => "json-syntax",
            Self::BadUtf8 => "json-utf8",
            Self::BadEscape => "json-escape",
            Self::TooDeep { .. } => "json-too-deep",
            Self::UnknownDialect => "unknown-dialect",
            Self::NotAnOta { .. } => "not-an-ota",
            Self::NothingPending => "nothing-pending",
            Self::Missing => "field-missing",
            Self::Empty => "field-empty",
            Self::WrongType { .. } => "field-type",
            Self::BadUrl { .. } => "bad-url",
            Self::PresignedPlaceholder => "presigned-placeholder",
            Self::Placeholder => "aws-placeholder",
            Self::Duplicate => "duplicate",
            #[cfg(feature = "serde")]
            Self::Document(error) => error.reason(),
            Self::NotHttps => "https-required",
        }
    }
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("cut short"),
            Self::Syntax { expected } => write!(f, "expected {expected}"),
            Self::BadUtf8 => f.write_str("not UTF-8"),
            Self::BadEscape => f.write_str("not an escape"),
            Self::TooDeep { limit } => write!(f, "nested deeper than {limit}"),
            Self::UnknownDialect => f.write_str("not a job in a known dialect"),
            Self::NotAnOta { ct: Some(ct) } => write!(f, "not an OTA (ct {ct})"),
            Self::NotAnOta { ct: None } => f.write_str("not an OTA, but for somebody else"),
            Self::NothingPending => f.write_str("nothing pending"),
            Self::Missing => f.write_str("missing"),
            Self::Empty => f.write_str("empty"),
            Self::WrongType { expected } => write!(f, "must be {expected}"),
            Self::BadUrl { expected } => write!(f, "bad URL, expected {expected}"),
            Self::PresignedPlaceholder => f.write_str("AWS's placeholder for a presigned URL, not replaced"),
            Self::Placeholder => f.write_str("AWS's placeholder, not replaced"),
            Self::Duplicate => f.write_str("delivered before"),
            #[cfg(feature = "serde")]
            Self::Document(error) => error.fmt(f),
            Self::NotHttps => f.write_str("https is required"),
        }
    }
}

/// Why a document is not a job: what is wrong, with which field, at which byte.
///
/// It displays as one line, such as `urls[1].url: missing (at byte 83)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError<'a> {
    kind: ParseErrorKind,
    path: Path,
    offset: usize,
    subject: Option<(Dialect, Text<'a>)>,
}

impl<'a> ParseError<'a> {
    pub(crate) fn new(kind: ParseErrorKind, path: Path, offset: usize) -> Self {
        Self { kind, path, offset, subject: None }
    }

    /// Says in which item its field is.
    pub(crate) fn in_item(self, list: &'static str, index: Option<usize>) -> Self {
        Self { path: self.path.of_item(list, index), ..self }
    }

    /// Says which job this is about.
    pub(crate) fn about(self, subject: Option<(Dialect, Text<'a>)>) -> Self {
        Self { subject, ..self }
    }

    /// What is wrong.
    pub fn kind(&self) -> ParseErrorKind {
        self.kind
    }

    /// The field it is wrong with; the document as a whole when it is not JSON.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Where, in bytes from the document's start and never beyond its end: the start of the value that is wrong, the
    /// start of the object that lacks a field, the backslash of a bad escape, the first byte that doesn't fit.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The job that the document was meant to be, when that much of it could be read, so that it can be refused by
    /// name.
    ///
    /// `None` for a document that is not an OTA, whatever id it has: that is somebody else's to answer.
    pub fn id(&self) -> Option<Text<'a>> {
        self.subject.map(|(_, id)| id)
    }

    /// The dialect that [`id`](Self::id) belongs to.
    pub fn dialect(&self) -> Option<Dialect> {
        self.subject.map(|(dialect, _)| dialect)
    }

    /// Writes the report that refuses the job, [`Status::Rejected`], or `None` when there is no [`id`](Self::id).
    /// [`reason`](Self::reason) makes a short message.
    ///
    /// # Errors
    /// [`TooSmall`] with the size of `out` that would do.
    pub fn rejection<'b>(&self, message: &str, out: &'b mut [u8]) -> Result<Option<&'b str>, TooSmall> {
        let Some((dialect, id)) = self.subject else {
            return Ok(None);
        };
        report::write(dialect, Words::Quoted(id), None, Status::Rejected, message, out).map(Some)
    }

    /// [`ParseErrorKind::reason`] of the kind.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// `false`: the same document will not read better the next time.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (at byte {})", self.path, self.kind, self.offset)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for ParseError<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}: {} (at byte {=usize})", self.path, self.kind, self.offset);
    }
}

impl core::error::Error for ParseError<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use ParseErrorKind as Kind;
    use std::collections::BTreeSet;
    use std::string::ToString;

    const KINDS: [Kind; 16] = [
        Kind::CutShort,
        Kind::Syntax { expected: "a value" },
        Kind::BadUtf8,
        Kind::BadEscape,
        Kind::TooDeep { limit: 64 },
        Kind::UnknownDialect,
        Kind::NotAnOta { ct: Some(-1) },
        Kind::NothingPending,
        Kind::Missing,
        Kind::Empty,
        Kind::WrongType { expected: "a string" },
        Kind::BadUrl { expected: "a host" },
        Kind::PresignedPlaceholder,
        Kind::Placeholder,
        Kind::Duplicate,
        Kind::NotHttps,
    ];

    #[test]
    fn reasons_are_short_and_distinct() {
        // Stable: these go into reports that others count.
        let reasons = "json-cut-short json-syntax json-utf8 json-escape json-too-deep unknown-dialect not-an-ota \
                       nothing-pending field-missing field-empty field-type bad-url presigned-placeholder \
                       aws-placeholder duplicate https-required";
        assert!(KINDS.iter().map(Kind::reason).eq(reasons.split(' ')));
        assert!(KINDS.iter().all(|kind| kind.reason().len() <= 24));
        assert_eq!(KINDS.iter().map(Kind::reason).collect::<BTreeSet<_>>().len(), KINDS.len());
        assert!(TooSmall { needed: 0 }.reason().len() <= 24);
    }

    #[test]
    fn errors_read_as_one_line() {
        let error = ParseError::new(Kind::Missing, Path::field("url").of_item("urls", Some(1)), 83);
        assert_eq!(error.to_string(), "urls[1].url: missing (at byte 83)");
        for kind in KINDS {
            let error = ParseError::new(kind, Path::DOCUMENT, 0);
            assert!(error.to_string().starts_with("document: ") && !error.to_string().contains('\n'));
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn a_path_reads_like_a_program() {
        let url = |index| Path::field("url").of_item("urls", index);
        assert_eq!(Path::DOCUMENT.to_string(), "document");
        assert_eq!(Path::field("sw").to_string(), "sw");
        assert_eq!(Path::DOCUMENT.of_item("urls", Some(1)).to_string(), "urls[1]");
        assert_eq!(url(Some(1)).to_string(), "urls[1].url");
        assert_eq!(Path::field("signature.value").of_item("artifact", None).to_string(), "artifact.signature.value");
        assert_eq!(Path::field("data.ver.sw").to_string(), "data.ver.sw");
        assert_eq!(Path::field("url").of_item("data.urls", Some(0)).to_string(), "data.urls[0].url");
    }
}
