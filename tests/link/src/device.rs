//! The device's TCP stack: smoltcp, with sockets that behave as embassy-net's do.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::{Poll, Waker};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use smoltcp_device::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp_device::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp_device::time::Instant;
use smoltcp_device::wire::{HardwareAddress, IpCidr, IpEndpoint};

use crate::port::Port;

/// How the device's sockets are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sockets {
    /// Room for what was received and not yet read, in bytes: the window that the server sends into.
    pub receive: usize,
    /// Room for what was sent and not yet acknowledged, in bytes.
    pub send: usize,
    /// Whether less than a segment waits until all before it is acknowledged (Nagle), as is the default everywhere.
    pub nagle: bool,
}

/// The stack. It has one interface with one address.
#[allow(missing_debug_implementations)] // smoltcp's sets have none.
pub struct Stack {
    inner: RefCell<Inner>,
    settings: Sockets,
    server: SocketAddrV4,
}

struct Inner {
    port: Port,
    iface: Interface,
    sockets: SocketSet<'static>,
    next_port: u16,
    /// Whether the firmware did something that may make packets.
    touched: bool,
    /// Who drives the network.
    driver: Option<Waker>,
}

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

impl Stack {
    /// A stack that has just been started. Every name resolves to the server, at once.
    pub fn new(settings: Sockets, server: SocketAddrV4, seed: u64) -> Self {
        Self { inner: RefCell::new(Inner::new(seed)), settings, server }
    }

    /// A reset: every connection is forgotten, and nobody is told.
    pub fn restart(&self, seed: u64) {
        let driver = self.inner.borrow_mut().driver.take();
        *self.inner.borrow_mut() = Inner { driver, ..Inner::new(seed) };
    }

    /// Takes the packets that have arrived, and gives those to send.
    pub fn poll(&self, now_ns: u64, arrived: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut inner = self.inner.borrow_mut();
        let Inner { port, iface, sockets, touched, .. } = &mut *inner;
        *touched = false;
        port.incoming.extend(arrived);
        iface.poll(instant(now_ns), port, sockets);
        std::mem::take(&mut port.outgoing)
    }

    /// When it wants to be polled again, if no packet arrives before.
    pub fn next_ns(&self, now_ns: u64) -> Option<u64> {
        let mut inner = self.inner.borrow_mut();
        let Inner { iface, sockets, .. } = &mut *inner;
        iface.poll_at(instant(now_ns), sockets).map(|at| at.total_micros() as u64 * 1_000)
    }

    /// Until the firmware has done something that may make packets.
    pub async fn touched(&self) {
        poll_fn(|context| {
            let mut inner = self.inner.borrow_mut();
            if inner.touched {
                return Poll::Ready(());
            }
            inner.driver = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn with<R>(&self, handle: SocketHandle, act: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        act(self.inner.borrow_mut().sockets.get_mut(handle))
    }

    fn touch(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.touched = true;
        if let Some(driver) = inner.driver.take() {
            driver.wake();
        }
    }
}

impl Inner {
    fn new(seed: u64) -> Self {
        let mut port = Port::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut port, Instant::ZERO);
        iface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(ADDRESS.into(), 24));
        });
        let next_port = 49152 + (seed % 16384) as u16;
        Self { port, iface, sockets: SocketSet::new(Vec::new()), next_port, touched: true, driver: None }
    }
}

fn instant(ns: u64) -> Instant {
    Instant::from_micros((ns / 1_000) as i64)
}

/// A connection of the device.
#[allow(missing_debug_implementations)]
pub struct Connection<'s> {
    stack: &'s Stack,
    handle: SocketHandle,
}

/// As embassy-net: what was under way is forgotten, and the peer learns of it when it sends next.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.stack.inner.borrow_mut().sockets.remove(self.handle);
        self.stack.touch();
    }
}

impl TcpConnect for Stack {
    type Error = ErrorKind;
    type Connection<'a> = Connection<'a>;

    async fn connect<'a>(&'a self, remote: SocketAddr) -> Result<Connection<'a>, ErrorKind> {
        let handle = {
            let mut inner = self.inner.borrow_mut();
            let buffer = |size| SocketBuffer::new(vec![0; size]);
            let mut socket = Socket::new(buffer(self.settings.receive), buffer(self.settings.send));
            socket.set_nagle_enabled(self.settings.nagle);
            let from = inner.next_port;
            inner.next_port = from.checked_add(1).unwrap_or(49152);
            let SocketAddr::V4(remote) = remote else { return Err(ErrorKind::AddrNotAvailable) };
            let to = IpEndpoint::new((*remote.ip()).into(), remote.port());
            socket.connect(inner.iface.context(), to, from).map_err(|_| ErrorKind::AddrNotAvailable)?;
            inner.sockets.add(socket)
        };
        let connection = Connection { stack: self, handle };
        self.touch();
        poll_fn(|context| {
            self.with(handle, |socket| match socket.state() {
                State::Closed | State::TimeWait => Poll::Ready(Err(ErrorKind::ConnectionRefused)),
                State::SynSent | State::SynReceived | State::Listen => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                _ => Poll::Ready(Ok(())),
            })
        })
        .await?;
        Ok(connection)
    }
}

impl Dns for Stack {
    type Error = ErrorKind;

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> Result<IpAddr, ErrorKind> {
        Ok(IpAddr::V4(*self.server.ip()))
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
}

impl ErrorType for Connection<'_> {
    type Error = ErrorKind;
}

impl Read for Connection<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let count = poll_fn(|context| {
            self.stack.with(self.handle, |socket| match socket.recv_slice(buf) {
                Ok(0) if !buf.is_empty() => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
                Ok(count) => Poll::Ready(Ok(count)),
                Err(RecvError::Finished) => Poll::Ready(Ok(0)),
                Err(RecvError::InvalidState) => Poll::Ready(Err(ErrorKind::ConnectionReset)),
            })
        })
        .await;
        self.stack.touch();
        count
    }
}

impl Write for Connection<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let count = poll_fn(|context| {
            self.stack.with(self.handle, |socket| match socket.send_slice(buf) {
                Ok(0) if !buf.is_empty() => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                Ok(count) => Poll::Ready(Ok(count)),
                Err(_) => Poll::Ready(Err(ErrorKind::ConnectionReset)),
            })
        })
        .await;
        self.stack.touch();
        count
    }

    /// Until all is acknowledged, as embassy-net has it.
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        poll_fn(|context| {
            self.stack.with(self.handle, |socket| {
                if socket.send_queue() > 0 && socket.state() != State::Closed {
                    socket.register_send_waker(context.waker());
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            })
        })
        .await
    }
}
