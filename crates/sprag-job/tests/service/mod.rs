//! The cloud's side of AWS IoT Jobs for one thing, by its documented rules: IN_PROGRESS before QUEUED, a version that
//! grows with each change, `start-next` that leaves statusDetails alone, no update of what has ended.
#![allow(dead_code)]

pub(crate) mod device;

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) version: u64,
    pub(crate) details: Value,
    /// Every final status that was accepted.
    pub(crate) finals: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Service {
    pub(crate) jobs: Vec<Execution>,
    /// How often a URL was signed.
    signed: u32,
}

const ENDS: [&str; 3] = ["SUCCEEDED", "FAILED", "REJECTED"];

impl Service {
    pub(crate) fn create(&mut self, id: &str) {
        let id = id.to_string();
        self.jobs.push(Execution { id, status: "QUEUED", version: 1, details: json!({}), finals: vec![] });
    }

    pub(crate) fn job(&mut self, id: &str) -> &mut Execution {
        self.jobs.iter_mut().find(|job| job.id == id).unwrap()
    }

    pub(crate) fn cancel(&mut self, id: &str) {
        let job = self.job(id);
        (job.status, job.version) = ("CANCELED", job.version + 1);
    }

    fn head(&self) -> Option<usize> {
        let at = |status| self.jobs.iter().position(|job| job.status == status);
        at("IN_PROGRESS").or_else(|| at("QUEUED"))
    }

    fn describe(&mut self, index: usize) -> Value {
        self.signed += 1;
        let job = &self.jobs[index];
        json!({"jobId": job.id, "status": job.status, "versionNumber": job.version, "executionNumber": 1,
            "statusDetails": job.details,
            "jobDocument": {"operation": "ota", "artifact": {"url": format!("https://h/a?signed={}", self.signed)}}})
    }

    pub(crate) fn notify_next(&mut self) -> (String, String) {
        let mut payload = json!({"timestamp": 1});
        if let Some(head) = self.head() {
            payload["execution"] = self.describe(head);
        }
        ("$aws/things/t/jobs/notify-next".into(), payload.to_string())
    }

    /// The answer to a request.
    pub(crate) fn answer(&mut self, topic: &str, payload: &str) -> (String, String) {
        let request: Value = serde_json::from_str(payload).unwrap();
        let operation = topic.strip_prefix("$aws/things/t/jobs/").unwrap();
        let (accepted, mut answer) = match operation.split_once('/') {
            None => self.start_next(),
            Some((id, "get")) => match self.jobs.iter().position(|job| job.id == id) {
                Some(index) => (true, json!({"execution": self.describe(index)})),
                None => (false, json!({"code": "ResourceNotFound", "message": "gone"})),
            },
            Some((id, "update")) => self.update(id, &request),
            _ => (false, json!({"code": "InvalidTopic"})),
        };
        answer["clientToken"] = request["clientToken"].clone();
        (format!("{topic}/{}", if accepted { "accepted" } else { "rejected" }), answer.to_string())
    }

    fn start_next(&mut self) -> (bool, Value) {
        let Some(head) = self.head() else { return (true, json!({"timestamp": 1})) };
        let job = &mut self.jobs[head];
        if job.status == "QUEUED" {
            (job.status, job.version) = ("IN_PROGRESS", job.version + 1);
        }
        (true, json!({"timestamp": 1, "execution": self.describe(head)}))
    }

    fn update(&mut self, id: &str, request: &Value) -> (bool, Value) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) else {
            return (false, json!({"code": "ResourceNotFound"}));
        };
        let state =
            |job: &Execution| json!({"status": job.status, "versionNumber": job.version, "statusDetails": job.details});
        let expected = &request["expectedVersion"];
        // The service takes the version as a number and in quotes.
        let expected = expected.as_u64().or_else(|| expected.as_str()?.parse().ok());
        if expected.is_some_and(|expected| expected != job.version) {
            return (false, json!({"code": "VersionMismatch", "executionState": state(job)}));
        }
        if !["QUEUED", "IN_PROGRESS"].contains(&job.status) {
            return (false, json!({"code": "TerminalStateReached", "executionState": state(job)}));
        }
        let status = request["status"].as_str().unwrap();
        match ENDS.iter().find(|end| **end == status) {
            Some(end) => {
                job.status = end;
                job.finals.push(status.into());
            }
            None => job.status = "IN_PROGRESS",
        }
        for (key, value) in request["statusDetails"].as_object().into_iter().flatten() {
            assert!(!key.is_empty() && value.as_str().is_some_and(|value| (1..=1024).contains(&value.len())));
        }
        if request["statusDetails"].is_object() {
            job.details = request["statusDetails"].clone();
        }
        job.version += 1;
        (true, json!({"timestamp": 1, "executionState": state(job)}))
    }
}
