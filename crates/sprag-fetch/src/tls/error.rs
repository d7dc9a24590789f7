//! Why there is no TLS connection.

use core::fmt;

use embedded_io_async::ErrorKind;

use super::trust::CertificateError;
use crate::connector::of_stack;

/// Why a TLS connection could not be made, or broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TlsError {
    /// The server is not who it says it is.
    Certificate(CertificateError),
    /// The server refused the handshake with this alert (RFC 8446, section 6); or ended the connection with it later, as it
    /// does at the first read where it wants a client certificate: 116 without one, 42 to 49 or 51 with one that it does not
    /// take.
    Refused {
        /// The number of the alert.
        alert: u8,
    },
    /// The [`IdentityKey`](super::IdentityKey) did not sign.
    Identity,
    /// A record of the server's is longer than the read buffer, and it did not agree to shorter ones; or its certificates
    /// don't fit into one record of the length that it agreed to. Anybody on the way can send such a record, so it says nothing
    /// certain about the server.
    Record,
    /// One of the buffers is smaller than this many bytes, which a handshake takes, or the device's own certificate.
    Buffer {
        /// The size that would do.
        needed: usize,
    },
    /// The server does not keep to TLS 1.3, or a record was tampered with.
    Protocol,
    /// The connection below broke.
    Io(#[cfg_attr(feature = "defmt", defmt(Debug2Format))] ErrorKind),
    /// [`Tls::sessions`](super::Tls::sessions) is not the future that belongs to this connection, or serves another one now.
    Gone,
}

impl TlsError {
    /// A stable word for status reports, of at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Certificate(error) => error.reason(),
            Self::Refused { .. } => "tls-refused",
            Self::Identity => "tls-identity-key",
            Self::Record => "tls-record-too-long",
            Self::Buffer { .. } => "tls-buffer-too-small",
            Self::Protocol => "tls-protocol",
            Self::Io(_) => "connection-broken",
            Self::Gone => "tls-session-gone",
        }
    }

    /// Returns whether the same may succeed later, unchanged.
    ///
    /// Everything that comes from the network is retryable, because it may not come from the server: a captive portal may be
    /// the reason, somebody on the way, or a clock that is not set yet. What this device is set up with is final:
    /// [`Self::Buffer`] and [`CertificateError::Root`], both found before anything is sent.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Buffer { .. } | Self::Certificate(CertificateError::Root))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(f),
            // `handshake_failure`: among other reasons, there is no certificate for what was offered.
            Self::Refused { alert: 40 } if cfg!(not(feature = "tls-rsa")) => f.write_str(
                "the server refused the TLS handshake (alert 40), perhaps because its certificate is RSA (feature `tls-rsa`)",
            ),
            Self::Refused { alert } => write!(f, "the server refused the TLS handshake (alert {alert})"),
            Self::Identity => f.write_str("the device's own key did not sign the TLS handshake"),
            Self::Record => f.write_str("a TLS record of the server's is longer than the read buffer"),
            Self::Buffer { needed } => write!(f, "a TLS buffer is smaller than {needed} bytes"),
            Self::Protocol => f.write_str("the server does not keep to TLS 1.3"),
            Self::Io(kind) => write!(f, "the connection broke ({kind:?})"),
            Self::Gone => f.write_str("the TLS session serves another connection now"),
        }
    }
}

impl core::error::Error for TlsError {}

impl embedded_io_async::Error for TlsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Buffer { .. } | Self::Certificate(CertificateError::Root) => FINAL,
            Self::Certificate(_) => ErrorKind::InvalidData,
            Self::Refused { .. } => ErrorKind::ConnectionRefused,
            Self::Identity => ErrorKind::Other,
            Self::Record => ErrorKind::OutOfMemory,
            Self::Protocol | Self::Gone => ErrorKind::ConnectionAborted,
            Self::Io(kind) => of_stack(*kind),
        }
    }
}

/// The kind that [`Error::is_retryable`](crate::Error::is_retryable) takes for final.
const FINAL: ErrorKind = ErrorKind::Unsupported;

impl From<embedded_tls::TlsError> for TlsError {
    fn from(error: embedded_tls::TlsError) -> Self {
        use embedded_tls::TlsError as E;
        match error {
            E::HandshakeAborted(_, description) => Self::Refused { alert: alert(description) },
            E::InsufficientSpace | E::OutOfMemory => Self::Record,
            // A message of the handshake that goes on in the next record, which embedded-tls does not read.
            E::InvalidCertificate | E::InvalidCertificateEntry => Self::Record,
            E::Io(kind) => Self::Io(kind),
            // The end of the stream below, without TLS's own.
            E::IoError => Self::Io(ErrorKind::ConnectionAborted),
            _ => Self::Protocol,
        }
    }
}

/// The number of an alert, which `embedded-tls` names.
fn alert(description: embedded_tls::alert::AlertDescription) -> u8 {
    description as u8
}

/// Why [`TlsConnector`](super::TlsConnector) made no connection. `T` is the stack's error, `D` the resolver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TlsConnectError<T, D> {
    /// The name could not be resolved.
    Dns(D),
    /// The address could not be reached.
    Tcp(T),
    /// There is no TLS to be had with whoever is there.
    Tls(TlsError),
}

impl<T: fmt::Debug, D: fmt::Debug> fmt::Display for TlsConnectError<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => write!(f, "the host name could not be resolved ({error:?})"),
            Self::Tcp(error) => write!(f, "the server could not be reached ({error:?})"),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl<T: fmt::Debug, D: fmt::Debug> core::error::Error for TlsConnectError<T, D> {}

impl<T: embedded_io_async::Error, D: fmt::Debug> embedded_io_async::Error for TlsConnectError<T, D> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Dns(_) => ErrorKind::Other,
            Self::Tcp(error) => of_stack(error.kind()),
            Self::Tls(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use embedded_io_async::Error as _;

    /// The kind carries what is final to [`Error`], which knows nothing of TLS.
    #[test]
    fn what_this_device_is_set_up_with_is_final_and_nothing_else() {
        use CertificateError as C;
        let certificates = [
            C::Missing,
            C::Expired,
            C::NotYetValid,
            C::OtherHost,
            C::UnknownIssuer,
            C::Signature,
            C::Unsupported,
            C::NeedsRsa,
            C::NeedsP384,
            C::Unfit,
            C::TooComplex,
        ];
        let kinds = [ErrorKind::Other, ErrorKind::Unsupported, ErrorKind::ConnectionReset, ErrorKind::InvalidInput];
        let others = [TlsError::Identity, TlsError::Record, TlsError::Protocol, TlsError::Gone];
        let from_outside = (certificates.map(TlsError::Certificate).into_iter())
            .chain((0..=255).map(|alert| TlsError::Refused { alert }))
            .chain(kinds.map(TlsError::Io))
            .chain(others);
        for error in from_outside {
            assert!(error.is_retryable(), "{error}");
            let error = Error::Connect(TlsConnectError::<ErrorKind, ErrorKind>::Tls(error));
            assert!(error.is_retryable(), "{error}");
        }
        for kind in kinds {
            for error in [TlsConnectError::Tcp(kind), TlsConnectError::Dns(kind)] {
                assert!(Error::Connect(error).is_retryable(), "{error}");
            }
        }
        for error in [TlsError::Buffer { needed: 529 }, TlsError::Certificate(C::Root)] {
            assert!(!error.is_retryable(), "{error}");
            assert_eq!(error.kind(), FINAL);
            assert!(!Error::Connect(TlsConnectError::<ErrorKind, ErrorKind>::Tls(error)).is_retryable(), "{error}");
        }
    }
}
