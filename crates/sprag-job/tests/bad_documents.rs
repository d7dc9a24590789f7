//! Documents that are no jobs: what is wrong, where, and whose they are.
#![cfg(all(
    feature = "iotconnect",
    feature = "iotconnect-20",
    feature = "aws-jobs",
    feature = "afr-ota",
    feature = "ota-update"
))]

use sprag_job::{Dialect, ParseErrorKind as Kind, aws, detect, parse};

/// Each with `kind`, `path`, and the id it can be refused by. The offset is that of `#` before the value, which is
/// taken out first.
fn check(table: &[(&str, Kind, &str, Option<&str>)]) {
    for (marked, kind, path, id) in table {
        let offset = marked.find('#').expect("a mark");
        let document = marked.replacen('#', "", 1);
        let error = parse(document.as_bytes()).expect_err(&document);
        let found = (error.kind(), error.path().to_string(), error.offset(), error.id().map(|id| id.to_string()));
        assert_eq!(found, (*kind, path.to_string(), offset, id.map(String::from)), "{document}");
        assert_eq!(error.dialect().is_some(), id.is_some());
    }
}

const STRING: Kind = Kind::WrongType { expected: "a string" };
const OBJECT: Kind = Kind::WrongType { expected: "an object" };
const U32: Kind = Kind::WrongType { expected: "an integer from 0 to 4294967295" };
const OTHERS: Kind = Kind::NotAnOta { ct: None };
const HTTP: Kind = Kind::BadUrl { expected: "http:// or https://" };

