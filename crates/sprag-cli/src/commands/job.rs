//! `sprag job`.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sprag::job::{Artifact, Job as Document, Text};

use super::Failure;

/// Job documents.
#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    Inspect(Inspect),
}

impl Job {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Inspect(inspect) => inspect.run(),
        }
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
        let job = sprag::job::parse(&document).map_err(|error| anyhow!("{name}: {error}"))?;
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
