//! What the service answers to an update, and how it says no to any request.

use super::execution::{Details, ExecutionStatus};
use crate::error::ParseError;
use crate::field::Reader;
use crate::json::{Span, fields};
use crate::text::Text;

fields! {
    /// The fields of any answer.
    ANSWER, Key:
    ClientToken = "clientToken",
    Code = "code",
    Message = "message",
    JobDocument = "jobDocument",
    ExecutionState = "executionState",
    Status = "executionState.status",
    VersionNumber = "executionState.versionNumber",
    StatusDetails = "executionState.statusDetails",
}

/// Why the service refused a request (AWS IoT Jobs, `code` of `…/rejected`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RejectionCode {
    /// `InvalidTopic`: the topic is of no operation.
    InvalidTopic,
    /// `InvalidJson`: the payload is not JSON in UTF-8.
    InvalidJson,
    /// `InvalidRequest`: a field of it is not what it must be.
    InvalidRequest,
    /// `InvalidStateTransition`: the execution can't go from its status to the one asked.
    InvalidStateTransition,
    /// `ResourceNotFound`: there is no such execution; the job was deleted.
    ResourceNotFound,
    /// `VersionMismatch`: `expectedVersion` is not the execution's; its state comes along.
    VersionMismatch,
    /// `InternalError`: try again.
    InternalError,
    /// `RequestThrottled`: try again, later.
    RequestThrottled,
    /// `TerminalStateReached`: the execution has come to its end.
    TerminalStateReached,
    /// A code that these crates do not know: see [`Rejection::code_text`].
    Unknown,
}

impl RejectionCode {
    fn of(name: Text<'_>) -> Self {
        const NAMES: [(&str, RejectionCode); 9] = [
            ("InvalidTopic", RejectionCode::InvalidTopic),
            ("InvalidJson", RejectionCode::InvalidJson),
            ("InvalidRequest", RejectionCode::InvalidRequest),
            ("InvalidStateTransition", RejectionCode::InvalidStateTransition),
            ("ResourceNotFound", RejectionCode::ResourceNotFound),
            ("VersionMismatch", RejectionCode::VersionMismatch),
            ("InternalError", RejectionCode::InternalError),
            ("RequestThrottled", RejectionCode::RequestThrottled),
            ("TerminalStateReached", RejectionCode::TerminalStateReached),
        ];
        NAMES.into_iter().find(|(known, _)| name == *known).map_or(Self::Unknown, |(_, code)| code)
    }

    /// Whether the same request may be granted later: `InternalError` and `RequestThrottled`.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::InternalError | Self::RequestThrottled)
    }
}

/// `executionState`: how an execution stands, as an answer tells it.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    status: Option<ExecutionStatus>,
    version_number: Option<u64>,
    details: Details<'a>,
}

impl<'a> State<'a> {
    fn of(reader: &mut Reader<'_, 'a>) -> Option<Self> {
        reader.is_object(Key::ExecutionState as u8).then(|| Self {
            status: reader.optional_text(Key::Status as u8).map(ExecutionStatus::of),
            version_number: reader.optional_u64(Key::VersionNumber as u8),
            details: Details::of(reader, Key::StatusDetails as u8),
        })
    }

    /// `status`.
    pub fn status(&self) -> Option<ExecutionStatus> {
        self.status
    }

    /// `versionNumber`: what the next update must expect.
    pub fn version_number(&self) -> Option<u64> {
        self.version_number
    }

    /// The value of a key in `statusDetails`, if it is there and a string.
    pub fn status_detail(&self, key: &str) -> Option<Text<'a>> {
        self.details.value(key)
    }
}

/// The payload of `{jobId}/update/accepted`.
#[derive(Debug, Clone, Copy)]
pub struct Updated<'a> {
    state: Option<State<'a>>,
    document: Option<&'a [u8]>,
    token: Option<Text<'a>>,
}

/// Reads the payload of `{jobId}/update/accepted`.
///
/// # Errors
/// What is not JSON, not an object, or has a state that makes no sense.
pub fn updated(payload: &[u8]) -> Result<Updated<'_>, ParseError<'_>> {
    let mut spans = [Span::NONE; Key::COUNT];
    let mut reader = Reader::object_of(payload, &ANSWER, &mut spans)?;
    let document = reader.span(Key::JobDocument as u8);
    let updated = Updated {
        state: State::of(&mut reader),
        document: if document.is_empty() { None } else { payload.get(document.start..document.end) },
        token: reader.as_text(Key::ClientToken as u8),
    };
    reader.finish(updated)
}

impl<'a> Updated<'a> {
    /// `executionState`, when the request asked for it with `includeJobExecutionState`.
    pub fn state(&self) -> Option<State<'a>> {
        self.state
    }

    /// `jobDocument` as it lies in the payload, when the request asked for it with `includeJobDocument`.
    pub fn document(&self) -> Option<&'a [u8]> {
        self.document
    }

    /// `clientToken` of the request.
    pub fn client_token(&self) -> Option<Text<'a>> {
        self.token
    }
}

/// The payload of any `…/rejected`.
#[derive(Debug, Clone, Copy)]
pub struct Rejection<'a> {
    code: Text<'a>,
    message: Option<Text<'a>>,
    state: Option<State<'a>>,
    token: Option<Text<'a>>,
}

/// Reads the payload of a topic that ends in `/rejected`.
///
/// # Errors
/// What is not JSON, not an object, has no `code`, or a state that makes no sense.
pub fn rejection(payload: &[u8]) -> Result<Rejection<'_>, ParseError<'_>> {
    let mut spans = [Span::NONE; Key::COUNT];
    let mut reader = Reader::object_of(payload, &ANSWER, &mut spans)?;
    let rejection = Rejection {
        code: reader.text(Key::Code as u8),
        message: reader.as_text(Key::Message as u8),
        state: State::of(&mut reader),
        token: reader.as_text(Key::ClientToken as u8),
    };
    reader.finish(rejection)
}

impl<'a> Rejection<'a> {
    /// `code`.
    pub fn code(&self) -> RejectionCode {
        RejectionCode::of(self.code)
    }

    /// `code` as it is written.
    pub fn code_text(&self) -> Text<'a> {
        self.code
    }

    /// `message`, for people.
    pub fn message(&self) -> Option<Text<'a>> {
        self.message
    }

    /// `executionState`: comes with [`RejectionCode::VersionMismatch`].
    pub fn state(&self) -> Option<State<'a>> {
        self.state
    }

    /// `clientToken` of the request.
    pub fn client_token(&self) -> Option<Text<'a>> {
        self.token
    }
}
