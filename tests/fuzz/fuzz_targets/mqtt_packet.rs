//! The packets of an MQTT broker: any bytes, in pieces of any size, into memory of any size.
//!
//! The first three bytes of the input are settings: bit 0 for MQTT 5, and bit 1 for a CONNACK in front of the rest; the length
//! of a read; the size of the memory.

#![no_main]

use std::cell::Cell;

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use libfuzzer_sys::fuzz_target;
use sprag::fetch::{Connector, Scheme};
use sprag::mqtt::{Account, Broker, Client, Incoming, MqttBroker, MqttError, MqttVersion};

/// A network, and the connection in it.
struct Wire<'f> {
    says: &'f [u8],
    read: Cell<usize>,
    piece: usize,
}

impl Connector for Wire<'_> {
    type Error = ErrorKind;
    type Connection<'c>
        = Socket<'c>
    where
        Self: 'c;

    async fn connect<'c>(&'c self, _: Scheme, _: &str, _: u16) -> Result<Socket<'c>, ErrorKind> {
        Ok(Socket(self))
    }
}

struct Socket<'c>(&'c Wire<'c>);

impl ErrorType for Socket<'_> {
    type Error = ErrorKind;
}

impl Read for Socket<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buffer.is_empty(), "a read into nothing");
        let rest = &self.0.says[self.0.read.get()..];
        let count = rest.len().min(buffer.len()).min(self.0.piece);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.0.read.set(self.0.read.get() + count);
        Ok(count)
    }
}

impl Write for Socket<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

async fn converse(mut broker: MqttBroker<'_, &Wire<'_>>, memory: usize) -> Result<(), MqttError<ErrorKind>> {
    let mut client = broker.connect().await?;
    client.subscribe("a/#").await?;
    client.publish("a/b", b"x").await?;
    loop {
        client.ready().await?;
        match client.receive().await? {
            Incoming::Message { topic, payload } => assert!(!topic.is_empty() && topic.len() + payload.len() < memory),
            Incoming::TooLarge { needed } => assert!(needed > memory),
            Incoming::Acknowledged | Incoming::Alive => {}
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, piece, memory], bytes)) = input.split_first_chunk() else { return };
    let version = if flags & 1 != 0 { MqttVersion::V5 } else { MqttVersion::V3_1_1 };
    let connack: &[u8] = match (flags & 2 != 0, version) {
        (false, _) => &[],
        (true, MqttVersion::V3_1_1) => &[0x20, 2, 0, 0],
        (true, MqttVersion::V5) => &[0x20, 3, 0, 0, 0],
    };
    let says = [connack, bytes].concat();
    let wire = Wire { says: &says, read: Cell::new(0), piece: usize::from(piece).max(1) };
    let (mut incoming, mut outgoing) = (vec![0; memory.into()], [0; 64]);
    let broker = MqttBroker::new(&wire, Account::plain("h", "id"), &mut incoming, &mut outgoing).version(version);
    let error = block_on(converse(broker, memory.into())).expect_err("a conversation that never ends");
    // All was read, unless something was wrong with it.
    assert!(error != MqttError::Closed || wire.read.get() == says.len());
});
