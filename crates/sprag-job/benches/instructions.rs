//! One reading after the other, for callgrind to count: `cargo xtask bench job`. On standard output stands what was read
//! by whom, a line for each call of `measured`: reader, document, bytes, and `once` or `twice` for a hostile document and
//! the one of twice the length.

use std::hint::black_box;

use serde::Deserialize;
use sprag_job::parse;

type Reader = (&'static str, fn(&[u8]) -> usize);

const IOTCONNECT: &str = include_str!("documents/iotconnect-2.1.json");
const AWS_JOBS: &str = include_str!("documents/aws-jobs.json");
const AFR_OTA: &str = include_str!("documents/afr-ota.json");
const OTA_UPDATE: &str = include_str!("documents/ota-update.json");

/// What `serde` is to find, absent fields allowed as here. Texts are borrowed, so none may have an escape.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Typed<'a> {
    v: &'a str,
    ct: u32,
    ack: &'a str,
    sw: Option<&'a str>,
    hw: Option<&'a str>,
    #[serde(borrow)]
    urls: heapless::Vec<File<'a>, 4>,
    execution: Option<Execution<'a>>,
    #[serde(rename = "Board")]
    board: Option<&'a str>,
    #[serde(rename = "Version")]
    version: Option<&'a str>,
    #[serde(rename = "Connection")]
    connection: Option<&'a str>,
    #[serde(rename = "Server")]
    server: Option<&'a str>,
    #[serde(rename = "Port")]
    port: Option<&'a str>,
    #[serde(rename = "File")]
    file: Option<&'a str>,
}

#[derive(Deserialize)]
struct Execution<'a> {
    #[serde(rename = "jobId")]
    job_id: &'a str,
    #[serde(rename = "versionNumber")]
    version_number: u64,
    #[serde(rename = "jobDocument", borrow)]
    document: Document<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document<'a> {
    operation: &'a str,
    version: Option<&'a str>,
    hardware: Option<&'a str>,
    #[serde(borrow)]
    artifact: Option<File<'a>>,
    afr_ota: Option<Afr<'a>>,
}

#[derive(Deserialize)]
struct Afr<'a> {
    #[serde(borrow)]
    protocols: heapless::Vec<&'a str, 2>,
    files: heapless::Vec<File<'a>, 4>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File<'a> {
    url: &'a str,
    update_data_url: &'a str,
    #[serde(rename = "fileName")]
    file_name: Option<&'a str>,
    name: Option<&'a str>,
    filepath: Option<&'a str>,
    size: Option<u32>,
    filesize: Option<u32>,
    sha256: Option<&'a str>,
    #[serde(rename = "sig-sha256-ecdsa")]
    signature: Option<&'a str>,
    certfile: Option<&'a str>,
}

/// The same work for every reader: the id, and each byte of the URLs.
fn ours(document: &[u8]) -> usize {
    let Ok(job) = parse(document) else { return 0 };
    let urls = job.artifacts().filter_map(|artifact| artifact.location());
    job.id().len() + urls.map(|url| url.bytes().count()).sum::<usize>()
}

fn typed(found: &Typed<'_>) -> usize {
    let mut files: usize = found.urls.iter().map(|file| file.url.len()).sum();
    if let Some(execution) = &found.execution {
        files += execution.job_id.len() + usize::from(execution.version_number > 0);
        files += execution.document.artifact.as_ref().map_or(0, |file| file.url.len());
        let afr = execution.document.afr_ota.as_ref();
        files += afr.map_or(0, |afr| {
            afr.protocols.len() + afr.files.iter().map(|file| file.update_data_url.len()).sum::<usize>()
        });
    }
    files + found.ack.len() + found.file.map_or(0, str::len)
}

fn serde_json_typed(document: &[u8]) -> usize {
    serde_json::from_slice::<Typed<'_>>(document).map_or(0, |found| typed(&found))
}

fn serde_json_value(document: &[u8]) -> usize {
    serde_json::from_slice::<serde_json::Value>(document)
        .map_or(0, |found| found.as_object().map_or(0, |map| map.len()))
}

