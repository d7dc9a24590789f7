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

/// S3 endpoints of all partitions and kinds, virtual-hosted and path style, become path-style placeholders at the same
/// endpoint. Other URLs are taken as they are.
#[test]
fn every_s3_url_is_made_a_placeholder() {
    let made = |url: &str| {
        let dialect = sprag::job::Dialect::from_name("aws-jobs").unwrap();
        document(&Order { dialect, url, version: "1", id: None, hardware: None, name: None, image: None, thing: None })
    };
    let partitions = [
        ("amazonaws.com", "aws", &["us-east-1", "eu-west-1", "ap-southeast-2"][..]),
        ("amazonaws.com", "aws-us-gov", &["us-gov-west-1", "us-gov-east-1"]),
        ("amazonaws.com.cn", "aws-cn", &["cn-north-1", "cn-northwest-1"]),
        ("amazonaws.eu", "aws-eusc", &["eusc-de-east-1"]),
        ("c2s.ic.gov", "aws-iso", &["us-iso-east-1"]),
        ("sc2s.sgov.gov", "aws-iso-b", &["us-isob-east-1"]),
    ];
    let mut endpoints = vec![("s3.amazonaws.com".to_owned(), "aws"), ("s3-external-1.amazonaws.com".to_owned(), "aws")];
    for (suffix, partition, regions) in partitions {
        for region in regions {
            let forms = [
                format!("s3.{region}"),
                format!("s3-{region}"),
                format!("s3.dualstack.{region}"),
                format!("s3-fips.{region}"),
                format!("s3-fips-{region}"),
                format!("s3-fips.dualstack.{region}"),
            ];
            endpoints.extend(forms.map(|form| (format!("{form}.{suffix}"), partition)));
        }
    }
    for (endpoint, partition) in endpoints {
        let place = format!("https://{endpoint}/my.bucket-1/dir/app%20v1.bin");
        for url in [
            place.clone(),
            format!("https://my.bucket-1.{endpoint}/dir/app%20v1.bin"),
            format!("HTTPS://My.Bucket-1.{}:443/dir/app%20v1.bin", endpoint.to_ascii_uppercase()),
            format!("http://{endpoint}:80/my.bucket-1/dir/app%20v1.bin"),
        ] {
            let made = made(&url).unwrap();
            let document: Value = serde_json::from_str(&made.document).unwrap();
            assert_eq!(document["artifact"]["url"], format!("${{aws:iot:s3-presigned-url-v2:{place}}}"), "{url}");
            assert!(made.advice.contains(&format!(" arn:{partition}:iot:")), "{}", made.advice);
            assert!(made.advice.contains(&format!("roleArn=arn:{partition}:iam:")), "{}", made.advice);
        }
        // Presigned, or of a version.
        let url = format!("{place}?versionId=1");
        assert!(!made(&url).unwrap().document.contains("${aws"), "{url}");
    }
    for url in [
        "https://h.example/a",
        "https://amazonaws.com/b/k",
        "https://s3.amazonaws.com.evil.example/b/k",
        "https://b.s3-website-us-east-1.amazonaws.com/k",
        "http://b.s3-website.eu-central-1.amazonaws.com/k",
        "https://ap-1.s3-accesspoint.eu-west-1.amazonaws.com/k",
        "https://b.ec2.eu-west-1.amazonaws.com/k",
        "https://s3.eu-west-1.amazonaws.com:8443/b/k",
        "https://s3.eu-west-1.amazonaws.com/b",
    ] {
        assert!(!made(url).unwrap().document.contains("${aws"), "{url}");
    }
    for (url, says) in [
        ("s3://b", "s3://BUCKET/KEY"),
        ("s3:///k", "s3://BUCKET/KEY"),
        ("s3://b/k}", "%7D"),
        ("s3://b/my app.bin", "a device would refuse it"),
        ("https://b.s3-accelerate.amazonaws.com/k", "acceleration"),
        ("https://b.s3-accelerate.dualstack.amazonaws.com/k", "acceleration"),
    ] {
        let error = made(url).unwrap_err().to_string();
        assert!(error.contains(says), "{url}: {error}");
    }
}

