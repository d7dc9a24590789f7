//! What the fuzz targets reach: parsers that are private, and what must hold of them for any bytes.

extern crate std;

use crate::chunked::Chunked;
use crate::redirect::Redirect;
use crate::response::HeadParser;
use crate::url::{Scheme, Url};

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

/// Redirects, one after the other, through a buffer of any size: each leads where a URL of its own would, or a path leads on
/// from the last one.
pub fn redirects<'l>(locations: impl Iterator<Item = &'l [u8]>, room: &mut [u8]) {
    let mut redirect = Redirect::from(Scheme::Https, 443);
    for location in locations {
        let from = redirect.length();
        let end = from.saturating_add(location.len());
        let Some(place) = room.get_mut(from..end) else { return };
        place.copy_from_slice(location);
        let before = (redirect.scheme, redirect.port, redirect.place(room).0.to_vec());
        if redirect.follow(room, from..end).is_err() {
            return;
        }
        let (host, target) = redirect.place(room);
        match Url::parse(location.iter().copied()) {
            Ok(url) => {
                assert!((redirect.scheme, redirect.port) == (url.scheme(), url.port()), "another server");
                assert!(host.iter().copied().eq(url.host_text()), "another host");
                assert!(target.iter().copied().eq(url.target()), "another target");
                assert_eq!(redirect.host(room), Some(url.host()));
            }
            Err(_) => {
                assert!((redirect.scheme, redirect.port, host) == (before.0, before.1, &*before.2), "another server");
                assert_eq!(target, location);
            }
        }
        assert!(redirect.is_elsewhere() && redirect.length() <= end, "more was kept than came");
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
