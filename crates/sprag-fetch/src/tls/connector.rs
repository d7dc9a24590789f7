//! The connector over `embedded-tls`.

use core::cell::RefCell;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use embedded_io_async::{Error as _, ErrorType, Read, Write};
use embedded_nal_async::{Dns, TcpConnect};

use super::error::{TlsConnectError, TlsError};
use super::session::{Order, Tls};
use crate::connector::Connector;
use crate::url::Scheme;

/// Dials `https` through TLS 1.3 and `http` in the clear, over any `embedded-nal-async` stack.
///
/// One TLS connection at a time: the next one takes the place of the one before.
pub struct TlsConnector<'s, T: TcpConnect, D: Dns, F> {
    tls: &'s Tls<'s, T, D>,
    sessions: RefCell<Pin<&'s mut F>>,
}

impl<T: TcpConnect, D: Dns, F> core::fmt::Debug for TlsConnector<'_, T, D, F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TlsConnector").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl<'s, T: TcpConnect, D: Dns, F: Future<Output = Infallible>> TlsConnector<'s, T, D, F> {
    /// A connector over `tls`, and the pinned [`Tls::sessions`] of the same.
    pub fn new(tls: &'s Tls<'s, T, D>, sessions: Pin<&'s mut F>) -> Self {
        Self { tls, sessions: RefCell::new(sessions) }
    }

    /// Lets the sessions get on.
    fn turn(&self, context: &mut Context<'_>) {
        if let Ok(mut sessions) = self.sessions.try_borrow_mut() {
            let Poll::Pending = sessions.as_mut().poll(context);
        }
    }

    /// Has an order carried out for the connection of this number.
    async fn order(&self, number: u32, order: Order) -> Result<(), TlsConnectError<T::Error, D::Error>> {
        {
            let mut desk = self.tls.desk.borrow_mut();
            if desk.number != number || desk.over {
                return Err(TlsConnectError::Tls(TlsError::Gone));
            }
            (desk.order, desk.done) = (Some(order), None);
        }
        poll_fn(|context| {
            self.turn(context);
            let mut desk = self.tls.desk.borrow_mut();
            if desk.number != number {
                return Poll::Ready(Err(TlsConnectError::Tls(TlsError::Gone)));
            }
            desk.done.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl<'s, T: TcpConnect, D: Dns, F: Future<Output = Infallible>> Connector for TlsConnector<'s, T, D, F> {
    type Error = TlsConnectError<T::Error, D::Error>;
    type Connection<'c>
        = TlsConnection<'c, 's, T, D, F>
    where
        Self: 'c;

    async fn connect<'c>(&'c self, scheme: Scheme, host: &str, port: u16) -> Result<Self::Connection<'c>, Self::Error> {
        if scheme == Scheme::Http {
            let Tls { tcp, dns, family, .. } = self.tls;
            let address = family.resolve(*dns, host).await.map_err(TlsConnectError::Dns)?;
            let socket = tcp.connect(SocketAddr::new(address, port)).await.map_err(TlsConnectError::Tcp)?;
            family.serves(address);
            return Ok(TlsConnection(Inner::Plain(socket)));
        }
        let number = {
            let mut desk = self.tls.desk.borrow_mut();
            desk.number = desk.number.wrapping_add(1);
            // A name ends with its last label, whether a dot says so or not.
            let host = host.strip_suffix('.').unwrap_or(host);
            desk.host = heapless::String::try_from(host)
                .map_err(|_| TlsConnectError::Tls(TlsError::Certificate(super::CertificateError::OtherHost)))?;
            (desk.port, desk.over) = (port, false);
            desk.incoming.clear();
            desk.number
        };
        // Made before the handshake: dropped with this future, it ends the session.
        let session = Session { connector: self, number };
        self.order(number, Order::Dial).await?;
        Ok(TlsConnection(Inner::Tls(session)))
    }
}

/// A connection of [`TlsConnector`]: through TLS, or in the clear where the URL says so.
#[allow(missing_debug_implementations)] // A stack's connections need have none.
pub struct TlsConnection<'c, 's, T: TcpConnect, D: Dns, F: Future<Output = Infallible>>(Inner<'c, 's, T, D, F>);

enum Inner<'c, 's, T: TcpConnect, D: Dns, F: Future<Output = Infallible>> {
    Plain(T::Connection<'c>),
    Tls(Session<'c, 's, T, D, F>),
}

/// The connection's side of a session.
struct Session<'c, 's, T: TcpConnect, D: Dns, F: Future<Output = Infallible>> {
    connector: &'c TlsConnector<'s, T, D, F>,
    number: u32,
}

impl<T: TcpConnect, D: Dns, F: Future<Output = Infallible>> Drop for Session<'_, '_, T, D, F> {
    fn drop(&mut self) {
        {
            let mut desk = self.connector.tls.desk.borrow_mut();
            if desk.number != self.number {
                return;
            }
            (desk.over, desk.order) = (true, None);
        }
        // The socket is closed now, not when the next connection is made.
        self.connector.turn(&mut Context::from_waker(Waker::noop()));
    }
}

impl<T: TcpConnect, D: Dns, F: Future<Output = Infallible>> Session<'_, '_, T, D, F> {
    async fn order(&self, order: Order) -> Result<(), TlsError> {
        self.connector.order(self.number, order).await.map_err(|error| match error {
            TlsConnectError::Tls(error) => error,
            // Of a dial, which is over.
            TlsConnectError::Tcp(error) => TlsError::Io(error.kind()),
            TlsConnectError::Dns(_) => TlsError::Gone,
        })
    }

    /// Hands out what has arrived; `None` when nothing is there.
    fn take(&self, buf: &mut [u8]) -> Option<usize> {
        let mut desk = self.connector.tls.desk.borrow_mut();
        let arrived = desk.incoming.get(desk.taken..).filter(|arrived| !arrived.is_empty())?;
        let count = arrived.len().min(buf.len());
        buf.iter_mut().zip(arrived).for_each(|(place, byte)| *place = *byte);
        desk.taken = desk.taken.saturating_add(count);
        Some(count)
    }

    fn put(&self, buf: &[u8]) -> usize {
        let outgoing = &mut self.connector.tls.desk.borrow_mut().outgoing;
        outgoing.clear();
        let piece = buf.get(..outgoing.capacity()).unwrap_or(buf);
        let _ = outgoing.extend_from_slice(piece);
        piece.len()
    }
}

impl<T: TcpConnect, D: Dns, F: Future<Output = Infallible>> ErrorType for TlsConnection<'_, '_, T, D, F> {
    type Error = TlsError;
}

/// A write that the stack fails ends when nothing is left to be read, for what the server said before is told rather than that
/// nothing could be sent: it is for the caller to bound that, as [`Fetcher`](crate::Fetcher) does.
///
/// # Cancellation safety
/// A read that is dropped loses nothing; a write or flush that is dropped may have been carried out in part: drop the
/// connection then.
impl<T: TcpConnect, D: Dns, F: Future<Output = Infallible>> Read for TlsConnection<'_, '_, T, D, F> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, TlsError> {
        let session = match &mut self.0 {
            Inner::Plain(socket) => return socket.read(buf).await.map_err(|error| TlsError::Io(error.kind())),
            Inner::Tls(session) => session,
        };
        if let Some(count) = session.take(buf) {
            return Ok(count);
        }
        session.order(Order::Read).await?;
        Ok(session.take(buf).unwrap_or(0))
    }
}

impl<T: TcpConnect, D: Dns, F: Future<Output = Infallible>> Write for TlsConnection<'_, '_, T, D, F> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, TlsError> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.write(buf).await.map_err(|error| TlsError::Io(error.kind())),
            Inner::Tls(session) => {
                let count = session.put(buf);
                session.order(Order::Write).await?;
                Ok(count)
            }
        }
    }

    async fn flush(&mut self) -> Result<(), TlsError> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.flush().await.map_err(|error| TlsError::Io(error.kind())),
            Inner::Tls(session) => session.order(Order::Flush).await,
        }
    }
}
