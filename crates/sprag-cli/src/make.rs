//! Job documents, as a cloud would write them.

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sprag::job::{Dialect, ParseErrorKind};

/// What a job is to say.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// In which dialect.
    pub dialect: Dialect,
    /// Where the image lies.
    pub url: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The job's id; a new one if there is none.
    pub id: Option<&'a str>,
    /// What it is for.
    pub hardware: Option<&'a str>,
    /// The file's name; else the last part of the URL's path.
    pub name: Option<&'a str>,
    /// The image, for its size and digest.
    pub image: Option<&'a [u8]>,
    /// AWS: the thing that the job is for.
    pub thing: Option<&'a str>,
}

/// A document, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// One line of JSON.
    pub document: String,
    /// Lines for a person.
    pub advice: String,
}

/// Writes the document for an order, and reads it back.
///
/// # Errors
/// What the order says has no place in the dialect, or the document would be refused by a device.
pub fn document(order: &Order<'_>) -> anyhow::Result<Made> {
    let new_id = format!("{:032x}", fastrand::u128(..));
    let id = order.id.unwrap_or(&new_id);
    let made = match order.dialect {
        Dialect::IotConnect21 => iotconnect_21(order, id),
        Dialect::IotConnect20 => iotconnect_20(order, id),
        Dialect::AwsJobs => aws(order, id, default_document(order))?,
        Dialect::AfrOta => aws(order, id, afr_ota(order)?)?,
        Dialect::OtaUpdate => ota_update(order)?,
        other => bail!("{other}: no document of this dialect can be made"),
    };
    check(&made.document)?;
    Ok(made)
}

/// A device must be able to read it. The placeholder for a presigned URL is refused there for what it is, as its last fault.
fn check(document: &str) -> anyhow::Result<()> {
    match sprag::job::parse(document.as_bytes()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ParseErrorKind::PresignedPlaceholder => Ok(()),
        Err(error) => Err(anyhow!("a device would refuse it: {error}")),
    }
}

fn name<'a>(order: &Order<'a>) -> &'a str {
    let path = order.url.split(['?', '#']).next().unwrap_or_default();
    order.name.unwrap_or_else(|| path.rsplit('/').next().unwrap_or_default())
}

/// An object of the fields that there are.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

fn iotconnect_21(order: &Order<'_>, ack: &str) -> Made {
    let document = object([
        ("v", Some(json!("2.1"))),
        ("ct", Some(json!(1))),
        ("cmd", Some(json!("ota"))),
        ("ack", Some(json!(ack))),
        ("sw", Some(json!(order.version))),
        ("hw", order.hardware.map(|hardware| json!(hardware))),
        ("urls", Some(json!([{"url": order.url, "fileName": name(order)}]))),
    ]);
    let advice = "publish it to iot/<client id>/cmd (AWS) or devices/<client id>/messages/devicebound/ (Azure)".into();
    Made { document: document.to_string(), advice }
}

fn iotconnect_20(order: &Order<'_>, ack: &str) -> Made {
    let ver = object([("sw", Some(json!(order.version))), ("hw", order.hardware.map(|hardware| json!(hardware)))]);
    let document = json!({"cmdType": "0x02", "data": {
        "command": "ota", "ack": true, "ackId": ack, "cmdType": "0x02", "ver": ver, "urls": [{"url": order.url}],
    }});
    let advice = "publish it to devices/<client id>/messages/devicebound/".into();
    Made { document: document.to_string(), advice }
}

