//! A JSON string where it lies, and the escapes in it (RFC 8259, section 7).

use core::fmt::{self, Write};
use core::iter::FusedIterator;
use core::slice;

use crate::json::Span;
use crate::out::{Out, TooSmall};

/// A JSON string where it lies in the document, escapes and all.
///
/// It borrows from the document and is never copied, so it may be of any length. Escapes are undone on the way out:
/// by [`bytes`](Self::bytes), by the comparisons, by `Display`. It equals a `str` when the unescaped texts are equal.
///
/// ```
/// # #[cfg(feature = "iotconnect")] {
/// let document = br#"{"v":"2.1","ct":1,"ack":"7","urls":[{"url":"https:\/\/h\/a?b=1\u0026c=2"}]}"#;
/// let url = sprag_job::parse(document)?.artifacts().next().unwrap().url();
/// assert_eq!(url, "https://h/a?b=1&c=2");
/// assert_eq!(url.as_str(), None);
/// # }
/// # Ok::<(), sprag_job::ParseError<'static>>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct Text<'a> {
    raw: &'a str,
}

impl<'a> Text<'a> {
    /// `raw` has been checked by the scanner: its escapes are sound.
    pub(crate) fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    /// What stands between the quotes of a value, if it is a string.
    pub(crate) fn quoted(document: &'a str, value: Span) -> Option<Self> {
        let bytes = document.as_bytes().get(value.start..value.end)?;
        if let [b'"', .., b'"'] = bytes {
            let raw = document.get(value.start.wrapping_add(1)..value.end.wrapping_sub(1))?;
            return Some(Self { raw });
        }
        None
    }

    /// What stands between the quotes of a string, if its escapes are sound.
    #[cfg(feature = "serde")]
    pub(crate) fn checked(raw: &'a str) -> Option<Self> {
        let bytes = raw.as_bytes();
        let mut at = 0usize;
        while let Some(byte) = bytes.get(at) {
            at = match (byte, decode(bytes, at)) {
                (b'\\', (char, len)) if char <= CHAR_MAX => at.wrapping_add(len),
                (b'\\', _) => return None,
                _ => at.wrapping_add(1),
            };
        }
        Some(Self { raw })
    }

    /// No text.
    pub(crate) const EMPTY: Self = Self { raw: "" };

    /// The unescaped text as UTF-8, byte by byte, without a buffer.
    pub fn bytes(&self) -> Bytes<'a> {
        Bytes { run: [].iter(), rest: self.raw.as_bytes(), pending: 0, left: 0 }
    }

    /// The text itself, when there is no escape in it and it can be had without a copy.
    pub fn as_str(&self) -> Option<&'a str> {
        (!self.raw.as_bytes().contains(&b'\\')).then_some(self.raw)
    }

    /// What stands between the quotes in the document, escapes left in.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether there is nothing between the quotes.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// How many bytes the unescaped text has. This walks the text.
    pub fn len(&self) -> usize {
        self.bytes().count()
    }

    /// Puts the unescaped text at the start of `out`.
    ///
    /// # Errors
    /// [`TooSmall`] with the length that would do; what lies in `out` then means nothing.
    pub fn copy_to<'b>(&self, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
        let mut out = Out::new(out);
        out.extend(self.bytes());
        out.finish()
    }

    /// Whether it is `other`, when upper and lower case of ASCII letters count as one.
    pub fn eq_ignore_ascii_case(&self, other: &str) -> bool {
        self.is(other, true)
    }

    /// Whether it is `other`, in any case perhaps.
    pub(crate) fn is(&self, other: &str, any_case: bool) -> bool {
        // What is shorter than the other is so with its escapes undone, too.
        if self.raw.len() < other.len() {
            return false;
        }
        let mut bytes = self.bytes();
        for wanted in other.bytes() {
            match bytes.next() {
                Some(byte) if byte == wanted || any_case && byte.eq_ignore_ascii_case(&wanted) => {}
                _ => return false,
            }
        }
        bytes.next().is_none()
    }

    /// What follows `word`, in any case, and one space or more.
    #[cfg(feature = "iotconnect-20")]
    pub(crate) fn after_word(&self, word: &str) -> Option<Self> {
        let mut rest = self.raw;
        let mut next = || -> Option<(char, &'a str)> {
            let here = rest;
            let first = here.chars().next()?;
            let (char, len) = match first {
                '\\' => decoded(here)?,
                _ => (first, first.len_utf8()),
            };
            rest = here.get(len..)?;
            Some((char, here))
        };
        if !word.chars().all(|wanted| next().is_some_and(|(char, _)| char.eq_ignore_ascii_case(&wanted))) {
            return None;
        }
        let mut spaces = false;
        loop {
            match next() {
                Some((' ' | '\t', _)) => spaces = true,
                Some((_, from)) if spaces => return Some(Self { raw: from }),
                _ => return None,
            }
        }
    }

    /// The decimal number that it is, digits and nothing else.
    pub(crate) fn decimal(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        self.bytes().try_fold(0u64, |number, byte| {
            let digit = char::from(byte).to_digit(10)?;
            number.checked_mul(10)?.checked_add(digit.into())
        })
    }

    fn try_for_each_char(&self, mut each: impl FnMut(char) -> fmt::Result) -> fmt::Result {
        let mut rest = self.raw;
        while let Some(char) = rest.chars().next() {
            let (char, len) = match char {
                '\\' => decoded(rest).ok_or(fmt::Error)?,
                _ => (char, char.len_utf8()),
            };
            each(char)?;
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.try_for_each_char(|char| f.write_char(char))
    }
}

