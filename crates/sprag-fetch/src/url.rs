//! A URL that is read where it lies: as bytes that can be walked again, never copied, of any length.

use core::fmt;
use core::iter::Peekable;
#[cfg(feature = "redirects")]
use core::ops::Range;

#[cfg(feature = "ipv6")]
use crate::address;

/// The longest host name that the domain name system can carry (RFC 1035, section 2.3.4).
pub const HOST_MAX: usize = 253;
#[cfg(any(test, feature = "ipv6"))]
/// The longest IPv6 address as text: six groups, and an IPv4 address in the place of the last two.
const IPV6_MAX: usize = 45;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Scheme {
    /// Plain TCP, port 80 unless the URL names one.
    Http,
    /// TLS, port 443 unless the URL names one.
    Https,
}

impl Scheme {
    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An absolute `http` or `https` URL over any text that yields its bytes as often as asked.
///
/// `I` is `str::Bytes` for a plain string, or an iterator that undoes JSON's escapes on the way, so that a presigned URL
/// goes from the job document to the socket without a buffer, however long it is. Path and query are sent byte for byte:
/// nothing is decoded, encoded or normalised, because the signature of a presigned URL covers them as they stand.
///
/// ```
/// # use sprag_fetch::{Scheme, Url};
/// let url = Url::parse("https://bucket.s3.amazonaws.com/app.bin?X-Amz-Signature=ab%2Fcd".bytes())?;
/// assert_eq!((url.scheme(), url.host().as_str(), url.port()), (Scheme::Https, "bucket.s3.amazonaws.com", 443));
/// # Ok::<(), sprag_fetch::UrlError>(())
/// ```
#[derive(Clone)]
pub struct Url<I> {
    scheme: Scheme,
    port: u16,
    /// Where the host starts, with the bracket before an IPv6 address.
    host: I,
    /// Its length, brackets included.
    host_length: usize,
    /// Where path or query start; empty when the URL ends after the authority.
    target: I,
}

impl<I: Iterator<Item = u8> + Clone> fmt::Debug for Url<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither path nor query: whoever holds a presigned URL can fetch.
        f.debug_struct("Url").field("host", &self.host()).field("port", &self.port).finish_non_exhaustive()
    }
}

impl<I: Iterator<Item = u8> + Clone> Url<I> {
    /// Reads scheme, host and port, and checks every byte of the rest.
    ///
    /// # Errors
    /// [`UrlError`] names what is wrong and at which byte. User information and fragments are refused: neither belongs
    /// into a request, and silently dropping them would fetch something else than was written. So is every byte outside
    /// printable ASCII, which could otherwise smuggle a header line into the request.
    pub fn parse(text: I) -> Result<Self, UrlError> {
        Self::parse_beside(text, None)
    }

    /// As [`parse`](Self::parse); where there is a `base`, the text may begin with `//` and have its scheme.
    pub(crate) fn parse_beside(text: I, base: Option<Scheme>) -> Result<Self, UrlError> {
        let user_info = check_bytes(&mut text.clone())?;
        let Front { scheme, port, host, host_length, target } = front(&mut text.clone(), user_info, base)?;
        let skip = |bytes: usize| {
            let mut rest = text.clone();
            rest.by_ref().take(bytes).for_each(|_| {});
            rest
        };
        Ok(Self { scheme, port, host: skip(host), host_length, target: skip(target) })
    }

    /// The scheme, which says whether the connection is to be encrypted.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> heapless::String<HOST_MAX> {
        name(&mut self.host_text())
    }

    /// The host as it stands in the URL, an IPv6 address in brackets.
    pub(crate) fn host_text(&self) -> impl Iterator<Item = u8> {
        self.host.clone().take(self.host_length)
    }

    /// Path and query as they stand.
    pub(crate) fn target(&self) -> I {
        self.target.clone()
    }

    /// The port named in the URL, or the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(feature = "redirects")]
impl<I: ExactSizeIterator> Url<I> {
    /// Where the host, as it stands there, lies in the text, when that ends at `end`.
    pub(crate) fn host_range(&self, end: usize) -> Range<usize> {
        let start = end.saturating_sub(self.host.len());
        start..start.saturating_add(self.host_length)
    }
}

/// A host as it is connected to, made of what has been found to be one in a URL: an IPv6 address without its brackets.
pub(crate) fn name(host: &mut dyn Iterator<Item = u8>) -> heapless::String<HOST_MAX> {
    let mut name = heapless::String::new();
    for byte in host.filter(|byte| !matches!(byte, b'[' | b']')) {
        // It has been found to fit.
        let _ = name.push(char::from(byte));
    }
    name
}