#[test]
fn iotconnect_20() {
    let item = Kind::WrongType { expected: "an object or a string" };
    check(&[
        (r##"{"cmdType":"0x02","data":#{}}"##, Kind::Missing, "data.ackId", None),
        (r##"{"cmdType":#"0x01","data":{"ackId":"7"}}"##, Kind::NotAnOta { ct: Some(1) }, "cmdType", None),
        (r##"{"data":{"cmdType":#"0x16","ackId":"7"}}"##, Kind::NotAnOta { ct: Some(22) }, "data.cmdType", None),
        (r##"{"cmdType":#"ota","ackId":"7"}"##, Kind::WrongType { expected: "a number like 0x02" }, "cmdType", None),
        (r##"{"cmdType":"0x02","ackId":#7}"##, STRING, "ackId", None),
        (r##"{"cmdType":"0x02","ack":false,"ackId":#""}"##, Kind::Empty, "ackId", None),
        (r##"{"cmdType":"0x02","ackId":"7","ver":#"1"}"##, OBJECT, "ver", Some("7")),
        (r##"{"cmdType":"0x02","ackId":"7","ver":{"sw":#1}}"##, STRING, "ver.sw", Some("7")),
        (r##"#{"cmdType":"0x02","ackId":"7"}"##, Kind::Missing, "urls", Some("7")),
        (r##"#{"cmdType":"0x02","ackId":"7","command":"ota"}"##, Kind::Missing, "urls", Some("7")),
        (r##"{"cmdType":"0x02","data":{"ackId":"7","urls":#[]}}"##, Kind::Empty, "data.urls", Some("7")),
        (r##"{"cmdType":"0x02","data":{"ackId":"7","urls":[#""]}}"##, Kind::Empty, "data.urls[0]", Some("7")),
        (r##"{"cmdType":"0x02","data":{"ackId":"7","urls":["http://h",#5]}}"##, item, "data.urls[1]", Some("7")),
        (r##"{"cmdType":"0x02","data":{"ackId":"7","urls":[#"h"]}}"##, HTTP, "data.urls[0]", Some("7")),
        (r##"{"cmdType":"0x02","ackId":"7","urls":[#{}]}"##, Kind::Missing, "urls[0].url", Some("7")),
        (r##"{"cmdType":"0x02","ackId":"7","command":#"ota ftp://h"}"##, HTTP, "command", Some("7")),
    ]);
}

#[test]
fn pending_otas() {
    check(&[
        (r##"{"d":#{"ct":205,"ec":0,"ota":null}}"##, Kind::NothingPending, "d.ota", None),
        (r##"{"d":{"ota":#{"ver":{"sw":"1"}}}}"##, Kind::Missing, "d.ota.urls", None),
        (r##"{"ota":{"ack":"7","urls":[{"url":#"x"}]}}"##, HTTP, "ota.urls[0].url", Some("7")),
        (r##"{"ota":{"ack":"7","ver":{"sw":#1},"urls":[{"url":"http://h"}]}}"##, STRING, "ota.ver.sw", Some("7")),
    ]);
}

#[test]
fn executions() {
    let id = Kind::WrongType { expected: "1 to 64 of a-z A-Z 0-9 _ -" };
    let u64 = Kind::WrongType { expected: "an integer from 0 to 18446744073709551615" };
    let long = format!(r##"{{"execution":{{"jobId":#"{}"}}}}"##, "j".repeat(65));
    check(&[
        // Not faults.
        (r##"#{"timestamp":1700000000}"##, Kind::NothingPending, "execution", None),
        (r##"#{"timestamp":1,"clientToken":"t"}"##, Kind::NothingPending, "execution", None),
        (r##"{"timestamp":1,"execution":#{}}"##, Kind::NothingPending, "execution", None),
        // Envelopes.
        (r##"#{"timestamp":1,"x":1}"##, OTHERS, "document", None),
        (r##"{"execution":#{"status":"QUEUED"}}"##, Kind::Missing, "execution.jobId", None),
        (r##"{"execution":{"jobId":#""}}"##, Kind::Empty, "execution.jobId", None),
        (r##"{"execution":{"jobId":#5}}"##, STRING, "execution.jobId", None),
        (r##"{"execution":{"jobId":#"a/b"}}"##, id, "execution.jobId", None),
        (&long, id, "execution.jobId", None),
        (r##"{"execution":{"jobId":"j","versionNumber":#-1}}"##, u64, "execution.versionNumber", Some("j")),
        (r##"{"execution":{"jobId":"j","status":#1}}"##, STRING, "execution.status", Some("j")),
        (r##"{"execution":#{"jobId":"j"}}"##, Kind::Missing, "execution.jobDocument", Some("j")),
        (r##"{"execution":{"jobId":"j","jobDocument":#"{}"}}"##, OBJECT, "execution.jobDocument", Some("j")),
        // A document of another agent is not refused by its job's name.
        (r##"{"execution":{"jobId":"j","jobDocument":#{"mine":1}}}"##, OTHERS, "execution.jobDocument", None),
    ]);
    let error = parse(br#"{"execution":{"jobId":"j","jobDocument":{"operation":"ota"}}}"#).unwrap_err();
    let mut out = [0; 100];
    let report = r#"{"status":"REJECTED","statusDetails":{"reason":"field-missing"}}"#;
    assert_eq!(error.rejection(error.reason(), &mut out), Ok(Some(report)));
}

#[test]
fn afr_ota() {
    let files = |entry: &str| format!(r##"{{"afr_ota":{{"protocols":["HTTP"],"files":[{entry}]}}}}"##);
    let with = |field: &str| files(&format!(r##"{{"update_data_url":"https://h",{field}}}"##));
    let unknown = Kind::WrongType { expected: "a signature of a known algorithm" };
    let url = "afr_ota.files[0].update_data_url";
    check(&[
        (r##"{"afr_ota":#[]}"##, OBJECT, "afr_ota", None),
        (r##"{"afr_ota":#{}}"##, Kind::Missing, "afr_ota.files", None),
        (r##"{"afr_ota":{"files":#[]}}"##, Kind::Empty, "afr_ota.files", None),
        (
            r##"{"execution":{"jobId":"j","jobDocument":{"afr_ota":{"files":[#1]}}}}"##,
            OBJECT,
            "execution.jobDocument.afr_ota.files[0]",
            Some("j"),
        ),
        (
            r##"{"afr_ota":{"protocols":#5,"files":[{}]}}"##,
            Kind::WrongType { expected: "an array" },
            "afr_ota.protocols",
            None,
        ),
        (r##"{"afr_ota":#{"protocols":["MQTT"],"files":[{}]}}"##, Kind::Missing, "afr_ota.streamname", None),
        (&files("#{}"), Kind::Missing, url, None),
        (
            &files(r##"{"update_data_url":#"${aws:iot:s3-presigned-url-v2:https://s3.r.amazonaws.com/b/k}"}"##),
            Kind::PresignedPlaceholder,
            url,
            None,
        ),
        (
            &files(r##"{"update_data_url":#"${aws:iot:s3-presigned-url:https://s3/b/k}"}"##),
            Kind::PresignedPlaceholder,
            url,
            None,
        ),
        (&files(r##"{"update_data_url":#"s3://b/k"}"##), HTTP, url, None),
        (&with(r##""filesize":#-1"##), U32, "afr_ota.files[0].filesize", None),
        (&with(r##""filesize":#"""##), U32, "afr_ota.files[0].filesize", None),
        (&with(r##""filesize":#4294967296"##), U32, "afr_ota.files[0].filesize", None),
        (&with(r##""filesize":#1.0"##), U32, "afr_ota.files[0].filesize", None),
        (&with(r##""fileid":#"x""##), U32, "afr_ota.files[0].fileid", None),
        (&with(r##""fileType":#[]"##), U32, "afr_ota.files[0].fileType", None),
        (&with(r##""filepath":#1"##), STRING, "afr_ota.files[0].filepath", None),
        (r##"{"afr_ota":{"streamname":#5,"files":[{}]}}"##, STRING, "afr_ota.streamname", None),
        (
            r##"{"afr_ota":{"protocols":["HTTP"],"streamname":"s","files":[#{"update_data_url":null}]}}"##,
            Kind::Missing,
            url,
            None,
        ),
        (r##"{"afr_ota":{"protocols":["BLE"],"files":[#{}]}}"##, Kind::Missing, url, None),
        (r##"{"afr_ota":{"protocols":#[],"files":[{}]}}"##, Kind::Empty, "afr_ota.protocols", None),
        (&with(r##""certfile":#{}"##), STRING, "afr_ota.files[0].certfile", None),
        (&with(r##""filesize":#"-1""##), U32, "afr_ota.files[0].filesize", None),
        (&with(r##""sig-sha256-rsa":#5"##), STRING, "afr_ota.files[0].sig-*", None),
        (&with(r##""sig-sha256-ecdsa":#"""##), Kind::Empty, "afr_ota.files[0].sig-*", None),
        (&with(r##""sig-sha512-x":#"AA==""##), unknown, "afr_ota.files[0].sig-*", None),
    ]);
}

#[test]
fn the_default_document() {
    let with = |field: &str| format!(r##"{{"operation":"ota","artifact":{{"url":"https://h",{field}}}}}"##);
    let both = Kind::WrongType { expected: "absent beside `artifact`" };
    let hex = Kind::WrongType { expected: "64 hexadecimal digits" };
    let algorithm = Kind::WrongType { expected: "a known algorithm" };
    check(&[
        (r##"#{"operation":"reboot"}"##, OTHERS, "document", None),
        (r##"#{"operation":"ota"}"##, Kind::Missing, "artifact", None),
        (r##"{"operation":"ota","artifact":#[]}"##, OBJECT, "artifact", None),
        (r##"{"operation":"ota","artifact":#{}}"##, Kind::Missing, "artifact.url", None),
        (r##"{"operation":"ota","artifact":{},"files":#[]}"##, both, "files", None),
        (r##"{"operation":"ota","files":#[]}"##, Kind::Empty, "files", None),
        (r##"{"operation":"ota","version":#2,"files":[{}]}"##, STRING, "version", None),
        (
            r##"{"operation":"ota","files":[{"url":#"${aws:iot:s3-presigned-url:x}"}]}"##,
            Kind::PresignedPlaceholder,
            "files[0].url",
            None,
        ),
        (r##"{"operation":"ota","hardware":#[],"files":[{}]}"##, STRING, "hardware", None),
        (r##"{"operation":"ota","files":#{}}"##, Kind::WrongType { expected: "an array" }, "files", None),
        (r##"{"operation":"ota","files":[#"https://h"]}"##, OBJECT, "files[0]", None),
        (&with(r##""name":#5"##), STRING, "artifact.name", None),
        (&with(r##""tag":#{}"##), STRING, "artifact.tag", None),
        (&with(r##""signature":#"""##), Kind::Empty, "artifact.signature", None),
        (&with(r##""signature":{"algorithm":"ed25519","value":#""}"##), Kind::Empty, "artifact.signature.value", None),
        (&with(r##""size":#-5"##), U32, "artifact.size", None),
        (&with(r##""sha256":#"ab""##), hex, "artifact.sha256", None),
        (&with(r##""sha256":#5"##), STRING, "artifact.sha256", None),
        (
            &with(r##""signature":#5"##),
            Kind::WrongType { expected: "an object or a string" },
            "artifact.signature",
            None,
        ),
        (
            &with(r##""signature":{"algorithm":#"rot13","value":"AA=="}"##),
            algorithm,
            "artifact.signature.algorithm",
            None,
        ),
        (&with(r##""signature":#{"algorithm":"ed25519"}"##), Kind::Missing, "artifact.signature.value", None),
    ]);
}

#[test]
fn ota_update() {
    let with = |fields: &str| format!(r##"{{"Message":"Update Available","Board":"B","Version":"2.0.0",{fields}}}"##);
    let port = Kind::WrongType { expected: "a port from 1 to 65535, as a string" };
    check(&[
        (r##"{"Message":#"No Update Available"}"##, Kind::NothingPending, "Message", None),
        (r##"{"Message":#"Success","Connection":"HTTP"}"##, Kind::NothingPending, "Message", None),
        (r##"#{"Message":"Hello"}"##, OTHERS, "document", None),
        (r##"#{"Message":"Update Available","File":"/f"}"##, Kind::Missing, "Version", Some("/f")),
        (r##"#{"Message":"Update Available","Version":"1","File":"/f"}"##, Kind::Missing, "Board", Some("/f")),
        (&format!("#{}", with(r##""File":"/f""##)), Kind::Missing, "Connection", Some("/f")),
        (
            &with(r##""File":"/f","connection":#"FTP""##),
            Kind::WrongType { expected: "MQTT, HTTP or HTTPS" },
            "Connection",
            Some("/f"),
        ),
        (&format!("#{}", with(r##""Connection":"HTTP""##)), Kind::Missing, "File", None),
        (&with(r##""Connection":"HTTP","File":"/f","Port":#443"##), STRING, "Port", Some("/f")),
        (&with(r##""Connection":"HTTP","File":"/f","Port":#"""##), port, "Port", Some("/f")),
        (&with(r##""Connection":"HTTP","File":"/f","Port":#"65536""##), port, "Port", Some("/f")),
        (&with(r##""Connection":"HTTP","File":"/f","Port":#"0""##), port, "Port", Some("/f")),
        (&with(r##""Connection":"HTTP","File":"/f","Port":#"-1""##), port, "Port", Some("/f")),
        (&with(r##""Connection":#1,"File":"/f""##), STRING, "Connection", Some("/f")),
        (&with(r##""Connection":"HTTP","File":"/f","Broker":#1"##), STRING, "Broker", Some("/f")),
        (&format!("#{}", with(r##""Connection":"MQTT""##)), Kind::Missing, "UniqueTopicName", None),
        (
            r##"{"Message":"Update Available","Version":#2,"Board":"B","Connection":"HTTP","File":"/f"}"##,
            STRING,
            "Version",
            Some("/f"),
        ),
        (
            r##"{"Message":"Update Available","Version":"2","Board":#"","Connection":"HTTP","File":"/f"}"##,
            Kind::Empty,
            "Board",
            Some("/f"),
        ),
        (
            &with(r##""Connection":"HTTP","File":"/f","Server":#"a/b""##),
            Kind::BadUrl { expected: "a host" },
            "Server",
            Some("/f"),
        ),
        (
            &with(r##""Connection":"HTTP","File":#"/f\r\nX:1""##),
            Kind::BadUrl { expected: "printable ASCII without spaces" },
            "File",
            Some("/f\r\nX:1"),
        ),
    ]);
}

#[test]
fn https_can_be_required() {
    for (document, place) in [
        (r#"{"v":2.1,"ct":1,"ack":"7","urls":[{"url":"https://h"},{"url":"http://h"}]}"#, Some("urls[1].url")),
        (r#"{"v":2.1,"ct":1,"ack":"7","urls":[{"url":"HTTPS://h"}]}"#, None),
        (r#"{"cmdType":"0x02","ackId":"7","command":"ota http://h"}"#, Some("command")),
        (
            r#"{"Message":"Update Available","Board":"B","Version":"2","Connection":"HTTP","File":"7"}"#,
            Some("Connection"),
        ),
        (
            r#"{"execution":{"jobId":"7","jobDocument":{"afr_ota":{"streamname":"s","files":[{"filesize":1}]}}}}"#,
            Some("execution.jobDocument.afr_ota.files[0].update_data_url"),
        ),
    ] {
        let found = parse(document.as_bytes()).unwrap().require_https();
        assert_eq!(found.map_err(|error| error.path().to_string()).err().as_deref(), place, "{document}");
        assert!(found.err().is_none_or(|error| error.id().unwrap() == "7"));
    }
}

#[test]
fn a_second_delivery_is_told_with_its_place() {
    for (marked, path, id) in [
        (r##"{"v":2.1,"ct":1,"ack":#"7","urls":[{"url":"http://h"}]}"##, "ack", Some("7")),
        (r##"{"d":{"ota":{"ack":#"7","urls":[{"url":"http://h"}]}}}"##, "d.ota.ack", Some("7")),
        (r##"{"d":{"ack":#"7","ota":{"urls":[{"url":"http://h"}]}}}"##, "d.ack", Some("7")),
        (r##"{"ota":{"ack":#"7","urls":[{"url":"http://h"}]}}"##, "ota.ack", Some("7")),
        (r##"{"d":{"ota":#{"ver":{},"urls":[{"url":"http://h"}]}}}"##, "d", None),
        (r##"{"cmdType":"0x02","data":{"ackId":#"7","command":"ota http://h"}}"##, "data.ackId", Some("7")),
        (r##"{"cmdType":"0x02","ackId":#"7","command":"ota http://h"}"##, "ackId", Some("7")),
        (
            r##"{"execution":{"jobId":#"7","jobDocument":{"operation":"ota","artifact":{"url":"http://h"}}}}"##,
            "execution.jobId",
            Some("7"),
        ),
        (
            r##"{"execution":{"jobDocument":{"afr_ota":{"files":[{"update_data_url":"http://h"}]}},"jobId":#"7"}}"##,
            "execution.jobId",
            Some("7"),
        ),
        (r##"#{"operation":"ota","artifact":{"url":"http://h"}}"##, "document", None),
        (
            r##"{"Message":"Update Available","Board":"B","Version":"2","Connection":"HTTP","File":#"7"}"##,
            "File",
            Some("7"),
        ),
        (
            r##"{"Message":"Update Available","Board":"B","Version":"2","Connection":"MQTT","uniquetopicname":#"7"}"##,
            "UniqueTopicName",
            Some("7"),
        ),
    ] {
        let offset = marked.find('#').unwrap();
        let document = marked.replacen('#', "", 1);
        let job = parse(document.as_bytes()).unwrap_or_else(|error| panic!("{document}: {error}"));
        assert!(job.require_new(&[job.key() ^ 1, 0]).is_ok() && job.key() != 0);
        let error = job.require_new(&[1, job.key()]).unwrap_err();
        let found = (error.kind(), error.path().to_string(), error.offset(), error.id().map(|id| id.to_string()));
        assert_eq!(found, (Kind::Duplicate, path.to_string(), offset, id.map(String::from)), "{document}");
    }
}

#[test]
fn lists_of_pending_jobs() {
    let id = Kind::WrongType { expected: "1 to 64 of a-z A-Z 0-9 _ -" };
    let u64 = Kind::WrongType { expected: "an integer from 0 to 18446744073709551615" };
    let array = Kind::WrongType { expected: "an array" };
    for (marked, kind, path) in [
        ("#[]", OBJECT, "document"),
        (r##"{"jobs":#[]}"##, OBJECT, "jobs"),
        (r##"{"queuedJobs":#{}}"##, array, "queuedJobs"),
        (r##"{"inProgressJobs":[#null]}"##, OBJECT, "inProgressJobs[0]"),
        (r##"{"jobs":{"QUEUED":[{"jobId":"a"},#{}]}}"##, Kind::Missing, "jobs.QUEUED[1].jobId"),
        (r##"{"jobs":{"IN_PROGRESS":[{"jobId":#"a b"}]}}"##, id, "jobs.IN_PROGRESS[0].jobId"),
        (r##"{"queuedJobs":[{"jobId":"a","queuedAt":#-1}]}"##, u64, "queuedJobs[0].queuedAt"),
        (r##"{"queuedJobs":[{"jobId":"a"}#"##, Kind::CutShort, "document"),
    ] {
        let document = marked.replacen('#', "", 1);
        let error = aws::pending_jobs(document.as_bytes()).unwrap_err();
        let found = (error.kind(), error.path().to_string(), error.offset());
        assert_eq!(found, (kind, path.to_string(), marked.find('#').unwrap()), "{document}");
    }
}

#[test]
fn a_dialect_is_told_without_reading_the_job() {
    for (document, dialect) in [
        (r#"{"v":"2.1","ct":0}"#, Dialect::IotConnect21),
        (r#"{"d":{"ct":205}}"#, Dialect::IotConnect21),
        (r#"{"cmdType":"0x01","data":{}}"#, Dialect::IotConnect20),
        (r#"{"execution":{"jobId":"j","jobDocument":{"operation":"ota"}}}"#, Dialect::AwsJobs),
        (r#"{"execution":{"jobId":"j","jobDocument":{"afr_ota":1}}}"#, Dialect::AfrOta),
        (r#"{"message":"no update available"}"#, Dialect::OtaUpdate),
    ] {
        assert_eq!(detect(document.as_bytes()), Ok(dialect), "{document}");
    }
    for (document, kind) in [
        ("{}", OTHERS),
        (r#"{"execution":{"jobId":"j"}}"#, OTHERS),
        (r#"{"timestamp":1}"#, Kind::NothingPending),
        (r#"{"execution":{}}"#, Kind::NothingPending),
        (r#"{"v":"2.1""#, Kind::CutShort),
    ] {
        assert_eq!(detect(document.as_bytes()).map_err(|error| error.kind()), Err(kind), "{document}");
    }
}
