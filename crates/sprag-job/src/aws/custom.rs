//! A job document of the user's own: their struct, the crate's envelope.

use core::fmt;

use serde::Deserialize;

use super::execution::Execution;
use crate::depth;

/// How many objects and arrays may be open at once in a job document that `serde` reads.
///
/// `serde-json-core` recurses, at some 65 bytes of stack a level on a Cortex-M: this keeps it below about 1 KiB.
pub const SERDE_MAX_DEPTH: usize = 16;

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
            Self::Serde(_) => "document-fields",
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
    /// [`EscapedStr`](serde_json_core::str::EscapedStr) that never costs a copy. One with escapes, as URLs often have,
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
        if depth::of(text) > SERDE_MAX_DEPTH {
            return Err(DocumentError::TooDeep { limit: SERDE_MAX_DEPTH });
        }
        match serde_json_core::from_slice_escaped(document, scratch) {
            Ok((value, _)) => Ok(value),
            Err(error) => Err(DocumentError::Serde(error)),
        }
    }
}
