//! IoTConnect device message 2.1: documents, good and bad, and acks.
#![cfg(feature = "iotconnect")]

use sprag_job::{Artifact, Dialect, Job, MAX_DEPTH, ParseErrorKind as Kind, Status, TooSmall, parse, report};

const DOCUMENT: &str = r#"{"v":"2.1","ct":1,"cmd":"ota","ack":"5d6f2b1c-66f2-4c39-9d6c-7e41e0a2f3b8","sw":"1.5","hw":"1","x":[{"y":[-0.5e+3,null,true,"\ud83d\ude00 ü"]},{}],"urls":[{"url":"https:\/\/h/a.bin?b=1\u0026c=%2F","fileName":"a.bin"},{"tg":"pump","url":"HTTP://h"}]}"#;
const START: &str = r#"{"v":"2.1","ct":1,"ack":"7","#;

fn with(rest: &str) -> String {
    format!("{START}{rest}}}")
}

fn urls(entry: &str) -> String {
    with(&format!(r#""urls":[{entry}]"#))
}

fn only<'a>(job: &Job<'a>) -> Artifact<'a> {
    let mut artifacts = job.artifacts();
    let artifact = artifacts.next().unwrap();
    assert!(artifacts.next().is_none() && artifacts.next().is_none());
    artifact
}

#[test]
fn every_field_is_read() {
    let job = parse(DOCUMENT.as_bytes()).unwrap();
    assert_eq!(job.dialect().to_string(), "iotconnect-2.1");
    assert_eq!(Dialect::from_name(job.dialect().name()), Some(Dialect::IotConnect21));
    assert_eq!(job.id(), "5d6f2b1c-66f2-4c39-9d6c-7e41e0a2f3b8");
    assert_eq!((job.version().unwrap().as_str(), job.hardware().unwrap().as_str()), (Some("1.5"), Some("1")));

    let [first, second] = job.artifacts().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(first.url(), "https://h/a.bin?b=1&c=%2F");
    assert_eq!((first.name().unwrap().raw(), first.tag(), first.size()), ("a.bin", None, None));
    assert_eq!(second.url(), "HTTP://h");
    assert_eq!((second.name(), second.tag().unwrap().raw()), (None, "pump"));
    assert_eq!(job.artifacts().count(), 2);
}