/// Checks every byte of a URL, or of a part of one: where in its authority user information ends, if there is any.
pub(crate) fn check_bytes(text: &mut dyn Iterator<Item = u8>) -> Result<Option<usize>, UrlError> {
    let (mut slashes, mut user_info) = (0u8, None);
    for (at, byte) in text.enumerate() {
        match byte {
            b'#' => return Err(UrlError { kind: UrlErrorKind::Fragment, at }),
            b'/' => slashes = slashes.saturating_add(1),
            // Behind the authority.
            b'?' => slashes = u8::MAX,
            b'@' if slashes == 2 => user_info = user_info.or(Some(at)),
            0x21..=0x7e => {}
            _ => return Err(UrlError { kind: UrlErrorKind::Byte, at }),
        }
    }
    Ok(user_info)
}

/// What stands before the target, and where: offsets in bytes.
struct Front {
    scheme: Scheme,
    port: u16,
    host: usize,
    host_length: usize,
    target: usize,
}

/// Reads what stands before the target. `user_info`: where it ends, if there is any.
fn front(
    text: &mut dyn Iterator<Item = u8>,
    user_info: Option<usize>,
    base: Option<Scheme>,
) -> Result<Front, UrlError> {
    let mut rest = Cursor { text: text.peekable(), at: 0 };
    let scheme = scheme(&mut rest, base)?;
    // Say so instead of complaining about one of its bytes.
    if let Some(at) = user_info {
        return Err(UrlError { kind: UrlErrorKind::UserInfo, at });
    }
    let host = rest.at;
    let host_length = host_length(&mut rest)?;
    let port = port(&mut rest)?.unwrap_or(scheme.default_port());
    Ok(Front { scheme, port, host, host_length, target: rest.at })
}

/// Bytes with the offset of the next one, for errors that say where.
struct Cursor<'t> {
    text: Peekable<&'t mut dyn Iterator<Item = u8>>,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&mut self) -> Option<u8> {
        self.text.peek().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.text.next()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    fn error<T>(&self, kind: UrlErrorKind) -> Result<T, UrlError> {
        Err(UrlError { kind, at: self.at })
    }
}

fn scheme(rest: &mut Cursor<'_>, base: Option<Scheme>) -> Result<Scheme, UrlError> {
    let base = base.filter(|_| rest.peek() == Some(b'/'));
    let mut expect = |word: &str| {
        word.bytes().all(|wanted| rest.peek().is_some_and(|b| b.eq_ignore_ascii_case(&wanted)) && rest.next().is_some())
    };
    let http = base.is_none() && expect("http");
    let secure = http && expect("s");
    if !expect(if http { "://" } else { "//" }) || !(http || base.is_some()) {
        return rest.error(UrlErrorKind::Scheme);
    }
    Ok(base.unwrap_or(if secure { Scheme::Https } else { Scheme::Http }))
}

/// Steps over the host and returns its length in bytes, brackets included.
fn host_length(rest: &mut Cursor<'_>) -> Result<usize, UrlError> {
    if rest.peek() == Some(b'[') {
        return bracketed_length(rest);
    }
    let start = rest.at;
    while let Some(byte) = rest.peek() {
        match byte {
            b':' | b'/' | b'?' => break,
            b'-' | b'.' | b'_' => {}
            _ if byte.is_ascii_alphanumeric() => {}
            _ => return rest.error(UrlErrorKind::Host),
        }
        if rest.at.saturating_sub(start) == HOST_MAX {
            return rest.error(UrlErrorKind::HostTooLong);
        }
        rest.next();
    }
    let length = rest.at.saturating_sub(start);
    if length == 0 { rest.error(UrlErrorKind::Host) } else { Ok(length) }
}

