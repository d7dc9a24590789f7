//! How a connection to a named host is made: the one seam for which the ecosystem has no trait.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU8, Ordering};

use embedded_io_async::{ErrorKind, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};

use crate::address;
use crate::retry::may_pass;
use crate::url::Scheme;

/// Dials host names, with TLS where the scheme asks for it.
#[allow(async_fn_in_trait)] // Executors of this field run futures where they are made: no `Send` to promise.
pub trait Connector {
    /// Why no connection could be made. Its kind decides about another try: `InvalidData` (a certificate that does not fit),
    /// `InvalidInput`, `PermissionDenied` and `Unsupported` are not tried again, and `Unsupported` is final, also for a later
    /// download. A TCP stack's own error is better passed on as another kind: it may come of a forged DNS answer.
    type Error: embedded_io_async::Error;
    /// A connection. Dropping it closes it.
    type Connection<'c>: Read + Write
    where
        Self: 'c;

    /// Connects to `host`, a name or an address literal (IPv6 without brackets), and verifies it is the one where the
    /// scheme is `https`. Names are resolved anew at each call: a busy storage service is left by asking DNS again.
    ///
    /// # Cancellation safety
    /// Dropping the future must leave nothing behind; a half-made connection is closed.
    async fn connect<'c>(&'c self, scheme: Scheme, host: &str, port: u16) -> Result<Self::Connection<'c>, Self::Error>;
}

impl<C: Connector> Connector for &C {
    type Error = C::Error;
    type Connection<'c>
        = C::Connection<'c>
    where
        Self: 'c;

    async fn connect<'c>(&'c self, scheme: Scheme, host: &str, port: u16) -> Result<Self::Connection<'c>, Self::Error> {
        C::connect(self, scheme, host, port).await
    }
}

/// Plain TCP over any `embedded-nal-async` stack. It refuses `https` rather than speak it in the clear.
///
/// A name may have addresses of both families, and one of them may be dead: see [`AddressFamily`].
#[derive(Debug)]
pub struct TcpConnector<'s, T, D> {
    tcp: &'s T,
    dns: &'s D,
    family: AddressFamily,
}

impl<'s, T: TcpConnect, D: Dns> TcpConnector<'s, T, D> {
    /// A connector that resolves names with `dns` and dials with `tcp`; most stacks are both.
    pub fn new(tcp: &'s T, dns: &'s D) -> Self {
        Self { tcp, dns, family: AddressFamily::new() }
    }
}

/// Which family of addresses a connector asks for, when a name has addresses of both: the one that served last, and after a
/// failure the other one.
///
/// [`Dns::get_host_by_name`] gives one address. So a connector gets to another one of the same family only if the resolver
/// gives another one the next time.
#[derive(Debug, Default)]
pub struct AddressFamily(AtomicU8);

impl AddressFamily {
    const IPV4: u8 = 4;
    const IPV6: u8 = 6;

    /// None yet: the first choice is the resolver's.
    pub const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Resolves `host` unless it is an address already. Unless [`serves`](Self::serves) follows, the next call asks for the
    /// other family first.
    ///
    /// # Errors
    /// The resolver's own.
    ///
    /// # Cancellation safety
    /// As the resolver's `get_host_by_name`.
    pub async fn resolve<D: Dns>(&self, dns: &D, host: &str) -> Result<IpAddr, D::Error> {
        if let Some(address) = address::parse(host) {
            return Ok(address);
        }
        let mut family = self.0.load(Ordering::Relaxed);
        let address = loop {
            let wanted = match family {
                Self::IPV4 => AddrType::IPv4,
                Self::IPV6 => AddrType::IPv6,
                _ => AddrType::Either,
            };
            match dns.get_host_by_name(host, wanted).await {
                Ok(address) => break address,
                Err(error) if family == 0 => return Err(error),
                // It may have no address of this family.
                Err(_) => family = 0,
            }
        };
        self.0.store(if address.is_ipv4() { Self::IPV6 } else { Self::IPV4 }, Ordering::Relaxed);
        Ok(address)
    }

    /// Notes that a connection to this address was made.
    pub fn serves(&self, address: IpAddr) {
        self.0.store(if address.is_ipv4() { Self::IPV4 } else { Self::IPV6 }, Ordering::Relaxed);
    }
}

impl<T: TcpConnect, D: Dns> Connector for TcpConnector<'_, T, D> {
    type Error = TcpConnectError<T::Error, D::Error>;
    type Connection<'c>
        = T::Connection<'c>
    where
        Self: 'c;

    async fn connect<'c>(&'c self, scheme: Scheme, host: &str, port: u16) -> Result<Self::Connection<'c>, Self::Error> {
        if scheme == Scheme::Https {
            return Err(TcpConnectError::NoTls);
        }
        let address = self.family.resolve(self.dns, host).await.map_err(TcpConnectError::Dns)?;
        let connection = self.tcp.connect(SocketAddr::new(address, port)).await.map_err(TcpConnectError::Tcp)?;
        self.family.serves(address);
        Ok(connection)
    }
}

/// Why [`TcpConnector`] made no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TcpConnectError<T, D> {
    /// The name could not be resolved.
    Dns(D),
    /// The address could not be reached.
    Tcp(T),
    /// The URL says `https`, and this connector speaks plain TCP only.
    NoTls,
}

impl<T: fmt::Debug, D: fmt::Debug> fmt::Display for TcpConnectError<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => write!(f, "the host name could not be resolved ({error:?})"),
            Self::Tcp(error) => write!(f, "the server could not be reached ({error:?})"),
            Self::NoTls => f.write_str("the URL is https, the connector speaks plain TCP only"),
        }
    }
}

impl<T: fmt::Debug, D: fmt::Debug> core::error::Error for TcpConnectError<T, D> {}

impl<T: embedded_io_async::Error, D: fmt::Debug> embedded_io_async::Error for TcpConnectError<T, D> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Dns(_) => ErrorKind::Other,
            Self::Tcp(error) => of_stack(error.kind()),
            Self::NoTls => ErrorKind::Unsupported,
        }
    }
}

/// The kind of an error of the stack below. It depends on what the network does, on a DNS answer for one: an address of a
/// family that the stack does not have, or one that nobody can have. The kinds that end a download speak of the server or of
/// the device's settings, so such an error is never of them.
pub(crate) fn of_stack(kind: ErrorKind) -> ErrorKind {
    if may_pass(kind) { kind } else { ErrorKind::Other }
}