#[test]
fn whatever_form_it_comes_in() {
    let url = r#""urls":[{"url":"https://h"}]"#;
    for good in [
        format!(r#"{{"v":2.1,"ct":1,"ack":"7",{url}}}"#),
        format!(r#"{{{url},"cmd":["?"],"ack":"7","ct":1,"v":"2.1"}}"#),
        format!(r#"{{"\u0076":"\u0032.1","c\u0074":1,"ac\u006b":"7",{url}}}"#),
        with(&format!(r#""sw":null,"hw":null,{url}"#)),
        with(url) + " \r\n\t\0\0 ",
        format!(" \n{}", with(url).replace(':', " :\t").replace("https :\t", "https:").replace(',', " , ")),
        urls(r#"{"url":"https://h","fileName":null,"tg":null,"?":{"url":1}}"#),
        // The last of a doubled key counts, whatever the first was.
        format!(r#"{{"ct":[],"ct":0,"v":1,"ack":"6",{},{}}}"#, r#""urls":9"#, &with(url)[1..with(url).len() - 1]),
        urls(r#"{"url":false,"url":"https://h"}"#),
    ] {
        let job = parse(good.as_bytes()).unwrap_or_else(|error| panic!("{good}: {error}"));
        assert_eq!(job.id(), "7");
        assert_eq!(only(&job).url(), "https://h");
        assert_eq!((job.version(), job.hardware(), only(&job).name(), only(&job).tag()), (None, None, None, None));
    }
    let long = "x".repeat(500);
    assert_eq!(parse(format!(r#"{{"v":2.1,"ct":1,"ack":"{long}",{url}}}"#).as_bytes()).unwrap().id(), long.as_str());
}

#[test]
fn long_presigned_urls_come_out_whole() {
    let query = (0..60).map(|i| format!("X-Amz-Field-{i}=ab%2Fcd%2B{i}")).collect::<Vec<_>>();
    let url = format!("https://b.s3.amazonaws.com/app.bin?{}", query.join("&"));
    assert!(url.len() > 1_200);
    let escaped = url.replace('&', r"\u0026").replace('/', r"\/").replace('=', r"\u003d");
    let document = urls(&format!(r#"{{"url":"{escaped}"}}"#));
    let found = only(&parse(document.as_bytes()).unwrap()).url();
    assert!(found.bytes().eq(url.bytes()));
    assert_eq!((found.len(), found.raw(), found.as_str()), (url.len(), escaped.as_str(), None));
    let mut buffer = vec![0; url.len()];
    assert_eq!(found.copy_to(&mut buffer), Ok(url.as_str()));
    assert_eq!(found.copy_to(&mut buffer[..100]), Err(TooSmall { needed: url.len() }));

    let pair = urls(r#"{"url":"https://h","fileName":"\ud83d\ude00"}"#);
    assert_eq!(only(&parse(pair.as_bytes()).unwrap()).name().unwrap(), "\u{1f600}");
}

#[test]
fn as_many_artifacts_as_there_are() {
    let document = urls(&vec![r#"{"url":"http://h"}"#; 5_000].join(","));
    assert_eq!(parse(document.as_bytes()).unwrap().artifacts().count(), 5_000);
}

#[test]
fn bad_documents_say_what_is_wrong_and_where() {
    let good = r#"{"url":"http://h"}"#;
    let string = Kind::WrongType { expected: "a string" };
    let object = Kind::WrongType { expected: "an object" };
    let bad_url = |expected| Kind::BadUrl { expected };
    let integer = Kind::WrongType { expected: "a 64-bit integer" };
    for (document, kind, place, id) in [
        // Not for us.
        ("{}".into(), Kind::NotAnOta { ct: None }, "document@0", false),
        (" [1]".into(), Kind::NotAnOta { ct: None }, "document@1", false),
        (r#"{"v":"2.0","ct":1,"ack":"7"}"#.into(), Kind::UnknownDialect, "document@0", false),
        (r#"{"v":"2.1","ct":0,"ack":"7"}"#.into(), Kind::NotAnOta { ct: Some(0) }, "ct@16", false),
        (r#"{"v":"2.1","ct":2,"ack":"7","urls":[]}"#.into(), Kind::NotAnOta { ct: Some(2) }, "ct@16", false),
        (r#"{"v":"2.1","ct":-1}"#.into(), Kind::NotAnOta { ct: Some(-1) }, "ct@16", false),
        // Envelopes.
        (r#"{"v":"2.1","ack":"7"}"#.into(), Kind::Missing, "ct@0", false),
        (r#"{"v":"2.1","ct":"1","ack":"7"}"#.into(), integer, "ct@16", false),
        (r#"{"v":"2.1","ct":1.5,"ack":"7"}"#.into(), integer, "ct@16", false),
        (r#"{"v":"2.1","ct":99999999999999999999}"#.into(), integer, "ct@16", false),
        (r#"{"v":"2.1","ct":1}"#.into(), Kind::Missing, "ack@0", false),
        (r#" {"v":"2.1","ct":1,"ack":null}"#.into(), Kind::Missing, "ack@1", false),
        (r#"{"v":"2.1","ct":1,"ack":7}"#.into(), string, "ack@24", false),
        (r#"{"v":"2.1","ct":1,"ack":""}"#.into(), Kind::Empty, "ack@24", false),
        (with(r#""sw":1"#), string, "sw@33", true),
        (with(r#""hw":[]"#), string, "hw@33", true),
        // Lists.
        (with(r#""x":1"#), Kind::Missing, "urls@0", true),
        (with(r#""urls":{}"#), Kind::WrongType { expected: "an array" }, "urls@35", true),
        (urls(" "), Kind::Empty, "urls@35", true),
        (urls(r#""http://h""#), object, "urls[0]@36", true),
        (urls(&format!("{good},null")), object, "urls[1]@55", true),
        (urls(&format!("{good},{{}}")), Kind::Missing, "urls[1].url@55", true),
        (urls(r#"{"url":5}"#), string, "urls[0].url@43", true),
        (urls(r#"{"url":""}"#), Kind::Empty, "urls[0].url@43", true),
        (urls(r#"{"url":"http://h","fileName":5}"#), string, "urls[0].fileName@65", true),
        (urls(r#"{"url":"http://h","tg":{}}"#), string, "urls[0].tg@59", true),
        // URLs.
        (urls(r#"{"url":"ftp://h"}"#), bad_url("http:// or https://"), "urls[0].url@43", true),
        (urls(r#"{"url":"https://"}"#), bad_url("a host"), "urls[0].url@43", true),
        (urls(r#"{"url":"http://h/a b"}"#), bad_url("printable ASCII without spaces"), "urls[0].url@43", true),
        (urls(r#"{"url":"http://h/\r\nX:"}"#), bad_url("printable ASCII without spaces"), "urls[0].url@43", true),
        // JSON that breaks after the envelope.
        (with(r#""urls":[{"url":"http://h"]"#), Kind::Syntax { expected: "`,` or `}`" }, "document@53", true),
        (format!("{START}\"urls\":[{{"), Kind::CutShort, "document@37", true),
        (with(r#""x":"\ud800""#), Kind::BadEscape, "document@33", true),
        (format!("{}}}", urls(good)), Kind::Syntax { expected: "the end of the document" }, "document@56", true),
    ] {
        let error = parse(document.as_bytes()).expect_err(&document);
        let found = format!("{}@{}", error.path(), error.offset());
        assert_eq!((error.kind(), found.as_str(), error.id().is_some()), (kind, place, id), "{document}");
        assert_eq!(error.dialect().is_some(), id);
        assert!(error.id().is_none_or(|id| id == "7"));
        assert_eq!(error.reason(), kind.reason());
        let line = error.to_string();
        assert!(line.starts_with(&format!("{}: ", error.path())), "{line}");
        assert!(line.ends_with(&format!(" (at byte {})", error.offset())), "{line}");
    }
}

#[test]
fn every_prefix_is_cut_short() {
    for end in 0..DOCUMENT.len() {
        let error = parse(&DOCUMENT.as_bytes()[..end]).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (Kind::CutShort, end));
        // As soon as the envelope is there, the job can be refused.
        let envelope = DOCUMENT.find(r#","sw""#).unwrap();
        assert_eq!(error.id().is_some(), end >= envelope, "{end}");
    }
}

#[test]
fn every_wrong_byte_is_survived() {
    let mut document = DOCUMENT.as_bytes().to_vec();
    for at in 0..document.len() {
        let right = document[at];
        for wrong in 0..=255 {
            document[at] = wrong;
            match parse(&document) {
                Ok(job) => assert!(job.artifacts().all(|artifact| artifact.url().bytes().count() > 7)),
                Err(error) => assert!(error.offset() <= document.len()),
            }
        }
        document[at] = right;
    }
}

#[test]
fn depth_costs_nothing_and_has_its_limit() {
    for bomb in ["[".repeat(128 << 10), r#"{"a":"#.repeat(32 << 10), with(&format!(r#""x":{}"#, "[".repeat(128 << 10)))]
    {
        let error = parse(bomb.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::TooDeep { limit: MAX_DEPTH });
        let opened = bomb[..=error.offset()].bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
        assert_eq!(opened, MAX_DEPTH + 1);
    }
    let nested =
        |depth| with(&format!(r#""x":{}{},"urls":[{{"url":"http://h"}}]"#, "[".repeat(depth), "]".repeat(depth)));
    assert!(parse(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_err());
    // What has been closed does not count.
    assert!(
        parse(with(&format!(r#""x":[{}0],"urls":[{{"url":"http://h"}}]"#, "[{}],".repeat(1_000))).as_bytes()).is_ok()
    );
}

#[test]
fn the_identity_is_what_a_resend_keeps() {
    let document = |ack: &str, sw: &str, hw: &str, urls: &str| {
        let document = format!(r#"{{"v":"2.1","ct":1,"ack":"{ack}"{sw}{hw},"urls":[{urls}]}}"#);
        parse(document.as_bytes()).unwrap().identity()
    };
    let (sw, hw) = (r#","sw":"1.5""#, r#","hw":"1""#);
    let same = document("7", sw, hw, r#"{"url":"http://h/a?s=1","fileName":"a.bin"}"#);
    assert_eq!(same, document("8", sw, hw, r#"{"fileName":"a.bin","url":"https://i/b?s=2"}"#));
    assert_eq!(same, document("9", r#","sw":"\u0031.5""#, hw, r#"{"url":"http://h","fileName":"a\u002ebin"}"#));
    // Stored in the field: this value must not change.
    assert_eq!(same, 0x09c7_0805_6f37_eb22);

    let others = [
        document("7", "", hw, r#"{"url":"http://h","fileName":"a.bin"}"#),
        document("7", r#","sw":"""#, hw, r#"{"url":"http://h","fileName":"a.bin"}"#),
        document("7", r#","sw":"1.51""#, r#","hw":"""#, r#"{"url":"http://h","fileName":"a.bin"}"#),
        document("7", r#","sw":"1.6""#, hw, r#"{"url":"http://h","fileName":"a.bin"}"#),
        document("7", sw, r#","hw":"2""#, r#"{"url":"http://h","fileName":"a.bin"}"#),
        document("7", sw, hw, r#"{"url":"http://h","fileName":"b.bin"}"#),
        document("7", sw, hw, r#"{"url":"http://h","tg":"a.bin"}"#),
        document("7", sw, hw, r#"{"url":"http://h","fileName":"a.bin","tg":""}"#),
        document("7", sw, hw, r#"{"url":"http://h","fileName":"a.bin"},{"url":"http://h"}"#),
        document("7", sw, hw, r#"{"url":"http://h"}"#),
    ];
    for (index, other) in others.iter().enumerate() {
        assert!(*other != same && !others[..index].contains(other), "{index}");
    }
}

#[test]
fn acks_are_exact() {
    let document = urls(r#"{"url":"http://h","tg":"p\u0022"}"#);
    let job = parse(document.as_bytes()).unwrap();
    let mut out = [0xaa; 200];
    for (status, st) in [(Status::Downloading, 2), (Status::Done, 3), (Status::Failed, 4), (Status::Rejected, 1)] {
        let expected = format!(r#"{{"d":{{"ack":"7","type":1,"st":{st},"msg":"{status}"}}}}"#);
        assert_eq!(job.report(status, &status.to_string(), &mut out), Ok(expected.as_str()));
        assert_eq!(report(job.dialect(), "7", None, status, &status.to_string(), &mut out), Ok(expected.as_str()));
    }
    let child = r#"{"d":{"ack":"7","cid":"p\"","type":1,"st":4,"msg":""}}"#;
    assert_eq!(job.report_for_child(only(&job).tag().unwrap(), Status::Failed, "", &mut out), Ok(child));
    assert_eq!(report(job.dialect(), "7", Some("p\""), Status::Failed, "", &mut out), Ok(child));
    let hostile = report(job.dialect(), "\\\"", None, Status::Done, "\"\\\n\0\u{1f}é/", &mut out).unwrap();
    assert_eq!(hostile, r#"{"d":{"ack":"\\\"","type":1,"st":3,"msg":"\"\\\u000a\u0000\u001fé/"}}"#);
}

#[test]
fn a_report_that_does_not_fit_names_the_size_that_would_do() {
    let job = parse(DOCUMENT.as_bytes()).unwrap();
    let mut out = [0; 200];
    let message = "größer \"als\" \n";
    let needed = job.report(Status::Failed, message, &mut out).unwrap().len();
    for len in 0..needed {
        assert_eq!(job.report(Status::Failed, message, &mut out[..len]), Err(TooSmall { needed }));
    }
    assert_eq!(job.report(Status::Failed, message, &mut out[..needed]).unwrap().len(), needed);
    assert_eq!(TooSmall { needed: 83 }.to_string(), "buffer too small: 83 bytes needed");
}

#[test]
fn a_bad_document_is_refused_by_name() {
    let mut out = [0; 100];
    let document = with(r#""urls":[]"#);
    let error = parse(document.as_bytes()).unwrap_err();
    let ack = r#"{"d":{"ack":"7","type":1,"st":1,"msg":"urls: empty (at byte 35)"}}"#;
    assert_eq!(error.rejection(&error.to_string(), &mut out), Ok(Some(ack)));
    assert_eq!(error.rejection(&error.to_string(), &mut []), Err(TooSmall { needed: ack.len() }));
    // A command's ack is not ours to send.
    let error = parse(br#"{"v":"2.1","ct":0,"cmd":"led on","ack":"7"}"#).unwrap_err();
    assert_eq!(error.rejection(error.reason(), &mut out), Ok(None));
}
