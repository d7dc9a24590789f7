//! A job that a document of the user's own describes.

use core::fmt;

use serde::Deserialize;

use super::documents;
use super::execution::ID_PATH;
use crate::artifact::{Artifact, ByAws};
use crate::artifacts::{Scope, Source};
use crate::digest::Digest;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::path::Path;
use crate::signature::{self, Signature, SignatureAlgorithm};
use crate::text::Text;

/// What a job document of your own says, for [`custom_job`].
///
/// Texts are as they stand in the document, escapes and all: a `&str` that had none, or what is in an
/// [`EscapedStr`](serde_json_core::str::EscapedStr). Nothing is copied, so a URL may be of any length.
#[derive(Clone, Copy, Default)]
pub struct Custom<'a> {
    /// Where the image lies.
    pub url: &'a str,
    /// The version of the new firmware.
    pub version: Option<&'a str>,
    /// The hardware that it is for.
    pub hardware: Option<&'a str>,
    /// The file's name.
    pub name: Option<&'a str>,
    /// Its size in bytes.
    pub size: Option<u32>,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: Option<&'a str>,
    /// The signature over it: its algorithm, and its value in base64.
    pub signature: Option<(SignatureAlgorithm, &'a str)>,
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
/// Its dialect is `aws-jobs`, whose reports are those of every job of AWS. For `sprag::mqtt::AwsCloud::reading`.
///
/// Strings that may have escapes, as URLs do, are an [`EscapedStr`](serde_json_core::str::EscapedStr) in the struct.
///
/// # Errors
/// As [`parse`](crate::parse); [`UnknownDialect`](Kind::UnknownDialect) for a document that is not what the struct wants:
/// where other agents have jobs on the same thing, look at `execution.document()` before it is refused.
/// What `describe` gives is checked: a URL that can't be fetched and a digest that is none are named by the field of
/// [`Custom`], and placed where they lie. Every one names the job, so it can be refused.
///
/// ```
/// use serde_json_core::str::EscapedStr;
/// use sprag_job::{Job, ParseError, aws};
///
/// #[derive(serde::Deserialize)]
/// struct Mine<'a> {
///     #[serde(borrow)]
///     fw: EscapedStr<'a>,
///     len: u32,
/// }
///
/// fn read(payload: &[u8]) -> Result<Job<'_>, ParseError<'_>> {
///     aws::custom_job(payload, |mine: Mine<'_>| aws::Custom { url: mine.fw.0, size: Some(mine.len), ..Default::default() })
/// }
///
/// let job = read(br#"{"execution":{"jobId":"j","jobDocument":{"fw":"https:\/\/h\/a?b=1\u0026c=2","len":7}}}"#).unwrap();
/// assert_eq!(job.artifacts().next().unwrap().url(), "https://h/a?b=1&c=2");
/// let error = read(br#"{"execution":{"jobId":"j","jobDocument":{"other":1}}}"#).unwrap_err();
/// assert_eq!(error.to_string(), "execution.jobDocument: not a job in a known dialect (at byte 40)");
/// ```
pub fn custom_job<'a, T: Deserialize<'a>>(
    payload: &'a [u8],
    describe: impl FnOnce(T) -> Custom<'a>,
) -> Result<Job<'a>, ParseError<'a>> {
    let Some(execution) = super::execution(payload)? else {
        return Err(ParseError::new(Kind::NothingPending, Path::field("execution"), 0));
    };
    let about = |error: ParseError<'a>| error.about(Some((crate::Dialect::AwsJobs, execution.job_id())));
    let field = execution.document_field();
    let object = field.object().map_err(about)?;
    match execution.deserialize(&mut []) {
        Ok(own) => describe(own).job(object, execution.job_id()).map_err(about),
        Err(_) => Err(about(field.fault(Kind::UnknownDialect))),
    }
}

impl<'a> Custom<'a> {
    fn job(&self, object: Value<'a>, id: Text<'a>) -> Result<Job<'a>, ParseError<'a>> {
        let fault = |name, text: &'a str, kind| {
            ParseError::new(kind, Path::field(name).within(documents::DOCUMENT), object.offset_of(Text::new(text)))
        };
        let text = |name, text: &'a str| {
            Text::checked(text).ok_or_else(|| fault(name, text, Kind::WrongType { expected: "a string of JSON" }))
        };
        let optional = |name, given: Option<&'a str>| given.map(|given| text(name, given)).transpose();
        let place = Field::at(object, "url");
        let url = place.url_in(text("url", self.url)?).map_err(|error| fault("url", self.url, error.kind()))?;
        let digest = optional("sha256", self.sha256)?.map(|hex| {
            Digest::sha256(hex)
                .ok_or_else(|| fault("sha256", hex.raw(), Kind::WrongType { expected: "64 hexadecimal digits" }))
        });
        let signature = self.signature.map(|(algorithm, given)| {
            let value = text("signature", given)?;
            match signature::is_base64(value) {
                true => Ok(Signature { algorithm, value }),
                false => Err(fault("signature", given, Kind::WrongType { expected: signature::BASE64 })),
            }
        });
        let artifact = Artifact {
            name: optional("name", self.name)?,
            by_aws: ByAws {
                size: self.size,
                digest: digest.transpose()?,
                signature: signature.transpose()?,
                ..ByAws::default()
            },
            ..Artifact::at(url, place)
        };
        let scope = Scope { object, prefix: documents::DOCUMENT };
        let (version, hardware) = (optional("version", self.version)?, optional("hardware", self.hardware)?);
        Ok(Job { id, id_path: ID_PATH, version, hardware, source: Source::given(scope, artifact) })
    }
}
