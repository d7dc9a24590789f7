//! The job document of AWS's CreateOTAUpdate: `afr_ota`.
//!
//! ```json
//! {"afr_ota":{"protocols":["HTTP"],"files":[{"filepath":"/device","filesize":343135,"fileid":0,
//!   "certfile":"/certs/c.pem","fileType":2,"update_data_url":"https://…","auth_scheme":"aws.s3.presigned",
//!   "sig-sha256-ecdsa":"<base64 DER>"}]}}
//! ```
//!
//! Siblings of `afr_ota` are ignored. A file comes from its URL, by the MQTT stream `streamname`, or by either.

use super::execution;
use crate::artifact::{Artifact, ByAws};
use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::location::Location;
use crate::protocols::Protocols;
use crate::signature::{Signature, SignatureAlgorithm};
use crate::text::Text;

/// What all files of a job share.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Streams<'a> {
    /// What the job offers; by default whatever a file has.
    protocols: Option<Protocols>,
    stream: Option<Text<'a>>,
}

pub(crate) fn job<'a>(scope: Scope<'a>, id: Text<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let inner = Field::of(scope.object, "afr_ota").object()?;
    let [files, stream, offered] = Field::all(inner, ["afr_ota.files", "afr_ota.streamname", "afr_ota.protocols"]);
    let elements = files.list()?;
    let streams =
        Streams { protocols: protocols(offered)?, stream: stream.optional_text()?.filter(|name| !name.is_empty()) };
    if streams.stream.is_none() && streams.protocols.is_some_and(|offered| offered.mqtt && !offered.http) {
        return Err(stream.fault(Kind::Missing));
    }
    let mut source = Source::many(Dialect::AfrOta, scope, "afr_ota.files", elements);
    source.streams = streams;
    Job { id, id_path: execution::ID_PATH, version: None, hardware: None, source }.checked()
}

fn protocols<'a>(field: Field<'a>) -> Result<Option<Protocols>, ParseError<'a>> {
    if field.value().is_none() {
        return Ok(None);
    }
    let mut offered = Protocols { http: false, mqtt: false };
    for name in field.list()?.filter_map(|name| name.string()) {
        offered.http |= name.eq_ignore_ascii_case("HTTP");
        offered.mqtt |= name.eq_ignore_ascii_case("MQTT");
    }
    Ok(Some(offered))
}

/// A file of the job.
pub(crate) fn artifact<'a>(streams: Streams<'a>, file: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    Field::at(file, "").object()?;
    let [url, name, size, certificate, file_type, file_id] =
        Field::all(file, ["update_data_url", "filepath", "filesize", "certfile", "fileType", "fileid"]);
    let location = if url.value().is_some() { Some(Location::Url(url.url()?)) } else { None };
    let has = Protocols { http: location.is_some(), mqtt: streams.stream.is_some() };
    let protocols = streams.protocols.unwrap_or(has);
    // One of the ways on offer must be open.
    if !(protocols.http && has.http || protocols.mqtt && has.mqtt) {
        return Err(url.fault(Kind::Missing));
    }
    Ok(Artifact {
        location,
        name: name.optional_text()?,
        by_aws: ByAws {
            size: size.optional_u32()?,
            digest: None,
            signature: signature(file)?,
            certificate: certificate.optional_text()?,
            file_type: file_type.optional_u32()?,
            file_id: file_id.optional_u32()?,
            stream: streams.stream,
        },
        ..Artifact::nowhere(url, protocols)
    })
}

/// The `sig-…` of a file. An unsigned one says `"sig--":null`; "N/A" has been seen.
fn signature<'a>(file: Value<'a>) -> Result<Option<Signature<'a>>, ParseError<'a>> {
    let Some(members) = file.members() else {
        return Ok(None);
    };
    let mut found = None;
    for (key, value) in members {
        let field = Field::at(value, "sig-*");
        if !key.bytes().take(4).eq(*b"sig-") || value.is_null() || value.string().is_some_and(|value| value == "N/A") {
            continue;
        }
        // One that can't be verified must not pass for none.
        let algorithm = SignatureAlgorithm::named(key).ok_or(field.wrong("a signature of a known algorithm"))?;
        found = Some(Signature { algorithm, value: field.base64()? });
    }
    Ok(found)
}
