//! Job documents of the user's own, through serde.
#![cfg(feature = "serde")]

use serde::Deserialize;
use sprag_job::aws::{DocumentError, Execution, SERDE_MAX_DEPTH, execution};

#[derive(Debug, Deserialize)]
struct Mine<'a> {
    fw: &'a str,
}

#[derive(Debug, Deserialize)]
struct Owned {
    fw: String,
}

fn with<T>(document: &str, then: impl FnOnce(Execution<'_>) -> T) -> T {
    let payload = format!(r#"{{"execution":{{"jobId":"j","jobDocument":{document}}}}}"#);
    then(execution(payload.as_bytes()).unwrap().unwrap())
}

#[test]
fn a_struct_of_ones_own_is_read() {
    with(r#"{"x":[{"y":null}],"fw":"https://h/a"}"#, |execution| {
        assert_eq!(execution.deserialize::<Mine<'_>>(&mut []).unwrap().fw, "https://h/a");
        assert_eq!(execution.document().unwrap(), br#"{"x":[{"y":null}],"fw":"https://h/a"}"#);
    });
    with(r#"{"fw":"https:\/\/h\u002fa"}"#, |execution| {
        assert_eq!(execution.deserialize::<Owned>(&mut [0; 32]).unwrap().fw, "https://h/a");
        // Never a wrong text: an error where escapes have no room, or nobody to own what they stand for.
        assert!(matches!(execution.deserialize::<Owned>(&mut [0; 4]), Err(DocumentError::Serde(_))));
        assert!(matches!(execution.deserialize::<Mine<'_>>(&mut [0; 32]), Err(DocumentError::Serde(_))));
    });
}

#[test]
fn depth_is_checked_before_serde_sees_it() {
    let nested = |depth: usize| format!(r#"{{"fw":"f","x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(with(&nested(SERDE_MAX_DEPTH), |execution| execution.deserialize::<Mine<'_>>(&mut []).is_ok()));
    let error = with(&nested(SERDE_MAX_DEPTH + 1), |execution| execution.deserialize::<Mine<'_>>(&mut []).unwrap_err());
    assert_eq!((error, error.reason()), (DocumentError::TooDeep { limit: SERDE_MAX_DEPTH }, "document-too-deep"));
    let error = with("null", |execution| execution.deserialize::<Mine<'_>>(&mut []).unwrap_err());
    assert_eq!(error, DocumentError::Missing);
}