fn serde_json_core_typed(document: &[u8]) -> usize {
    serde_json_core::from_slice::<Typed<'_>>(document).map_or(0, |(found, _)| typed(&found))
}

/// What callgrind counts: this call and everything in it.
// SAFETY: no other symbol of this program has the name, by which callgrind knows it whatever the mangling.
#[unsafe(no_mangle)]
#[inline(never)]
fn measured(read: fn(&[u8]) -> usize, document: &[u8]) -> usize {
    black_box(read(black_box(document)))
}

fn main() {
    let readers: [Reader; 4] = [
        ("sprag-job", ours),
        ("serde-json-core, typed", serde_json_core_typed),
        ("serde_json, typed", serde_json_typed),
        ("serde_json, `Value`", serde_json_value),
    ];
    // A job with 32 KB beside it that nobody asked for.
    let vendor = r#"{"k":[1,-2.5e3,true,null,"text of some length, as it happens"]},"#.repeat(500);
    let long = AWS_JOBS.replacen(r#""artifact""#, &format!(r#""vendor":[{vendor}0],"artifact""#), 1);
    let documents = [
        ("`iotconnect-2.1`", IOTCONNECT),
        ("`aws-jobs` in its execution", AWS_JOBS),
        ("`afr-ota` in its execution", AFR_OTA),
        ("`ota-update`", OTA_UPDATE),
        ("`aws-jobs`, 32 KB of other fields", &long),
    ];
    for (name, document) in documents {
        for (reader, read) in readers {
            assert_ne!(measured(read, document.as_bytes()), 0, "{reader} can't read {name}");
            println!("{reader}\t{name}\t{}\t", document.len());
        }
    }
    for (name, head, again, tail) in HOSTILE {
        for (times, which) in [(1, "once"), (2, "twice")] {
            let document = format!("{head}{}{tail}", again.repeat(16_384 * times / again.len()));
            measured(ours, document.as_bytes());
            println!("sprag-job\t{name}\t{}\t{which}", document.len());
        }
    }
}

/// Beginning, what is repeated, end.
const HOSTILE: [(&str, &str, &str, &str); 12] = [
    ("artifacts of 2.1", r#"{"v":2.1,"ct":1,"ack":"7","urls":[{"url":"http://h"}"#, r#",{"url":"http://h"}"#, "]}"),
    ("artifacts of 2.0", r#"{"cmdType":"0x02","ackId":"7","urls":["http://h""#, r#","http://h""#, "]}"),
    (
        "files of `afr_ota`",
        r#"{"afr_ota":{"streamname":"s","files":[{"update_data_url":"http://h"}"#,
        r#",{"update_data_url":"http://h"}"#,
        "]}}",
    ),
    (
        "files of `aws-jobs`",
        r#"{"execution":{"jobId":"j","jobDocument":{"operation":"ota","files":[{"url":"http://h"}"#,
        r#",{"url":"http://h"}"#,
        "]}}}",
    ),
    ("members", r#"{"v":2.1,"ct":1"#, r#","k":{"k":[]}"#, r#","ack":"7","urls":[{"url":"http://h"}]}"#),
    ("the same key", r#"{"v":2.1,"ct":1"#, r#","ack":"7""#, r#","urls":[{"url":"http://h"}]}"#),
    ("a long URL", r#"{"v":2.1,"ct":1,"ack":"7","urls":[{"url":"http://h"#, r"\u002f", r#""}]}"#),
    ("a long key", r#"{"v":2.1,"ct":1,"ack":"7","urls":[{"url":"http://h"}],""#, r"\u0061", r#"":0}"#),
    ("spaces", "", " ", r#"{"v":2.1,"ct":1,"ack":"7","urls":[{"url":"http://h"}]}"#),
    ("an array cut short", r#"{"execution":{"jobId":"j","jobDocument":{"afr_ota":{"files":["#, "[{}],", ""),
    ("objects cut short", r#"{"d":{"ota":{"ack":"7","ver":{"sw":""#, r"\n", ""),
    ("members of ota-update", r#"{"Message":"Update Available","Connection":"http""#, r#","x":0"#, r#","file":"/"}"#),
];
