//! Where a redirect leads.

use core::ops::Range;

use crate::session::AnswerError;
use crate::url::{Origin, Scheme, Url, check_bytes};

/// The place that a redirect led to. Its host and its target lie at the front of the caller's buffer, one behind the other,
/// so that it takes no RAM of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redirect {
    scheme: Scheme,
    port: u16,
    /// The length of the host; 0 when it is that of the first URL.
    host: usize,
    target: usize,
}

impl Redirect {
    /// Follows a redirect, whose `Location` lies there in `buf`: behind what the last one left, if there was one.
    ///
    /// Of the relative forms only a path from the root is taken (RFC 9110, section 10.2.2, allows all; servers send this
    /// one).
    pub(crate) fn follow(
        last: Option<Self>,
        first: Origin<'_>,
        buf: &mut [u8],
        location: Range<usize>,
    ) -> Result<Self, AnswerError> {
        let base = last.unwrap_or(Self { scheme: first.scheme, port: first.port, host: 0, target: 0 });
        let text = buf.get(location.clone()).unwrap_or_default();
        let is_path = text.first() == Some(&b'/') && text.get(1) != Some(&b'/');
        let next = if is_path {
            check_bytes(text.iter().copied()).map_err(|_| AnswerError::BadRedirect)?;
            Self { target: text.len(), ..base }
        } else {
            let url = Url::parse(text.iter().copied()).map_err(|_| AnswerError::BadRedirect)?;
            if (base.scheme, url.scheme) == (Scheme::Https, Scheme::Http) {
                return Err(AnswerError::Downgrade);
            }
            let Url { scheme, host, port, target } = url;
            let target = target.len();
            // It stands behind the host in the URL as well: nothing of it is written over before it is moved.
            to(buf, location.end.saturating_sub(target)..location.end, host.len());
            buf.iter_mut().zip(host.bytes()).for_each(|(place, byte)| *place = byte);
            return Ok(Self { scheme, port, host: host.len(), target });
        };
        to(buf, location, next.host);
        Ok(next)
    }

    /// How much of the buffer it takes.
    pub(crate) fn length(&self) -> usize {
        self.host.saturating_add(self.target)
    }

    /// Whom to ask, and for what, when these bytes are what it left at the front of the buffer.
    pub(crate) fn place<'b>(
        &self,
        first: Origin<'b>,
        at_front: &'b [u8],
    ) -> Result<(Origin<'b>, &'b [u8]), AnswerError> {
        let (host, target) = at_front.split_at_checked(self.host).ok_or(AnswerError::BadRedirect)?;
        let host = core::str::from_utf8(host).map_err(|_| AnswerError::BadRedirect)?;
        let host = if host.is_empty() { first.host } else { host };
        Ok((Origin { scheme: self.scheme, host, port: self.port }, target))
    }
}

/// Moves a part of the buffer towards its front.
pub(crate) fn to(buf: &mut [u8], part: Range<usize>, at: usize) {
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
        let first = Url::parse("http://first:8/x".bytes()).unwrap();
        let (mut buf, mut redirect) = ([b'?'; 400], None);
        for location in locations {
            // Its bytes stand behind what the last one left.
            let from = redirect.map_or(0, |redirect: Redirect| redirect.length());
            let there = from..from + location.len();
            buf[there.clone()].copy_from_slice(location.as_bytes());
            redirect = Some(Redirect::follow(redirect, first.origin(), &mut buf, there)?);
        }
        let redirect = redirect.unwrap();
        let (Origin { scheme, host, port }, target) = redirect.place(first.origin(), &buf[..redirect.length()])?;
        Ok(format!("{scheme:?} {host} {port} {}", String::from_utf8_lossy(target)))
    }

    #[test]
    fn redirects_lead_on_from_where_the_last_one_led() {
        for (locations, place) in [
            (&["/there?a=1"][..], "Http first 8 /there?a=1"),
            (&["/a", "/longer/than/that", "/b"], "Http first 8 /b"),
            (&["http://second/a"], "Http second 80 /a"),
            (&["http://second/a", "/b"], "Http second 80 /b"),
            (&["https://second", "/b/c", "https://third:4/d?e=f"], "Https third 4 /d?e=f"),
            (&["/a", "https://[fe80::1]:9?q", "/longer/than/that", "/a"], "Https fe80::1 9 /a"),
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
                    let rest = String::from_utf8(parsed.target.clone().collect::<Vec<_>>()).unwrap();
                    let expected = format!("Http {} {} {rest}", parsed.host(), parsed.port());
                    assert_eq!(after(&["/before", &url]), Ok(expected), "{url}");
                }
            }
        }
    }
}
