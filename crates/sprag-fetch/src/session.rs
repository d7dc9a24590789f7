//! How far a download came, of which object; and whether an answer fits it.

use core::fmt;
use core::num::{NonZeroU32, NonZeroU64};

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

use crate::request::ByteRange;
use crate::response::{ETAG_MAX, Etag, Head, HeadError, is_strong};

/// The longest a session is as bytes.
pub const SESSION_MAX: usize = FIXED + ETAG_MAX + 4;
/// What stands before the ETag.
const FIXED: usize = 1 + 8 + 8 + 1;
/// The version of the layout.
const VERSION: u8 = 1;
/// In the place of a size that is not known.
const UNKNOWN: u64 = u64::MAX;
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// How far a download came and what is known of the object: all that is needed to go on, with another URL too.
///
/// A session belongs to the object, never to a URL: every fresh presigned URL differs. Keep it with the bytes it counts;
/// [`Session::default`] starts at byte 0 of an object that nothing is known of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Bytes of the object that the caller already has; the next one asked for.
    pub offset: u64,
    /// The size of the object in bytes: from the job, or learnt from the first answer.
    pub total: Option<u64>,
    /// The object's strong entity tag, as the first answer gave it; `None` where it gave a weak one or none. A later answer
    /// that does not have the same one is refused, because nothing else binds its bytes to those that are there.
    pub etag: Option<Etag>,
}

impl Session {
    /// The session as bytes to be kept with those of the object, of at most [`SESSION_MAX`].
    ///
    /// | byte | what |
    /// |---|---|
    /// | 0 | version of this layout, 1 |
    /// | 1..9 | offset, `u64` little-endian |
    /// | 9..17 | size of the object, `u64` little-endian; all ones when it is not known |
    /// | 17 | length of the ETag; 0 for none |
    /// | 18.. | the ETag, quotes included |
    /// | the last 4 | CRC-32 (ISO-HDLC, as of Ethernet and zip) of all before, little-endian |
    pub fn encode(&self) -> heapless::Vec<u8, SESSION_MAX> {
        let etag = self.etag.as_deref().unwrap_or_default().as_bytes();
        let length = u8::try_from(etag.len()).unwrap_or(0);
        let (offset, total) = (self.offset.to_le_bytes(), self.total.unwrap_or(UNKNOWN).to_le_bytes());
        let mut bytes = heapless::Vec::new();
        for part in [&[VERSION], offset.as_slice(), &total, &[length], etag] {
            // There is room for the longest ETag.
            let _ = bytes.extend_from_slice(part);
        }
        let _ = bytes.extend_from_slice(&CRC.checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when it is damaged, or of a version that is not known here.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk()?;
        let (fixed, etag) = body.split_first_chunk::<FIXED>()?;
        let (version, rest) = fixed.split_first()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (total, length) = rest.split_first_chunk()?;
        let (offset, total) = (u64::from_le_bytes(*offset), Some(u64::from_le_bytes(*total)));
        let total = total.filter(|total| *total != UNKNOWN);
        let sound = CRC.checksum(body).to_le_bytes() == *checksum
            && *version == VERSION
            && length.first().copied().map(usize::from) == Some(etag.len())
            && etag.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..))
            && total.is_none_or(|total| offset <= total);
        let etag = core::str::from_utf8(etag).ok().and_then(|etag| Etag::try_from(etag).ok()).filter(|_| sound)?;
        Some(Self { offset, total, etag: Some(etag).filter(|etag| !etag.is_empty()) })
    }

    /// Whether every byte is there.
    pub fn is_complete(&self) -> bool {
        self.total.is_some_and(|total| self.offset >= total)
    }

    /// Returns whether a strong ETag says which object the bytes are of. Without one, a download can't go on in the middle
    /// of the object: see [`AnswerError::NoStrongEtag`].
    pub fn is_pinned(&self) -> bool {
        self.etag.as_deref().is_some_and(is_strong)
    }

    /// The next range to ask for, of at most `size` bytes.
    pub(crate) fn next_range(&self, size: Option<NonZeroU64>) -> ByteRange {
        let last = size.map(|size| {
            let last = self.offset.saturating_add(size.get().saturating_sub(1));
            self.total.map_or(last, |total| last.min(total.saturating_sub(1)))
        });
        ByteRange { first: self.offset, last }
    }

    /// The tag for `If-Match`. A weak one never matches there (RFC 9110, section 13.1.1), so it is not sent.
    pub(crate) fn if_match(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| is_strong(etag))
    }

    /// Checks the head of the answer to `asked`, and pins what it says of the object. `promised` is the size that the caller
    /// knows from elsewhere.
    pub(crate) fn accept(
        &mut self,
        asked: ByteRange,
        head: &Head,
        policy: RangeIgnored,
        promised: Option<u64>,
    ) -> Result<Span, AnswerError> {
        match head.status {
            200 | 206 => {}
            412 => return Err(AnswerError::ObjectChanged),
            // Past the end of what was pinned: it became shorter. Past the end of anything: there is nothing.
            416 if asked.first > 0 => return Err(AnswerError::ObjectChanged),
            // Unless `Content-Range: bytes */N` says that the object does have bytes: then the server is at fault.
            416 if head.unsatisfied.is_none_or(|total| total == 0) => return Err(AnswerError::Empty),
            400 | 401 | 403 => return Err(AnswerError::UrlRefused { status: head.status }),
            status => return Err(AnswerError::Status { status, retry_after: head.retry_after }),
        }
        if head.encoded {
            return Err(AnswerError::Encoded);
        }
        if cfg!(not(feature = "chunked")) && head.chunked {
            return Err(AnswerError::ChunkedNotBuiltIn);
        }
        if let (Some(pinned), Some(now)) = (&self.etag, &head.etag)
            && pinned != now
        {
            return Err(AnswerError::ObjectChanged);
        }
        // While no byte is there, the size in an earlier answer is that of another object, unless one strong ETag binds both.
        let is_bound = head.etag.is_some() && self.etag == head.etag;
        let known = if asked.first > 0 || is_bound { self.total } else { promised };
        let span = if head.status == 206 { partial(asked, head, known)? } else { whole(asked, head, known, policy)? };
        if known.is_some() && known != span.total {
            return Err(AnswerError::ObjectChanged);
        }
        // Bytes of two answers are one object's only when both have the same strong ETag (RFC 9110, section 15.3.7.3).
        let is_whole = asked.first == 0 && span.total.is_none_or(|total| span.length == total);
        if head.etag.is_none() && !is_whole {
            return Err(AnswerError::NoStrongEtag);
        }
        self.total = span.total;
        self.etag.clone_from(&head.etag);
        Ok(span)
    }
}

