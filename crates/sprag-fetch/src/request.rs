//! The head of a range request, as bytes to send.

use crate::url::Scheme;

/// The bytes that one request asks for, both ends inclusive as in RFC 9110, section 14.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ByteRange {
    /// The first byte.
    pub first: u64,
    /// The last byte; `None` asks for everything from `first` on.
    pub last: Option<u64>,
}

/// A `GET` for a range of an object.
pub(crate) struct Request<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) port: u16,
    pub(crate) range: ByteRange,
    /// Asks for the whole object without naming a range.
    pub(crate) plain: bool,
    pub(crate) if_match: Option<&'a str>,
}

impl Request<'_> {
    /// Writes what of the head lies behind its first `sent` bytes to `out`, as far as it fits: how many bytes that are. It
    /// is made anew for each piece from where its parts lie, so that no URL is too long, and nothing is kept in between.
    /// `host` and `target` are as they stand in the URL.
    ///
    /// Compressed answers are refused up front: offsets into a compressed stream mean nothing to a slot in flash.
    pub(crate) fn write(
        &self,
        host: &mut dyn Iterator<Item = u8>,
        target: &mut dyn Iterator<Item = u8>,
        sent: usize,
        out: &mut [u8],
    ) -> usize {
        let mut piece = Piece { sent, out, length: 0 };
        piece.text("GET ");
        // An empty path means `/`.
        let mut target = target.peekable();
        if target.peek() != Some(&b'/') {
            piece.text("/");
        }
        target.for_each(|byte| piece.push(byte));
        piece.text(" HTTP/1.1\r\nHost: ");
        host.for_each(|byte| piece.push(byte));
        // Bare on the scheme's own port, because that is what a presigned URL signs.
        if self.port != self.scheme.default_port() {
            piece.text(":");
            piece.number(self.port.into());
        }
        piece.text("\r\nUser-Agent: sprag\r\nAccept-Encoding: identity");
        if !self.plain {
            piece.text("\r\nRange: bytes=");
            piece.number(self.range.first);
            piece.text("-");
            if let Some(last) = self.range.last {
                piece.number(last);
            }
        }
        if let Some(etag) = self.if_match {
            piece.text("\r\nIf-Match: ");
            piece.text(etag);
        }
        piece.text("\r\n\r\n");
        piece.length
    }
}

/// A piece of a text that is written from its beginning.
struct Piece<'b> {
    /// Bytes before the piece that are still to come.
    sent: usize,
    out: &'b mut [u8],
    length: usize,
}

impl Piece<'_> {
    fn push(&mut self, byte: u8) {
        if let Some(sent) = self.sent.checked_sub(1) {
            self.sent = sent;
        } else if let Some(place) = self.out.get_mut(self.length) {
            *place = byte;
            self.length = self.length.saturating_add(1);
        }
    }

    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.push(byte));
    }

    /// In decimal, without the weight of `core::fmt` and of 64-bit division.
    fn number(&mut self, number: u64) {
        let (mut rest, mut leading) = (number, true);
        for exponent in (0..20).rev() {
            let (unit, mut digit) = (10u64.saturating_pow(exponent), b'0');
            while let Some(less) = rest.checked_sub(unit) {
                (rest, digit, leading) = (less, digit.saturating_add(1), false);
            }
            if !leading || exponent == 0 {
                self.push(digit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::url::Url;
    use std::{string::String, vec, vec::Vec};

    /// The head, when the scratch buffer has so many bytes.
    fn head(url: &str, range: ByteRange, if_match: Option<&str>, room: usize) -> String {
        let url = Url::parse(url.bytes()).unwrap();
        let request = Request { scheme: url.scheme(), port: url.port(), range, plain: false, if_match };
        let (mut sent, mut room) = (Vec::new(), vec![0; room]);
        loop {
            match request.write(&mut url.host_text(), &mut url.target(), sent.len(), &mut room) {
                0 => return String::from_utf8(sent).unwrap(),
                count => sent.extend_from_slice(&room[..count]),
            }
        }
    }

    #[test]
    fn digits() {
        for n in [0, 7, 10, 4095, 1_048_577, u64::MAX] {
            let range = ByteRange { first: n, last: None };
            assert!(head("http://h/", range, None, 512).contains(&std::format!("bytes={n}-\r")), "{n}");
        }
    }

    #[test]
    fn one_range_header_and_the_bare_host_in_pieces_of_any_size() {
        for room in 1..300 {
            let range = ByteRange { first: 4096, last: Some(8191) };
            assert_eq!(
                head("https://b.s3.amazonaws.com/k?X-Amz-Signature=a%2Fb", range, Some("\"e\""), room),
                "GET /k?X-Amz-Signature=a%2Fb HTTP/1.1\r\nHost: b.s3.amazonaws.com\r\nUser-Agent: sprag\r\n\
                 Accept-Encoding: identity\r\nRange: bytes=4096-8191\r\nIf-Match: \"e\"\r\n\r\n"
            );
        }
        let open = ByteRange { first: 0, last: None };
        assert!(head("http://h", open, None, 512).ends_with("Range: bytes=0-\r\n\r\n"));
    }

    #[test]
    #[cfg_attr(not(feature = "ipv6"), ignore = "needs the feature `ipv6`")]
    fn what_is_asked_for_and_of_whom() {
        let open = ByteRange { first: 0, last: None };
        for (url, expected) in [
            ("http://h", "GET / HTTP/1.1\r\nHost: h\r\n"),
            ("http://h?a=1", "GET /?a=1 HTTP/1.1\r\nHost: h\r\n"),
            ("http://h:80/a", "GET /a HTTP/1.1\r\nHost: h\r\n"),
            ("https://h:80/a", "GET /a HTTP/1.1\r\nHost: h:80\r\n"),
            ("http://[::1]:8080/a", "GET /a HTTP/1.1\r\nHost: [::1]:8080\r\n"),
        ] {
            assert!(head(url, open, None, 512).starts_with(expected), "{url}");
        }
    }
}
