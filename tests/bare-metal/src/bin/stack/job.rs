//! Every entry point of `sprag-job`, over documents of every form and of every malice.

use core::fmt::Write;
use core::hint::black_box;

use cortex_m::singleton;
use sprag_job::aws::{self, AwsJobs, Execution, SelfTest, Settings, TOPIC_MAX, Verdict};
use sprag_job::iotconnect::{self, IotConnect, Topics};
use sprag_job::ota_update::{self, Answer};
use sprag_job::{Dialect, Job, ParseError, Status, detect, parse, report};

use crate::paint;

/// What fuzzing starts from: the forms of the tests.
const DOCUMENTS: &[&[u8]] = include!(concat!(env!("OUT_DIR"), "/documents.rs"));

/// The most that AWS's broker delivers.
const LONGEST: usize = 128 << 10;

/// Of the forms, also each part up to every so many bytes.
const CUTS: usize = 13;

/// What is repeated to the longest document, after a beginning and before an end.
const HOSTILE: &[(&str, &str, &str, &str)] = &[
    ("128 KB of `[`", "", "[", ""),
    ("128 KB of `{\"a\":`", "", "{\"a\":", ""),
    ("128 KB of `[` in an execution", r#"{"execution":{"jobId":"j","jobDocument":"#, "[", ""),
    ("128 KB of `[` in a 2.0 message", r#"{"cmdType":"0x02","data":{"ackId":"7","urls":"#, "[", ""),
    ("128 KB of escapes", r#"{"v":"2.1","ct":1,"ack":""#, r"\ud83d\ude00", ""),
    ("a URL of 128 KB", r#"{"v":"2.1","ct":1,"ack":"7","urls":[{"url":"https://h/"#, r"\u0061", r#""}]}"#),
    (
        "128 KB of artifacts",
        r#"{"execution":{"jobId":"j","jobDocument":{"afr_ota":{"files":[{"update_data_url":"http://h"}"#,
        r#",{"update_data_url":"https://h"}"#,
        "]}}}}",
    ),
    ("128 KB of members", r#"{"execution":{"jobId":"j","jobDocument":{"operation":"ota""#, r#","x":[{}]"#, "}}}"),
    ("128 KB of spaces", "", " ", ""),
    ("128 KB that is no UTF-8", "\"", "\u{7ff}", ""),
];

type Entry = (&'static str, fn(&[u8]));

const ENTRIES: &[Entry] = &[
    ("parse", |document| match parse(document) {
        Ok(found) => job(&found),
        Err(error) => refuse(&error),
    }),
    ("detect", |document| {
        let _ = black_box(detect(document));
    }),
    ("aws::execution", |payload| match aws::execution(payload) {
        Ok(Some(found)) => execution(&found),
        Ok(None) => {}
        Err(error) => refuse(&error),
    }),
    ("aws::pending_jobs", |payload| {
        if let Ok(pending) = aws::pending_jobs(payload) {
            black_box(pending.in_progress().chain(pending.queued()).count());
        }
    }),
    ("aws::updated", |payload| {
        if let Ok(updated) = aws::updated(payload) {
            black_box((updated.state().map(|state| state.status_detail("progress").is_some()), updated.document()));
        }
    }),
    ("aws::rejection", |payload| {
        if let Ok(rejection) = aws::rejection(payload) {
            black_box((rejection.code(), rejection.message(), rejection.client_token()));
        }
    }),
    ("aws::AwsJobs", aws_jobs),
    ("iotconnect::IotConnect", iot_connect),
    ("iotconnect::identity", |reply| {
        black_box(iotconnect::identity(reply).is_ok());
    }),
    ("report", |document| {
        let message = core::str::from_utf8(document.get(..1_000).unwrap_or(document)).unwrap_or("?");
        for dialect in Dialect::ALL {
            let _ = black_box(report(*dialect, message, Some(message), Status::Failed, message, &mut []));
        }
        let _ = black_box(ota_update::result(Answer::File, message, Status::Done, &mut []));
    }),
    ("ParseError as text", |document| {
        if let Err(error) = parse(document) {
            let _ = write!(Nowhere, "{error}");
        }
    }),
];

/// Measures everything; of the forms and their parts the most is told, of each hostile document its own.
pub fn measure() {
    for (name, entry) in ENTRIES {
        let mut most = 0;
        for document in DOCUMENTS {
            for end in (0..document.len()).step_by(CUTS).chain([document.len()]) {
                let part = &document[..end];
                most = most.max(paint::used(&mut || entry(black_box(part))));
            }
        }
        crate::report(name, "the forms of the tests, and parts of them", most);
    }
    let Some(buffer) = singleton!(: [u8; LONGEST] = [0; LONGEST]) else { return };
    for (document, head, again, tail) in HOSTILE {
        let again = if *again == "\u{7ff}" { &b"\xdf"[..] } else { again.as_bytes() };
        let room = LONGEST - tail.len();
        let middle = head.bytes().chain(again.iter().copied().cycle());
        // Whole repetitions only: the tail must fit to them.
        let len = head.len() + (room - head.len()) / again.len() * again.len();
        buffer.iter_mut().zip(middle.take(len).chain(tail.bytes())).for_each(|(place, byte)| *place = byte);
        let bytes = &buffer[..len + tail.len()];
        for (name, entry) in ENTRIES {
            crate::report(name, document, paint::used(&mut || entry(black_box(bytes))));
        }
    }
}

fn job(job: &Job<'_>) {
    black_box((job.id(), job.version(), job.hardware(), job.identity()));
    for artifact in job.artifacts() {
        black_box((artifact.name(), artifact.size(), artifact.digest(), artifact.signature(), artifact.stream()));
        if let Some(location) = artifact.location() {
            black_box(location.served_by("h").bytes().last());
        }
        black_box(artifact.digest().map(|digest| digest.bytes().count()));
    }
    if let Err(error) = job.require_https() {
        refuse(&error);
    }
    let _ = black_box(job.report(Status::Failed, "why", &mut [0; 64]));
}

fn refuse(error: &ParseError<'_>) {
    let _ = black_box((error.offset(), error.rejection(error.reason(), &mut [0; 64])));
}

fn execution(execution: &Execution<'_>) {
    black_box((execution.job_id(), execution.status_detail("self_test"), execution.document()));
    match execution.job() {
        Ok(found) => job(&found),
        Err(error) => refuse(&error),
    }
}

/// The buffers are the caller's, and so not measured: they would hide the rest.
fn aws_jobs(payload: &[u8]) {
    let topic: &mut [u8] = &mut [0; TOPIC_MAX];
    let Ok(mut jobs) = AwsJobs::new("thing", Settings::default()) else { return };
    let _ = black_box(jobs.filter(0, topic));
    jobs.connected();
    let _ = black_box(jobs.next_request(topic, &mut []));
    let _ = black_box(jobs.next_request(topic, &mut [0; 64]));
    let first = br#"{"execution":{"jobId":"j","versionNumber":1}}"#;
    let _ = black_box(jobs.arrived("$aws/things/thing/jobs/start-next/accepted", first));
    for topic in [
        "$aws/things/thing/jobs/notify-next",
        "$aws/things/thing/jobs/start-next/accepted",
        "$aws/things/thing/jobs/start-next/rejected",
        "$aws/things/thing/jobs/j/get/accepted",
        "$aws/things/thing/jobs/j/get/rejected",
        "$aws/things/thing/jobs/j/update/accepted",
        "$aws/things/thing/jobs/j/update/rejected",
    ] {
        let _ = black_box(jobs.arrived(topic, payload));
    }
    let _ = black_box(jobs.saved());
    let _ = black_box(jobs.progress(0, 1, 2, topic, &mut []));
    let _ = black_box(jobs.self_test(0, SelfTest::Ready, "1", topic, &mut []));
    let _ = black_box(jobs.finish(0, Verdict::Failed, "why", None, topic, &mut []));
}

fn iot_connect(payload: &[u8]) {
    let mut cloud = IotConnect::<8>::new(Topics::Aws { client_id: "d" });
    let _ = black_box(cloud.pending(&mut [0; 64], &mut []));
    if let iotconnect::Event::Job(job) = cloud.arrived("iot/d/cmd", payload) {
        cloud.remember(&job);
        let _ = black_box(cloud.ack(&job, Status::Done, "", &mut [0; 64], &mut []));
    }
}

struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        black_box(text);
        Ok(())
    }
}
