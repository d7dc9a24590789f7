//! Writes what fuzzing starts from, `seeds/`, out of the documents in the crates' own tests:
//! `cargo run --example seeds` in this folder.

use std::fs;
use std::path::Path;

#[path = "../../../crates/sprag-job/tests/forms/mod.rs"]
mod forms;

/// Answers and requests that are no job documents.
const MESSAGES: &[&str] = &[
    r#"{"v":"2.1","ct":0,"cmd":"led on","ack":"g-9"}"#,
    r#"{"d":{"ct":205,"ec":0,"dt":"2026"}}"#,
    r#"{"timestamp":1700000000000}"#,
    r#"{"Message":"No Update Available"}"#,
    r#"{"d":{"ec":0,"ct":200,"p":{"topics":{"rpt":"r","ack":"$aws/rules/msg_d2c_ack/c/d/2.1/6","di":"$aws/rules/msg_d2c_di/c/d/2.1/1","c2d":"iot/c/cmd"}}},"status":200}"#,
    r#"{"clientToken":"1","timestamp":1,"executionState":{"status":"IN_PROGRESS","statusDetails":{"self_test":"ready"},"versionNumber":2},"jobDocument":{"a":[]}}"#,
    r#"{"code":"VersionMismatch","message":"m","clientToken":"1","executionState":{"status":"CANCELED","versionNumber":5,"statusDetails":{"progress":"50"}}}"#,
    r#"{"code":"ResourceNotFound"}"#,
    "[-0.5e+3,null,true,\"\\ud83d\\ude00 \\u0026\\/\",{\"a\":{}}] \0",
];

/// Conversations with AWS IoT Jobs, as `job_aws_jobs` reads them.
const AWS_JOBS: &[&str] = &[
    "c\nq\ns{\"clientToken\":\"0\",\"execution\":{\"jobId\":\"j\",\"status\":\"IN_PROGRESS\",\"versionNumber\":1,\"jobDocument\":{\"operation\":\"ota\",\"artifact\":{\"url\":\"https://h/a\"}}}}\np12345\nu{\"clientToken\":\"1\",\"executionState\":{\"status\":\"IN_PROGRESS\",\"versionNumber\":2}}\nr\nq\ng{\"clientToken\":\"2\",\"execution\":{\"jobId\":\"j\",\"status\":\"IN_PROGRESS\",\"versionNumber\":2,\"jobDocument\":{}}}\nd\nu{\"clientToken\":\"3\"}\nq\ns{\"clientToken\":\"4\",\"timestamp\":1}",
    "c\nq\ns{\"clientToken\":\"0\",\"execution\":{\"jobId\":\"j\",\"versionNumber\":1}}\nt0x1\nb\nc\nq\nfno\nU{\"code\":\"VersionMismatch\",\"executionState\":{\"versionNumber\":5,\"status\":\"IN_PROGRESS\"}}\nfno\nU{\"code\":\"TerminalStateReached\",\"executionState\":{\"status\":\"FAILED\"}}",
    "n{\"timestamp\":1,\"execution\":{\"jobId\":\"j\"}}\nq\ns{\"execution\":{\"jobId\":\"j\"}}\nn{\"timestamp\":2}\nq\nG{\"code\":\"ResourceNotFound\"}\nS{\"code\":\"RequestThrottled\",\"clientToken\":\"0\"}\no{}\n#$aws/things/t/jobs/j/update {}",
];

/// Brokers, as `mqtt_packet` reads them: version, length of a read, memory, and what is said.
const MQTT: &[&[u8]] = &[
    b"\x00\xFF\xFF\x20\x02\0\0\x90\x03\0\x01\x01\x40\x02\0\x02\x30\x05\0\x01abc\x32\x07\0\x01a\0\x09bc\xD0\0",
    b"\x01\x03\x40\x20\x0D\0\0\x0A\x27\0\0\x20\0\x24\x01\x21\0\x14\x90\x04\0\x01\0\x01\x40\x04\0\x02\0\0\xE0\x02\x8E\0",
    b"\x03\x07\x20\x90\x04\0\x01\0\x01\x32\x08\0\x01a\0\x09\0bc\x3B\x0F\0\x01a\0\x09\x07\x26\0\x01k\0\x01vbc",
    b"\x02\x05\x10\x32\x1E\0\x01a\0\x0912345678901234567890123456\x30\x03\0\x01a",
];

fn main() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let good = forms::GOOD.iter().map(|(document, _)| *document);
    let lists = forms::LISTS.iter().map(|(document, _)| *document);
    write(&home.join("job"), good.chain(lists).chain(MESSAGES.iter().copied()));
    let lines: Vec<&str> = forms::GOOD.iter().map(|(document, _)| *document).take(4).collect();
    write(&home.join("job_iotconnect"), [lines.join("\n").as_str()].into_iter());
    write(&home.join("job_aws_jobs"), AWS_JOBS.iter().copied());
    write(&home.join("mqtt"), MQTT.iter().copied());
}

fn write(folder: &Path, seeds: impl Iterator<Item = impl AsRef<[u8]>>) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    for (number, seed) in seeds.enumerate() {
        fs::write(folder.join(format!("{number:02}")), seed).unwrap();
    }
}
