//! A field that a dialect asks for: there or not, of the right type or not, with its place for the error.

use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::json::{self, Elements, Value};
use crate::path::Path;
#[cfg(feature = "aws")]
use crate::signature;
use crate::text::Text;
use crate::url;

/// A field of an object. `null` is as good as absent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    value: Option<Value<'a>>,
    /// From the dialect's document, or an item in it; dots lead into objects.
    name: &'static str,
    /// Where the object starts that should have it.
    object: usize,
}

impl<'a> Field<'a> {
    /// The object that a document is, which is JSON to its end.
    pub(crate) fn document(bytes: &'a [u8]) -> Result<Value<'a>, ParseError<'a>> {
        let (root, sound) = json::document(bytes);
        sound?;
        Self::at(root, "").object()
    }

    /// Looks for the field that `name` ends in. The last of several counts, as in JavaScript and Python.
    pub(crate) fn of(object: Value<'a>, name: &'static str) -> Self {
        let [field] = Self::all(object, [name]);
        field
    }

    /// Looks for several fields in one walk over the object.
    pub(crate) fn all<const N: usize>(object: Value<'a>, names: [&'static str; N]) -> [Self; N] {
        let mut fields = [Self::absent("", 0); N];
        Self::find(object, &names, &mut fields, false);
        fields
    }

    /// As [`of`](Self::of), in any case: `ManufacturerID` is `ManufacturerId`.
    pub(crate) fn any_case(object: Value<'a>, name: &'static str) -> Self {
        let mut field = Self::absent("", 0);
        Self::find(object, &[name], core::slice::from_mut(&mut field), true);
        field
    }

    fn find(object: Value<'a>, names: &[&'static str], fields: &mut [Self], any_case: bool) {
        for (field, name) in fields.iter_mut().zip(names) {
            *field = Self::absent(name, object.offset());
        }
        let Some(members) = object.members() else { return };
        for (key, value) in members {
            for field in &mut *fields {
                let start = field.name.bytes().rposition(|byte| byte == b'.').map_or(0, |dot| dot.saturating_add(1));
                let last = field.name.get(start..).unwrap_or_default();
                if key == last || any_case && key.eq_ignore_ascii_case(last) {
                    field.value = (!value.is_null()).then_some(value);
                }
            }
        }
    }

    /// An item that has been found some other way, `null` included: a list has no absent items.
    pub(crate) fn at(value: Value<'a>, name: &'static str) -> Self {
        Self { value: Some(value), name, object: value.offset() }
    }

    /// A field that is known not to be there.
    pub(crate) fn absent(name: &'static str, object: usize) -> Self {
        Self { value: None, name, object }
    }

    /// The other field, where this one is not there.
    pub(crate) fn or(self, other: Self) -> Self {
        if self.value.is_some() { self } else { other }
    }

    pub(crate) fn value(&self) -> Option<Value<'a>> {
        self.value
    }

    /// The object that it is, if it is one.
    pub(crate) fn as_object(&self) -> Option<Value<'a>> {
        self.value.filter(|value| value.members().is_some())
    }

    pub(crate) fn required(&self) -> Result<Value<'a>, ParseError<'a>> {
        self.value.ok_or(self.fault(Kind::Missing))
    }

    pub(crate) fn object(&self) -> Result<Value<'a>, ParseError<'a>> {
        self.required()?;
        self.as_object().ok_or(self.wrong("an object"))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn path(&self) -> Path {
        Path::field(self.name)
    }

    /// Where its value starts, or the object that lacks it.
    pub(crate) fn offset(&self) -> usize {
        self.value.map_or(self.object, |value| value.offset())
    }

    /// A fault of the field, at its value.
    pub(crate) fn fault(&self, kind: Kind) -> ParseError<'a> {
        ParseError::new(kind, self.path(), self.offset())
    }

    pub(crate) fn wrong(&self, expected: &'static str) -> ParseError<'a> {
        self.fault(Kind::WrongType { expected })
    }

    /// A string, or a number as it is written: producers disagree.
    pub(crate) fn word(&self) -> Option<Text<'a>> {
        let value = self.value?;
        value.string().or_else(|| value.number().map(Text::new))
    }

    /// The string that it is, if it is one.
    pub(crate) fn as_text(&self) -> Option<Text<'a>> {
        self.value?.string()
    }

    pub(crate) fn optional_text(&self) -> Result<Option<Text<'a>>, ParseError<'a>> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        let text = value.string().ok_or(self.wrong("a string"))?;
        self.replaced(text).map(Some)
    }

    /// Refuses a text with a placeholder that AWS has not replaced.
    fn replaced(&self, text: Text<'a>) -> Result<Text<'a>, ParseError<'a>> {
        match url::placeholder(text) {
            None => Ok(text),
            Some(url::Placeholder::Presigned) => Err(self.fault(Kind::PresignedPlaceholder)),
            Some(url::Placeholder::Other) => Err(self.fault(Kind::Placeholder)),
        }
    }

    /// A string with something in it.
    pub(crate) fn text(&self) -> Result<Text<'a>, ParseError<'a>> {
        self.required()?;
        match self.optional_text()? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.fault(Kind::Empty)),
        }
    }

    /// A signature in base64.
    #[cfg(feature = "aws")]
    pub(crate) fn base64(&self) -> Result<Text<'a>, ParseError<'a>> {
        let text = self.text()?;
        if signature::is_base64(text) { Ok(text) } else { Err(self.wrong(signature::BASE64)) }
    }

    pub(crate) fn url(&self) -> Result<Text<'a>, ParseError<'a>> {
        self.url_in(self.text()?)
    }

    /// The URL that `text`, a part of the field, must be.
    pub(crate) fn url_in(&self, text: Text<'a>) -> Result<Text<'a>, ParseError<'a>> {
        self.replaced(text)?;
        url::check(text).map_err(|expected| self.fault(Kind::BadUrl { expected }))?;
        Ok(text)
    }

    pub(crate) fn integer(&self) -> Result<i64, ParseError<'a>> {
        let number = self.required()?.number().and_then(|number| match number.strip_prefix('-') {
            None => Text::new(number).decimal()?.try_into().ok(),
            Some(digits) => 0i64.checked_sub_unsigned(Text::new(digits).decimal()?),
        });
        number.ok_or(self.wrong("a 64-bit integer"))
    }

    /// A number of 32 bits without a sign; some producers write it as a string.
    pub(crate) fn optional_u32(&self) -> Result<Option<u32>, ParseError<'a>> {
        const EXPECTED: &str = "an integer from 0 to 4294967295";
        let number = self.optional_decimal(EXPECTED)?.map(u32::try_from).transpose();
        number.map_err(|_| self.wrong(EXPECTED))
    }

    /// A number of 64 bits without a sign, or a string of it.
    pub(crate) fn optional_u64(&self) -> Result<Option<u64>, ParseError<'a>> {
        self.optional_decimal("an integer from 0 to 18446744073709551615")
    }

    fn optional_decimal(&self, expected: &'static str) -> Result<Option<u64>, ParseError<'a>> {
        if self.value.is_none() {
            return Ok(None);
        }
        self.word().and_then(|word| word.decimal()).map(Some).ok_or(self.wrong(expected))
    }

    /// An array with something in it.
    pub(crate) fn list(&self) -> Result<Elements<'a>, ParseError<'a>> {
        let elements = self.required()?.elements().ok_or(self.wrong("an array"))?;
        let mut first = elements;
        if first.next().is_none() { Err(self.fault(Kind::Empty)) } else { Ok(elements) }
    }
}
