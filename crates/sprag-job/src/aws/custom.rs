//! A job document of the user's own: their struct, the crate's envelope, and the job that the two describe.

use core::fmt;

use serde::Deserialize;
/// A string of JSON as it stands in the document, escapes and all: for fields that may have some, as URLs often do.
pub use serde_json_core::str::EscapedStr;

use super::execution::Execution;
use crate::artifact::{Artifact, ByAws, Protocols};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind, Path};
use crate::job::{self, Job};
use crate::json::{self, Span};
use crate::location::{self, Location, Placeholder};
use crate::signature::{self, Digest, Signature, SignatureAlgorithm};
use crate::text::Text;

/// How many objects and arrays may be open at once in a job document that `serde` reads.
///
/// `serde-json-core` recurses, at some 65 bytes of stack a level on a Cortex-M: this keeps it below about 1 KiB.
pub const SERDE_MAX_DEPTH: usize = 16;

/// Where `serde-json-core` undoes the escapes of a string, also of one that the struct has no field for.
const SCRATCH: usize = 256;

/// Why a job document is not what the struct wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DocumentError {
    /// The execution has no `jobDocument`.
    Missing,
    /// It is nested deeper than is safe for a small stack.
    TooDeep {
        /// How deep it may be: [`SERDE_MAX_DEPTH`].
        limit: usize,
    },
    /// `serde-json-core` or the struct refuses it.
    Serde(serde_json_core::de::Error),
}

impl DocumentError {
    /// A stable name for status reports, at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "document-missing",
            Self::TooDeep { .. } => "document-too-deep",
            Self::Serde(_) => "document-type",
        }
    }

    /// `false`: the same document will not read better the next time.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no job document"),
            Self::TooDeep { limit } => write!(f, "job document nested deeper than {limit}"),
            Self::Serde(error) => write!(f, "job document: {error}"),
        }
    }
}

impl core::error::Error for DocumentError {}

