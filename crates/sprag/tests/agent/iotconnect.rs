//! With IoTConnect.

use std::cell::RefCell;
use std::rc::Rc;

use sprag::job::iotconnect::{IotConnect, Topics};
use sprag::mqtt::{Event, IotConnectCloud};
use sprag::verify::{Raw, Version, VersionAt};
use sprag_testkit::flash::Torn;

use super::broker::{Cut, TestBroker};
use super::device::{Device, image_of};

const COMMAND: &str = "iot/pump-7/cmd";
const ACK: &str = "$aws/rules/msg_d2c_ack/pump-7/2.1/6";

/// A device, its broker, and what the cloud heard.
struct Fleet {
    device: Device,
    broker: TestBroker,
    acks: Rc<RefCell<Vec<String>>>,
}

fn ota(ack: &str, url: &str) -> String {
    format!(r#"{{"v":"2.1","ct":1,"cmd":"ota","ack":"{ack}","sw":"2.0.0","hw":"1","urls":[{{"url":"{url}"}}]}}"#)
}

fn ack(id: &str, status: u8, message: &str) -> String {
    format!(r#"{{"d":{{"ack":"{id}","type":1,"st":{status},"msg":"{message}"}}}}"#)
}

impl Fleet {
    /// `missed` is what the cloud answers to a device that asks, with what it has heard so far.
    fn new(mut missed: impl FnMut(&[String]) -> Vec<String> + 'static) -> Self {
        let acks = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&acks);
        let broker = TestBroker::new(move |topic, payload| {
            let payload = String::from_utf8(payload.to_vec()).unwrap();
            if topic == ACK {
                heard.borrow_mut().push(payload);
                return Vec::new();
            }
            assert_eq!((topic, payload.as_str()), ("$aws/rules/msg_d2c_di/pump-7/2.1/1", r#"{"mt":205}"#));
            missed(&heard.borrow()).into_iter().map(|answer| (COMMAND.to_owned(), answer.into_bytes())).collect()
        });
        Self { device: Device::new(), broker, acks }
    }

    /// Runs until the cloud has heard `count` final acks, and some time longer.
    fn run(&mut self, count: usize, on: impl FnMut(&Event)) -> bool {
        let (acks, time) = (Rc::clone(&self.acks), self.device.time.clone());
        let mut since = None;
        let done = move || {
            let finals = acks.borrow().iter().filter(|ack| !ack.contains(r#""st":2"#)).count();
            finals >= count && time.seconds() - *since.get_or_insert(time.seconds()) >= 300
        };
        let cloud = |_| IotConnectCloud::<4>::new(IotConnect::new(Topics::Aws { client_id: "pump-7" }));
        self.device.live(&self.broker, cloud, done, on)
    }

    fn finals(&self) -> Vec<String> {
        self.acks.borrow().iter().filter(|ack| !ack.contains(r#""st":2"#)).cloned().collect()
    }
}

fn ended(acks: &[String]) -> bool {
    acks.iter().any(|ack| !ack.contains(r#""st":2"#))
}

#[test]
fn an_ota_that_was_missed_and_its_like_delivered_again() {
    let command = ota("a", r"https:\/\/h\/app?x=1\u0026y=2");
    let again = command.clone();
    // Delivered twice at once, and twice more when it is done.
    let mut fleet = Fleet::new(move |_| vec![again.clone(), again.clone()]);
    assert!(fleet.run(1, |_| {}));
    let broker = fleet.broker.clone();
    broker.push([(COMMAND.to_owned(), command.clone().into_bytes()), (COMMAND.to_owned(), command.into_bytes())]);
    assert!(fleet.run(1, |_| {}));
    assert_eq!(fleet.finals(), [ack("a", 3, "2.0.0 runs and is confirmed")]);
    assert_eq!(fleet.device.server.requests().len(), 1);
    assert_eq!(fleet.device.server.requests()[0].target(), "/app?x=1&y=2");
    let acks = fleet.acks.borrow();
    assert!(acks[0].contains(r#""st":2,"msg":"downloading, "#), "{acks:?}");
    assert_eq!(acks[acks.len() - 2], ack("a", 2, "2.0.0 is verified, restarting to test it"));
}

/// Images are of the updater's format: here of one that only the job can vouch for, which IoTConnect's does not.
#[test]
fn images_of_another_format() {
    let mut fleet = Fleet::new(|acks| if ended(acks) { vec![] } else { vec![ota("a", "https://h/app")] });
    let acks = Rc::clone(&fleet.acks);
    let cloud = |_| IotConnectCloud::<4>::new(IotConnect::new(Topics::Aws { client_id: "pump-7" }));
    let raw = Raw(VersionAt::Job);
    assert!(fleet.device.live_with(raw, &fleet.broker, cloud, move || ended(&acks.borrow()), |_| {}));
    assert_eq!(fleet.finals(), [ack("a", 4, "unsigned")]);
    assert_eq!(fleet.device.boot(), Version::new(1, 0, 0));
}

/// The connection to the broker ends before and after every message.
#[test]
fn cut_off_from_the_broker_at_every_message() {
    let new = || Fleet::new(|acks| if ended(acks) { vec![] } else { vec![ota("a", "https://h/app")] });
    let mut undisturbed = new();
    assert!(undisturbed.run(1, |_| {}));
    let total = undisturbed.broker.messages();
    for first in 1..=total + 2 {
        for cut in [Cut::Before, Cut::After] {
            for second in [None, Some(1), Some(3), Some(5)] {
                let mut fleet = new();
                fleet.broker.cut(first, cut);
                if let Some(second) = second {
                    fleet.broker.cut(first + second, Cut::After);
                }
                assert!(fleet.run(1, |_| {}));
                let context = format!("{cut:?} message {first}, then {second:?}");
                // A final ack whose acknowledgement was lost is made again, in the same words.
                let mut finals = fleet.finals();
                finals.dedup();
                assert_eq!(finals, [ack("a", 3, "2.0.0 runs and is confirmed")], "{context}");
                assert_eq!(fleet.device.server.requests().len(), 1, "{context}");
                assert_eq!(fleet.device.boot(), Version::new(2, 0, 0), "{context}");
            }
        }
    }
}

/// Another OTA comes in the middle of one: that one ends as superseded, and the new one is done.
#[test]
fn an_ota_that_overtakes_another() {
    let mut given = false;
    let first =
        move |_: &[String]| if std::mem::replace(&mut given, true) { vec![] } else { vec![ota("a", "https://h/a")] };
    let mut fleet = Fleet::new(first);
    let (broker, server) = (fleet.broker.clone(), fleet.device.server.clone());
    let mut overtaken = false;
    assert!(fleet.run(2, |event| {
        if let Event::Update(sprag::Event::Progress { .. }) = event
            && !std::mem::replace(&mut overtaken, true)
        {
            server.replace(image_of(3));
            broker.push([(COMMAND.to_owned(), ota("b", "https://h/b").into_bytes())]);
        }
    }));
    assert_eq!(fleet.finals(), [ack("a", 4, "superseded"), ack("b", 3, "3.0.0 runs and is confirmed")]);
    assert_eq!(fleet.device.boot(), Version::new(3, 0, 0));
}

#[test]
fn what_makes_no_sense_is_refused_by_its_name() {
    let bad = [
        (r#"{"v":"2.1","ct":1,"ack":"x","urls":[]}"#.to_owned(), "field-empty"),
        (r#"{"v":"2.1","ct":1,"ack":"x","urls":[{"url":"http://h/a"}]}"#.to_owned(), "https-required"),
        (r#"{"v":"2.1","ct":1,"ack":"x","urls":[{"url":"ftp://h/a"}]}"#.to_owned(), "bad-url"),
        (ota("x", &format!("https://h/{}", "a".repeat(1100))), "document-too-large"),
    ];
    for (document, reason) in bad {
        let mut documents = vec![ota("good", "https://h/app"), document];
        let mut fleet = Fleet::new(move |_| documents.pop().into_iter().collect());
        let broker = fleet.broker.clone();
        let mut pushed = false;
        assert!(fleet.run(2, |event| {
            if let Event::Refused { .. } = event
                && !std::mem::replace(&mut pushed, true)
            {
                broker.push([(COMMAND.to_owned(), ota("good", "https://h/app").into_bytes())]);
            }
        }));
        assert_eq!(fleet.finals(), [ack("x", 1, reason), ack("good", 3, "2.0.0 runs and is confirmed")]);
    }
}

/// An OTA whose server is not there is tried again, with its document asked for after a reset; in the end it has failed.
#[test]
fn an_ota_that_can_not_be_fetched_comes_to_an_end() {
    let mut fleet = Fleet::new(|acks| if ended(acks) { vec![] } else { vec![ota("a", "https://h/app")] });
    for connection in 0..10_000 {
        fleet.device.server.fault(connection, sprag_testkit::http::Fault::Refuse);
    }
    assert!(fleet.run(1, |_| {}));
    assert_eq!(fleet.finals(), [ack("a", 4, "connect-failed")]);
    assert_eq!(fleet.device.boot(), Version::new(1, 0, 0));
}

fn push(broker: &TestBroker, documents: &[String]) {
    broker.push(documents.iter().map(|document| (COMMAND.to_owned(), document.clone().into_bytes())));
}

#[test]
fn an_ota_after_one_that_ended_without_a_reset() {
    let mut fleet = Fleet::new(|_| vec![]);
    fleet.device.server.replace(image_of(1));
    let (broker, server) = (fleet.broker.clone(), fleet.device.server.clone());
    let (mut first, mut second) = (false, false);
    assert!(fleet.run(2, |event| match event {
        Event::Connected if !std::mem::replace(&mut first, true) => push(&broker, &[ota("a", "https://h/a")]),
        Event::Reported { .. } if !std::mem::replace(&mut second, true) => {
            server.replace(image_of(2));
            push(&broker, &[ota("b", "https://h/b")]);
        }
        _ => {}
    }));
    assert_eq!(
        fleet.finals(),
        [ack("a", 3, "1.0.0 runs and is confirmed"), ack("b", 3, "2.0.0 runs and is confirmed")]
    );
}

/// The power fails before and within every flash operation.
#[test]
fn without_power_at_every_flash_operation() {
    let new = || Fleet::new(|acks| if ended(acks) { vec![] } else { vec![ota("a", "https://h/app")] });
    let mut undisturbed = new();
    assert!(undisturbed.run(1, |_| {}));
    let stats = undisturbed.device.flash.stats();
    for operation in 0..stats.erases + stats.programs {
        let torn = if operation % 2 == 0 { Torn::Nothing } else { Torn::Half };
        let mut fleet = new();
        fleet.device.flash.cut_power_after(operation, torn);
        while !fleet.run(1, |_| {}) {
            fleet.device.flash.power_on();
        }
        let mut finals = fleet.finals();
        finals.dedup();
        // Cut while the new image was on trial, the old one is back.
        let reverted = fleet.device.boot() == Version::new(1, 0, 0);
        let expected = if reverted { ack("a", 4, "reverted") } else { ack("a", 3, "2.0.0 runs and is confirmed") };
        assert_eq!(finals, [expected], "{torn:?} in operation {operation}");
    }
}

/// The power fails when one OTA has ended for the sake of another, and that one is not begun yet.
#[test]
fn without_power_between_an_ota_and_the_one_that_overtakes_it() {
    let mut fleet = Fleet::new(|acks| {
        let has_ended = |id: &str| acks.iter().any(|ack| ack.contains(id) && !ack.contains(r#""st":2"#));
        match (has_ended(r#""ack":"a""#), has_ended(r#""ack":"b""#)) {
            (_, true) => vec![],
            (true, false) => vec![ota("b", "https://h/b")],
            (false, false) => vec![ota("a", "https://h/a")],
        }
    });
    let (broker, flash) = (fleet.broker.clone(), fleet.device.flash.clone());
    let (mut pushed, mut cut) = (false, false);
    let mut on = |event: &Event| match event {
        Event::Update(sprag::Event::Progress { .. }) if !std::mem::replace(&mut pushed, true) => {
            push(&broker, &[ota("b", "https://h/b")]);
        }
        Event::Reported { .. } if !std::mem::replace(&mut cut, true) => flash.cut_power_after(0, Torn::Nothing),
        _ => {}
    };
    while !fleet.run(2, &mut on) {
        fleet.device.flash.power_on();
    }
    assert_eq!(fleet.finals(), [ack("a", 4, "superseded"), ack("b", 3, "2.0.0 runs and is confirmed")]);
}

/// Two OTAs at once overtake a third: one of them is done, the other one is refused as busy, and none is lost.
#[test]
fn two_otas_at_once_overtake_a_third() {
    let mut given = false;
    let first =
        move |_: &[String]| if std::mem::replace(&mut given, true) { vec![] } else { vec![ota("a", "https://h/a")] };
    let mut fleet = Fleet::new(first);
    let broker = fleet.broker.clone();
    let mut pushed = false;
    assert!(fleet.run(2, |event| {
        if let Event::Update(sprag::Event::Progress { .. }) = event
            && !std::mem::replace(&mut pushed, true)
        {
            push(&broker, &[ota("b", "https://h/b"), ota("c", "https://h/c")]);
        }
    }));
    assert!(fleet.finals().iter().any(|ack| ack.contains(r#""ack":"b""#)), "{:?}", fleet.finals());
}

/// The answer to a request does not name the OTA, which is under way already: it is the same one.
#[test]
fn an_answer_without_a_name_is_the_ota_in_hand() {
    let pending = r#"{"d":{"ct":205,"ec":0,"ota":{"ver":{"sw":"2.0.0","hw":"1"},"urls":[{"url":"https://h/app"}]}}}"#;
    let mut fleet =
        Fleet::new(move |acks| if ended(acks) || acks.is_empty() { vec![] } else { vec![pending.to_owned()] });
    let broker = fleet.broker.clone();
    let (mut first, mut cut) = (false, false);
    assert!(fleet.run(1, |event| match event {
        Event::Connected if !std::mem::replace(&mut first, true) => push(&broker, &[ota("a", "https://h/app")]),
        // The connection is lost once in the middle.
        Event::Update(sprag::Event::Progress { received, .. })
            if *received > 1000 && !std::mem::replace(&mut cut, true) =>
        {
            broker.refuse(true);
            broker.refuse(false);
        }
        _ => {}
    }));
    assert_eq!(fleet.finals(), [ack("a", 3, "2.0.0 runs and is confirmed")]);
}

/// Two different OTAs without a name, of which the first fails: they are told apart by what they are.
#[test]
fn otas_without_a_name_are_told_apart() {
    let pending = |sw: &str| {
        format!(
            r#"{{"d":{{"ct":205,"ec":0,"ota":{{"ver":{{"sw":"{sw}","hw":"1"}},"urls":[{{"url":"https://h/app"}}]}}}}}}"#
        )
    };
    let mut asked = 0;
    let mut fleet = Fleet::new(move |_| {
        asked += 1;
        vec![pending(if asked == 1 { "1.0.0" } else { "2.0.0" })]
    });
    fleet.device.server.replace(image_of(1));
    let (broker, server) = (fleet.broker.clone(), fleet.device.server.clone());
    let mut once = false;
    let end = fleet.device.time.clone();
    let cloud = |_| IotConnectCloud::<4>::new(IotConnect::new(Topics::Aws { client_id: "pump-7" }));
    fleet.device.live(
        &fleet.broker,
        cloud,
        || end.seconds() > 4000,
        |event| {
            if matches!(event, Event::Reported { .. }) && !std::mem::replace(&mut once, true) {
                server.replace(image_of(2));
                broker.refuse(true);
                broker.refuse(false);
            }
        },
    );
    assert_eq!(fleet.device.boot(), Version::new(2, 0, 0));
}

/// Job after job that brings no update: each is answered, but the waits between them grow, so that the journal lasts. The image is
/// refused, or it is the one that runs, or the next job comes in the middle of the download.
#[test]
fn a_flood_of_jobs_is_slowed_down() {
    for (major, overtakes) in [(0, false), (1, false), (2, true)] {
        let mut fleet = Fleet::new(|_| vec![]);
        fleet.device.server.replace(image_of(major));
        let (broker, acks, time) = (fleet.broker.clone(), Rc::clone(&fleet.acks), fleet.device.time.clone());
        let mut number = 0;
        let mut next = move || {
            number += 1;
            push(&broker, &[ota(&format!("job-{number}"), "https://h/a")]);
        };
        let cloud = |_| IotConnectCloud::<4>::new(IotConnect::new(Topics::Aws { client_id: "pump-7" }));
        let end = 24 * 3600;
        fleet.device.live(
            &fleet.broker,
            cloud,
            || time.seconds() >= end,
            |event| {
                let is_next = match event {
                    Event::Connected => true,
                    Event::Reported { .. } => !overtakes,
                    Event::Update(sprag::Event::Downloading { .. }) => overtakes,
                    _ => false,
                };
                if is_next {
                    next();
                }
            },
        );
        let finals = acks.borrow().iter().filter(|ack| !ack.contains(r#""st":2"#)).count();
        assert!((20..80).contains(&finals), "image {major}, overtakes {overtakes}: {finals} jobs in a day");
        let erases = fleet.device.flash.stats().erases_per_sector;
        assert!(erases.iter().all(|erases| *erases < 100), "{major}, {overtakes}: {erases:?}");
    }
}

/// A broker that drops every connection on which a final report is published (its policy does not allow the topic) keeps
/// the device from no later job.
#[test]
fn a_report_that_the_broker_never_takes_is_given_up() {
    let mut fleet = Fleet::new(|_| vec![ota("a", "https://h/a")]);
    fleet.device.server.replace(image_of(0));
    let (broker, time) = (fleet.broker.clone(), fleet.device.time.clone());
    broker.drop_at(r#""st":4"#);
    let given_up = Rc::new(RefCell::new(false));
    let (seen, cloud) =
        (Rc::clone(&given_up), |_| IotConnectCloud::<4>::new(IotConnect::new(Topics::Aws { client_id: "pump-7" })));
    let done = Rc::clone(&given_up);
    fleet.device.live(
        &fleet.broker,
        cloud,
        move || *done.borrow() || time.seconds() > 90_000,
        |event| {
            if matches!(event, Event::Reported { taken: false, .. }) {
                *seen.borrow_mut() = true;
            }
        },
    );
    assert!(*given_up.borrow());
    assert!(fleet.device.time.seconds() > 3_600, "an outage of an hour loses no report");
}

/// An id whose ack would not fit into the caller's buffer is refused on arrival, for it could never be reported: every
/// length of id, of characters that grow six times when they are escaped.
#[test]
fn an_id_that_can_not_be_reported_is_refused_on_arrival() {
    use sprag::job::iotconnect::{Device as Sender, Sdk};
    let sender = Sender {
        unique_id: "a-device-with-22-chars",
        cp_id: "0123456789abcdef0123456789abcdef",
        sdk: Sdk { language: "M_RUST", version: "2.0", environment: "prod" },
        time: || *b"2026-11-23T19:59:55.000Z",
    };
    let ota_20 = |id: &str| {
        format!(
            r#"{{"cmdType":"0x02","data":{{"command":"ota","ack":true,"ackId":"{id}","ver":{{"sw":"2.0.0"}},"urls":["https://h/a"],"cmdType":"0x02"}}}}"#
        )
    };
    let mut refused = 0;
    for length in [1, 20, 30, 40, 50, 64] {
        let mut documents = vec![ota_20("good"), ota_20(&r"\u0001".repeat(length))];
        let mut fleet = Fleet::new(|_| vec![]);
        let (broker, time) = (fleet.broker.clone(), fleet.device.time.clone());
        let mut next = move || push(&broker, &documents.pop().into_iter().collect::<Vec<_>>());
        let conversation = || IotConnect::new(Topics::Aws { client_id: "pump-7" }).device_20(sender);
        let mut disconnected = 0;
        let mut good = 0;
        fleet.device.server.replace(image_of(2));
        fleet.device.live(
            &fleet.broker,
            |_| IotConnectCloud::<4>::new(conversation()),
            || time.seconds() >= 2000,
            |event| match event {
                Event::Connected if good == 0 => next(),
                Event::Reported { .. } => {
                    good += 1;
                    next()
                }
                Event::Refused { reason } => {
                    assert_eq!(*reason, "job-id-too-long");
                    refused += 1;
                    next()
                }
                Event::Disconnected { .. } => disconnected += 1,
                _ => {}
            },
        );
        assert_eq!((fleet.device.boot(), disconnected), (Version::new(2, 0, 0), 0), "{length}");
    }
    assert!(refused > 0);
}
