//! TLS 1.3 by `embedded-tls`, and what it leaves out: verification of the server, identity of the device, and checks of
//! records.

mod connector;
mod der;
mod error;
pub(crate) mod guard;
mod identity;
mod key_usage;
mod path;
#[cfg(feature = "tls-rsa")]
mod rsa;
mod session;
mod signatures;
mod suite;
mod trust;

pub use connector::{TlsConnection, TlsConnector};
pub use error::{TlsConnectError, TlsError};
pub use identity::{Identity, IdentityKey, P256IdentityKey};
pub use session::{READ_BUFFER_FULL, READ_BUFFER_MIN, Tls, WRITE_BUFFER_MIN};
pub use signatures::verify_p256;
pub use trust::{CertificateError, Trust};

#[cfg(fuzzing)]
pub use trust::fuzz_chain;
