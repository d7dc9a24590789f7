//! `sprag job inspect`, as a process.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use serde_json::{Value, json};
use sprag_cli::make::{Order, document};

fn inspect(document: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sprag"))
        .args(["job", "inspect", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn inspected(document: &str) -> Value {
    let output = inspect(document, &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_dialect_is_told_apart() {
    let iotconnect = r#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"1.5","hw":"1","urls":[{"url":"https://h/a?b=1\u0026c=2","fileName":"a.bin"}]}"#;
    let artifact = json!({ "url": "https://h/a?b=1&c=2", "name": "a.bin", "tag": null, "size": null, "digest": null, "signature": null });
    assert_eq!(
        inspected(iotconnect),
        json!({ "dialect": "iotconnect-2.1", "id": "7d", "version": "1.5", "hardware": "1", "artifacts": [artifact] })
    );
    let older = r#"{"cmdType":"0x02","data":{"command":"ota","ackId":"7e","cmdType":"0x02","ver":{"sw":"0.2","hw":"0.1"},"urls":[{"url":"https://h/a"}]}}"#;
    let older = inspected(older);
    assert_eq!(
        (&older["dialect"], &older["id"], &older["version"]),
        (&json!("iotconnect-2.0"), &json!("7e"), &json!("0.2"))
    );
    let afr = r#"{"timestamp":1,"execution":{"jobId":"AFR_OTA-1","status":"QUEUED","versionNumber":1,"jobDocument":{"afr_ota":{"protocols":["HTTP"],"files":[{"filepath":"/device","filesize":343135,"fileid":0,"certfile":"/c.pem","update_data_url":"https://h/a","auth_scheme":"aws.s3.presigned","sig-sha256-ecdsa":"MEUCIQ=="}]}}}}"#;
    let afr = inspected(afr);
    assert_eq!((&afr["dialect"], &afr["id"]), (&json!("afr-ota"), &json!("AFR_OTA-1")));
    assert_eq!(afr["artifacts"][0]["size"], json!(343_135));
    assert_eq!(afr["artifacts"][0]["signature"], json!({ "algorithm": "sig-sha256-ecdsa", "value": "MEUCIQ==" }));
    let infineon = r#"{"Message":"Update Available","Manufacturer":"x","Product":"p","Board":"CY8CPROTO_062_4343W","Version":"2.0.0","Connection":"HTTPS","Server":"h","Port":"443","File":"/ota-update.bin"}"#;
    let infineon = inspected(infineon);
    assert_eq!((&infineon["dialect"], &infineon["hardware"]), (&json!("ota-update"), &json!("CY8CPROTO_062_4343W")));
    assert_eq!(infineon["artifacts"][0]["url"], json!("https://h:443/ota-update.bin"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cut = r#"{"v":"2.1","ct":1,"ack":"7d","urls":[{"url":"https://h"#;
    let no_url = r#"{"v":"2.1","ct":1,"ack":"7d","urls":[{"fileName":"a"}]}"#;
    for (document, place) in
        [(cut, format!("byte {}", cut.len())), (no_url, "urls[0].url: missing".to_owned()), ("x", "byte 0".to_owned())]
    {
        let output = inspect(document, &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{document}");
        assert!(stderr.starts_with("sprag: standard input: ") && stderr.lines().count() == 1, "{stderr}");
        assert!(stderr.contains(&place), "{stderr}");
    }
}

fn make(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sprag")).args(["job", "make"]).args(arguments).output().unwrap()
}

/// Dialect, URL and version are all that it takes, and what is made is read.
#[test]
fn what_is_made_is_read_in_every_dialect() {
    for dialect in ["iotconnect-2.1", "iotconnect-2.0", "aws-jobs", "afr-ota", "ota-update"] {
        let url = "https://h/dir/app.bin?X-Amz-Signature=ab%2Fcd&b=2";
        let made = make(&["--dialect", dialect, "--url", url, "--version", "2.0.0"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let read = inspected(&String::from_utf8(made.stdout).unwrap());
        assert_eq!(read["dialect"], dialect);
        assert_eq!(read["artifacts"][0]["url"].as_str().unwrap().replace(":443", ""), url);
        // afr_ota has no version.
        assert_eq!(read["version"], if dialect == "afr-ota" { Value::Null } else { json!("2.0.0") });
    }
}

#[test]
fn for_aws_it_is_a_placeholder_and_a_command_line() {
    let image = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let bytes = std::fs::read(image).unwrap();
    for (url, place) in [
        ("s3://firmware/a/app.bin", "https://s3.amazonaws.com/firmware/a/app.bin"),
        ("https://s3.eu-west-1.amazonaws.com/firmware/app.bin", "https://s3.eu-west-1.amazonaws.com/firmware/app.bin"),
        (
            "https://my.firmware.s3.eu-west-1.amazonaws.com/app.bin",
            "https://s3.eu-west-1.amazonaws.com/my.firmware/app.bin",
        ),
    ] {
        for dialect in ["aws-jobs", "afr-ota"] {
            let made = make(&[
                "--dialect",
                dialect,
                "--url",
                url,
                "--version",
                "1.5.0",
                "--id",
                "fleet-1_5",
                "--thing",
                "pump-7",
                "--image",
                image,
            ]);
            let (document, advice) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
            assert!(document.contains(&format!(r#""${{aws:iot:s3-presigned-url-v2:{place}}}""#)), "{document}");
            assert!(document.contains(&format!("size\":{}", bytes.len())), "{document}");
            assert!(
                advice.contains("aws iot create-job --job-id fleet-1_5 --targets ") && advice.contains("thing/pump-7 "),
                "{advice}"
            );
            assert!(advice.contains("--document file://job.json --presigned-url-config roleArn="), "{advice}");
            // A device that sees the placeholder itself has a job that was made without that configuration.
            let seen = inspect(&document, &[]);
            assert!(seen.status.code() == Some(2) && String::from_utf8_lossy(&seen.stderr).contains("placeholder"));
        }
    }
    // Presigned already: taken as it is.
    let made =
        make(&["--dialect", "aws-jobs", "--url", "https://b.s3.amazonaws.com/k?X-Amz-Signature=1", "--version", "1"]);
    assert!(
        !String::from_utf8_lossy(&made.stdout).contains("${aws")
            && !String::from_utf8_lossy(&made.stderr).contains("roleArn")
    );
}

#[test]
fn what_a_device_would_refuse_is_not_made() {
    for (arguments, says) in [
        (
            &["--dialect", "iotconnect-2.1", "--url", "ftp://h/a", "--version", "1"][..],
            "a device would refuse it: urls[0].url",
        ),
        (&["--dialect", "ota-update", "--url", "h/a", "--version", "1.0.0"], "the URL has no scheme"),
        (&["--dialect", "aws-jobs", "--url", "https://h/a", "--version", "1", "--id", "a b"], "can't be a jobId"),
        (&["--dialect", "aws-jobs", "--url", "https://h/a", "--version", "1", "--image", "/no/such"], "/no/such"),
        (&["--dialect", "mqtt", "--url", "https://h/a", "--version", "1"], "not one of iotconnect-2.1, "),
    ] {
        let made = make(arguments);
        let stderr = String::from_utf8(made.stderr).unwrap();
        assert!(made.status.code() == Some(2) && stderr.contains(says) && made.stdout.is_empty(), "{stderr}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What `make` writes, `inspect` reads, whatever is in the names, versions and queries.
    #[test]
    fn whatever_is_made_is_read(
        dialect in 0usize..5,
        path in "[!-~&&[^?#]]{1,40}",
        query in "[!-~&&[^#]]{0,300}",
        version in "\\PC{1,20}",
        hardware in proptest::option::of("\\PC{1,20}"),
        name in proptest::option::of("\\PC{1,20}"),
        image in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..50)),
    ) {
        let dialect = sprag::job::Dialect::ALL[dialect];
        let url = format!("https://h.example/{path}?{query}");
        let hardware = hardware.as_deref().filter(|_| dialect.name() != "afr-ota");
        let order = Order { dialect, url: &url, version: &version, id: Some("j-1"), hardware, name: name.as_deref(), image: image.as_deref(), thing: None };
        // ota-update wants versions of three numbers.
        let order = if dialect.name() == "ota-update" { Order { version: "1.2.3", ..order } } else { order };
        let made = document(&order).unwrap();
        let job = sprag::job::parse(made.document.as_bytes()).unwrap();
        prop_assert_eq!(job.dialect(), dialect);
        let artifact = job.artifacts().next().unwrap();
        let read = artifact.location().unwrap().to_string();
        prop_assert_eq!(read.replace("h.example:443", "h.example"), order.url);
        if dialect.name() != "afr-ota" {
            prop_assert!(job.version().unwrap() == order.version);
        }
        if let Some(hardware) = hardware {
            prop_assert!(job.hardware().unwrap() == hardware);
        }
        if let (Some(image), "aws-jobs" | "afr-ota") = (&image, dialect.name()) {
            prop_assert_eq!(artifact.size(), Some(image.len() as u64));
        }
    }
}
