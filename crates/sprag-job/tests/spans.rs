//! A job whose document has moved to another buffer.
#![cfg(all(
    feature = "iotconnect",
    feature = "iotconnect-20",
    feature = "aws-jobs",
    feature = "afr-ota",
    feature = "ota-update"
))]

mod forms;

use forms::{GOOD, summary};
use sprag_job::{JobSpans, parse};

fn spans(document: &str) -> JobSpans {
    let document = document.to_owned();
    parse(document.as_bytes()).unwrap().spans().unwrap()
}

#[test]
fn every_form_is_the_same_job_elsewhere() {
    for (document, expected) in GOOD {
        let spans = spans(document);
        let job = spans.job(document.as_bytes()).unwrap();
        let before = parse(document.as_bytes()).unwrap();
        assert_eq!(summary(&job), *expected);
        assert_eq!((job.identity(), job.key(), job.spans()), (before.identity(), before.key(), Some(spans)));
        let place = |job: &sprag_job::Job<'_>| job.require_new(&[job.key()]).unwrap_err().to_string();
        assert_eq!(place(&job), place(&before), "{document}");
        assert_eq!(format!("{:?}", job.require_https()), format!("{:?}", before.require_https()));
        // What follows the document does not matter.
        assert!(spans.job(format!("{document}\0\0").as_bytes()).is_some());
    }
}

#[test]
fn another_document_is_not_taken() {
    for (document, _) in GOOD {
        let spans = spans(document);
        let mut bytes = document.as_bytes().to_vec();
        assert!(spans.job(&bytes[1..]).is_none() && spans.job(&[]).is_none());
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(spans.job(&bytes).is_none(), "{document} with another byte at {at}");
            bytes[at] ^= 1;
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_document_of_ones_own_moves_too() {
    use sprag_job::SignatureAlgorithm;
    use sprag_job::aws::{Custom, EscapedStr, custom_job};

    #[derive(serde::Deserialize)]
    struct Mine<'a> {
        #[serde(borrow)]
        fw: EscapedStr<'a>,
        #[serde(borrow)]
        sum: EscapedStr<'a>,
        sig: &'a str,
        len: u32,
    }

    let sum = "0a".repeat(32);
    let payload = format!(
        r#"{{"execution":{{"jobId":"j","jobDocument":{{"fw":"https:\/\/h\/a","sum":"{sum}","sig":"AAAA","len":7}}}}}}"#
    );
    let read = |payload: &str, sig: Option<&'static str>| {
        let payload = payload.to_owned();
        let job = custom_job(payload.as_bytes(), |mine: Mine<'_>| Custom {
            sha256: Some(mine.sum.into()),
            size: Some(mine.len),
            signature: Some((SignatureAlgorithm::Ed25519, sig.unwrap_or(mine.sig).into())),
            ..Custom::at(mine.fw)
        });
        (summary(&job.unwrap()), job.unwrap().spans())
    };
    let (before, spans) = read(&payload, None);
    let job = spans.unwrap();
    let job = job.job(payload.as_bytes()).unwrap();
    assert_eq!(summary(&job), before);
    // A text that the document does not have can't be found in it.
    assert!(read(&payload, Some("BBBB")).1.is_none());
}
