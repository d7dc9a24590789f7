//! What the fuzz targets reach: parsers that are private, and what must hold of them for any bytes.

extern crate std;

use crate::chunked::Chunked;
use crate::redirect::{Redirect, judge};
use crate::response::HeadParser;
use crate::url::Scheme;

/// The head of an answer, in pieces of every size as in one: the same verdict, and nothing kept beyond what came.
pub fn response_head(bytes: &[u8], piece: usize, room: &mut [u8]) {
    const LIMIT: u32 = 4096;
    let feed = |piece: usize, room: &mut [u8]| {
        let mut parser = HeadParser::new(LIMIT);
        for piece in bytes.chunks(piece.max(1)) {
            let kept = parser.kept();
            let end = kept.checked_add(piece.len())?;
            room.get_mut(kept..end)?.copy_from_slice(piece);
            match parser.feed(room, end) {
                Ok(None) => assert!(parser.kept() <= end, "more was kept than came"),
                Ok(Some(at)) => {
                    assert!(parser.kept() <= at && at <= end, "the body begins elsewhere");
                    return Some(Ok((parser.head().clone(), end.saturating_sub(at) < piece.len())));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    };
    let whole = feed(bytes.len(), room);
    assert_eq!(whole, feed(piece, room), "in pieces of {piece}");
}

/// A chunked body, in pieces of every size as in one: the same bytes, no more than came.
pub fn chunked(bytes: &[u8], piece: usize, room: &mut [u8]) {
    let decode = |piece: usize, room: &mut [u8]| {
        let (mut chunked, mut sum, mut count) = (Chunked::new(), 0u32, 0usize);
        for piece in bytes.chunks(piece.max(1)) {
            let room = room.get_mut(..piece.len())?;
            room.copy_from_slice(piece);
            let Ok(data) = chunked.decode(room, piece.len()) else { return Some(None) };
            assert!(data <= piece.len(), "more came out than in");
            count = count.saturating_add(data);
            sum = room.iter().take(data).fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        }
        Some(Some((count, sum, chunked.is_done())))
    };
    assert_eq!(decode(bytes.len(), room), decode(piece, room), "in pieces of {piece}");
}

/// Redirects, one after the other, through a buffer of any size: each leads where RFC 3986 says.
pub fn redirects<'l>(locations: impl Iterator<Item = &'l [u8]>, room: &mut [u8]) {
    const FIRST: &str = "/first/path?query";
    let mut redirect = Redirect::from(Scheme::Https, 443);
    let text = |bytes: &[u8]| std::string::String::from_utf8_lossy(bytes).into_owned();
    let mut there = (Scheme::Https, 443, std::string::String::new(), text(FIRST.as_bytes()));
    for location in locations.filter(|location| !location.is_empty()) {
        let from = redirect.length();
        let end = from.saturating_add(location.len());
        let Some(place) = room.get_mut(from..end) else { return };
        place.copy_from_slice(location);
        let expected = judge::resolve(there, &text(location)).filter(|place| place.0 == Scheme::Https);
        match redirect.follow(room, from..end, &mut FIRST.bytes()) {
            Ok(true) => {}
            Ok(false) => return assert!(room.len() <= FIRST.len().saturating_add(end), "there was room"),
            Err(_) => return assert!(expected.is_none(), "refused"),
        }
        let (host, target) = redirect.place(room);
        there = (redirect.scheme, redirect.port, text(host), text(target));
        assert_eq!(Some(&there), expected.as_ref());
        assert!(redirect.is_elsewhere(), "it leads away");
    }
}

/// The records of a TLS server, in pieces of every size as in one.
#[cfg(feature = "embedded-tls")]
pub fn tls_records(bytes: &[u8], piece: usize) {
    let follow = |piece: usize| {
        let mut records = crate::tls::guard::Records::default();
        let mut arrived = heapless::Vec::<u8, 8192>::from_iter(bytes.iter().copied().take(8192));
        arrived.chunks_mut(piece.max(1)).all(|piece| records.follow(piece, false))
    };
    assert_eq!(follow(bytes.len()), follow(piece), "in pieces of {piece}");
}

/// A certificate chain in the place of a server's, cut into certificates at `cuts`: whatever it is, nobody is believed who
/// has no certificate of the root's.
#[cfg(feature = "embedded-tls")]
pub use crate::tls::fuzz_chain as tls_chain;
