//! A JSON scanner that reads the document where it lies, once, into the places of the fields that a table names (RFC 8259).
//!
//! It is the crate's own for what a device asks of it: nesting costs no stack, escapes can be undone without a buffer,
//! a field may be a string here and a number there, a doubled key is no fault, no path panics, and every error has its
//! byte offset. `serde-json-core` recurses on values that are skipped, leaves escapes in a `&str`, refuses doubled keys
//! and has no offsets; `hifijson` has paths that panic.
//!
//! A [`Scanner`] checks a value and everything in it, and writes down where the fields of its [`Node`]s lie. Only objects that the
//! table knows are looked into. A list keeps its place: [`next_element`] scans one element after the other into a table of
//! its own.

use crate::error::{ParseError, ParseErrorKind as Kind, Path};
use crate::text::{self, Text};

/// How many objects and arrays may be open at once, in any part of a document: one bit of a word for each.
///
/// An AWS job execution with an `afr_ota` document in it opens six.
pub const MAX_DEPTH: usize = 64;

/// The place of a value: from its first byte to behind its last one. Empty where there is no value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) const NONE: Self = Self { start: 0, end: 0 };

    pub(crate) fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// A field that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'n> {
    /// From the root; dots lead into objects. Its last part is the key.
    pub(crate) path: &'n str,
    /// Where the key starts in the path; with [`ANY_CASE`], upper and lower case count as one.
    key: u8,
    /// The place in the table of the object that has it.
    pub(crate) parent: u8,
    /// The first member of it that is asked for.
    child: u8,
    /// The next member of the same object.
    next: u8,
}

/// No node of any table.
pub(crate) const NO_NODE: u8 = u8::MAX;
const ANY_CASE: u8 = 0x80;

impl<'n> Node<'n> {
    const NONE: Self = Self { path: "", key: 0, parent: NO_NODE, child: NO_NODE, next: NO_NODE };

    /// A table of one member of the value.
    #[cfg(feature = "aws")]
    pub(crate) fn sole(key: &'n str) -> [Self; 2] {
        [Self { child: 1, ..Self::NONE }, Self { path: key, parent: 0, ..Self::NONE }]
    }

    /// Returns whether this is its key, which starts with that letter, in lower case.
    fn has_key(&self, first: u8, key: Text<'_>) -> bool {
        let start = usize::from(self.key & !ANY_CASE);
        let own = self.path.as_bytes().get(start).map_or(0, |byte| byte | 0x20);
        // Nearly all keys differ in the first letter; a backslash may be any.
        (first == own || first == b'\\' | 0x20)
            && key.is(self.path.get(start..).unwrap_or_default(), self.key & ANY_CASE != 0)
    }
}

