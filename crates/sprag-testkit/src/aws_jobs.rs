//! The cloud's side of AWS IoT Jobs for one thing, without a network, by its documented rules:
//!
//! - IN_PROGRESS comes before QUEUED, then the order in which the jobs were made.
//! - The version number grows with each change; an update that expects another one is refused with the state.
//! - `start-next` on a job in progress leaves its status details alone.
//! - The document is made anew, its URLs signed anew, whenever it is asked for.
//! - `stepTimeoutInMinutes` starts anew with each IN_PROGRESS; when it is over, the job is TIMED_OUT.
//! - What has ended is not updated any more. `notify-next` is sent when the head of the queue changes, and only then.
//!
//! Source: AWS IoT Core developer guide, "Jobs device MQTT API"; AWS's service model.

use std::fmt;

use serde_json::{Value, json};

/// A message of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
}

/// A job, as this thing carries it out.
#[derive(Debug, Clone)]
pub struct Execution {
    /// `jobId`.
    pub id: String,
    /// `status`.
    pub status: &'static str,
    /// `versionNumber`.
    pub version: u64,
    /// `executionNumber`: grows when a failed job is tried again.
    pub number: u64,
    /// `statusDetails`.
    pub details: Value,
    /// Every final status that was accepted from the device, over all tries.
    pub finals: Vec<String>,
    /// When the step times out, in seconds.
    deadline: Option<u64>,
}

const ENDS: [&str; 3] = ["SUCCEEDED", "FAILED", "REJECTED"];

impl Execution {
    /// Whether it has come to an end, by whomever.
    pub fn has_ended(&self) -> bool {
        !["QUEUED", "IN_PROGRESS"].contains(&self.status)
    }

    fn change(&mut self, status: &'static str) {
        (self.status, self.version) = (status, self.version + 1);
    }

    fn state(&self) -> Value {
        json!({"status": self.status, "versionNumber": self.version, "statusDetails": self.details})
    }
}

