//! A field that a dialect asks for: there or not, of the right type or not, with its place for the error.

use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::json::{Elements, Value};
use crate::path::Path;
use crate::text::Text;
use crate::url;

/// A field of an object. `null` is as good as absent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    value: Option<Value<'a>>,
    path: Path,
    /// Where the object starts that should have it.
    object: usize,
}

impl<'a> Field<'a> {
    /// Looks for the field that `path` ends in. The last of several counts, as in JavaScript and Python.
    ///
    /// Each look walks the object again: a pass over a few hundred bytes is cheaper than the code of a table of fields.
    pub(crate) fn of(object: Value<'a>, path: Path) -> Self {
        let name = path.name();
        let value = object.members().and_then(|members| members.filter(|(key, _)| *key == name).last());
        let value = value.map(|(_, value)| value).filter(|value| !value.is_null());
        Self { value, path, object: object.offset() }
    }

    fn required(&self) -> Result<Value<'a>, ParseError<'a>> {
        self.value.ok_or(ParseError::new(Kind::Missing, self.path, self.object))
    }

    /// A fault of the field, at its value.
    pub(crate) fn fault(&self, kind: Kind) -> ParseError<'a> {
        ParseError::new(kind, self.path, self.value.map_or(self.object, |value| value.offset()))
    }

    /// A string, or a number as it is written: producers disagree.
    pub(crate) fn word(&self) -> Option<Text<'a>> {
        let value = self.value?;
        value.string().or_else(|| value.number().map(Text::new))
    }

    pub(crate) fn optional_text(&self) -> Result<Option<Text<'a>>, ParseError<'a>> {
        self.value.map(|value| value.string().ok_or(self.fault(Kind::WrongType { expected: "a string" }))).transpose()
    }

    /// A string with something in it.
    pub(crate) fn text(&self) -> Result<Text<'a>, ParseError<'a>> {
        self.required()?;
        match self.optional_text()? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.fault(Kind::Empty)),
        }
    }

    pub(crate) fn url(&self) -> Result<Text<'a>, ParseError<'a>> {
        let text = self.text()?;
        url::check(text).map_err(|expected| self.fault(Kind::BadUrl { expected }))?;
        Ok(text)
    }

    pub(crate) fn integer(&self) -> Result<i64, ParseError<'a>> {
        let number = self.required()?.number().and_then(|number| number.parse().ok());
        number.ok_or(self.fault(Kind::WrongType { expected: "a 64-bit integer" }))
    }

    /// An array with something in it.
    pub(crate) fn list(&self) -> Result<Elements<'a>, ParseError<'a>> {
        let elements = self.required()?.elements().ok_or(self.fault(Kind::WrongType { expected: "an array" }))?;
        let mut first = elements;
        if first.next().is_none() { Err(self.fault(Kind::Empty)) } else { Ok(elements) }
    }
}
