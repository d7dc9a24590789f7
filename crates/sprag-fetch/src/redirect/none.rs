//! In the place of redirects, where they are not built in: every request goes to the first URL.

use core::ops::Range;

use crate::session::AnswerError;
use crate::url::{HOST_MAX, Scheme};

/// The place that a request goes to: the first URL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redirect {
    pub(crate) scheme: Scheme,
    pub(crate) port: u16,
}

impl Redirect {
    pub(crate) fn from(scheme: Scheme, port: u16) -> Self {
        Self { scheme, port }
    }

    /// # Errors
    /// Returns [`AnswerError::RedirectsNotBuiltIn`] for every redirect.
    pub(crate) fn follow(
        &mut self,
        _: &mut [u8],
        _: Range<usize>,
        _: &mut dyn Iterator<Item = u8>,
    ) -> Result<bool, AnswerError> {
        Err(AnswerError::RedirectsNotBuiltIn)
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        false
    }

    pub(crate) fn length(&self) -> usize {
        0
    }

    pub(crate) fn host(&self, _: &[u8]) -> Option<heapless::String<HOST_MAX>> {
        None
    }

    pub(crate) fn place<'b>(&self, _: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        (&[], &[])
    }
}
