//! The artifacts of a job, one after the other.

use core::iter::FusedIterator;

use crate::artifact::Artifact;
use crate::dialect::Dialect;
use crate::error::ParseError;
use crate::json::{Elements, Value};
use crate::parse;
use crate::path::Path;

/// The dialect's own document, and where it lies in what arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) object: Value<'a>,
    /// From the root; empty when it is the root.
    pub(crate) prefix: &'static str,
}

/// Where a document has its artifacts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    dialect: Dialect,
    scope: Scope<'a>,
    /// The field that has them.
    list: &'static str,
    items: Items<'a>,
    #[cfg(feature = "afr-ota")]
    pub(crate) streams: crate::aws::afr_ota::Streams<'a>,
}

// Without an allocator there is nowhere else to put what was given.
#[cfg_attr(feature = "serde", allow(clippy::large_enum_variant))]
#[derive(Debug, Clone, Copy)]
enum Items<'a> {
    Sole(Option<Value<'a>>),
    Many {
        elements: Elements<'a>,
        index: usize,
    },
    /// Read by somebody else.
    #[cfg(all(feature = "aws-jobs", feature = "serde"))]
    Given(Option<Artifact<'a>>),
}

impl<'a> Source<'a> {
    pub(crate) fn many(dialect: Dialect, scope: Scope<'a>, list: &'static str, elements: Elements<'a>) -> Self {
        Self::new(dialect, scope, list, Items::Many { elements, index: 0 })
    }

    pub(crate) fn sole(dialect: Dialect, scope: Scope<'a>, field: &'static str, value: Value<'a>) -> Self {
        Self::new(dialect, scope, field, Items::Sole(Some(value)))
    }

    #[cfg(all(feature = "aws-jobs", feature = "serde"))]
    pub(crate) fn given(scope: Scope<'a>, artifact: Artifact<'a>) -> Self {
        Self::new(Dialect::AwsJobs, scope, "", Items::Given(Some(artifact)))
    }

    fn new(dialect: Dialect, scope: Scope<'a>, list: &'static str, items: Items<'a>) -> Self {
        Self {
            dialect,
            scope,
            list,
            items,
            #[cfg(feature = "afr-ota")]
            streams: Default::default(),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn scope(&self) -> Scope<'a> {
        self.scope
    }

    /// The next one, or why it is none.
    pub(crate) fn try_next(&mut self) -> Option<Result<Artifact<'a>, ParseError<'a>>> {
        let (value, at) = match &mut self.items {
            Items::Sole(value) => (value.take()?, None),
            Items::Many { elements, index } => {
                let item = (elements.next()?, Some(*index));
                *index = index.saturating_add(1);
                item
            }
            #[cfg(all(feature = "aws-jobs", feature = "serde"))]
            Items::Given(artifact) => return artifact.take().map(Ok),
        };
        let from = |path: Path| path.of_item(self.list, at).within(self.scope.prefix);
        Some(match parse::artifact(self, value) {
            Ok(artifact) => Ok(Artifact { path: from(artifact.path), ..artifact }),
            Err(error) => Err(error.seen(from)),
        })
    }
}

/// The artifacts of a job, read from the document one at a time. Made by [`Job::artifacts`](crate::Job::artifacts).
#[derive(Clone)]
pub struct Artifacts<'a>(pub(crate) Source<'a>);

impl core::fmt::Debug for Artifacts<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Artifacts").finish_non_exhaustive()
    }
}

impl<'a> Iterator for Artifacts<'a> {
    type Item = Artifact<'a>;

    fn next(&mut self) -> Option<Artifact<'a>> {
        // Each has been found sound when the job was read.
        self.0.try_next()?.ok()
    }
}

impl FusedIterator for Artifacts<'_> {}
