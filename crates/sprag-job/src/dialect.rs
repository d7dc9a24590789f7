//! The dialects, and the way from a document to the one that can read it.

use core::fmt;

use crate::error::{ParseError, ParseErrorKind};
#[cfg(feature = "iotconnect")]
use crate::iotconnect;
use crate::job::{Artifact, Job};
use crate::json::{self, Value};
use crate::out::{TooSmall, Words};
use crate::path::Path;
use crate::status::Status;
use crate::text::Text;

/// The language of a job document and of the reports about it. There is one variant for each dialect that is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Dialect {
    /// IoTConnect device message 2.1 on AWS or Azure, OTA commands (`ct` = 1). Feature `iotconnect`.
    #[cfg(feature = "iotconnect")]
    IotConnect21,
}

impl Dialect {
    /// Its name, which `Display` shows too: `iotconnect-2.1`. It does not change between releases and may be stored.
    pub fn name(&self) -> &'static str {
        match *self {
            #[cfg(feature = "iotconnect")]
            Self::IotConnect21 => "iotconnect-2.1",
        }
    }

    /// The dialect of that [`name`](Self::name), if it is enabled.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            #[cfg(feature = "iotconnect")]
            "iotconnect-2.1" => Some(Self::IotConnect21),
            _ => None,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a job document, in whichever of the enabled dialects it is written.
///
/// The whole of it must be sound JSON, to its end: whitespace and NULs may follow, since C clients hand out payloads
/// with their terminator, nothing else. Fields that are not asked for are skipped, whatever they hold. Of a key that
/// is there twice the last one counts. Time is linear in the length, memory constant; what is returned borrows from
/// `document`.
///
/// # Errors
/// [`ParseError`] says what is wrong, where, and which job it is about if that much could be read.
/// [`ParseErrorKind::NotAnOta`] is not a fault.
pub fn parse(document: &[u8]) -> Result<Job<'_>, ParseError<'_>> {
    let (root, sound) = json::document(document);
    if let Err(error) = sound {
        return Err(error.about(subject(root)));
    }
    #[cfg(feature = "iotconnect")]
    if let Some(job) = iotconnect::parse(root) {
        return job;
    }
    Err(ParseError::new(ParseErrorKind::UnknownDialect, Path::DOCUMENT, root.offset()))
}

/// The job that a document is about, as far as it can be read.
fn subject(root: Value<'_>) -> Option<(Dialect, Text<'_>)> {
    #[cfg(feature = "iotconnect")]
    if let Some(subject) = iotconnect::subject(root) {
        return Some(subject);
    }
    None
}

/// One entry of the list of artifacts that [`parse`] has found sound.
pub(crate) fn artifact(dialect: Dialect, element: Value<'_>) -> Option<Artifact<'_>> {
    match dialect {
        #[cfg(feature = "iotconnect")]
        Dialect::IotConnect21 => iotconnect::artifact(element, 0).ok(),
    }
}

/// Writes a report for a job whose document is gone, after the reboot into the new firmware for example: from its
/// dialect and its [id](Job::id), and for a child device of a gateway from its [tag](Artifact::tag) as well.
///
/// Other than that it is [`Job::report`].
///
/// # Errors
/// [`TooSmall`] with the size of `out` that would do; what lies in `out` then means nothing.
///
/// ```
/// # #[cfg(feature = "iotconnect")] {
/// use sprag_job::{Dialect, Status, report};
///
/// let mut out = [0; 128];
/// let ack = report(Dialect::IotConnect21, "0a1b", Some("pump-2"), Status::Done, "1.5 runs", &mut out)?;
/// assert_eq!(ack, r#"{"d":{"ack":"0a1b","cid":"pump-2","type":1,"st":3,"msg":"1.5 runs"}}"#);
/// # }
/// # Ok::<(), sprag_job::TooSmall>(())
/// ```
pub fn report<'b>(
    dialect: Dialect,
    id: &str,
    child: Option<&str>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    write(dialect, Words::Plain(id), child.map(Words::Plain), status, message, out)
}

pub(crate) fn write<'b>(
    dialect: Dialect,
    id: Words<'_>,
    child: Option<Words<'_>>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    match dialect {
        #[cfg(feature = "iotconnect")]
        Dialect::IotConnect21 => iotconnect::ack(id, child, status, message, out),
    }
}
