//! `sprag device`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sprag::verify::{Ed25519Key, Key};
use sprag_cli::boot::{mark_word, state_words};
use sprag_cli::device::{self, End, Happening, Inspection, Settings, SlotState};
use sprag_cli::key;
use sprag_cli::layout::Layout;
use sprag_cli::narrate::Narrator;
use sprag_cli::net::HostConnector;
use sprag_cli::tally::Tally;

use super::{Failure, stopped};

/// A whole device on the host: flash in a raw file, MCUboot's swap, and the firmware's updater.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    Init(Init),
    Run(Run),
    Show(Show),
}

impl Device {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Init(init) => init.run(),
            Self::Run(run) => run.run().await,
            Self::Show(show) => show.run().await,
        }
    }
}

/// Make a new flash file, erased but for an image in its primary slot.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    files: Files,
    /// The signed image that runs at first, as `imgtool sign` makes it.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
}

/// The flash of a device.
#[derive(Debug, Args)]
struct Files {
    /// The raw contents of the flash.
    #[arg(long, value_name = "FILE")]
    flash: PathBuf,
    /// Its units and regions, in TOML.
    #[arg(long, value_name = "FILE")]
    layout: PathBuf,
}

impl Init {
    fn run(self) -> Result<(), Failure> {
        let layout = Layout::read(&self.files.layout)?;
        let image = std::fs::read(&self.image).with_context(|| format!("{}", self.image.display()))?;
        Ok(device::Device::create(&self.files.flash, &layout, &image)?)
    }
}

/// Run the device until its job has come to an end: boot, update, reset, test, confirm, report.
///
/// It may be killed at any time, and run again: it goes on.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    files: Files,
    /// The job document.
    #[arg(long, value_name = "FILE")]
    job: PathBuf,
    /// The key that images must be signed with, Ed25519 or P-256, in PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Trust the certificates in this PEM file, and no others. Default: those that the system trusts.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Print what happened as a JSON object on the last line, and everything else on stderr.
    #[arg(long)]
    json: bool,
}

