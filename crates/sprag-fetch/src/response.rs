//! The head of an answer, read byte by byte as it arrives: what matters is kept, the rest is skipped without a buffer.
//!
//! Not by `httparse`, which wants the whole head in one buffer: a header line may be of any length here.

use core::fmt;
use core::num::NonZeroU32;

#[cfg(feature = "retry-after-date")]
use crate::date;

/// The longest ETag that is kept, quotes included: room for a SHA-256 in hex with a prefix. S3's are at most 42 bytes long,
/// Azure's 21, nginx's about 25.
pub const ETAG_MAX: usize = 88;

/// An entity tag as the server wrote it, quotes included.
pub type Etag = heapless::String<ETAG_MAX>;

/// The name of a region of AWS, such as `eu-central-1`.
pub type Region = heapless::String<24>;

/// Returns whether an entity tag is a strong validator (RFC 9110, section 8.8.3): in quotes, and not weak. An empty one is
/// none here, for a server that sends it tells no object from another.
pub(crate) fn is_strong(etag: &str) -> bool {
    let opaque = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    !opaque.is_empty() && opaque.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..))
}

/// Room for the longest value that is looked at: an ETag.
const VALUE_MAX: usize = ETAG_MAX;
/// Room for the longest name that is looked for, `x-amz-bucket-region`.
const NAME_MAX: usize = 19;

/// What an answer's head says, as far as a range client cares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) content_length: Option<u64>,
    pub(crate) content_range: Option<ContentRange>,
    /// The total of a `Content-Range: bytes */total`, which comes with a 416.
    pub(crate) unsatisfied: Option<u64>,
    /// The entity tag, if it is a strong one.
    pub(crate) etag: Option<Etag>,
    /// The region that S3 says the bucket is in.
    pub(crate) region: Region,
    /// What `Retry-After` asks for, in seconds from the answer on.
    pub(crate) retry_after: Option<NonZeroU32>,
    /// The server closes the connection after this answer.
    pub(crate) close: bool,
    /// The body comes in chunks: `Transfer-Encoding: chunked`.
    pub(crate) chunked: bool,
    /// The body is not the object's bytes: another `Transfer-Encoding`, or a `Content-Encoding` that changes them.
    pub(crate) encoded: bool,
}

/// `Content-Range: bytes first-last/total`, or `*` for a total that the server does not know (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) total: Option<u64>,
}

/// Why the head of an answer can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HeadError {
    /// It is not HTTP/1.0 or HTTP/1.1.
    NotHttp,
    /// A header line is malformed, or two lines contradict each other.
    Malformed,
    /// It went on for more than [`Limits::head_bytes`](crate::Limits::head_bytes).
    TooLong,
    /// The strong ETag is longer than [`ETAG_MAX`], so that the object can't be pinned.
    EtagTooLong,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("the answer is not HTTP/1"),
            Self::Malformed => f.write_str("the answer's header is malformed"),
            Self::TooLong => f.write_str("the answer's header is longer than `Limits::head_bytes`"),
            Self::EtagTooLong => write!(f, "the answer's ETag is longer than {ETAG_MAX} bytes"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    BucketRegion,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentRange,
    #[cfg(feature = "retry-after-date")]
    Date,
    Etag,
    Location,
    RetryAfter,
    TransferEncoding,
}

impl Header {
    fn named(name: &[u8]) -> Option<Self> {
        const KNOWN: &[(&str, Header)] = &[
            ("connection", Header::Connection),
            ("content-encoding", Header::ContentEncoding),
            ("content-length", Header::ContentLength),
            ("content-range", Header::ContentRange),
            #[cfg(feature = "retry-after-date")]
            ("date", Header::Date),
            ("etag", Header::Etag),
            ("location", Header::Location),
            ("retry-after", Header::RetryAfter),
            ("transfer-encoding", Header::TransferEncoding),
            ("x-amz-bucket-region", Header::BucketRegion),
        ];
        KNOWN.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, header)| *header)
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Inside the status line, this many bytes in.
    Status(usize),
    /// At the first byte of a line.
    Line,
    /// The carriage return of the empty line has been seen.
    End,
    Name,
    Value(Header),
    /// Until the end of the line.
    Skip,
    /// Behind a line, which goes on if the next one begins with white space.
    LineEnd(Option<Header>),
}

