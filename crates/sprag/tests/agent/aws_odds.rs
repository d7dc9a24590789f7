//! With AWS IoT Jobs, when things are late, lost, refused, or said once too often.

use std::rc::Rc;

use serde_json::json;
use sprag::mqtt::Event;
use sprag::verify::Version;
use sprag_testkit::aws_jobs::Service;
use sprag_testkit::flash::Torn;
use sprag_testkit::http::HttpServer;

use super::aws::{Fleet, ota, pair, serve};
use super::broker::{Cut, TestBroker};
use super::device::image_of;

/// A document that just fits when it is new, and grows by its status details: it is not judged again.
#[test]
fn a_document_that_grows_is_not_judged_again() {
    for pad in (500..900).step_by(7) {
        let mut fleet = Fleet::new(
            move |_, _, _| json!({"operation": "ota", "version": "2.0.0", "artifact": {"url": "https://h/app"}, "more": "x".repeat(pad)}),
        );
        fleet.service.borrow_mut().create("a");
        fleet.device.test_ms = 5_000;
        assert!(fleet.run());
        let finals = fleet.finals("a");
        let boot = fleet.device.boot();
        let details = fleet.service.borrow_mut().job("a").unwrap().details.clone();
        if !(finals == ["SUCCEEDED"] && boot == Version::new(2, 0, 0)
            || finals == ["REJECTED"] && boot == Version::new(1, 0, 0))
        {
            panic!("pad {pad}: {finals:?} {details} but {boot} runs");
        }
    }
}

/// The refusal of a document is throttled once: it is made again, and the queue goes on.
#[test]
fn a_refusal_that_is_throttled_is_made_again() {
    let mut fleet = Fleet::new(|_, id, _| if id == "bad" { json!({"operation": "ota"}) } else { ota("https://h/app") });
    let (behind, time, mut throttled) = (Rc::clone(&fleet.service), fleet.device.time.clone(), false);
    fleet.broker = TestBroker::new(move |topic, payload| {
        if topic.ends_with("/bad/update") && !std::mem::replace(&mut throttled, true) {
            let request: serde_json::Value = serde_json::from_slice(payload).unwrap();
            let answer = json!({"code": "RequestThrottled", "clientToken": request["clientToken"]});
            return vec![(format!("{topic}/rejected"), answer.to_string().into_bytes())];
        }
        serve(&behind, &time, topic, payload)
    });
    fleet.service.borrow_mut().create("bad");
    fleet.service.borrow_mut().create("good");
    let time = fleet.device.time.clone();
    fleet.run_until(|service| service.jobs().iter().all(|j| j.has_ended()) || time.seconds() > 200_000, |_| {});
    assert_eq!(fleet.finals("bad"), ["REJECTED"], "after {} s", fleet.device.time.seconds());
}

/// A job that came during the self-test, and was taken back before that was over.
#[test]
fn a_job_that_was_cancelled_before_it_was_begun() {
    let mut replaced = false;
    let mut fleet = Fleet::new(move |server, id, _| {
        if id == "b" && !std::mem::replace(&mut replaced, true) {
            server.replace(image_of(3));
        }
        ota(&format!("https://h/{id}"))
    });
    fleet.service.borrow_mut().create("a");
    fleet.device.test_ms = 200_000;
    let (service, broker, time) = (Rc::clone(&fleet.service), fleet.broker.clone(), fleet.device.time.clone());
    let begin = std::cell::Cell::new(0);
    let step = std::cell::Cell::new(0);
    fleet.run_with(|| {
        let mut there = service.borrow_mut();
        let now = time.seconds();
        let testing = there.job("a").is_some_and(|job| job.details["self_test"] == "active");
        if step.get() == 0 && testing {
            begin.set(now);
            there.cancel("a");
            there.create("b");
            step.set(1);
        } else if step.get() == 1 && now > begin.get() + 60 {
            there.cancel("b");
            step.set(2);
        }
        let notices = there.notices(now.into());
        drop(there);
        broker.push(notices.into_iter().map(pair));
        step.get() == 2 && now > begin.get() + 2000
    });
    assert_eq!(fleet.device.boot(), Version::new(2, 0, 0));
}

/// A server that ignores ranges and never gives the whole object: the same bytes again are no progress.
#[test]
fn the_same_bytes_again_and_again_come_to_an_end() {
    let mut fleet = Fleet::with_one_job();
    fleet.device.server = HttpServer::new(image_of(2)).ignoring_ranges().yielding();
    for connection in 0..5_000 {
        fleet.device.server.fault(connection, sprag_testkit::http::Fault::Cut(1500));
    }
    let time = fleet.device.time.clone();
    fleet.run_until(|service| service.jobs()[0].has_ended() || time.seconds() > 500_000, |_| {});
    assert_eq!(fleet.finals("a"), ["FAILED"]);
}

/// A device starts with a job that was cut off, and the broker is away for three hours: that costs no try.
#[test]
fn a_broker_that_is_away_costs_no_try() {
    let mut fleet = Fleet::with_one_job();
    // The service would end a step of five minutes.
    fleet.step_minutes = None;
    let (flash, broker, time) = (fleet.device.flash.clone(), fleet.broker.clone(), fleet.device.time.clone());
    let mut cut = false;
    let done = fleet.run_until(
        |service| service.jobs()[0].has_ended(),
        |event| {
            if let Event::Update(sprag::Event::Progress { received, .. }) = event
                && *received > 1000
                && !std::mem::replace(&mut cut, true)
            {
                flash.cut_power_after(0, Torn::Nothing);
            }
        },
    );
    assert!(!done);
    fleet.device.flash.power_on();
    broker.refuse(true);
    let back = time.seconds() + 3 * 3600;
    fleet.run_until(
        |service| {
            if time.seconds() >= back {
                broker.refuse(false)
            }
            service.jobs()[0].has_ended()
        },
        |_| {},
    );
    assert_eq!(fleet.device.boot(), Version::new(2, 0, 0));
}

