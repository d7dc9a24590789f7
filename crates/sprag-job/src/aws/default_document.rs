//! The crate's own job document for AWS IoT Jobs, for fleets that have none of their own: dialect `aws-jobs`.
//!
//! ```json
//! {"operation":"ota","version":"1.5.0","hardware":"rev-b","artifact":{
//!   "url":"https://…","name":"app.bin","size":343135,"sha256":"<64 hexadecimal digits>",
//!   "signature":{"algorithm":"ed25519","value":"<base64>"}}}
//! ```
//!
//! `operation` and the `url` of the `artifact` are required. `files`, an array, takes the place of `artifact` where
//! there are several. An artifact may also have `tag`, the child device of a gateway it is for, and `fileType`. A
//! `signature` that is a string is an Ed25519 one.

use super::execution;
use crate::artifact::{Artifact, ByAws};
use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::digest::Digest;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::signature::{Signature, SignatureAlgorithm};
use crate::text::Text;

pub(crate) fn job<'a>(scope: Scope<'a>, id: Text<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let [version, hardware, sole, files] = Field::all(scope.object, ["version", "hardware", "artifact", "files"]);
    let source = match (sole.value(), files.value()) {
        (Some(value), None) => Source::sole(Dialect::AwsJobs, scope, "artifact", value),
        (None, Some(_)) => Source::many(Dialect::AwsJobs, scope, "files", files.list()?),
        (None, None) => return Err(sole.fault(Kind::Missing)),
        // Which of them would it be?
        (Some(_), Some(_)) => return Err(files.wrong("absent beside `artifact`")),
    };
    let (version, hardware) = (version.optional_text()?, hardware.optional_text()?);
    Job { id, id_path: execution::ID_PATH, version, hardware, source }.checked()
}

/// `artifact`, or an entry of `files`.
pub(crate) fn artifact<'a>(value: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    Field::at(value, "").object()?;
    let [url, name, tag, size, sha256, signature, file_type] =
        Field::all(value, ["url", "name", "tag", "size", "sha256", "signature", "fileType"]);
    Ok(Artifact {
        name: name.optional_text()?,
        tag: tag.optional_text()?,
        by_aws: ByAws {
            size: size.optional_u32()?,
            digest: digest(sha256)?,
            signature: self::signature(signature)?,
            file_type: file_type.optional_u32()?,
            ..ByAws::default()
        },
        ..Artifact::at(url.url()?, url)
    })
}

fn digest<'a>(field: Field<'a>) -> Result<Option<Digest<'a>>, ParseError<'a>> {
    let Some(hex) = field.optional_text()? else {
        return Ok(None);
    };
    Digest::sha256(hex).map(Some).ok_or(field.wrong("64 hexadecimal digits"))
}

fn signature<'a>(field: Field<'a>) -> Result<Option<Signature<'a>>, ParseError<'a>> {
    let Some(value) = field.value() else {
        return Ok(None);
    };
    if value.string().is_some() {
        return Ok(Some(Signature { algorithm: SignatureAlgorithm::Ed25519, value: field.base64()? }));
    }
    let object = field.as_object().ok_or(field.wrong("an object or a string"))?;
    let [name, value] = Field::all(object, ["signature.algorithm", "signature.value"]);
    let algorithm = SignatureAlgorithm::named(name.text()?).ok_or(name.wrong("a known algorithm"))?;
    Ok(Some(Signature { algorithm, value: value.base64()? }))
}