impl fmt::Debug for Text<'_> {
    /// In quotes, on one line: control characters are shown as escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.try_for_each_char(|char| match char {
            '"' | '\\' => write!(f, "\\{char}"),
            _ if char.is_control() => write!(f, "{}", char.escape_default()),
            _ => f.write_char(char),
        })?;
        f.write_char('"')
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Text<'_> {
    /// The raw text: undoing escapes is left to the desk.
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.raw);
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.is(other, false)
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// The unescaped bytes of a [`Text`], valid UTF-8 taken together. Made by [`Text::bytes`].
#[derive(Debug, Clone)]
pub struct Bytes<'a> {
    /// What stands for itself, up to the next escape.
    run: slice::Iter<'a, u8>,
    rest: &'a [u8],
    /// The character of the last escape: `left` bytes, the next one lowest. They come before the run.
    pending: u32,
    left: u8,
}

impl<'a> Bytes<'a> {
    /// The bytes of a text that is not from a document: backslashes stand for themselves.
    pub(crate) fn plain(text: &'a str) -> Self {
        Self { run: text.as_bytes().iter(), rest: &[], pending: 0, left: 0 }
    }

    /// The next byte of an escape, or the first one of a run.
    fn next_part(&mut self) -> Option<u8> {
        if self.left == 0 {
            let escape = self.rest.iter().position(|byte| *byte == b'\\').unwrap_or(self.rest.len());
            let (run, rest) = self.rest.split_at_checked(escape)?;
            (self.run, self.rest) = (run.iter(), rest);
            if let Some(first) = self.run.next() {
                return Some(*first);
            }
            let (char, len) = decode(self.rest, 0);
            (self.pending, self.left) = match char {
                0..0x80 => (char, 1),
                0x80..0x800 => (0x80c0 | char >> 6 | tail(char) << 8, 2),
                0x800..0x1_0000 => (0x80_80e0 | char >> 12 | tail(char >> 6) << 8 | tail(char) << 16, 3),
                0x1_0000..=CHAR_MAX => {
                    let upper = char >> 18 | tail(char >> 12) << 8;
                    (0x8080_80f0 | upper | tail(char >> 6) << 16 | tail(char) << 24, 4)
                }
                _ => return None,
            };
            self.rest = self.rest.get(len..)?;
        }
        let [byte, ..] = self.pending.to_le_bytes();
        self.pending >>= 8;
        self.left = self.left.saturating_sub(1);
        Some(byte)
    }
}

/// The six bits of a character that a further byte of UTF-8 has.
fn tail(char: u32) -> u32 {
    char & 0x3f
}

impl Iterator for Bytes<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        match self.run.next() {
            Some(byte) => Some(*byte),
            None => self.next_part(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let sure = self.run.len().saturating_add(usize::from(self.left));
        // No escape is shorter than what it stands for, and the longest for one byte has six.
        (self.rest.len().div_ceil(6).saturating_add(sure), self.rest.len().checked_add(sure))
    }
}

impl FusedIterator for Bytes<'_> {}

/// The character that the escape at the start of `text` stands for, and its length.
fn decoded(text: &str) -> Option<(char, usize)> {
    let (char, len) = decode(text.as_bytes(), 0);
    Some((char::from_u32(char)?, len))
}

/// The last character that there is.
pub(crate) const CHAR_MAX: u32 = char::MAX as u32;
/// In the place of a character: the text ends inside of its escape.
pub(crate) const CUT_SHORT: u32 = u32::MAX;
/// In the place of a character: not an escape of JSON, or half a surrogate pair.
const INVALID: u32 = CUT_SHORT - 1;

/// The character that the escape at `at` stands for, and how many bytes it takes there.
#[inline(never)]
pub(crate) fn decode(text: &[u8], at: usize) -> (u32, usize) {
    let char = match text.get(at.wrapping_add(1)) {
        Some(char @ (b'"' | b'\\' | b'/')) => *char,
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unicode(text, at),
        Some(_) => return (INVALID, 0),
        None => return (CUT_SHORT, 0),
    };
    (char.into(), 2)
}

fn unicode(text: &[u8], at: usize) -> (u32, usize) {
    let first = unit(text, at);
    if first & 0xffff_f800 != 0xd800 {
        return (first, 6);
    }
    // A surrogate, then: the high one carries the upper ten bits, the low one after it the lower ten.
    let second = unit(text, at.wrapping_add(6));
    if second == CUT_SHORT {
        return (CUT_SHORT, 0);
    }
    if (first & 0xfc00, second & 0xffff_fc00) != (0xd800, 0xdc00) {
        return (INVALID, 0);
    }
    (((first & 0x3ff) << 10 | second & 0x3ff).wrapping_add(0x1_0000), 12)
}

