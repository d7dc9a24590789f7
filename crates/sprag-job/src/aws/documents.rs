//! Which of the documents for AWS IoT Jobs it is that lies in an execution, or bare.

use super::execution::{self, Execution};
use crate::artifacts::Scope;
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::parse::unknown;
use crate::text::Text;

pub(crate) const DOCUMENT: &str = "execution.jobDocument";

/// The dialects for AWS, as far as they are enabled; an execution that has a document of none is answered in the first.
const DIALECTS: &[Dialect] = &[
    #[cfg(feature = "aws-jobs")]
    Dialect::AwsJobs,
    #[cfg(feature = "afr-ota")]
    Dialect::AfrOta,
];

/// Whether the dialect is one for AWS.
pub(crate) fn has(dialect: Dialect) -> bool {
    DIALECTS.contains(&dialect)
}

fn dialect(document: Value<'_>) -> Option<Dialect> {
    let [afr_ota, operation] = Field::all(document, ["afr_ota", "operation"]);
    #[cfg(feature = "afr-ota")]
    if afr_ota.value().is_some() {
        return Some(Dialect::AfrOta);
    }
    #[cfg(feature = "aws-jobs")]
    if operation.as_text().is_some_and(|operation| operation == "ota") {
        return Some(Dialect::AwsJobs);
    }
    None
}

fn envelope(root: Value<'_>) -> Option<Value<'_>> {
    Field::of(root, "execution").as_object()
}

/// The answer that nothing is pending: a timestamp, a token perhaps, and nothing else.
fn is_empty_queue(root: Value<'_>) -> bool {
    let timestamp = Field::of(root, "timestamp").optional_u64().is_ok_and(|time| time.is_some());
    timestamp && root.members().is_some_and(|mut all| all.all(|(key, _)| key == "timestamp" || key == "clientToken"))
}

/// Reads a sound document; `None` when it is not for AWS.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn parse<'a>(root: Value<'a>) -> Option<Result<Job<'a>, ParseError<'a>>> {
    if DIALECTS.is_empty() {
        return None;
    }
    if envelope(root).is_some() {
        return Some(match Execution::of(root) {
            Ok(Some(execution)) => job(&execution),
            Ok(None) => Err(nothing(root)),
            Err(error) => Err(error),
        });
    }
    if dialect(root).is_some() {
        return Some(document(Scope { object: root, prefix: "" }, Text::EMPTY));
    }
    is_empty_queue(root).then(|| Err(nothing(root)))
}

fn nothing<'a>(root: Value<'a>) -> ParseError<'a> {
    Field::of(root, "execution").fault(Kind::NothingPending)
}

pub(crate) fn detect<'a>(root: Value<'a>) -> Option<Result<Dialect, ParseError<'a>>> {
    if DIALECTS.is_empty() {
        return None;
    }
    let Some(execution) = envelope(root) else {
        return dialect(root).map(Ok).or_else(|| is_empty_queue(root).then(|| Err(nothing(root))));
    };
    if execution.members().is_some_and(|mut members| members.next().is_none()) {
        return Some(Err(nothing(root)));
    }
    let document = Field::of(execution, "jobDocument");
    document.value().and_then(dialect).map(Ok)
}

/// The execution that a document is about, which need not be sound.
pub(crate) fn subject<'a>(root: Value<'a>) -> Option<(Dialect, Text<'a>)> {
    let id = execution::job_id(root)?;
    let document = Field::of(envelope(root)?, "jobDocument").value();
    Some((document.and_then(dialect).or(DIALECTS.first().copied())?, id))
}

/// The job in an execution.
pub(crate) fn job<'a>(execution: &Execution<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let field = execution.document_field();
    let about = |error: ParseError<'a>| {
        // Another agent's job is not to be ended.
        if let Kind::NotAnOta { .. } = error.kind() {
            return error;
        }
        let dialect = field.value().and_then(dialect).or(DIALECTS.first().copied());
        error.about(dialect.map(|dialect| (dialect, execution.job_id())))
    };
    let object = field.object().map_err(about)?;
    document(Scope { object, prefix: DOCUMENT }, execution.job_id()).map_err(about)
}

fn document<'a>(scope: Scope<'a>, id: Text<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let job = match dialect(scope.object) {
        #[cfg(feature = "afr-ota")]
        Some(Dialect::AfrOta) => super::afr_ota::job(scope, id),
        #[cfg(feature = "aws-jobs")]
        Some(Dialect::AwsJobs) => super::default_document::job(scope, id),
        _ => Err(unknown(scope.object)),
    };
    job.map_err(|error| error.within(scope.prefix))
}
