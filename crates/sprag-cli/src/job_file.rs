//! Job documents in files, also those that another tool has put into a string.

use std::borrow::Cow;

use serde_json::Value;

/// Returns the document in `bytes`, unwrapped if it is JSON in a string: the `jobDocument` as
/// `aws iot-jobs-data describe-job-execution` prints it, or the `document` of `aws iot get-job-document`.
///
/// A device does not take these: it has no memory to undo the string in, and AWS IoT sends it no such document.
pub fn unwrapped(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let Ok(mut root) = serde_json::from_slice::<Value>(text) else { return Cow::Borrowed(bytes) };
    let object = |value: Option<&Value>| {
        let inner: Value = serde_json::from_str(value?.as_str()?).ok()?;
        inner.is_object().then_some(inner)
    };
    if let Some(document) = object(root.pointer("/execution/jobDocument")) {
        root["execution"]["jobDocument"] = document;
        return Cow::Owned(root.to_string().into_bytes());
    }
    match root.as_object().filter(|members| members.len() == 1).and_then(|members| object(members.get("document"))) {
        Some(document) => Cow::Owned(document.to_string().into_bytes()),
        None => Cow::Borrowed(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_taken_out_of_its_string() {
        let inner = json!({"operation": "ota", "artifact": {"url": "https://h/a?b=1&c=\"2\""}});
        let execution = |document: Value| json!({"execution": {"jobId": "j", "jobDocument": document}}).to_string();
        let read = |text: &str| serde_json::from_slice::<Value>(&unwrapped(text.as_bytes())).expect("JSON");
        let plain: Value = serde_json::from_str(&execution(inner.clone())).expect("JSON");
        assert_eq!(read(&execution(json!(inner.to_string()))), plain);
        assert_eq!(read(&json!({"document": inner.to_string()}).to_string()), inner);
        // Everything else stays what it is, byte for byte.
        for text in [
            execution(inner),
            execution(json!("no JSON")),
            execution(json!("[1]")),
            json!({"document": "{}", "more": 1}).to_string(),
            "{\"execution\": {\"jobDocument\": \"{".to_owned(),
            String::new(),
        ] {
            assert!(matches!(unwrapped(text.as_bytes()), Cow::Borrowed(bytes) if bytes == text.as_bytes()), "{text}");
        }
    }
}
