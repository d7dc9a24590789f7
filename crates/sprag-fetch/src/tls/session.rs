//! One TLS session after the other, inside the future that owns the buffers; and the desk at which connections ask it.

use core::cell::RefCell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use embedded_nal_async::{Dns, TcpConnect};
use embedded_tls::{CryptoRngCore, MaxFragmentLength, TlsConfig, TlsContext};

use super::error::{TlsConnectError, TlsError};
use super::guard::{Guarded, Wire};
use super::identity::{AROUND_IN_FRAGMENT, Identity};
use super::suite::CheckedSuite;
use super::trust::{Check, Trust};
use crate::address;
use crate::connector::AddressFamily;
use crate::url::HOST_MAX;

/// A read buffer of this size takes every record that TLS 1.3 has (RFC 8446, section 5.2, with AES-GCM's tag of 16 bytes).
/// With a smaller one, shorter records are asked of the server (RFC 6066, section 4).
pub const READ_BUFFER_FULL: usize = FRAGMENT_MAX + RECORD_OVERHEAD;
/// The smallest read buffer: for servers that agree to records of 512 bytes and whose certificates fit into one.
pub const READ_BUFFER_MIN: usize = 512 + RECORD_OVERHEAD;
/// The smallest write buffer: a `ClientHello` for a host name of 253 bytes, and what embedded-tls keeps free.
pub const WRITE_BUFFER_MIN: usize = 512 + embedded_tls::TLS_RECORD_OVERHEAD;

const FRAGMENT_MAX: usize = 16 * 1024;
/// The type of what is encrypted, and the tag.
const RECORD_OVERHEAD: usize = 1 + 16;
/// How much goes over the desk at once.
const PIECE: usize = 256;

type Connection<'a, S> = embedded_tls::TlsConnection<'a, S, CheckedSuite>;

/// What a connection wants of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Dial,
    /// Bytes, into `incoming`.
    Read,
    /// What lies in `outgoing` to be taken.
    Write,
    Flush,
}

/// Where a connection and its session meet. Nothing is borrowed from it across an `await`.
pub(super) struct Desk<T, D> {
    /// Counts connections: an order counts for the last one only.
    pub(super) number: u32,
    /// Whether that one is over: its session is to end.
    pub(super) over: bool,
    pub(super) order: Option<Order>,
    pub(super) done: Option<Result<(), TlsConnectError<T, D>>>,
    pub(super) host: heapless::String<HOST_MAX>,
    pub(super) port: u16,
    pub(super) incoming: heapless::Vec<u8, PIECE>,
    /// Bytes of `incoming` that were handed out.
    pub(super) taken: usize,
    pub(super) outgoing: heapless::Vec<u8, PIECE>,
}

/// TLS over any `embedded-nal-async` stack: what its sessions and its [`TlsConnector`](super::TlsConnector) share.
///
/// `embedded-tls` borrows its record buffers for as long as a connection lives. For them to serve one connection after the
/// other, connections live inside one future that has the buffers, [`Tls::sessions`], and the connector asks it.
pub struct Tls<'s, T: TcpConnect, D: Dns> {
    pub(super) tcp: &'s T,
    pub(super) dns: &'s D,
    pub(super) family: AddressFamily,
    trust: Trust<'s>,
    identity: Option<Identity<'s>>,
    pub(super) desk: RefCell<Desk<T::Error, D::Error>>,
}

