//! The seam to an MQTT client: what the conversation needs of one, and no more.

use core::fmt;

/// Dials the broker. Implement it for the MQTT client of your choice, or use `MqttBroker` of the feature `mqtt-client`.
#[allow(async_fn_in_trait)] // Executors of this field run futures where they are made: no `Send` to promise.
pub trait Broker {
    /// Why the broker can't be had, or no longer.
    type Error: fmt::Debug;
    /// A connection to it. Dropping it closes it.
    type Client<'c>: Client<Error = Self::Error>
    where
        Self: 'c;

    /// Connects, TLS and MQTT's CONNECT included, with a **clean** session: what counts is asked for anew on each
    /// connection. The client id and credentials are the implementation's.
    ///
    /// # Cancellation safety
    /// Dropping the future must leave nothing behind; a half-made connection is closed.
    async fn connect(&mut self) -> Result<Self::Client<'_>, Self::Error>;
}

/// A connection to a broker. One request is under way at a time: the next [`subscribe`](Self::subscribe) or
/// [`publish`](Self::publish) comes after [`Incoming::Acknowledged`].
#[allow(async_fn_in_trait)]
pub trait Client {
    /// Why the connection is lost. After an error it is dropped.
    type Error: fmt::Debug;

    /// Sends a subscription to `filter` at QoS 1.
    async fn subscribe(&mut self, filter: &str) -> Result<(), Self::Error>;

    /// Sends a message at QoS 1.
    async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<(), Self::Error>;

    /// Sends a PINGREQ.
    async fn ping(&mut self) -> Result<(), Self::Error>;

    /// Waits until something arrives.
    ///
    /// # Cancellation safety
    /// May be dropped and called again: nothing is lost.
    async fn ready(&mut self) -> Result<(), Self::Error>;

    /// Takes in what [`ready`](Self::ready) found. It is not dropped before its end, unless the connection is as well.
    async fn receive(&mut self) -> Result<Incoming<'_>, Self::Error>;
}

/// What arrives from a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'m> {
    /// A message.
    Message {
        /// Its topic.
        topic: &'m str,
        /// Its payload, whole.
        payload: &'m [u8],
    },
    /// The broker has what was sent last: SUBACK or PUBACK.
    Acknowledged,
    /// A message that is larger than the client's memory. The broker has got its acknowledgement, and does not send it again.
    TooLarge {
        /// The size that would have done, in bytes.
        needed: usize,
    },
    /// Anything else, a PINGRESP say: the broker is alive.
    Alive,
}
