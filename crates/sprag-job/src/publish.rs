//! A message that a conversation wants published.

use core::fmt;

use crate::out::TooSmall;

/// A message to publish, at QoS 1, in the caller's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Publish<'b> {
    /// Where to.
    pub topic: &'b str,
    /// JSON.
    pub payload: &'b str,
}

/// A buffer has no room for what is to be published. Nothing is ever cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NoRoom {
    /// The one for the topic.
    Topic(TooSmall),
    /// The one for the payload.
    Payload(TooSmall),
}

impl NoRoom {
    /// `buffer-too-small`, for status reports.
    pub fn reason(&self) -> &'static str {
        "buffer-too-small"
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => write!(f, "topic: {error}"),
            Self::Payload(error) => write!(f, "payload: {error}"),
        }
    }
}

impl core::error::Error for NoRoom {}
