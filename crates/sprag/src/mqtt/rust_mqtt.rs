//! `rust-mqtt` as the MQTT client.
//!
//! A client is made anew for each connection: one that was cut off in the middle of a packet, or whose future was
//! dropped, is never used again.

use core::fmt;
use core::num::NonZero;

use buffered_io::asynch::BufferedWrite;
use embedded_io_async::ErrorKind;
use rust_mqtt::Bytes;
use rust_mqtt::buffer::BufferProvider;
use rust_mqtt::client::event::{Event, Publish};
use rust_mqtt::client::options::{ConnectOptions, PublicationOptions, SubscriptionOptions, TopicReference};
use rust_mqtt::client::{Client as Inner, MqttError};
use rust_mqtt::config::KeepAlive;
use rust_mqtt::header::FixedHeader;
use rust_mqtt::types::{MqttBinary, MqttString, QoS, ReasonCode, TopicFilter, TopicName};
use sprag_fetch::{Connector, Scheme};

use super::client::{Broker, Client, Incoming};

/// Messages that may be under way at once: one of the link's own, and answers to documents that make no sense.
const SEND: usize = 4;
const RECEIVE: usize = 4;

/// Where the broker is, and as whom to come there.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// [`Scheme::Https`] for MQTT over TLS, [`Scheme::Http`] for MQTT in the clear.
    pub scheme: Scheme,
    /// Name or address.
    pub host: &'a str,
    /// 8883 for TLS as a rule, 1883 without.
    pub port: u16,
    /// The client id: for AWS, as a rule, the name of the thing.
    pub client_id: &'a str,
    /// User name and password, where the broker wants them.
    pub login: Option<(&'a str, &'a [u8])>,
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the password.
        let mut shown = f.debug_struct("Account");
        shown.field("host", &self.host).field("port", &self.port).field("client_id", &self.client_id);
        shown.finish_non_exhaustive()
    }
}

/// Dials an MQTT 5 broker with `rust-mqtt`, over any [`Connector`].
///
/// Messages larger than [`message_max`](Self::message_max) are kept back by the broker (MQTT's maximum packet size), for
/// they could not be looked at.
///
/// `memory` is where a message lies while it is looked at; `release` takes it back before the next one, when nothing that
/// was lent is alive any more. With an allocator that is `rust-mqtt`'s `AllocBuffer` and `|_| {}`; without one it is a
/// type of your own over static memory.
pub struct RustMqtt<'a, C, P> {
    connector: C,
    account: Account<'a>,
    message_max: NonZero<u32>,
    keep_alive_seconds: NonZero<u16>,
    memory: P,
    release: fn(&mut P),
    outgoing: &'a mut [u8],
}

impl<C, P> fmt::Debug for RustMqtt<'_, C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustMqtt").field("account", &self.account).finish_non_exhaustive()
    }
}

impl<'a, C, P> RustMqtt<'a, C, P> {
    /// A broker behind `connector`. Packets are put together in `outgoing` before they go out: 256 bytes make most of them
    /// one TLS record; it must not be empty.
    pub fn new(connector: C, account: Account<'a>, memory: P, release: fn(&mut P), outgoing: &'a mut [u8]) -> Self {
        let message_max = const { NonZero::new(4096).unwrap() };
        let keep_alive_seconds = const { NonZero::new(150).unwrap() };
        Self { connector, account, message_max, keep_alive_seconds, memory, release, outgoing }
    }

    /// The largest packet that is taken, in bytes: no more than `memory` holds. At first 4096; AWS's job documents may have
    /// 32 KiB.
    #[must_use]
    pub fn message_max(mut self, bytes: NonZero<u32>) -> Self {
        self.message_max = bytes;
        self
    }

    /// The keep-alive that is agreed on, in seconds: at first 150, more than twice the default of
    /// [`Limits::keep_alive_seconds`](super::Limits::keep_alive_seconds).
    #[must_use]
    pub fn keep_alive(mut self, seconds: NonZero<u16>) -> Self {
        self.keep_alive_seconds = seconds;
        self
    }
}

/// Why the broker can't be had through `rust-mqtt`, or no longer. `E` is the connector's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RustMqttError<E> {
    /// It could not be reached.
    Connect(E),
    /// The connection failed.
    Connection(ErrorKind),
    /// The broker said no, or goodbye.
    Broker(ReasonCode),
    /// The broker broke the protocol, or sent more than was allowed.
    Protocol,
    /// `memory` gave none for a message.
    Memory,
    /// What was to be sent is no such thing in MQTT: a client id, a topic, a filter.
    Request,
}

