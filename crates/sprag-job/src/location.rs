//! Where an artifact lies: a URL, in one text or in parts, and whether it can be asked for over HTTP at all. The fetcher takes
//! it apart.

use core::fmt::{self, Write};
use core::iter::FusedIterator;

use crate::text::{Bytes, Text};

/// How bytes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
    /// `mqtt`: the broker sends the file, nothing is fetched.
    Mqtt,
}

impl Scheme {
    /// Its name in a URL.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Mqtt => "mqtt",
        }
    }
}

/// Where an artifact lies. Its [`bytes`](Self::bytes) are those of the URL, however the document spreads it: a fetcher
/// that takes bytes takes any dialect.
///
/// ```
/// # #[cfg(feature = "ota-update")] {
/// use sprag_job::{Location, parse};
///
/// let document = br#"{"Message":"Update Available","Board":"B","Version":"2.0.0","Connection":"HTTPS",
///     "Server":"updates.example","Port":"8443","File":"/b.bin?slot=2"}"#;
/// let location = parse(document)?.artifacts().next().unwrap().location().unwrap();
/// assert!(matches!(location, Location::Parts { port: Some(8443), .. }));
/// assert!(location.bytes().eq(*b"https://updates.example:8443/b.bin?slot=2"));
/// # }
/// # Ok::<(), sprag_job::ParseError<'static>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location<'a> {
    /// A whole URL, as [`Artifact::url`](crate::Artifact::url).
    Url(Text<'a>),
    /// The parts of one: with the feature `ota-update`.
    #[cfg(feature = "ota-update")]
    Parts {
        /// From `Connection`.
        scheme: Scheme,
        /// From `Server` or `Broker`; empty when it is the host that served the job, which only the caller knows: see
        /// [`served_by`](Self::served_by).
        host: Text<'a>,
        /// From `Port`; `None` is the scheme's default.
        port: Option<u16>,
        /// From `File`: path and query. A `/` is put before it if it has none.
        path: Text<'a>,
    },
}

impl fmt::Debug for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither path nor query: whoever holds a presigned URL can fetch. `Display` shows them.
        match self {
            Self::Url(_) => f.debug_tuple("Url").finish_non_exhaustive(),
            #[cfg(feature = "ota-update")]
            Self::Parts { scheme, host, port, .. } => {
                let mut shown = f.debug_struct("Parts");
                shown.field("scheme", scheme).field("host", host).field("port", port).finish_non_exhaustive()
            }
        }
    }
}

impl<'a> Location<'a> {
    /// The URL's bytes, without a buffer. Percent escapes stay, JSON's are undone.
    ///
    /// Without a host (ota-update, see `served_by`) it is a URL without one, which no fetcher takes.
    pub fn bytes(&self) -> LocationBytes<'a> {
        match *self {
            Self::Url(url) => LocationBytes {
                url: url.bytes(),
                #[cfg(feature = "ota-update")]
                parts: None,
            },
            #[cfg(feature = "ota-update")]
            Self::Parts { scheme, host, port, path } => LocationBytes {
                url: Text::EMPTY.bytes(),
                parts: Some(PartsBytes {
                    scheme: scheme.name().as_bytes(),
                    divider: b"://",
                    host: host.bytes(),
                    port: Port::of(port),
                    slash: if path.bytes().next() == Some(b'/') { b"" } else { b"/" },
                    path: path.bytes(),
                }),
            },
        }
    }

    /// The same place, with `host` where the document leaves out who serves it. A `host` that could not stand in a URL
    /// (anything but letters, digits, `.`, `-`, `_`, or an IPv6 address in brackets) is not taken.
    #[cfg(feature = "ota-update")]
    pub fn served_by(self, host: &'a str) -> Self {
        let named = Text::new(host);
        match self {
            Self::Parts { scheme, host, port, path } if host.is_empty() && is_host(named) => {
                Self::Parts { scheme, host: named, port, path }
            }
            other => other,
        }
    }

    /// Whether the bytes come over TLS.
    pub fn is_https(&self) -> bool {
        match self {
            Self::Url(text) => is_https(*text),
            #[cfg(feature = "ota-update")]
            Self::Parts { scheme, .. } => *scheme == Scheme::Https,
        }
    }
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL that has been checked is ASCII.
        self.bytes().try_for_each(|byte| f.write_char(char::from(byte)))
    }
}

/// Whether a URL can name this host.
#[cfg(feature = "ota-update")]
pub(crate) fn is_host(host: Text<'_>) -> bool {
    let bracketed = host.bytes().next() == Some(b'[');
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if bracketed {
        let last = host.bytes().last() == Some(b']') && host.len() > 2;
        last && host.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'[' | b']'))
    } else {
        !host.is_empty() && host.bytes().all(is_part)
    }
}

/// `:443`, or nothing.
#[cfg(feature = "ota-update")]
#[derive(Debug, Clone)]
struct Port {
    rest: u16,
    /// What the digit that comes next counts; 0 when none does.
    unit: u16,
    colon: bool,
}

#[cfg(feature = "ota-update")]
impl Port {
    fn of(port: Option<u16>) -> Self {
        let rest = port.unwrap_or(0);
        let unit = match rest {
            0..10 => 1,
            10..100 => 10,
            100..1_000 => 100,
            1_000..10_000 => 1_000,
            _ => 10_000,
        };
        Self { rest, unit: if port.is_some() { unit } else { 0 }, colon: port.is_some() }
    }

