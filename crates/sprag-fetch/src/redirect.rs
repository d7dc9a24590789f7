//! Where a redirect leads.

use core::ops::Range;

use crate::buffer::move_to;
use crate::session::AnswerError;
use crate::url::{self, HOST_MAX, Scheme, Url, check_bytes};

/// The place that a redirect led to. Its host and its target lie at the front of the caller's buffer, one behind the other,
/// so that it takes no RAM of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redirect {
    pub(crate) scheme: Scheme,
    pub(crate) port: u16,
    /// The length of the host; 0 when it is that of the first URL.
    host: usize,
    target: usize,
}

impl Redirect {
    /// The first URL, from which the first redirect leads on.
    pub(crate) fn from(scheme: Scheme, port: u16) -> Self {
        Self { scheme, port, host: 0, target: 0 }
    }

    /// Follows the next one, whose `Location` lies there in `buf`, behind what the last one left. `first` is the target
    /// of the first URL. `false` when `buf` has no room for where it leads.
    ///
    /// A `Location` is any URI reference (RFC 9110, section 10.2.2), resolved as RFC 3986, section 5.2, has it. One that
    /// names a host is taken as it stands, path and query included: a signature may cover them.
    pub(crate) fn follow(
        &mut self,
        buf: &mut [u8],
        location: Range<usize>,
        first: &mut dyn Iterator<Item = u8>,
    ) -> Result<bool, AnswerError> {
        let text = buf.get(location.clone()).unwrap_or_default();
        let delimiter = text.iter().find(|byte| matches!(byte, b':' | b'/' | b'?')).copied();
        if delimiter == Some(b':') || text.starts_with(b"//") {
            let url = Url::parse_beside(text.iter().copied(), Some(self.scheme));
            let url = url.map_err(|_| AnswerError::BadRedirect)?;
            if (self.scheme, url.scheme()) == (Scheme::Https, Scheme::Http) {
                return Err(AnswerError::Downgrade);
            }
            let host = url.host_range(location.end);
            *self = Self { scheme: url.scheme(), port: url.port(), host: host.len(), target: url.target().len() };
            move_to(buf, host, 0);
            move_to(buf, location.end.saturating_sub(self.target)..location.end, self.host);
            return Ok(true);
        }
        check_bytes(&mut text.iter().copied()).map_err(|_| AnswerError::BadRedirect)?;
        let is_query = text.starts_with(b"?");
        let is_from_root = text.starts_with(b"/");
        // Out of the way, to the end of the buffer, to make room for the path that it is relative to.
        let start = buf.len().saturating_sub(text.len());
        for (from, to) in location.rev().zip((start..buf.len()).rev()) {
            copy(buf, from, to);
        }
        let base = self.host;
        let mut path = 0usize;
        let mut directory = 0usize;
        loop {
            let at = base.saturating_add(path);
            let byte = if is_from_root {
                None
            } else if self.is_elsewhere() {
                buf.get(at).copied().filter(|_| path < self.target)
            } else {
                first.next()
            };
            let Some(byte) = byte.filter(|byte| *byte != b'?') else { break };
            if !put(buf, at, start, byte) {
                return Ok(false);
            }
            path = path.saturating_add(1);
            if byte == b'/' {
                directory = path;
            }
        }
        let mut prefix = if is_query { path } else { directory };
        if prefix == 0 && !is_query && !is_from_root {
            if !put(buf, base, start, b'/') {
                return Ok(false);
            }
            prefix = 1;
        }
        let end = buf.len();
        move_to(buf, start..end, base.saturating_add(prefix));
        self.target = prefix.saturating_add(end.saturating_sub(start));
        if !is_query {
            let target = buf.get_mut(base..base.saturating_add(self.target)).unwrap_or_default();
            self.target = remove_dot_segments(target);
        }
        Ok(true)
    }