impl<T: TcpConnect, D: Dns> core::fmt::Debug for Tls<'_, T, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tls").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl<'s, T: TcpConnect, D: Dns> Tls<'s, T, D> {
    /// TLS that resolves names with `dns`, dials with `tcp` and believes what `trust` says.
    ///
    /// A read of the stack's that is dropped must lose nothing, as is so with `embassy-net`: a connection that waits for what
    /// may come is interrupted when there is something to send.
    pub fn new(tcp: &'s T, dns: &'s D, trust: Trust<'s>) -> Self {
        let desk = Desk {
            number: 0,
            over: true,
            order: None,
            done: None,
            host: heapless::String::new(),
            port: 0,
            incoming: heapless::Vec::new(),
            taken: 0,
            outgoing: heapless::Vec::new(),
        };
        Self { tcp, dns, family: AddressFamily::new(), trust, identity: None, desk: RefCell::new(desk) }
    }

    /// With a client certificate (mutual TLS): shown to every server that asks for one, once it has proved who it is. A server
    /// that asks in vain decides by itself.
    ///
    /// What it thinks of the certificate, it says after the handshake: a refusal is [`TlsError::Refused`] of the first read.
    #[must_use]
    pub fn identity(mut self, identity: Identity<'s>) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Runs the sessions, one at a time: to be pinned, and handed to [`TlsConnector::new`](super::TlsConnector::new).
    ///
    /// `rng` must be one for cryptography, seeded by the chip's true random numbers. `read` holds one record of the
    /// server's: [`READ_BUFFER_FULL`] bytes for every server; with less, servers that agree to it send records of 4096,
    /// 2048, 1024 or 512 bytes, the most that fit. `write` holds one of ours: [`WRITE_BUFFER_MIN`] bytes and up, and with an
    /// identity [`Identity::write_buffer`].
    ///
    /// # Cancellation safety
    /// Dropping it ends the session that is under way, as a cut connection does.
    pub async fn sessions(&self, mut rng: impl CryptoRngCore, read: &mut [u8], write: &mut [u8]) -> Infallible {
        loop {
            let number = poll_fn(|_| {
                let desk = self.desk.borrow();
                if desk.order == Some(Order::Dial) && !desk.over { Poll::Ready(desk.number) } else { Poll::Pending }
            })
            .await;
            let over = poll_fn(|_| {
                let desk = self.desk.borrow();
                if desk.over || desk.number != number { Poll::Ready(()) } else { Poll::Pending }
            });
            if let Either::Second(Err(error)) = select(over, self.session(&mut rng, read, write)).await {
                let mut desk = self.desk.borrow_mut();
                if desk.number == number {
                    (desk.over, desk.order, desk.done) = (true, None, Some(Err(error)));
                }
            }
        }
    }

    /// From the dial to the end of the connection.
    async fn session(
        &self,
        rng: &mut impl CryptoRngCore,
        read: &mut [u8],
        mut write: &mut [u8],
    ) -> Result<Infallible, TlsConnectError<T::Error, D::Error>> {
        // What is asked of the server binds the device as well: its certificate goes out in one record.
        let (read_min, write_min) = self.identity.map_or((READ_BUFFER_MIN, WRITE_BUFFER_MIN), |identity| {
            let length = identity.certificate.len();
            (read_buffer_for(length.saturating_add(AROUND_IN_FRAGMENT)), Identity::write_buffer(identity.certificate))
        });
        for (length, needed) in [(read.len(), read_min), (write.len(), write_min)] {
            if length < needed {
                return Err(TlsConnectError::Tls(TlsError::Buffer { needed }));
            }
        }
        self.trust.check_roots().map_err(|error| TlsConnectError::Tls(TlsError::Certificate(error)))?;
        let (host, port) = {
            let desk = self.desk.borrow();
            (desk.host.clone(), desk.port)
        };
        let address = self.family.resolve(self.dns, &host).await.map_err(TlsConnectError::Dns)?;
        let mut socket = self.tcp.connect(SocketAddr::new(address, port)).await.map_err(TlsConnectError::Tcp)?;

        let mut config = TlsConfig::new();
        if cfg!(feature = "tls-rsa") {
            config = config.enable_rsa_signatures();
        }
        // An address is no name (RFC 6066, section 3).
        if address::parse(&host).is_none() {
            config = config.with_server_name(&host);
        }
        if let Some((length, most)) = fragment_for(read.len()) {
            config = config.with_max_fragment_length(length);
            let most = most.saturating_add(embedded_tls::TLS_RECORD_OVERHEAD).min(write.len());
            write = write.get_mut(..most).unwrap_or_default();
        }
        let mut check = Check::new(self.trust, self.identity, &host, rng);
        let wire = Wire::default();
        let mut connection = Connection::new(Guarded::new(&mut socket, &wire), read, write);
        let error = match connection.open(TlsContext::new(&config, &mut check)).await {
            Ok(()) => {
                check.passed().map_err(TlsConnectError::Tls)?;
                // Not before: a path that loses long packets lets a connection be made, and no handshake through.
                self.family.serves(address);
                wire.open.set(true);
                let Err(error) = self.serve(&mut connection, &wire).await;
                error
            }
            Err(error) => {
                // The server is to hear why.
                if wire.owed.get() {
                    let _ = socket.flush().await;
                }
                if let Some(refused) = check.refused() {
                    return Err(TlsConnectError::Tls(TlsError::Certificate(refused)));
                }
                error
            }
        };
        // What embedded-tls makes of an alert.
        let alert = match error {
            embedded_tls::TlsError::InternalError | embedded_tls::TlsError::InvalidRecord => wire.alert(read),
            _ => None,
        };
        Err(TlsConnectError::Tls(alert.map_or_else(|| error.into(), |alert| TlsError::Refused { alert })))
    }

    /// Carries out the orders of one connection, whose handshake is over.
    async fn serve<S: Read + Write>(
        &self,
        connection: &mut Connection<'_, Guarded<'_, S>>,
        wire: &Wire,
    ) -> Result<Infallible, embedded_tls::TlsError> {
        use embedded_tls::TlsError as E;
        let mut order = Order::Dial;
        loop {
            while let Some(kind) = wire.broken.get() {
                // To the end of what the server has said.
                match connection.read_buffered().await {
                    Ok(mut arrived) => arrived.pop_all(),
                    Err(E::ConnectionClosed) => return Err(E::Io(kind)),
                    Err(error) => return Err(error),
                };
            }
            self.done(order);
            order = poll_fn(|_| self.desk.borrow().order.map_or(Poll::Pending, Poll::Ready)).await;
            match order {
                Order::Dial => {}
                Order::Read => {
                    // Whoever dropped a read to write something is not kept waiting until the server says a word.
                    let other = poll_fn(|_| match self.desk.borrow().order {
                        Some(Order::Write | Order::Flush) if !wire.inside.get() => Poll::Ready(()),
                        _ => Poll::Pending,
                    });
                    match select(connection.read_buffered(), other).await {
                        Either::First(Ok(mut arrived)) => self.arrived(arrived.pop(PIECE)),
                        // The server's own end of the connection.
                        Either::First(Err(E::ConnectionClosed)) => self.arrived(&[]),
                        Either::First(Err(error)) => return Err(error),
                        Either::Second(()) => {}
                    }
                }
                Order::Write => {
                    let outgoing = core::mem::take(&mut self.desk.borrow_mut().outgoing);
                    connection.write_all(&outgoing).await?;
                }
                Order::Flush => {
                    wire.at_once.set(true);
                    let flushed = connection.flush().await;
                    wire.at_once.set(false);
                    flushed?;
                }
            }
        }
    }

    fn arrived(&self, bytes: &[u8]) {
        let mut desk = self.desk.borrow_mut();
        desk.taken = 0;
        desk.incoming.clear();
        // No longer than a piece: there is room.
        let _ = desk.incoming.extend_from_slice(bytes);
    }

    /// An order has been carried out, unless another one has taken its place meanwhile.
    fn done(&self, order: Order) {
        let mut desk = self.desk.borrow_mut();
        if desk.order == Some(order) {
            (desk.order, desk.done) = (None, Some(Ok(())));
        }
    }
}

/// The lengths of records that can be asked for.
const FRAGMENTS: [(MaxFragmentLength, usize); 4] = [
    (MaxFragmentLength::Bits9, 512),
    (MaxFragmentLength::Bits10, 1024),
    (MaxFragmentLength::Bits11, 2048),
    (MaxFragmentLength::Bits12, 4096),
];

/// The longest records to ask for that a read buffer of this size takes; `None` where it takes all.
fn fragment_for(buffer: usize) -> Option<(MaxFragmentLength, usize)> {
    let room = buffer.saturating_sub(RECORD_OVERHEAD);
    FRAGMENTS.into_iter().rfind(|(_, length)| *length <= room).filter(|_| room < FRAGMENT_MAX)
}

/// The smallest read buffer with which messages of so many bytes may go out in one record.
fn read_buffer_for(message: usize) -> usize {
    let fits = FRAGMENTS.into_iter().find(|(_, length)| message <= *length);
    fits.map_or(READ_BUFFER_FULL, |(_, length)| length.saturating_add(RECORD_OVERHEAD))
}
