//! The conversation with AWS IoT Jobs, against a small model of the service.
#![cfg(feature = "aws-jobs")]

mod service;

use service::{Message, Service, at_work, deliver, device, finish, own, progress, request, talk};
use sprag_job::NoRoom;
use sprag_job::aws::{AwsJobs, BadDetail, Event, ExpectedVersion, Gone, JobsError, Saved, SelfTest, Settings, Verdict};

#[test]
fn a_job_from_the_queue_to_its_end() {
    let (mut jobs, mut service) = at_work();
    service.create("b");
    let update = progress(&mut jobs, 0, 10);
    let expected = r#"{"status":"IN_PROGRESS","statusDetails":{"progress":"10"},"expectedVersion":"2","includeJobExecutionState":true,"clientToken":"1"}"#;
    assert_eq!(update.as_ref().unwrap(), &("$aws/things/t/jobs/a/update".to_string(), expected.to_string()));
    assert_eq!(progress(&mut jobs, 40, 90), None, "held back until the answer");
    assert_eq!(talk(&mut jobs, &mut service, update), "accepted downloading");
    assert_eq!(progress(&mut jobs, 29, 90), None, "too soon");
    assert_eq!(progress(&mut jobs, 30, 19), None, "too little");
    jobs.refresh();
    let describe = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, describe), "fresh https://h/a?signed=2");
    let end = finish(&mut jobs, Verdict::Succeeded);
    assert_eq!(talk(&mut jobs, &mut service, Some(end)), "accepted done");
    assert_eq!(jobs.saved(), None);
    let next = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, next), "job b");
    let end = finish(&mut jobs, Verdict::of_failure(false));
    assert_eq!(talk(&mut jobs, &mut service, Some(end)), "accepted rejected");
    let next = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, next), "Idle");
    assert_eq!(request(&mut jobs), None);
    assert_eq!(
        (service.job("a").finals.join(","), service.job("b").finals.join(",")),
        ("SUCCEEDED".into(), "REJECTED".into())
    );
}

#[test]
fn the_self_test_crosses_the_reboot() {
    let (mut jobs, mut service) = at_work();
    let ready = jobs.self_test(0, SelfTest::Ready, "0x10500", &mut [0; 226], &mut [0; 512]).map(own).unwrap();
    assert_eq!(talk(&mut jobs, &mut service, Some(ready)), "accepted downloading");
    let saved = jobs.saved().unwrap();
    assert_eq!((saved.job_id.as_str(), saved.version), ("a", Some(3)));

    let mut jobs = AwsJobs::restore("t", Settings { first_token: 1_000, ..Settings::default() }, saved).unwrap();
    jobs.connected();
    let (topic, payload) = request(&mut jobs).unwrap();
    let answer = service.answer(&topic, &payload);
    let Event::Again(execution) = jobs.arrived(&answer.0, answer.1.as_bytes()) else { panic!() };
    // start-next has left the details alone.
    assert_eq!(SelfTest::of(&execution), Some(SelfTest::Ready));
    let active = jobs.self_test(0, SelfTest::Active, "", &mut [0; 226], &mut [0; 512]).map(own).unwrap();
    assert_eq!(talk(&mut jobs, &mut service, Some(active)), "accepted downloading");
    let end = jobs.finish(0, Verdict::Succeeded, "", Some(SelfTest::Accepted), &mut [0; 226], &mut [0; 512]).map(own);
    assert_eq!(talk(&mut jobs, &mut service, end.ok()), "accepted done");
    assert_eq!(service.job("a").details, serde_json::json!({"self_test": "accepted"}));
}

#[test]
fn a_version_that_was_missed_is_caught_up_with() {
    let (mut jobs, mut service) = at_work();
    service.job("a").version = 9;
    let end = finish(&mut jobs, Verdict::Failed);
    assert_eq!(talk(&mut jobs, &mut service, Some(end)), "retry failed");
    let end = finish(&mut jobs, Verdict::Failed);
    assert_eq!(talk(&mut jobs, &mut service, Some(end)), "accepted failed");

    // Two in a row, before the first is answered.
    let (mut jobs, mut service) = at_work();
    let first = progress(&mut jobs, 0, 1).unwrap();
    let second = finish(&mut jobs, Verdict::Succeeded);
    let answers = [service.answer(&first.0, &first.1), service.answer(&second.0, &second.1)];
    assert_eq!(answers.each_ref().map(|answer| deliver(&mut jobs, answer)), ["Nothing", "accepted done"]);
}