/// Takes the bytes of an answer until its head is complete. Interim answers (1xx) are skipped.
#[derive(Debug)]
pub(crate) struct HeadParser {
    state: State,
    head: Head,
    name: heapless::Vec<u8, NAME_MAX>,
    value: heapless::Vec<u8, VALUE_MAX>,
    value_overflow: bool,
    http_1_0: bool,
    keep_alive: bool,
    kept: usize,
    has_location: bool,
    /// There was white space behind what is kept.
    gap: bool,
    /// `Date`, in seconds since 1970.
    #[cfg(feature = "retry-after-date")]
    now: Option<u32>,
    /// `Retry-After` where it is a date, in seconds since 1970.
    #[cfg(feature = "retry-after-date")]
    retry_at: Option<u32>,
    left: u32,
}

impl HeadParser {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            state: State::Status(0),
            head: Head::default(),
            name: heapless::Vec::new(),
            value: heapless::Vec::new(),
            value_overflow: false,
            http_1_0: false,
            keep_alive: false,
            kept: 0,
            has_location: false,
            gap: false,
            #[cfg(feature = "retry-after-date")]
            now: None,
            #[cfg(feature = "retry-after-date")]
            retry_at: None,
            left: limit,
        }
    }

    /// Takes the bytes that arrived in `buf` behind the first [`kept`](Self::kept), up to `end`. Once the
    /// [`head`](Self::head) is whole: where in `buf` the body begins.
    ///
    /// The value of `Location` is moved to the front of `buf`, for there is no telling how long it is.
    pub(crate) fn feed(&mut self, buf: &mut [u8], end: usize) -> Result<Option<usize>, HeadError> {
        for at in self.kept..end {
            let Some(&byte) = buf.get(at) else { break };
            self.left = self.left.checked_sub(1).ok_or(HeadError::TooLong)?;
            if cfg!(feature = "redirects") && matches!(self.state, State::Value(Header::Location)) {
                if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                    self.gap = self.kept > 0;
                } else if let Some(place) = buf.get_mut(self.kept) {
                    // White space inside it, and the end of a line before it, stay in: no URL has either.
                    *place = if self.gap { b' ' } else { byte };
                    self.kept = self.kept.saturating_add(1);
                }
            }
            if self.push(byte)? {
                if (100..200).contains(&self.head.status) {
                    *self = Self::new(self.left);
                    continue;
                }
                self.head.close |= self.http_1_0 && !self.keep_alive;
                // By the server's own clock: there is no other.
                #[cfg(feature = "retry-after-date")]
                if let (Some(now), Some(retry_at)) = (self.now, self.retry_at) {
                    self.head.retry_after = NonZeroU32::new(retry_at.saturating_sub(now));
                }
                return Ok(Some(at.saturating_add(1)));
            }
        }
        Ok(None)
    }

    /// What the head says, as far as it has come.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// How many bytes of the value of `Location` stand at the front of the buffer: none are to be read over them.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }

    /// Returns whether there is a `Location` with a value.
    pub(crate) fn has_location(&self) -> bool {
        self.has_location
    }

    /// `true` when this byte ended the head.
    fn push(&mut self, byte: u8) -> Result<bool, HeadError> {
        if let State::LineEnd(header) = self.state
            && !matches!(byte, b' ' | b'\t')
        {
            header.map_or(Ok(()), |header| self.line(header))?;
            self.state = State::Line;
        }
        self.state = match (self.state, byte) {
            (State::Status(at), _) => self.status(at, byte)?,
            (State::Line, b'\r') => State::End,
            (State::Line, b'\n') | (State::End, b'\n') => return Ok(true),
            (State::End, _) => return Err(HeadError::Malformed),
            (State::Line, b' ' | b'\t' | b':') => return Err(HeadError::Malformed),
            // A folded line is one line with a space in it (RFC 9112, section 5.2).
            (State::LineEnd(header), _) => {
                self.value_byte(b' ');
                header.map_or(State::Skip, State::Value)
            }
            (State::Line, _) => {
                self.name.clear();
                self.named(byte)
            }
            (State::Name, b':') => {
                self.value.clear();
                self.value_overflow = false;
                Header::named(&self.name).map_or(State::Skip, State::Value)
            }
            (State::Name, b'\n' | b' ' | b'\t') => return Err(HeadError::Malformed),
            (State::Name, _) => self.named(byte),
            (State::Value(header), b'\n') => State::LineEnd(Some(header)),
            // Moved to the front of the caller's buffer instead: see `feed`.
            (State::Value(Header::Location), _) if cfg!(feature = "redirects") => State::Value(Header::Location),
            (State::Value(header), _) => {
                self.value_byte(byte);
                State::Value(header)
            }
            (State::Skip, b'\n') => State::LineEnd(None),
            (State::Skip, _) => State::Skip,
        };
        Ok(false)
    }

    /// A name too long for the buffer is none that is looked for: its line is skipped.
    fn named(&mut self, byte: u8) -> State {
        if self.name.push(byte).is_ok() { State::Name } else { State::Skip }
    }

    /// White space before the value is left out; behind it, it needs no room. A carriage return is white space as well (RFC
    /// 9112, section 2.2).
    fn value_byte(&mut self, byte: u8) {
        let blank = matches!(byte, b' ' | b'\t' | b'\r');
        if !(blank && self.value.is_empty()) {
            self.value_overflow |= self.value.push(if blank { b' ' } else { byte }).is_err() && !blank;
        }
    }

    /// `HTTP/1.x SSS …`
    fn status(&mut self, at: usize, byte: u8) -> Result<State, HeadError> {
        const VERSION: &[u8] = b"HTTP/1.";
        let good = match at {
            0..=6 => VERSION.get(at) == Some(&byte),
            7 => {
                self.http_1_0 = byte == b'0';
                matches!(byte, b'0' | b'1')
            }
            8 => byte == b' ',
            9..=11 => {
                let digit = u16::from(byte.wrapping_sub(b'0'));
                self.head.status = self.head.status.saturating_mul(10).saturating_add(digit);
                byte.is_ascii_digit() && (at != 9 || byte != b'0')
            }
            12 if byte == b'\n' => return Ok(State::Line),
            12 => matches!(byte, b' ' | b'\r'),
            _ if byte == b'\n' => return Ok(State::Line),
            _ => true,
        };
        if good { Ok(State::Status(at.saturating_add(1))) } else { Err(HeadError::NotHttp) }
    }

    fn line(&mut self, header: Header) -> Result<(), HeadError> {
        let value = self.value.trim_ascii();
        let too_long = self.value_overflow;
        let plain = |value| if too_long { Err(HeadError::Malformed) } else { Ok(value) };
        match header {
            // Too long a list of options is treated as one that says close: the safe side.
            Header::Connection => {
                let says =
                    |option: &[u8]| value.split(|b| *b == b',').any(|o| o.trim_ascii().eq_ignore_ascii_case(option));
                self.head.close |= too_long || says(b"close");
                self.keep_alive |= says(b"keep-alive");
            }
            // Lists, of which empty elements are no part (RFC 9110, section 5.6.1.2). S3 and its like keep `aws-chunked` from
            // the upload, and the bytes that they send are not in that coding.
            Header::ContentEncoding | Header::TransferEncoding => {
                let is_transfer = matches!(header, Header::TransferEncoding);
                self.head.encoded |= too_long;
                for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    let is = |word: &str| coding.eq_ignore_ascii_case(word.as_bytes());
                    if is_transfer && is("chunked") {
                        self.head.encoded |= core::mem::replace(&mut self.head.chunked, true);
                    } else {
                        let none = coding.is_empty() || is("identity") || !is_transfer && is("aws-chunked");
                        self.head.encoded |= !none;
                    }
                }
            }
            Header::Location => self.has_location = self.kept > 0 || too_long || !value.is_empty(),
            Header::ContentLength => once(&mut self.head.content_length, number(plain(value)?))?,
            Header::ContentRange => {
                let (unit, range) = plain(value)?.split_first_chunk::<6>().ok_or(HeadError::Malformed)?;
                if !unit.eq_ignore_ascii_case(b"bytes ") {
                    return Err(HeadError::Malformed);
                }
                let range = range.trim_ascii_start();
                match range.strip_prefix(b"*/") {
                    Some(total) => self.head.unsatisfied = number(total),
                    None => once(&mut self.head.content_range, content_range(range))?,
                }
            }
            // A weak or malformed one is as good as none: no two answers can be told to be of one object by it.
            Header::Etag => {
                if too_long && value.starts_with(b"\"") {
                    return Err(HeadError::EtagTooLong);
                }
                let etag = core::str::from_utf8(value).ok().filter(|etag| is_strong(etag));
                if let Some(etag) = etag.and_then(|etag| Etag::try_from(etag).ok()) {
                    once(&mut self.head.etag, Some(etag))?;
                }
            }
            Header::BucketRegion => {
                let part = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
                let region = core::str::from_utf8(value).ok().filter(|region| region.bytes().all(|byte| part(&byte)));
                self.head.region = region.and_then(|region| Region::try_from(region).ok()).unwrap_or_default();
            }
            #[cfg(feature = "retry-after-date")]
            Header::Date => self.now = date::seconds(value),
            Header::RetryAfter => {
                self.head.retry_after =
                    number(value).and_then(|seconds| NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX)));
                #[cfg(feature = "retry-after-date")]
                {
                    self.retry_at = date::seconds(value);
                }
            }
        }
        Ok(())
    }
}