impl<E: fmt::Debug> fmt::Display for RustMqttError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "the broker could not be reached ({error:?})"),
            Self::Connection(kind) => write!(f, "the connection to the broker failed ({kind:?})"),
            Self::Broker(reason) => write!(f, "the broker said no ({reason:?})"),
            Self::Protocol => f.write_str("the broker broke the protocol"),
            Self::Memory => f.write_str("no memory for a message"),
            Self::Request => f.write_str("not a client id, topic or filter"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for RustMqttError<E> {}

impl<E, const N: usize> From<MqttError<'_, N>> for RustMqttError<E> {
    fn from(error: MqttError<'_, N>) -> Self {
        match error {
            MqttError::Network(kind) => Self::Connection(kind),
            MqttError::Disconnect { reason, .. } => Self::Broker(reason),
            MqttError::Alloc => Self::Memory,
            MqttError::Server | MqttError::RecoveryRequired => Self::Protocol,
            _ => Self::Request,
        }
    }
}

impl<C: Connector, P: for<'p> BufferProvider<'p>> Broker for RustMqtt<'_, C, P> {
    type Error = RustMqttError<C::Error>;
    type Client<'c>
        = RustMqttClient<'c, C, P>
    where
        Self: 'c;

    async fn connect(&mut self) -> Result<RustMqttClient<'_, C, P>, Self::Error> {
        let Account { scheme, host, port, client_id, login } = self.account;
        let mut options = ConnectOptions::new().clean_start().maximum_packet_size(self.message_max);
        options.keep_alive = KeepAlive::Seconds(self.keep_alive_seconds);
        if let Some((name, password)) = login {
            let name = MqttString::from_str(name).map_err(|_| RustMqttError::Request)?;
            let password = MqttBinary::from_slice(password).map_err(|_| RustMqttError::Request)?;
            options = options.user_name(name).password(password);
        }
        let client_id = MqttString::from_str(client_id).map_err(|_| RustMqttError::Request)?;
        let connection = self.connector.connect(scheme, host, port).await.map_err(RustMqttError::Connect)?;
        (self.release)(&mut self.memory);
        let mut inner = Inner::new(&mut self.memory);
        inner.connect(BufferedWrite::new(connection, self.outgoing), &options, Some(client_id)).await?;
        Ok(RustMqttClient { inner, release: self.release, header: None, message: None })
    }
}

type Connected<'c, C, P> =
    Inner<'c, 'c, BufferedWrite<'c, <C as Connector>::Connection<'c>>, P, 1, RECEIVE, SEND, 0, 0, 0, 0>;

/// A connection through `rust-mqtt`.
pub struct RustMqttClient<'c, C: Connector + 'c, P: BufferProvider<'c>> {
    inner: Connected<'c, C, P>,
    release: fn(&mut P),
    /// Of the packet that has begun to arrive.
    header: Option<FixedHeader>,
    /// The message that is being looked at.
    message: Option<Publish<'c, 0, 0>>,
}

impl<'c, C: Connector + 'c, P: BufferProvider<'c>> fmt::Debug for RustMqttClient<'c, C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustMqttClient").finish_non_exhaustive()
    }
}

impl<'c, C: Connector + 'c, P: BufferProvider<'c>> Client for RustMqttClient<'c, C, P> {
    type Error = RustMqttError<C::Error>;

    async fn subscribe(&mut self, filter: &str) -> Result<(), Self::Error> {
        let filter = MqttString::from_str(filter).ok().and_then(TopicFilter::new).ok_or(RustMqttError::Request)?;
        self.inner.subscribe(filter, &SubscriptionOptions::new().at_least_once()).await?;
        Ok(())
    }

    async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<(), Self::Error> {
        let topic = MqttString::from_str(topic).ok().and_then(TopicName::new).ok_or(RustMqttError::Request)?;
        let options = PublicationOptions::new(TopicReference::Name(topic)).qos(QoS::AtLeastOnce);
        self.inner.publish(&options, Bytes::Borrowed(payload)).await?;
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), Self::Error> {
        Ok(self.inner.ping().await?)
    }

    async fn ready(&mut self) -> Result<(), Self::Error> {
        if self.header.is_none() {
            self.header = Some(self.inner.poll_header().await?);
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Incoming<'_>, Self::Error> {
        self.message = None;
        (self.release)(self.inner.buffer_mut());
        let header = match self.header.take() {
            Some(header) => header,
            None => self.inner.poll_header().await?,
        };
        match self.inner.poll_body(header).await? {
            Event::Publish(message) => self.message = Some(message),
            Event::Suback(answer) if answer.reason_code.is_erroneous() => {
                return Err(RustMqttError::Broker(answer.reason_code));
            }
            Event::PublishRejected(answer) => return Err(RustMqttError::Broker(answer.reason_code)),
            Event::Suback(_) | Event::PublishAcknowledged(_) => return Ok(Incoming::Acknowledged),
            _ => return Ok(Incoming::Alive),
        }
        Ok(match &self.message {
            Some(Publish { topic: TopicReference::Name(topic), message, .. }) => {
                Incoming::Message { topic: topic.as_ref().as_str(), payload: message.as_bytes() }
            }
            _ => Incoming::Alive,
        })
    }
}
