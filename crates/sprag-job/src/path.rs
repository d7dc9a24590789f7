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

    /// A field of the dialect's document, or of an item in it; dots lead into objects.
    pub(crate) const fn field(field: &'static str) -> Self {
        Self { prefix: "", list: "", index: None, field }
    }

    /// The same field of an item: the one at `index` of a list, or the one item of what could have been a list.
    pub(crate) const fn of_item(self, list: &'static str, index: Option<usize>) -> Self {
        Self { list, index, ..self }
    }

    /// The same place when the document lies in another, at `prefix`.
    pub(crate) const fn within(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
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
        let url = |index| Path::field("url").of_item("urls", index);
        assert_eq!(Path::DOCUMENT.to_string(), "document");
        assert_eq!(Path::field("sw").to_string(), "sw");
        assert_eq!(Path::DOCUMENT.of_item("urls", Some(1)).to_string(), "urls[1]");
        assert_eq!(url(Some(1)).to_string(), "urls[1].url");
        assert_eq!(Path::field("signature.value").of_item("artifact", None).to_string(), "artifact.signature.value");
        assert_eq!(Path::field("ver.sw").within("data").to_string(), "data.ver.sw");
        assert_eq!(url(Some(0)).within("data").to_string(), "data.urls[0].url");
        assert_eq!(Path::DOCUMENT.within("execution.jobDocument").to_string(), "execution.jobDocument");
    }
}
