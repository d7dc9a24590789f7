//! A cloud on this machine, with no set-up: an S3 server in process.
//!
//! It verifies presigned URLs (Signature Version 4 and 2, session token included), speaks TLS 1.3 with a certificate
//! made on the spot, and closes connections the way S3 does: after 100 requests. Tests can make it misbehave at an
//! exact request with a [`Disturbance`].
//!
//! ```no_run
//! # async fn run() -> anyhow::Result<()> {
//! use sprag_cli::s3::{Config, Server};
//! use std::time::Duration;
//!
//! let server = Server::start(Config::publish("build")?).await?;
//! println!("trust this certificate:\n{}", server.ca_pem().unwrap_or_default());
//! for (bucket, key) in server.objects()? {
//!     println!("{}", server.presign(&bucket, &key, Duration::from_secs(3600)));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Over the network it can only be read: objects are put by [`Server::put`] or by writing files into the directory.
//! Errors in S3's own words come from the `s3s` crate, ranges and ETags (the MD5 of the content) from `s3s-fs`.
//!
//! Nothing here prints. `s3s` reports to `tracing`, at its debug level with URLs and signatures: do not subscribe to
//! that level where they would be kept.

mod answer;
mod config;
mod connection;
mod disturbance;
mod flushed;
mod log;
mod presign;
mod server;
mod store;
mod tls;

pub use config::{CloseMode, Config};
pub use disturbance::Disturbance;
pub use log::{RequestRecord, Stats};
pub use presign::Credentials;
pub use server::Server;