impl<'a> Execution<'a> {
    /// Reads the job document into a struct of your own. Its depth is checked first.
    ///
    /// A string without escapes may be a `&str` in the struct, or a
    /// [`EscapedStr`] that never costs a copy. One with escapes, as URLs often have,
    /// is undone in `scratch` on its way into a type that owns its text, so `scratch` must be as long as the longest
    /// of them; a `&str` can't hold it, which is an error and never a wrong text.
    ///
    /// # Errors
    /// [`DocumentError`]. The [job id](Self::job_id) is known all the same: refuse the job by it.
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Mine<'a> {
    ///     fw: &'a str,
    ///     slot: u8,
    /// }
    ///
    /// let payload = br#"{"execution":{"jobId":"j","jobDocument":{"fw":"https://h/a","slot":2,"x":[1]}}}"#;
    /// let execution = sprag_job::aws::execution(payload).unwrap().unwrap();
    /// let mine: Mine<'_> = execution.deserialize(&mut [])?;
    /// assert_eq!((mine.fw, mine.slot), ("https://h/a", 2));
    /// # Ok::<(), sprag_job::aws::DocumentError>(())
    /// ```
    pub fn deserialize<T: Deserialize<'a>>(&self, scratch: &mut [u8]) -> Result<T, DocumentError> {
        let document = self.document().ok_or(DocumentError::Missing)?;
        let text = core::str::from_utf8(document).unwrap_or_default();
        if json::depth(text) > SERDE_MAX_DEPTH {
            return Err(DocumentError::TooDeep { limit: SERDE_MAX_DEPTH });
        }
        match serde_json_core::from_slice_escaped(document, scratch) {
            Ok((value, _)) => Ok(value),
            Err(error) => Err(DocumentError::Serde(error)),
        }
    }

    /// Reads the job document into the struct `T`, which `describe` makes a job of: [`deserialize`](Self::deserialize) and
    /// [`describe`](Self::describe) in one. The job's dialect is `aws-jobs`, whose reports are those of every job of AWS.
    ///
    /// # Errors
    /// As [`custom_job`].
    ///
    /// ```
    /// use sprag_job::aws::{self, Custom, EscapedStr};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Mine<'a> {
    ///     #[serde(borrow)]
    ///     fw: EscapedStr<'a>,
    ///     build: &'a str,
    /// }
    ///
    /// let payload = br#"{"execution":{"jobId":"j","jobDocument":{"fw":"https:\/\/h\/a?b=1\u0026c=2","build":"1.5"}}}"#;
    /// let execution = aws::execution(payload)?.expect("something is pending");
    /// let job = execution.custom_job(|mine: Mine<'_>| Custom { version: Some(mine.build.into()), ..Custom::at(mine.fw) })?;
    /// assert_eq!(job.artifacts().next().unwrap().url(), "https://h/a?b=1&c=2");
    /// assert_eq!(job.version().unwrap(), "1.5");
    /// # Ok::<(), sprag_job::ParseError<'static>>(())
    /// ```
    pub fn custom_job<T: Deserialize<'a>>(
        &self,
        describe: impl FnOnce(T) -> Custom<'a>,
    ) -> Result<Job<'a>, ParseError<'a>> {
        self.job_document().object().map_err(|error| self.about(error))?;
        match self.deserialize(&mut [0; SCRATCH]) {
            Ok(own) => self.describe(&describe(own)),
            Err(error) => Err(self.refuse::<T>(error)),
        }
    }

    /// Makes a job of what was read of the document some other way, for structs that own their texts for example.
    ///
    /// # Errors
    /// What [`Custom`] says is checked: a URL that can't be fetched and a digest that is none are named by the field of
    /// `Custom`, and placed where they lie in the document, or at its start. Every error names the job.
    ///
    /// ```
    /// use sprag_job::aws::{self, Custom};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Mine {
    ///     fw: heapless::String<64>,
    /// }
    ///
    /// let payload = br#"{"execution":{"jobId":"j","jobDocument":{"fw":"https:\/\/h\/a"}}}"#;
    /// let execution = aws::execution(payload)?.expect("something is pending");
    /// let mine: Mine = execution.deserialize(&mut [0; 64])?;
    /// let job = execution.describe(&Custom::at(mine.fw.as_str())).unwrap();
    /// assert_eq!(job.artifacts().next().unwrap().url(), "https://h/a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn describe<'b>(&self, custom: &Custom<'b>) -> Result<Job<'b>, ParseError<'b>>
    where
        'a: 'b,
    {
        let job = self.job_document().object().and_then(|()| custom.job(self));
        job.map_err(|error| self.about(error))
    }

    fn about<'b>(&self, error: ParseError<'b>) -> ParseError<'b>
    where
        'a: 'b,
    {
        error.about(Some((Dialect::AwsJobs, self.job_id())))
    }

    /// Says where in the document `serde` gave up.
    fn refuse<T: Deserialize<'a>>(&self, error: DocumentError) -> ParseError<'a> {
        let document = self.job_document();
        let (path, mut offset) = document.place();
        if let (DocumentError::Serde(_), Some(bytes)) = (error, self.document()) {
            // Cut before the byte that it refuses, the document fails in another way: it is the last one that does not.
            let mut good = 0usize;
            let mut bad = bytes.len();
            while bad.saturating_sub(good) > 1 {
                let middle = good.midpoint(bad);
                match serde_json_core::from_slice_escaped::<T>(
                    bytes.get(..middle).unwrap_or_default(),
                    &mut [0; SCRATCH],
                ) {
                    Err(found) if DocumentError::Serde(found) == error => bad = middle,
                    _ => good = middle,
                }
            }
            offset = innermost(document.text, document.span(), offset.saturating_add(good));
        }
        self.about(ParseError::new(Kind::Document(error), Path::field(path), offset))
    }
}

/// Returns where the innermost value starts that this byte of a checked document is in, or behind the end of which it is.
fn innermost(text: &str, value: Span, at: usize) -> usize {
    let (mut value, mut start) = (value, value.start);
    'inward: loop {
        let mut next = value.start.saturating_add(1);
        match text.as_bytes().get(value.start) {
            Some(b'{') => {
                while let Some((_, member)) = json::next_member(text, &mut next) {
                    if (member.start..member.end).contains(&at) {
                        (value, start) = (member, member.start);
                        continue 'inward;
                    }
                }
            }
            Some(b'[') => {
                while let Some(element) = json::next_element(text, &mut next, &[], &mut []) {
                    if (element.start..element.end).contains(&at) {
                        (value, start) = (element, element.start);
                        continue 'inward;
                    }
                }
            }
            _ => {}
        }
        return start;
    }
}

