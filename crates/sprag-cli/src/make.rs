//! Job documents, as a cloud would write them.

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sprag::fetch::Url;
use sprag::job::{Dialect, Job, Location};

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
    if let Some(image) = order.image {
        ensure!(!image.is_empty(), "the image is an empty file");
    }
    let made = match order.dialect {
        Dialect::IotConnect21 => iotconnect_21(order, id),
        Dialect::IotConnect20 => iotconnect_20(order, id),
        Dialect::AwsJobs => aws(order, id, |url| Ok(default_document(order, url)))?,
        Dialect::AfrOta => aws(order, id, |url| afr_ota(order, url))?,
        Dialect::OtaUpdate => ota_update(order)?,
        other => bail!("{other}: no document of this dialect can be made"),
    };
    // A placeholder is replaced before a device sees the document: the same with the URL itself has been checked.
    if S3Object::of(order)?.is_none() {
        check(&made.document)?;
    }
    Ok(made)
}

/// A device must be able to read the document, and to fetch from its URLs.
fn check(document: &str) -> anyhow::Result<()> {
    let refused = |error: String| anyhow!("a device would refuse it: {error}");
    let job = sprag::job::parse(document.as_bytes()).map_err(|error| refused(error.to_string()))?;
    let (id, limit) = (job.id().len(), sprag::ID_MAX);
    ensure!(
        id <= limit,
        refused(format!("its id is {id} bytes long, and what is remembered across the reboot is {limit}"))
    );
    check_urls(&job).map_err(|error| refused(format!("{error:#}")))
}

