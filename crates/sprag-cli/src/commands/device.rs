//! `sprag device`.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sprag::flash::journal::JournalStats;
use sprag::verify::{Ed25519Key, Key};
use sprag_cli::boot::{mark_word, state_words};
use sprag_cli::device::{self, End, Happening, Inspection, Settings, SlotState};
use sprag_cli::job_file;
use sprag_cli::key;
use sprag_cli::layout::Layout;
use sprag_cli::narrate::Narrator;
use sprag_cli::net::HostConnector;
use sprag_cli::tally::Tally;
use sprag_testkit::flash::Torn;

use super::{Failure, stopped};
use crate::stdio::Stdout;

/// A whole device on the host: flash in a raw file, a bootloader, and the firmware's updater.
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

/// Make a new flash file, erased but for an image in the slot that runs at first and what the bootloader needs beside it.
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
    /// Cut the power within the Nth flash operation of this run, counted from 0: N, with `:before`, `:began`, `:half`,
    /// `:bits=SEED`, `:almost=SEED`, `:whole` or `:unreadable=SEED` behind it for how it is torn; or `random:SEED`.
    #[arg(long, value_name = "N|random:SEED")]
    power_cut_at: Option<PowerCut>,
    /// Print what happened as a JSON object on the last line, and everything else on stderr.
    #[arg(long)]
    json: bool,
}

/// Where the power is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PowerCut {
    At(u64, Torn),
    Random(u64),
}

impl FromStr for PowerCut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, way) = text.split_once(':').unwrap_or((text, "half"));
        let parsed = match number {
            "random" => way.parse().ok().map(Self::Random),
            number => number.parse().ok().zip(way.parse().ok()).map(|(number, torn)| Self::At(number, torn)),
        };
        parsed.ok_or_else(|| "neither an operation, as in 17 or 17:bits=1, nor random:SEED".to_owned())
    }
}

impl PowerCut {
    /// Arranges for it, and gives the operation and the way.
    fn arrange(self, device: &device::Device) -> anyhow::Result<(u64, Torn)> {
        match self {
            Self::At(operation, torn) => {
                device.flash().cut_power_after(operation, torn);
                Ok((operation, torn))
            }
            Self::Random(seed) => Ok(device.flash().cut_power_at_random(seed, device.operations()?)),
        }
    }
}

impl Run {
    async fn run(self) -> Result<(), Failure> {
        let layout = Layout::read(&self.files.layout)?;
        let key = key::read_public(&self.key)?;
        let document = std::fs::read(&self.job).with_context(|| format!("{}", self.job.display()))?;
        let document = job_file::unwrapped(&document);
        let job = sprag::job::parse(&document).map_err(|error| anyhow!("{}: {error}", self.job.display()))?;
        let connector = HostConnector::new(self.cacert.as_deref())?;
        let device = open(&self.files.flash, &layout, key)?;
        let cut = self.power_cut_at.map(|cut| cut.arrange(&device)).transpose()?;

        let (mut tally, mut acks) = (Tally::default(), Vec::new());
        let out: Box<dyn io::Write> = if self.json { Box::new(io::stderr()) } else { Box::new(Stdout) };
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
        if let (Some((operation, torn)), true) = (cut, device.flash().is_dead()) {
            if self.json {
                let job = job.id().to_string();
                let way = torn.to_string();
                println!(
                    "{}",
                    json!({ "job": job, "result": "power-cut", "operation": operation, "torn": way, "acks": acks })
                );
            }
            let what = format!("the power failed in flash operation {operation} ({torn})");
            return Err(Failure::Unfinished(format!("{what}; run it again, and it goes on")));
        }
        let end = end.map_err(|error| Failure::Ended(format!("{error:#}")))?;
        let told = tell(&end, &tally.refusal);
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
            let found = device.inspect().await?;
            object["running"] = json!(found.running_version().map(|version| version.to_string()));
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

fn tell(end: &End, refusal: &str) -> Told {
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
            failure: Some(stopped(true, error.needs_new_url(), error, refusal)),
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
        for SlotState { name, image, trailer, programmed: (programmed, sectors) } in &found.slots {
            let image = image.as_ref().map_or_else(|why| format!("no image that may run ({why})"), ToString::to_string);
            let trailer = trailer.map_or_else(String::new, |trailer| {
                let [magic, ok, done] = [trailer.magic, trailer.image_ok, trailer.copy_done].map(mark_word);
                format!("; trailer: magic {magic}, image_ok {ok}, copy_done {done}")
            });
            println!("{name:10} {image}{trailer}");
            println!("{:10} {programmed} of {sectors} sectors are programmed", "");
        }
        if found.runs_in_place {
            println!("{:10} {}", "running", found.slots[found.running].name);
        }
        println!("{:10} {}", "boot", state_words(found.boot));
        match &found.session {
            Some(session) => {
                println!("{:10} {} of {} bytes are in the slot", "session", session.written, session.total)
            }
            None => println!("{:10} none", "session"),
        }
        match &found.journal {
            Some(JournalStats { bank, sequence, used, size }) => {
                let used = match used {
                    Some(used) => format!("{used} of {size} bytes used"),
                    None => "torn at its end, so that the next record moves on".to_owned(),
                };
                println!("{:10} bank {bank}, sequence {sequence}, {used}", "journal");
            }
            None => println!("{:10} none", "journal"),
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
    let slot = |SlotState { image, trailer, programmed: (programmed, sectors), .. }: &SlotState| {
        let mut object = json!({
            "version": image.as_ref().ok().map(ToString::to_string),
            "problem": image.as_ref().err(),
            "sectors": sectors,
            "programmed": programmed,
        });
        if let Some(trailer) = trailer {
            object["magic"] = json!(mark_word(trailer.magic));
            object["image_ok"] = json!(mark_word(trailer.image_ok));
            object["copy_done"] = json!(mark_word(trailer.copy_done));
        }
        object
    };
    let mut object = json!({
        "running": found.slots[found.running].name,
        "boot": state_words(found.boot),
        "session": found.session.as_ref().map(|session| json!({ "written": session.written, "total": session.total })),
        "journal": found.journal.map(|journal| json!({
            "bank": journal.bank,
            "sequence": journal.sequence,
            "used": journal.used,
            "size": journal.size,
        })),
        "job": found.job.as_ref().map(|job| json!({
            "id": job.id.as_str(),
            "dialect": job.dialect.name(),
            "phase": phase_word(job.phase),
            "reason": Some(job.reason.as_str()).filter(|reason| !reason.is_empty()),
            "reported": job.reported,
        })),
    });
    for state in &found.slots {
        object[state.name.as_str()] = slot(state);
    }
    object
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
