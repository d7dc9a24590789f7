//! In the place of the chunked transfer coding, where it is not built in: no answer in chunks is accepted.

/// A body in chunks, of which there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Chunked {}

/// The body does not keep to the chunked coding.
#[derive(Debug)]
pub(crate) struct Malformed;

impl Chunked {
    /// Returns the decoder of an answer's body: none, whether it is in chunks or not.
    pub(crate) fn of(_is_chunked: bool) -> Option<Self> {
        None
    }

    pub(crate) fn is_in_data(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_done(&self) -> bool {
        match *self {}
    }

    pub(crate) fn decode(&mut self, _: &mut [u8], _: usize) -> Result<usize, Malformed> {
        match *self {}
    }
}
