//! Where in a document a field stands.

use core::fmt;

/// The place of a field in a job document, shown as `urls[1].url` or `execution.jobDocument.afr_ota.files[0].filesize`;
/// `document` is the document as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Path {
    /// The object that the dialect's document is, as seen from the root: empty when it is the root.
    prefix: &'static str,
    list: &'static str,
    index: Option<usize>,
    field: &'static str,
}

impl Path {
    pub(crate) const DOCUMENT: Self = Self::field("");

    /// A field of the document; dots lead into objects.
    pub(crate) const fn field(field: &'static str) -> Self {
        Self { prefix: "", list: "", index: None, field }
    }

    /// An item of a list.
    pub(crate) const fn item(list: &'static str, index: usize) -> Self {
        Self { prefix: "", list, index: Some(index), field: "" }
    }

    /// The one item of what could have been a list.
    pub(crate) const fn sole(object: &'static str) -> Self {
        Self { prefix: "", list: object, index: None, field: "" }
    }

    /// A field of the item; dots lead into objects.
    pub(crate) const fn dot(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    /// The same place when the document lies in another, at `prefix`.
    pub(crate) const fn within(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// The name of the field in the object that has it.
    pub(crate) fn name(&self) -> &'static str {
        self.field.rsplit('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dot = "";
        for part in [self.prefix, self.list] {
            if !part.is_empty() {
                write!(f, "{dot}{part}")?;
                dot = ".";
            }
        }
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        match (dot, self.field) {
            ("", "") => f.write_str("document"),
            (_, "") => Ok(()),
            (dot, field) => write!(f, "{dot}{field}"),
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
        assert_eq!(Path::sole("artifact").dot("signature.value").to_string(), "artifact.signature.value");
        assert_eq!(Path::field("ver.sw").within("data").to_string(), "data.ver.sw");
        assert_eq!(Path::item("urls", 0).within("data").to_string(), "data.urls[0]");
        assert_eq!(Path::DOCUMENT.within("execution.jobDocument").to_string(), "execution.jobDocument");
    }

    #[test]
    fn the_name_is_the_last_part() {
        assert_eq!(Path::field("ota.ver.sw").name(), "sw");
        assert_eq!(Path::item("files", 0).dot("url").name(), "url");
        assert_eq!(Path::DOCUMENT.name(), "");
    }
}
