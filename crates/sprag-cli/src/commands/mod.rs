//! One command a file.

mod boot;
mod device;
mod fetch;
mod image;
mod job;
mod keygen;
mod serve;

use std::fmt;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Fetch(fetch::Fetch),
    Serve(serve::Serve),
    #[command(subcommand)]
    Boot(boot::Boot),
    #[command(subcommand)]
    Device(device::Device),
    #[command(subcommand)]
    Job(job::Job),
    #[command(subcommand)]
    Image(image::Image),
    Keygen(keygen::Keygen),
}

impl Command {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Fetch(fetch) => fetch.run().await,
            Self::Serve(serve) => serve.run().await,
            Self::Boot(boot) => boot.run().await,
            Self::Device(device) => device.run().await,
            Self::Job(job) => job.run(),
            Self::Image(image) => image.run().await,
            Self::Keygen(keygen) => keygen.run(),
        }
    }
}

/// The exit code of what came to its end, and failed.
pub(crate) const CODE_ENDED: u8 = 1;
/// The exit code of arguments and files that can't be used.
pub(crate) const CODE_INPUT: u8 = 2;
/// The exit code of what can go on.
const CODE_UNFINISHED: u8 = 3;

/// Why a command did not do what it was asked to: each kind has its exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It came to its end, and failed.
    Ended(String),
    /// Arguments or files can't be used.
    Input(anyhow::Error),
    /// It can go on: run it again.
    Unfinished(String),
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Ended(_) => CODE_ENDED,
            Self::Input(_) => CODE_INPUT,
            Self::Unfinished(_) => CODE_UNFINISHED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(message) | Self::Unfinished(message) => f.write_str(message),
            Self::Input(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Input(error)
    }
}

/// What the same failure is called on the desk, by what can be done about it. `refusal` is the storage service's own word
/// for it, where it has one.
fn stopped<E: fmt::Display>(retryable: bool, needs_new_url: bool, error: E, refusal: &str) -> Failure {
    let error = if refusal.is_empty() { error.to_string() } else { format!("{error} ({refusal})") };
    match (retryable, needs_new_url) {
        (_, true) => Failure::Unfinished(format!("{error}; run it again with a fresh URL, and it goes on")),
        (true, false) => Failure::Unfinished(format!("{error}; run it again, and it goes on")),
        (false, false) => Failure::Ended(error),
    }
}
