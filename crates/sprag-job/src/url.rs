//! Whether a text can be asked for over HTTP at all. The fetcher takes it apart.

use crate::text::Text;

/// Checks the unescaped text.
///
/// # Errors
/// What was expected instead.
pub(crate) fn check(url: Text<'_>) -> Result<(), &'static str> {
    // Anything else could smuggle a header line into the request; what is to be escaped has to come escaped.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("printable ASCII without spaces");
    }
    let after = |scheme: &str| {
        let mut rest = url.bytes();
        scheme.bytes().all(|wanted| rest.next().is_some_and(|byte| byte.eq_ignore_ascii_case(&wanted))).then_some(rest)
    };
    let mut rest = after("https://").or_else(|| after("http://")).ok_or("http:// or https://")?;
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
}
