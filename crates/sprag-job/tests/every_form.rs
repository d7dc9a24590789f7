//! Every form of every dialect: read, told apart, shuffled, escaped, cut.
#![cfg(all(
    feature = "iotconnect",
    feature = "iotconnect-20",
    feature = "aws-jobs",
    feature = "afr-ota",
    feature = "ota-update"
))]

mod forms;

use forms::{GOOD, LISTS, pending_summary, summary};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;
use sprag_job::{Dialect, ParseErrorKind as Kind, Status, aws, detect, ota_update, parse, report};

#[test]
fn every_good_form_is_read() {
    for (document, expected) in GOOD {
        let job = parse(document.as_bytes()).unwrap_or_else(|error| panic!("{document}: {error}"));
        assert_eq!(summary(&job), *expected);
        assert_eq!(detect(document.as_bytes()), Ok(job.dialect()));
        assert_eq!(Dialect::from_name(job.dialect().name()), Some(job.dialect()));
    }
    assert!(Dialect::ALL.iter().all(|dialect| { GOOD.iter().any(|(_, line)| line.starts_with(dialect.name())) }));
}

#[test]
fn every_list_of_pending_jobs_is_read() {
    for (document, expected) in LISTS {
        let pending = aws::pending_jobs(document.as_bytes()).unwrap_or_else(|error| panic!("{document}: {error}"));
        assert_eq!(pending_summary(&pending), *expected);
        for end in 0..document.len() {
            assert!(aws::pending_jobs(&document.as_bytes()[..end]).is_err());
        }
    }
}

#[test]
fn every_prefix_is_an_error() {
    for (document, _) in GOOD {
        let whole = parse(document.as_bytes()).unwrap();
        for end in 0..document.len() {
            let cut = &document.as_bytes()[..end];
            let error = parse(cut).unwrap_err();
            assert_eq!((error.kind(), error.offset(), detect(cut).is_err()), (Kind::CutShort, end, true), "{document}");
            assert!(error.id().is_none_or(|id| id == whole.id()));
            assert!(aws::execution(cut).is_err() && aws::updated(cut).is_err() && aws::rejection(cut).is_err());
        }
        // A document that is nearly there names its job, wherever the id lies.
        let nearly = parse(&document.as_bytes()[..document.len() - 1]).unwrap_err();
        assert_eq!(nearly.id().is_some(), !whole.id().is_empty(), "{document}");
    }
}

#[test]
fn every_wrong_byte_is_survived() {
    for (document, _) in GOOD {
        let mut bytes = document.as_bytes().to_vec();
        for at in 0..bytes.len() {
            let right = bytes[at];
            for wrong in [0, b' ', b'"', b'\\', b'0', b'{', b'}', b'[', b']', b',', b'n', 0xff] {
                bytes[at] = wrong;
                everything(&bytes);
            }
            bytes[at] = right;
        }
    }
}

/// Calls every entry point; nothing may panic, and what one says the others must not deny.
fn everything(bytes: &[u8]) {
    let detected = detect(bytes);
    let mut out = [0; 512];
    match parse(bytes) {
        Ok(job) => {
            assert_eq!(detected, Ok(job.dialect()));
            summary(&job);
            assert!(job.require_new(&[job.key()]).unwrap_err().offset() < bytes.len());
            let _ = (job.identity(), job.require_https(), job.report(Status::Failed, "x", &mut out));
        }
        Err(error) => {
            assert!(error.offset() <= bytes.len() && !error.to_string().is_empty());
            let _ = error.rejection(error.reason(), &mut out);
        }
    }
    if let Ok(Some(execution)) = aws::execution(bytes) {
        assert!((1..=64).contains(&execution.job_id().len()));
        let _ = (execution.status_detail("self_test"), execution.document(), execution.job().is_ok());
        #[cfg(feature = "serde")]
        let _ = execution.deserialize::<serde::de::IgnoredAny>(&mut [0; 64]);
    }
    if let Ok(pending) = aws::pending_jobs(bytes) {
        assert!(pending.in_progress().chain(pending.queued()).all(|job| (1..=64).contains(&job.job_id().len())));
    }
    if let Ok(updated) = aws::updated(bytes) {
        let _ = (updated.state().map(|state| state.version_number()), updated.document(), updated.client_token());
    }
    if let Ok(rejection) = aws::rejection(bytes) {
        let _ = (rejection.code(), rejection.message(), rejection.state().map(|state| state.status()));
    }
}