    fn next(&mut self) -> Option<u8> {
        if core::mem::take(&mut self.colon) {
            return Some(b':');
        }
        let digit = self.rest.checked_div(self.unit)?;
        self.rest = self.rest.checked_rem(self.unit)?;
        self.unit /= 10;
        Some(u8::try_from(digit).ok()? | b'0')
    }
}

/// The bytes of a URL. Made by [`Location::bytes`].
#[derive(Debug, Clone)]
pub struct LocationBytes<'a> {
    url: Bytes<'a>,
    /// In its place.
    #[cfg(feature = "ota-update")]
    parts: Option<PartsBytes<'a>>,
}

impl Iterator for LocationBytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        #[cfg(feature = "ota-update")]
        if let Some(parts) = &mut self.parts {
            return parts.next();
        }
        self.url.next()
    }
}

impl FusedIterator for LocationBytes<'_> {}

/// The bytes of a URL that is spread over the document.
#[cfg(feature = "ota-update")]
#[derive(Debug, Clone)]
struct PartsBytes<'a> {
    scheme: &'static [u8],
    divider: &'static [u8],
    host: Bytes<'a>,
    port: Port,
    slash: &'static [u8],
    path: Bytes<'a>,
}

#[cfg(feature = "ota-update")]
impl PartsBytes<'_> {
    fn next(&mut self) -> Option<u8> {
        fn pop(bytes: &mut &'static [u8]) -> Option<u8> {
            let (&first, rest) = bytes.split_first()?;
            *bytes = rest;
            Some(first)
        }
        pop(&mut self.scheme)
            .or_else(|| pop(&mut self.divider))
            .or_else(|| self.host.next())
            .or_else(|| self.port.next())
            .or_else(|| pop(&mut self.slash))
            .or_else(|| self.path.next())
    }
}

/// The start of every placeholder that AWS IoT replaces in a job document, behind its `$`.
const PLACEHOLDER: &str = "{aws:iot:";
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
#[inline(never)]
pub(crate) fn placeholder(text: Text<'_>) -> Option<Placeholder> {
    // Most texts have neither a dollar sign nor an escape that may stand for one.
    if !text.raw().bytes().any(|byte| matches!(byte, b'$' | b'\\')) {
        return None;
    }
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'$' {
            continue;
        }
        let mut name = rest.clone();
        if after(&mut name, PLACEHOLDER) {
            let presigned = after(&mut name, PRESIGNED);
            return Some(if presigned { Placeholder::Presigned } else { Placeholder::Other });
        }
    }
    None
}

/// Whether the text is a URL over TLS.
pub(crate) fn is_https(url: Text<'_>) -> bool {
    after(&mut url.bytes(), "https://")
}

/// Steps over `start`, in upper or lower case; `false` where something else stands there.
#[inline(never)]
fn after(rest: &mut Bytes<'_>, start: &str) -> bool {
    start.bytes().all(|wanted| rest.next().is_some_and(|byte| byte.eq_ignore_ascii_case(&wanted)))
}

/// Checks the unescaped text.
///
/// # Errors
/// What was expected instead.
#[inline(never)]
pub(crate) fn check(url: Text<'_>) -> Result<(), &'static str> {
    // Anything else could smuggle a header line into the request; what is to be escaped has to come escaped.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("printable ASCII without spaces");
    }
    let mut rest = url.bytes();
    if !after(&mut rest, "http") {
        return Err(SCHEME);
    }
    let mut colon = rest.next();
    if let Some(b's' | b'S') = colon {
        colon = rest.next();
    }
    if colon != Some(b':') || !after(&mut rest, "//") {
        return Err(SCHEME);
    }
    match rest.next() {
        None | Some(b'/' | b'?' | b'#') => Err("a host"),
        Some(_) => Ok(()),
    }
}

const SCHEME: &str = "http:// or https://";

#[cfg(all(test, feature = "ota-update"))]
mod parts_tests {
    use super::*;
    use std::string::ToString;

    fn parts<'a>(host: &'a str, port: Option<u16>, path: &'a str) -> Location<'a> {
        Location::Parts { scheme: Scheme::Http, host: Text::new(host), port, path: Text::new(path) }
    }

    #[test]
    fn parts_make_a_url() {
        for (host, port, path, url) in [
            ("h", None, "/a?b=%2F", "http://h/a?b=%2F"),
            ("h", Some(80), "a", "http://h:80/a"),
            ("h", Some(0), r"\/a", "http://h:0/a"),
            ("h", Some(7), "", "http://h:7/"),
            ("h", Some(1_000), "", "http://h:1000/"),
            ("h", Some(10_203), "", "http://h:10203/"),
            ("[::1]", Some(65_535), "/", "http://[::1]:65535/"),
        ] {
            assert_eq!(parts(host, port, path).to_string(), url);
        }
        assert_eq!(Location::Url(Text::new(r"https:\/\/h\/a")).to_string(), "https://h/a");
    }

    #[test]
    fn the_host_that_served_the_job_fills_the_gap() {
        let here = parts("", None, "/a");
        assert_eq!(here.to_string(), "http:///a");
        assert_eq!(here.served_by("h.example").to_string(), "http://h.example/a");
        assert_eq!(parts("i", None, "/a").served_by("h").to_string(), "http://i/a");
        for host in ["", "a b", r"h\n", "h/x", "u@h", "[]", "::1", "h:80"] {
            assert_eq!(here.served_by(host), here, "{host}");
        }
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