/// The service, for one thing.
pub struct Service {
    thing: String,
    jobs: Vec<Execution>,
    document: Box<dyn FnMut(&str) -> Value + Send>,
    /// The head of the queue that was told last, with its execution number.
    told: Option<(String, u64)>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("thing", &self.thing).field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl Service {
    /// A service without a job. `document` makes the job document for a job id, with URLs that are signed at that moment.
    pub fn new(thing: &str, document: impl FnMut(&str) -> Value + Send + 'static) -> Self {
        Self { thing: thing.to_owned(), jobs: Vec::new(), document: Box::new(document), told: None }
    }

    /// Makes a job.
    pub fn create(&mut self, id: &str) {
        self.jobs.push(Execution {
            id: id.to_owned(),
            status: "QUEUED",
            version: 1,
            number: 1,
            details: json!({}),
            finals: Vec::new(),
            deadline: None,
        });
    }

    /// All jobs that there are.
    pub fn jobs(&self) -> &[Execution] {
        &self.jobs
    }

    /// The job of that id.
    pub fn job(&mut self, id: &str) -> Option<&mut Execution> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    /// Cancels a job, in progress or not.
    pub fn cancel(&mut self, id: &str) {
        if let Some(job) = self.job(id).filter(|job| !job.has_ended()) {
            job.change("CANCELED");
        }
    }

    /// Deletes a job.
    pub fn delete(&mut self, id: &str) {
        self.jobs.retain(|job| job.id != id);
    }

    /// Tries a job that has failed again, as the service does by itself up to ten times.
    pub fn retry(&mut self, id: &str) {
        if let Some(job) = self.job(id).filter(|job| job.status == "FAILED") {
            (job.status, job.version, job.number, job.details) = ("QUEUED", 1, job.number + 1, json!({}));
            // Another execution, whose step has not begun.
            job.deadline = None;
        }
    }

    /// What the service has to say by itself at `now`, in seconds: a job whose step has timed out, another head of the
    /// queue.
    pub fn notices(&mut self, now: u64) -> Vec<Message> {
        self.time_out(now);
        let head = self.head().and_then(|head| self.jobs.get(head)).map(|job| (job.id.clone(), job.number));
        if head == self.told {
            return Vec::new();
        }
        self.told = head;
        vec![self.notify_next()]
    }

    /// `notify-next` as it would be sent now.
    pub fn notify_next(&mut self) -> Message {
        let mut payload = json!({"timestamp": 1});
        if let Some(head) = self.head() {
            payload["execution"] = self.describe(head);
        }
        Message { topic: format!("$aws/things/{}/jobs/notify-next", self.thing), payload: payload.to_string() }
    }

    /// The answer to a request at `now`, in seconds; `None` for what is no request to this service.
    pub fn answer(&mut self, now: u64, topic: &str, payload: &[u8]) -> Option<Message> {
        let operation = topic.strip_prefix("$aws/things/")?.strip_prefix(&self.thing)?.strip_prefix("/jobs/")?;
        // A step that is over by now is not saved by a word that comes after that.
        self.time_out(now);
        let (accepted, mut answer) = match serde_json::from_slice::<Value>(payload) {
            Err(_) => refusal("InvalidJson"),
            Ok(request) => {
                let (accepted, mut answer) = self.operate(now, operation, &request)?;
                if let Some(token) = request.get("clientToken") {
                    answer["clientToken"] = token.clone();
                }
                (accepted, answer)
            }
        };
        answer["timestamp"] = json!(now);
        let topic = format!("{topic}/{}", if accepted { "accepted" } else { "rejected" });
        Some(Message { topic, payload: answer.to_string() })
    }

    fn time_out(&mut self, now: u64) {
        for job in &mut self.jobs {
            if job.status == "IN_PROGRESS" && job.deadline.is_some_and(|deadline| now >= deadline) {
                job.change("TIMED_OUT");
            }
        }
    }

    fn operate(&mut self, now: u64, operation: &str, request: &Value) -> Option<(bool, Value)> {
        Some(match operation.split_once('/') {
            None if operation == "start-next" => self.start_next(now, request),
            None if operation == "get" => (true, self.pending()),
            Some(("$next", "get")) => match self.head() {
                Some(head) => (true, json!({"execution": self.describe(head)})),
                None => (true, json!({})),
            },
            Some((id, "get")) => match self.jobs.iter().position(|job| job.id == id) {
                Some(index) => (true, json!({"execution": self.describe(index)})),
                None => refusal("ResourceNotFound"),
            },
            Some((id, "update")) => self.update(now, id, request),
            _ => return None,
        })
    }

    fn head(&self) -> Option<usize> {
        let at = |status| self.jobs.iter().position(|job| job.status == status);
        at("IN_PROGRESS").or_else(|| at("QUEUED"))
    }

    fn describe(&mut self, index: usize) -> Value {
        let job = &self.jobs[index];
        json!({"jobId": job.id, "status": job.status, "versionNumber": job.version, "executionNumber": job.number,
            "statusDetails": job.details, "jobDocument": (self.document)(&job.id)})
    }

    fn pending(&self) -> Value {
        let list = |status| {
            let jobs = self.jobs.iter().filter(|job| job.status == status);
            let summary =
                |job: &Execution| json!({"jobId": job.id, "versionNumber": job.version, "executionNumber": job.number});
            jobs.map(summary).collect::<Vec<_>>()
        };
        json!({"inProgressJobs": list("IN_PROGRESS"), "queuedJobs": list("QUEUED")})
    }

    fn start_next(&mut self, now: u64, request: &Value) -> (bool, Value) {
        let Some(head) = self.head() else { return (true, json!({})) };
        let job = &mut self.jobs[head];
        if job.status == "QUEUED" {
            job.change("IN_PROGRESS");
        }
        job.deadline = deadline(now, request).or(job.deadline);
        (true, json!({"execution": self.describe(head)}))
    }

    fn update(&mut self, now: u64, id: &str, request: &Value) -> (bool, Value) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) else { return refusal("ResourceNotFound") };
        let refuse = |code, job: &Execution| (false, json!({"code": code, "executionState": job.state()}));
        let details = &request["statusDetails"];
        let status = request["status"].as_str().unwrap_or_default();
        let end = ENDS.iter().find(|end| **end == status);
        if !(details.is_null() || fit(details)) || end.is_none() && status != "IN_PROGRESS" {
            return refusal("InvalidRequest");
        }
        // The service takes the version as a number and in quotes.
        let expected = &request["expectedVersion"];
        let expected = expected.as_u64().or_else(|| expected.as_str()?.parse().ok());
        if expected.is_some_and(|expected| expected != job.version) {
            return refuse("VersionMismatch", job);
        }
        if job.has_ended() {
            return refuse("TerminalStateReached", job);
        }
        job.change(end.copied().unwrap_or("IN_PROGRESS"));
        if let Some(end) = end {
            job.finals.push((*end).to_owned());
        }
        if !details.is_null() {
            job.details = details.clone();
        }
        job.deadline = deadline(now, request).or(job.deadline);
        (true, json!({"executionState": job.state()}))
    }
}

fn refusal(code: &str) -> (bool, Value) {
    (false, json!({"code": code, "message": "refused"}))
}

fn deadline(now: u64, request: &Value) -> Option<u64> {
    Some(now + request["stepTimeoutInMinutes"].as_u64()? * 60)
}

/// Whether the service takes these status details.
fn fit(details: &Value) -> bool {
    let key = |key: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
        (1..=128).contains(&key.len()) && key.chars().all(allowed)
    };
    let value = |value: &Value| {
        let fits = |text: &str| (1..=1024).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        value.as_str().is_some_and(fits)
    };
    details.as_object().is_some_and(|details| details.iter().all(|(name, text)| key(name) && value(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_comes_after_the_time_saves_no_step() {
        let mut service = Service::new("t", |_| json!({}));
        service.create("a");
        let mut ask = |now, operation: &str, request: Value| {
            let topic = format!("$aws/things/t/jobs/{operation}");
            service.answer(now, &topic, request.to_string().as_bytes()).unwrap().topic
        };
        let alive = || json!({"status": "IN_PROGRESS", "stepTimeoutInMinutes": 5});
        assert!(ask(0, "start-next", json!({"stepTimeoutInMinutes": 5})).ends_with("/accepted"));
        assert!(ask(299, "a/update", alive()).ends_with("/accepted"));
        assert!(ask(598, "a/update", alive()).ends_with("/accepted"));
        assert!(ask(898, "a/update", alive()).ends_with("/rejected"));
        assert_eq!(service.job("a").unwrap().status, "TIMED_OUT");
    }
}
