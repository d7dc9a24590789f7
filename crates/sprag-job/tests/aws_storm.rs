//! The conversation with AWS IoT Jobs when messages are lost, doubled and late.
#![cfg(feature = "aws-jobs")]

mod service;

use proptest::collection::vec;
use proptest::prelude::*;
use service::Service;
use service::{Message, at_work, deliver, device, finish, progress, request};
use sprag_job::aws::{AwsJobs, Settings, Verdict};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    /// Whatever is lost, doubled or taken back: each job ends once, and the device comes to rest.
    #[test]
    fn every_job_ends_exactly_once(faults in vec(0u8..12, 0..120)) {
        let (mut jobs, mut service) = (device(), Service::new());
        for id in ["a", "b", "c"] {
            service.create(id);
        }
        jobs.connected();
        let mut faults = faults.into_iter();
        let mut past: Vec<Message> = vec![];
        for now in 0..2_000 {
            let fault = faults.next().unwrap_or(11);
            let message = match request(&mut jobs) {
                Some(message) => message,
                None if jobs.saved().is_some() => match progress(&mut jobs, now * 40, u64::from(now % 7) * 15) {
                    Some(message) if fault % 2 == 0 => message,
                    _ => finish(&mut jobs, Verdict::Succeeded),
                },
                None if fault == 11 => break,
                None => service.notify_next(),
            };
            let answer = if message.0.ends_with("notify-next") { message } else { service.answer(&message.0, &message.1) };
            match fault {
                // The answer is lost with the connection, or with the power.
                0 => jobs.connected(),
                1 => {
                    let settings = Settings { first_token: now * 1_000, ..Settings::default() };
                    jobs = match jobs.saved() {
                        Some(saved) => AwsJobs::restore("t", settings, saved).unwrap(),
                        None => AwsJobs::new("t", settings).unwrap(),
                    };
                    jobs.connected();
                }
                2 if service.0.jobs().iter().any(|job| job.status == "IN_PROGRESS") => {
                    let id = service.0.jobs().iter().find(|job| job.status == "IN_PROGRESS").unwrap().id.clone();
                    service.cancel(&id);
                    deliver(&mut jobs, &answer);
                }
                3 => {
                    deliver(&mut jobs, &answer);
                    deliver(&mut jobs, &answer);
                }
                4 => {
                    if let Some(old) = past.get(usize::try_from(now).unwrap() % past.len().max(1)) {
                        deliver(&mut jobs, old);
                    }
                    deliver(&mut jobs, &answer);
                }
                5 => {
                    let notice = service.notify_next();
                    deliver(&mut jobs, &notice);
                    deliver(&mut jobs, &answer);
                }
                _ => {
                    deliver(&mut jobs, &answer);
                }
            }
            past.push(answer);
        }
        prop_assert_eq!(jobs.saved(), None);
        for job in service.0.jobs() {
            prop_assert!(job.finals.len() == usize::from(job.status == "SUCCEEDED"), "{:?}", job);
            prop_assert!(["SUCCEEDED", "CANCELED"].contains(&job.status), "{:?}", job);
        }
    }

    #[test]
    fn arbitrary_messages_are_survived(topic in 0usize..7, payload in vec(any::<u8>(), 0..100), cut in 0usize..200) {
        let (mut jobs, mut service) = at_work();
        let topics = ["notify-next", "start-next/accepted", "start-next/rejected", "a/get/accepted", "a/get/rejected", "a/update/accepted", "a/update/rejected"];
        let topic = format!("$aws/things/t/jobs/{}", topics[topic]);
        jobs.arrived(&topic, &payload);
        let whole = service.notify_next().1;
        jobs.arrived(&topic, &whole.as_bytes()[..cut.min(whole.len())]);
        jobs.arrived(&String::from_utf8_lossy(&payload), b"{}");
        let _ = (jobs.saved(), progress(&mut jobs, 0, 0), request(&mut jobs));
    }
}