/// What to do about a 200 to a request that did not start at byte 0: the server ignores ranges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RangeIgnored {
    /// Stop with [`AnswerError::RangeIgnored`].
    #[default]
    Refuse,
    /// Fetch the object from its beginning and skip what is there already. It costs those bytes again, after every loss.
    Skip,
}

/// What the body of an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Bytes before the one that was asked for.
    pub(crate) skip: u64,
    /// Bytes from the one that was asked for on; `u64::MAX` where only the last chunk will tell.
    pub(crate) length: u64,
    /// The size of the object, where the answer or the session says it.
    total: Option<u64>,
}

/// A 206: the range must start where it was asked to, and no length may contradict another.
fn partial(asked: ByteRange, head: &Head, total: Option<u64>) -> Result<Span, AnswerError> {
    let range = head.content_range.ok_or(AnswerError::WrongRange)?;
    let total = range.total.or(total).ok_or(AnswerError::NoLength)?;
    let length = range.last.saturating_sub(range.first).saturating_add(1);
    let fits = range.first == asked.first
        && asked.last.is_none_or(|last| range.last <= last)
        && (head.chunked || head.content_length.is_none_or(|said| said == length));
    if fits { Ok(Span { skip: 0, length, total: Some(total) }) } else { Err(AnswerError::WrongRange) }
}

/// A 200 is the whole object, whatever was asked for: taken for a range in its middle, it would be poison.
fn whole(asked: ByteRange, head: &Head, total: Option<u64>, policy: RangeIgnored) -> Result<Span, AnswerError> {
    if asked.first > 0 && policy == RangeIgnored::Refuse {
        return Err(AnswerError::RangeIgnored);
    }
    // Without a length the end is that of the last chunk, or else of the connection. A connection that is lost looks the same,
    // so that it takes a size that is known.
    match head.content_length.filter(|_| !head.chunked).or(total) {
        None if head.chunked => Ok(Span { skip: asked.first, length: u64::MAX, total: None }),
        None => Err(AnswerError::NoLength),
        Some(0) => Err(AnswerError::Empty),
        Some(total) => match total.checked_sub(asked.first).filter(|length| *length > 0) {
            Some(length) => Ok(Span { skip: asked.first, length, total: Some(total) }),
            None => Err(AnswerError::ObjectChanged),
        },
    }
}