/// Makes a table of paths, parents before their children. The first is that of the value itself. A path that starts with `~`
/// is found in upper and lower case.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Evaluated by the compiler.
pub(crate) const fn table<const N: usize>(paths: &[&'static str]) -> [Node<'static>; N] {
    assert!(N < NO_NODE as usize, "too many fields");
    let mut nodes = [Node { path: paths[0], ..Node::NONE }; N];
    let mut index = 1;
    while index < N {
        let mut path = paths[index];
        let any_case = path.as_bytes()[0] == b'~';
        if any_case {
            path = path.split_at(1).1;
        }
        let mut key = path.len();
        while key > 0 && path.as_bytes()[key - 1] != b'.' {
            key -= 1;
        }
        assert!(key < ANY_CASE as usize, "too long a path");
        let mut parent = 0;
        if key > 0 {
            while !same_bytes(nodes[parent].path.as_bytes(), path.as_bytes(), key - 1) {
                parent += 1;
                assert!(parent < index, "a path without its parent before it");
            }
        }
        let key = if any_case { key as u8 | ANY_CASE } else { key as u8 };
        nodes[index] = Node { path, key, parent: parent as u8, ..Node::NONE };
        if nodes[parent].child == NO_NODE {
            nodes[parent].child = index as u8;
        } else {
            let mut last = nodes[parent].child as usize;
            while nodes[last].next != NO_NODE {
                last = nodes[last].next as usize;
            }
            nodes[last].next = index as u8;
        }
        index += 1;
    }
    nodes
}

/// Makes a table of fields, and an enumeration of their places in it. A field may be part of a feature.
macro_rules! fields {
    ($(#[$doc:meta])* $table:ident, $keys:ident: $($(#[$cfg:meta])* $key:ident = $path:expr,)*) => {
        $(#[$doc])*
        pub(crate) static $table: [crate::json::Node<'static>; $keys::COUNT] = crate::json::table($keys::PATHS);

        /// The places in the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(dead_code)]
        #[repr(u8)]
        pub(crate) enum $keys {
            Root,
            $($(#[$cfg])* $key,)*
        }

        impl $keys {
            const PATHS: &'static [&'static str] = &["", $($(#[$cfg])* $path,)*];
            pub(crate) const COUNT: usize = Self::PATHS.len();
        }
    };
}
pub(crate) use fields;

/// Returns whether `one` is the first `length` bytes of `other`.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Evaluated by the compiler.
const fn same_bytes(one: &[u8], other: &[u8], length: usize) -> bool {
    let mut at = 0;
    while at < length {
        if one.len() != length || one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Checks a whole document and finds the fields of the table in it.
///
/// Returns the document as far as it is UTF-8, and whether it is well-formed JSON to its end. When it is not, the fields
/// before the fault have been found all the same. Whitespace and NULs after the value are no fault, since C clients hand out
/// payloads with their terminator.
pub(crate) fn document<'a>(
    bytes: &'a [u8],
    table: &[Node<'_>],
    spans: &mut [Span],
) -> (&'a str, Result<(), ParseError<'a>>) {
    let (text, broken) = match core::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => (
            core::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
            Some(match error.error_len() {
                None => (Kind::CutShort, bytes.len()),
                Some(_) => (Kind::BadUtf8, error.valid_up_to()),
            }),
        ),
    };
    // Windows tools put a byte order mark before it, which RFC 8259, section 8.1, lets a parser skip.
    let mut at = if text.as_bytes().starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    at = skip(text, at, b' ');
    let kind = match scan(text, &mut at, table, spans) {
        None => {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(more) = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0)) else {
                return (text, Ok(()));
            };
            at = at.wrapping_add(more);
            Kind::Syntax { expected: "the end of the document" }
        }
        Some(Fault::CutShort) => {
            // The text was cut where it stops being UTF-8: that is the fault, then.
            let (kind, offset) = broken.unwrap_or((Kind::CutShort, at));
            at = offset;
            kind
        }
        Some(Fault::Expected(expected)) => Kind::Syntax { expected },
        Some(Fault::Escape) => Kind::BadEscape,
        Some(Fault::Depth) => Kind::TooDeep { limit: MAX_DEPTH },
    };
    (text, Err(ParseError::new(kind, Path::DOCUMENT, at)))
}

/// Scans the value at `at`, which is behind it then, or where it is broken. Returns what is wrong.
fn scan(text: &str, at: &mut usize, table: &[Node<'_>], spans: &mut [Span]) -> Option<Fault> {
    let mut scanner = Scanner {
        text,
        at: *at,
        fault: Fault::CutShort,
        table,
        spans,
        objects: 0,
        depth: 0,
        known: 0,
        here: NO_NODE,
        member: 0,
        start: *at,
    };
    let is_sound = scanner.value();
    *at = scanner.at;
    if is_sound { None } else { Some(scanner.fault) }
}

/// Steps over whitespace, and over one other byte that is let pass.
fn skip(text: &str, mut at: usize, other: u8) -> usize {
    while let Some(byte) = text.as_bytes().get(at) {
        if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') && *byte != other {
            break;
        }
        at = at.wrapping_add(1);
    }
    at
}

/// The next element of an array that has been checked, scanned into a table. `at` is behind the opening bracket at first.
pub(crate) fn next_element(text: &str, at: &mut usize, table: &[Node<'_>], spans: &mut [Span]) -> Option<Span> {
    *at = skip(text, *at, b',');
    let start = *at;
    if scan(text, at, table, spans).is_some() {
        return None;
    }
    Some(Span { start, end: *at })
}

/// The next member of an object that has been checked. `at` is behind the opening brace at first.
#[cfg(feature = "aws")]
pub(crate) fn next_member<'a>(text: &'a str, at: &mut usize) -> Option<(Text<'a>, Span)> {
    let key = next_element(text, at, &[], &mut [])?;
    *at = skip(text, *at, b':');
    Some((Text::quoted(text, key)?, next_element(text, at, &[], &mut [])?))
}

/// The place of a field. Not that of one that was in an object whose key came again.
pub(crate) fn found(table: &[Node<'_>], spans: &[Span], node: u8) -> Span {
    let at = |node: u8| spans.get(usize::from(node)).copied().unwrap_or(Span::NONE);
    let above = |node: u8| table.get(usize::from(node)).map_or(NO_NODE, |node| node.parent);
    let mut inner = at(node);
    let mut parent = above(node);
    while parent != NO_NODE {
        let outer = at(parent);
        if inner.start <= outer.start || inner.start >= outer.end {
            return Span::NONE;
        }
        inner = outer;
        parent = above(parent);
    }
    at(node)
}

/// Returns whether there is something in an object or array that has been checked.
pub(crate) fn has_items(text: &str, container: Span) -> bool {
    let first = skip(text, container.start.wrapping_add(1), b' ');
    !matches!(text.as_bytes().get(first), None | Some(b'}' | b']'))
}

/// What is wrong with a text.
#[derive(Clone, Copy)]
enum Fault {
    CutShort,
    Expected(&'static str),
    Escape,
    Depth,
}

/// Checks a value, with everything in it, and writes the places of the table's fields to `spans`. Of a key that is there
/// twice the last one counts; what was in the one before stays behind, and lies outside of the last: see [`found`].
///
/// Up to a fault, what has been found stays: scalars and lists that were whole, and objects from their start to the end of
/// the text.
struct Scanner<'t, 'a> {
    text: &'a str,
    /// A place in the text, which only ever moves forward; in the end, that of the fault.
    at: usize,
    fault: Fault,
    table: &'t [Node<'t>],
    spans: &'t mut [Span],
    /// The kinds of the containers that are open, a bit each, the innermost lowest.
    objects: u64,
    depth: u8,
    /// The depth of the innermost open object that the table knows, and its node.
    known: u8,
    here: u8,
    /// The member of it that is being scanned, and where that starts.
    member: u8,
    start: usize,
}

impl Scanner<'_, '_> {
    /// Scans the value that starts here; `false` at a fault.
    fn value(&mut self) -> bool {
        let mut is_member = false;
        loop {
            if is_member && !self.key() {
                return false;
            }
            // Here a value starts …
            if self.depth == self.known {
                self.start = self.at;
            }
            let is_sound = match self.peek() {
                byte @ (b'{' | b'[') => {
                    let object = byte == b'{';
                    if !self.open(object) {
                        return false;
                    }
                    if self.peek() != close(object) {
                        is_member = object;
                        continue;
                    }
                    true
                }
                b'"' => self.string("a string"),
                b'-' | b'0'..=b'9' => self.number(),
                b't' => self.literal("true"),
                b'f' => self.literal("false"),
                b'n' => self.literal("null"),
                _ => self.unexpected("a value"),
            };
            if !is_sound {
                return false;
            }
            // … and here it has ended, and with it perhaps the containers around it.
            loop {
                if self.depth == self.known {
                    self.found(self.member, self.at);
                }
                if self.depth == 0 {
                    return true;
                }
                let object = self.objects & 1 == 1;
                self.space();
                if self.eat(close(object)) {
                    self.close();
                } else if self.eat(b',') {
                    self.space();
                    is_member = object;
                    break;
                } else {
                    return self.unexpected(if object { "`,` or `}`" } else { "`,` or `]`" });
                }
            }
        }
    }

    /// The member that is being scanned is there, from its start to `end`.
    fn found(&mut self, member: u8, end: usize) {
        if let Some(span) = self.spans.get_mut(usize::from(member)) {
            *span = Span { start: self.start, end };
        }
    }

    fn open(&mut self, object: bool) -> bool {
        if usize::from(self.depth) >= MAX_DEPTH {
            return self.broken(Fault::Depth);
        }
        let is_known = object && self.depth == self.known && self.member != NO_NODE;
        self.objects = self.objects << 1 | u64::from(object);
        self.depth = self.depth.wrapping_add(1);
        if is_known {
            self.found(self.member, self.text.len());
            self.here = self.member;
            self.known = self.depth;
        }
        self.at = self.at.wrapping_add(1);
        self.space();
        true
    }

    fn close(&mut self) {
        if self.depth == self.known {
            // It is the object here that ends.
            let here = usize::from(self.here);
            self.member = self.here;
            self.start = self.spans.get(here).map_or(0, |span| span.start);
            self.here = self.table.get(here).map_or(NO_NODE, |node| node.parent);
            self.known = self.known.wrapping_sub(1);
        }
        self.objects >>= 1;
        self.depth = self.depth.wrapping_sub(1);
    }

    /// A key with its colon. It tells the member of the object here whose value follows.
    fn key(&mut self) -> bool {
        let start = self.at;
        if !self.string("a key") {
            return false;
        }
        if self.depth == self.known {
            let key = Span { start, end: self.at };
            self.member = Text::quoted(self.text, key).map_or(NO_NODE, |key| self.find(key));
        }
        self.space();
        if !self.eat(b':') {
            return self.unexpected("`:`");
        }
        self.space();
        true
    }

    /// Finds the member of the object here that has this key.
    fn find(&self, key: Text<'_>) -> u8 {
        let mut found = self.table.get(usize::from(self.here)).map_or(NO_NODE, |node| node.child);
        let first = key.raw().as_bytes().first().map_or(0, |byte| byte | 0x20);
        while let Some(node) = self.table.get(usize::from(found)) {
            if node.has_key(first, key) {
                break;
            }
            found = node.next;
        }
        found
    }

    /// The byte here. At the end, NUL: that stands nowhere in JSON.
    #[inline]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == byte;
        self.at = self.at.wrapping_add(usize::from(is_there));
        is_there
    }

    fn space(&mut self) {
        self.at = skip(self.text, self.at, b' ');
    }

    /// `false`, for this reason.
    fn broken(&mut self, fault: Fault) -> bool {
        self.fault = fault;
        false
    }

    /// `false`, because something else should stand here.
    #[inline(never)]
    fn unexpected(&mut self, expected: &'static str) -> bool {
        self.broken(if self.at < self.text.len() { Fault::Expected(expected) } else { Fault::CutShort })
    }

    #[inline(never)]
    fn string(&mut self, expected: &'static str) -> bool {
        if !self.eat(b'"') {
            return self.unexpected(expected);
        }
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        loop {
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at.wrapping_add(1);
                    return true;
                }
                Some(b'\\') => match text::decode(bytes, at) {
                    (char, len) if char <= text::CHAR_MAX => at = at.wrapping_add(len),
                    (text::CUT_SHORT, _) => {
                        self.at = bytes.len();
                        return self.broken(Fault::CutShort);
                    }
                    _ => {
                        self.at = at;
                        return self.broken(Fault::Escape);
                    }
                },
                None | Some(0..0x20) => {
                    self.at = at;
                    return self.unexpected("control characters escaped");
                }
                Some(_) => at = at.wrapping_add(1),
            }
        }
    }

    fn number(&mut self) -> bool {
        self.eat(b'-');
        if !self.eat(b'0') && !self.digits() || self.eat(b'.') && !self.digits() {
            return false;
        }
        if self.peek() | 0x20 != b'e' {
            return true;
        }
        self.at = self.at.wrapping_add(1);
        let _sign = self.eat(b'+') || self.eat(b'-');
        self.digits()
    }

    /// One digit or more.
    #[inline(never)]
    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at = self.at.wrapping_add(1);
        }
        self.at != start || self.unexpected("a digit")
    }

    #[inline(never)]
    fn literal(&mut self, word: &'static str) -> bool {
        word.bytes().all(|byte| self.eat(byte)) || self.unexpected(word)
    }
}

/// What closes a container.
fn close(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// How deep sound JSON is nested: 0 for a string or number, 1 for `[]`, 2 for `[{}]`.
#[cfg(any(test, feature = "serde"))]
pub(crate) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0usize, false, false);
    for byte in json.bytes() {
        match (quoted, byte) {
            _ if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'{' | b'[') => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        for (json, deep) in
            [("1", 0), (r#""[[\"[[""#, 0), ("[]", 1), (r#"{"a":[{}],"b":[[]]}"#, 3), (r#"["\\",[]]"#, 2)]
        {
            assert_eq!(depth(json), deep, "{json}");
        }
    }

    const PATHS: &[&str] = &["", "a", "a.b", "a.b.c", "a.d", "~List"];
    static TABLE: [Node<'static>; PATHS.len()] = table(PATHS);

    fn found(json: &str) -> [&str; PATHS.len()] {
        let mut spans = [Span::NONE; PATHS.len()];
        let (_, _sound) = document(json.as_bytes(), &TABLE, &mut spans);
        core::array::from_fn(|node| {
            let Span { start, end } = super::found(&TABLE, &spans, node as u8);
            &json[start..end]
        })
    }

    #[test]
    fn fields_are_found_where_the_table_says_and_nowhere_else() {
        let json =
            r#" {"x":{"a":1,"b":2},"b":3,"a" : {"d":4,"\u0062":{"c":[{"c":5}],"b":6}, "b2":{}},"LIST":[{"a":7}]} "#;
        let [root, a, b, c, d, list] = found(json);
        assert_eq!(root, json.trim());
        assert_eq!(a, r#"{"d":4,"\u0062":{"c":[{"c":5}],"b":6}, "b2":{}}"#);
        assert_eq!([b, c, d, list], [r#"{"c":[{"c":5}],"b":6}"#, r#"[{"c":5}]"#, "4", r#"[{"a":7}]"#]);
        assert_eq!(found("[{\"a\":1}]"), ["[{\"a\":1}]", "", "", "", "", ""]);
        assert_eq!(found("7"), ["7", "", "", "", "", ""]);
    }

    #[test]
    fn the_last_of_a_doubled_key_counts_with_what_is_in_it() {
        assert_eq!(found(r#"{"a":{"b":{"c":1},"d":2},"a":{"d":3}}"#)[1..], [r#"{"d":3}"#, "", "", "3", ""]);
        assert_eq!(found(r#"{"a":{"b":{"c":1},"d":2},"a":null}"#)[1..], ["null", "", "", "", ""]);
        assert_eq!(found(r#"{"list":1,"LIST":[2]}"#)[5], "[2]");
    }

    #[test]
    fn what_stands_before_a_fault_is_found() {
        let [_, a, b, c, d, list] = found(r#"{"list":[1,"a":{"d":4,"b":{"c":"x","#);
        assert_eq!([a, b, c, d, list], ["", "", "", "", ""]);
        let json = r#"{"a":{"d":4,"b":{"c":"x","#;
        let [root, a, b, c, d, _] = found(json);
        assert_eq!([root, a, b, c, d], [json, &json[5..], &json[16..], "\"x\"", "4"]);
    }
}
