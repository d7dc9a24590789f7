//! With AWS IoT Jobs.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::json;
use sprag::job::aws::{AwsJobs, Settings};
use sprag::mqtt::{AwsCloud, Event};
use sprag::verify::Version;
use sprag_testkit::aws_jobs::{Message, Service};
use sprag_testkit::flash::Torn;
use sprag_testkit::http::HttpServer;
use sprag_testkit::time::VirtualTime;

use super::broker::{Cut, TestBroker};
use super::device::{Device, image_of};

const THING: &str = "pump-7";

/// A device, its broker, and the service behind it.
pub(crate) struct Fleet {
    pub(crate) device: Device,
    pub(crate) broker: TestBroker,
    pub(crate) service: Rc<RefCell<Service>>,
    /// The step timeout that the device asks for.
    pub(crate) step_minutes: Option<u16>,
}

pub(crate) fn pair(Message { topic, payload }: Message) -> (String, Vec<u8>) {
    (topic, payload.into_bytes())
}

/// What the service says to a message: the answer, and what it has to say by itself.
pub(crate) fn serve(
    service: &RefCell<Service>,
    time: &VirtualTime,
    topic: &str,
    payload: &[u8],
) -> Vec<(String, Vec<u8>)> {
    let mut service = service.borrow_mut();
    let now = time.seconds().into();
    let answer = service.answer(now, topic, payload);
    answer.into_iter().chain(service.notices(now)).map(pair).collect()
}

impl Fleet {
    /// `document` makes the job document for a job id and the number of times it was asked for.
    pub(crate) fn new(mut document: impl FnMut(&HttpServer, &str, u32) -> serde_json::Value + Send + 'static) -> Self {
        let device = Device::new();
        let (server, mut asked) = (device.server.clone(), 0);
        let service = Service::new(THING, move |id| {
            asked += 1;
            document(&server, id, asked)
        });
        let service = Rc::new(RefCell::new(service));
        let (behind, time) = (Rc::clone(&service), device.time.clone());
        let broker = TestBroker::new(move |topic, payload| serve(&behind, &time, topic, payload));
        Self { device, broker, service, step_minutes: Some(5) }
    }

    /// One job, "a", that brings version 2.
    pub(crate) fn with_one_job() -> Self {
        let fleet = Self::new(|_, _, asked| ota(&format!("https://h/app?signed={asked}")));
        fleet.service.borrow_mut().create("a");
        fleet
    }

    pub(crate) fn run_until(&mut self, done: impl Fn(&Service) -> bool, on: impl FnMut(&Event)) -> bool {
        let service = Rc::clone(&self.service);
        self.device.live(&self.broker, cloud(self.step_minutes), || done(&service.borrow()), on)
    }

    /// As [`run_until`](Self::run_until), where the test itself looks every few seconds.
    pub(crate) fn run_with(&mut self, done: impl FnMut() -> bool) -> bool {
        self.device.live(&self.broker, cloud(self.step_minutes), done, |_| {})
    }

    /// Runs until every job has ended, and a little longer: what is said then would be said twice.
    pub(crate) fn run(&mut self) -> bool {
        let ended_at = std::cell::Cell::new(None);
        let time = self.device.time.clone();
        self.run_until(
            |service| {
                if !service.jobs().iter().all(sprag_testkit::aws_jobs::Execution::has_ended) {
                    return false;
                }
                let since = ended_at.get().unwrap_or(time.seconds());
                ended_at.set(Some(since));
                time.seconds() - since >= 300
            },
            |_| {},
        )
    }

    pub(crate) fn finals(&self, id: &str) -> Vec<String> {
        self.service.borrow_mut().job(id).map(|job| job.finals.clone()).unwrap_or_default()
    }

    pub(crate) fn says(&self, service: impl FnOnce(&mut Service)) {
        let mut there = self.service.borrow_mut();
        service(&mut there);
        let notices = there.notices(self.device.time.seconds().into());
        self.broker.push(notices.into_iter().map(pair));
    }
}

/// The conversation after so many resets. Tokens differ after each start, so that answers to requests from before are kept
/// apart.
fn cloud(step_timeout_minutes: Option<u16>) -> impl Fn(u32) -> AwsCloud<'static> {
    move |resets| {
        let settings = Settings { first_token: resets * 10_000, step_timeout_minutes, ..Settings::default() };
        AwsCloud::new(AwsJobs::new(THING, settings).unwrap())
    }
}

pub(crate) fn ota(url: &str) -> serde_json::Value {
    json!({"operation": "ota", "version": "2.0.0", "artifact": {"url": url}})
}

