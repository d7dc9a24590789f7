//! The job document of AWS's CreateOTAUpdate: `afr_ota`.
//!
//! ```json
//! {"afr_ota":{"protocols":["HTTP"],"files":[{"filepath":"/device","filesize":343135,"fileid":0,
//!   "certfile":"/certs/c.pem","fileType":2,"update_data_url":"https://…","auth_scheme":"aws.s3.presigned",
//!   "sig-sha256-ecdsa":"<base64 DER>"}]}}
//! ```
//!
//! Siblings of `afr_ota` are ignored. A file comes from its URL, by the MQTT stream `streamname`, or by either.

use crate::artifact::Artifact;
use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::location::Location;
use crate::path::Path;
use crate::protocols::Protocols;
use crate::signature::{Signature, SignatureAlgorithm};
use crate::text::Text;

const NAME: &str = "afr_ota";

pub(crate) fn is_ours(document: Value<'_>) -> bool {
    Field::of(document, Path::field(NAME)).value().is_some()
}

fn field<'a>(scope: Scope<'a>, name: &'static str) -> Result<Field<'a>, ParseError<'a>> {
    let inner = Field::of(scope.object, Path::field(NAME).within(scope.prefix)).object()?;
    Ok(Field::of(inner, Path::field(name).within(scope.prefix)))
}

pub(crate) fn job<'a>(scope: Scope<'a>, id: Text<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let elements = field(scope, "afr_ota.files")?.list()?;
    let source = Source::many(Dialect::AfrOta, scope, "afr_ota.files", elements);
    Job { id, version: None, hardware: None, source }.checked()
}

/// What the job offers; by default whatever a file has.
fn protocols<'a>(scope: Scope<'a>) -> Result<Option<Protocols>, ParseError<'a>> {
    let field = field(scope, "afr_ota.protocols")?;
    if field.value().is_none() {
        return Ok(None);
    }
    let names = || field.list();
    let has = |wanted| Ok(names()?.any(|name| name.string().is_some_and(|name| name.eq_ignore_ascii_case(wanted))));
    Ok(Some(Protocols { http: has("HTTP")?, mqtt: has("MQTT")? }))
}

/// A file of the job.
pub(crate) fn artifact<'a>(scope: Scope<'a>, file: Value<'a>, path: Path) -> Result<Artifact<'a>, ParseError<'a>> {
    Field::at(file, path).object()?;
    let place = |name| Field::of(file, path.dot(name));
    let url = place("update_data_url");
    let location = if url.value().is_some() { Some(Location::Url(url.url()?)) } else { None };
    let stream_field = field(scope, "afr_ota.streamname")?;
    let stream = stream_field.optional_text()?.filter(|name| !name.is_empty());
    let has = Protocols { http: location.is_some(), mqtt: stream.is_some() };
    let protocols = protocols(scope)?.unwrap_or(has);
    // One of the ways on offer must be open.
    if !(protocols.http && has.http || protocols.mqtt && has.mqtt) {
        let gap = if protocols.mqtt && !protocols.http { stream_field } else { url };
        return Err(gap.fault(Kind::Missing));
    }
    Ok(Artifact {
        location,
        name: place("filepath").optional_text()?,
        size: place("filesize").optional_u32()?,
        signature: signature(file, path)?,
        certificate: place("certfile").optional_text()?,
        file_type: place("fileType").optional_u32()?,
        file_id: place("fileid").optional_u32()?,
        stream,
        ..Artifact::nowhere(url, protocols)
    })
}

/// The `sig-…` of a file. An unsigned one says `"sig--":null`; "N/A" has been seen.
pub(crate) fn signature<'a>(file: Value<'a>, path: Path) -> Result<Option<Signature<'a>>, ParseError<'a>> {
    let Some(members) = file.members() else {
        return Ok(None);
    };
    let mut found = None;
    for (key, value) in members {
        let field = Field::at(value, path.dot("sig-*"));
        if !key.bytes().take(4).eq(*b"sig-") || value.is_null() || value.string().is_some_and(|value| value == "N/A") {
            continue;
        }
        // One that can't be verified must not pass for none.
        let algorithm = SignatureAlgorithm::named(key).ok_or(field.wrong("a signature of a known algorithm"))?;
        found = Some(Signature { algorithm, value: field.text()? });
    }
    Ok(found)
}
