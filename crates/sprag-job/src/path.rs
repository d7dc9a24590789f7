//! Where in a document a field stands.

use core::fmt;

/// The place of a field in a job document, shown as `urls[1].url`; `document` is the document as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Path {
    list: &'static str,
    index: Option<usize>,
    field: &'static str,
}

impl Path {
    pub(crate) const DOCUMENT: Self = Self::field("");

    /// A field of the document.
    pub(crate) const fn field(field: &'static str) -> Self {
        Self { list: "", index: None, field }
    }

    /// An item of a list.
    pub(crate) const fn item(list: &'static str, index: usize) -> Self {
        Self { list, index: Some(index), field: "" }
    }

    /// A field of the item.
    pub(crate) const fn dot(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    /// The name of the field in the object that has it.
    pub(crate) fn name(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, self.field) {
            (None, "") => f.write_str("document"),
            (None, field) => f.write_str(field),
            (Some(index), "") => write!(f, "{}[{index}]", self.list),
            (Some(index), field) => write!(f, "{}[{index}].{field}", self.list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Path;
    use std::string::ToString;

    #[test]
    fn a_path_reads_like_a_program() {
        assert_eq!(Path::DOCUMENT.to_string(), "document");
        assert_eq!(Path::field("sw").to_string(), "sw");
        assert_eq!(Path::item("urls", 1).to_string(), "urls[1]");
        assert_eq!(Path::item("urls", 1).dot("url").to_string(), "urls[1].url");
    }
}
