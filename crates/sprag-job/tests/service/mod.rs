//! A device in conversation with the service.
#![allow(dead_code)]

use sprag_job::Publish;
use sprag_job::aws::{AwsJobs, Event, Settings, Verdict};

use sprag_testkit::aws_jobs;

/// A topic and a payload.
pub(crate) type Message = (String, String);

/// The service, and the clock that it goes by.
pub(crate) struct Service(pub(crate) aws_jobs::Service);

impl Service {
    pub(crate) fn new() -> Self {
        let mut signed = 0;
        Self(aws_jobs::Service::new("t", move |_| {
            signed += 1;
            serde_json::json!({"operation": "ota", "artifact": {"url": format!("https://h/a?signed={signed}")}})
        }))
    }

    pub(crate) fn create(&mut self, id: &str) {
        self.0.create(id);
    }

    pub(crate) fn cancel(&mut self, id: &str) {
        self.0.cancel(id);
    }

    pub(crate) fn job(&mut self, id: &str) -> &mut aws_jobs::Execution {
        self.0.job(id).unwrap()
    }

    pub(crate) fn notify_next(&mut self) -> Message {
        let aws_jobs::Message { topic, payload } = self.0.notify_next();
        (topic, payload)
    }

    /// The answer to a request.
    pub(crate) fn answer(&mut self, topic: &str, payload: &str) -> Message {
        let aws_jobs::Message { topic, payload } = self.0.answer(0, topic, payload.as_bytes()).unwrap();
        (topic, payload)
    }
}

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
    let (mut jobs, mut service) = (device(), Service::new());
    service.create("a");
    jobs.connected();
    let first = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, first), "job a");
    (jobs, service)
}