/// The number in the `\u` escape at `at`.
#[inline(never)]
fn unit(text: &[u8], at: usize) -> u32 {
    let mut unit = 0;
    for index in 0..6 {
        let Some(byte) = text.get(at.wrapping_add(index)) else { return CUT_SHORT };
        let digit = match (index, byte) {
            (0, b'\\') | (1, b'u') => 0,
            (0 | 1, _) => return INVALID,
            _ => match char::from(*byte).to_digit(16) {
                Some(digit) => digit,
                None => return INVALID,
            },
        };
        unit = unit << 4 | digit;
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, string::String, vec::Vec};

    const RAW: &str = r"caf\u00e9 \ud83d\ude00 \u0026 \/ ü\n\u0000";
    const PLAIN: &str = "café \u{1f600} & / ü\n\0";

    #[test]
    fn escapes_are_undone_everywhere() {
        let text = Text::new(RAW);
        assert_eq!(String::from_utf8(text.bytes().collect::<Vec<_>>()).unwrap(), PLAIN);
        assert_eq!((format!("{text}"), text.len()), (PLAIN.into(), PLAIN.len()));
        assert_eq!(text, PLAIN);
        assert_eq!(text, Text::new(PLAIN));
        assert!(text != "caf" && text != *RAW);
        assert_eq!((text.as_str(), text.raw()), (None, RAW));
        assert_eq!(Text::new("plain").as_str(), Some("plain"));
        assert_eq!(format!("{:?}", Text::new(r#"\u0022\n\\é"#)), r#""\"\n\\é""#);
    }

    #[test]
    #[cfg(feature = "iotconnect-20")]
    fn words_are_found_behind_escapes() {
        for command in ["ota http://h", r"OTA  \u0068ttp://h", r"\u006fta\u0020\thttp://h"] {
            assert_eq!(Text::new(command).after_word("ota").unwrap(), "http://h", "{command}");
        }
        for command in ["", "ota", "ota ", "otahttp://h", "reboot now", r"\u0"] {
            assert_eq!(Text::new(command).after_word("ota"), None, "{command}");
        }
    }

    #[test]
    fn numbers_are_found_behind_escapes() {
        assert_eq!(Text::new(r"4\u00343").decimal(), Some(443));
        for text in ["", "-1", "+1", "1.0", "1e3", " 1", "18446744073709551616"] {
            assert_eq!(Text::new(text).decimal(), None, "{text}");
        }
        assert!(Text::new(r"Up\u0064ate").eq_ignore_ascii_case("UPDATE"));
    }

    #[test]
    fn a_copy_says_what_it_needs() {
        let text = Text::new(RAW);
        let mut buffer = [0; PLAIN.len()];
        assert_eq!(text.copy_to(&mut buffer), Ok(PLAIN));
        assert_eq!(text.copy_to(&mut buffer[1..]), Err(TooSmall { needed: PLAIN.len() }));
        assert_eq!(Text::new("").copy_to(&mut []), Ok(""));
    }

    #[test]
    fn the_bytes_keep_their_word() {
        let mut bytes = Text::new(RAW).bytes();
        loop {
            let (low, high) = bytes.size_hint();
            let left = bytes.clone().count();
            assert!(low <= left && left <= high.unwrap(), "{low} {left} {high:?}");
            if bytes.next().is_none() {
                break;
            }
        }
        assert_eq!((bytes.next(), bytes.next()), (None, None));
    }

    #[test]
    fn escapes_are_undone() {
        for (text, char, len) in [
            (r#"\""#, '"', 2),
            (r"\/x", '/', 2),
            (r"\b", '\u{8}', 2),
            (r"\u0026", '&', 6),
            (r"\u00E9", 'é', 6),
            (r"\u0000", '\0', 6),
            (r"\uFFFF", '\u{ffff}', 6),
            (r"\ud83d\ude00", '\u{1f600}', 12),
            (r"\uD800\uDC00", '\u{10000}', 12),
            (r"\udbff\udfff", '\u{10ffff}', 12),
        ] {
            assert_eq!(decode(text.as_bytes(), 0), (char.into(), len), "{text}");
        }
    }

    #[test]
    fn broken_escapes_are_told_from_cut_ones() {
        for text in [r"\", r"\u", r"\u00", r"\ud83d", r"\ud83d\", r"\ud83d\ude0"] {
            assert_eq!(decode(text.as_bytes(), 0).0, CUT_SHORT, "{text}");
        }
        for text in
            [r"\x", r"\'", r"\U0026", r"\u+026", r"\u002g", r"\ud83dx", r"\ud83d\n", r"\ud83d\u0041", r"\ude00x"]
        {
            assert_eq!(decode(text.as_bytes(), 0).0, INVALID, "{text}");
        }
    }
}
