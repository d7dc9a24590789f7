//! `sprag job`.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sprag::job::{Artifact, Dialect, Job as Document, Text};
use sprag_cli::{job_file, make};

use super::Failure;

/// Job documents.
#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    Inspect(Inspect),
    Make(Make),
}

impl Job {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Inspect(inspect) => inspect.run(),
            Self::Make(make) => make.run(),
        }
    }
}

/// Write the message to publish for an update; for AWS, the job document, and the command line that creates the job.
///
/// What is written is read back first: what this crate would not take is not written. The document goes to standard output,
/// everything else to standard error.
#[derive(Debug, Args)]
pub(crate) struct Make {
    /// The dialect: iotconnect-2.1, iotconnect-2.0, aws-jobs, afr-ota or ota-update.
    #[arg(long, value_parser = dialect)]
    dialect: Dialect,
    /// Where the image lies. For AWS, s3://BUCKET/KEY or an S3 URL without a query is made a placeholder that the service
    /// presigns anew whenever the device asks; any other URL is taken as it is.
    #[arg(long)]
    url: String,
    /// The version of the image. afr-ota has no place for it.
    #[arg(long)]
    version: String,
    /// The job's id: `ack` or `ackId` in IoTConnect, the jobId in AWS. Default: a new one.
    #[arg(long)]
    id: Option<String>,
    /// The hardware or board that it is for. ota-update can't do without: a placeholder stands for it then.
    #[arg(long)]
    hardware: Option<String>,
    /// The name of the file. Default: the last part of the URL's path.
    #[arg(long)]
    name: Option<String>,
    /// The image itself: its size, and for aws-jobs its SHA-256, go into the document where there is a place for them.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// For AWS: the thing that the job is for. Default: a placeholder to fill in.
    #[arg(long)]
    thing: Option<String>,
}

fn dialect(name: &str) -> Result<Dialect, String> {
    let names = || Dialect::ALL.iter().map(Dialect::name).collect::<Vec<_>>().join(", ");
    Dialect::from_name(name).ok_or_else(|| format!("not one of {}", names()))
}

impl Make {
    fn run(self) -> Result<(), Failure> {
        let image = match &self.image {
            Some(path) => Some(std::fs::read(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let made = make::document(&make::Order {
            dialect: self.dialect,
            url: &self.url,
            version: &self.version,
            id: self.id.as_deref(),
            hardware: self.hardware.as_deref(),
            name: self.name.as_deref(),
            image: image.as_deref(),
            thing: self.thing.as_deref(),
        })?;
        println!("{}", made.document);
        for line in made.advice.lines() {
            eprintln!("{line}");
        }
        Ok(())
    }
}

/// Say which dialect a job document is written in, and what it asks for; or what is wrong with it, and where.
///
/// The URL is printed whole: whoever reads it can fetch.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The document; `-` for standard input.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Print it as a JSON object; what the document does not say is null.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    fn run(self) -> Result<(), Failure> {
        let (name, document) = if self.file == Path::new("-") {
            let mut document = Vec::new();
            std::io::stdin().read_to_end(&mut document).context("standard input")?;
            ("standard input".to_owned(), document)
        } else {
            let name = self.file.display().to_string();
            let document = std::fs::read(&self.file).with_context(|| name.clone())?;
            (name, document)
        };
        let unwrapped = job_file::unwrapped(&document);
        let job = match sprag::job::parse(&unwrapped) {
            Ok(job) => job,
            Err(error) => return Err(self.refused(&name, error.reason(), &error.to_string())),
        };
        if let Err(error) = make::check_urls(&job) {
            return Err(self.refused(&name, "bad-url", &format!("{error:#}")));
        }
        if self.json {
            println!("{}", as_json(&job));
            return Ok(());
        }
        let said = |text: Option<Text<'_>>| text.map_or_else(|| "not said".to_owned(), |text| text.to_string());
        println!("dialect    {}", job.dialect());
        println!("id         {}", if job.id().is_empty() { "none".to_owned() } else { job.id().to_string() });
        println!("version    {}", said(job.version()));
        println!("hardware   {}", said(job.hardware()));
        for artifact in job.artifacts() {
            println!("artifact   {}", said(artifact.name()));
            println!("  url      {}", url(&artifact).unwrap_or_else(|| "none".to_owned()));
            let size = artifact.size().map_or_else(|| "not said".to_owned(), |size| format!("{size} bytes"));
            println!("  size     {size}");
            println!("  digest   {}", said(artifact.digest().map(|digest| digest.hex())));
            let signature = artifact.signature().map(|signature| signature.algorithm().name());
            println!("  signed   {}", signature.unwrap_or("no"));
        }
        Ok(())
    }
}

impl Inspect {
    /// Reports a document that a device would refuse.
    fn refused(&self, name: &str, reason: &str, error: &str) -> Failure {
        let failure = Failure::Input(anyhow!("{name}: {error}"));
        if self.json {
            println!("{}", json!({ "reason": reason, "error": failure.to_string(), "exit_code": failure.code() }));
        }
        failure
    }
}

fn url(artifact: &Artifact<'_>) -> Option<String> {
    artifact.location().map(|location| location.to_string())
}

fn as_json(job: &Document<'_>) -> Value {
    let text = |text: Option<Text<'_>>| text.map(|text| text.to_string());
    let artifacts: Vec<Value> = job
        .artifacts()
        .map(|artifact| {
            json!({
                "url": url(&artifact),
                "name": text(artifact.name()),
                "tag": text(artifact.tag()),
                "size": artifact.size(),
                "digest": text(artifact.digest().map(|digest| digest.hex())),
                "signature": artifact.signature().map(|signature| json!({
                    "algorithm": signature.algorithm().name(),
                    "value": signature.value().to_string(),
                })),
            })
        })
        .collect();
    json!({
        "dialect": job.dialect().name(),
        "id": Some(job.id().to_string()).filter(|id| !id.is_empty()),
        "version": text(job.version()),
        "hardware": text(job.hardware()),
        "artifacts": artifacts,
    })
}
