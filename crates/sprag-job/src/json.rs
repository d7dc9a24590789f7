//! A JSON scanner that walks the document where it lies (RFC 8259).
//!
//! It is the crate's own for what a device asks of it: nesting costs no stack, escapes can be undone without a buffer,
//! a field may be a string here and a number there, a doubled key is no fault, no path panics, and every error has its
//! byte offset. `serde-json-core` recurses on values that are skipped, leaves escapes in a `&str`, refuses doubled keys
//! and has no offsets; `hifijson` has paths that panic.
//!
//! [`document`] checks the whole text once. The iterators over its parts then step through it again, part by part, so
//! nothing is ever stored but positions.

use core::iter::FusedIterator;

use crate::depth::{MAX_DEPTH, Open};
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::escape::{self, Broken};
use crate::path::Path;
use crate::text::Text;

/// The length of a byte order mark in UTF-8.
const BOM: usize = 3;

/// A value in the document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    document: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Value<'a> {
    /// Where it starts in the document.
    pub(crate) fn offset(&self) -> usize {
        self.start
    }

    /// Its bytes, as they are in the document.
    pub(crate) fn raw(&self) -> &'a str {
        self.document.get(self.start..self.end).unwrap_or_default()
    }

    /// Where the string starts, quote and all, that lies in the same document.
    pub(crate) fn offset_of(&self, text: Text<'a>) -> usize {
        let (start, within) = (self.document.as_ptr().addr(), text.raw().as_ptr().addr());
        within.saturating_sub(start).saturating_sub(1)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.raw() == "null"
    }

    pub(crate) fn is_false(&self) -> bool {
        self.raw() == "false"
    }

    pub(crate) fn string(&self) -> Option<Text<'a>> {
        Some(Text::new(self.raw().strip_prefix('"')?.strip_suffix('"')?))
    }

    /// A number as it is written.
    pub(crate) fn number(&self) -> Option<&'a str> {
        self.raw().starts_with(|first: char| first == '-' || first.is_ascii_digit()).then_some(self.raw())
    }

    pub(crate) fn members(&self) -> Option<Members<'a>> {
        self.inside(b'{').map(Members)
    }

    pub(crate) fn elements(&self) -> Option<Elements<'a>> {
        self.inside(b'[').map(Elements)
    }

    fn inside(&self, open: u8) -> Option<Cursor<'a>> {
        let mut cursor = Cursor { document: self.document, at: self.start };
        cursor.eat(open).then_some(cursor)
    }
}

/// The members of an object in their order, doubled keys included. Ends early where the document is broken; an object
/// that breaks comes last, to be walked as far as it goes.
#[derive(Debug, Clone)]
pub(crate) struct Members<'a>(Cursor<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = self.0;
        cursor.next_item();
        let key = cursor.checked_string()?;
        cursor.space();
        cursor.eat(b':');
        cursor.space();
        let (document, start) = (cursor.document, cursor.at);
        if cursor.checked_value().is_none() {
            cursor.at = document.len();
            document.get(start..)?.strip_prefix('{')?;
        }
        let value = Value { document, start, end: cursor.at };
        self.0 = cursor;
        Some((key, value))
    }
}

/// The elements of an array. Ends early where the document is broken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elements<'a>(Cursor<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let mut cursor = self.0;
        cursor.next_item();
        let (document, start) = (cursor.document, cursor.at);
        cursor.checked_value()?;
        self.0 = cursor;
        Some(Value { document, start, end: cursor.at })
    }
}

// Neither moves unless it yields.
impl FusedIterator for Members<'_> {}
impl FusedIterator for Elements<'_> {}

/// The value that `bytes` are, and whether they are well-formed JSON to their end.
///
/// The value may be walked even when they are not: it ends where the fault is, and so do its iterators. Whitespace and NULs after the
/// value are no fault, since C clients hand out payloads with their terminator.
pub(crate) fn document<'a>(bytes: &'a [u8]) -> (Value<'a>, Result<(), ParseError<'a>>) {
    let (text, whole) = match core::str::from_utf8(bytes) {
        Ok(text) => (text, Ok(())),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let fault = match error.error_len() {
                None => fault(Kind::CutShort, bytes.len()),
                Some(_) => fault(Kind::BadUtf8, error.valid_up_to()),
            };
            (core::str::from_utf8(valid).unwrap_or_default(), Err(fault))
        }
    };
    let mut cursor = Cursor { document: text, at: 0 };
    // Windows tools put a byte order mark before it, which RFC 8259, section 8.1, lets a parser skip.
    cursor.skip(if text.starts_with('\u{feff}') { BOM } else { 0 });
    cursor.space();
    let start = cursor.at;
    let checked = match cursor.value() {
        Ok(value) => cursor.end(bytes).map(|()| value),
        // The text was cut where it stops being UTF-8: that is the fault, then.
        Err(error) if error.kind() == Kind::CutShort => Err(whole.err().unwrap_or(error)),
        Err(error) => Err(error),
    };
    match checked {
        Ok(value) => (value, Ok(())),
        Err(error) => {
            let document = text.get(..error.offset()).unwrap_or(text);
            (Value { document, start, end: document.len() }, Err(error))
        }
    }
}

