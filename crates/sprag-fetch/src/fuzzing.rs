//! What the fuzz targets reach: parsers that are private, and what must hold of them for any bytes.

use crate::chunked::Chunked;
use crate::response::HeadParser;

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

/// The records of a TLS server, in pieces of every size as in one.
#[cfg(feature = "embedded-tls")]
pub fn tls_records(bytes: &[u8], piece: usize) {
    let follow = |piece: usize| {
        let mut records = crate::tls::guard::Records::default();
        bytes.chunks(piece.max(1)).all(|piece| records.follow(piece))
    };
    assert_eq!(follow(bytes.len()), follow(piece), "in pieces of {piece}");
}

/// A certificate chain in the place of a server's, cut into certificates at `cuts`: whatever it is, nobody is believed who
/// has no certificate of the root's.
#[cfg(feature = "embedded-tls")]
pub use crate::tls::fuzz_chain as tls_chain;