/// A text for [`Custom`]: a `&str` that `serde` found without escapes, or an [`EscapedStr`] with those that it has.
#[derive(Clone, Copy)]
pub struct JsonText<'a> {
    raw: &'a str,
    has_escapes: bool,
}

impl<'a> From<&'a str> for JsonText<'a> {
    fn from(raw: &'a str) -> Self {
        Self { raw, has_escapes: false }
    }
}

impl<'a> From<EscapedStr<'a>> for JsonText<'a> {
    fn from(EscapedStr(raw): EscapedStr<'a>) -> Self {
        Self { raw, has_escapes: true }
    }
}

impl fmt::Debug for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.raw, f)
    }
}

/// What a job document of your own says, for [`custom_job`]. Nothing is copied, so a URL may be of any length.
///
/// Start from [`Custom::at`]. Each text is made by `into()`, from a `&str` or from an [`EscapedStr`].
#[derive(Clone, Copy)]
pub struct Custom<'a> {
    /// Where the image lies.
    pub url: JsonText<'a>,
    /// The version of the new firmware.
    pub version: Option<JsonText<'a>>,
    /// The hardware that it is for.
    pub hardware: Option<JsonText<'a>>,
    /// The file's name.
    pub name: Option<JsonText<'a>>,
    /// Its size in bytes.
    pub size: Option<u32>,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: Option<JsonText<'a>>,
    /// The signature over it: its algorithm, and its value in base64.
    pub signature: Option<(SignatureAlgorithm, JsonText<'a>)>,
}

impl fmt::Debug for Custom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL: whoever holds a presigned one can fetch.
        let mut shown = f.debug_struct("Custom");
        shown
            .field("version", &self.version)
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Reads a message around a job document of your own: the struct `T` that `serde` finds in it becomes a job by `describe`.
/// Its dialect is `aws-jobs`, whose reports are those of every job of AWS. For `sprag::mqtt::AwsCloud::reading`. Where the
/// execution is at hand already, [`Execution::custom_job`] does not read the payload again.
///
/// A string that may have escapes, as a URL does, is an [`EscapedStr`] in the struct.
///
/// # Errors
/// As [`parse`](crate::parse); [`Document`](Kind::Document) for a document that is not what the struct wants, with the value
/// that `serde` refuses, or the object that lacks one: where other agents have jobs on the same thing, look at
/// `execution.document()` before it is refused.
/// What `describe` gives is checked: a URL that can't be fetched and a digest that is none are named by the field of
/// [`Custom`], and placed where they lie. Every one names the job, so it can be refused.
///
/// ```
/// use sprag_job::aws::{self, Custom, EscapedStr};
/// use sprag_job::{Job, ParseError};
///
/// #[derive(serde::Deserialize)]
/// struct Mine<'a> {
///     #[serde(borrow)]
///     fw: EscapedStr<'a>,
///     len: u32,
/// }
///
/// fn read(payload: &[u8]) -> Result<Job<'_>, ParseError<'_>> {
///     aws::custom_job(payload, |mine: Mine<'_>| Custom { size: Some(mine.len), ..Custom::at(mine.fw) })
/// }
///
/// let job = read(br#"{"execution":{"jobId":"j","jobDocument":{"fw":"https:\/\/h\/a?b=1\u0026c=2","len":7}}}"#).unwrap();
/// assert_eq!(job.artifacts().next().unwrap().url(), "https://h/a?b=1&c=2");
/// let error = read(br#"{"execution":{"jobId":"j","jobDocument":{"fw":"https://h/a","len":"7"}}}"#).unwrap_err();
/// assert_eq!(error.reason(), "document-type");
/// assert_eq!(error.offset(), 66); // Where "7" stands.
/// ```
pub fn custom_job<'a, T: Deserialize<'a>>(
    payload: &'a [u8],
    describe: impl FnOnce(T) -> Custom<'a>,
) -> Result<Job<'a>, ParseError<'a>> {
    match super::execution(payload)? {
        Some(execution) => execution.custom_job(describe),
        None => Err(ParseError::new(Kind::NothingPending, Path::field("execution"), 0)),
    }
}

