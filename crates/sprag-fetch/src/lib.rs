#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]
#![doc = include_str!("../README.md")]

mod address;
mod backoff;
mod buffer;
#[cfg_attr(not(feature = "chunked"), path = "chunked/none.rs")]
mod chunked;
mod connector;
#[cfg(feature = "retry-after-date")]
mod date;
mod download;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod pace;
#[cfg_attr(not(feature = "redirects"), path = "redirect/none.rs")]
mod redirect;
mod request;
mod response;
mod retry;
mod session;
#[cfg(feature = "embedded-tls")]
mod tls;
mod url;

pub use backoff::Backoff;
pub use connector::{AddressFamily, Connector, TcpConnectError, TcpConnector};
pub use download::{Download, Event, Fetcher, Limits};
pub use error::{Error, Waiting};
pub use image::{Image, ImageSource};
pub use request::ByteRange;
pub use response::{ETAG_MAX, ErrorCode, Etag, HeadError, Region};
pub use retry::RetryPolicy;
pub use session::{AnswerError, RangeIgnored, SESSION_MAX, Session};
#[cfg(feature = "embedded-tls")]
pub use tls::{
    CertificateError, Identity, IdentityKey, P256IdentityKey, READ_BUFFER_FULL, READ_BUFFER_MIN, Tls, TlsConnectError,
    TlsConnection, TlsConnector, TlsError, Trust, WRITE_BUFFER_MIN, verify_p256,
};
pub use url::{HOST_MAX, Scheme, Url, UrlError, UrlErrorKind};
