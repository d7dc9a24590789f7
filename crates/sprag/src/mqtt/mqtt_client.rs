//! An MQTT client for MQTT 3.1.1 and MQTT 5, over any [`Connector`].
//!
//! A connection is made anew each time: one that was cut off in the middle of a packet, or whose future was dropped, is never
//! used again.

use core::fmt;
use core::num::NonZero;

use embedded_io_async::{Error as _, ErrorKind, Read, Write};
use sprag_fetch::{Connector, Scheme};

use super::client::{Broker, Client, Incoming};
use super::inbox::{Arrived, Inbox, InboxError};
use super::packet::{self, Connect, EncodeError, Malformed, PINGREQ, Packet};

/// How many acknowledgements may be outstanding: one of the agent's own requests, and of answers to documents that make no
/// sense.
const IN_FLIGHT_MAX: usize = 4;

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    V3_1_1,
    /// MQTT 5.
    V5,
}

/// Broker address and credentials.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
    client_id: &'a str,
    login: Option<(&'a str, &'a [u8])>,
}

impl<'a> Account<'a> {
    /// Returns the account `client_id` at `host`, a name or an address, over TLS at port 8883. For AWS the client id is
    /// usually the name of the thing.
    #[must_use]
    pub const fn tls(host: &'a str, client_id: &'a str) -> Self {
        Self { scheme: Scheme::Https, host, port: 8883, client_id, login: None }
    }

    /// Returns the account `client_id` at `host`, a name or an address, in plain text at port 1883. Everybody on the network
    /// can read it along, the password included.
    #[must_use]
    pub const fn plain(host: &'a str, client_id: &'a str) -> Self {
        Self { scheme: Scheme::Http, host, port: 1883, client_id, login: None }
    }

    /// Sets another port.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the user name and the password, for brokers that ask for them.
    #[must_use]
    pub const fn login(mut self, user_name: &'a str, password: &'a [u8]) -> Self {
        self.login = Some((user_name, password));
        self
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        let mut shown = f.debug_struct("Account");
        shown.field("host", &self.host).field("port", &self.port).field("client_id", &self.client_id);
        shown.finish_non_exhaustive()
    }
}

/// Dials an MQTT broker over any [`Connector`].
///
/// `incoming` holds the packet that arrives, and `outgoing` a packet that is sent. Both belong to the caller.
///
/// # Limits
/// - A message larger than `incoming` is not delivered. With MQTT 5 the broker is told the size and keeps such messages back;
///   with MQTT 3.1.1 they are skipped, acknowledged, and reported as [`Incoming::TooLarge`].
/// - QoS 1 in both directions. No QoS 2, no last will, no retained messages of its own, no session that outlives the
///   connection.
/// - A shorter keep-alive that the broker asks for (MQTT 5's *Server Keep Alive*) is not taken over: set [`keep_alive`] and the
///   agent's [`Limits::keep_alive_seconds`](super::Limits::keep_alive_seconds) to what the broker allows.
///
/// [`keep_alive`]: Self::keep_alive
pub struct MqttBroker<'a, C> {
    connector: C,
    account: Account<'a>,
    version: MqttVersion,
    keep_alive_seconds: NonZero<u16>,
    incoming: &'a mut [u8],
    outgoing: &'a mut [u8],
}

impl<C> fmt::Debug for MqttBroker<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttBroker")
            .field("account", &self.account)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<'a, C> MqttBroker<'a, C> {
    /// Returns a broker behind `connector`, for MQTT 5.
    ///
    /// `incoming` needs room for the longest message with its topic and [`OVERHEAD`](Self::OVERHEAD): 5,120 bytes do for job
    /// documents of 4 KiB; those of AWS may have 32 KiB. CONNECT is written there as well, with client id, user name and password.
    ///
    /// `outgoing` needs room for a topic and [`OVERHEAD`](Self::OVERHEAD). A payload that fits as well is sent in one write,
    /// and so in one TLS record: 256 bytes do for most. Longer payloads are sent from where they lie.
    pub fn new(connector: C, account: Account<'a>, incoming: &'a mut [u8], outgoing: &'a mut [u8]) -> Self {
        let keep_alive_seconds = const { NonZero::new(150).unwrap() };
        Self { connector, account, version: MqttVersion::V5, keep_alive_seconds, incoming, outgoing }
    }

    /// Sets the version of MQTT. At first it is MQTT 5.
    #[must_use]
    pub fn version(mut self, version: MqttVersion) -> Self {
        self.version = version;
        self
    }

    /// Sets the keep-alive that is agreed on, in seconds. At first it is 150, more than twice the default of
    /// [`Limits::keep_alive_seconds`](super::Limits::keep_alive_seconds).
    #[must_use]
    pub fn keep_alive(mut self, seconds: NonZero<u16>) -> Self {
        self.keep_alive_seconds = seconds;
        self
    }
}

