//! `sprag job inspect`, as a process.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

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
