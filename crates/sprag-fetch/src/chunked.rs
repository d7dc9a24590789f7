//! The chunked transfer coding (RFC 9112, section 7.1), undone in place.

/// Room for the digits of a chunk's size: more than any object has bytes.
const DIGITS_MAX: u8 = 15;
/// Bytes of chunk extensions and trailer fields that are skipped before the body counts as malformed.
const SKIPPED_MAX: u16 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the size, this many digits in.
    Size(u8),
    /// Behind the size: white space and extensions.
    Extension,
    /// In the data, this many bytes before its end.
    Data(u64),
    /// Behind the data, at the line end; and behind its carriage return.
    DataEnd,
    DataLineFeed,
    /// In the trailer, at the beginning of a line or within one.
    TrailerStart,
    Trailer,
    /// Behind the carriage return of the empty line that ends the trailer.
    LineFeed,
    Done,
}

/// Takes a chunked body byte by byte.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    size: u64,
    skipped: u16,
}

/// The body does not keep to the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Chunked {
    pub(crate) fn new() -> Self {
        Self { state: State::Size(0), size: 0, skipped: 0 }
    }

    /// Returns the decoder of an answer's body, if it is in chunks.
    pub(crate) fn of(is_chunked: bool) -> Option<Self> {
        is_chunked.then(Self::new)
    }

    /// Whether the last chunk and the trailer have been seen.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns whether bytes of the present chunk are still to come.
    pub(crate) fn is_in_data(&self) -> bool {
        matches!(self.state, State::Data(_))
    }

    /// Moves the data among the first `end` bytes of `buf` to its front: how many bytes that are.
    pub(crate) fn decode(&mut self, buf: &mut [u8], end: usize) -> Result<usize, Malformed> {
        let mut kept = 0usize;
        for at in 0..end {
            let Some(&byte) = buf.get(at) else { break };
            if self.push(byte)? {
                if let Some(place) = buf.get_mut(kept) {
                    *place = byte;
                }
                kept = kept.saturating_add(1);
            }
        }
        Ok(kept)
    }

    /// Whether the byte is data.
    fn push(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.state = match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() && digits < DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.size = (self.size << 4) | u64::from(digit);
                State::Size(digits.saturating_add(1))
            }
            (State::Size(1..), b'\n') | (State::Extension, b'\n') => match core::mem::take(&mut self.size) {
                0 => State::TrailerStart,
                size => State::Data(size),
            },
            (State::Size(1..), b'\r' | b';' | b' ' | b'\t') => State::Extension,
            (State::Extension, _) => {
                self.skip()?;
                State::Extension
            }
            (State::Data(1), _) => {
                self.state = State::DataEnd;
                return Ok(true);
            }
            (State::Data(left), _) => {
                self.state = State::Data(left.saturating_sub(1));
                return Ok(true);
            }
            // One each: a server that sends nothing else would never come to an end.
            (State::DataEnd, b'\r') => State::DataLineFeed,
            (State::DataEnd | State::DataLineFeed, b'\n') => State::Size(0),
            (State::TrailerStart, b'\r') => State::LineFeed,
            (State::TrailerStart | State::LineFeed, b'\n') => State::Done,
            (State::Trailer, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, _) => {
                self.skip()?;
                State::Trailer
            }
            (State::Size(_) | State::DataEnd | State::DataLineFeed | State::LineFeed | State::Done, _) => {
                return Err(Malformed);
            }
        };
        Ok(false)
    }

    fn skip(&mut self) -> Result<(), Malformed> {
        self.skipped = self.skipped.saturating_add(1);
        if self.skipped > SKIPPED_MAX { Err(Malformed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn decode(body: &[u8], piece: usize) -> Result<(Vec<u8>, bool), Malformed> {
        let mut chunked = Chunked::new();
        let mut data = Vec::new();
        for piece in body.chunks(piece) {
            let mut buf = piece.to_vec();
            let count = chunked.decode(&mut buf, piece.len())?;
            data.extend(&buf[..count]);
        }
        Ok((data, chunked.is_done()))
    }

    #[test]
    fn undone_however_it_arrives() {
        let bodies: [&[u8]; 3] = [
            b"4\r\nWiki\r\n6;name=\"v\"\r\npedia \r\nE \r\nin \r\n\r\nchunks.\r\n0\r\nExpires: never\r\nX: y\r\n\r\n",
            b"18\r\nWikipedia in \r\n\r\nchunks.\r\n0\r\n\r\n",
            b"0000A\nWikipedia \ne\nin \r\n\r\nchunks.\n0\n\n",
        ];
        for (body, piece) in bodies.iter().flat_map(|body| (1..body.len()).map(move |piece| (body, piece))) {
            let (data, done) = decode(body, piece).unwrap();
            assert_eq!(data, b"Wikipedia in \r\n\r\nchunks.", "in pieces of {piece}");
            assert!(done);
        }
    }

    #[test]
    fn what_is_malformed_or_never_ends_is_refused() {
        let long = [b"1;".as_slice(), &[b'x'; 2000]].concat();
        let bodies: [&[u8]; 12] = [
            b"\r\n",
            b"-1\r\n",
            b"x\r\n",
            b"4\r\nWikiX",
            b"1000000000000000\r\n",
            b"0\r\n\r\nX",
            b";\r\n",
            &long,
            b"4\r\nWiki\r\r\n",
            b"4\r\nWiki\rX",
            b"0\r\n\r\r\n",
            b"0\r\n\rX",
        ];
        for body in bodies {
            assert_eq!(decode(body, 7), Err(Malformed), "{body:?}");
        }
        assert_eq!(decode(b"4\r\nWi", 3), Ok((b"Wi".to_vec(), false)));
    }

    /// From every state, any byte over and over: it comes to an end, is refused, or is data.
    #[test]
    fn no_byte_goes_on_for_ever() {
        let body = b"1;n=v\r\nA\r\n2 \r\nBC\r\n0\r\nT: v\r\nU: w\r\n\r\n";
        for (cut, byte) in (0..=body.len()).flat_map(|cut| (0..=255u8).map(move |byte| (cut, byte))) {
            let mut chunked = Chunked::new();
            assert!(chunked.decode(&mut body[..cut].to_vec(), cut).is_ok());
            let taken = (0..10_000).take_while(|_| chunked.decode(&mut [byte], 1) == Ok(0)).count();
            assert!(taken <= usize::from(SKIPPED_MAX) + 1, "{taken} times {byte:#x} behind {cut} bytes");
        }
    }
}