    /// Whether it has led away from the first URL.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.length() > 0
    }

    /// How much of the buffer it takes.
    pub(crate) fn length(&self) -> usize {
        self.host.saturating_add(self.target)
    }

    /// The host to connect to, an IPv6 address without its brackets; `None` when it is that of the first URL.
    pub(crate) fn host(&self, buf: &[u8]) -> Option<heapless::String<HOST_MAX>> {
        Some(url::name(&mut self.place(buf).0.iter().copied())).filter(|name| !name.is_empty())
    }

    /// Host and target as they stand in the URL, when these bytes begin with what it left. The host is
    /// empty when it is that of the first URL.
    pub(crate) fn place<'b>(&self, at_front: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        let (host, rest) = at_front.split_at_checked(self.host).unwrap_or_default();
        (host, rest.get(..self.target).unwrap_or_default())
    }
}

fn copy(buf: &mut [u8], from: usize, to: usize) {
    if let Some(byte) = buf.get(from).copied() {
        put(buf, to, usize::MAX, byte);
    }
}

/// Writes a byte, unless there is no place for it before `end`.
fn put(buf: &mut [u8], at: usize, end: usize, byte: u8) -> bool {
    match buf.get_mut(at).filter(|_| at < end) {
        Some(place) => {
            *place = byte;
            true
        }
        None => false,
    }
}

/// Resolves `.` and `..` in a path from the root (RFC 3986, section 5.2.4), in place: the length of what is left. A query
/// stays as it is.
fn remove_dot_segments(target: &mut [u8]) -> usize {
    let path = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let mut read = 0usize;
    let mut written = 0usize;
    while read < path {
        // A segment, with the slash before it.
        let behind_slash = read.saturating_add(1);
        let rest = target.get(behind_slash..path).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'/').map_or(path, |at| behind_slash.saturating_add(at));
        let segment = target.get(read..end).unwrap_or_default();
        let is_parent = segment == b"/..";
        if is_parent || segment == b"/." {
            if is_parent {
                let before = target.get(..written).unwrap_or_default();
                written = before.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            }
            // The last one is a directory.
            if end == path && put(target, written, end, b'/') {
                written = written.saturating_add(1);
            }
        } else {
            let length = end.saturating_sub(read);
            move_to(target, read..end, written);
            written = written.saturating_add(length);
        }
        read = end;
    }
    let length = target.len();
    move_to(target, path..length, written);
    written.saturating_add(length.saturating_sub(path))
}

/// Resolves a reference by RFC 3986, section 5.2, word for word and with an allocator: the judge of [`Redirect::follow`].
#[cfg(any(test, fuzzing))]
pub(crate) mod judge {
    extern crate std;
    use super::{Scheme, Url};
    use std::{format, string::String, vec::Vec};

    /// Scheme, port, host and target.
    pub(crate) type Place = (Scheme, u16, String, String);

    pub(crate) fn resolve((scheme, port, host, target): Place, reference: &str) -> Option<Place> {
        if !reference.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#') {
            return None;
        }
        let absolute = reference
            .starts_with("//")
            .then(|| format!("{}:{reference}", if scheme == Scheme::Https { "https" } else { "http" }));
        let start = reference.split(['/', '?']).next().unwrap_or_default();
        if absolute.is_some() || start.contains(':') {
            let text = absolute.as_deref().unwrap_or(reference);
            let url = Url::parse(text.bytes()).ok()?;
            let host = String::from_utf8(url.host_text().collect()).ok()?;
            let target = String::from_utf8(url.target().collect()).ok()?;
            return Some((url.scheme(), url.port(), host, target));
        }
        let (base, _) = target.split_once('?').unwrap_or((&target, ""));
        let (path, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
        if path.is_empty() {
            return Some((scheme, port, host, format!("{base}{query}")));
        }
        let merged = match base.rfind('/') {
            _ if path.starts_with('/') => path.into(),
            Some(at) => format!("{}{path}", base.split_at(at.saturating_add(1)).0),
            None => format!("/{path}"),
        };
        Some((scheme, port, host, format!("{}{query}", without_dots(&merged))))
    }

