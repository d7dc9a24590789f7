//! Where a redirect leads.

use core::ops::Range;

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

    /// Follows the next one, whose `Location` lies there in `buf`, behind what the last one left.
    ///
    /// Of the relative forms only a path from the root is taken (RFC 9110, section 10.2.2, allows all; servers send this
    /// one).
    pub(crate) fn follow(&mut self, buf: &mut [u8], location: Range<usize>) -> Result<(), AnswerError> {
        let text = buf.get(location.clone()).unwrap_or_default();
        let is_path = text.first() == Some(&b'/') && text.get(1) != Some(&b'/');
        if is_path {
            check_bytes(&mut text.iter().copied()).map_err(|_| AnswerError::BadRedirect)?;
            self.target = text.len();
        } else {
            let url = Url::parse(text.iter().copied()).map_err(|_| AnswerError::BadRedirect)?;
            if (self.scheme, url.scheme()) == (Scheme::Https, Scheme::Http) {
                return Err(AnswerError::Downgrade);
            }
            let host = url.host_range(location.end);
            *self = Self { scheme: url.scheme(), port: url.port(), host: host.len(), target: url.target().len() };
            move_to(buf, host, 0);
        }
        move_to(buf, location.end.saturating_sub(self.target)..location.end, self.host);
        Ok(())
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

/// Moves a part of the buffer towards its front.
pub(crate) fn move_to(buf: &mut [u8], part: Range<usize>, at: usize) {
    if let Some(room) = buf.get_mut(at..part.end)
        && let Some(start) = part.start.checked_sub(at).filter(|start| *start <= room.len())
    {
        room.copy_within(start.., 0);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{format, string::String, vec::Vec};

    /// Where redirects lead, one after the other, from `http://first:8/x` on.
    fn after(locations: &[&str]) -> Result<String, AnswerError> {
        let (mut buf, mut redirect) = ([b'?'; 400], Redirect::from(Scheme::Http, 8));
        for location in locations {
            // Its bytes stand behind what the last one left.
            let from = redirect.length();
            buf[from..from + location.len()].copy_from_slice(location.as_bytes());
            redirect.follow(&mut buf, from..from + location.len())?;
        }
        let (host, target) = redirect.place(&buf[..redirect.length()]);
        let host = if host.is_empty() { b"first" } else { host };
        let [host, target] = [host, target].map(String::from_utf8_lossy);
        Ok(format!("{:?} {host} {} {target}", redirect.scheme, redirect.port))
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
        for bad in ["there", "//second/a", "ftp://h/", "http://", "/a b", "/a#b", "http://u@h/"] {
            assert_eq!(after(&[bad]), Err(AnswerError::BadRedirect), "{bad}");
        }
        assert_eq!(after(&["https://h/", "http://h/"]), Err(AnswerError::Downgrade));
        assert!(after(&["https://h/", "/a", "https://i/"]).is_ok());
    }

    /// Whatever the place, the same as a URL of its own.
    #[test]
    fn the_place_is_that_of_the_url() {
        for host in ["h", "a.example", "192.0.2.1", "[2001:db8::1]"] {
            for port in ["", ":1", ":65535"] {
                for target in ["", "/", "?", "/p?q=%2F"] {
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
