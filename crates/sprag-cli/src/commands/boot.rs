//! `sprag boot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use sprag::boot::Swap;
use sprag_cli::boot::{self, Call, Failed, View};

use super::Failure;

/// The hand-over to a bootloader, on a flash file: what it sees, and what a firmware would tell it.
#[derive(Debug, Subcommand)]
pub(crate) enum Boot {
    /// Print what the bootloader sees. Nothing is changed.
    Show(Files),
    /// Stage the image that lies where updates go, for the next reset.
    Stage(Stage),
    /// Confirm the running image: it stays for good.
    Confirm(Files),
    /// Take a staged image back.
    Unstage(Files),
}

/// The flash of a device, and what the bootloader was told of it.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The raw contents of the flash.
    #[arg(long, value_name = "FILE")]
    flash: PathBuf,
    /// Its units and regions, and the bootloader's family and parameters, in TOML.
    #[arg(long, value_name = "FILE")]
    layout: PathBuf,
    /// Print what the bootloader sees, then, as a JSON object.
    #[arg(long)]
    json: bool,
}

/// Stage the image that lies where updates go, for the next reset.
#[derive(Debug, Args)]
pub(crate) struct Stage {
    #[command(flatten)]
    files: Files,
    /// For good, not for a test.
    #[arg(long)]
    permanent: bool,
}

impl Boot {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (files, call) = match self {
            Self::Show(files) => (files, Call::Look),
            Self::Stage(Stage { files, permanent: false }) => (files, Call::Stage(Swap::Test)),
            Self::Stage(Stage { files, permanent: true }) => (files, Call::Stage(Swap::Permanent)),
            Self::Confirm(files) => (files, Call::Confirm),
            Self::Unstage(files) => (files, Call::Unstage),
        };
        let view = boot::call(&files.flash, &files.layout, call).await.map_err(|failed| match failed {
            Failed::Input(error) => Failure::Input(error),
            Failed::Refused(why) => Failure::Ended(why),
        })?;
        match (files.json, call) {
            (true, _) => println!("{}", as_json(&view)),
            (false, Call::Look) => print(&view),
            (false, _) => println!("{}", boot::state_words(view.state)),
        }
        Ok(())
    }
}

fn print(view: &View) {
    println!("{:10} {}", "family", view.family);
    for (name, words, _) in &view.lines {
        println!("{name:10} {words}");
    }
    let room = &view.room;
    let words = match room.is_empty() {
        true => "none".to_owned(),
        false => format!("{:#x}..{:#x}, {} bytes", room.start, room.end, room.len()),
    };
    println!("{:10} {words}", "room");
    println!("{:10} {}", "boot", boot::state_words(view.state));
}

fn as_json(view: &View) -> Value {
    let mut object = Map::new();
    object.insert("family".to_owned(), json!(view.family));
    object.insert("boot".to_owned(), json!(boot::state_words(view.state)));
    object.insert("room".to_owned(), json!({ "offset": view.room.start, "size": view.room.len() }));
    object.extend(view.lines.iter().map(|(name, _, value)| (name.clone(), value.clone())));
    Value::Object(object)
}