/// The image server is away for longer than the step timeout: the step is kept alive.
#[test]
fn a_step_is_kept_alive_while_the_server_is_away() {
    let mut fleet = Fleet::with_one_job();
    for connection in 0..60 {
        fleet.device.server.fault(connection, sprag_testkit::http::Fault::Refuse);
    }
    let (service, broker, time) = (Rc::clone(&fleet.service), fleet.broker.clone(), fleet.device.time.clone());
    fleet.run_with(|| {
        let mut there = service.borrow_mut();
        let notices = there.notices(time.seconds().into());
        let done = there.jobs()[0].has_ended();
        drop(there);
        broker.push(notices.into_iter().map(pair));
        done
    });
    assert_eq!(fleet.service.borrow().jobs()[0].status, "SUCCEEDED");
}

/// Timed out during the trial, and tried again by the service: it runs, and that is what is said.
#[test]
fn a_job_that_timed_out_in_its_trial_is_not_done_again() {
    let mut fleet = Fleet::with_one_job();
    fleet.device.test_ms = 600_000;
    let (service, broker, time) = (Rc::clone(&fleet.service), fleet.broker.clone(), fleet.device.time.clone());
    let at = std::cell::Cell::new(0);
    fleet.run_with(|| {
        let mut there = service.borrow_mut();
        let now = time.seconds();
        // The device keeps the step alive: the limit is one on the whole job.
        if at.get() == 0 && there.jobs()[0].details["self_test"] == "active" {
            at.set(now);
            let job = there.job("a").unwrap();
            (job.status, job.version) = ("TIMED_OUT", job.version + 1);
        }
        let mut notices = there.notices(now.into());
        if at.get() > 0 && now > at.get() + 900 && there.jobs()[0].status == "TIMED_OUT" {
            there.job("a").unwrap().status = "FAILED"; // The test service tries FAILED ones again only.
            there.retry("a");
            notices = there.notices(now.into());
        }
        let done = at.get() > 0 && now > at.get() + 3000;
        drop(there);
        broker.push(notices.into_iter().map(pair));
        done
    });
    assert_eq!(fleet.device.boot(), Version::new(2, 0, 0));
    assert_eq!(fleet.finals("a"), ["SUCCEEDED"]);
}

fn special(
    fleet: &mut Fleet,
    mut look: impl FnMut(&mut Service, &str, &serde_json::Value) -> Option<Option<serde_json::Value>> + 'static,
) {
    let (behind, time) = (Rc::clone(&fleet.service), fleet.device.time.clone());
    fleet.broker = TestBroker::new(move |topic, payload| {
        let request: serde_json::Value = serde_json::from_slice(payload).unwrap();
        let said = look(&mut behind.borrow_mut(), topic, &request);
        match said {
            None => serve(&behind, &time, topic, payload),
            Some(None) => vec![],
            Some(Some(mut answer)) => {
                answer["clientToken"] = request["clientToken"].clone();
                vec![(format!("{topic}/rejected"), answer.to_string().into_bytes())]
            }
        }
    });
}

/// The answer to FAILED is lost, and the service tries the job again at once: a new try, not the old end.
#[test]
fn a_new_try_does_not_get_the_end_of_the_last_one() {
    let mut fleet = Fleet::with_one_job();
    fleet.device.self_tests = vec![true, false, true];
    let mut once = false;
    special(&mut fleet, move |service, topic, request| {
        if request["status"] == "FAILED" && !std::mem::replace(&mut once, true) {
            service.answer(0, topic, request.to_string().as_bytes());
            service.retry("a");
            return Some(None);
        }
        None
    });
    assert!(fleet.run());
    assert_eq!(fleet.finals("a"), ["FAILED", "SUCCEEDED"]);
}

/// The final report is refused once with a code that nobody knows.
#[test]
fn a_refusal_with_an_unknown_code_is_met_with_patience() {
    let mut fleet = Fleet::with_one_job();
    let mut once = false;
    special(&mut fleet, move |_, _, request| {
        (request["status"] == "SUCCEEDED" && !std::mem::replace(&mut once, true))
            .then(|| Some(json!({"code": "ServiceUnavailable"})))
    });
    let time = fleet.device.time.clone();
    fleet.run_with(|| time.seconds() > 10_000);
    // the next start
    let broker = fleet.broker.clone();
    broker.refuse(true);
    broker.refuse(false);
    let time = fleet.device.time.clone();
    fleet.run_with(|| time.seconds() > 20_000);
    assert_eq!(fleet.finals("a"), ["SUCCEEDED"]);
}

/// A broker that lets the device in and ends the connection at its first message is met with growing waits.
#[test]
fn a_broker_that_throws_the_device_out_is_met_with_growing_waits() {
    let mut fleet = Fleet::with_one_job();
    let (broker, time) = (fleet.broker.clone(), fleet.device.time.clone());
    let mut connections = 0;
    fleet.run_until(
        |_| time.seconds() > 3_600,
        |event| {
            if let Event::Connected = event {
                connections += 1;
                broker.cut(broker.messages() + 1, Cut::Before);
            }
        },
    );
    assert!((10..100).contains(&connections), "{connections} connections in an hour");
}