#[test]
fn bombs_in_any_envelope_are_refused_by_name() {
    let deep = "[".repeat(64 << 10);
    for document in [
        format!(r#"{{"execution":{{"jobId":"7","jobDocument":{deep}"#),
        format!(r#"{{"cmdType":"0x02","data":{{"ackId":"7","urls":{deep}"#),
        format!(r#"{{"d":{{"ota":{{"ack":"7","ver":{{}},"urls":{deep}"#),
        format!(r#"{{"message":"Update Available","file":"7","connection":"http","x":{deep}"#),
    ] {
        let error = parse(document.as_bytes()).unwrap_err();
        assert!(matches!(error.kind(), Kind::TooDeep { .. }), "{error}");
        assert_eq!(error.id().unwrap(), "7");
    }
}

/// The document again: members in another order, junk between them, spaces anywhere, characters escaped at random.
fn written(value: &Value, ways: &mut impl FnMut() -> u8) -> String {
    let space = [" ", "", "\n\t", ""][usize::from(ways() % 4)];
    match value {
        Value::Object(members) => {
            let mut parts: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("{}{space}:{}", quoted(key, ways), written(value, ways)))
                .collect();
            if ways().is_multiple_of(2) {
                parts.push(r#""?":[{"url":1,"v":"2.1"},null]"#.into());
            }
            let count = parts.len().max(1);
            parts.rotate_left(usize::from(ways()) % count);
            if ways().is_multiple_of(2) {
                parts.reverse();
            }
            format!("{space}{{{space}{}{space}}}", parts.join(&format!("{space},")))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| written(item, ways)).collect();
            format!("{space}[{}{space}]{space}", items.join(","))
        }
        Value::String(text) => quoted(text, ways),
        other => format!("{space}{other}"),
    }
}

fn quoted(text: &str, ways: &mut impl FnMut() -> u8) -> String {
    let mut out = String::from('"');
    for char in text.chars() {
        match (char, ways() % 4) {
            ('/', 1) => out.push_str(r"\/"),
            (_, 2) => out.push_str(&format!("\\u{:04X}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out + "\""
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn order_space_and_escapes_change_nothing(form in select(GOOD), ways in vec(any::<u8>(), 1..200)) {
        let (document, expected) = form;
        let mut cycle = ways.iter().copied().cycle();
        let again = written(&serde_json::from_str(document).unwrap(), &mut || cycle.next().unwrap());
        let job = parse(again.as_bytes()).unwrap();
        prop_assert_eq!(summary(&job), expected);
        prop_assert_eq!(job.identity(), parse(document.as_bytes()).unwrap().identity());
        prop_assert_eq!(detect(again.as_bytes()), Ok(job.dialect()));
    }

    #[test]
    fn lists_and_answers_are_read_in_any_order(form in select(LISTS), ways in vec(any::<u8>(), 1..200)) {
        let mut cycle = ways.iter().copied().cycle();
        let mut again = |document: &str| written(&serde_json::from_str(document).unwrap(), &mut || cycle.next().unwrap());
        let list = again(form.0);
        prop_assert_eq!(pending_summary(&aws::pending_jobs(list.as_bytes()).unwrap()), form.1);
        let state = r#""executionState":{"status":"CANCELED","versionNumber":5,"statusDetails":{"progress":"50"}}"#;
        let refusal = again(&format!(r#"{{"code":"VersionMismatch","message":"m","clientToken":"1",{state}}}"#));
        let refusal = aws::rejection(refusal.as_bytes()).unwrap();
        prop_assert_eq!(refusal.code(), aws::RejectionCode::VersionMismatch);
        prop_assert!(refusal.message().unwrap() == "m" && refusal.client_token().unwrap() == "1");
        let accepted = again(&format!(r#"{{"clientToken":"1","timestamp":1,{state}}}"#));
        let accepted = aws::updated(accepted.as_bytes()).unwrap();
        for state in [refusal.state().unwrap(), accepted.state().unwrap()] {
            prop_assert_eq!((state.version_number(), state.status()), (Some(5), Some(aws::ExecutionStatus::Canceled)));
            prop_assert!(state.status_detail("progress").unwrap() == "50");
        }
        let topics = r#"{"d":{"p":{"topics":{"ack":"a","di":"b","c2d":"c"}}}}"#;
        let topics = again(topics);
        let topics = sprag_job::iotconnect::identity(topics.as_bytes()).unwrap();
        prop_assert!(topics.ack == "a" && topics.identity == "b" && topics.command == "c");
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        everything(&bytes);
    }

    #[test]
    fn spliced_documents_are_survived(
        one in select(GOOD), other in select(GOOD), cut in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(),
    ) {
        let (one, other) = (one.0.as_bytes(), other.0.as_bytes());
        everything(&[&one[..cut.index(one.len())], &other[from.index(other.len())..]].concat());
    }

    #[test]
    fn reports_are_sound_json(id in any::<String>(), message in any::<String>(), status in 0..4) {
        let status = [Status::Downloading, Status::Done, Status::Failed, Status::Rejected][status as usize];
        let mut out = [0; 8192];
        for dialect in Dialect::ALL {
            match report(*dialect, &id, None, status, &message, &mut out) {
                Ok("") => {}
                Ok(text) => prop_assert!(serde_json::from_str::<Value>(text).unwrap().is_object()),
                // Only AWS refuses a message, and only for what it may not hold.
                Err(error) => prop_assert!(error.needed == usize::MAX && aws::check_value(&message).is_err()),
            }
        }
        let text = ota_update::result(ota_update::Answer::UniqueTopicName, &id, Status::Done, &mut out).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(text).unwrap()["UniqueTopicName"], &Value::from(id));
    }
}