/// Why an answer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AnswerError {
    /// Its head can't be read.
    Head(HeadError),
    /// A status that is no answer to a range request.
    Status {
        /// The status code.
        status: u16,
        /// What `Retry-After` asked for, in seconds from the answer on; `None` for 0 as well, and for a date that has passed.
        retry_after: Option<NonZeroU32>,
    },
    /// 400, 401 or 403: the URL has expired, or its signature or token does not fit. A fresh URL may do. Why, in the storage
    /// service's own word, [`Event::Refused`](crate::Event::Refused) says.
    UrlRefused {
        /// The status code.
        status: u16,
    },
    /// The object is not the one that the session began with: another ETag, another size, or a 412.
    ObjectChanged,
    /// The download would have to go on in the middle of the object, and no strong ETag says that the bytes to come are of
    /// the same object as those that are there: the server sends a weak one or none. The object has to be fetched from byte
    /// 0, in one answer.
    NoStrongEtag,
    /// 200 to a request that did not start at byte 0: the server ignores ranges.
    RangeIgnored,
    /// 206 whose `Content-Range` is missing, malformed or not what was asked for, or contradicts `Content-Length`; or which
    /// brought so much less than was asked for that it is no progress.
    WrongRange,
    /// The body is in a content coding (compressed, most likely), or in a transfer coding other than chunked.
    Encoded,
    /// The chunks of the body are malformed.
    Chunks,
    /// The body comes in chunks, and this crate was built without its feature `chunked`.
    ChunkedNotBuiltIn,
    /// The size of the object is not known, and the answer ends with the connection: whether it arrived whole could not be
    /// told.
    NoLength,
    /// A redirect, and this crate was built without its feature `redirects`.
    RedirectsNotBuiltIn,
    /// A redirect to something that can't be fetched from.
    BadRedirect,
    /// A redirect from `https` to `http`.
    Downgrade,
    /// One redirect after the other, more than [`Limits::redirects`](crate::Limits::redirects).
    TooManyRedirects,
    /// The object has no bytes.
    Empty,
}

impl AnswerError {
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            // A captive portal, a proxy's page, a broken cache: something between here and the server.
            Self::Head(HeadError::NotHttp | HeadError::Malformed) | Self::WrongRange | Self::Chunks => true,
            _ => false,
        }
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Head(HeadError::NotHttp) => "not-http",
            Self::Head(HeadError::Malformed) => "header-malformed",
            Self::Head(HeadError::TooLong) => "header-too-long",
            Self::Head(HeadError::EtagTooLong) => "etag-too-long",
            Self::Status { status, .. } => match status {
                404 => "http-404",
                410 => "http-410",
                429 => "http-429",
                300..400 => "http-redirect",
                400..500 => "http-4xx",
                500 => "http-500",
                503 => "http-503",
                _ => "http-status",
            },
            Self::UrlRefused { .. } => "url-refused",
            Self::ObjectChanged => "object-changed",
            Self::NoStrongEtag => "no-strong-etag",
            Self::RangeIgnored => "range-ignored",
            Self::WrongRange => "wrong-range",
            Self::Encoded => "body-encoded",
            Self::Chunks => "chunks-malformed",
            Self::ChunkedNotBuiltIn => "chunked-not-built-in",
            Self::RedirectsNotBuiltIn => "redirects-not-built-in",
            Self::BadRedirect => "redirect-malformed",
            Self::Downgrade => "redirect-to-http",
            Self::TooManyRedirects => "too-many-redirects",
            Self::NoLength => "length-missing",
            Self::Empty => "object-empty",
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Status { status, .. } => write!(f, "the server answered {status}"),
            Self::UrlRefused { status } => {
                write!(
                    f,
                    "the server refused the URL ({status}): it expired, or is not valid, or there is no such object"
                )
            }
            Self::ObjectChanged => f.write_str("the object changed while it was being fetched"),
            Self::NoStrongEtag => {
                f.write_str("the server sends no strong ETag, so the download can't go on in the middle")
            }
            Self::RangeIgnored => f.write_str("the server ignores ranges: it answered 200 in the middle of the object"),
            Self::WrongRange => f.write_str("the answer's Content-Range is not what was asked for"),
            Self::Encoded => {
                f.write_str("the answer's body is compressed, or in another coding that is not undone here")
            }
            Self::Chunks => f.write_str("the chunks of the answer's body are malformed"),
            Self::ChunkedNotBuiltIn => {
                f.write_str("the answer's body comes in chunks, which this firmware can't read (feature `chunked`)")
            }
            Self::RedirectsNotBuiltIn => {
                f.write_str("the server redirects, which this firmware does not follow (feature `redirects`)")
            }
            Self::BadRedirect => f.write_str("the server redirects to something that can't be fetched from"),
            Self::Downgrade => f.write_str("the server redirects from https to http"),
            Self::TooManyRedirects => f.write_str("the server redirects again and again"),
            Self::NoLength => f.write_str("the answer does not say how long the object is, and nothing else does"),
            Self::Empty => f.write_str("the object has no bytes"),
        }
    }
}