/// Parses every URL of a job with the device's own client.
///
/// # Errors
/// The first that it refuses, with its reason.
pub fn check_urls(job: &Job<'_>) -> anyhow::Result<()> {
    for artifact in job.artifacts() {
        let Some(location) = artifact.location() else { continue };
        // The host that served the job, which the document need not name.
        if matches!(location, Location::Parts { host, .. } if host.is_empty()) || !artifact.protocols().http {
            continue;
        }
        Url::parse(location.bytes()).map_err(|error| anyhow!("{location}: {error} ({})", error.reason()))?;
    }
    Ok(())
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

/// The DNS suffixes of AWS's partitions, and their names in ARNs.
const PARTITIONS: [(&str, &str); 7] = [
    (".amazonaws.com", "aws"),
    (".amazonaws.com.cn", "aws-cn"),
    (".amazonaws.eu", "aws-eusc"),
    (".c2s.ic.gov", "aws-iso"),
    (".sc2s.sgov.gov", "aws-iso-b"),
    (".cloud.adc-e.uk", "aws-iso-e"),
    (".csp.hci.ic.gov", "aws-iso-f"),
];

/// An object in S3 that AWS IoT can presign a URL for.
struct S3Object {
    /// In path style, the form that the service documents.
    url: String,
    partition: &'static str,
}

impl S3Object {
    /// Returns the object if the order is for AWS and its URL is an S3 URL without a query: `s3://BUCKET/KEY`, or
    /// virtual-hosted or path style at a regional endpoint of any partition, dual-stack and FIPS endpoints included.
    fn of(order: &Order<'_>) -> anyhow::Result<Option<Self>> {
        if !order.dialect.is_aws() {
            return Ok(None);
        }
        let object = Self::read(order.url)?;
        if let Some(Self { url, .. }) = &object {
            ensure!(!url.contains('}'), "a }} would end the placeholder that AWS replaces: write %7D");
        }
        Ok(object)
    }

    fn read(url: &str) -> anyhow::Result<Option<Self>> {
        if let Some(object) = url.strip_prefix("s3://") {
            let (bucket, key) = object.split_once('/').unwrap_or_default();
            ensure!(!bucket.is_empty() && !key.is_empty(), "{url}: not s3://BUCKET/KEY");
            return Ok(Some(Self { url: format!("https://s3.amazonaws.com/{object}"), partition: "aws" }));
        }
        let Some((scheme, rest)) = url.split_once("://").filter(|_| !url.contains(['?', '#'])) else { return Ok(None) };
        let own_port = match scheme.to_ascii_lowercase().as_str() {
            "https" => ":443",
            "http" => ":80",
            _ => return Ok(None),
        };
        let Some((authority, path)) = rest.split_once('/').filter(|(_, path)| !path.is_empty()) else {
            return Ok(None);
        };
        let authority = authority.to_ascii_lowercase();
        let host = authority.strip_suffix(own_port).unwrap_or(&authority);
        let found = PARTITIONS.iter().find_map(|(suffix, name)| Some((host.strip_suffix(suffix)?, *suffix, *name)));
        let Some((labels, suffix, mut partition)) = found else { return Ok(None) };
        let labels: Vec<&str> = labels.split('.').collect();
        let (before, region) = match labels.as_slice() {
            [.., "s3-accelerate"] | [.., "s3-accelerate", "dualstack"] => {
                bail!(
                    "{url}: AWS IoT presigns no URL for an acceleration endpoint; give the bucket's own, or one presigned"
                )
            }
            [before @ .., "s3" | "s3-fips", "dualstack", region] if is_region(region) => (before, *region),
            [before @ .., "s3" | "s3-fips", region] if is_region(region) => (before, *region),
            [before @ .., "s3" | "s3-external-1"] => (before, ""),
            [before @ .., old] => match old.strip_prefix("s3-fips-").or_else(|| old.strip_prefix("s3-")) {
                Some(region) if is_region(region) => (before, region),
                _ => return Ok(None),
            },
            [] => return Ok(None),
        };
        if region.starts_with("us-gov-") {
            partition = "aws-us-gov";
        }
        let endpoint = labels.get(before.len()..).unwrap_or_default().join(".");
        let bucket = before.join(".");
        let object = if bucket.is_empty() { path.to_owned() } else { format!("{bucket}/{path}") };
        if object.split_once('/').is_none_or(|(bucket, key)| bucket.is_empty() || key.is_empty()) {
            return Ok(None);
        }
        Ok(Some(Self { url: format!("https://{endpoint}{suffix}/{object}"), partition }))
    }

    /// Returns the text that the service replaces by a presigned URL.
    fn placeholder(&self) -> String {
        format!("${{aws:iot:s3-presigned-url-v2:{}}}", self.url)
    }
}

/// Returns whether a label is the name of a region, such as `eu-west-1`, `us-gov-east-1` or `eusc-de-east-1`.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    match parts.as_slice() {
        [area, names @ .., number] => {
            (2..=4).contains(&area.len())
                && is_word(area)
                && !names.is_empty()
                && names.iter().all(is_word)
                && !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

fn size(order: &Order<'_>) -> Option<Value> {
    order.image.map(|image| json!(image.len()))
}

fn default_document(order: &Order<'_>, url: &str) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let artifact = object([
        ("url", Some(json!(url))),
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

fn afr_ota(order: &Order<'_>, url: &str) -> anyhow::Result<Value> {
    ensure!(order.hardware.is_none(), "afr-ota has no place for the hardware");
    let file = object([
        ("filepath", Some(json!(name(order)))),
        ("filesize", size(order)),
        ("fileid", Some(json!(0))),
        ("fileType", Some(json!(0))),
        ("update_data_url", Some(json!(url))),
        ("auth_scheme", Some(json!("aws.s3.presigned"))),
        ("sig--", Some(Value::Null)),
    ]);
    Ok(json!({"afr_ota": {"protocols": ["HTTP"], "files": [file]}}))
}

/// A document for AWS IoT Jobs, and the command that creates the job. `describe` writes the document around a URL.
fn aws(order: &Order<'_>, id: &str, describe: impl Fn(&str) -> anyhow::Result<Value>) -> anyhow::Result<Made> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    ensure!(
        (1..=64).contains(&id.len()) && id.chars().all(fits),
        "{id:?} can't be a jobId: 1 to 64 of a-z A-Z 0-9 _ -"
    );
    let object = S3Object::of(order)?;
    if let Some(object) = &object {
        check(&describe(&object.url)?.to_string())?;
    }
    let url = object.as_ref().map_or_else(|| order.url.to_owned(), S3Object::placeholder);
    let (thing, partition) =
        (order.thing.unwrap_or("<thing>"), object.as_ref().map_or("aws", |object| object.partition));
    let mut advice = format!(
        "save it as job.json, then create the job:\naws iot create-job --job-id {id} --targets \
         arn:{partition}:iot:<region>:<account>:thing/{thing} --document file://job.json"
    );
    if object.is_some() {
        advice +=
            &format!(" --presigned-url-config roleArn=arn:{partition}:iam::<account>:role/<role>,expiresInSec=3600");
    }
    Ok(Made { document: describe(&url)?.to_string(), advice })
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
    ensure!(!server.is_empty(), "the URL has no host");
    let document = json!({
        "Message": "Update Available", "Board": board, "Version": order.version, "Connection": connection,
        "Server": server, "Port": port, "File": file,
    });
    let fill = if order.hardware.is_none() { "put the board's name in the place of <board>, then " } else { "" };
    Ok(Made { document: document.to_string(), advice: format!("{fill}serve it as the job that the device asks for") })
}
