//! `sprag serve`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use sprag_cli::s3::{CloseMode, Config, Server};
use sprag_cli::scenario::{FaultServer, SCENARIOS, Scenario};

use super::Failure;
use crate::stdio;

/// Serve a directory as S3 would: TLS 1.3, presigned URLs that expire, connections that end after 100 requests.
///
/// Prints a presigned URL for each file, and where the certificate to trust lies. Ends on Ctrl-C, or when it is told to
/// terminate.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The directory. Files below it become objects; nothing is written to it.
    #[arg(required_unless_present = "scenario")]
    directory: Option<PathBuf>,
    /// Misbehave as a server in the field does: over plain HTTP, the same for every file. `list` prints the scenarios.
    #[arg(long, value_name = "NAME|list", value_parser = scenario, conflicts_with_all = ["valid", "v2", "requests", "close", "ca"])]
    scenario: Option<Play>,
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

/// The value of `--scenario`.
#[derive(Debug, Clone, Copy)]
enum Play {
    List,
    One(&'static Scenario),
}

fn scenario(name: &str) -> Result<Play, String> {
    match name {
        "list" => Ok(Play::List),
        name => Scenario::named(name).map(Play::One).ok_or_else(|| "not one that `--scenario list` prints".to_owned()),
    }
}

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match (self.scenario, &self.directory) {
            (Some(Play::List), _) => {
                for Scenario { name, does, source, .. } in SCENARIOS {
                    println!("{name:22} {does} ({source})");
                }
                Ok(())
            }
            (Some(Play::One(scenario)), Some(directory)) => self.play(scenario, directory).await,
            (None, Some(directory)) => self.s3(directory).await,
            (_, None) => Err(anyhow!("a directory to serve is needed").into()),
        }
    }

    async fn play(&self, scenario: &'static Scenario, directory: &Path) -> Result<(), Failure> {
        let mut objects = BTreeMap::new();
        read_objects(directory, "", &mut objects).with_context(|| format!("cannot serve {}", directory.display()))?;
        let ended = ended().context("Ctrl-C can't be waited for")?;
        let keys: Vec<String> = objects.keys().cloned().collect();
        let server = FaultServer::start(self.bind, scenario, objects, |line| eprintln!("{line}")).await?;
        println!("serving {} as {}: {}", directory.display(), scenario.name, scenario.does);
        for key in keys {
            println!("{key}\n  {}", server.url(&key));
        }
        if stdio::failure().is_none() {
            ended.await;
        }
        Ok(())
    }

    async fn s3(&self, directory: &Path) -> Result<(), Failure> {
        let mut config = Config::publish(directory)?;
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
        let ca = self.ca.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
        // Never over a file that is there already, nor through a link that somebody laid: it is removed in the end.
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(&ca).with_context(|| format!("{}", ca.display()))?;
        let ca = Removed(ca);
        let written = file.write_all(server.ca_pem().unwrap_or_default().as_bytes());
        written.with_context(|| format!("{}", ca.0.display()))?;

        println!("serving {} at {}", directory.display(), server.url_base());
        println!("trust it with --cacert {}", ca.0.display());
        let valid = Duration::from_secs(self.valid);
        for (bucket, key) in server.objects()? {
            let url = match self.v2 {
                true => server.presign_v2(&bucket, &key, std::time::SystemTime::now() + valid),
                false => server.presign(&bucket, &key, valid),
            };
            println!("{key}\n  {url}");
        }
        // Without its URLs printed the server is of no use.
        if stdio::failure().is_none() {
            ended.await;
        }
        server.stop().await;
        Ok(())
    }
}

/// Reads every file below a directory.
fn read_objects(directory: &Path, prefix: &str, objects: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let key = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            read_objects(&path, &format!("{key}/"), objects)?;
        } else {
            objects.insert(key, fs::read(&path)?);
        }
    }
    Ok(())
}

/// A file that is removed on drop.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // It may be gone already.
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
