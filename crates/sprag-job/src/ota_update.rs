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

/// The fields of a message.
struct Message<'a> {
    message: Field<'a>,
    version: Field<'a>,
    board: Field<'a>,
    connection: Field<'a>,
    server: Field<'a>,
    port: Field<'a>,
    file: Field<'a>,
    topic: Field<'a>,
}

/// Finds the fields; `None` when it is no message of ota-update.
fn read(root: Value<'_>) -> Option<Message<'_>> {
    let [message, version, board, connection, server, broker, port, file, topic] = Field::all_any_case(
        root,
        ["Message", "Version", "Board", "Connection", "Server", "Broker", "Port", "File", "UniqueTopicName"],
    );
    let says = |wanted| message.as_text().is_some_and(|text| text.eq_ignore_ascii_case(wanted));
    let is_ours = says("Update Available")
        || says("No Update Available")
        || message.value().is_some() && connection.value().is_some();
    let server = server.or(broker);
    is_ours.then_some(Message { message, version, board, connection, server, port, file, topic })
}

pub(crate) fn is_ours(root: Value<'_>) -> bool {
    read(root).is_some()
}

/// Reads a sound document; `None` when it is not ota-update's.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn parse<'a>(root: Value<'a>) -> Option<Result<Job<'a>, ParseError<'a>>> {
    read(root).map(|message| message.job(root).map_err(|error| error.about(subject(root))))
}

/// What the result of a job would name.
pub(crate) fn subject<'a>(root: Value<'a>) -> Option<(Dialect, Text<'a>)> {
    let message = read(root)?;
    message.check().ok()?;
    Some((Dialect::OtaUpdate, message.id().text().ok()?))
}

pub(crate) fn answer(root: Value<'_>) -> Answer {
    read(root).map_or(Answer::File, |message| message.answer())
}

pub(crate) fn product(root: Value<'_>) -> Option<Text<'_>> {
    let [product] = Field::all_any_case(root, ["Product"]);
    product.as_text()
}

/// The one file of a job.
pub(crate) fn artifact<'a>(root: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    match read(root) {
        Some(message) => message.artifact(),
        None => Err(Field::at(root, "").fault(Kind::UnknownDialect)),
    }
}

impl<'a> Message<'a> {
    fn check(&self) -> Result<(), ParseError<'a>> {
        match self.message.text()?.eq_ignore_ascii_case("Update Available") {
            true => Ok(()),
            false => Err(self.message.fault(Kind::NothingPending)),
        }
    }

    fn scheme(&self) -> Result<Scheme, ParseError<'a>> {
        let name = self.connection.text()?;
        let is = |scheme: &Scheme| name.eq_ignore_ascii_case(scheme.name());
        let scheme = [Scheme::Http, Scheme::Https, Scheme::Mqtt].into_iter().find(is);
        scheme.ok_or(self.connection.wrong("MQTT, HTTP or HTTPS"))
    }

    fn answer(&self) -> Answer {
        match self.scheme() {
            Ok(Scheme::Mqtt) => Answer::UniqueTopicName,
            _ => Answer::File,
        }
    }

    fn id(&self) -> &Field<'a> {
        match self.answer() {
            Answer::File => &self.file,
            Answer::UniqueTopicName => &self.topic,
        }
    }

    fn job(&self, root: Value<'a>) -> Result<Job<'a>, ParseError<'a>> {
        self.check()?;
        let version = Some(self.version.text()?);
        let hardware = Some(self.board.text()?);
        self.scheme()?;
        let scope = Scope { object: root, prefix: "" };
        let source = Source::sole(Dialect::OtaUpdate, scope, "", root);
        let id = self.id();
        Job { id: id.text()?, id_path: id.name(), version, hardware, source }.checked()
    }

    fn artifact(&self) -> Result<Artifact<'a>, ParseError<'a>> {
        let scheme = self.scheme()?;
        let mqtt = scheme == Scheme::Mqtt;
        let host = self.server.optional_text()?.unwrap_or(Text::EMPTY);
        if !host.is_empty() && !is_host(host) {
            return Err(self.server.fault(Kind::BadUrl { expected: "a host" }));
        }
        let port = port(&self.port)?;
        let name = if mqtt { self.file.optional_text()? } else { Some(self.file.text()?) };
        let path = name.unwrap_or(Text::EMPTY);
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.file.fault(Kind::BadUrl { expected: "printable ASCII without spaces" }));
        }
        let location = Some(Location::Parts { scheme, host, port, path });
        Ok(Artifact { location, name, ..Artifact::nowhere(self.connection, Protocols { http: !mqtt, mqtt }) })
    }
}

/// A string, since ota-update itself takes no number.
fn port<'a>(field: &Field<'a>) -> Result<Option<u16>, ParseError<'a>> {
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
/// [`Status::Done`] is `Success`, [`Status::Failed`] and [`Status::Rejected`] are `Failure`. Empty, which is nothing
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
        Status::Failed | Status::Rejected => r#"{"Message":"Failure","#,
    });
    out.raw(match answer {
        Answer::File => r#""File":"#,
        Answer::UniqueTopicName => r#""UniqueTopicName":"#,
    });
    out.string(id);
    out.raw("}");
    out.finish()
}