    /// RFC 3986, section 5.2.4, step by step.
    fn without_dots(path: &str) -> String {
        let (mut input, mut output) = (String::from(path), Vec::<String>::new());
        while !input.is_empty() {
            if let Some(rest) = input.strip_prefix("/./") {
                input = format!("/{rest}");
            } else if input == "/." {
                input = "/".into();
            } else if let Some(rest) = input.strip_prefix("/../") {
                input = format!("/{rest}");
                output.pop();
            } else if input == "/.." {
                input = "/".into();
                output.pop();
            } else {
                let end =
                    input.char_indices().skip(1).find(|(_, letter)| *letter == '/').map_or(input.len(), |(at, _)| at);
                let rest = input.split_off(end);
                output.push(core::mem::replace(&mut input, rest));
            }
        }
        output.concat()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{format, string::String, vec::Vec};

    /// Follows redirects one after the other, from `http://first:8` and this target on, in a buffer of so many bytes.
    fn from(first: &str, locations: &[&str], room: usize) -> Result<Option<String>, AnswerError> {
        let (mut buf, mut redirect) = (std::vec![b'?'; room], Redirect::from(Scheme::Http, 8));
        for location in locations {
            // Its bytes stand behind what the last one left.
            let from = redirect.length();
            let Some(place) = buf.get_mut(from..from + location.len()) else { return Ok(None) };
            place.copy_from_slice(location.as_bytes());
            if !redirect.follow(&mut buf, from..from + location.len(), &mut first.bytes())? {
                return Ok(None);
            }
        }
        let (host, target) = redirect.place(&buf[..redirect.length()]);
        let host = if host.is_empty() { b"first" } else { host };
        let [host, target] = [host, target].map(String::from_utf8_lossy);
        Ok(Some(format!("{:?} {host} {} {target}", redirect.scheme, redirect.port)))
    }

    fn after(locations: &[&str]) -> Result<String, AnswerError> {
        from("/x", locations, 400).map(Option::unwrap)
    }

    #[test]
    fn redirects_lead_on_from_where_the_last_one_led() {
        for (locations, place) in [
            (&["/there?a=1"][..], "Http first 8 /there?a=1"),
            (&["/a", "/longer/than/that", "/b"], "Http first 8 /b"),
            (&["http://second/a"], "Http second 80 /a"),
            (&["http://second/a", "/b"], "Http second 80 /b"),
            (&["https://second", "/b/c", "https://third:4/d?e=f"], "Https third 4 /d?e=f"),
            (&["/a", "https://[fe80::1]:9?q", "/longer/than/that", "/a"], "Https [fe80::1] 9 /a"),
            (&["http://h/", "http://a-much-longer-name.example/", "http://i/"], "Http i 80 /"),
        ] {
            assert_eq!(after(locations).as_deref(), Ok(place), "{locations:?}");
        }
    }

    #[test]
    fn some_lead_nowhere() {
        for bad in [
            "ftp://h/",
            "http://",
            "http:a",
            "mailto:a",
            "1:2",
            "//",
            "///a",
            "//u@h",
            "/a b",
            "a b",
            "/a#b",
            "#",
            "?\x7f",
            "http://u@h/",
        ] {
            assert_eq!(after(&[bad]), Err(AnswerError::BadRedirect), "{bad}");
        }
        assert_eq!(after(&["https://h/", "http://h/"]), Err(AnswerError::Downgrade));
        assert!(after(&["https://h/", "/a", "https://i/"]).is_ok());
    }

    /// RFC 3986, section 5.4: its examples, without fragments.
    #[test]
    fn references_resolve_as_the_standard_has_it() {
        for (reference, target) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            (";x", "/b/c/;x"),
            ("g;x", "/b/c/g;x"),
            ("g;x?y", "/b/c/g;x?y"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../", "/"),
            ("../../g", "/g"),
            ("../../../g", "/g"),
            ("../../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("g.", "/b/c/g."),
            (".g", "/b/c/.g"),
            ("g..", "/b/c/g.."),
            ("..g", "/b/c/..g"),
            ("./../g", "/b/g"),
            ("./g/.", "/b/c/g/"),
            ("g/./h", "/b/c/g/h"),
            ("g/../h", "/b/c/h"),
            ("g;x=1/./y", "/b/c/g;x=1/y"),
            ("g;x=1/../y", "/b/c/y"),
            ("g?y/./x", "/b/c/g?y/./x"),
            ("g?y/../x", "/b/c/g?y/../x"),
        ] {
            let expected = Ok(Some(format!("Http first 8 {target}")));
            assert_eq!(from("/b/c/d;p?q", &[reference], 400), expected, "{reference}");
            let [there, expected] = ["http://a:8/b/c/d;p?q".into(), format!("Http a 8 {target}")];
            assert_eq!(from("/x", &[&there, reference], 400), Ok(Some(expected)), "{reference}");
        }
        assert_eq!(after(&["//g"]).as_deref(), Ok("Http g 80 "));
        assert_eq!(after(&["https://a/", "//g:1/a/../b?c"]).as_deref(), Ok("Https g 1 /a/../b?c"), "as it stands");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

        /// Any references, one after the other, in a buffer of any size: they lead where the standard says, or there is no
        /// room, or they are refused.
        #[test]
        fn any_references_lead_where_the_standard_says(
            first in "(/[a.]{0,3}){0,3}(\\?[a/.]{0,4})?",
            references in proptest::collection::vec("(https?:|x:)?(//h[:.]?[0-9]{0,2})?([/.a?: #\x01]|\\.\\./|/\\.\\.){0,6}", 1..4),
            room in 1usize..80,
        ) {
            let references: Vec<&str> = references.iter().map(String::as_str).filter(|reference| !reference.is_empty()).collect();
            let mut place = Some((Scheme::Http, 8, String::from("first"), first.clone()));
            let mut downgraded = false;
            for reference in &references {
                let before = place.as_ref().map(|place| place.0);
                place = place.and_then(|place| judge::resolve(place, reference));
                downgraded |= before == Some(Scheme::Https) && place.as_ref().is_some_and(|place| place.0 == Scheme::Http);
            }
            let expected = place.filter(|_| !downgraded);
            let result = from(&first, &references, room);
            let needed = first.len() + references.iter().map(|reference| reference.len() + 1).sum::<usize>();
            match (result, expected) {
                (Ok(None), _) => proptest::prop_assert!(room < needed, "{} bytes are enough", needed),
                (Ok(Some(_)), _) if references.is_empty() => {}
                (Ok(Some(there)), Some((scheme, port, host, target))) => {
                    let expected = format!("{scheme:?} {host} {port} {target}");
                    // An empty path is one of a slash: the request has it.
                    proptest::prop_assert_eq!(there, expected);
                }
                (Err(_), None) => {}
                (result, expected) => proptest::prop_assert!(false, "{:?} and {:?}", result, expected),
            }
        }
    }

    /// Whatever the place, the same as a URL of its own.
    #[test]
    fn the_place_is_that_of_the_url() {
        for host in ["h", "a.example", "192.0.2.1", "[2001:db8::1]"] {
            for port in ["", ":1", ":65535"] {
                for target in ["", "/", "?", "/p?q=%2F", "/a/../b"] {
                    let url = format!("http://{host}{port}{target}");
                    let parsed = Url::parse(url.bytes()).unwrap();
                    let rest = String::from_utf8(parsed.target().collect::<Vec<_>>()).unwrap();
                    let expected = format!("Http {host} {} {rest}", parsed.port());
                    assert_eq!(after(&["/before", &url]), Ok(expected), "{url}");
                }
            }
        }
    }
}