/// Takes a value that must be well-formed and, if it was there already, the same.
fn once<T: PartialEq>(field: &mut Option<T>, value: Option<T>) -> Result<(), HeadError> {
    match (&field, &value) {
        (_, None) => Err(HeadError::Malformed),
        (Some(before), Some(now)) if before != now => Err(HeadError::Malformed),
        _ => {
            *field = value;
            Ok(())
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte.wrapping_sub(b'0')))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

fn content_range(value: &[u8]) -> Option<ContentRange> {
    let (range, total) = split(value, b'/')?;
    let (first, last) = split(range, b'-')?;
    let total = if total == b"*" { None } else { Some(number(total)?) };
    let range = ContentRange { first: number(first)?, last: number(last)?, total };
    (range.first <= range.last && range.total.is_none_or(|total| range.last < total)).then_some(range)
}

fn split(value: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = value.splitn(2, |b| *b == at);
    Some((parts.next()?, parts.next()?))
}

/// Finds the `<Code>` of an S3 or Azure error body, byte by byte (Amazon S3 API reference, "Error responses").
#[derive(Debug, Default)]
pub(crate) struct CodeScanner {
    matched: usize,
    code: ErrorCode,
}

/// The code of a storage service's error answer, such as `ExpiredToken`; empty when it gave none.
pub type ErrorCode = heapless::String<40>;

impl CodeScanner {
    /// The code, once it is complete.
    pub(crate) fn push(&mut self, byte: u8) -> Option<ErrorCode> {
        const OPEN: &[u8] = b"<Code>";
        if self.matched == OPEN.len() {
            if byte == b'<' {
                return Some(core::mem::take(&mut self.code));
            }
            // Not a code of the service's: too long, or not of the letters that codes are made of. Digits would let a server
            // put an echo of the request's keys and signatures into a log.
            if !byte.is_ascii_alphabetic() || self.code.push(char::from(byte)).is_err() {
                return Some(ErrorCode::new());
            }
        } else if OPEN.get(self.matched) == Some(&byte) {
            self.matched = self.matched.saturating_add(1);
        } else {
            self.matched = usize::from(byte == b'<');
        }
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{format, string::String};

    const LIMIT: u32 = 4096;

    fn parse(text: &str) -> Result<Option<(Head, usize)>, HeadError> {
        let mut bytes = text.as_bytes().to_vec();
        let mut parser = HeadParser::new(LIMIT);
        let body = parser.feed(&mut bytes, text.len())?;
        Ok(body.map(|at| (parser.head().clone(), text.len() - at)))
    }

    const PARTIAL: &str = "HTTP/1.1 206 Partial Content\r\nx-amz-id-2: aGVsbG8=\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\n\
        ETag: \"9b2cf535f27731c974343645a3985328\"\r\nContent-Range: bytes 4096-8191/1049239\r\n\
        x-a-header-name-longer-than-any-that-matters: 1\r\ncontent-length:4096\r\nConnection: close\r\n\r\nBODY";

    #[test]
    fn keeps_what_matters_at_any_split() {
        let (whole, left) = parse(PARTIAL).unwrap().unwrap();
        assert_eq!((whole.status, whole.content_length, whole.close), (206, Some(4096), true));
        assert_eq!(whole.content_range, Some(ContentRange { first: 4096, last: 8191, total: Some(1_049_239) }));
        assert_eq!(whole.etag.as_deref(), Some("\"9b2cf535f27731c974343645a3985328\""));
        assert_eq!(left, 4);
        for cut in 0..PARTIAL.len() - 4 {
            let (a, b) = PARTIAL.as_bytes().split_at(cut);
            let mut parser = HeadParser::new(LIMIT);
            assert_eq!(parser.feed(&mut a.to_vec(), a.len()), Ok(None), "cut at {cut}");
            assert_eq!(parser.feed(&mut b.to_vec(), b.len()), Ok(Some(b.len() - 4)), "cut at {cut}");
            assert_eq!(parser.head(), &whole, "cut at {cut}");
        }
    }

    #[test]
    fn interim_answers_are_skipped() {
        let (head, _) = parse("HTTP/1.1 100 Continue\r\nETag: \"x\"\r\n\r\nHTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap();
        assert_eq!(head, Head { status: 200, close: true, ..Head::default() });
    }

    #[test]
    fn a_header_line_may_be_longer_than_any_buffer() {
        let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 5\r\n\r\n", "y".repeat(3000));
        assert_eq!(parse(&long).unwrap().unwrap().0.content_length, Some(5));
    }

    #[test]
    fn refuses_what_contradicts_itself_or_never_ends() {
        let head = |lines: &str| parse(&format!("HTTP/1.1 206 OK\r\n{lines}\r\n\r\n"));
        for lines in [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: -1",
            "Content-Length: ",
            "Content-Length: 18446744073709551616",
            "Content-Range: bytes 5-4/10",
            "Content-Range: bytes 0-10/10",
            "Content-Range: items 0-9/10",
            " folded: x",
            "Content-Length : 5",
            "Content-Length: 1\r\n 5",
            "Content-Range: bytes 0-9/\r\n 20",
            "Content-Range: bytes=0-9/20",
            "Content-Range: bytes",
            "ETag: \"a\"\r\nETag: \"b\"",
            "no colon",
        ] {
            assert_eq!(head(lines), Err(HeadError::Malformed), "{lines}");
        }
        assert_eq!(head(&format!("ETag: \"{}\"", "e".repeat(ETAG_MAX - 1))), Err(HeadError::EtagTooLong));
        assert_eq!(head(&format!("X: {}", "e".repeat(5000))), Err(HeadError::TooLong));
        for text in
            ["SSH-2.0-x\r\n", "HTTP/2 200\r\n", "HTTP/1.1 2x0 OK\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 099 \r\n"]
        {
            assert_eq!(parse(text), Err(HeadError::NotHttp), "{text}");
        }
    }

    #[test]
    #[cfg_attr(not(feature = "retry-after-date"), ignore = "needs the feature `retry-after-date`")]
    fn agreeing_duplicates_and_other_forms_are_fine() {
        let (head, _) = parse(
            "HTTP/1.1 503 Slow Down\nRetry-After: 7\ncontent-length: 3\ncontent-length: 3\nConnection: Keep-Alive, Close\n\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!((head.retry_after, head.content_length, head.close), (NonZeroU32::new(7), Some(3), true));
        let (head, _) = parse("HTTP/1.1 503 x\r\nRetry-After: 0\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.retry_after, None);
        let later = "Retry-After: Fri, 27 Nov 2026 07:28:00 GMT";
        let (head, _) = parse(&format!("HTTP/1.1 503 x\r\n{later}\r\n\r\n")).unwrap().unwrap();
        assert_eq!((head.retry_after, head.close), (None, false), "nobody knows what time it is");
        for (now, wait) in [("07:26:30", 90), ("07:30:00", 0)] {
            let date = format!("Date: Fri, 27 Nov 2026 {now} GMT");
            for lines in [format!("{later}\r\n{date}"), format!("{date}\r\n{later}")] {
                let (head, _) = parse(&format!("HTTP/1.1 503 x\r\n{lines}\r\n\r\n")).unwrap().unwrap();
                assert_eq!(head.retry_after, NonZeroU32::new(wait));
            }
        }
        let (head, _) = parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap();
        assert!(head.chunked && !head.encoded);
    }

    /// Every list of two codings, in every case and with every kind of blanks around: what changes no byte is none.
    #[test]
    fn codings_that_change_nothing_are_none() {
        let words = ["", "identity", "aws-chunked", "chunked", "gzip", "utf-8", "binary", "x", "identity;q=1"];
        for (header, none) in [("Content-Encoding", &words[..3]), ("Transfer-Encoding", &words[..2])] {
            for (first, second) in words.iter().flat_map(|first| words.iter().map(move |second| (first, second))) {
                for line in [
                    format!("{header}: {first},{second}"),
                    format!("{header}:{second} ,\t {first}\t "),
                    format!("{header}: {}, {}", first.to_uppercase(), second.to_uppercase()),
                    format!("{header}: {first}\r\nX: y\r\n{header}: {second}"),
                    format!("{header}: {first},\r\n {second}"),
                ] {
                    let (head, _) = parse(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n")).unwrap().unwrap();
                    let is_transfer = header.starts_with('T');
                    let chunks = [first, second].iter().filter(|word| is_transfer && ***word == "chunked").count();
                    let known = |word: &&str| none.contains(word) || is_transfer && *word == "chunked";
                    let encoded = !known(first) || !known(second) || chunks > 1;
                    assert_eq!((head.encoded, head.chunked), (encoded, chunks > 0), "{line}");
                }
            }
        }
        let (head, _) = parse("HTTP/1.1 200 OK\r\nContent-Encoding:\r\n\r\n").unwrap().unwrap();
        assert!(!head.encoded, "as S3 sends it");
    }

    /// RFC 9110, section 8.8.3: every byte that a tag may have, and what is no strong one.
    #[test]
    fn every_byte_of_an_etag() {
        let etag = |tag: &[u8]| {
            let mut bytes = [b"HTTP/1.1 200 OK\r\nETag: ".as_slice(), tag, b" \t\r\nX: y\r\n\r\n"].concat();
            let (mut parser, end) = (HeadParser::new(LIMIT), bytes.len());
            let result = parser.feed(&mut bytes, end);
            result.map(|_| parser.head().etag.as_ref().map(|etag| etag.as_bytes().to_vec()))
        };
        for byte in (0..=255u8).filter(|byte| *byte != b'\n') {
            let tag = [b'"', b'a', byte, b'b', b'"'];
            let allowed = matches!(byte, 0x21 | 0x23..=0x7e);
            assert_eq!(etag(&tag), Ok(allowed.then(|| tag.to_vec())), "{byte:#x}");
            let weak = [b"W/".as_slice(), &tag].concat();
            assert_eq!(etag(&weak), Ok(None), "{byte:#x}");
        }
        for letter in ["\u{80}", "ü", "\u{10ffff}"] {
            let tag = format!("\"{letter}\"").into_bytes();
            assert_eq!(etag(&tag), Ok(Some(tag.clone())), "{letter}");
        }
        for none in ["", "\"", "\"\"", "a", "W/\"\"", "w/\"a\"", "\"a\"-gzip", "'a'", "\"a"] {
            assert_eq!(etag(none.as_bytes()), Ok(None), "{none}");
        }
        for length in 0..=ETAG_MAX + 2 {
            let tag = format!("\"{}\"", "e".repeat(length)).into_bytes();
            let expected = match tag.len() {
                2 => Ok(None),
                0..=ETAG_MAX => Ok(Some(tag.clone())),
                _ => Err(HeadError::EtagTooLong),
            };
            assert_eq!(etag(&tag), expected, "{length}");
            assert_eq!(etag(&[b"W/", tag.as_slice()].concat()), Ok(None), "{length}: weak, so of no use anyhow");
        }
    }

    /// Range units have no case (RFC 9110, section 14.1).
    #[test]
    fn range_units_in_any_case() {
        for bits in 0..32u32 {
            let unit: String = "bytes"
                .chars()
                .enumerate()
                .map(|(n, c)| if bits >> n & 1 == 1 { c.to_ascii_uppercase() } else { c })
                .collect();
            let head =
                |range| parse(&format!("HTTP/1.1 206 x\r\nContent-Range: {unit} {range}\r\n\r\n")).unwrap().unwrap().0;
            assert_eq!(
                head("3-9/10").content_range,
                Some(ContentRange { first: 3, last: 9, total: Some(10) }),
                "{unit}"
            );
            assert_eq!(head("*/10").unsatisfied, Some(10), "{unit}");
        }
    }

    /// Each line of an answer folded at each of its blanks, and in places where there are none: it says the same, or is
    /// refused; it is never taken for something else.
    #[test]
    fn folded_lines_say_the_same() {
        let plain = "HTTP/1.1 206 x\r\nServer: a b\r\nConnection: keep-alive, close\r\nETag: \"e\"\r\n\
            Content-Range: bytes 0-9/20\r\nContent-Length: 10\r\nX: y z\r\n\r\n";
        let (expected, _) = parse(plain).unwrap().unwrap();
        let first = plain.find("\r\n").unwrap() + 2;
        let folds = ["\r\n ", "\n\t", "\r\n \t \r\n  "];
        for (at, fold) in (first..plain.len()).flat_map(|at| folds.map(|fold| (at, fold))) {
            let (before, behind) = plain.split_at(at);
            let line = before.rsplit('\n').next().unwrap();
            if line.is_empty() || line == "\r" {
                continue;
            }
            let folded = format!("{before}{fold}{behind}");
            let at_blank = before.ends_with([' ', ':']) || behind.starts_with([' ', '\r', '\n']);
            match parse(&folded) {
                Ok(Some((head, _))) if at_blank => assert_eq!(head, expected, "{folded:?}"),
                // Inside an ETag it leaves none, inside a word one that means nothing.
                Ok(Some((Head { etag, .. }, _))) if line.starts_with("ETag") => assert_eq!(etag, None, "{folded:?}"),
                Ok(Some(_)) if line.starts_with("Conn") => {}
                Ok(Some((head, _))) => assert!(head == expected && !line.starts_with("Content"), "{folded:?}"),
                result => assert!(!line.contains(':') || !at_blank, "{folded:?}: {result:?}"),
            }
        }
        let (head, _) = parse("HTTP/1.1 206 x\r\nServer: a\r\n b\r\n\tc\r\nETag:\r\n \"e\"\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.etag.as_deref(), Some("\"e\""));
        assert_eq!(
            parse("HTTP/1.1 206 x\r\n X: y\r\n\r\n"),
            Err(HeadError::Malformed),
            "the status line does not fold"
        );
    }

    #[test]
    fn regions_are_names_of_regions() {
        for (value, region) in
            [("eu-central-1", "eu-central-1"), ("us-isob-east-1", "us-isob-east-1"), ("a b", ""), ("\x1b[2J", "")]
        {
            let (head, _) = parse(&format!("HTTP/1.1 301 x\r\nx-amz-bucket-region: {value}\r\n\r\n")).unwrap().unwrap();
            assert_eq!(head.region, region, "{value}");
        }
    }

    /// Blanks behind a value, as many as may come, and none of them takes the place of a byte that counts.
    #[test]
    fn blanks_around_a_value_need_no_room() {
        for blanks in 0..200 {
            let blanks = " ".repeat(blanks);
            let head =
                parse(&format!("HTTP/1.1 200 x\r\nContent-Length:{blanks}5{blanks}\r\n\r\n")).unwrap().unwrap().0;
            assert_eq!(head.content_length, Some(5));
        }
    }

    /// However its bytes arrive, the location ends up at the front of the buffer, and nothing else is read over it.
    #[test]
    #[cfg_attr(not(feature = "redirects"), ignore = "needs the feature `redirects`")]
    fn the_location_is_moved_to_the_front() {
        let answer = "HTTP/1.1 307 Temporary Redirect\r\nX: y\r\nLocation:  https://h/a?b=1 \r\nETag: \"x\"\r\n\r\n";
        for piece in 1..answer.len() {
            let mut parser = HeadParser::new(LIMIT);
            let mut buf = [0; 200];
            let mut rest = answer.as_bytes();
            loop {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                let end = parser.kept() + now.len();
                buf[parser.kept()..end].copy_from_slice(now);
                rest = later;
                if parser.feed(&mut buf, end).unwrap().is_some() {
                    break;
                }
            }
            let head = parser.head();
            assert_eq!((head.status, head.etag.as_deref()), (307, Some("\"x\"")));
            assert_eq!(&buf[..parser.kept()], b"https://h/a?b=1", "in pieces of {piece}");
        }
    }

    #[test]
    fn finds_the_code_of_an_error_body() {
        let scan = |body: &str| {
            let mut scanner = CodeScanner::default();
            body.bytes().find_map(|b| scanner.push(b)).map(|code| String::from(code.as_str()))
        };
        let xml = "<?xml version=\"1.0\"?><Error><<Code>ExpiredToken</Code><Message>x</Message></Error>";
        assert_eq!(scan(xml).as_deref(), Some("ExpiredToken"));
        assert_eq!(scan("<Error></Error>"), None);
        assert_eq!(scan(&format!("<Code>{}</Code>", "x".repeat(41))).as_deref(), Some(""));
        for no_code in ["AKIAIOSFODNN7EXAMPLE", "IQoJb3JpZ2lu2F", "a b", "\x1b[2J", "é"] {
            assert_eq!(scan(&format!("<Code>{no_code}</Code>")).as_deref(), Some(""), "{no_code}");
        }
    }
}
