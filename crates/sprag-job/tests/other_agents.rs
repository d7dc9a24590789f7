//! Job documents of other agents on the same thing, and texts that AWS has not replaced.
#![cfg(all(feature = "iotconnect", feature = "iotconnect-20", feature = "aws-jobs", feature = "afr-ota"))]

use serde_json::{Value, json};
use sprag_job::{ParseErrorKind as Kind, aws, detect, parse};

const OTHERS: Kind = Kind::NotAnOta { ct: None };

/// Documents of the kinds that other agents and services write, made up here, bare.
fn documents_of_others() -> Vec<Value> {
    let step = |name: &str, handler: &str, input: Value| json!({"action": {"name": name, "type": "runHandler", "input": {"handler": handler, "args": input}, "runAsUser": ""}});
    vec![
        // The schema of aws-iot-device-client, and what AWS's managed templates make of it.
        json!({"version": "1.0", "steps": [step("Reboot", "reboot.sh", json!([]))]}),
        json!({"version": "1.0", "includeStdOut": "true", "conditions": [], "finalStep": {}, "steps": [
            step("Download-File", "download-file.sh", json!(["https://h/a", "/tmp/a"])),
        ]}),
        json!({"version": "1.0", "steps": [{"action": {"name": "x", "type": "runCommand", "input": {"command": "ls"}}}]}),
        // Its schema before that.
        json!({"operation": "download-file.sh", "args": ["https://h/a", "/tmp/a"], "path": "default"}),
        json!({"operation": "reboot"}),
        // jobs-agent.js of AWS's SDK for JavaScript.
        json!({"operation": "install", "packageName": "p", "workingDirectory": ".", "autoStart": "true",
            "files": [{"fileName": "a", "fileVersion": "1.0", "fileSource": {"url": "https://h/a"}}]}),
        json!({"operation": "firmware-update", "url": "https://h/a"}),
        // nRF Connect SDK.
        json!({"operation": "app_fw_update", "fwversion": "v1.0.2", "size": 181_124,
            "location": {"protocol": "https:", "host": "b", "path": "a"}}),
        // ESP RainMaker.
        json!({"ota_job_id": "j", "url": "https://h/a", "file_md5": "00", "fw_version": "1", "filesize": 1}),
        json!({"ota_job_id": "j", "stream_id": "s", "fw_version": "1", "filesize": 1}),
        json!({"command": "update"}),
        json!({}),
        json!({"v": 1}),
    ]
}

#[test]
fn the_job_of_another_agent_is_left_to_it() {
    for document in documents_of_others() {
        let payload =
            json!({"timestamp": 1, "execution": {"jobId": "theirs", "versionNumber": 1, "jobDocument": document}});
        for payload in [document.to_string(), payload.to_string()] {
            let error = parse(payload.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.reason()), (OTHERS, "not-an-ota"), "{payload}");
            // Nothing to end it with.
            assert!(error.id().is_none() && error.dialect().is_none(), "{payload}");
            assert_eq!(error.rejection("x", &mut []), Ok(None));
            assert_eq!(detect(payload.as_bytes()).unwrap_err().kind(), OTHERS, "{payload}");
        }
        // The application can know it all the same.
        let payload = payload.to_string();
        let execution = aws::execution(payload.as_bytes()).unwrap().unwrap();
        assert_eq!(execution.job_id(), "theirs");
        assert_eq!(execution.job().unwrap_err().kind(), OTHERS);
    }
}

#[test]
fn an_ota_of_an_unknown_version_is_no_other_agents() {
    for document in [json!({"v": "2.0", "ct": 1}), json!({"v": 3, "ct": 1, "urls": []}), json!({"cmdType": 2})] {
        let error = parse(document.to_string().as_bytes()).map_err(|error| error.kind()).unwrap_err();
        assert_eq!(error, Kind::UnknownDialect, "{document}");
    }
    for document in [json!({"operation": "ota"}), json!({"afr_ota": 1})] {
        assert_eq!(parse(document.to_string().as_bytes()).unwrap_err().reason().split('-').next(), Some("field"));
    }
}