#[test]
fn two_jobs_one_after_the_other() {
    let mut replaced = false;
    let mut fleet = Fleet::new(move |server, id, asked| {
        if id == "b" && !std::mem::replace(&mut replaced, true) {
            server.replace(image_of(3));
        }
        ota(&format!("https://h/{id}?signed={asked}"))
    });
    fleet.service.borrow_mut().create("a");
    fleet.service.borrow_mut().create("b");
    assert!(fleet.run());
    assert_eq!((fleet.finals("a"), fleet.finals("b")), (vec!["SUCCEEDED".into()], vec!["SUCCEEDED".into()]));
    assert_eq!(fleet.device.boot(), Version::new(3, 0, 0));
    assert_eq!(fleet.service.borrow_mut().job("b").unwrap().details, json!({"self_test": "accepted"}));
    assert_eq!(fleet.device.server.requests().len(), 2);
}

/// The connection to the broker ends before and after every message, once and twice.
#[test]
fn cut_off_from_the_broker_at_every_message() {
    let mut undisturbed = Fleet::with_one_job();
    assert!(undisturbed.run());
    let total = undisturbed.broker.messages();
    assert!(total > 20, "{total} messages");
    let mut states = 0;
    for first in 1..=total + 4 {
        for cut in [Cut::Before, Cut::After] {
            // The second: in the recovery from the first.
            for second in [None, Some(1), Some(2), Some(5), Some(9), Some(12)] {
                let mut fleet = Fleet::with_one_job();
                fleet.broker.cut(first, cut);
                if let Some(second) = second {
                    fleet.broker.cut(first + second, Cut::After);
                }
                let context = format!("{cut:?} message {first}, then {second:?}");
                assert!(fleet.run(), "{context}");
                assert_eq!(fleet.finals("a"), ["SUCCEEDED"], "{context}");
                assert_eq!(fleet.device.boot(), Version::new(2, 0, 0), "{context}");
                assert_eq!(
                    fleet.device.server.requests().len(),
                    1,
                    "{context}: the download goes on without the broker"
                );
                states += 1;
            }
        }
    }
    println!("{states} states");
}

/// The power fails before and within every flash operation.
#[test]
fn without_power_at_every_flash_operation() {
    let mut undisturbed = Fleet::with_one_job();
    assert!(undisturbed.run());
    let stats = undisturbed.device.flash.stats();
    let total = stats.erases + stats.programs;
    for operation in 0..total {
        // Each in one way: every way at every operation is the campaign's.
        let torn = if operation % 2 == 0 { Torn::Nothing } else { Torn::Half };
        let mut fleet = Fleet::with_one_job();
        fleet.device.flash.cut_power_after(operation, torn);
        let context = format!("{torn:?} in operation {operation}");
        while !fleet.run() {
            fleet.device.flash.power_on();
        }
        // Cut while the new image was on trial, the old one is back.
        let reverted = fleet.device.boot() == Version::new(1, 0, 0);
        let expected = if reverted { "FAILED" } else { "SUCCEEDED" };
        assert_eq!(fleet.finals("a"), [expected], "{context}");
    }
}

/// However the cloud ends a job while it is being downloaded, the device stops and says nothing.
#[test]
fn what_the_cloud_takes_back_while_it_is_downloaded() {
    type End = fn(&mut Service);
    let ends: [(End, bool); 4] = [
        (|service| service.cancel("a"), false),
        (|service| service.delete("a"), false),
        (|service| service.cancel("a"), true),
        (|service| service.delete("a"), true),
    ];
    for (end, other) in ends {
        let mut fleet = Fleet::with_one_job();
        let (service, broker, time) = (Rc::clone(&fleet.service), fleet.broker.clone(), fleet.device.time.clone());
        let mut stopped = false;
        let done = |service: &Service| !other || service.jobs().iter().all(|job| job.has_ended());
        let events = Rc::clone(&fleet.device.events);
        fleet.run_until(
            |service| events.borrow().contains(&Event::Stopped) && done(service),
            |event| {
                if let Event::Update(sprag::Event::Progress { .. }) = event
                    && !std::mem::replace(&mut stopped, true)
                {
                    let mut there = service.borrow_mut();
                    end(&mut there);
                    if other {
                        there.create("b");
                    }
                    let notices = there.notices(time.seconds().into());
                    drop(there);
                    broker.push(notices.into_iter().map(pair));
                }
            },
        );
        assert_eq!(fleet.finals("a"), Vec::<String>::new());
        if other {
            assert_eq!(fleet.finals("b"), ["SUCCEEDED"]);
        }
        assert_eq!(fleet.device.boot(), Version::new(if other { 2 } else { 1 }, 0, 0));
    }
}