impl core::error::Error for AnswerError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::response::ContentRange;

    fn etag(text: &str) -> Option<Etag> {
        Some(Etag::try_from(text).unwrap())
    }

    fn answer(first: u64, last: u64, total: u64) -> Head {
        let content_range = Some(ContentRange { first, last, total: Some(total) });
        Head { status: 206, content_range, etag: etag("\"a\""), ..Head::default() }
    }

    /// The length of the body that an answer is taken for, ranges not being ignored.
    fn accept(session: &mut Session, asked: ByteRange, head: &Head) -> Result<u64, AnswerError> {
        let promised = session.total.filter(|_| session.etag.is_none());
        session.accept(asked, head, RangeIgnored::Refuse, promised).map(|span| span.length)
    }

    fn pinned(offset: u64) -> Session {
        Session { offset, total: Some(100), etag: etag("\"a\"") }
    }

    #[test]
    fn ranges_end_at_the_end() {
        let size = NonZeroU64::new(40);
        let range = |offset, total| Session { offset, total, etag: None }.next_range(size);
        assert_eq!(range(0, None), ByteRange { first: 0, last: Some(39) });
        assert_eq!(range(80, Some(100)), ByteRange { first: 80, last: Some(99) });
        assert_eq!(pinned(7).next_range(None), ByteRange { first: 7, last: None });
    }

    #[test]
    fn the_first_answer_pins_the_object() {
        let mut session = Session::default();
        let asked = session.next_range(None);
        let head = Head { content_length: Some(100), ..answer(0, 99, 100) };
        assert_eq!(accept(&mut session, asked, &head), Ok(100));
        assert_eq!((session.total, session.if_match(), session.is_pinned()), (Some(100), Some("\"a\""), true));
        for weak in ["W/\"w\"", "\"\"", "a", "\"a", "\"a\"-gzip", "\"a\"b\""] {
            let session = Session { etag: etag(weak), ..Session::default() };
            assert_eq!((session.if_match(), session.is_pinned()), (None, false), "{weak}");
        }
    }

    #[test]
    fn refuses_every_answer_that_could_splice() {
        use AnswerError::{Encoded, NoStrongEtag, ObjectChanged, RangeIgnored, Status, UrlRefused, WrongRange};
        let cases = [
            (Head { etag: etag("\"b\""), ..answer(10, 99, 100) }, ObjectChanged),
            (answer(10, 99, 101), ObjectChanged),
            (Head { etag: None, ..answer(10, 99, 100) }, NoStrongEtag),
            (Head { status: 412, ..Head::default() }, ObjectChanged),
            (Head { status: 416, ..Head::default() }, ObjectChanged),
            (answer(0, 99, 100), WrongRange),
            (answer(11, 99, 100), WrongRange),
            (Head { content_length: Some(89), ..answer(10, 99, 100) }, WrongRange),
            (Head { status: 206, ..Head::default() }, WrongRange),
            (Head { status: 200, content_length: Some(100), ..Head::default() }, RangeIgnored),
            (Head { encoded: true, ..answer(10, 99, 100) }, Encoded),
            (Head { status: 403, ..Head::default() }, UrlRefused { status: 403 }),
            (Head { status: 404, ..Head::default() }, Status { status: 404, retry_after: None }),
            (
                Head { status: 503, retry_after: NonZeroU32::new(2), ..Head::default() },
                Status { status: 503, retry_after: NonZeroU32::new(2) },
            ),
        ];
        for (head, error) in cases {
            let mut session = pinned(10);
            let asked = session.next_range(None);
            assert_eq!(accept(&mut session, asked, &head), Err(error));
            assert_eq!(session, pinned(10), "a refused answer leaves no trace");
        }
        let asked = ByteRange { first: 10, last: Some(19) };
        assert_eq!(accept(&mut pinned(10), asked, &answer(10, 20, 100)), Err(WrongRange));
        assert_eq!(accept(&mut pinned(10), asked, &answer(10, 15, 100)), Ok(6), "less than asked for is progress");
    }

    #[test]
    #[cfg_attr(not(feature = "chunked"), ignore = "needs the feature `chunked`")]
    fn a_whole_object_is_good_from_its_first_byte_only() {
        let whole = |length| Head { status: 200, content_length: length, ..Head::default() };
        let asked = ByteRange { first: 0, last: Some(9) };
        assert_eq!(accept(&mut Session::default(), asked, &whole(Some(100))), Ok(100));
        assert_eq!(accept(&mut Session::default(), asked, &whole(None)), Err(AnswerError::NoLength));
        assert_eq!(accept(&mut Session::default(), asked, &whole(Some(0))), Err(AnswerError::Empty));
        let job = || Session { total: Some(100), ..Session::default() };
        assert_eq!(accept(&mut job(), asked, &whole(None)), Ok(100), "as long as the job says, or it ends too early");
        let in_chunks = Head { chunked: true, ..whole(Some(7)) };
        assert_eq!(accept(&mut Session::default(), asked, &in_chunks), Ok(u64::MAX), "until the last chunk");
        assert_eq!(accept(&mut job(), asked, &in_chunks), Ok(100));
        assert_eq!(
            accept(&mut pinned(0), asked, &whole(Some(99))),
            Ok(99),
            "nothing is there that it could contradict"
        );
    }

    /// A piece of an object that nothing binds to the other pieces is not even begun with.
    #[test]
    fn a_part_without_a_strong_etag_is_refused_from_its_first_byte() {
        for last in 0..100 {
            let head = Head { etag: None, ..answer(0, last, 100) };
            let asked = ByteRange { first: 0, last: None };
            let expected = if last == 99 { Ok(100) } else { Err(AnswerError::NoStrongEtag) };
            let mut session = Session { etag: etag("\"before\""), ..Session::default() };
            assert_eq!(accept(&mut session, asked, &head), expected, "{last}");
            assert_eq!(session.is_pinned(), expected.is_err(), "{last}: by what came with these bytes only");
        }
    }

    #[test]
    fn a_416_says_whether_the_object_is_empty() {
        let asked = ByteRange { first: 0, last: None };
        for (unsatisfied, error) in [
            (None, AnswerError::Empty),
            (Some(0), AnswerError::Empty),
            (Some(200_000), AnswerError::Status { status: 416, retry_after: None }),
        ] {
            let head = Head { status: 416, unsatisfied, ..Head::default() };
            assert_eq!(accept(&mut Session::default(), asked, &head), Err(error), "{unsatisfied:?}");
        }
    }

    #[test]
    fn a_total_that_the_server_does_not_know_must_be_known_here() {
        let asked = ByteRange { first: 10, last: None };
        let content_range = Some(ContentRange { first: 10, last: 99, total: None });
        let head = Head { status: 206, content_range, etag: etag("\"a\""), ..Head::default() };
        assert_eq!(accept(&mut pinned(10), asked, &head), Ok(90));
        assert_eq!(accept(&mut Session { offset: 10, ..Session::default() }, asked, &head), Err(AnswerError::NoLength));
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
        let long = std::format!("\"{}\"", "e".repeat(ETAG_MAX - 2));
        let sessions = [
            Session::default(),
            pinned(7),
            Session { offset: 3, total: None, etag: None },
            Session { offset: 1 << 40, total: Some(u64::MAX - 1), etag: etag(&long) },
        ];
        for session in sessions {
            let bytes = session.encode();
            assert!(bytes.len() <= SESSION_MAX);
            assert_eq!(Session::decode(&bytes), Some(session));
            assert!((0..bytes.len()).all(|length| Session::decode(&bytes[..length]).is_none()), "cut");
            for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(Session::decode(&damaged), None, "bit {bit} of byte {at}");
            }
        }
    }

    /// Releases to come read what this one has written.
    #[test]
    fn the_layout_stays() {
        let expected = [&[1, 7, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 3][..], b"\"a\""].concat();
        let bytes = pinned(7).encode();
        assert_eq!(bytes[..bytes.len() - 4], expected);
    }

    #[test]
    fn a_server_that_ignores_ranges_costs_the_bytes_before_where_that_is_wanted() {
        let head = Head { status: 200, content_length: Some(100), etag: etag("\"a\""), ..Head::default() };
        let asked = ByteRange { first: 10, last: Some(19) };
        let span = pinned(10).accept(asked, &head, RangeIgnored::Skip, None);
        assert_eq!(span, Ok(Span { skip: 10, length: 90, total: Some(100) }));
        let untold = Head { etag: None, ..head.clone() };
        assert_eq!(pinned(10).accept(asked, &untold, RangeIgnored::Skip, None), Err(AnswerError::NoStrongEtag));
        let other = Head { content_length: Some(10), ..head };
        assert_eq!(pinned(10).accept(asked, &other, RangeIgnored::Skip, None), Err(AnswerError::ObjectChanged));
    }
}
