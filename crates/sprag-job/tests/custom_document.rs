//! Job documents of the user's own, through serde.
#![cfg(feature = "serde")]

use serde::Deserialize;
use sprag_job::aws::{Custom, DocumentError, EscapedStr, Execution, SERDE_MAX_DEPTH, custom_job, execution};
use sprag_job::{Dialect, Job, ParseError, ParseErrorKind as Kind, SignatureAlgorithm, Status};

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

#[derive(Debug, Deserialize)]
struct Fleet<'a> {
    #[serde(borrow)]
    fw: EscapedStr<'a>,
    #[serde(borrow)]
    build: EscapedStr<'a>,
    #[serde(borrow)]
    sum: EscapedStr<'a>,
    len: u32,
}

fn read(payload: &[u8]) -> Result<Job<'_>, ParseError<'_>> {
    custom_job(payload, describe)
}

fn describe(fleet: Fleet<'_>) -> Custom<'_> {
    Custom {
        version: Some(fleet.build.into()),
        sha256: Some(fleet.sum.into()),
        size: Some(fleet.len),
        signature: Some((SignatureAlgorithm::Ed25519, "AAAA".into())),
        ..Custom::at(fleet.fw)
    }
}

fn message(document: &str) -> String {
    format!(r#"{{"execution":{{"jobId":"j-1","versionNumber":1,"jobDocument":{document}}}}}"#)
}

#[test]
fn a_document_of_ones_own_becomes_a_job() {
    let sum = "0a".repeat(32);
    let payload = message(&format!(
        r#"{{"sum":"{sum}","len":7,"x":[1],"build":"1.5\u002b7","fw":"https:\/\/h\/a?b=1\u0026c=%2F"}}"#
    ));
    let job = read(payload.as_bytes()).unwrap();
    assert_eq!((job.dialect(), job.id().as_str(), job.artifacts().count()), (Dialect::AwsJobs, Some("j-1"), 1));
    assert_eq!(job.version().unwrap(), "1.5+7");
    let artifact = job.artifacts().next().unwrap();
    assert_eq!(artifact.url(), "https://h/a?b=1&c=%2F");
    assert_eq!((artifact.size(), artifact.digest().unwrap().bytes().count()), (Some(7), 32));
    assert_eq!(artifact.signature().unwrap().value(), "AAAA");
    assert_eq!(job.require_https(), Ok(()));
    let report = job.report(Status::Done, "", &mut [0; 64]).map(str::to_owned);
    assert_eq!(report.unwrap(), r#"{"status":"SUCCEEDED"}"#);
}

#[test]
fn what_is_wrong_with_it_is_named_and_placed() {
    let sum = "0a".repeat(32);
    for (document, says) in [
        ("[]".to_owned(), "execution.jobDocument: must be an object"),
        (r#"{"fw":"https://h/a"}"#.to_owned(), "execution.jobDocument: job document: "),
        (format!(r#"{{"sum":"{sum}","len":7,"build":"1","fw":"ftp://h/a"}}"#), "execution.jobDocument.url: "),
        (
            format!(r#"{{"sum":"{sum}","len":7,"build":"1","fw":"${{aws:iot:s3-presigned-url:https://h/a}}"}}"#),
            "execution.jobDocument.url: AWS's placeholder",
        ),
        (r#"{"sum":"0a","len":7,"build":"1","fw":"https://h/a"}"#.to_owned(), "execution.jobDocument.sha256: "),
    ] {
        let payload = message(&document);
        let error = read(payload.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
        assert_eq!(error.id().unwrap(), "j-1");
        let field = if says.contains(".url") {
            document.find("\"ftp").or(document.find("\"$"))
        } else {
            document.find("\"0a\"")
        };
        let place = payload.len() - 2 - document.len() + field.unwrap_or(0);
        assert!(error.to_string().ends_with(&format!("(at byte {place})")), "{error}, not {place}");
    }
    assert_eq!(read(br#"{"timestamp":1}"#).unwrap_err().reason(), "nothing-pending");
    // A text that never was in JSON, and one whose escapes nobody has undone.
    let payload = message("{}");
    let error = custom_job(payload.as_bytes(), |_: serde::de::IgnoredAny| Custom::at(EscapedStr(r"https://h/\x")));
    assert!(error.unwrap_err().to_string().starts_with("execution.jobDocument.url: must be a string of JSON"));
    let error = custom_job(payload.as_bytes(), |_: serde::de::IgnoredAny| Custom::at(r"https:\/\/h"));
    let error = error.unwrap_err();
    assert!(error.to_string().starts_with("execution.jobDocument.url: must be a string of JSON"));
    assert!(error.offset() < payload.len());
}

/// The natural struct, whose URL can't hold escapes: the error is its own, and lies where the value does.
#[test]
fn what_the_struct_can_not_hold_is_no_unknown_dialect() {
    #[derive(Debug, Deserialize)]
    struct Doc<'a> {
        #[serde(borrow)]
        fw: Fw<'a>,
    }
    #[derive(Debug, Deserialize)]
    struct Fw<'a> {
        ver: &'a str,
        src: &'a str,
        len: Option<u8>,
    }
    let read = |payload: &str| -> Result<String, (usize, String)> {
        let payload = payload.to_owned();
        let job = custom_job(payload.as_bytes(), |doc: Doc<'_>| Custom {
            version: Some(doc.fw.ver.into()),
            size: doc.fw.len.map(u32::from),
            ..Custom::at(doc.fw.src)
        });
        let job = job.map(|job| job.artifacts().next().unwrap().url().to_string());
        job.map_err(|error| {
            assert!(matches!(error.kind(), Kind::Document(DocumentError::Serde(_))), "{error}");
            assert_eq!((error.reason(), error.id().unwrap().as_str()), ("document-type", Some("j-1")));
            assert!(error.to_string().starts_with("execution.jobDocument: job document: "));
            let mut out = [0; 128];
            let rejection = r#"{"status":"REJECTED","statusDetails":{"reason":"document-type"}}"#;
            assert_eq!(error.rejection(error.reason(), &mut out), Ok(Some(rejection)));
            (error.offset(), error.to_string())
        })
    };
    assert_eq!(read(&message(r#"{"fw":{"ver":"1","src":"https://h/a"}}"#)).unwrap(), "https://h/a");
    for marked in [
        r##"{"fw":{"ver":"1","src":#"https:\/\/h\/a"}}"##,
        r##"{"fw":{"ver":"1","src":#"https://h/a?b=1\u0026c=2"}}"##,
        r##"{"x":[1,{"y":"\n"}],"fw":{"ver":#"\u0031","src":"https://h/a"}}"##,
        r##"{"fw":{"ver":#1,"src":"https://h/a"}}"##,
        r##"{"fw":{"ver":"1","src":#null}}"##,
        r##"{"fw":{"ver":"1","src":"https://h/a","len":#256}}"##,
        r##"{"fw":{"ver":"1","src":"https://h/a","len":#"7"}}"##,
        r##"{"fw":#{"ver":"1"},"x":7}"##,
        r##"#{"other":{"fw":{}}}"##,
        r##"{"fw":#[7]}"##,
    ] {
        let payload = message(&marked.replacen('#', "", 1));
        let (offset, error) = read(&payload).unwrap_err();
        let document = payload.find(r#""jobDocument":"#).unwrap() + r#""jobDocument":"#.len();
        assert_eq!(offset, document + marked.find('#').unwrap(), "{marked}: {error}");
    }
    let deep = message(&"[".repeat(SERDE_MAX_DEPTH + 1).replacen('[', r#"{"fw":"#, 1).replace('[', r#"{"fw":"#));
    assert!(custom_job(deep.as_bytes(), |doc: Doc<'_>| Custom::at(doc.fw.src)).is_err());
}

/// A type that owns its text is filled in a buffer, and described by what it owns.
#[test]
fn a_struct_may_own_its_texts() {
    let payload = message(r#"{"fw":"https:\/\/h\/a"}"#);
    let execution = execution(payload.as_bytes()).unwrap().unwrap();
    let mine: Owned = execution.deserialize(&mut [0; 32]).unwrap();
    let job = execution.describe(&Custom::at(mine.fw.as_str())).unwrap();
    assert_eq!(job.artifacts().next().unwrap().url(), "https://h/a");
    assert_eq!(job.id(), "j-1");
    assert_eq!(
        job.require_new(&[job.key()]).unwrap_err().to_string(),
        "execution.jobId: delivered before (at byte 22)"
    );
    let error = execution.describe(&Custom::at("ftp://h")).unwrap_err();
    assert_eq!((error.reason(), error.offset()), ("bad-url", payload.find(r#"{"fw""#).unwrap()));
}

#[test]
fn an_execution_is_read_without_its_payload() {
    let sum = "0a".repeat(32);
    let payload = message(&format!(r#"{{"sum":"{sum}","len":7,"build":"1","fw":"https://h/a"}}"#));
    let execution = execution(payload.as_bytes()).unwrap().unwrap();
    let job = execution.custom_job(describe).unwrap();
    assert_eq!(job.version().unwrap(), "1");
    let payload = message("[]");
    let execution = sprag_job::aws::execution(payload.as_bytes()).unwrap().unwrap();
    let error = execution.custom_job(describe).unwrap_err();
    assert_eq!((error.reason(), error.id().unwrap().as_str()), ("field-type", Some("j-1")));
}
