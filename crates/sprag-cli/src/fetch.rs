//! `sprag fetch`: an object into a file, resumable across runs and across URLs.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sprag::fetch::{Connector, Error, Event, Fetcher, Limits, RangeIgnored, RetryPolicy, Session, Url, UrlError};

use crate::net::{ConnectError, TokioDelay};
use crate::output_file::{Destination, destination};
use crate::partial_file::PartialFile;

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
    /// The bytes that came are thrown away: the object is another one now, or the server can't go on in the middle of it.
    StartedOver {
        /// `Error::reason` of what was found.
        reason: &'static str,
    },
}

/// The destination of a download.
pub enum Output<'w> {
    /// A file. Until the download is complete, its bytes lie in `FILE.part`. A symbolic link is followed and its target is
    /// replaced. A device node or a FIFO is written into, like a [`Stream`](Self::Stream).
    File(&'w Path),
    /// A writer. It gets the bytes as they arrive; another run starts over at byte 0.
    Stream(&'w mut (dyn Write + 'w)),
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish_non_exhaustive(),
        }
    }
}

/// Why no file came of it.
#[derive(Debug)]
pub enum Failure {
    /// The URL can't be used.
    Url(UrlError),
    /// The file can't be used.
    Input(anyhow::Error),
    /// Writing failed, for example because the disk is full. The bytes before that are kept.
    Storage(anyhow::Error),
    /// Writing into a stream failed.
    Stream(io::Error),
    /// The download stopped. What came of it is kept, unless it can't be gone on with.
    Stopped(Error<ConnectError>),
}

impl Failure {
    /// Returns a stable name of the cause, at most 24 characters long.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Url(error) => error.reason(),
            Self::Input(_) => "output-unusable",
            Self::Storage(error) if is_full(error) => "disk-full",
            Self::Storage(_) | Self::Stream(_) => "output-failed",
            Self::Stopped(error) => error.reason(),
        }
    }

    /// Tells a full disk from a file that can't be used at all.
    fn of_file(error: anyhow::Error) -> Self {
        if is_full(&error) { Self::Storage(error) } else { Self::Input(error) }
    }
}

fn is_full(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge))
}

/// An open destination.
enum Sink<'w> {
    File { part: PartialFile, output: PathBuf },
    Stream { out: Box<dyn Write + 'w>, written: bool },
}

impl<'w> Sink<'w> {
    fn open(output: Output<'w>, anew: bool) -> anyhow::Result<(Self, Session)> {
        let path = match output {
            Output::Stream(out) => {
                return Ok((Self::Stream { out: Box::new(out), written: false }, Session::default()));
            }
            Output::File(path) => destination(path)?,
        };
        match path {
            Destination::File(output) => {
                let (part, session) = PartialFile::open(&output, anew)?;
                Ok((Self::File { part, output }, session))
            }
            Destination::Special(path) => {
                let file = OpenOptions::new().write(true).open(&path).with_context(|| format!("{}", path.display()))?;
                Ok((Self::Stream { out: Box::new(file), written: false }, Session::default()))
            }
        }
    }

    fn pin(&mut self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::File { part, .. } => part.pin(session).map_err(Failure::Storage),
            Self::Stream { .. } => Ok(()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::File { part, .. } => part.append(bytes).map_err(Failure::Storage),
            Self::Stream { out, written } => {
                *written = true;
                out.write_all(bytes).map_err(Failure::Stream)
            }
        }
    }

    fn can_start_over(&self) -> bool {
        !matches!(self, Self::Stream { written: true, .. })
    }

    fn start_over(&mut self) -> Result<(), Failure> {
        match self {
            Self::File { part, .. } => part.start_over().map_err(Failure::Storage),
            Self::Stream { .. } => Ok(()),
        }
    }

    fn leave(self) {
        if let Self::File { part, .. } = self {
            part.leave();
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::File { part, output } => part.finish(&output).map_err(Failure::Storage),
            Self::Stream { mut out, .. } => out.flush().map_err(Failure::Stream),
        }
    }
}

/// Returns whether another run can resume a download into `output`. It can't for FIFOs and devices.
pub fn goes_on(output: &Path) -> bool {
    matches!(destination(output), Ok(Destination::File(_)))
}

/// Fetches `url` into `output`: the size in bytes. Run again, with the same URL or a fresh one for the same object, it goes
/// on in a file where it was.
///
/// # Errors
/// See [`Failure`].
///
/// # Cancellation safety
/// Dropping the future keeps what came, as a kill of the process does.
pub async fn fetch(
    url: &str,
    output: Output<'_>,
    connector: &impl Connector<Error = ConnectError>,
    options: Options,
    on: &mut impl FnMut(Step),
) -> Result<u64, Failure> {
    let url = Url::parse(url.bytes()).map_err(Failure::Url)?;
    let (mut sink, mut session) = Sink::open(output, options.anew).map_err(Failure::of_file)?;
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
                    sink.finish()?;
                    return Ok(total);
                }
                Ok(count) => count,
                Err(error) => break error,
            };
            let session = download.session();
            let pinned = if begun { Ok(()) } else { sink.pin(session) };
            if let Err(failure) = pinned.and_then(|()| sink.append(&buffer[..count])) {
                sink.leave();
                return Err(failure);
            }
            on(Step::Progress(session.offset, session.total.unwrap_or(session.offset)));
        };
        drop(download);
        if !error.needs_start_over() || starts == STARTS_MAX || !sink.can_start_over() {
            sink.leave();
            return Err(Failure::Stopped(error));
        }
        starts += 1;
        on(Step::StartedOver { reason: error.reason() });
        sink.start_over()?;
        session = Session::default();
    }
}