/// Documents that make no sense are refused by the job's name, and the queue goes on.
#[test]
fn documents_that_make_no_sense_do_not_block_the_queue() {
    let documents = [
        (json!({"operation": "ota"}), "field-missing"),
        (ota("http://h/app"), "https-required"),
        (ota("${aws:iot:s3-presigned-url-v2:https://h/a}"), "presigned-placeholder"),
        (json!({"operation": "ota", "files": []}), "field-empty"),
        (
            json!({"operation": "ota", "artifact": {"url": "https://h/a"}, "more": "x".repeat(1100)}),
            "document-too-large",
        ),
        (json!({"operation": "ota", "files": [{"url": "https://h/a"}, {"url": "https://h/b"}]}), "job-artifacts"),
    ];
    for (document, reason) in documents {
        let mut fleet = Fleet::new(move |_, id, _| if id == "bad" { document.clone() } else { ota("https://h/app") });
        fleet.service.borrow_mut().create("bad");
        fleet.service.borrow_mut().create("good");
        assert!(fleet.run());
        assert_eq!((fleet.finals("bad"), fleet.finals("good")), (vec!["REJECTED".into()], vec!["SUCCEEDED".into()]));
        assert_eq!(fleet.service.borrow_mut().job("bad").unwrap().details, json!({"reason": reason}));
    }
}

/// The job of another agent on the same thing is neither ended nor done, and the queue goes on when that agent has ended it.
#[test]
fn the_job_of_another_agent_is_left_to_it() {
    for theirs in [json!({"steps": []}), json!({"operation": "install"}), json!({"mine": true}), json!({})] {
        let mut fleet = Fleet::new(move |_, id, _| if id == "theirs" { theirs.clone() } else { ota("https://h/app") });
        // The step timeout that goes with start-next would end the other agent's step as well.
        fleet.step_minutes = None;
        fleet.service.borrow_mut().create("theirs");
        fleet.service.borrow_mut().create("ours");
        let time = fleet.device.time.clone();
        let begun = time.seconds();
        assert!(fleet.run_with(|| time.seconds() - begun > 600));
        assert_eq!((fleet.finals("theirs").len(), fleet.finals("ours").len()), (0, 0));
        assert!(!fleet.service.borrow_mut().job("theirs").unwrap().has_ended());
        fleet.says(|service| service.job("theirs").unwrap().status = "SUCCEEDED");
        assert!(fleet.run());
        assert_eq!((fleet.finals("theirs").len(), fleet.finals("ours")), (0, vec!["SUCCEEDED".into()]));
    }
}

/// An image that may not run here is REJECTED, for another try can't help; one that did not pass its test is FAILED, and
/// the service's next try of it, under the same id, is done.
#[test]
fn what_can_be_tried_again_is_failed_and_what_can_not_is_rejected() {
    let mut fleet = Fleet::with_one_job();
    fleet.device.server.replace(image_of(0));
    assert!(fleet.run());
    assert_eq!(fleet.finals("a"), ["REJECTED"]);
    assert_eq!(fleet.service.borrow_mut().job("a").unwrap().details, json!({"reason": "not-newer"}));

    // The version that runs and is confirmed: the job's purpose is met.
    let mut fleet = Fleet::with_one_job();
    fleet.device.server.replace(image_of(1));
    assert!(fleet.run());
    assert_eq!(fleet.finals("a"), ["SUCCEEDED"]);
    assert_eq!(fleet.service.borrow_mut().job("a").unwrap().details, json!({"reason": "same-version"}));

    let mut fleet = Fleet::with_one_job();
    // Taken from the end: the first life has no trial, the second has, and fails it.
    fleet.device.self_tests = vec![true, false, true];
    assert!(fleet.run());
    assert_eq!(fleet.finals("a"), ["FAILED"]);
    let details = json!({"reason": "reverted", "self_test": "rejected"});
    assert_eq!(fleet.service.borrow_mut().job("a").unwrap().details, details);
    assert_eq!(fleet.device.boot(), Version::new(1, 0, 0));
    fleet.says(|service| service.retry("a"));
    assert!(fleet.run());
    assert_eq!(fleet.finals("a"), ["FAILED", "SUCCEEDED"]);
    assert_eq!(fleet.device.boot(), Version::new(2, 0, 0));
}

/// While the broker is away the update goes on, to the new image and its confirmation; what is owed is said later.
#[test]
fn an_update_goes_on_without_the_broker() {
    let mut fleet = Fleet::with_one_job();
    // The service would end a step of five minutes.
    fleet.step_minutes = None;
    let broker = fleet.broker.clone();
    let (events, mut back) = (Rc::clone(&fleet.device.events), None);
    let time = fleet.device.time.clone();
    fleet.run_until(
        |service| service.jobs().iter().all(|job| job.has_ended()),
        |event| match event {
            Event::Update(sprag::Event::Downloading { .. }) => broker.refuse(true),
            Event::SelfTest { passed: true } => back = Some(time.seconds() + 3_600),
            Event::Disconnected { .. } if back.is_some_and(|back| time.seconds() >= back) => broker.refuse(false),
            _ => {}
        },
    );
    assert_eq!(fleet.finals("a"), ["SUCCEEDED"]);
    assert!(events.borrow().iter().filter(|event| matches!(event, Event::Disconnected { .. })).count() > 10);
    assert_eq!(fleet.device.server.requests().len(), 1);
}
