//! The conversation with AWS IoT Jobs: a sequence of steps, one a line. The first byte says what happens, the rest is the
//! payload that arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sprag_fuzz::job;
use sprag_job::Publish;
use sprag_job::aws::{AwsJobs, Event, JobsError, SelfTest, Settings, TOPIC_MAX, Verdict};

/// What arrives by which first byte; `j` is the job in hand in the seeds.
const TOPICS: [(u8, &str); 9] = [
    (b'n', "$aws/things/t/jobs/notify-next"),
    (b's', "$aws/things/t/jobs/start-next/accepted"),
    (b'S', "$aws/things/t/jobs/start-next/rejected"),
    (b'g', "$aws/things/t/jobs/j/get/accepted"),
    (b'G', "$aws/things/t/jobs/j/get/rejected"),
    (b'u', "$aws/things/t/jobs/j/update/accepted"),
    (b'U', "$aws/things/t/jobs/j/update/rejected"),
    (b'x', "$aws/things/t/jobs/$next/get/accepted"),
    (b'o', "$aws/things/other/jobs/notify-next"),
];

fuzz_target!(|script: &[u8]| {
    let settings = Settings { step_timeout_minutes: Some(1), ..Settings::default() };
    let mut jobs = AwsJobs::new("t", settings).unwrap();
    let mut now = 0u32;
    for line in script.split(|byte| *byte == b'\n') {
        let Some((&step, rest)) = line.split_first() else { continue };
        now = now.wrapping_add(7);
        let (mut topic, mut payload) = ([0; TOPIC_MAX], [0; 8_192]);
        match step {
            b'c' => jobs.connected(),
            b'r' => jobs.refresh(),
            b'q' => check(jobs.next_request(&mut topic, &mut payload)),
            b'p' => check(jobs.progress(now, rest.len() as u64, 10, &mut topic, &mut payload)),
            b't' => check(jobs.self_test(now, SelfTest::Ready, &text(rest), &mut topic, &mut payload).map(Some)),
            b'f' => check(jobs.finish(now, Verdict::Failed, &text(rest), None, &mut topic, &mut payload).map(Some)),
            b'd' => check(
                jobs.finish(now, Verdict::Succeeded, "", Some(SelfTest::Accepted), &mut topic, &mut payload).map(Some),
            ),
            b'b' => {
                // The power fails.
                let settings = Settings { first_token: now, ..settings };
                jobs = match jobs.saved() {
                    Some(saved) => AwsJobs::restore("t", settings, saved).unwrap(),
                    None => AwsJobs::new("t", settings).unwrap(),
                };
            }
            b'#' => {
                let mut parts = rest.splitn(2, |byte| *byte == b' ');
                let topic = text(parts.next().unwrap_or_default());
                arrived(&mut jobs, &topic, parts.next().unwrap_or_default());
            }
            _ => {
                if let Some((_, topic)) = TOPICS.iter().find(|(byte, _)| *byte == step) {
                    arrived(&mut jobs, topic, rest);
                }
            }
        }
    }
});

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Takes a message and holds the event against what is in hand before and after it.
fn arrived(jobs: &mut AwsJobs<'_>, topic: &str, payload: &[u8]) {
    let before = jobs.saved();
    let event = jobs.arrived(topic, payload);
    let after = jobs.saved();
    let in_hand = |id: sprag_job::Text<'_>| after.is_some_and(|saved| id == saved.job_id.as_str());
    match event {
        Event::Job(execution) => {
            assert!(before.is_none() && in_hand(execution.job_id()));
            job::execution(&execution, payload);
        }
        Event::Again(execution) | Event::Fresh(execution) => {
            assert!(in_hand(execution.job_id()) && before.map(|one| one.job_id) == after.map(|one| one.job_id));
            job::execution(&execution, payload);
        }
        Event::Replaced(execution) => {
            assert!(
                in_hand(execution.job_id())
                    && before.is_some_and(
                        |one| after.is_some_and(|new| (one.job_id, one.number) != (new.job_id, new.number))
                    )
            );
            job::execution(&execution, payload);
        }
        Event::Gone(_) => assert!(before.is_some() && after.is_none()),
        Event::Idle => assert!(before.is_none() && after.is_none()),
        Event::Accepted(status) => {
            assert!(before.is_some() && after.is_some() == (status == sprag_job::Status::Downloading));
        }
        Event::Retry(_) => assert!(before.is_some() && after.is_some()),
        Event::Refused(rejection) => job::rejection(&rejection),
        Event::Malformed(error) => job::error(&error, payload),
        _ => assert_eq!(before.map(|one| one.job_id), after.map(|one| one.job_id)),
    }
}

/// What is to be published is for our own topics, and JSON.
fn check(publish: Result<Option<Publish<'_>>, JobsError>) {
    match publish {
        Ok(Some(publish)) => {
            assert!(publish.topic.starts_with("$aws/things/t/jobs/"));
            assert!(serde_json::from_str::<Value>(publish.payload).unwrap().is_object());
        }
        Ok(None) | Err(JobsError::NoJob | JobsError::Detail(_)) => {}
        Err(error) => panic!("{error}"),
    }
}