impl<C> MqttBroker<'_, C> {
    /// The most bytes that a request or a message has beside its topic and its payload, when the broker adds no properties to it.
    pub const OVERHEAD: usize = 11;
}

/// Why the broker can't be reached, or why the connection to it is lost. `E` is the connector's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MqttError<E> {
    /// No connection could be made.
    Connect(E),
    /// The connection failed.
    Connection(ErrorKind),
    /// The broker closed the connection.
    Closed,
    /// The broker refused a request, or ended the conversation.
    Refused {
        /// Its reason code. MQTT 3.1.1 counts from 1 in answers to CONNECT; otherwise a refusal is 0x80 or more.
        code: u8,
    },
    /// The broker sent something that is not MQTT, or that MQTT does not allow here.
    Protocol,
    /// The memory for what arrives is too small.
    IncomingTooSmall {
        /// The size that would have done for this packet, in bytes.
        needed: usize,
    },
    /// The memory for what is sent is too small.
    OutgoingTooSmall {
        /// The size that would have done for this packet, in bytes.
        needed: usize,
    },
    /// The broker takes no packet of this size.
    BrokerLimit {
        /// The size of the packet, in bytes.
        needed: usize,
    },
    /// The broker takes no messages at QoS 1.
    NoQos1,
    /// Too many requests wait for their acknowledgement.
    Busy,
    /// A client id, topic, filter or payload is not allowed in MQTT.
    Request,
}

impl<E: fmt::Debug> fmt::Display for MqttError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection to the broker ({error:?})"),
            Self::Connection(kind) => write!(f, "the connection to the broker failed ({kind:?})"),
            Self::Closed => f.write_str("the broker closed the connection"),
            Self::Refused { code } => write!(f, "the broker refused (reason code {code:#04x})"),
            Self::Protocol => f.write_str("the broker broke the protocol"),
            Self::IncomingTooSmall { needed } => write!(f, "the incoming memory is too small: {needed} bytes needed"),
            Self::OutgoingTooSmall { needed } => write!(f, "the outgoing memory is too small: {needed} bytes needed"),
            Self::BrokerLimit { needed } => write!(f, "the broker takes no packet of {needed} bytes"),
            Self::NoQos1 => f.write_str("the broker does not support QoS 1"),
            Self::Busy => f.write_str("too many requests wait for their acknowledgement"),
            Self::Request => f.write_str("not allowed in MQTT: a client id, topic, filter or payload"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for MqttError<E> {}

impl<E> From<Malformed> for MqttError<E> {
    fn from(Malformed: Malformed) -> Self {
        Self::Protocol
    }
}

impl<E> From<InboxError> for MqttError<E> {
    fn from(error: InboxError) -> Self {
        match error {
            InboxError::Malformed => Self::Protocol,
            InboxError::TooSmall { needed } => Self::IncomingTooSmall { needed },
        }
    }
}

impl<E> From<EncodeError> for MqttError<E> {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooSmall(needed) => Self::OutgoingTooSmall { needed },
            EncodeError::Invalid => Self::Request,
        }
    }
}

impl<C: Connector> Broker for MqttBroker<'_, C> {
    type Error = MqttError<C::Error>;
    type Client<'c>
        = MqttConnection<'c, C>
    where
        Self: 'c;

    async fn connect(&mut self) -> Result<MqttConnection<'_, C>, Self::Error> {
        let Account { scheme, host, port, client_id, login } = self.account;
        let connect = Connect {
            version: self.version,
            client_id,
            login,
            keep_alive_seconds: self.keep_alive_seconds,
            packet_max: u32::try_from(self.incoming.len()).unwrap_or(u32::MAX),
        };
        let mut connection = MqttConnection {
            connection: self.connector.connect(scheme, host, port).await.map_err(MqttError::Connect)?,
            version: self.version,
            inbox: Inbox::new(self.incoming),
            outgoing: self.outgoing,
            last_id: 0,
            in_flight: [None; IN_FLIGHT_MAX],
            packet_max: u32::MAX,
        };
        // Nothing has arrived yet, so that the larger memory is free for it.
        let memory = connection.inbox.memory();
        let place = packet::connect(memory, &connect).map_err(|error| match error {
            EncodeError::TooSmall(needed) => MqttError::IncomingTooSmall { needed },
            EncodeError::Invalid => MqttError::Request,
        })?;
        send(&mut connection.connection, memory.get(place).unwrap_or_default(), &[]).await?;
        let Arrived::Packet(length) = connection.arrived().await? else { return Err(MqttError::Protocol) };
        let packet = Packet::read(connection.inbox.take(length), connection.version)?;
        let Packet::Connected { code, broker } = packet else { return Err(MqttError::Protocol) };
        if code != 0 {
            return Err(MqttError::Refused { code });
        }
        if !broker.has_qos_1 {
            return Err(MqttError::NoQos1);
        }
        connection.packet_max = broker.packet_max;
        Ok(connection)
    }
}

