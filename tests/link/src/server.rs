//! The server at the other end: a TCP stack with large windows, TLS where wanted, and S3's manners.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ServerConnection;
use smoltcp_server::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp_server::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp_server::time::Instant;
use smoltcp_server::wire::{HardwareAddress, IpCidr};

use crate::object::{ANSWERS_MAX, Object};
use crate::port::{HEADERS, MTU, Port};
use crate::recovery::Recovery;

/// What a socket of the server holds of what it has sent.
const SEND_BUFFER: usize = 1024 * 1024;
const RECEIVE_BUFFER: usize = 64 * 1024;
/// The initial window of RFC 6928: ten segments.
pub const WINDOW_FIRST: usize = 10 * SEGMENT;
const SEGMENT: usize = MTU - HEADERS;
/// The longest record that TLS has.
pub const RECORD: usize = 16 * 1024;

/// Where it listens.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 443);

/// What the server does.
#[derive(Debug, Clone)]
pub struct Manners {
    /// What it serves.
    pub object: Object,
    /// With TLS, or in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// How long its TLS records are, in bytes.
    pub record: usize,
    /// What it sends at first before anything is acknowledged, in bytes.
    pub window: usize,
    /// It resets a connection when so many bytes of the object have come over it.
    pub dies_after: Option<u64>,
}

impl Manners {
    /// As S3: with records of full length, and without a fault.
    pub fn new(object: Object, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { object, tls, record: RECORD, window: WINDOW_FIRST, dies_after: None }
    }
}

/// What was asked of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were begun.
    pub connections: u32,
    /// Requests that were answered.
    pub requests: u32,
    /// Bytes of the object that were sent, those that come again by TCP not counted.
    pub body: u64,
}

/// The server.
#[allow(missing_debug_implementations)] // smoltcp's sets have none.
pub struct Server {
    port: Port,
    iface: Interface,
    sockets: SocketSet<'static>,
    listening: SocketHandle,
    connections: Vec<Conversation>,
    recovery: Recovery,
    manners: Manners,
    /// So far.
    pub counts: Counts,
}

impl Server {
    /// One that listens.
    pub fn new(manners: Manners) -> Self {
        let mut port = Port::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 1;
        let mut iface = Interface::new(config, &mut port, Instant::ZERO);
        iface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new((*ADDRESS.ip()).into(), 24));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let listening = sockets.add(listener());
        let (connections, recovery, counts) = (Vec::new(), Recovery::default(), Counts::default());
        Self { port, iface, sockets, listening, connections, recovery, manners, counts }
    }

    /// Takes the packets that have arrived, answers, and gives those to send.
    pub fn poll(&mut self, now_ns: u64, arrived: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut again = Vec::new();
        arrived.iter().for_each(|packet| self.recovery.hears(now_ns, packet, &mut again));
        self.recovery.times_out(now_ns, &mut again);
        self.port.incoming.extend(arrived);
        let now = Instant::from_micros((now_ns / 1_000) as i64);
        loop {
            self.iface.poll(now, &mut self.port, &mut self.sockets);
            self.accept();
            let Self { connections, sockets, manners, counts, .. } = self;
            let mut busy = false;
            connections.retain_mut(|connection| {
                let socket = sockets.get_mut::<Socket<'_>>(connection.handle);
                busy |= connection.turn(socket, manners, counts);
                // One that was reset here is over when that has been said. A device that has closed its side without a
                // word, as embassy-net does, leaves one behind in `FinWait2`.
                let over = match socket.state() {
                    State::Closed => socket.remote_endpoint().is_none(),
                    state => state == State::TimeWait,
                };
                if over {
                    sockets.remove(connection.handle);
                }
                !over
            });
            if !busy {
                self.port.outgoing.retain(|packet| self.recovery.sends(now_ns, packet));
                again.append(&mut self.port.outgoing);
                return again;
            }
        }
    }

    /// When it wants to be polled again, if no packet arrives before.
    pub fn next_ns(&mut self, now_ns: u64) -> Option<u64> {
        let now = Instant::from_micros((now_ns / 1_000) as i64);
        let stack = self.iface.poll_at(now, &self.sockets).map(|at| at.total_micros() as u64 * 1_000);
        stack.into_iter().chain(self.recovery.next_ns()).min()
    }

    fn accept(&mut self) {
        if self.sockets.get_mut::<Socket<'_>>(self.listening).state() == State::Listen {
            return;
        }
        let handle = std::mem::replace(&mut self.listening, self.sockets.add(listener()));
        let tls = self.manners.tls.clone().and_then(|config| ServerConnection::new(config).ok());
        self.connections.push(Conversation::new(handle, tls, self.manners.window));
        self.counts.connections += 1;
    }
}

fn listener() -> Socket<'static> {
    let buffer = |size| SocketBuffer::new(vec![0; size]);
    let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
    // It can't fail: the port is not zero and the socket is new.
    let _ = socket.listen(ADDRESS.port());
    socket
}

/// What is said on one connection.
struct Conversation {
    handle: SocketHandle,
    tls: Option<ServerConnection>,
    /// What of a request has come.
    request: Vec<u8>,
    /// What of a head is still to be sent, and of the object.
    head: Vec<u8>,
    body: Range<usize>,
    /// Encrypted, for the socket.
    sealed: VecDeque<u8>,
    answers: u32,
    /// Bytes of the object that were sent on this connection.
    sent: u64,
    /// How many bytes may be under way: it starts with ten segments and grows by what is acknowledged, so that it doubles
    /// with each round trip. A loss is taken for no congestion.
    window: usize,
    under_way: usize,
    closed: bool,
}

