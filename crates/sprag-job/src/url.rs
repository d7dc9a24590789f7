//! Whether a text can be asked for over HTTP at all. The fetcher takes it apart.

use crate::text::{Bytes, Text};

/// The start of every placeholder that AWS IoT replaces in a job document.
const PLACEHOLDER: &str = "${aws:iot:";
/// The continuation of a placeholder for a presigned URL; `-v2` may follow.
const PRESIGNED: &str = "s3-presigned-url";

/// The kind of a placeholder that AWS has not replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// A presigned URL.
    Presigned,
    /// A job parameter, or the signature of a code-signing job.
    Other,
}

/// Returns the kind of the first placeholder in the text.
pub(crate) fn placeholder(text: Text<'_>) -> Option<Placeholder> {
    let mut rest = text.bytes();
    loop {
        if let Some(name) = after(rest.clone(), PLACEHOLDER) {
            let presigned = after(name, PRESIGNED).is_some();
            return Some(if presigned { Placeholder::Presigned } else { Placeholder::Other });
        }
        rest.next()?;
    }
}

/// Whether the text is a URL over TLS.
pub(crate) fn is_https(url: Text<'_>) -> bool {
    starts_with(url, "https://").is_some()
}

fn starts_with<'a>(url: Text<'a>, start: &str) -> Option<Bytes<'a>> {
    after(url.bytes(), start)
}

/// Returns the text behind `start`, in upper or lower case.
fn after<'a>(mut rest: Bytes<'a>, start: &str) -> Option<Bytes<'a>> {
    start.bytes().all(|wanted| rest.next().is_some_and(|byte| byte.eq_ignore_ascii_case(&wanted))).then_some(rest)
}

/// Checks the unescaped text.
///
/// # Errors
/// What was expected instead.
pub(crate) fn check(url: Text<'_>) -> Result<(), &'static str> {
    // Anything else could smuggle a header line into the request; what is to be escaped has to come escaped.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("printable ASCII without spaces");
    }
    let rest = starts_with(url, "https://").or_else(|| starts_with(url, "http://"));
    let mut rest = rest.ok_or("http:// or https://")?;
    match rest.next() {
        None | Some(b'/' | b'?' | b'#') => Err("a host"),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_other_texts() {
        for good in ["http://h", "HTTPS://h/a?b=%2F#c", r"https:\/\/h", r"\u0068ttp://h", "http://[::1]:80/"] {
            assert_eq!(check(Text::new(good)), Ok(()), "{good}");
        }
        for bad in ["", "http", "http:/h", "ftp://h", "https//h", " http://h", "mqtt://h"] {
            assert!(check(Text::new(bad)).is_err(), "{bad}");
        }
        for bad in ["http://", "https:///a", "http://?a", "https://#"] {
            assert_eq!(check(Text::new(bad)), Err("a host"), "{bad}");
        }
        for bad in ["http://h/a b", r"http://h/\r\nA:b", r"http://h/\u0000", "http://h/\u{7f}", "http://ü"] {
            assert_eq!(check(Text::new(bad)), Err("printable ASCII without spaces"), "{bad}");
        }
    }

    #[test]
    fn what_aws_did_not_replace_is_known() {
        use Placeholder::{Other, Presigned};
        for (text, found) in [
            ("${aws:iot:s3-presigned-url:https://s3/b/k}", Some(Presigned)),
            (r"$\u007baws:iot:s3-presigned-url-v2:https:\/\/s3}", Some(Presigned)),
            ("https://h/$${aws:iot:s3-presigned-url", Some(Presigned)),
            ("https://h/${aws:iot:parameter:v}", Some(Other)),
            ("${aws:iot:code-sign-signature:s3://b/k}", Some(Other)),
            ("${aws:iot:", Some(Other)),
            ("${aws:iot", None),
            ("$ {aws:iot:x}", None),
            ("", None),
        ] {
            assert_eq!(placeholder(Text::new(text)), found, "{text}");
        }
        assert!(is_https(Text::new("HTTPS://h")) && !is_https(Text::new("http://h")));
    }
}