fn fault<'a>(kind: Kind, offset: usize) -> ParseError<'a> {
    ParseError::new(kind, Path::DOCUMENT, offset)
}

/// A place in the document. It only ever moves forward.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    document: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.document.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.document.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.skip(usize::from(there));
        there
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.skip(1);
        }
    }

    fn unexpected(&self, expected: &'static str) -> ParseError<'a> {
        match self.peek() {
            None => fault(Kind::CutShort, self.document.len()),
            Some(_) => fault(Kind::Syntax { expected }, self.at),
        }
    }

    /// Steps over what stands between one item of a checked container and the next.
    fn next_item(&mut self) {
        self.space();
        self.eat(b',');
        self.space();
    }

    /// Steps over a value in text that has been checked; `None` where there is none or where the text was cut.
    fn checked_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.checked_string()?;
                }
                b'{' | b'[' => {
                    depth = depth.saturating_add(1);
                    self.skip(1);
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.skip(1);
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                    self.skip(1);
                    continue;
                }
                // A number or a word.
                _ => self.skip_to(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Steps over a string in text that has been checked.
    fn checked_string(&mut self) -> Option<Text<'a>> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.at;
        loop {
            self.skip_to(|byte| matches!(byte, b'"' | b'\\'));
            if self.peek()? == b'"' {
                let raw = self.document.get(start..self.at)?;
                self.skip(1);
                return Some(Text::new(raw));
            }
            self.skip(2);
        }
    }

    /// Steps to the next byte of that kind, or to the end.
    fn skip_to(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = self.rest();
        self.skip(rest.iter().position(|byte| wanted(*byte)).unwrap_or(rest.len()));
    }

    /// A key with its colon.
    fn key(&mut self) -> Result<(), ParseError<'a>> {
        self.string("a key")?;
        self.space();
        if !self.eat(b':') {
            return Err(self.unexpected("`:`"));
        }
        self.space();
        Ok(())
    }

    /// A value with everything in it, without recursion. The cursor must not stand on whitespace.
    fn value(&mut self) -> Result<Value<'a>, ParseError<'a>> {
        let start = self.at;
        let mut open = Open::default();
        loop {
            // Here a value starts …
            match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    let object = byte == b'{';
                    if !open.push(object) {
                        return Err(fault(Kind::TooDeep { limit: MAX_DEPTH }, self.at));
                    }
                    self.skip(1);
                    self.space();
                    match (self.peek(), object) {
                        (Some(b'}'), true) | (Some(b']'), false) => {}
                        (_, true) => {
                            self.key()?;
                            continue;
                        }
                        (_, false) => continue,
                    }
                }
                Some(b'"') => self.string("a string")?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(self.unexpected("a value")),
            }
            // … and here it has ended, and with it perhaps the containers around it.
            loop {
                let Some(object) = open.innermost() else {
                    return Ok(Value { document: self.document, start, end: self.at });
                };
                self.space();
                match (self.peek(), object) {
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.skip(1);
                        open.pop();
                    }
                    (Some(b','), _) => {
                        self.skip(1);
                        self.space();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    (_, true) => return Err(self.unexpected("`,` or `}`")),
                    (_, false) => return Err(self.unexpected("`,` or `]`")),
                }
            }
        }
    }

    fn string(&mut self, expected: &'static str) -> Result<(), ParseError<'a>> {
        if !self.eat(b'"') {
            return Err(self.unexpected(expected));
        }
        loop {
            self.skip_to(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            match self.peek() {
                Some(b'"') => {
                    self.skip(1);
                    return Ok(());
                }
                Some(b'\\') => match escape::decode(self.rest()) {
                    Ok((_, len)) => self.skip(len),
                    Err(Broken::Invalid) => return Err(fault(Kind::BadEscape, self.at)),
                    Err(Broken::CutShort) => {
                        return Err(fault(Kind::CutShort, self.document.len()));
                    }
                },
                _ => return Err(self.unexpected("control characters escaped")),
            }
        }
    }

    fn number(&mut self) -> Result<(), ParseError<'a>> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), ParseError<'a>> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.skip(1);
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), ParseError<'a>> {
        match word.bytes().all(|byte| self.eat(byte)) {
            true => Ok(()),
            false => Err(self.unexpected(word)),
        }
    }

    /// Nothing of `bytes` is left but whitespace and NULs.
    fn end(&self, bytes: &[u8]) -> Result<(), ParseError<'a>> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        match rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0)) {
            None => Ok(()),
            Some(at) => Err(fault(Kind::Syntax { expected: "the end of the document" }, self.at.saturating_add(at))),
        }
    }
}