/// Steps over an IPv6 address in brackets and returns its length in bytes.
#[cfg(feature = "ipv6")]
fn bracketed_length(rest: &mut Cursor<'_>) -> Result<usize, UrlError> {
    rest.next();
    let mut literal = heapless::String::<IPV6_MAX>::new();
    while let Some(byte @ (b':' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')) = rest.peek() {
        if literal.push(char::from(byte)).is_err() {
            return rest.error(UrlErrorKind::Host);
        }
        rest.next();
    }
    if rest.peek().is_some_and(|byte| !matches!(byte, b']' | b'/' | b'?')) {
        return rest.error(UrlErrorKind::Host);
    }
    if rest.next() != Some(b']') || address::ipv6(&literal).is_none() {
        return rest.error(UrlErrorKind::Host);
    }
    Ok(literal.len().saturating_add(2))
}

#[cfg(not(feature = "ipv6"))]
fn bracketed_length(rest: &mut Cursor<'_>) -> Result<usize, UrlError> {
    rest.error(UrlErrorKind::Ipv6NotBuiltIn)
}

fn port(rest: &mut Cursor<'_>) -> Result<Option<u16>, UrlError> {
    match rest.peek() {
        None | Some(b'/' | b'?') => return Ok(None),
        Some(b':') => rest.next(),
        Some(_) => return rest.error(UrlErrorKind::Host),
    };
    let mut port = None;
    while let Some(byte @ b'0'..=b'9') = rest.peek() {
        let digit = u16::from(byte.wrapping_sub(b'0'));
        port = match port.unwrap_or(0u16).checked_mul(10).and_then(|p| p.checked_add(digit)) {
            None => return rest.error(UrlErrorKind::Port),
            some => some,
        };
        rest.next();
    }
    match rest.peek() {
        // RFC 3986, section 3.2.3: "host:" means the default port.
        None | Some(b'/' | b'?') if port != Some(0) => Ok(port),
        _ => rest.error(UrlErrorKind::Port),
    }
}

/// Why a text is not a URL that can be fetched, and at which byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct UrlError {
    /// What is wrong.
    pub kind: UrlErrorKind,
    /// The offset of the byte at which it was noticed.
    pub at: usize,
}

/// What can be wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UrlErrorKind {
    /// It does not start with `http://` or `https://`.
    Scheme,
    /// It carries a user name or a password.
    UserInfo,
    /// The host is missing, or holds a byte that no host name has.
    Host,
    /// The host is longer than [`HOST_MAX`] bytes.
    HostTooLong,
    /// The host is an address in brackets, and this crate was built without its feature `ipv6`.
    Ipv6NotBuiltIn,
    /// The port is not a number from 1 to 65535.
    Port,
    /// It has a fragment (`#…`).
    Fragment,
    /// A byte that is not printable ASCII.
    Byte,
}

impl UrlError {
    /// Never: the same text stays what it is.
    pub fn is_retryable(&self) -> bool {
        false
    }

    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            UrlErrorKind::Scheme => "url-scheme",
            UrlErrorKind::UserInfo => "url-userinfo",
            UrlErrorKind::Host => "url-host",
            UrlErrorKind::HostTooLong => "url-host-too-long",
            UrlErrorKind::Ipv6NotBuiltIn => "url-ipv6-not-built-in",
            UrlErrorKind::Port => "url-port",
            UrlErrorKind::Fragment => "url-fragment",
            UrlErrorKind::Byte => "url-byte",
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            UrlErrorKind::Scheme => "the URL does not start with http:// or https://",
            UrlErrorKind::UserInfo => "the URL carries a user name",
            UrlErrorKind::Host => "the URL's host is missing or malformed",
            UrlErrorKind::HostTooLong => "the URL's host is longer than 253 bytes",
            UrlErrorKind::Ipv6NotBuiltIn => "the URL's host is an IPv6 address (feature `ipv6`)",
            UrlErrorKind::Port => "the URL's port is not a number from 1 to 65535",
            UrlErrorKind::Fragment => "the URL has a fragment",
            UrlErrorKind::Byte => "the URL holds a byte that is not printable ASCII",
        })?;
        write!(f, " (at byte {} of the URL)", self.at)
    }
}

