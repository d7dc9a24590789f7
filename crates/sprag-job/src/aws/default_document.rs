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
use crate::artifact::Artifact;
use crate::artifacts::{Scope, Source};
use crate::dialect::Dialect;
use crate::digest::Digest;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Field;
use crate::job::Job;
use crate::json::Value;
use crate::signature::{Signature, SignatureAlgorithm};
use crate::text::Text;

pub(crate) fn is_ours(document: Value<'_>) -> bool {
    Field::of(document, "operation").as_text().is_some_and(|operation| operation == "ota")
}

pub(crate) fn job<'a>(scope: Scope<'a>, id: Text<'a>) -> Result<Job<'a>, ParseError<'a>> {
    let field = |name| Field::of(scope.object, name);
    let (sole, files) = (field("artifact"), field("files"));
    let source = match (sole.value(), files.value()) {
        (Some(value), None) => Source::sole(Dialect::AwsJobs, scope, "artifact", value),
        (None, Some(_)) => Source::many(Dialect::AwsJobs, scope, "files", files.list()?),
        (None, None) => return Err(sole.fault(Kind::Missing)),
        // Which of them would it be?
        (Some(_), Some(_)) => return Err(files.wrong("absent beside `artifact`")),
    };
    let (version, hardware) = (field("version").optional_text()?, field("hardware").optional_text()?);
    Job { id, id_path: execution::ID_PATH, version, hardware, source }.checked()
}

/// `artifact`, or an entry of `files`.
pub(crate) fn artifact<'a>(value: Value<'a>) -> Result<Artifact<'a>, ParseError<'a>> {
    Field::at(value, "").object()?;
    let field = |name| Field::of(value, name);
    let url = field("url");
    Ok(Artifact {
        name: field("name").optional_text()?,
        tag: field("tag").optional_text()?,
        size: field("size").optional_u32()?,
        digest: digest(field("sha256"))?,
        signature: signature(field("signature"))?,
        file_type: field("fileType").optional_u32()?,
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
        return Ok(Some(Signature { algorithm: SignatureAlgorithm::Ed25519, value: field.text()? }));
    }
    let object = field.as_object().ok_or(field.wrong("an object or a string"))?;
    let name = Field::of(object, "signature.algorithm");
    let algorithm = SignatureAlgorithm::named(name.text()?).ok_or(name.wrong("a known algorithm"))?;
    Ok(Some(Signature { algorithm, value: Field::of(object, "signature.value").text()? }))
}