#[test]
fn a_lost_answer_is_no_second_end() {
    let (mut jobs, mut service) = at_work();
    let end = finish(&mut jobs, Verdict::Succeeded);
    service.answer(&end.0, &end.1);
    let again = finish(&mut jobs, Verdict::Succeeded);
    assert_eq!(talk(&mut jobs, &mut service, Some(again)), "accepted done");
    assert_eq!(service.job("a").finals, ["SUCCEEDED"]);

    // Lost with the connection.
    let (mut jobs, mut service) = at_work();
    let end = finish(&mut jobs, Verdict::Succeeded);
    service.answer(&end.0, &end.1);
    jobs.connected();
    let start = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, start), "Nothing");
    let describe = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, describe), "gone Ended(Some(Succeeded))");
}

#[test]
fn what_the_cloud_takes_back_is_stopped() {
    // Canceled, and the queue is empty or has another job.
    for other in [false, true] {
        let (mut jobs, mut service) = at_work();
        service.cancel("a");
        if other {
            service.create("b");
        }
        let notice = service.notify_next();
        assert_eq!(deliver(&mut jobs, &notice), "Nothing");
        let describe = request(&mut jobs);
        assert_eq!(talk(&mut jobs, &mut service, describe), "gone Ended(Some(Canceled))");
        let next = request(&mut jobs);
        assert_eq!(talk(&mut jobs, &mut service, next), if other { "job b" } else { "Idle" });
    }
    // Deleted, noticed by notice or by update.
    for notice in [false, true] {
        let (mut jobs, mut service) = at_work();
        service.0.delete("a");
        let request = if notice {
            let notice = service.notify_next();
            deliver(&mut jobs, &notice);
            request(&mut jobs)
        } else {
            progress(&mut jobs, 0, 1)
        };
        assert_eq!(talk(&mut jobs, &mut service, request), format!("gone {:?}", Gone::Deleted));
    }
    // Canceled, noticed by an update or after a reconnection.
    let (mut jobs, mut service) = at_work();
    service.cancel("a");
    let update = progress(&mut jobs, 0, 1);
    assert_eq!(talk(&mut jobs, &mut service, update), "gone Ended(Some(Canceled))");
    let (mut jobs, mut service) = at_work();
    service.cancel("a");
    service.create("b");
    jobs.connected();
    let start = request(&mut jobs);
    assert_eq!(talk(&mut jobs, &mut service, start), "replaced b");
}

