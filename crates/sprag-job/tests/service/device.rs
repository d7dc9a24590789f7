//! A device in conversation with the service.

use sprag_job::Publish;
use sprag_job::aws::{AwsJobs, Event, Settings, Verdict};

use super::Service;

pub(crate) type Message = (String, String);

pub(crate) fn device() -> AwsJobs<'static> {
    AwsJobs::new("t", Settings::default()).unwrap()
}

pub(crate) fn own(publish: Publish<'_>) -> Message {
    (publish.topic.into(), publish.payload.into())
}

pub(crate) fn request(jobs: &mut AwsJobs<'_>) -> Option<Message> {
    jobs.next_request(&mut [0; 226], &mut [0; 512]).unwrap().map(own)
}

pub(crate) fn progress(jobs: &mut AwsJobs<'_>, now: u32, received: u64) -> Option<Message> {
    jobs.progress(now, received, 100, &mut [0; 226], &mut [0; 512]).unwrap().map(own)
}

pub(crate) fn finish(jobs: &mut AwsJobs<'_>, verdict: Verdict) -> Message {
    own(jobs.finish(0, verdict, "why", None, &mut [0; 226], &mut [0; 512]).unwrap())
}

/// What the event was, in a word.
pub(crate) fn word(event: Event<'_>) -> String {
    match event {
        Event::Job(execution) => format!("job {}", execution.job_id()),
        Event::Again(execution) => format!("again {}", execution.job_id()),
        Event::Replaced(execution) => format!("replaced {}", execution.job_id()),
        Event::Fresh(execution) => format!("fresh {}", execution.job().unwrap().artifacts().next().unwrap().url()),
        Event::Gone(gone) => format!("gone {gone:?}"),
        Event::Accepted(status) => format!("accepted {status}"),
        Event::Retry(status) => format!("retry {status}"),
        Event::Refused(rejection) => format!("refused {}", rejection.code_text()),
        other => format!("{other:?}"),
    }
}

pub(crate) fn deliver(jobs: &mut AwsJobs<'_>, (topic, payload): &Message) -> String {
    word(jobs.arrived(topic, payload.as_bytes()))
}

/// The request, its answer, and what comes of it.
pub(crate) fn talk(jobs: &mut AwsJobs<'_>, service: &mut Service, request: Option<Message>) -> String {
    let (topic, payload) = request.expect("a request");
    let answer = service.answer(&topic, &payload);
    deliver(jobs, &answer)
}

/// A device with job `a` in hand, and the service that gave it.
pub(crate) fn at_work() -> (AwsJobs<'static>, Service) {
    let (mut jobs, mut service) = (device(), Service::default());
    service.create("a");
    jobs.connected();
    let first = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, first), "job a");
    (jobs, service)
}
