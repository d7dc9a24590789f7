//! The status of a job execution, as UpdateJobExecution takes it.

use super::details;
use crate::out::{Out, TooSmall, Words};
use crate::status::Status;

/// The word for it.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Downloading => "IN_PROGRESS",
        Status::Done => "SUCCEEDED",
        Status::Failed => "FAILED",
        Status::Refused | Status::Rejected => "REJECTED",
    }
}

/// `{"status":"FAILED","statusDetails":{"reason":"…"}}`.
pub(crate) fn write<'b>(status: Status, message: &str, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
    // A value that is empty is refused by the service; without details, those of before stay.
    if !message.is_empty() && details::check_value(message).is_err() {
        return Err(TooSmall { needed: usize::MAX });
    }
    let mut out = Out::new(out);
    out.raw(r#"{"status":""#);
    out.raw(word(status));
    out.raw("\"");
    if !message.is_empty() {
        out.raw(r#","statusDetails":{"reason":"#);
        out.string(Words::Plain(message));
        out.raw("}");
    }
    out.raw("}");
    out.finish()
}
