//! `sprag serve`.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use sprag_cli::s3::{CloseMode, Config, Server};

use super::Failure;
use crate::stdio;

/// Serve a directory as S3 would: TLS 1.3, presigned URLs that expire, connections that end after 100 requests.
///
/// Prints a presigned URL for each file, and where the certificate to trust lies. Ends on Ctrl-C, or when it is told to
/// terminate.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The directory. Files below it become objects; nothing is written to it.
    directory: PathBuf,
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// How long the printed URLs are good for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    valid: u64,
    /// Sign the URLs the old way (Signature Version 2), as IoTConnect does.
    #[arg(long)]
    v2: bool,
    /// Requests after which a connection is closed; 0 for never.
    #[arg(long, value_name = "N", default_value_t = 100)]
    requests: u32,
    /// How it is closed: with `Connection: close` on the last answer, or without a word.
    #[arg(long, value_enum, default_value_t = Close::Announced)]
    close: Close,
    /// Where to write the certificate to trust (PEM): a file that is not there yet, and is removed in the end. Default: in
    /// the system's temporary directory.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Close {
    Announced,
    Silent,
}

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut config = Config::publish(&self.directory)?;
        config.bind = self.bind;
        config.requests_per_connection = Some(self.requests).filter(|n| *n > 0);
        config.close = match self.close {
            Close::Announced => CloseMode::Announced,
            Close::Silent => CloseMode::Silent,
        };
        // Listened for from the start: whoever reads the first line may end it at once.
        let ended = ended().context("Ctrl-C can't be waited for")?;
        let server = Server::start(config).await?;
        server.on_answer(|answer| {
            let range = answer.range.as_deref().unwrap_or("-");
            let status = answer.status.map_or("-".to_owned(), |status| status.to_string());
            eprintln!("{} {} {range} {status} {} bytes", answer.method, answer.path, answer.body_bytes);
        });
        let name = format!("sprag-serve-{}-ca.pem", server.addr().port());
        let ca = self.ca.unwrap_or_else(|| std::env::temp_dir().join(name));
        // Never over a file that is there already, nor through a link that somebody laid: it is removed in the end.
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(&ca).with_context(|| format!("{}", ca.display()))?;
        let ca = Removed(ca);
        let written = file.write_all(server.ca_pem().unwrap_or_default().as_bytes());
        written.with_context(|| format!("{}", ca.0.display()))?;

        println!("serving {} at {}", self.directory.display(), server.url_base());
        println!("trust it with --cacert {}", ca.0.display());
        let valid = Duration::from_secs(self.valid);
        for (bucket, key) in server.objects()? {
            let url = match self.v2 {
                true => server.presign_v2(&bucket, &key, std::time::SystemTime::now() + valid),
                false => server.presign(&bucket, &key, valid),
            };
            println!("{key}\n  {url}");
        }
        // URLs that nobody can read are not served.
        if stdio::failure().is_none() {
            ended.await;
        }
        server.stop().await;
        Ok(())
    }
}

/// A file that is removed in the end, whichever that is.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // Somebody else may have done so.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Comes to its end on Ctrl-C, or on what a script's `kill` sends.
#[cfg(unix)]
fn ended() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Comes to its end on Ctrl-C.
#[cfg(not(unix))]
fn ended() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a way to be told, there is nothing to wait for.
        let _ = tokio::signal::ctrl_c().await;
    })
}