#[test]
fn refusals_of_every_code_are_told() {
    let codes = "InvalidTopic InvalidJson InvalidRequest InternalError RequestThrottled SomethingNew";
    for code in codes.split(' ') {
        let retryable = ["InternalError", "RequestThrottled"].contains(&code);
        let (mut jobs, _) = at_work();
        finish(&mut jobs, Verdict::Failed);
        let refusal =
            ("$aws/things/t/jobs/a/update/rejected".into(), format!(r#"{{"code":"{code}","clientToken":"1"}}"#));
        assert_eq!(deliver(&mut jobs, &refusal), format!("refused {code}"));
        assert!(jobs.saved().is_some());
        jobs.refresh();
        request(&mut jobs).unwrap();
        let refusal = ("$aws/things/t/jobs/a/get/rejected".into(), format!(r#"{{"code":"{code}"}}"#));
        assert_eq!(deliver(&mut jobs, &refusal), format!("refused {code}"));
        assert_eq!(request(&mut jobs).is_some(), retryable, "{code}");
    }
    for (code, event) in [
        ("InvalidStateTransition", "gone Ended(None)"),
        ("TerminalStateReached", "gone Ended(None)"),
        ("VersionMismatch", "retry failed"),
        ("ResourceNotFound", "gone Deleted"),
    ] {
        let (mut jobs, _) = at_work();
        finish(&mut jobs, Verdict::Failed);
        let refusal = ("$aws/things/t/jobs/a/update/rejected".into(), format!(r#"{{"code":"{code}"}}"#));
        assert_eq!(deliver(&mut jobs, &refusal), event);
    }
}

#[test]
fn other_things_and_second_deliveries_change_nothing() {
    let (mut jobs, mut service) = at_work();
    let answer = service.answer("$aws/things/t/jobs/start-next", r#"{"clientToken":"0"}"#);
    assert_eq!(deliver(&mut jobs, &answer), "Nothing");
    let other = ("$aws/things/u/jobs/start-next/accepted".to_string(), answer.1.clone());
    assert_eq!(deliver(&mut jobs, &other), "NotForUs");
    let end = finish(&mut jobs, Verdict::Succeeded);
    let accepted = service.answer(&end.0, &end.1);
    assert_eq!(deliver(&mut jobs, &accepted), "accepted done");
    assert_eq!([&accepted, &answer].map(|late| deliver(&mut jobs, late)), ["Nothing", "Nothing"]);
    assert_eq!(jobs.saved(), None::<Saved>);
}

#[test]
fn what_does_not_fit_is_named_and_never_cut() {
    let (mut jobs, _) = at_work();
    let reason = "x".repeat(1_025);
    let bad = jobs.finish(0, Verdict::Failed, &reason, None, &mut [0; 226], &mut [0; 4_096]).map(own);
    assert_eq!(bad, Err(JobsError::Detail(BadDetail::TooLong { length: 1_025, limit: 1_024 })));
    let bad = jobs.finish(0, Verdict::Failed, "a\nb", None, &mut [0; 226], &mut [0; 4_096]).map(own);
    assert_eq!(bad, Err(JobsError::Detail(BadDetail::Character)));
    let whole = finish(&mut jobs.clone(), Verdict::Failed);
    let Err(JobsError::NoRoom(NoRoom::Topic(topic))) =
        jobs.finish(0, Verdict::Failed, "why", None, &mut [], &mut [0; 512])
    else {
        panic!()
    };
    let Err(JobsError::NoRoom(NoRoom::Payload(payload))) =
        jobs.finish(0, Verdict::Failed, "why", None, &mut [0; 226], &mut [])
    else {
        panic!()
    };
    assert_eq!((topic.needed, payload.needed), (whole.0.len(), whole.1.len()));
    assert_eq!(finish(&mut jobs, Verdict::Failed), whole, "what failed has changed nothing");
    assert_eq!(AwsJobs::new("a/b", Settings::default()).unwrap_err(), JobsError::ThingName);
    assert_eq!(device().finish(0, Verdict::Failed, "", None, &mut [], &mut []), Err(JobsError::NoJob));
    let filters: Vec<_> =
        (0..).map_while(|index| jobs.filter(index, &mut [0; 226]).map(|filter| filter.unwrap().to_string())).collect();
    assert_eq!((filters.len(), filters[5].as_str()), (AwsJobs::FILTERS, "$aws/things/t/jobs/+/update/accepted"));
}

#[test]
fn versions_and_step_timeouts_are_written_as_settings_say() {
    let settings =
        Settings { expected_version: ExpectedVersion::Number, step_timeout_minutes: Some(5), ..Settings::default() };
    let mut jobs = AwsJobs::new("t", settings).unwrap();
    let mut service = Service::new();
    service.create("a");
    jobs.connected();
    let start = request(&mut jobs);
    assert_eq!(start.as_ref().unwrap().1, r#"{"clientToken":"0"}"#, "the job may be another agent's");
    assert_eq!(talk(&mut jobs, &mut service, start), "job a");
    let update = progress(&mut jobs, 0, 0);
    assert!(
        update
            .as_ref()
            .unwrap()
            .1
            .contains(r#""expectedVersion":2,"includeJobExecutionState":true,"stepTimeoutInMinutes":5"#)
    );
    assert_eq!(talk(&mut jobs, &mut service, update), "accepted downloading");
    assert_eq!(progress(&mut jobs, 149, 0), None);
    assert!(progress(&mut jobs, 150, 0).is_some(), "the step is kept alive");
}

fn with_step_timeout() -> AwsJobs<'static> {
    AwsJobs::new("t", Settings { step_timeout_minutes: Some(5), ..Settings::default() }).unwrap()
}

fn keep_alive(jobs: &mut AwsJobs<'_>, now: u32) -> Option<Message> {
    jobs.keep_alive(now, &mut [0; 226], &mut [0; 512]).unwrap().map(own)
}

/// Sends a request at `now`, and returns what comes of its answer.
fn talk_at(now: u32, jobs: &mut AwsJobs<'_>, service: &mut Service, request: Option<Message>) -> String {
    let (topic, payload) = request.expect("a request");
    let answer = service.0.answer(now.into(), &topic, payload.as_bytes()).unwrap();
    deliver(jobs, &(answer.topic, answer.payload))
}

/// By `keep_alive` and by `progress`: the first word about a job starts its timer, and the first one on each connection
/// starts it anew, whatever became of those on the connection before.
#[test]
fn the_first_word_on_a_connection_starts_the_step_timer() {
    let by_progress: fn(&mut AwsJobs<'_>, u32) -> Option<Message> = |jobs, now| progress(jobs, now, 3);
    for speak in [by_progress, keep_alive] {
        let (mut jobs, mut service) = (with_step_timeout(), Service::new());
        service.create("a");
        jobs.connected();
        let start = request(&mut jobs);
        assert_eq!(talk_at(0, &mut jobs, &mut service, start), "job a");
        let word = speak(&mut jobs, 0);
        assert_eq!(talk_at(0, &mut jobs, &mut service, word), "accepted downloading");
        assert_eq!(speak(&mut jobs, 149), None);
        assert!(speak(&mut jobs, 150).is_some(), "this one is lost with its connection");
        jobs.connected();
        assert_eq!(keep_alive(&mut jobs, 290), None, "before the service has been asked for the job");
        let start = request(&mut jobs);
        assert_eq!(keep_alive(&mut jobs, 290), None, "before the service has given the job");
        assert_eq!(talk_at(290, &mut jobs, &mut service, start), "again a");
        let word = speak(&mut jobs, 290);
        assert_eq!(talk_at(290, &mut jobs, &mut service, word), "accepted downloading");
        assert_eq!(speak(&mut jobs, 300), None);
        service.0.notices(589);
        assert_eq!(service.job("a").status, "IN_PROGRESS");
        service.0.notices(590);
        assert_eq!(service.job("a").status, "TIMED_OUT", "a device that falls silent ends its job");
    }
}

#[test]
fn without_a_step_timeout_keep_alive_says_nothing() {
    let (mut jobs, _) = at_work();
    assert_eq!(keep_alive(&mut jobs, 0), None);
    assert_eq!(keep_alive(&mut jobs, 1_000_000), None);
}

/// Its timer is its own agent's: start-next neither starts it, even where this device asks for one, nor changes it.
#[test]
fn the_step_timer_of_another_agents_job_is_left_alone() {
    let (mut jobs, mut service) = (with_step_timeout(), Service::new());
    service.create("theirs");
    let mut meet = |service: &mut Service, now| {
        jobs.connected();
        let start = request(&mut jobs);
        assert_eq!(talk_at(now, &mut jobs, service, start), "job theirs");
        jobs.leave();
        assert_eq!(request(&mut jobs), None);
    };
    meet(&mut service, 0);
    service.0.notices(1_000_000);
    assert_eq!(service.job("theirs").status, "IN_PROGRESS");
    let own_timer = br#"{"status":"IN_PROGRESS","stepTimeoutInMinutes":60}"#;
    service.0.answer(1_000_000, "$aws/things/t/jobs/theirs/update", own_timer).unwrap();
    meet(&mut service, 1_000_010);
    service.0.notices(1_003_599);
    assert_eq!(service.job("theirs").status, "IN_PROGRESS");
    service.0.notices(1_003_600);
    assert_eq!(service.job("theirs").status, "TIMED_OUT");
}

/// Nothing is said about it, nor asked, until the service tells of another.
#[test]
fn the_job_of_another_agent_is_left_to_it() {
    let mut jobs = device();
    jobs.connected();
    request(&mut jobs).unwrap();
    let payload = br#"{"clientToken":"0","execution":{"jobId":"a","versionNumber":0,"jobDocument":{"steps":[]}}}"#;
    let Event::Job(execution) = jobs.arrived("$aws/things/t/jobs/start-next/accepted", payload) else { panic!() };
    assert_eq!(execution.job().unwrap_err().reason(), "not-an-ota");
    jobs.leave();
    assert!(jobs.saved().is_none() && !jobs.has_request() && !jobs.is_waiting());
    assert!(request(&mut jobs).is_none());
    let ended = jobs.arrived("$aws/things/t/jobs/a/update/accepted", br#"{"timestamp":1}"#);
    assert!(matches!(ended, Event::Nothing));
    let next = br#"{"execution":{"jobId":"b","versionNumber":1,"jobDocument":{"operation":"ota"}}}"#;
    assert!(matches!(jobs.arrived("$aws/things/t/jobs/notify-next", next), Event::Nothing));
    assert!(request(&mut jobs).unwrap().0.ends_with("/start-next"));
}

#[test]
fn a_bad_document_is_rejected_by_its_envelope() {
    let mut jobs = device();
    jobs.connected();
    request(&mut jobs).unwrap();
    let payload =
        br#"{"clientToken":"0","execution":{"jobId":"a","versionNumber":0,"jobDocument":{"operation":"ota"}}}"#;
    let Event::Job(execution) = jobs.arrived("$aws/things/t/jobs/start-next/accepted", payload) else { panic!() };
    let reason = execution.job().unwrap_err().to_string();
    let update = own(jobs.finish(0, Verdict::Rejected, &reason, None, &mut [0; 226], &mut [0; 512]).unwrap());
    assert!(
        update.1.contains(r#""expectedVersion":"0""#) && update.1.contains("execution.jobDocument.artifact: missing"),
        "{}",
        update.1
    );
}