/// A connection to a broker.
pub struct MqttConnection<'c, C: Connector + 'c> {
    connection: C::Connection<'c>,
    version: MqttVersion,
    inbox: Inbox<'c>,
    outgoing: &'c mut [u8],
    /// The packet identifier that was used last.
    last_id: u16,
    /// The identifiers of what waits for its acknowledgement.
    in_flight: [Option<NonZero<u16>>; IN_FLIGHT_MAX],
    /// The largest packet that the broker takes, in bytes.
    packet_max: u32,
}

impl<'c, C: Connector + 'c> fmt::Debug for MqttConnection<'c, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttConnection").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<'c, C: Connector + 'c> MqttConnection<'c, C> {
    /// Reads once. A future that is dropped has taken in nothing, if the connection's `read` is like that.
    async fn read(&mut self) -> Result<(), MqttError<C::Error>> {
        let read = self.connection.read(self.inbox.spare()).await;
        match read.map_err(|error| MqttError::Connection(error.kind()))? {
            0 => Err(MqttError::Closed),
            count => {
                self.inbox.filled(count);
                Ok(())
            }
        }
    }

    /// Reads until something has arrived as a whole.
    async fn arrived(&mut self) -> Result<Arrived, MqttError<C::Error>> {
        self.inbox.release();
        loop {
            if let Some(arrived) = self.inbox.next()? {
                return Ok(arrived);
            }
            self.read().await?;
        }
    }

    /// Takes a packet identifier that is free.
    fn next_id(&mut self) -> Result<NonZero<u16>, MqttError<C::Error>> {
        let free = self.in_flight.iter_mut().find(|id| id.is_none()).ok_or(MqttError::Busy)?;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        *free = NonZero::new(self.last_id);
        free.ok_or(MqttError::Busy)
    }

    /// Sends a packet that lies in the outgoing memory, and what follows it.
    async fn send_out(&mut self, place: core::ops::Range<usize>, behind: &[u8]) -> Result<(), MqttError<C::Error>> {
        let packet = self.outgoing.get(place).unwrap_or_default();
        let needed = packet.len().saturating_add(behind.len());
        if u32::try_from(needed).is_ok_and(|needed| needed > self.packet_max) {
            return Err(MqttError::BrokerLimit { needed });
        }
        send(&mut self.connection, packet, behind).await
    }
}

impl<'c, C: Connector + 'c> Client for MqttConnection<'c, C> {
    type Error = MqttError<C::Error>;

    async fn subscribe(&mut self, filter: &str) -> Result<(), Self::Error> {
        let id = self.next_id()?;
        let place = packet::subscribe(self.outgoing, self.version, id, filter)?;
        self.send_out(place, &[]).await
    }

    async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<(), Self::Error> {
        let id = self.next_id()?;
        let (place, is_whole) = packet::publish(self.outgoing, self.version, id, topic, payload)?;
        self.send_out(place, if is_whole { &[] } else { payload }).await
    }

    async fn ping(&mut self) -> Result<(), Self::Error> {
        send(&mut self.connection, &PINGREQ, &[]).await
    }

    async fn ready(&mut self) -> Result<(), Self::Error> {
        self.inbox.release();
        while self.inbox.is_empty() {
            self.read().await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Incoming<'_>, Self::Error> {
        let (id, incoming) = match self.arrived().await? {
            Arrived::TooLarge { needed, id } => (id, Incoming::TooLarge { needed }),
            Arrived::Packet(length) => match Packet::read(self.inbox.take(length), self.version)? {
                Packet::Message { topic, payload, id } => (id, Incoming::Message { topic, payload }),
                Packet::Acknowledged { code: code @ 0x80.., .. } | Packet::Disconnected { code } => {
                    return Err(MqttError::Refused { code });
                }
                Packet::Acknowledged { id, .. } => {
                    let waiting = self.in_flight.iter_mut().find(|waiting| **waiting == Some(id));
                    *waiting.ok_or(MqttError::Protocol)? = None;
                    (None, Incoming::Acknowledged)
                }
                Packet::Pong => (None, Incoming::Alive),
                Packet::Connected { .. } => return Err(MqttError::Protocol),
            },
        };
        if let Some(id) = id {
            send(&mut self.connection, &packet::puback(id), &[]).await?;
        }
        Ok(incoming)
    }
}

/// Sends `packet` and what follows it.
async fn send<W: Write, E>(connection: &mut W, packet: &[u8], behind: &[u8]) -> Result<(), MqttError<E>> {
    let mut rest = packet;
    let mut behind = behind;
    loop {
        if rest.is_empty() {
            rest = core::mem::take(&mut behind);
        }
        if rest.is_empty() {
            break;
        }
        let written = connection.write(rest).await.map_err(|error| MqttError::Connection(error.kind()))?;
        if written == 0 {
            return Err(MqttError::Closed);
        }
        rest = rest.get(written..).unwrap_or_default();
    }
    connection.flush().await.map_err(|error| MqttError::Connection(error.kind()))
}
