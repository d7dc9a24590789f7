//! The fields that a dialect asks for: there or not, of the right type or not, with their places for the error.

use crate::error::{ParseError, ParseErrorKind as Kind, Path};
use crate::json::{self, NO_NODE, Node, Span};
use crate::location::{self, Placeholder};
#[cfg(feature = "aws")]
use crate::signature;
use crate::text::Text;

/// Reads the fields of a table in a document that has been scanned.
///
/// A field is named by its place in the table; `null` is as good as absent. The first fault is kept, and what can't be read is
/// empty from there on: so a dialect reads all that it asks for, and looks at the fault once.
pub(crate) struct Reader<'t, 'a> {
    pub(crate) text: &'a str,
    table: &'static [Node<'static>],
    spans: &'t [Span],
    pub(crate) fault: Option<Fault>,
}

/// What is wrong with which field, and where.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    kind: Kind,
    path: &'static str,
    offset: usize,
}

impl Fault {
    pub(crate) fn error<'a>(self) -> ParseError<'a> {
        ParseError::new(self.kind, Path::field(self.path), self.offset)
    }
}

impl<'t, 'a> Reader<'t, 'a> {
    /// Reads what a scanner found in a sound part of a document.
    pub(crate) fn new(text: &'a str, table: &'static [Node<'static>], spans: &'t [Span]) -> Self {
        Self { text, table, spans, fault: None }
    }

    /// Scans a document, as [`json::document`], and reads it.
    pub(crate) fn document(
        bytes: &'a [u8],
        table: &'static [Node<'static>],
        spans: &'t mut [Span],
    ) -> (Self, Result<(), ParseError<'a>>) {
        let (text, sound) = json::document(bytes, table, spans);
        (Self::new(text, table, spans), sound)
    }

