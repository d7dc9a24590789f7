//! The head of a range request, as bytes to send.

use crate::url::Url;

/// The bytes that one request asks for, both ends inclusive as in RFC 9110, section 14.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ByteRange {
    /// The first byte.
    pub first: u64,
    /// The last byte; `None` asks for everything from `first` on.
    pub last: Option<u64>,
}

/// The whole head of a `GET` for `range`, produced byte by byte from where its parts lie, so that no URL is too long.
///
/// Compressed answers are refused up front: offsets into a compressed stream mean nothing to a slot in flash.
pub(crate) fn head<'a, I: Iterator<Item = u8> + Clone>(
    url: &'a Url<I>,
    range: ByteRange,
    if_match: Option<&'a str>,
) -> impl Iterator<Item = u8> + 'a {
    b"GET "
        .iter()
        .copied()
        .chain(url.target())
        .chain(*b" HTTP/1.1\r\nHost: ")
        .chain(url.host_header())
        .chain(*b"\r\nUser-Agent: sprag\r\nAccept-Encoding: identity\r\nRange: bytes=")
        .chain(decimal(range.first))
        .chain(*b"-")
        .chain(range.last.into_iter().flat_map(decimal))
        .chain(if_match.into_iter().flat_map(|etag| b"\r\nIf-Match: ".iter().copied().chain(etag.bytes())))
        .chain(*b"\r\n\r\n")
}

/// The decimal digits of a number, without the weight of `core::fmt`.
pub(crate) fn decimal(number: u64) -> impl Iterator<Item = u8> {
    let mut rest = number;
    let mut digits = [0u8; 20];
    let mut count = 0usize;
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.wrapping_add(u8::try_from(rest % 10).unwrap_or(0));
        count = count.saturating_add(1);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let leading = digits.len().saturating_sub(count);
    digits.into_iter().skip(leading)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{string::String, vec::Vec};

    fn text(bytes: impl Iterator<Item = u8>) -> String {
        String::from_utf8(bytes.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn digits() {
        for n in [0, 7, 10, 4095, 1_048_577, u64::MAX] {
            assert_eq!(text(decimal(n)), std::format!("{n}"));
        }
    }

    #[test]
    fn one_range_header_and_the_bare_host() {
        let url = Url::parse("https://b.s3.amazonaws.com/k?X-Amz-Signature=a%2Fb".bytes()).unwrap();
        assert_eq!(
            text(head(&url, ByteRange { first: 4096, last: Some(8191) }, Some("\"e\""))),
            "GET /k?X-Amz-Signature=a%2Fb HTTP/1.1\r\nHost: b.s3.amazonaws.com\r\nUser-Agent: sprag\r\n\
             Accept-Encoding: identity\r\nRange: bytes=4096-8191\r\nIf-Match: \"e\"\r\n\r\n"
        );
        assert!(text(head(&url, ByteRange { first: 0, last: None }, None)).ends_with("Range: bytes=0-\r\n\r\n"));
    }
}
