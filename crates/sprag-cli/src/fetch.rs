//! `sprag fetch`: an object into a file, resumable across runs and across URLs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use serde::{Deserialize, Serialize};
use sprag::fetch::{Connector, Error, Etag, Event, Fetcher, Limits, RangeIgnored, RetryPolicy, Session, Url};

use crate::net::{ConnectError, TokioDelay};

const BUFFER: usize = 64 * 1024;
/// How often the object may change under the reader within one run.
const STARTS_MAX: u32 = 3;

/// How to fetch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Ask for ranges of this size instead of one open range.
    pub range_size: Option<NonZeroU64>,
    /// What to do about servers that ignore ranges.
    pub range_ignored: RangeIgnored,
    /// How failures are tried again.
    pub retry: RetryPolicy,
    /// What bounds it.
    pub limits: Limits,
    /// Begin at byte 0, whatever an earlier run left.
    pub anew: bool,
}

/// What happens on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The download begins, or goes on, at this byte.
    From(u64),
    /// Something happened on the network.
    Fetch(Event),
    /// So many bytes are there, of so many.
    Progress(u64, u64),
    /// What came is thrown away: the object is another one now, or the server can't go on in the middle of it.
    StartedOver {
        /// `Error::reason` of what was found.
        reason: &'static str,
    },
}

/// Why no file came of it.
#[derive(Debug)]
pub enum Failure {
    /// The URL or the file can't be used.
    Input(anyhow::Error),
    /// The download stopped. What came of it is kept, unless it can't be gone on with.
    Stopped(Error<ConnectError>),
}

/// What is known of a part that was downloaded: kept beside it as `FILE.part.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Pin {
    total: u64,
    etag: String,
}

struct Part {
    path: PathBuf,
    pin: PathBuf,
    file: File,
}

impl Part {
    /// Opens what an earlier run left, or begins.
    fn open(output: &Path, anew: bool) -> anyhow::Result<(Self, Session)> {
        let beside = |ending: &str| {
            let mut name = output.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            output.with_file_name(name)
        };
        let (path, pin) = (beside(".part"), beside(".part.json"));
        let named = || format!("{}", path.display());
        // Found out now, not when the whole download is to take its name.
        ensure!(!output.is_dir(), "{}: a directory", output.display());
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).with_context(named)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => anyhow!("{}: in use by another process", path.display()),
            TryLockError::Error(error) => anyhow!("{}: {error}", path.display()),
        })?;
        let known: Option<Pin> = fs::read(&pin).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let mut length = file.seek(SeekFrom::End(0)).with_context(named)?;
        // Of a part that is whole the last byte is fetched again: whether it is this object's is for the server to say.
        if known.as_ref().is_some_and(|pin| pin.total == length) {
            length = length.saturating_sub(1);
            file.set_len(length).and_then(|()| file.seek(SeekFrom::End(0))).with_context(named)?;
        }
        let session = match known {
            Some(Pin { total, etag }) if length <= total && !anew => match Etag::try_from(etag.as_str()) {
                Ok(etag) => Session { offset: length, total: Some(total), etag: Some(etag) },
                Err(_) => Session::default(),
            },
            _ => Session::default(),
        };
        let mut part = Self { path, pin, file };
        if session.offset == 0 {
            part.start_over()?;
        }
        Ok((part, session))
    }

    fn start_over(&mut self) -> anyhow::Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).with_context(|| format!("{}", self.path.display()))?;
        match fs::remove_file(&self.pin) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}", self.pin.display()))
            }
            _ => Ok(()),
        }
    }

    /// Remembers which object the bytes are of, before the first of them is written. Without a strong ETag the next run
    /// could not tell the object from another one: it begins anew.
    fn remember(&self, session: &Session) -> anyhow::Result<()> {
        let Some((total, etag)) = session.total.zip(session.etag.as_ref()).filter(|_| session.is_pinned()) else {
            return Ok(());
        };
        let json = serde_json::to_vec(&Pin { total, etag: etag.as_str().to_owned() })?;
        fs::write(&self.pin, json).with_context(|| format!("{}", self.pin.display()))
    }

    /// Leaves what came to the next run; where nothing came, nothing is left behind.
    fn leave(self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(&self.pin);
        }
    }

    fn finish(self, output: &Path) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("{}", self.path.display()))?;
        fs::rename(&self.path, output).with_context(|| format!("{}", output.display()))?;
        let _ = fs::remove_file(&self.pin);
        Ok(())
    }
}

/// Fetches `url` into `output`: the size in bytes. Until it is whole, what came lies in `output.part`; run again, with
/// the same URL or a fresh one for the same object, it goes on there.
///
/// # Errors
/// See [`Failure`].
///
/// # Cancellation safety
/// Dropping the future keeps what came, as a kill of the process does.
pub async fn fetch(
    url: &str,
    output: &Path,
    connector: &impl Connector<Error = ConnectError>,
    options: Options,
    on: &mut impl FnMut(Step),
) -> Result<u64, Failure> {
    let url = Url::parse(url.bytes()).map_err(|error| Failure::Input(error.into()))?;
    let (mut part, mut session) = Part::open(output, options.anew).map_err(Failure::Input)?;
    let mut starts = 1;
    loop {
        on(Step::From(session.offset));
        let mut fetcher = Fetcher::new(connector, TokioDelay)
            .retry(options.retry)
            .limits(options.limits)
            .range_ignored(options.range_ignored);
        if let Some(size) = options.range_size {
            fetcher = fetcher.range_size(size);
        }
        let mut download = fetcher.download(url.clone(), session);
        let mut buffer = vec![0; BUFFER];
        let error = loop {
            let begun = download.session().offset > 0;
            let count = match download.read(&mut buffer, &mut |event| on(Step::Fetch(event))).await {
                Ok(0) => {
                    let total = download.session().offset;
                    drop(download);
                    part.finish(output).map_err(Failure::Input)?;
                    return Ok(total);
                }
                Ok(count) => count,
                Err(error) => break error,
            };
            if !begun {
                part.remember(download.session()).map_err(Failure::Input)?;
            }
            let written = part.file.write_all(&buffer[..count]);
            written.with_context(|| format!("{}", part.path.display())).map_err(Failure::Input)?;
            let session = download.session();
            on(Step::Progress(session.offset, session.total.unwrap_or(session.offset)));
        };
        drop(download);
        if !error.needs_start_over() || starts == STARTS_MAX {
            part.leave();
            return Err(Failure::Stopped(error));
        }
        starts += 1;
        on(Step::StartedOver { reason: error.reason() });
        part.start_over().map_err(Failure::Input)?;
        session = Session::default();
    }
}
