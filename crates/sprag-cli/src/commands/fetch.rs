//! `sprag fetch`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use sprag::fetch::RetryPolicy;
use sprag_cli::fetch::{self, Options, Step};
use sprag_cli::narrate::progress_bar;
use sprag_cli::net::HostConnector;
use sprag_cli::tally::Tally;

use super::{Failure, stopped};

/// Fetch a URL into a file. Run again after a loss, it goes on where it was, with a fresh URL too.
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// An http or https URL, presigned or not. Quote it: it holds `&`.
    url: String,
    /// The file to write. Until it is whole, what came lies in FILE.part.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Ask for ranges of N bytes, one after the other, instead of one open range.
    #[arg(long, value_name = "N")]
    range_size: Option<NonZeroU64>,
    /// Trust the certificates in this PEM file, and no others. Default: those that the system trusts.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Print what it cost as a JSON object on the last line; when it failed, with the reason.
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let connector = HostConnector::new(self.cacert.as_deref())?;
        let seed = std::process::id();
        let retry = RetryPolicy { attempts: 6, first_ms: 250, longest_ms: 10_000, seed };
        let options = Options { range_size: self.range_size, retry };
        let (bar, begun) = (progress_bar(), Instant::now());
        let (mut tally, mut resumed_from, mut started_over) = (Tally::default(), None, false);
        let result = fetch::fetch(&self.url, &self.output, &connector, options, &mut |step| match step {
            Step::From(offset) => {
                resumed_from.get_or_insert(offset);
                tally.begin(offset);
                bar.set_position(offset);
                bar.reset_eta();
            }
            Step::Fetch(event) => tally.count_fetch(&event),
            Step::Progress(received, total) => {
                tally.arrived(received);
                bar.set_length(total);
                bar.set_position(received);
            }
            Step::StartedOver => {
                started_over = true;
                bar.println("the object changed: starting over");
            }
        })
        .await;
        bar.finish_and_clear();
        let (total, reason, failure) = match result {
            Ok(total) => (Some(total), None, None),
            Err(fetch::Failure::Input(error)) => return Err(Failure::Input(error)),
            Err(fetch::Failure::Stopped(error)) => {
                let reason = error.reason();
                (None, Some(reason), Some(stopped(error.is_retryable(), error.needs_new_url(), error)))
            }
        };
        let (seconds, resumed_from) = (begun.elapsed().as_secs_f64(), resumed_from.unwrap_or(0));
        if self.json {
            let object = json!({
                "file": self.output.display().to_string(),
                "bytes": total,
                "reason": reason,
                "resumed_from": resumed_from,
                "started_over": started_over,
                "requests": tally.requests,
                "connections": tally.connections,
                "retries": tally.retries,
                "bytes_fetched": tally.bytes,
                "wire_bytes": connector.wire_bytes(),
                "seconds": seconds,
            });
            println!("{object}");
        } else if let Some(total) = total {
            let (requests, connections) = (count(tally.requests, "request"), count(tally.connections, "connection"));
            let resumed = if resumed_from > 0 { format!(", from byte {resumed_from} on") } else { String::new() };
            let file = self.output.display();
            println!("{file}: {total} bytes{resumed}, {requests}, {connections}, {seconds:.1} s");
        }
        failure.map_or(Ok(()), Err)
    }
}

/// A number and what it counts.
fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}