impl Run {
    async fn run(self) -> Result<(), Failure> {
        let layout = Layout::read(&self.files.layout)?;
        let key = key::read_public(&self.key)?;
        let document = std::fs::read(&self.job).with_context(|| format!("{}", self.job.display()))?;
        let job = sprag::job::parse(&document).map_err(|error| anyhow!("{}: {error}", self.job.display()))?;
        let connector = HostConnector::new(self.cacert.as_deref())?;
        let device = open(&self.files.flash, &layout, key)?;

        let (mut tally, mut acks) = (Tally::default(), Vec::new());
        let out: Box<dyn io::Write> = if self.json { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        let mut narrator = Narrator::new(out);
        let end = device
            .run(&job, &connector, &mut |happening| {
                tally.count(&happening);
                narrator.tell(&happening);
                if let Happening::Ack(ack) = happening {
                    acks.push(ack);
                }
            })
            .await;
        narrator.finish_bar();
        let end = end.map_err(|error| Failure::Ended(format!("{error:#}")))?;
        let told = tell(&end);
        if self.json {
            let mut object = json!({
                "job": job.id().to_string(),
                "result": told.result,
                "reason": told.reason,
                "version": told.version,
                "requests": tally.requests,
                "connections": tally.connections,
                "retries": tally.retries,
                "bytes_fetched": tally.bytes,
                "wire_bytes": connector.wire_bytes(),
                "sectors_erased": device.updater_erases(),
                "acks": acks,
            });
            object["running"] = json!(device.inspect().await?.primary.image.ok().map(|version| version.to_string()));
            println!("{object}");
        } else if told.failure.is_none() {
            println!("{}", told.sentence);
        }
        told.failure.map_or(Ok(()), Err)
    }
}

/// An end in words.
struct Told {
    result: String,
    reason: Option<String>,
    version: Option<String>,
    sentence: String,
    failure: Option<Failure>,
}

fn tell(end: &End) -> Told {
    let told = |result: &str, sentence: String| Told {
        result: result.to_owned(),
        reason: None,
        version: None,
        sentence,
        failure: None,
    };
    match end {
        End::Updated(version) => Told {
            version: Some(version.to_string()),
            ..told("updated", format!("updated: {version} runs and is confirmed"))
        },
        End::AlreadyEnded(sprag::job::Status::Done) => {
            told("already-done", "nothing to do: this job is done".to_owned())
        }
        End::AlreadyEnded(status) => Told {
            failure: Some(Failure::Ended(format!("this job was {status} before; a new try needs a job of its own"))),
            ..told(&format!("already-{status}"), String::new())
        },
        End::Ended { status, reason, error } => Told {
            reason: Some(reason.clone()),
            failure: Some(Failure::Ended(format!(
                "{status}: {}; the old image runs",
                error.as_deref().unwrap_or(reason)
            ))),
            ..told(&status.to_string(), String::new())
        },
        End::Unfinished(error) => Told {
            reason: Some(error.reason().to_owned()),
            failure: Some(stopped(true, error.needs_new_url(), error)),
            ..told("unfinished", String::new())
        },
    }
}

/// Print what lies in the flash: slots, boot state, journal. Nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    files: Files,
    /// Print it as a JSON object.
    #[arg(long)]
    json: bool,
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let layout = Layout::read(&self.files.layout)?;
        let device = open(&self.files.flash, &layout, Box::new(Ed25519Key::new([0; 32])))?;
        let found = device.inspect().await?;
        if self.json {
            println!("{}", as_json(&found));
            return Ok(());
        }
        for (name, slot) in [("primary", &found.primary), ("secondary", &found.secondary)] {
            let SlotState { image, trailer } = slot;
            let image = image.as_ref().map_or_else(|why| format!("no image that may run ({why})"), ToString::to_string);
            let [magic, ok, done] = [trailer.magic, trailer.image_ok, trailer.copy_done].map(mark_word);
            println!("{name:10} {image}; trailer: magic {magic}, image_ok {ok}, copy_done {done}");
        }
        println!("{:10} {}", "boot", state_words(found.boot));
        match &found.session {
            Some(session) => {
                println!("{:10} {} of {} bytes are in the slot", "session", session.written, session.total)
            }
            None => println!("{:10} none", "session"),
        }
        match &found.job {
            Some(job) => {
                let reported = if job.reported { ", reported" } else { "" };
                let reason = if job.reason.is_empty() { String::new() } else { format!(" ({})", job.reason) };
                println!("{:10} {} {}: {}{reason}{reported}", "job", job.dialect, job.id, phase_word(job.phase));
            }
            None => println!("{:10} none", "job"),
        }
        Ok(())
    }
}

fn open(flash: &Path, layout: &Layout, key: Box<dyn Key>) -> anyhow::Result<device::Device> {
    let device = device::Device::open(flash, layout, key, Settings::default());
    if flash.exists() { device } else { device.context("there is no such flash: make one with `sprag device init`") }
}

fn as_json(found: &Inspection) -> Value {
    let slot = |SlotState { image, trailer }: &SlotState| {
        json!({
            "version": image.as_ref().ok().map(ToString::to_string),
            "problem": image.as_ref().err(),
            "magic": mark_word(trailer.magic),
            "image_ok": mark_word(trailer.image_ok),
            "copy_done": mark_word(trailer.copy_done),
        })
    };
    json!({
        "primary": slot(&found.primary),
        "secondary": slot(&found.secondary),
        "boot": state_words(found.boot),
        "session": found.session.as_ref().map(|session| json!({ "written": session.written, "total": session.total })),
        "job": found.job.as_ref().map(|job| json!({
            "id": job.id.as_str(),
            "dialect": job.dialect.name(),
            "phase": phase_word(job.phase),
            "reason": Some(job.reason.as_str()).filter(|reason| !reason.is_empty()),
            "reported": job.reported,
        })),
    })
}

fn phase_word(phase: sprag::Phase) -> &'static str {
    use sprag::{Phase, job::Status};
    match phase {
        Phase::Started => "downloading",
        Phase::Staging => "staging",
        Phase::Staged => "staged",
        Phase::Restarting => "staged, restarting once more",
        Phase::Ended(Status::Done) => "done",
        Phase::Ended(Status::Rejected) => "rejected",
        Phase::Ended(Status::Refused) => "refused",
        Phase::Ended(_) => "failed",
    }
}