impl<'a> Custom<'a> {
    /// An image that lies at this URL, of which nothing else is known.
    pub fn at(url: impl Into<JsonText<'a>>) -> Self {
        Self { url: url.into(), version: None, hardware: None, name: None, size: None, sha256: None, signature: None }
    }

    fn job<'d>(&self, execution: &Execution<'d>) -> Result<Job<'a>, ParseError<'a>>
    where
        'd: 'a,
    {
        let document = execution.job_document();
        let place = Place { text: document.text, document: document.place() };
        let url = place.text("url", self.url)?;
        if let Err(expected) = location::check(url) {
            return Err(place.fault("url", url.raw(), Kind::BadUrl { expected }));
        }
        let digest = match self.sha256 {
            Some(given) => {
                let hex = place.text("sha256", given)?;
                let wrong = Kind::WrongType { expected: "64 hexadecimal digits" };
                Some(Digest::sha256(hex).ok_or_else(|| place.fault("sha256", given.raw, wrong))?)
            }
            None => None,
        };
        let signature = match self.signature {
            Some((algorithm, given)) => {
                let value = place.text("signature", given)?;
                if !signature::is_base64(value) {
                    let wrong = Kind::WrongType { expected: signature::BASE64 };
                    return Err(place.fault("signature", given.raw, wrong));
                }
                Some(Signature { algorithm, value })
            }
            None => None,
        };
        let (path, offset) = place.of("url", url.raw());
        let artifact = Artifact {
            location: Some(Location::Url(url)),
            name: place.optional("name", self.name)?,
            tag: None,
            protocols: Protocols::HTTP,
            by_aws: ByAws { size: self.size, digest, signature, ..ByAws::NONE },
            path,
            offset,
        };
        let mut head = document.draft(execution.job_id()).head;
        (head.object_path, head.object) = document.place();
        head.version = place.optional("version", self.version)?;
        head.hardware = place.optional("hardware", self.hardware)?;
        Ok(Job { dialect: Dialect::AwsJobs, head, first: artifact, rest: 0 })
    }
}

/// Where the texts of a document of the user's own lie.
struct Place<'d> {
    text: &'d str,
    /// The path and the start of the whole.
    document: (&'static str, usize),
}

impl Place<'_> {
    /// Where a text stands, quote and all; where the document does, if it is elsewhere.
    fn of(&self, name: &'static str, raw: &str) -> (Path, usize) {
        let quote = job::offset(self.text, Text::new(raw)).and_then(|at| at.checked_sub(1));
        let (path, start) = self.document;
        (Path::field(name).of_item(path, None), quote.unwrap_or(start))
    }

    fn fault<'a>(&self, name: &'static str, raw: &str, kind: Kind) -> ParseError<'a> {
        let (path, offset) = self.of(name, raw);
        ParseError::new(kind, path, offset)
    }

    fn text<'a>(&self, name: &'static str, given: JsonText<'a>) -> Result<Text<'a>, ParseError<'a>> {
        let wrong = Kind::WrongType { expected: "a string of JSON, as an EscapedStr where it has escapes" };
        let text = match given.has_escapes {
            true => Text::checked(given.raw),
            false => (!given.raw.contains('\\')).then_some(Text::new(given.raw)),
        };
        let text = text.ok_or_else(|| self.fault(name, given.raw, wrong))?;
        match location::placeholder(text) {
            None => Ok(text),
            Some(Placeholder::Presigned) => Err(self.fault(name, given.raw, Kind::PresignedPlaceholder)),
            Some(Placeholder::Other) => Err(self.fault(name, given.raw, Kind::Placeholder)),
        }
    }

    fn optional<'a>(
        &self,
        name: &'static str,
        given: Option<JsonText<'a>>,
    ) -> Result<Option<Text<'a>>, ParseError<'a>> {
        given.map(|given| self.text(name, given)).transpose()
    }
}