/// Every string of a document in turn, with each placeholder in the place of it, or of a part of it: those that are read
/// are refused with what they are, and no other answer comes than before of those that are not.
#[test]
fn a_placeholder_is_refused_wherever_it_is_read() {
    fn strings(value: &mut Value, each: &mut impl FnMut(&mut String)) {
        match value {
            Value::String(text) => each(text),
            Value::Array(items) => items.iter_mut().for_each(|item| strings(item, each)),
            Value::Object(members) => members.values_mut().for_each(|member| strings(member, each)),
            _ => {}
        }
    }
    let documents = [
        (
            json!({"operation": "ota", "version": "1", "hardware": "b", "artifact": {"url": "https://h/a", "name": "n",
                "tag": "t", "sha256": "0".repeat(64), "signature": {"algorithm": "ed25519", "value": "AA=="}}}),
            // All but `operation`.
            8,
        ),
        (json!({"operation": "ota", "artifact": {"url": "https://h/a", "signature": "AA=="}}), 2),
        (
            json!({"afr_ota": {"protocols": ["HTTP"], "streamname": "s", "files": [{"filepath": "/a", "certfile": "c",
                "update_data_url": "https://h/a", "auth_scheme": "aws.s3.presigned", "sig-sha256-ecdsa": "AA=="}]}}),
            // All but `auth_scheme` and the protocol's name.
            5,
        ),
    ];
    for (document, read) in documents {
        let mut count = 0;
        strings(&mut document.clone(), &mut |_| count += 1);
        for (text, kind) in [
            ("${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k}", Kind::PresignedPlaceholder),
            ("${aws:iot:s3-presigned-url-v2:https://s3.amazonaws.com/b/k}", Kind::PresignedPlaceholder),
            ("${aws:iot:code-sign-signature:s3://b/k}", Kind::Placeholder),
            ("${aws:iot:parameter:p}", Kind::Placeholder),
            ("https://h/${aws:iot:parameter:p}/a", Kind::Placeholder),
        ] {
            let mut refused = 0;
            for place in 0..count {
                let (mut changed, mut at) = (document.clone(), 0);
                strings(&mut changed, &mut |string| {
                    if at == place {
                        *string = text.to_owned();
                    }
                    at += 1;
                });
                match parse(changed.to_string().as_bytes()) {
                    Err(error) if error.kind() == kind => refused += 1,
                    other => assert!(other.is_ok_and(|job| job.artifacts().count() == 1) || place_is_a_word(&changed)),
                }
            }
            assert_eq!(refused, read, "{text} in {document}");
        }
    }
    /// Names that choose how the rest is read.
    fn place_is_a_word(document: &Value) -> bool {
        document["operation"] != "ota" || document["afr_ota"]["protocols"][0] != "HTTP"
    }
}

/// A signature that a device could not decode is refused on arrival, not after the download.
#[test]
fn a_signature_is_base64() {
    let forms = |text: &str| {
        [
            json!({"operation": "ota", "artifact": {"url": "https://h/a", "signature": text}}),
            json!({"operation": "ota", "artifact": {"url": "https://h/a", "signature": {"algorithm": "ed25519", "value": text}}}),
            json!({"afr_ota": {"protocols": ["HTTP"], "files": [{"update_data_url": "https://h/a", "sig-sha256-ecdsa": text}]}}),
        ]
    };
    for text in
        ["-----BEGIN CERTIFICATE-----", "Zg===", "signature_hash_0", "AAA", "AA= =", "AA==\n", "AB==", "A-_A", " AAAA"]
    {
        for document in forms(text) {
            let document = document.to_string();
            let error = parse(document.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::WrongType { expected: "base64 with padding" }, "{document}");
        }
    }
    for text in ["AAAA", "Zg==", "+/+/", "MEUCIQ=="] {
        for document in forms(text) {
            assert!(parse(document.to_string().as_bytes()).is_ok(), "{document}");
        }
    }
}

/// Documents that AWS's own library refuses and this crate takes, and the other way round. The README describes each.
#[test]
fn afr_ota_is_taken_without_what_is_learnt_later() {
    let file =
        |fields: Value| json!({"afr_ota": {"protocols": ["MQTT", "HTTP"], "streamname": "s", "files": [fields]}});
    for fields in [
        json!({"update_data_url": "https://h/a", "filesize": 1}),
        json!({"update_data_url": "https://h/a", "sig-sha256-ecdsa": "AA=="}),
        json!({"update_data_url": "https://h/a"}),
        json!({"filesize": 1}),
    ] {
        let document = file(fields).to_string();
        let artifacts = parse(document.as_bytes()).unwrap().artifacts().count();
        assert_eq!(artifacts, 1, "{document}");
    }
    // Its stream would do for a device that has streams. The URL is a fault all the same.
    for url in ["presignedS3Url.s3.amazonaws.com/a", "", "${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k}"] {
        let document = file(json!({"update_data_url": url, "filesize": 1})).to_string();
        assert!(parse(document.as_bytes()).unwrap_err().to_string().starts_with("afr_ota.files[0].update_data_url: "));
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let document = r#"{"v":"2.1","ct":1,"ack":"7","urls":[{"url":"https://h/a"}]}"#;
    let marked = format!("\u{feff}{document}");
    assert_eq!(parse(marked.as_bytes()).unwrap().id(), "7");
    assert_eq!(detect(marked.as_bytes()), detect(document.as_bytes()));
    // Places are those in what arrived.
    let marked = marked.replace("https", "ftps");
    let at = marked.find("\"ftps").unwrap();
    assert_eq!(parse(marked.as_bytes()).unwrap_err().offset(), at);
    for (cut, reason) in
        [("\u{feff}", "json-cut-short"), ("\u{feff}\u{feff}{}", "json-syntax"), (" \u{feff}{}", "json-syntax")]
    {
        assert_eq!(parse(cut.as_bytes()).unwrap_err().reason(), reason);
    }
}
