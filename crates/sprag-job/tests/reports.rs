//! Reports and identities of the dialects that joined IoTConnect 2.1.
#![cfg(all(feature = "iotconnect-20", feature = "aws-jobs", feature = "afr-ota", feature = "ota-update"))]

use sprag_job::{Dialect, Status, TooSmall, parse, report};

const STATUSES: [Status; 4] = [Status::Downloading, Status::Done, Status::Failed, Status::Rejected];

fn all(dialect: Dialect, message: &str) -> [String; 4] {
    STATUSES.map(|status| report(dialect, "7", None, status, message, &mut [0; 200]).unwrap().to_string())
}

#[test]
fn statuses_are_the_bytes_that_the_services_take() {
    for dialect in [Dialect::AwsJobs, Dialect::AfrOta] {
        let words = ["IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"];
        assert_eq!(all(dialect, ""), words.map(|word| format!(r#"{{"status":"{word}"}}"#)));
        let why = words.map(|word| format!(r#"{{"status":"{word}","statusDetails":{{"reason":"a \"b\""}}}}"#));
        assert_eq!(all(dialect, "a \"b\""), why);
    }
    let [none, done, failed, rejected] = all(Dialect::IotConnect20, "m");
    assert_eq!((none.as_str(), &failed), ("", &rejected));
    assert_eq!(done, r#"{"mt":11,"d":{"ackId":"7","msg":"m","st":7}}"#);
    assert_eq!(failed, r#"{"mt":11,"d":{"ackId":"7","msg":"m","st":4}}"#);
    let child = report(Dialect::IotConnect20, "7", Some("c"), Status::Done, "", &mut [0; 99]).unwrap().to_string();
    assert_eq!(child, r#"{"mt":11,"d":{"ackId":"7","childId":"c","msg":"","st":7}}"#);
    let [none, done, failed, rejected] = all(Dialect::OtaUpdate, "m");
    assert_eq!((none.as_str(), &failed), ("", &rejected));
    assert_eq!(
        (done.as_str(), failed.as_str()),
        (r#"{"Message":"Success","File":"7"}"#, r#"{"Message":"Failure","File":"7"}"#)
    );
}

#[test]
fn a_message_that_aws_refuses_is_never_cut() {
    let mut out = [0; 2_000];
    for bad in ["a\nb".to_string(), "x".repeat(1_025), "\u{7f}".into()] {
        let result = report(Dialect::AwsJobs, "7", None, Status::Failed, &bad, &mut out);
        assert_eq!(result, Err(TooSmall { needed: usize::MAX }));
    }
    let most = "é".repeat(1_024);
    assert!(report(Dialect::AwsJobs, "7", None, Status::Failed, &most, &mut [0; 3_000]).unwrap().contains(&most));
}

#[test]
fn ota_updates_result_names_what_the_job_came_by() {
    let document = |connection: &str| {
        format!(
            r#"{{"Message":"Update Available","Board":"B","Version":"2","Connection":"{connection}","File":"/f\u0022","UniqueTopicName":"t"}}"#
        )
    };
    for (connection, result) in
        [("http", r#"{"Message":"Success","File":"/f\""}"#), ("mqtt", r#"{"Message":"Success","UniqueTopicName":"t"}"#)]
    {
        let document = document(connection);
        let job = parse(document.as_bytes()).unwrap();
        assert_eq!(job.report(Status::Done, "", &mut [0; 100]), Ok(result));
        assert_eq!(job.report(Status::Done, "", &mut []), Err(TooSmall { needed: result.len() }));
    }
}

#[test]
fn nobody_is_answered_without_a_name() {
    let job = parse(br#"{"cmdType":"0x02","ack":false,"command":"ota http://h"}"#).unwrap();
    assert_eq!(job.report(Status::Done, "", &mut []), Ok(""));
    #[cfg(feature = "iotconnect")]
    {
        let job = parse(br#"{"ota":{"urls":[{"url":"http://h"}]}}"#).unwrap();
        assert_eq!((job.id().is_empty(), job.report(Status::Done, "", &mut [])), (true, Ok("")));
    }
}

#[test]
fn identities_are_the_clouds() {
    let of = |document: &str| parse(document.as_bytes()).unwrap().identity();
    let aws = |id: &str, url: &str| {
        of(&format!(
            r#"{{"execution":{{"jobId":"{id}","jobDocument":{{"operation":"ota","artifact":{{"url":"{url}"}}}}}}}}"#
        ))
    };
    assert_eq!(aws("a", "https://h/1"), aws("a", "https://h/2"));
    assert_ne!(aws("a", "https://h/1"), aws("b", "https://h/1"));
    let update = |product: &str, board: &str, version: &str, server: &str, file: &str| {
        of(&format!(
            r#"{{"Message":"Update Available","Product":"{product}","Board":"{board}","Version":"{version}","Connection":"HTTP","Server":"{server}","File":"{file}"}}"#
        ))
    };
    let same = update("p", "b", "1", "h", "/f");
    assert_eq!(same, update("p", "b", "1", "i", "/f"));
    for other in [
        update("q", "b", "1", "h", "/f"),
        update("p", "c", "1", "h", "/f"),
        update("p", "b", "2", "h", "/f"),
        update("p", "b", "1", "h", "/g"),
    ] {
        assert_ne!(same, other);
    }
    // Stored in the field: these values must not change.
    assert_eq!((aws("a", "https://h"), same), (10_640_563_373_152_379_418, 11_945_203_975_373_921_272));
}