/// What the service puts a presigned URL in the place of, for an S3 object whose URL is not presigned.
fn placeholder(url: &str) -> Option<String> {
    if let Some(object) = url.strip_prefix("s3://") {
        return Some(format!("${{aws:iot:s3-presigned-url-v2:https://s3.amazonaws.com/{object}}}"));
    }
    let rest = url.strip_prefix("https://").filter(|rest| !rest.contains(['?', '#']))?;
    let (host, path) = rest.split_once('/').filter(|(_, path)| !path.is_empty())?;
    let endpoint = host.strip_suffix(".amazonaws.com")?;
    // Virtual-hosted or by path; `s3.<region>` is the form that the service documents.
    let (bucket, endpoint) = match endpoint.find("s3.").or_else(|| endpoint.find("s3-")) {
        Some(0) => return Some(format!("${{aws:iot:s3-presigned-url-v2:{url}}}")),
        Some(at) => (endpoint[..at].strip_suffix('.')?, &endpoint[at..]),
        None => return None,
    };
    Some(format!("${{aws:iot:s3-presigned-url-v2:https://{endpoint}.amazonaws.com/{bucket}/{path}}}"))
}

fn aws_url(order: &Order<'_>) -> String {
    placeholder(order.url).unwrap_or_else(|| order.url.to_owned())
}

fn size(order: &Order<'_>) -> Option<Value> {
    order.image.map(|image| json!(image.len()))
}

fn default_document(order: &Order<'_>) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let artifact = object([
        ("url", Some(json!(aws_url(order)))),
        ("name", Some(json!(name(order)))),
        ("size", size(order)),
        ("sha256", order.image.map(|image| json!(hex(&Sha256::digest(image))))),
    ]);
    object([
        ("operation", Some(json!("ota"))),
        ("version", Some(json!(order.version))),
        ("hardware", order.hardware.map(|hardware| json!(hardware))),
        ("artifact", Some(artifact)),
    ])
}

fn afr_ota(order: &Order<'_>) -> anyhow::Result<Value> {
    ensure!(order.hardware.is_none(), "afr-ota has no place for the hardware");
    let file = object([
        ("filepath", Some(json!(name(order)))),
        ("filesize", size(order)),
        ("fileid", Some(json!(0))),
        ("fileType", Some(json!(0))),
        ("update_data_url", Some(json!(aws_url(order)))),
        ("auth_scheme", Some(json!("aws.s3.presigned"))),
        ("sig--", Some(Value::Null)),
    ]);
    Ok(json!({"afr_ota": {"protocols": ["HTTP"], "files": [file]}}))
}

/// A document for AWS IoT Jobs, and the command that creates the job.
fn aws(order: &Order<'_>, id: &str, document: Value) -> anyhow::Result<Made> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    ensure!(
        (1..=64).contains(&id.len()) && id.chars().all(fits),
        "{id:?} can't be a jobId: 1 to 64 of a-z A-Z 0-9 _ -"
    );
    let thing = order.thing.unwrap_or("<thing>");
    let mut advice = format!(
        "aws iot create-job --job-id {id} --targets arn:aws:iot:<region>:<account>:thing/{thing} --document file://job.json"
    );
    if placeholder(order.url).is_some() {
        advice += " --presigned-url-config roleArn=arn:aws:iam::<account>:role/<role>,expiresInSec=3600";
    }
    advice.insert_str(0, "save it as job.json, then create the job:\n");
    Ok(Made { document: document.to_string(), advice })
}

fn ota_update(order: &Order<'_>) -> anyhow::Result<Made> {
    let board = order.hardware.unwrap_or("<board>");
    let (scheme, rest) = order.url.split_once("://").context("the URL has no scheme")?;
    let connection = match scheme {
        "https" => "HTTPS",
        "http" => "HTTP",
        _ => bail!("the URL is neither http nor https"),
    };
    let (authority, file) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (server, port) = match authority.rsplit_once(':') {
        Some((server, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => (server, port),
        _ => (authority, if scheme == "https" { "443" } else { "80" }),
    };
    let document = json!({
        "Message": "Update Available", "Board": board, "Version": order.version, "Connection": connection,
        "Server": server, "Port": port, "File": file,
    });
    let fill = if order.hardware.is_none() { "put the board's name in the place of <board>, then " } else { "" };
    Ok(Made { document: document.to_string(), advice: format!("{fill}serve it as the job that the device asks for") })
}
