//! The job of Infineon's ota-update (PSoC 6) and its result.
//!
//! ```json
//! {"Message":"Update Available","Manufacturer":"…","ManufacturerId":"…","Product":"…","SerialNumber":"…",
//!  "Board":"CY8CPROTO_062_4343W","Version":"2.0.0","Connection":"HTTPS","Server":"…","Port":"443",
//!  "File":"/ota-update.bin","UniqueTopicName":"…"}
//! ```
//!
//! Names and fixed values are compared without regard to case. `Port` is a string; absent, it is the connection's
//! default. An empty or absent `Server` (or `Broker`) is the host that served the job.

use crate::artifact::{Artifact, Item, Protocols};
use crate::dialect::Dialect;
use crate::error::ParseErrorKind as Kind;
use crate::field::Reader;
use crate::job::{Draft, Job};
use crate::location::{Location, Scheme, is_host};
use crate::out::{Out, TooSmall, Words};
use crate::parse::Key;
use crate::report::Status;

/// Reads a document; `false` when it is not ota-update's.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn read<'a>(reader: &mut Reader<'_, 'a>, draft: &mut Draft<'a>) -> bool {
    let message = reader.as_text(Key::Message as u8);
    let says = |wanted| message.is_some_and(|text| text.eq_ignore_ascii_case(wanted));
    let is_update = says("Update Available");
    let has_both = reader.is_there(Key::Message as u8) && reader.is_there(Key::Connection as u8);
    if !(is_update || says("No Update Available") || has_both) {
        return false;
    }
    draft.is(Dialect::OtaUpdate);
    if !is_update {
        reader.text(Key::Message as u8);
        reader.fault(Key::Message as u8, Kind::NothingPending);
        return true;
    }
    let mqtt = scheme(reader, Key::Connection as u8) == Some(Scheme::Mqtt);
    let id = if mqtt { Key::UniqueTopicName as u8 } else { Key::File as u8 };
    // Whatever else is wrong, this is what the result names.
    draft.head.id = reader.afresh().text(id);
    draft.head.id_path = reader.path(id);
    draft.head.protocols = Some(Protocols { http: !mqtt, mqtt });
    draft.head.extra = reader.as_text(Key::Product as u8);
    draft.head.version = Some(reader.text(version(reader)));
    draft.head.hardware = Some(reader.text(Key::Board as u8));
    require_scheme(reader, Key::Connection as u8);
    reader.text(id);
    draft.sole(reader, Key::Root as u8);
    draft.object(reader, Key::Root as u8);
    true
}

/// The version in any case: `version` may have been found for another dialect, and the last one counts.
fn version(reader: &Reader<'_, '_>) -> u8 {
    #[cfg(feature = "aws-jobs")]
    if reader.found(Key::Version as u8).start > reader.found(Key::AnyVersion as u8).start {
        return Key::Version as u8;
    }
    Key::AnyVersion as u8
}

fn scheme(reader: &Reader<'_, '_>, connection: u8) -> Option<Scheme> {
    let name = reader.as_text(connection)?;
    let schemes = [Scheme::Http, Scheme::Https, Scheme::Mqtt];
    schemes.into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.name()))
}

fn require_scheme(reader: &mut Reader<'_, '_>, connection: u8) {
    reader.text(connection);
    if scheme(reader, connection).is_none() {
        reader.wrong(connection, "MQTT, HTTP or HTTPS");
    }
}

impl Job<'_> {
    /// What the result names this job by.
    pub(crate) fn answer(&self) -> Answer {
        match self.head.protocols {
            Some(Protocols { mqtt: true, .. }) => Answer::UniqueTopicName,
            _ => Answer::File,
        }
    }
}

/// The one file of a job.
pub(crate) fn artifact<'a>(item: &mut Reader<'_, 'a>, artifact: &mut Artifact<'a>) {
    let place = Item::Connection as u8;
    require_scheme(item, place);
    let scheme = scheme(item, place).unwrap_or(Scheme::Http);
    let mqtt = scheme == Scheme::Mqtt;
    let server = if item.is_there(Item::Server as u8) { Item::Server as u8 } else { Item::Broker as u8 };
    let host = item.optional_text(server).unwrap_or_default();
    if !host.is_empty() && !is_host(host) {
        item.fault(server, Kind::BadUrl { expected: "a host" });
    }
    let port = port(item);
    let file = Item::File as u8;
    let name = if mqtt { item.optional_text(file) } else { Some(item.text(file)) };
    let path = name.unwrap_or_default();
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        item.fault(file, Kind::BadUrl { expected: "printable ASCII without spaces" });
    }
    artifact.place(item, place);
    artifact.location = Some(Location::Parts { scheme, host, port, path });
    artifact.name = name;
    artifact.protocols = Protocols { http: !mqtt, mqtt };
}

/// A string, since ota-update itself takes no number.
fn port(item: &mut Reader<'_, '_>) -> Option<u16> {
    let text = item.optional_text(Item::Port as u8)?;
    let port = text.decimal().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    if port.is_none() {
        item.wrong(Item::Port as u8, "a port from 1 to 65535, as a string");
    }
    port
}

/// What a result names the job by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Answer {
    /// By its `File`: over HTTP, POSTed to the server.
    File,
    /// By its `UniqueTopicName`: over MQTT.
    UniqueTopicName,
}

/// Writes the result of an update from what [`Job::id`] was: `{"Message":"Success","File":"…"}`.
///
/// [`Status::Done`] is `Success`, the other ends are `Failure`. Empty, which is nothing
/// to publish, for [`Status::Downloading`].
///
/// # Errors
/// [`TooSmall`] with the size of `out` that would do.
///
/// ```
/// use sprag_job::{Status, ota_update::{Answer, result}};
///
/// let mut out = [0; 80];
/// let bytes = result(Answer::UniqueTopicName, "kit-7/ota", Status::Failed, &mut out)?;
/// assert_eq!(bytes, r#"{"Message":"Failure","UniqueTopicName":"kit-7/ota"}"#);
/// # Ok::<(), sprag_job::TooSmall>(())
/// ```
pub fn result<'b>(answer: Answer, id: &str, status: Status, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
    write(answer, Words::Plain(id), status, out)
}

pub(crate) fn write<'b>(answer: Answer, id: Words<'_>, status: Status, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
    let mut out = Out::new(out);
    out.raw(match status {
        Status::Downloading => return out.finish(),
        Status::Done => r#"{"Message":"Success","#,
        Status::Failed | Status::Refused | Status::Rejected => r#"{"Message":"Failure","#,
    });
    out.raw(match answer {
        Answer::File => r#""File":"#,
        Answer::UniqueTopicName => r#""UniqueTopicName":"#,
    });
    out.string(id);
    out.raw("}");
    out.finish()
}
