//! Documents in every form that producers write, and what must be read from them.
#![allow(dead_code)]

use sprag_job::aws::{PendingJob, PendingJobs};
use sprag_job::{Artifact, Job};

/// A good document and its [`summary`].
pub(crate) const GOOD: &[(&str, &str)] = &[
    // IoTConnect 2.1, on AWS and on Azure, for a gateway, and as a pending OTA.
    (
        r#"{"v":"2.1","ct":1,"cmd":"ota","ack":"g-1","sw":"1.5","hw":"1","urls":[{"url":"https://b.s3.amazonaws.com/a?AWSAccessKeyId=A&Expires=1&x-amz-security-token=t%2F&Signature=s%3D","fileName":"a.bin"}]}"#,
        "iotconnect-2.1 g-1 1.5 1 | https://b.s3.amazonaws.com/a?AWSAccessKeyId=A&Expires=1&x-amz-security-token=t%2F&Signature=s%3D name=a.bin http",
    ),
    (
        r#"{"v":2.1,"ct":1,"cmd":"ota","ack":"g-1","sw":"1.5","hw":"","urls":[{"url":"https://b.blob.core.windows.net/a?sv=1&sr=b&sig=x%2B&se=2&sp=r"},{"url":"http://h","tg":"pump"}]}"#,
        "iotconnect-2.1 g-1 1.5  | https://b.blob.core.windows.net/a?sv=1&sr=b&sig=x%2B&se=2&sp=r http | http://h tag=pump http",
    ),
    (
        r#"{"d":{"ct":205,"ec":0,"dt":"2026","ota":{"ver":{"sw":"1.5","hw":"1"},"urls":[{"url":"https://h/a","fileName":"a"}]}}}"#,
        "iotconnect-2.1  1.5 1 | https://h/a name=a http",
    ),
    (
        r#"{"ota":{"ack":"g-2","ver":{"sw":"1.5"},"urls":[{"url":"https://h/a"}]}}"#,
        "iotconnect-2.1 g-2 1.5 - | https://h/a http",
    ),
    // IoTConnect 2.0, its bare data and its older forms.
    (
        r#"{"cmdType":"0x02","data":{"cpid":"c","guid":"g","uniqueId":"u","command":"ota","ack":false,"ackId":"g-3","cmdType":"0x02","ver":{"sw":"0.2","hw":"0.1"},"urls":[{"url":"https://h/a","tag":"child"}]}}"#,
        "iotconnect-2.0 g-3 0.2 0.1 | https://h/a tag=child http",
    ),
    (
        r#"{"cpid":"c","command":"ota","ack":true,"ackId":"g-3","cmdType":"0X2","ver":{"sw":"0.2","hw":null},"urls":["https://h/a","http://h/b"]}"#,
        "iotconnect-2.0 g-3 0.2 - | https://h/a http | http://h/b http",
    ),
    (
        r#"{"cmdType":"0x02","data":{"command":"ota https://h/a?b=1&c=%2F","ack":"true","ackId":"g-3","urls":null}}"#,
        "iotconnect-2.0 g-3 - - | https://h/a?b=1&c=%2F http",
    ),
    (r#"{"cmdType":"0x02","data":{"command":"ota  http://h","ack":false}}"#, "iotconnect-2.0  - - | http://h http"),
    (
        r#"{"cmdType":"0x02","data":{"command":"ota http://old","ackId":"g","urls":["http://new"]}}"#,
        "iotconnect-2.0 g - - | http://new http",
    ),
    // AWS: afr_ota, over HTTP, over MQTT, over both; in an execution and bare.
    (
        r#"{"timestamp":1700000000000,"execution":{"jobId":"AFR_OTA-x_1","status":"QUEUED","queuedAt":1,"lastUpdatedAt":1,"versionNumber":1,"executionNumber":1,"jobDocument":{"afr_ota":{"protocols":["HTTP"],"files":[{"filepath":"/device","filesize":343135,"fileid":0,"certfile":"/certs/c.pem","fileType":2,"update_data_url":"https://h/f?X-Amz-Signature=1","auth_scheme":"aws.s3.presigned","sig-sha256-ecdsa":"MEUC+Q=="}]}}}}"#,
        "afr-ota AFR_OTA-x_1 - - | https://h/f?X-Amz-Signature=1 name=/device size=343135 sig-sha256-ecdsa=MEUC+Q== cert=/certs/c.pem type=2 id=0 http",
    ),
    (
        r#"{"clientToken":"t","timestamp":1,"execution":{"jobId":"j","jobDocument":{"vendor":{"afr_ota":1},"afr_ota":{"protocols":["MQTT"],"streamname":"AFR_OTA-1","files":[{"filepath":null,"filesize":"42","fileid":"7","update_data_url":null,"auth_scheme":null,"sig--":null}]}}}}"#,
        "afr-ota j - - | - size=42 id=7 stream=AFR_OTA-1 mqtt",
    ),
    (
        r#"{"afr_ota":{"protocols":["MQTT","HTTP"],"streamname":"s","files":[{"update_data_url":"https://h","filesize":4294967295,"sig-sha1-rsa":"N/A"},{"filesize":0}]}}"#,
        "afr-ota  - - | https://h size=4294967295 stream=s http mqtt | - size=0 stream=s http mqtt",
    ),
    (r#"{"afr_ota":{"files":[{"update_data_url":"https://h"}]}}"#, "afr-ota  - - | https://h http"),
    (
        r#"{"afr_ota":{"protocols":["http"],"files":[{"update_data_url":"https://h","sig-sha256-rsa":"AA=="},{"update_data_url":"https://h","sig-sha1-ecdsa":"BA=="},{"update_data_url":"https://h","sig-sha1-rsa":"CA=="}]}}"#,
        "afr-ota  - - | https://h sig-sha256-rsa=AA== http | https://h sig-sha1-ecdsa=BA== http | https://h sig-sha1-rsa=CA== http",
    ),
    // AWS: the crate's own document.
    (
        r#"{"execution":{"jobId":"fleet-1","versionNumber":0,"jobDocument":{"operation":"ota","version":"1.5.0","hardware":"rev-b","artifact":{"url":"https://h/a","name":"a.bin","size":5,"sha256":"00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF","signature":{"algorithm":"ed25519","value":"AA=="}}}}}"#,
        "aws-jobs fleet-1 1.5.0 rev-b | https://h/a name=a.bin size=5 sha256=00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF ed25519=AA== http",
    ),
    (
        r#"{"operation":"ota","version":"2","files":[{"url":"https://h/a","signature":"AA=="},{"url":"https://h/b","tag":"pump","fileType":3,"signature":{"algorithm":"sha256-rsa","value":"BA=="}}]}"#,
        "aws-jobs  2 - | https://h/a ed25519=AA== http | https://h/b tag=pump sig-sha256-rsa=BA== type=3 http",
    ),
    // ota-update.
    (
        r#"{"Message":"Update Available","Manufacturer":"M","ManufacturerId":"1","Product":"P","SerialNumber":"S","Board":"CY8CPROTO_062_4343W","Version":"2.0.0","Connection":"HTTPS","Server":"h.example","Port":"443","File":"/ota.bin?a=1","UniqueTopicName":"t"}"#,
        "ota-update /ota.bin?a=1 2.0.0 CY8CPROTO_062_4343W | https://h.example:443/ota.bin?a=1 name=/ota.bin?a=1 http",
    ),
    (
        r#"{"MESSAGE":"update available","board":"B","version":"2.0.0","CONNECTION":"http","server":"","file":"ota.bin"}"#,
        "ota-update ota.bin 2.0.0 B | http:///ota.bin name=ota.bin http",
    ),
    (
        r#"{"Message":"Update Available","Board":"B","Version":"2.0.0","Connection":"MQTT","Broker":"b.example","Port":"1883","UniqueTopicName":"kit/7"}"#,
        "ota-update kit/7 2.0.0 B | mqtt://b.example:1883/ mqtt",
    ),
];

/// A list of pending jobs, in either form, and its [`pending_summary`].
pub(crate) const LISTS: &[(&str, &str)] = &[
    (
        r#"{"clientToken":"7","timestamp":1700000000,"inProgressJobs":[{"jobId":"a","queuedAt":1,"lastUpdatedAt":3,"startedAt":2,"executionNumber":1,"versionNumber":0}],"queuedJobs":[{"jobId":"b","queuedAt":1700000000000},{"jobId":"c_-"}]}"#,
        "7 a@0#1 1 2 3 | b@-#- 1700000000000 - - | c_-@-#- - - -",
    ),
    (
        r#"{"timestamp":1,"jobs":{"IN_PROGRESS":[{"jobId":"a","versionNumber":2}],"QUEUED":[{"jobId":"b"}],"CANCELED":[5]}}"#,
        "- a@2#- - - - | b@-#- - - -",
    ),
    (r#"{"timestamp":1,"jobs":{}}"#, "-"),
    (r#"{"timestamp":1,"inProgressJobs":[],"queuedJobs":null}"#, "-"),
];

/// A list of pending jobs, on one line.
pub(crate) fn pending_summary(pending: &PendingJobs<'_>) -> String {
    let or_dash = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
    let one = |job: PendingJob<'_>| {
        let numbers = [job.version_number(), job.execution_number()].map(or_dash).join("#");
        let times = [job.queued_at(), job.started_at(), job.last_updated_at()].map(or_dash).join(" ");
        format!("{}@{numbers} {times}", job.job_id())
    };
    let jobs: Vec<String> = pending.in_progress().chain(pending.queued()).map(one).collect();
    let token = pending.client_token().map_or("-".into(), |token| token.to_string());
    format!("{token} {}", jobs.join(" | ")).trim_end().to_owned()
}

/// Everything that a job says, on one line.
pub(crate) fn summary(job: &Job<'_>) -> String {
    let or_dash = |text: Option<sprag_job::Text<'_>>| text.map_or("-".into(), |text| text.to_string());
    let head = format!("{} {} {} {}", job.dialect(), job.id(), or_dash(job.version()), or_dash(job.hardware()));
    job.artifacts().fold(head, |line, artifact| line + " | " + &one(&artifact))
}

fn one(artifact: &Artifact<'_>) -> String {
    let mut line = artifact.location().map_or("-".into(), |location| location.to_string());
    let url = artifact.url().to_string();
    assert!(url.is_empty() || url == line);
    let mut put = |name: &str, value: Option<String>| {
        line += &value.map_or(String::new(), |value| format!(" {name}={value}"));
    };
    put("name", artifact.name().map(|text| text.to_string()));
    put("tag", artifact.tag().map(|text| text.to_string()));
    put("size", artifact.size().map(|size| size.to_string()));
    if let Some(digest) = artifact.digest() {
        assert_eq!(digest.bytes().count(), 32);
        put(digest.algorithm().name(), Some(digest.hex().to_string()));
    }
    if let Some(signature) = artifact.signature() {
        put(signature.algorithm().name(), Some(signature.value().to_string()));
    }
    put("cert", artifact.certificate().map(|text| text.to_string()));
    put("type", artifact.file_type().map(|number| number.to_string()));
    put("id", artifact.file_id().map(|number| number.to_string()));
    put("stream", artifact.stream().map(|text| text.to_string()));
    let protocols = artifact.protocols();
    line + if protocols.http { " http" } else { "" } + if protocols.mqtt { " mqtt" } else { "" }
}