/// URLs of all kinds in every dialect: a document is made exactly if the device's client accepts its URL, and `inspect`
/// refuses the others.
#[test]
fn urls_are_judged_as_the_devices_client_judges_them() {
    let mut urls: Vec<String> = Vec::new();
    for scheme in ["https", "http", "HTTPS", "ftp", ""] {
        for authority in [
            "h", "h:1", "h:0", "h:65535", "h:65536", "h:99999", "h:x", "u:p@h", "u@h", "[::1]", "[::1", "::1", "h..x",
            "", "[]", "-",
        ] {
            for rest in ["", "/a", "/a?b=%2F&c", "/a#x", "?q", "/a b", "/\u{fc}"] {
                urls.push(format!("{scheme}://{authority}{rest}"));
            }
        }
    }
    let (mut taken, mut refused) = (0, 0);
    for url in &urls {
        let is_fetched = sprag::fetch::Url::parse(url.bytes()).is_ok();
        for dialect in sprag::job::Dialect::ALL.iter().copied() {
            let order = Order {
                dialect,
                url,
                version: "1.0.0",
                id: None,
                hardware: None,
                name: Some("n"),
                image: None,
                thing: None,
            };
            match document(&order) {
                Ok(made) => {
                    let job = sprag::job::parse(made.document.as_bytes()).unwrap();
                    let location = job.artifacts().next().unwrap().location().unwrap();
                    assert!(sprag::fetch::Url::parse(location.bytes()).is_ok(), "{dialect}: {url}");
                    taken += 1;
                }
                Err(_) => {
                    // ota-update knows schemes in lower case only, and puts what it takes apart together again.
                    assert!(!is_fetched || dialect.name() == "ota-update", "{dialect}: {url}");
                    refused += 1;
                }
            }
        }
    }
    assert!(taken > 200 && refused > 1000, "{taken} {refused}");
    // As a process, and by `inspect`.
    for (url, reason) in [
        ("https://h:99999/a", "url-port"),
        ("https://u:p@h/a", "url-userinfo"),
        ("https://h/a#x", "url-fragment"),
        ("https://[::1/a", "url-host"),
    ] {
        let made = make(&["--dialect", "iotconnect-2.1", "--url", url, "--version", "1.5"]);
        let stderr = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.code() == Some(2) && made.stdout.is_empty() && stderr.contains(reason), "{stderr}");
        let document =
            json!({"v": "2.1", "ct": 1, "ack": "7", "urls": [{"url": "https://h/a"}, {"url": url}]}).to_string();
        let seen = inspect(&document, &["--json"]);
        let object: Value = serde_json::from_slice(&seen.stdout).unwrap();
        assert!(seen.status.code() == Some(2) && object["reason"] == "bad-url", "{object}");
        assert!(object["error"].as_str().unwrap().contains(reason), "{object}");
    }
}

/// Documents in a string, in each of AWS's envelopes, with and without a byte order mark.
#[test]
fn documents_come_in_strings_and_behind_byte_order_marks() {
    let document = json!({"operation": "ota", "version": "1.5", "artifact": {"url": "https://h/a?b=1&c=%2F"}});
    let execution =
        |document: &Value| json!({"execution": {"jobId": "j", "versionNumber": 1, "jobDocument": document}});
    let (bare, plain) = (inspected(&document.to_string()), inspected(&execution(&document).to_string()));
    assert_eq!((&bare["id"], &plain["id"]), (&Value::Null, &json!("j")));
    let string = json!(document.to_string());
    for (text, expected) in [
        (execution(&string).to_string(), &plain),
        (json!({"document": string}).to_string(), &bare),
        (document.to_string(), &bare),
    ] {
        for mark in ["", "\u{feff}"] {
            for end in ["", "\r\n", "\n"] {
                assert_eq!(&inspected(&format!("{mark}{text}{end}")), expected, "{text}");
            }
        }
    }
}

#[test]
fn what_a_device_could_not_use_is_refused_by_inspect() {
    let signed = |value: &str| json!({"operation": "ota", "artifact": {"url": "https://h/a", "signature": value}});
    let theirs = json!({"version": "1.0", "steps": []});
    for (document, reason) in [
        (signed("-----BEGIN CERTIFICATE-----"), "field-type"),
        (signed("${aws:iot:code-sign-signature:s3://b/k}"), "aws-placeholder"),
        (
            json!({"operation": "ota", "artifact": {"url": "${aws:iot:s3-presigned-url-v2:https://s3/b/k}"}}),
            "presigned-placeholder",
        ),
        (json!({"execution": {"jobId": "j", "jobDocument": theirs}}), "not-an-ota"),
        (json!({"v": "3.0", "ct": 1}), "unknown-dialect"),
    ] {
        let seen = inspect(&document.to_string(), &["--json"]);
        let object: Value = serde_json::from_slice(&seen.stdout).unwrap();
        assert_eq!((seen.status.code(), &object["reason"]), (Some(2), &json!(reason)), "{object}");
    }
    let empty = tempfile::NamedTempFile::new().unwrap();
    let image = empty.path().display().to_string();
    let made = make(&["--dialect", "aws-jobs", "--url", "https://h/a", "--version", "1", "--image", &image]);
    assert!(made.status.code() == Some(2) && String::from_utf8_lossy(&made.stderr).contains("empty"));
    let long = "x".repeat(65);
    let made = make(&["--dialect", "iotconnect-2.1", "--url", "https://h/a", "--version", "1", "--id", &long]);
    assert!(made.status.code() == Some(2) && String::from_utf8_lossy(&made.stderr).contains("its id is 65 bytes"));
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
        // Its id is the file with the query, which a device has to remember.
        prop_assume!(dialect.name() != "ota-update" || path.len() + query.len() + 2 <= sprag::ID_MAX);
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