impl core::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::request::{ByteRange, Request};
    use std::string::String;

    fn parts(url: &str) -> Result<(Scheme, String, u16, String, String), UrlErrorKind> {
        let url = Url::parse(url.bytes()).map_err(|e| e.kind)?;
        let range = ByteRange { first: 0, last: None };
        let request = Request { scheme: url.scheme(), port: url.port(), range, plain: false, if_match: None };
        let mut head = [0; 1024];
        let length = request.write(&mut url.host_text(), &mut url.target(), 0, &mut head);
        let mut lines = str::from_utf8(&head[..length]).unwrap().lines();
        let mut line = |before, behind| lines.next()?.strip_prefix(before)?.strip_suffix(behind).map(String::from);
        let (target, host) = (line("GET ", " HTTP/1.1").unwrap(), line("Host: ", "").unwrap());
        Ok((url.scheme(), url.host().as_str().into(), url.port(), target, host))
    }

    #[test]
    #[cfg_attr(not(feature = "ipv6"), ignore = "needs the feature `ipv6`")]
    fn splits_what_the_field_uses() {
        let good = [
            ("https://h/p?q=%2F%3D&x", Scheme::Https, "h", 443, "/p?q=%2F%3D&x", "h"),
            ("HTTP://h.example:80", Scheme::Http, "h.example", 80, "/", "h.example"),
            ("https://h:8443?a=b", Scheme::Https, "h", 8443, "/?a=b", "h:8443"),
            ("http://h:/p", Scheme::Http, "h", 80, "/p", "h"),
            ("http://127.0.0.1:8080/a//b/../c", Scheme::Http, "127.0.0.1", 8080, "/a//b/../c", "127.0.0.1:8080"),
            ("https://[::1]:444/x@y", Scheme::Https, "::1", 444, "/x@y", "[::1]:444"),
            ("https://[fe80::1]/", Scheme::Https, "fe80::1", 443, "/", "[fe80::1]"),
        ];
        for (url, scheme, host, port, target, header) in good {
            assert_eq!(parts(url), Ok((scheme, host.into(), port, target.into(), header.into())), "{url}");
        }
    }

    /// As the services sign them: Azure's SAS, Amazon's Signature Version 2 and 4.
    #[test]
    fn query_strings_go_out_byte_for_byte() {
        for target in [
            "/c/app.bin?sv=2024-11-04&st=2026-11-24T08%3A00%3A00Z&se=2026-11-24T09%3A00%3A00Z&sr=b&sp=r&sig=Zm9v%2Bb%2Fc%3D",
            "/app.bin?AWSAccessKeyId=ASIAEXAMPLE&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D&Expires=1795764480",
            "/app.bin?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIA%2F20261124%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20261124T080000Z&X-Amz-Expires=3600&X-Amz-Security-Token=IQoJb3JpZ2lu%2F%2F%2F%3D&X-Amz-SignedHeaders=host",
            "/a%20b/%C3%BC+~.bin?x=%252F&&=&y",
        ] {
            let (.., sent, host) = parts(&std::format!("https://h.example:443{target}")).unwrap();
            assert_eq!((sent.as_str(), host.as_str()), (target, "h.example"));
        }
    }

    #[test]
    #[cfg_attr(not(feature = "ipv6"), ignore = "needs the feature `ipv6`")]
    fn refuses_what_it_could_only_guess_at() {
        use UrlErrorKind::*;
        let bad = [
            ("", Scheme),
            ("ftp://h/", Scheme),
            ("https:/h", Scheme),
            ("https://", Host),
            ("https:///p", Host),
            ("https://user:pw@h/", UserInfo),
            ("https://h/#top", Fragment),
            ("https://h/a b", Byte),
            ("https://h/\r\nX: y", Byte),
            ("https://h/ü", Byte),
            ("https://h:0/", Port),
            ("https://h:65536/", Port),
            ("https://h:8x/", Port),
            ("https://h%41/", Host),
            ("https://[::1/", Host),
            ("https://[1.2.3]/", Host),
            ("https://[::1]x/", Host),
        ];
        for (url, kind) in bad {
            assert_eq!(parts(url), Err(kind), "{url}");
        }
    }

    #[test]
    #[cfg_attr(not(feature = "ipv6"), ignore = "needs the feature `ipv6`")]
    fn an_error_says_where() {
        let longest = std::format!("https://[{}]/", "1".repeat(IPV6_MAX + 1));
        for (url, at) in [
            ("ftp://h/", 0),
            ("https:/h", 7),
            ("https://", 8),
            ("https://user:pw@h/", 15),
            ("https://h/@", 11),
            ("https://h/#top", 10),
            ("https://h/a b", 11),
            ("https://h:0/", 11),
            ("https://h:65536/", 14),
            ("https://h:8x/", 11),
            ("https://h%41/", 9),
            ("https://[::1/", 13),
            ("https://[1.2.3]/", 15),
            ("https://[::1]x/", 13),
            (&longest, 9 + IPV6_MAX),
        ] {
            let found = Url::parse(url.bytes()).map_or_else(|error| error.at, |_| url.len());
            assert_eq!(found, at, "{url}");
        }
    }

    #[test]
    fn a_host_may_be_as_long_as_dns_allows() {
        let host = |n| std::format!("https://{}/p", "a".repeat(n));
        assert_eq!(parts(&host(HOST_MAX)).unwrap().1.len(), HOST_MAX);
        assert_eq!(parts(&host(HOST_MAX + 1)), Err(UrlErrorKind::HostTooLong));
    }
}
