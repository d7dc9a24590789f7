//! Why a run of the updater ended without a staged image.

use core::fmt;

use sprag_fetch::UrlError;
use sprag_job::{SignatureAlgorithm, Status};

/// Why a run of the updater ended without a staged image. `E` is the connector's error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The job does not name exactly one artifact for this device itself.
    Artifacts {
        /// How many it names.
        count: usize,
    },
    /// The job's artifact has no URL: it comes by an MQTT stream only.
    NoUrl,
    /// The job's id is longer than [`ID_MAX`](crate::ID_MAX), so that it could not be remembered across the reboot.
    JobId {
        /// Its length in bytes.
        length: usize,
    },
    /// The job's URL can't be fetched from.
    Url(UrlError),
    /// The download stopped.
    Fetch(sprag_fetch::Error<E>),
    /// The slot or the journal can't be written.
    Flash(sprag_flash::Error),
    /// The image may not run here.
    Verify(sprag_verify::Error),
    /// The image carries no signature, and that of the job is of an algorithm that can't be verified here.
    SignatureAlgorithm {
        /// That algorithm.
        algorithm: SignatureAlgorithm,
    },
    /// The job promises a digest of an algorithm that can't be computed here.
    DigestAlgorithm,
    /// The image says no version, and that of the job can't be compared.
    VersionFormat,
    /// The image names no board, and that of the job is longer than any that a policy could ask for.
    Board {
        /// Its length in bytes.
        length: usize,
    },
    /// The bootloader can't be told or asked.
    Boot(sprag_boot::Error),
    /// The job's download began at byte 0 as often as one job may: see
    /// [`WearLimits::per_job`](crate::WearLimits::per_job).
    TooManyStarts,
    /// No more downloads may begin: see [`WearLimits::total`](crate::WearLimits::total).
    WearLimit,
    /// The device was reset 16 times in a row while it worked on the job, and the job came no further.
    NoProgress,
    /// [`Updater::start`](crate::Updater::start) has not been called since the last reset.
    NotStarted,
    /// The final report of another job has not been made: see [`Updater::report`](crate::Updater::report).
    ReportOwed,
}

impl<E> Error<E> {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str
    where
        E: embedded_io_async::Error,
    {
        match self {
            Self::Artifacts { .. } => "job-artifacts",
            Self::NoUrl => "job-no-url",
            Self::JobId { .. } => "job-id-too-long",
            Self::Url(error) => error.reason(),
            Self::Fetch(error) => error.reason(),
            Self::Flash(error) => error.reason(),
            Self::Verify(error) => error.reason(),
            Self::SignatureAlgorithm { .. } => "signature-algorithm",
            Self::DigestAlgorithm => "digest-algorithm",
            Self::VersionFormat => "version-format",
            Self::Board { .. } => "board-too-long",
            Self::Boot(error) => error.reason(),
            Self::TooManyStarts => "too-many-starts",
            Self::WearLimit => "wear-limit",
            Self::NoProgress => "no-progress",
            Self::NotStarted => "not-started",
            Self::ReportOwed => "report-owed",
        }
    }

    /// Whether the same job may succeed later, with the same document or a fresh URL. What came so far is kept.
    pub fn is_retryable(&self) -> bool
    where
        E: embedded_io_async::Error,
    {
        match self {
            Self::Artifacts { .. } | Self::NoUrl | Self::JobId { .. } => false,
            Self::TooManyStarts | Self::WearLimit | Self::NoProgress => false,
            Self::SignatureAlgorithm { .. } | Self::DigestAlgorithm | Self::VersionFormat | Self::Board { .. } => false,
            Self::Url(error) => error.is_retryable(),
            Self::Fetch(error) => error.is_retryable() || error.needs_new_url() || error.needs_start_over(),
            Self::Flash(error) => error.is_retryable(),
            Self::Verify(error) => error.is_retryable(),
            Self::Boot(error) => error.is_retryable(),
            Self::NotStarted | Self::ReportOwed => true,
        }
    }

    /// Whether a fresh document of the same job, with a fresh URL, is what it takes.
    pub fn needs_new_url(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.needs_new_url())
    }

    /// What a job that ends with this error is to be reported as: rejected when its document makes no sense, refused
    /// when what it names may not run here, failed when this device could not do it.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Artifacts { .. } | Self::NoUrl | Self::JobId { .. } | Self::Url(_) => Status::Rejected,
            // Of a fetch that is final, the server's answer alone is about what was to be fetched.
            Self::Fetch(sprag_fetch::Error::Answer(_)) | Self::Verify(_) => Status::Refused,
            Self::SignatureAlgorithm { .. } | Self::DigestAlgorithm => Status::Refused,
            Self::VersionFormat | Self::Board { .. } => Status::Refused,
            Self::Flash(sprag_flash::Error::TooLarge { .. }) => Status::Refused,
            _ => Status::Failed,
        }
    }
}

impl<E> From<UrlError> for Error<E> {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl<E> From<sprag_fetch::Error<E>> for Error<E> {
    fn from(error: sprag_fetch::Error<E>) -> Self {
        Self::Fetch(error)
    }
}

impl<E> From<sprag_flash::Error> for Error<E> {
    fn from(error: sprag_flash::Error) -> Self {
        Self::Flash(error)
    }
}

impl<E> From<sprag_verify::Error> for Error<E> {
    fn from(error: sprag_verify::Error) -> Self {
        Self::Verify(error)
    }
}

impl<E> From<sprag_boot::Error> for Error<E> {
    fn from(error: sprag_boot::Error) -> Self {
        Self::Boot(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifacts { count } => write!(f, "the job names {count} artifacts for this device, not one"),
            Self::NoUrl => f.write_str("the job names no URL, only an MQTT stream"),
            Self::JobId { length } => {
                write!(f, "the job's id is {length} bytes long, longer than {}", crate::ID_MAX)
            }
            Self::Url(error) => error.fmt(f),
            Self::Fetch(error) => error.fmt(f),
            Self::Flash(error) => error.fmt(f),
            Self::Verify(error) => error.fmt(f),
            Self::SignatureAlgorithm { algorithm } => {
                write!(f, "the job's signature can't be verified here: {}", algorithm.name())
            }
            Self::DigestAlgorithm => f.write_str("the job's digest can't be computed here"),
            Self::VersionFormat => f.write_str("the job's version can't be compared"),
            Self::Board { length } => write!(f, "the job's name of a board is {length} bytes long, 64 at most"),
            Self::Boot(error) => error.fmt(f),
            Self::TooManyStarts => f.write_str("the download of this job began at byte 0 too often"),
            Self::WearLimit => f.write_str("no more downloads may begin for now, to protect the flash from wear"),
            Self::NoProgress => f.write_str("the device was reset again and again while it worked on this job"),
            Self::NotStarted => f.write_str("the updater was not told that the device started"),
            Self::ReportOwed => f.write_str("the final report of the job before has not been made"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}