impl Conversation {
    fn new(handle: SocketHandle, tls: Option<ServerConnection>, window: usize) -> Self {
        Self {
            handle,
            tls,
            request: Vec::new(),
            head: Vec::new(),
            body: 0..0,
            sealed: VecDeque::new(),
            answers: 0,
            sent: 0,
            window,
            under_way: 0,
            closed: false,
        }
    }

    /// Does what can be done now; whether there is something to send for it.
    fn turn(&mut self, socket: &mut Socket<'_>, manners: &Manners, counts: &mut Counts) -> bool {
        let queue = socket.send_queue();
        self.window += self.under_way.saturating_sub(queue);
        self.under_way = queue;
        self.receive(socket);
        if self.head.is_empty() && self.body.is_empty() && !self.closed {
            self.answer(manners, counts);
        }
        let busy = self.send(socket, manners, counts);
        self.under_way = socket.send_queue();

        let all_sent = self.head.is_empty() && self.body.is_empty() && self.sealed.is_empty();
        if manners.dies_after.is_some_and(|limit| self.sent >= limit) && self.sealed.is_empty() && self.under_way == 0 {
            socket.abort();
            return true;
        }
        if !self.closed && all_sent && (self.answers == ANSWERS_MAX || (socket.state() == State::CloseWait)) {
            self.closed = true;
            if let Some(tls) = &mut self.tls {
                tls.send_close_notify();
                self.seal();
                return true;
            }
        }
        if self.closed && self.sealed.is_empty() && socket.may_send() {
            socket.close();
            return true;
        }
        busy
    }

    fn receive(&mut self, socket: &mut Socket<'_>) {
        while socket.can_recv() {
            let taken = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
            let Ok(bytes) = taken else { return };
            match &mut self.tls {
                None => self.request.extend(bytes),
                Some(tls) => {
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        let read = tls.read_tls(&mut rest);
                        let processed = tls.process_new_packets();
                        if !matches!(read, Ok(1..)) || processed.is_err() {
                            break;
                        }
                        let mut plain = [0; 4096];
                        while let Ok(count @ 1..) = tls.reader().read(&mut plain) {
                            self.request.extend(&plain[..count]);
                        }
                    }
                    self.seal();
                }
            }
        }
    }

    fn answer(&mut self, manners: &Manners, counts: &mut Counts) {
        let Some(end) = self.request.windows(4).position(|four| four == b"\r\n\r\n") else { return };
        let rest = self.request.split_off(end + 4);
        let request = std::mem::replace(&mut self.request, rest);
        self.answers += 1;
        counts.requests += 1;
        let answer = manners.object.answer(&String::from_utf8_lossy(&request), self.answers == ANSWERS_MAX);
        self.head = answer.head;
        self.body = answer.body;
    }

    /// Gives the socket what may be under way, in full segments until the end: as a kernel does.
    fn send(&mut self, socket: &mut Socket<'_>, manners: &Manners, counts: &mut Counts) -> bool {
        if !socket.may_send() {
            return false;
        }
        let room = self.window.min(SEND_BUFFER).saturating_sub(socket.send_queue());
        while self.sealed.len() < room && self.write(manners, counts) {}
        let mut count = self.sealed.len().min(room);
        let more = count < self.sealed.len() || self.may_write(manners) > 0;
        if more {
            count -= count % SEGMENT;
        }
        // Nothing is held back at the end; before it, no window of a few bytes is filled by a segment of a few bytes.
        socket.set_nagle_enabled(more);
        let bytes: Vec<u8> = self.sealed.drain(..count).collect();
        // There is room, or the connection is over.
        socket.send_slice(&bytes).is_ok_and(|sent| sent > 0)
    }

    /// How many bytes of the object are to come, at most.
    fn may_write(&self, manners: &Manners) -> usize {
        let left = manners.dies_after.map_or(u64::MAX, |limit| limit.saturating_sub(self.sent));
        self.body.len().min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Brings the next piece of the answer into `sealed`, a record at most; whether there was one.
    fn write(&mut self, manners: &Manners, counts: &mut Counts) -> bool {
        let head = std::mem::take(&mut self.head);
        let length = self.may_write(manners).min(manners.record);
        let piece = self.body.start..self.body.start + length;
        let bytes = &manners.object.0[piece.clone()];
        match &mut self.tls {
            None => self.sealed.extend(head.iter().chain(bytes)),
            Some(tls) => {
                // Their buffer is larger than what goes to it here.
                let written = tls.writer().write_all(&head).and_then(|()| tls.writer().write_all(bytes));
                debug_assert!(written.is_ok());
                self.seal();
            }
        }
        self.body.start = piece.end;
        self.sent += length as u64;
        counts.body += length as u64;
        length + head.len() > 0
    }

    /// Takes what TLS has to send.
    fn seal(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        let mut bytes = Vec::new();
        while tls.wants_write() && matches!(tls.write_tls(&mut bytes), Ok(1..)) {}
        self.sealed.extend(bytes);
    }
}
