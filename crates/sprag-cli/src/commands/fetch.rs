//! `sprag fetch`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Instant;

use clap::{Args, ValueEnum};
use rand_core::OsRng;
use serde_json::json;
use sprag::fetch::{
    AnswerError, Connector, Error, Event, Limits, READ_BUFFER_FULL, RangeIgnored, RetryPolicy, Tls, TlsConnector,
    Trust, WRITE_BUFFER_MIN,
};
use sprag_cli::fetch::{self, Options, Output, Step};
use sprag_cli::narrate::progress_bar;
use sprag_cli::net::{self, ConnectError, EmbeddedConnector, HostConnector, HostStack};
use sprag_cli::tally::Tally;

use super::{Failure, stopped};
use crate::stdio::Stdout;

/// Fetch a URL into a file. Run again after a loss, it goes on where it was, with a fresh URL too.
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// An http or https URL, presigned or not. Quote it: it holds `&`.
    url: String,
    /// The file to write, or `-` for standard output. Until it is whole, what came lies in FILE.part.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Ask for ranges of N bytes, one after the other, instead of one open range.
    #[arg(long, value_name = "N")]
    range_size: Option<NonZeroU64>,
    /// Go on where an earlier run stopped, or begin at byte 0 whatever it left.
    #[arg(long, value_name = "WHEN", default_value = "auto", default_missing_value = "auto", num_args = 0..=1)]
    resume: Resume,
    /// What to do about a server that ignores ranges where the download goes on: stop, or fetch all of it and skip.
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    ranges_ignored: RangesIgnored,
    /// Give up after so many tries in a row that bring no byte.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..))]
    retries: u8,
    /// Give up on a connection, an answer or the next byte of it after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// Trust the certificates in this PEM file, and no others. Default: those that the system trusts.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Whose TLS: the desk's, or the one that devices have.
    #[arg(long, value_name = "WHOSE", default_value = "rustls")]
    tls: WhoseTls,
    /// With `--tls embedded`: hold records of N bytes at most, and ask the server for no longer ones.
    #[arg(long, value_name = "N", default_value_t = READ_BUFFER_FULL)]
    tls_buffer: usize,
    /// Print what it cost as a JSON object on the last line; when it failed, with the reason.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Resume {
    Auto,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RangesIgnored {
    Refuse,
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WhoseTls {
    Rustls,
    Embedded,
}

impl Fetch {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.tls {
            WhoseTls::Rustls => {
                let connector = HostConnector::new(self.cacert.as_deref()).map_err(|error| self.not_begun(error))?;
                self.with(&connector, || connector.wire_bytes()).await
            }
            WhoseTls::Embedded => {
                let stack = HostStack::default();
                let roots = net::roots(self.cacert.as_deref()).map_err(|error| self.not_begun(error))?;
                let roots: Vec<&[u8]> = roots.iter().map(AsRef::as_ref).collect();
                let tls = Tls::new(&stack, &stack, Trust::new(&roots, &net::unix_seconds));
                let (mut read, mut write) = (vec![0; self.tls_buffer], [0; WRITE_BUFFER_MIN]);
                let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
                let connector = EmbeddedConnector::new(TlsConnector::new(&tls, sessions));
                self.with(&connector, || stack.wire_bytes()).await
            }
        }
    }

    /// Returns whether the object goes to standard output. Everything else goes to standard error then.
    fn is_to_stdout(&self) -> bool {
        self.output.as_os_str() == "-"
    }

    /// Prints the line or object that sums it up.
    fn sum_up(&self, line: &str) {
        if self.is_to_stdout() { eprintln!("{line}") } else { println!("{line}") }
    }

    /// Reports certificates that can't be used.
    fn not_begun(&self, error: anyhow::Error) -> Failure {
        if self.json {
            let (file, error) = (self.output.display().to_string(), format!("{error:#}"));
            let reason = "certificates-unusable";
            self.sum_up(&json!({ "file": file, "bytes": null, "reason": reason, "error": error }).to_string());
        }
        Failure::Input(error)
    }

    async fn with(
        &self,
        connector: &impl Connector<Error = ConnectError>,
        wire_bytes: impl Fn() -> u64,
    ) -> Result<(), Failure> {
        let seed = std::process::id();
        let retry =
            RetryPolicy { attempts: self.retries, first_ms: 250, longest_ms: 10_000, seed, ..RetryPolicy::default() };
        let limit_ms = self.timeout.saturating_mul(1000);
        let limits = Limits { connect_ms: limit_ms, answer_ms: limit_ms, stall_ms: limit_ms, ..Limits::default() };
        let range_ignored = match self.ranges_ignored {
            RangesIgnored::Refuse => RangeIgnored::Refuse,
            RangesIgnored::Skip => RangeIgnored::Skip,
        };
        let anew = self.resume == Resume::Never;
        let options = Options { range_size: self.range_size, range_ignored, retry, limits, anew };
        let (bar, begun) = (progress_bar(), Instant::now());
        let (mut tally, mut resumed_from, mut started_over) = (Tally::default(), None, false);
        let mut offset = 0;
        let mut stdout = Stdout;
        let output = if self.is_to_stdout() { Output::Stream(&mut stdout) } else { Output::File(&self.output) };
        let result = fetch::fetch(&self.url, output, connector, options, &mut |step| match step {
            Step::From(from) => {
                resumed_from.get_or_insert(from);
                offset = from;
                tally.begin(from);
                bar.set_position(from);
                bar.reset_eta();
            }
            Step::Fetch(event) => {
                tally.count_fetch(&event);
                if event == Event::NoStrongEtag {
                    bar.println("the server sends no strong ETag: if the connection is lost, the download starts over");
                }
            }
            Step::Progress(received, total) => {
                offset = received;
                tally.arrived(received);
                bar.set_length(total);
                bar.set_position(received);
            }
            Step::StartedOver { reason } => {
                started_over = true;
                bar.println(format!("{reason}: starting over"));
            }
        })
        .await;
        bar.finish_and_clear();
        let (seconds, resumed_from) = (begun.elapsed().as_secs_f64(), resumed_from.unwrap_or(0));
        let (total, reason, failure) = match result {
            Ok(total) => (Some(total), None, None),
            Err(failure) => (None, Some(failure.reason()), Some(self.failed(failure, &tally.refusal))),
        };
        if self.json {
            let object = json!({
                "file": self.output.display().to_string(),
                "bytes": total,
                "reason": reason,
                "error": failure.as_ref().map(ToString::to_string),
                "resumed_from": resumed_from,
                "started_over": started_over,
                "requests": tally.requests,
                "connections": tally.connections,
                "retries": tally.retries,
                "redirects": tally.redirects,
                "bytes_fetched": tally.bytes,
                "bytes_twice": (tally.bytes + resumed_from).saturating_sub(offset),
                "wire_bytes": wire_bytes(),
                "seconds": seconds,
            });
            self.sum_up(&object.to_string());
        } else if let Some(total) = total {
            let (requests, connections) = (count(tally.requests, "request"), count(tally.connections, "connection"));
            let resumed = if resumed_from > 0 { format!(", from byte {resumed_from} on") } else { String::new() };
            let file = if self.is_to_stdout() { "standard output".into() } else { self.output.display().to_string() };
            self.sum_up(&format!("{file}: {total} bytes{resumed}, {requests}, {connections}, {seconds:.1} s"));
        }
        failure.map_or(Ok(()), Err)
    }

    fn failed(&self, failure: fetch::Failure, refusal: &str) -> Failure {
        match failure {
            fetch::Failure::Url(error) => Failure::Input(error.into()),
            fetch::Failure::Input(error) => Failure::Input(error),
            fetch::Failure::Storage(error) => {
                Failure::Unfinished(format!("{error:#}; make room and run it again, and it goes on"))
            }
            fetch::Failure::Stream(error) if self.is_to_stdout() => Failure::Ended(format!("standard output: {error}")),
            fetch::Failure::Stream(error) => Failure::Ended(format!("{}: {error}", self.output.display())),
            fetch::Failure::Stopped(error)
                if (error.is_retryable() || error.needs_new_url())
                    && (self.is_to_stdout() || !fetch::goes_on(&self.output)) =>
            {
                Failure::Unfinished(format!("{error}; run it again; it starts over"))
            }
            fetch::Failure::Stopped(error) => {
                // Without a strong ETag, the object may come in one answer next time.
                let retryable = error.is_retryable() || matches!(error, Error::Answer(AnswerError::NoStrongEtag));
                stopped(retryable, error.needs_new_url(), error, refusal)
            }
        }
    }
}

/// A number and what it counts.
fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}
