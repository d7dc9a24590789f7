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

use crate::artifact::Artifact;
use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::location::{Location, Scheme, is_host};
use crate::out::{Out, TooSmall, Words};
use crate::protocols::Protocols;
use crate::status::Status;
use crate::text::Text;

fn field<'a>(root: Value<'a>, name: &'static str) -> Field<'a> {
    Field::any_case(root, name)
}

pub(crate) fn is_ours(root: Value<'_>) -> bool {
    let says = |wanted| field(root, "Message").as_text().is_some_and(|text| text.eq_ignore_ascii_case(wanted));
    let has = |name| field(root, name).value().is_some();
    says("Update Available") || says("No Update Available") || has("Message") && has("Connection")
}

/// Reads a sound document; `None` when it is not ota-update's.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn parse<'a>(root: Value<'a>) -> Option<Result<Job<'a>, ParseError<'a>>> {
    is_ours(root).then(|| job(root).map_err(|error| error.about(subject(root))))
}

/// What the result of a job would name.
pub(crate) fn subject<'a>(root: Value<'a>) -> Option<(Dialect, Text<'a>)> {
    if !is_ours(root) || check(root).is_err() {
        return None;
    }
    Some((Dialect::OtaUpdate, id(root).ok()?))
}

fn check<'a>(root: Value<'a>) -> Result<(), ParseError<'a>> {
    let message = field(root, "Message");
    match message.text()?.eq_ignore_ascii_case("Update Available") {
        true => Ok(()),
        false => Err(message.fault(Kind::NothingPending)),
    }
}

fn connection<'a>(root: Value<'a>) -> Result<Scheme, ParseError<'a>> {
    let connection = field(root, "Connection");
    let name = connection.text()?;
    let is = |scheme: &Scheme| name.eq_ignore_ascii_case(scheme.name());
    let scheme = [Scheme::Http, Scheme::Https, Scheme::Mqtt].into_iter().find(is);
    scheme.ok_or(connection.wrong("MQTT, HTTP or HTTPS"))
}

fn id<'a>(root: Value<'a>) -> Result<Text<'a>, ParseError<'a>> {
    match answer(root) {
        Answer::File => field(root, "File").text(),
        Answer::UniqueTopicName => field(root, "UniqueTopicName").text(),
    }
}

pub(crate) fn answer(root: Value<'_>) -> Answer {
    match connection(root) {
        Ok(Scheme::Mqtt) => Answer::UniqueTopicName,
        _ => Answer::File,
    }
}

pub(crate) fn product(root: Value<'_>) -> Option<Text<'_>> {
    field(root, "Product").as_text()
}

fn job<'a>(root: Value<'a>) -> Result<Job<'a>, ParseError<'a>> {
    check(root)?;
    let version = Some(field(root, "Version").text()?);
    let hardware = Some(field(root, "Board").text()?);
    connection(root)?;
    let scope = Scope { object: root, prefix: "" };
    let source = Source::sole(Dialect::OtaUpdate, scope, "", root);
    let id_path = match answer(root) {
        Answer::File => "File",
        Answer::UniqueTopicName => "UniqueTopicName",
    };
    Job { id: id(root)?, id_path, version, hardware, source }.checked()
}

/// The one file of a job.
pub(crate) fn artifact<'a>(root: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    let scheme = connection(root)?;
    let server = field(root, "Server").or(field(root, "Broker"));
    let host = server.optional_text()?.unwrap_or(Text::EMPTY);
    if !host.is_empty() && !is_host(host) {
        return Err(server.fault(Kind::BadUrl { expected: "a host" }));
    }
    let port = port(field(root, "Port"))?;
    let file = field(root, "File");
    let name = if scheme == Scheme::Mqtt { file.optional_text()? } else { Some(file.text()?) };
    let path = name.unwrap_or(Text::EMPTY);
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(file.fault(Kind::BadUrl { expected: "printable ASCII without spaces" }));
    }
    let mqtt = scheme == Scheme::Mqtt;
    let location = Some(Location::Parts { scheme, host, port, path });
    let place = field(root, "Connection");
    Ok(Artifact { location, name, ..Artifact::nowhere(place, Protocols { http: !mqtt, mqtt }) })
}

/// A string, since ota-update itself takes no number.
fn port<'a>(field: Field<'a>) -> Result<Option<u16>, ParseError<'a>> {
    let Some(text) = field.optional_text()? else {
        return Ok(None);
    };
    let port = text.decimal().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    port.map(Some).ok_or(field.wrong("a port from 1 to 65535, as a string"))
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