    /// Scans a document that must be sound, and an object.
    #[cfg(any(feature = "aws", feature = "iotconnect"))]
    pub(crate) fn object_of(
        bytes: &'a [u8],
        table: &'static [Node<'static>],
        spans: &'t mut [Span],
    ) -> Result<Self, ParseError<'a>> {
        let (mut reader, sound) = Self::document(bytes, table, spans);
        sound?;
        reader.object(0);
        reader.finish(())?;
        Ok(reader)
    }

    /// Returns what was read, unless there was a fault.
    pub(crate) fn finish<T>(&self, read: T) -> Result<T, ParseError<'a>> {
        match self.fault {
            None => Ok(read),
            Some(fault) => Err(fault.error()),
        }
    }

    /// Reads on as if there had been no fault.
    pub(crate) fn afresh(&self) -> Self {
        Self::new(self.text, self.table, self.spans)
    }

    #[cfg(feature = "aws")]
    pub(crate) fn is_sound(&self) -> bool {
        self.fault.is_none()
    }

    /// Where a field's value lies; empty where there is none.
    pub(crate) fn span(&self, node: u8) -> Span {
        let span = json::found(self.table, self.spans, node);
        // A list has no absent items, and a document is what it is: only a member may be null.
        if node > 0 && self.first_of(span) == Some(b'n') { Span::NONE } else { span }
    }

    /// Where a field's value lies, `null` included.
    #[cfg(all(feature = "ota-update", feature = "aws-jobs"))]
    pub(crate) fn found(&self, node: u8) -> Span {
        self.spans.get(usize::from(node)).copied().unwrap_or(Span::NONE)
    }

    fn first_of(&self, span: Span) -> Option<u8> {
        if span.is_empty() { None } else { self.text.as_bytes().get(span.start).copied() }
    }

    /// The first byte of its value, which tells its type; `None` where there is none.
    pub(crate) fn first(&self, node: u8) -> Option<u8> {
        self.first_of(self.span(node))
    }

    pub(crate) fn is_there(&self, node: u8) -> bool {
        !self.span(node).is_empty()
    }

    pub(crate) fn is_object(&self, node: u8) -> bool {
        self.first(node) == Some(b'{')
    }

    fn node(&self, node: u8) -> Option<&'static Node<'static>> {
        self.table.get(usize::from(node))
    }

    #[inline(never)]
    pub(crate) fn path(&self, node: u8) -> &'static str {
        self.node(node).map_or("", |node| node.path)
    }

    /// Where its value starts, or the object that lacks it.
    pub(crate) fn offset(&self, node: u8) -> usize {
        match self.node(node).map_or(NO_NODE, |node| node.parent) {
            parent if parent != NO_NODE && !self.is_there(node) => self.span(parent).start,
            _ => self.span(node).start,
        }
    }

    /// Keeps a fault of the field, at its value.
    #[inline(never)]
    pub(crate) fn fault(&mut self, node: u8, kind: Kind) {
        self.fault_at(kind, self.path(node), self.offset(node));
    }

    pub(crate) fn fault_at(&mut self, kind: Kind, path: &'static str, offset: usize) {
        if self.fault.is_none() {
            self.fault = Some(Fault { kind, path, offset });
        }
    }

    /// Keeps the fault of another reader.
    #[cfg(feature = "aws")]
    pub(crate) fn take_fault(&mut self, other: &Reader<'_, '_>) {
        self.fault = self.fault.or(other.fault);
    }

    #[inline(never)]
    pub(crate) fn wrong(&mut self, node: u8, expected: &'static str) {
        let kind = if self.is_there(node) { Kind::WrongType { expected } } else { Kind::Missing };
        self.fault(node, kind);
    }

    pub(crate) fn object(&mut self, node: u8) {
        if !self.is_object(node) {
            self.wrong(node, "an object");
        }
    }

    /// The string that it is, if it is one.
    pub(crate) fn as_text(&self, node: u8) -> Option<Text<'a>> {
        Text::quoted(self.text, self.span(node))
    }

    /// A number as it is written.
    #[cfg(any(feature = "iotconnect", feature = "aws"))]
    fn number(&self, node: u8) -> Option<Text<'a>> {
        let span = self.span(node);
        let is_number = matches!(self.first_of(span), Some(b'-' | b'0'..=b'9'));
        if is_number { self.text.get(span.start..span.end).map(Text::new) } else { None }
    }

    /// A string, or a number as it is written: producers disagree.
    #[cfg(any(feature = "iotconnect", feature = "aws"))]
    pub(crate) fn word(&self, node: u8) -> Option<Text<'a>> {
        self.as_text(node).or_else(|| self.number(node))
    }

    #[inline(never)]
    pub(crate) fn optional_text(&mut self, node: u8) -> Option<Text<'a>> {
        if !self.is_there(node) {
            return None;
        }
        let Some(text) = self.as_text(node) else {
            self.wrong(node, "a string");
            return None;
        };
        // AWS was to replace these.
        match location::placeholder(text) {
            None => return Some(text),
            Some(Placeholder::Presigned) => self.fault(node, Kind::PresignedPlaceholder),
            Some(Placeholder::Other) => self.fault(node, Kind::Placeholder),
        }
        None
    }

    /// A string with something in it.
    #[inline(never)]
    pub(crate) fn text(&mut self, node: u8) -> Text<'a> {
        let text = self.optional_text(node);
        if text.is_none_or(|text| text.is_empty()) {
            let kind = if self.is_there(node) { Kind::Empty } else { Kind::Missing };
            self.fault(node, kind);
        }
        text.unwrap_or(Text::EMPTY)
    }

    /// A signature in base64.
    #[cfg(feature = "aws-jobs")]
    pub(crate) fn base64(&mut self, node: u8) -> Text<'a> {
        let text = self.text(node);
        if !signature::is_base64(text) {
            self.wrong(node, signature::BASE64);
        }
        text
    }

    pub(crate) fn url(&mut self, node: u8) -> Text<'a> {
        let text = self.text(node);
        self.url_in(node, text);
        text
    }

    /// Checks the URL that `text`, a part of the field, must be.
    pub(crate) fn url_in(&mut self, node: u8, text: Text<'a>) {
        if let Err(expected) = location::check(text) {
            self.fault(node, Kind::BadUrl { expected });
        }
    }

    #[cfg(feature = "iotconnect")]
    pub(crate) fn as_integer(&self, node: u8) -> Option<i64> {
        let number = self.number(node)?;
        // A minus sign is one byte.
        if self.first(node) != Some(b'-') {
            return number.decimal()?.try_into().ok();
        }
        0i64.checked_sub_unsigned(Text::new(number.raw().get(1..)?).decimal()?)
    }

    /// A number of 32 bits without a sign; some producers write it as a string.
    #[cfg(feature = "aws")]
    pub(crate) fn optional_u32(&mut self, node: u8) -> Option<u32> {
        const EXPECTED: &str = "an integer from 0 to 4294967295";
        let number = self.optional_decimal(node, EXPECTED)?.try_into().ok();
        if number.is_none() {
            self.wrong(node, EXPECTED);
        }
        number
    }

    /// A number of 64 bits without a sign, or a string of it.
    #[cfg(feature = "aws")]
    pub(crate) fn optional_u64(&mut self, node: u8) -> Option<u64> {
        self.optional_decimal(node, "an integer from 0 to 18446744073709551615")
    }

    #[cfg(feature = "aws")]
    #[inline(never)]
    fn optional_decimal(&mut self, node: u8, expected: &'static str) -> Option<u64> {
        if !self.is_there(node) {
            return None;
        }
        let number = self.word(node).and_then(|word| word.decimal());
        if number.is_none() {
            self.wrong(node, expected);
        }
        number
    }

    pub(crate) fn array(&mut self, node: u8) -> Span {
        if self.first(node) != Some(b'[') {
            self.wrong(node, "an array");
        }
        self.span(node)
    }

    /// An array with something in it.
    #[inline(never)]
    pub(crate) fn list(&mut self, node: u8) -> Span {
        let span = self.array(node);
        if !json::has_items(self.text, span) {
            self.fault(node, Kind::Empty);
        }
        span
    }
}
