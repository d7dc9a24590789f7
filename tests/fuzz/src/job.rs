//! Everything that can be asked of `sprag-job`'s values. Nothing may panic, and no answer may contradict another.

use std::hint::black_box;

use serde_json::Value;
use sprag_job::aws::{Execution, PendingJobs, Rejection, State, Updated};
use sprag_job::{Artifact, Dialect, Job, ParseError, ParseErrorKind, Status, Text, TooSmall};

pub const STATUSES: [Status; 4] = [Status::Downloading, Status::Done, Status::Failed, Status::Rejected];

/// A job, its artifacts, and its reports.
pub fn job(job: &Job<'_>, document: &[u8]) {
    text(job.id());
    job.version().map(text);
    job.hardware().map(text);
    assert_eq!(Dialect::from_name(job.dialect().name()), Some(job.dialect()));
    assert_eq!(job.identity(), job.identity());
    let mut all_over_tls = true;
    let mut artifacts = 0;
    for one in job.artifacts() {
        all_over_tls &= artifact(&one, document);
        artifacts += 1;
    }
    assert!(artifacts > 0, "a job without an artifact");
    match job.require_https() {
        Ok(()) => assert!(all_over_tls),
        Err(why) => {
            assert!(!all_over_tls);
            error(&why, document);
        }
    }
    assert!(job.require_new(&[]).is_ok());
    error(&job.require_new(&[job.key()]).unwrap_err(), document);
    for status in STATUSES {
        report(|out| job.report(status, "why", out));
        report(|out| job.report_for_child(job.id(), status, "\"\n", out));
    }
    black_box(format!("{job:?}"));
}

/// Whether it comes over TLS.
fn artifact(artifact: &Artifact<'_>, document: &[u8]) -> bool {
    for one in [artifact.name(), artifact.tag(), artifact.certificate(), artifact.stream()].into_iter().flatten() {
        text(one);
    }
    let url = artifact.url();
    text(url);
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()));
    if let Some(location) = artifact.location() {
        let bytes: Vec<u8> = location.bytes().collect();
        assert!(bytes.iter().all(u8::is_ascii_graphic) && bytes.len() <= document.len() + 16);
        assert_eq!(location.to_string().as_bytes(), bytes);
        assert!(url.is_empty() || url.bytes().eq(bytes.iter().copied()));
        assert_eq!(location.is_https(), bytes.to_ascii_lowercase().starts_with(b"https://"));
        assert!(location.served_by("h.example").bytes().count() >= bytes.len());
    }
    if let Some(digest) = artifact.digest() {
        assert_eq!((digest.bytes().count(), digest.hex().len()), (32, 64));
    }
    if let Some(signature) = artifact.signature() {
        text(signature.value());
        assert!(!signature.value().is_empty());
    }
    assert!(artifact.protocols().http || artifact.protocols().mqtt);
    black_box((artifact.size(), artifact.file_id(), artifact.file_type(), format!("{artifact:?}")));
    artifact.require_https().is_ok()
}

/// A text in each of its forms.
pub fn text(text: Text<'_>) {
    let plain = text.to_string();
    assert_eq!(text.len(), plain.len());
    assert!(text.bytes().eq(plain.bytes()) && text == plain.as_str());
    assert!(text.raw().len() >= plain.len());
    assert!(text.as_str().is_none_or(|same| same == plain));
    let mut out = vec![0; plain.len()];
    assert_eq!(text.copy_to(&mut out), Ok(plain.as_str()));
    assert_eq!(serde_json::from_str::<String>(&format!("\"{}\"", text.raw())).unwrap(), plain);
    black_box(format!("{text:?}"));
}

/// An error, and the report that refuses the job by it.
pub fn error(error: &ParseError<'_>, document: &[u8]) {
    assert!(error.offset() <= document.len());
    assert!((1..=24).contains(&error.reason().len()));
    assert!(!error.to_string().contains('\n'));
    assert_eq!(error.id().is_some(), error.dialect().is_some());
    if let Some(id) = error.id() {
        text(id);
        report(|out| error.rejection(error.reason(), out).map(Option::unwrap_or_default));
    }
}

/// An execution, and the job in it.
pub fn execution(execution: &Execution<'_>, payload: &[u8]) {
    text(execution.job_id());
    assert!((1..=64).contains(&execution.job_id().len()));
    for key in ["self_test", "progress", ""] {
        execution.status_detail(key).map(text);
    }
    black_box((execution.status(), execution.version_number(), execution.execution_number()));
    if let Some(document) = execution.document() {
        assert!(serde_json::from_slice::<Value>(document).is_ok() || !is_plain(document));
        let _ = black_box(execution.deserialize::<serde::de::IgnoredAny>(&mut [0; 64]).is_ok());
    }
    match execution.job() {
        Ok(found) => {
            job(&found, payload);
            assert!(found.id() == execution.job_id());
        }
        Err(why) => {
            error(&why, payload);
            // A document of another agent's is not to be answered: its error names no job.
            let is_others = matches!(why.kind(), ParseErrorKind::NotAnOta { .. });
            assert!(why.id().map_or(is_others, |id| id == execution.job_id()));
        }
    }
}

/// Whether serde_json's own limits, on numbers, can't be what it refuses.
fn is_plain(document: &[u8]) -> bool {
    !document.iter().any(|byte| matches!(byte, b'e' | b'E')) && document.len() < 300
}

/// The answer to an update.
pub fn updated(updated: &Updated<'_>) {
    updated.client_token().map(text);
    updated.state().as_ref().map(state);
    black_box(updated.document());
}

/// A list of pending jobs.
pub fn pending_jobs(pending: &PendingJobs<'_>) {
    pending.client_token().map(text);
    for job in pending.in_progress().chain(pending.queued()) {
        text(job.job_id());
        assert!((1..=64).contains(&job.job_id().len()));
        black_box((job.version_number(), job.execution_number()));
        black_box((job.queued_at(), job.started_at(), job.last_updated_at()));
    }
}

/// A refusal.
pub fn rejection(rejection: &Rejection<'_>) {
    text(rejection.code_text());
    rejection.message().map(text);
    rejection.client_token().map(text);
    rejection.state().as_ref().map(state);
    assert!(!rejection.code().is_retryable() || rejection.code_text().len() > 12);
}

fn state(state: &State<'_>) {
    state.status_detail("self_test").map(text);
    black_box((state.status(), state.version_number()));
}

/// What is written is nothing or a JSON object, and a buffer that is too small names the size that does.
pub fn report(write: impl for<'b> Fn(&'b mut [u8]) -> Result<&'b str, TooSmall>) {
    let needed = match write(&mut []) {
        Ok(text) => return assert!(text.is_empty()),
        // AWS takes no such message, whatever the buffer.
        Err(TooSmall { needed: usize::MAX }) => return,
        Err(TooSmall { needed }) => needed,
    };
    let mut out = vec![0; needed];
    assert_eq!(write(&mut out[1..]).err(), Some(TooSmall { needed }));
    let text = write(&mut out).unwrap();
    assert_eq!(text.len(), needed);
    assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{text}");
}
