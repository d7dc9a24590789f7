//! What to serve, where, and how to close connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Credentials;

/// How a connection ends when it has had its number of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseMode {
    /// As S3 does: the last answer carries `Connection: close`.
    Announced,
    /// The last answer looks like any other; then the connection is closed, and a further request gets no answer.
    Silent,
}

/// What to serve and how; see [`Config::new`] for the defaults.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The directory that is served.
    pub root: PathBuf,
    /// With a name, `root` itself is the one bucket, called so. Without, each sub-directory of `root` whose name is a
    /// valid bucket name is a bucket.
    pub bucket: Option<String>,
    /// TLS 1.3 (the default) or plain HTTP.
    pub tls: bool,
    /// A connection is closed after this many requests; `None` for never. S3 (and the default): 100.
    pub requests_per_connection: Option<u32>,
    /// How it is closed then. The default is [`CloseMode::Announced`].
    pub close: CloseMode,
    /// Where to listen. The default is a free port of 127.0.0.1.
    pub bind: SocketAddr,
    /// The host name or address that URLs and the certificate name; `localhost` by default. For devices on the
    /// network, set this machine's name or address, and `bind` accordingly.
    pub host: String,
    /// What URLs are signed with; [`Credentials::generate`] by default.
    pub credentials: Credentials,
    /// The region in the signatures' scope; `us-east-1` by default.
    pub region: String,
}

impl Config {
    /// Serves `root`, each of whose sub-directories is a bucket. [`Server::put`](super::Server::put) makes new ones.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            bucket: None,
            tls: true,
            requests_per_connection: Some(100),
            close: CloseMode::Announced,
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            host: "localhost".into(),
            credentials: Credentials::generate(),
            region: "us-east-1".into(),
        }
    }

    /// Publishes a directory as it is: it becomes one bucket of (nearly) its own name, and every file below it an
    /// object. Serving writes nothing into it.
    ///
    /// The name is made a valid bucket name: `My_Firmware` becomes `my-firmware`.
    ///
    /// # Errors
    /// When `directory` does not exist or is not a directory.
    pub fn publish(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let root = directory.canonicalize().with_context(|| format!("cannot serve {}", directory.display()))?;
        if !root.is_dir() {
            bail!("cannot serve {}: it is not a directory", directory.display());
        }
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let bucket = Some(bucket_name(&name));
        Ok(Self { bucket, ..Self::new(root) })
    }
}

/// The nearest valid bucket name: 3 to 63 of `a-z 0-9 -`, a letter or digit at both ends.
fn bucket_name(directory: &str) -> String {
    let mut name: String = directory
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
            _ => '-',
        })
        .take(63)
        .collect();
    name = name.trim_matches('-').into();
    if name.len() < 3 {
        name = format!("bucket-{name}").trim_end_matches('-').into();
    }
    if s3s::path::check_bucket_name(&name) { name } else { "bucket".into() }
}

#[cfg(test)]
mod tests {
    use super::bucket_name;

    #[test]
    fn any_directory_name_makes_a_bucket_name() {
        for (directory, bucket) in [
            ("firmware", "firmware"),
            ("My_Firmware", "my-firmware"),
            ("v1.2", "v1-2"),
            ("a", "bucket-a"),
            ("", "bucket"),
            ("..", "bucket"),
            ("xn--a", "bucket"),
            ("größe", "gr--e"),
            (&"x".repeat(80), &"x".repeat(63)),
        ] {
            assert_eq!(bucket_name(directory), bucket);
            assert!(s3s::path::check_bucket_name(bucket), "{bucket}");
        }
    }
}
