//! The scanner against serde_json, and against whatever comes.
#![cfg(feature = "iotconnect")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};
use sprag_job::{ParseErrorKind as Kind, Status, parse, report};

/// Whether `parse` finds sound JSON, whatever it says about the job in it. Offsets must lie in the document.
fn sound(document: &[u8]) -> bool {
    let Err(error) = parse(document) else {
        return true;
    };
    assert!(error.offset() <= document.len());
    !error.reason().starts_with("json-")
}

/// Whether serde_json finds it sound without the NULs that may follow; `None` for numbers beyond an f64: it refuses
/// them.
fn oracle(document: &[u8]) -> Option<bool> {
    let end = document.iter().rposition(|byte| !b" \t\r\n\0".contains(byte)).map_or(0, |last| last + 1);
    let document = &document[..end];
    // One byte order mark is skipped here, none there.
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    match serde_json::from_slice::<Value>(document) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}

fn json() -> impl Strategy<Value = Value> {
    let text =
        prop_oneof![any::<String>(), select(vec!["v", "2.1", "ct", "ack", "urls", "url", ""]).prop_map(String::from)];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((text.clone(), inner), 0..6).prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

/// `text` as a JSON string, each character in one of the ways that there are.
fn quoted(text: &str, ways: &[u8]) -> String {
    let mut out = String::from('"');
    for (char, way) in text.chars().zip(ways.iter().cycle()) {
        match (char, way % 3) {
            ('/', 1) => out.push_str(r"\/"),
            ('"' | '\\', 1) => out.extend(['\\', char]),
            (_, 2) | ('"' | '\\' | '\0'..=' ', _) => {
                char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
            _ => out.push(char),
        }
    }
    out + "\""
}

/// Pieces of JSON that seldom make a whole.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"\n",
        b"\"",
        b"\"",
        b"a",
        b"\\",
        b"\\n",
        b"\\u",
        b"\\u0041",
        b"\\ud83d",
        b"\\ude00",
        b"\\u00",
        b"\x1f",
        b"\0",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"E+",
        b"true",
        b"false",
        b"null",
        b"nul",
        b"\xc3\xa9",
        b"\xc3",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\"k\":",
        b"\"k\"",
        b"[]",
        b"{}",
    ];
    vec(select(pieces), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_survived(bytes in vec(any::<u8>(), 0..200)) {
        sound(&bytes);
    }

    #[test]
    fn sound_json_is_accepted(value in json()) {
        prop_assert!(sound(value.to_string().as_bytes()));
        prop_assert!(sound(serde_json::to_string_pretty(&value).unwrap().as_bytes()));
        let job = format!(r#"{{"x":{value},"v":2.1,"ct":1,"ack":"7","urls":[{{"x":{value},"url":"http://h"}}]}}"#);
        prop_assert!(parse(job.as_bytes()).is_ok(), "{}", job);
    }

    #[test]
    fn what_serde_json_refuses_is_refused(
        value in json(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..3),
    ) {
        let mut document = value.to_string().into_bytes();
        for (index, byte, edit) in edits {
            let at = index.index(document.len());
            match edit {
                0 => document[at] = byte,
                1 => document.insert(at, byte),
                _ => document.truncate(at.max(1)),
            }
        }
        if let Some(expected) = oracle(&document) {
            prop_assert_eq!(sound(&document), expected, "{}", String::from_utf8_lossy(&document));
        }
    }

    #[test]
    fn pieces_are_judged_alike(document in pieces(), wrap in 0..4) {
        let document = match wrap {
            0 => document,
            1 => [b"\"".as_slice(), &document, b"\""].concat(),
            2 => [b"[".as_slice(), &document, b"]"].concat(),
            _ => [b"{\"k\":".as_slice(), &document, b"}"].concat(),
        };
        if let Some(expected) = oracle(&document) {
            prop_assert_eq!(sound(&document), expected, "{}", String::from_utf8_lossy(&document));
        }
    }

    #[test]
    fn numbers_are_judged_alike(number in "-?[0-9.eE+-]{0,6}") {
        if let Some(expected) = oracle(number.as_bytes()) {
            prop_assert_eq!(sound(number.as_bytes()), expected);
        }
    }

    #[test]
    fn texts_come_out_alike(text in any::<String>(), ways in vec(any::<u8>(), 1..20)) {
        let quoted = quoted(&text, &ways);
        prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
        let document = format!(r#"{{"v":"2.1","ct":1,"ack":"7","sw":{quoted},"urls":[{{"url":"http://h"}}]}}"#);
        let version = parse(document.as_bytes()).unwrap().version().unwrap();
        prop_assert!(version == text.as_str() && version.bytes().eq(text.bytes()));
        prop_assert_eq!(version.to_string(), text.as_str());
        prop_assert_eq!(version.len(), text.len());
    }

    #[test]
    fn urls_come_out_alike(path in "[!-~]{0,40}", ways in vec(any::<u8>(), 1..20)) {
        let url = format!("https://h/{path}");
        let document = format!(r#"{{"v":"2.1","ct":1,"ack":"7","urls":[{{"url":{}}}]}}"#, quoted(&url, &ways));
        prop_assert!(parse(document.as_bytes()).unwrap().artifacts().next().unwrap().url() == url.as_str());
    }

    #[test]
    fn acks_are_sound_json(id in any::<String>(), child in any::<Option<String>>(), message in any::<String>()) {
        // Without an id there is nobody to answer.
        let id = format!("i{id}");
        let mut out = [0; 4096];
        let dialect = sprag_job::Dialect::IotConnect21;
        let ack = report(dialect, &id, child.as_deref(), Status::Done, &message, &mut out).unwrap();
        let ack: Value = serde_json::from_str(ack).unwrap();
        let mut expected = serde_json::json!({"d": {"ack": id, "type": 1, "st": 3, "msg": message}});
        if let Some(child) = child {
            expected["d"]["cid"] = child.into();
        }
        prop_assert_eq!(ack, expected);
    }
}

#[test]
fn where_json_breaks_is_named() {
    let syntax = |expected| Kind::Syntax { expected };
    for (document, kind, offset) in [
        (&b""[..], Kind::CutShort, 0),
        (b" ", Kind::CutShort, 1),
        (b" \xef\xbb\xbf{}", syntax("a value"), 1),
        (b"\xef\xbb\xbf{,}", syntax("a key"), 4),
        (b"{,}", syntax("a key"), 1),
        (b"{1:2}", syntax("a key"), 1),
        (b"{\"a\" 1}", syntax("`:`"), 5),
        (b"{\"a\":1,}", syntax("a key"), 7),
        (b"[1,]", syntax("a value"), 3),
        (b"[1 2]", syntax("`,` or `]`"), 3),
        (b"[1}", syntax("`,` or `]`"), 2),
        (b"[01]", syntax("`,` or `]`"), 2),
        (b"[-a]", syntax("a digit"), 2),
        (b"[1.]", syntax("a digit"), 3),
        (b"[nulL]", syntax("null"), 4),
        (b"nul", Kind::CutShort, 3),
        (b"[\"a\nb\"]", syntax("control characters escaped"), 3),
        (b"[\"a\\x\"]", Kind::BadEscape, 3),
        (b"[\"\\ud83d\\n\"]", Kind::BadEscape, 2),
        (b"[\"\\ude00\"]", Kind::BadEscape, 2),
        (b"[\"a\xff\"]", Kind::BadUtf8, 3),
        (b"[\"a\xc3", Kind::CutShort, 4),
        (b"[1]\xc3", syntax("the end of the document"), 3),
        (b"{} \0x", syntax("the end of the document"), 4),
        // The first fault counts.
        (b"[x \xff", syntax("a value"), 1),
        (b"[\"\xff\" x", Kind::BadUtf8, 2),
    ] {
        let error = parse(document).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (kind, offset), "{}", String::from_utf8_lossy(document));
        assert_eq!(error.path().to_string(), "document");
    }
}
