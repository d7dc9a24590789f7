//! The MQTT client against brokers that say anything, in pieces of any size.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::num::NonZeroU16;
use std::pin::pin;
use std::task::{Context, Waker};

use embassy_futures::{block_on, yield_now};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use proptest::prelude::*;
use sprag::fetch::{Connector, Scheme};
use sprag::mqtt::{Account, Broker, Client, Incoming, MqttBroker, MqttError, MqttVersion};

const BOTH: [MqttVersion; 2] = [MqttVersion::V3_1_1, MqttVersion::V5];
const ACCOUNT: Account<'static> = Account::tls("broker.example", "pump-7");

/// A network with one broker in it, which says what it is to say whatever it hears.
struct Wire {
    says: Vec<u8>,
    /// Where a read ends at the latest, beside the end.
    ends: Vec<usize>,
    /// How many bytes a write takes at most.
    write_max: usize,
    /// Every read, write and flush waits once.
    is_slow: bool,
    read: Cell<usize>,
    heard: RefCell<Vec<u8>>,
    dialled: RefCell<Vec<(Scheme, String, u16)>>,
}

impl Wire {
    fn new(says: &[u8]) -> Self {
        let (read, heard, dialled) = (Cell::new(0), RefCell::default(), RefCell::default());
        Self { says: says.to_vec(), ends: Vec::new(), write_max: usize::MAX, is_slow: false, read, heard, dialled }
    }

    async fn wait(&self) {
        if self.is_slow {
            yield_now().await;
        }
    }
}

impl Connector for Wire {
    type Error = ErrorKind;
    type Connection<'c> = Socket<'c>;

    async fn connect<'c>(&'c self, scheme: Scheme, host: &str, port: u16) -> Result<Socket<'c>, ErrorKind> {
        self.wait().await;
        self.dialled.borrow_mut().push((scheme, host.to_owned(), port));
        // A new connection: from the beginning.
        self.read.set(0);
        self.heard.borrow_mut().clear();
        Ok(Socket(self))
    }
}

struct Socket<'w>(&'w Wire);

impl ErrorType for Socket<'_> {
    type Error = ErrorKind;
}

impl Read for Socket<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buffer.is_empty(), "a read into nothing");
        self.0.wait().await;
        let from = self.0.read.get();
        let end = self.0.ends.iter().copied().find(|end| *end > from).unwrap_or(usize::MAX).min(self.0.says.len());
        let count = buffer.len().min(end - from);
        buffer[..count].copy_from_slice(&self.0.says[from..from + count]);
        self.0.read.set(from + count);
        Ok(count)
    }
}

impl Write for Socket<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.wait().await;
        let count = bytes.len().min(self.0.write_max);
        self.0.heard.borrow_mut().extend(&bytes[..count]);
        Ok(count)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.wait().await;
        Ok(())
    }
}

/// What arrives, in words of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Arrived {
    Message(String, Vec<u8>),
    Acknowledged,
    TooLarge(usize),
    Alive,
}

impl From<Incoming<'_>> for Arrived {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Message { topic, payload } => Self::Message(topic.to_owned(), payload.to_vec()),
            Incoming::Acknowledged => Self::Acknowledged,
            Incoming::TooLarge { needed } => Self::TooLarge(needed),
            Incoming::Alive => Self::Alive,
        }
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 0x7F { 0x80 } else { 0 };
        packet.push((rest & 0x7F) as u8 | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn connack(version: MqttVersion) -> Vec<u8> {
    match version {
        MqttVersion::V3_1_1 => packet(0x20, &[0, 0]),
        MqttVersion::V5 => packet(0x20, &[0, 0, 0]),
    }
}

fn message(version: MqttVersion, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    if version == MqttVersion::V5 {
        body.push(0);
    }
    body.extend(payload);
    packet(if id.is_some() { 0x32 } else { 0x30 }, &body)
}

fn suback(version: MqttVersion, id: u8) -> Vec<u8> {
    match version {
        MqttVersion::V3_1_1 => packet(0x90, &[0, id, 1]),
        MqttVersion::V5 => packet(0x90, &[0, id, 0, 1]),
    }
}

fn puback(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x40, 2, high, low]
}

/// Takes all that arrives until the connection is lost, by [`Client::ready`] and [`Client::receive`] in turn.
async fn drain<C: Client>(client: &mut C) -> (Vec<Arrived>, C::Error) {
    let mut all = Vec::new();
    loop {
        if let Err(error) = client.ready().await {
            return (all, error);
        }
        match client.receive().await {
            Ok(incoming) => all.push(incoming.into()),
            Err(error) => return (all, error),
        }
    }
}

/// Connects, subscribes, and takes all that arrives.
fn run(
    wire: &Wire,
    version: MqttVersion,
    memory: usize,
) -> Result<(Vec<Arrived>, MqttError<ErrorKind>), MqttError<ErrorKind>> {
    let (mut incoming, mut outgoing) = (vec![0; memory], [0; 256]);
    let mut broker = MqttBroker::new(wire, ACCOUNT, &mut incoming, &mut outgoing).version(version);
    block_on(async {
        let mut client = broker.connect().await?;
        client.subscribe("a/#").await?;
        Ok(drain(&mut client).await)
    })
}

/// One of each, and what is to arrive of it.
fn conversation(version: MqttVersion) -> (Vec<u8>, Vec<Arrived>) {
    let packets = [
        connack(version),
        suback(version, 1),
        message(version, "a/b", Some(0x0102), b"a document"),
        packet(0xD0, &[]),
        message(version, "a/c", None, &[7; 200]),
        message(version, "a/d", Some(0xFFFF), b""),
    ];
    let arrived = vec![
        Arrived::Acknowledged,
        Arrived::Message("a/b".into(), b"a document".into()),
        Arrived::Alive,
        Arrived::Message("a/c".into(), vec![7; 200]),
        Arrived::Message("a/d".into(), Vec::new()),
    ];
    (packets.concat(), arrived)
}

#[test]
fn packets_arrive_whole_wherever_they_are_split() {
    for version in BOTH {
        let (says, arrived) = conversation(version);
        for end in 0..=says.len() {
            let wire = Wire { ends: vec![end], ..Wire::new(&says) };
            let (all, error) = run(&wire, version, 256).unwrap();
            assert_eq!((all, error), (arrived.clone(), MqttError::Closed), "split at {end}");
            let heard = wire.heard.borrow();
            assert!(heard.ends_with(&[puback(0x0102), puback(0xFFFF)].concat()), "{heard:x?}");
        }
        // Byte by byte, in both directions.
        let wire = Wire { ends: (0..says.len()).collect(), write_max: 1, is_slow: true, ..Wire::new(&says) };
        assert_eq!(run(&wire, version, 256).unwrap(), (arrived, MqttError::Closed));
    }
}

#[test]
fn a_connection_that_ends_within_a_packet_is_closed() {
    for version in BOTH {
        let (says, arrived) = conversation(version);
        for end in 0..says.len() {
            match run(&Wire::new(&says[..end]), version, 256) {
                Ok((all, error)) => {
                    assert_eq!(error, MqttError::Closed);
                    assert!(arrived.starts_with(&all));
                }
                Err(error) => assert_eq!(error, MqttError::Closed),
            }
        }
    }
}

#[test]
fn ready_may_be_dropped_at_every_await() {
    for version in BOTH {
        let (says, arrived) = conversation(version);
        let wire = Wire { ends: (0..says.len()).step_by(3).collect(), is_slow: true, ..Wire::new(&says) };
        let (mut incoming, mut outgoing) = ([0; 256], [0; 256]);
        let mut broker = MqttBroker::new(&wire, ACCOUNT, &mut incoming, &mut outgoing).version(version);
        let all = block_on(async {
            let mut client = broker.connect().await.unwrap();
            client.subscribe("a/#").await.unwrap();
            let mut all: Vec<Arrived> = Vec::new();
            loop {
                for _ in 0..3 {
                    // Polled once and dropped, while it waits or when it is done.
                    let _ = pin!(client.ready()).poll(&mut Context::from_waker(Waker::noop()));
                }
                if client.ready().await.is_err() {
                    break;
                }
                all.push(client.receive().await.unwrap().into());
            }
            all
        });
        assert_eq!(all, arrived);
    }
}

#[test]
fn connect_may_be_dropped_at_every_await() {
    for version in BOTH {
        let (says, arrived) = conversation(version);
        let wire = Wire { is_slow: true, write_max: 10, ..Wire::new(&says) };
        let (mut incoming, mut outgoing) = ([0; 256], [0; 256]);
        let mut broker = MqttBroker::new(&wire, ACCOUNT, &mut incoming, &mut outgoing).version(version);
        for polls in 0.. {
            let mut connect = pin!(broker.connect());
            let mut context = Context::from_waker(Waker::noop());
            if (0..polls).any(|_| connect.as_mut().poll(&mut context).is_ready()) {
                assert!(polls > 5, "it waited {polls} times only");
                break;
            }
        }
        let all = block_on(async {
            let mut client = broker.connect().await.unwrap();
            client.subscribe("a/#").await.unwrap();
            drain(&mut client).await.0
        });
        assert_eq!(all, arrived);
    }
}

#[test]
fn a_message_larger_than_the_memory_is_skipped_and_acknowledged() {
    for version in BOTH {
        for payload in [100, 1_000, 100_000] {
            let large = message(version, "a/large", Some(9), &vec![1; payload]);
            let unacknowledged = message(version, "a/large", None, &vec![1; payload]);
            let small = message(version, "a/small", Some(10), b"x");
            let says = [&connack(version)[..], &suback(version, 1), &large, &unacknowledged, &small].concat();
            let wire = Wire::new(&says);
            let (all, error) = run(&wire, version, 64).unwrap();
            let small = Arrived::Message("a/small".into(), b"x".into());
            let skipped = [Arrived::TooLarge(large.len()), Arrived::TooLarge(unacknowledged.len())];
            assert_eq!(all, [&[Arrived::Acknowledged], &skipped[..], &[small]].concat());
            assert_eq!(error, MqttError::Closed);
            assert!(wire.heard.borrow().ends_with(&[puback(9), puback(10)].concat()));
            // The size that is named would have done.
            let (all, _) = run(&Wire::new(&says), version, large.len()).unwrap();
            assert_eq!(all[1], Arrived::Message("a/large".into(), vec![1; payload]));
            let (all, _) = run(&Wire::new(&says), version, large.len() - 1).unwrap();
            assert_eq!(all[1], Arrived::TooLarge(large.len()));
        }
    }
}

#[test]
fn memory_that_is_too_small_is_an_error_that_names_the_size() {
    for version in BOTH {
        let (says, _) = conversation(version);
        let Err(MqttError::IncomingTooSmall { needed }) = run(&Wire::new(&says), version, 0) else { panic!() };
        assert_eq!(run(&Wire::new(&says), version, needed - 1), Err(MqttError::IncomingTooSmall { needed }));
        assert!(run(&Wire::new(&says), version, needed).is_ok());

        let (mut incoming, mut none) = ([0; 256], []);
        let mut broker = MqttBroker::new(Wire::new(&says), ACCOUNT, &mut incoming, &mut none).version(version);
        let result = block_on(async { broker.connect().await?.publish("a/b", b"x").await });
        let overhead = MqttBroker::<'_, Wire>::OVERHEAD;
        let Err(MqttError::OutgoingTooSmall { needed }) = result else { panic!("{result:?}") };
        assert!(needed <= overhead + 3);
    }
    // A CONNACK, with more in it than there is room for.
    let long = packet(0x20, &[&[0, 0, 64, 0x1F, 0, 61][..], &[b'x'; 61]].concat());
    assert_eq!(run(&Wire::new(&long), MqttVersion::V5, 64), Err(MqttError::IncomingTooSmall { needed: long.len() }));
}

#[test]
fn the_account_is_where_the_client_goes() {
    let accounts = [
        (Account::tls("a.example", "me"), (Scheme::Https, "a.example".to_owned(), 8883)),
        (Account::plain("10.0.0.1", "me"), (Scheme::Http, "10.0.0.1".to_owned(), 1883)),
        (Account::tls("a.example", "me").port(443), (Scheme::Https, "a.example".to_owned(), 443)),
    ];
    for (account, dialled) in accounts {
        let wire = Wire::new(&connack(MqttVersion::V5));
        let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
        let mut broker = MqttBroker::new(&wire, account.login("name", b"secret"), &mut incoming, &mut outgoing)
            .keep_alive(NonZeroU16::new(30).unwrap());
        assert!(block_on(broker.connect()).is_ok());
        assert_eq!(*wire.dialled.borrow(), [dialled]);
        let connect = b"\x10\x24\0\x04MQTT\x05\xC2\0\x1E\x07\x17\0\x27\0\0\0\x40\0\x02me\0\x04name\0\x06secret";
        assert_eq!(*wire.heard.borrow(), connect);
    }
}

#[test]
fn a_password_is_never_shown() {
    let account = ACCOUNT.login("name", b"secret");
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let broker = MqttBroker::new(Wire::new(b""), account, &mut incoming, &mut outgoing);
    let secret = format!("{:?}", b"secret");
    for shown in [format!("{account:?}"), format!("{broker:?}")] {
        assert!(shown.contains("pump-7"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains(&secret[1..secret.len() - 1]), "{shown}");
    }
}

#[test]
fn a_refusal_names_its_reason() {
    let refusals: [(MqttVersion, &[u8], u8); 6] = [
        (MqttVersion::V3_1_1, b"\x20\x02\0\x05", 5),
        (MqttVersion::V5, b"\x20\x03\0\x87\0", 0x87),
        // A broker that knows no MQTT 5 answers as MQTT 3.1.1 does.
        (MqttVersion::V5, b"\x20\x02\0\x01", 1),
        (MqttVersion::V3_1_1, b"\x20\x02\0\0\x90\x03\0\x01\x80", 0x80),
        (MqttVersion::V5, b"\x20\x03\0\0\0\x90\x04\0\x01\0\x87", 0x87),
        (MqttVersion::V5, b"\x20\x03\0\0\0\xE0\x02\x8E\0", 0x8E),
    ];
    for (version, says, code) in refusals {
        let error = match run(&Wire::new(says), version, 64) {
            Ok((_, error)) | Err(error) => error,
        };
        assert_eq!(error, MqttError::Refused { code }, "{says:x?}");
    }
    assert_eq!(run(&Wire::new(b"\x20\x05\0\0\x02\x24\0"), MqttVersion::V5, 64), Err(MqttError::NoQos1));
}

#[test]
fn what_breaks_the_protocol_ends_the_connection() {
    for version in BOTH {
        let connack = connack(version);
        let wrong: [(&[u8], MqttError<ErrorKind>); 7] = [
            (b"", MqttError::Closed),
            (b"\x40\x02\0", MqttError::Closed),
            // An acknowledgement of nothing.
            (b"\x40\x02\0\x02", MqttError::Protocol),
            // A length without an end.
            (b"\x30\xFF\xFF\xFF\xFF\x01", MqttError::Protocol),
            (&connack, MqttError::Protocol),
            // PUBREL without flags, and a packet of a client.
            (b"\x60\0", MqttError::Protocol),
            (b"\xC0\0", MqttError::Protocol),
        ];
        for (wrong, expected) in wrong {
            let (all, error) = run(&Wire::new(&[&connack[..], wrong].concat()), version, 64).unwrap();
            assert_eq!((all, error), (vec![], expected), "{wrong:x?}");
        }
        // Anything but CONNACK comes first.
        let first = [packet(0xD0, &[]), message(version, "a", None, b""), message(version, "a", None, &[0; 100])];
        for first in first {
            assert_eq!(run(&Wire::new(&first), version, 64), Err(MqttError::Protocol));
        }
        // An acknowledgement counts once.
        let twice = [&connack[..], &suback(version, 1), &suback(version, 1)].concat();
        let (all, error) = run(&Wire::new(&twice), version, 64).unwrap();
        assert_eq!((all, error), (vec![Arrived::Acknowledged], MqttError::Protocol));
    }
}

#[test]
fn requests_wait_for_their_acknowledgements() {
    let version = MqttVersion::V5;
    let wire = Wire::new(&[connack(version), puback(2), suback(version, 1)].concat());
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut broker = MqttBroker::new(&wire, ACCOUNT, &mut incoming, &mut outgoing);
    block_on(async {
        let mut client = broker.connect().await.unwrap();
        client.subscribe("a").await.unwrap();
        for _ in 0..3 {
            client.publish("a", b"x").await.unwrap();
        }
        assert_eq!(client.publish("a", b"x").await, Err(MqttError::Busy));
        assert_eq!(client.receive().await, Ok(Incoming::Acknowledged));
        client.publish("a", b"x").await.unwrap();
        assert_eq!(client.publish("a", b"x").await, Err(MqttError::Busy));
        assert_eq!(client.receive().await, Ok(Incoming::Acknowledged));
        wire.heard.borrow_mut().clear();
        client.ping().await.unwrap();
        client.publish("a", b"x").await.unwrap();
        assert_eq!(*wire.heard.borrow(), b"\xC0\0\x32\x07\0\x01a\0\x06\0x");
    });
}

#[test]
fn a_broker_s_own_limit_is_kept() {
    let wire = Wire::new(b"\x20\x08\0\0\x05\x27\0\0\0\x10");
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut broker = MqttBroker::new(&wire, ACCOUNT, &mut incoming, &mut outgoing);
    block_on(async {
        let mut client = broker.connect().await.unwrap();
        client.publish("abc", b"123456").await.unwrap();
        assert_eq!(client.publish("abc", b"1234567").await, Err(MqttError::BrokerLimit { needed: 17 }));
        assert_eq!(client.publish("a", &[0; 200]).await, Err(MqttError::BrokerLimit { needed: 209 }));
        assert_eq!(client.publish("a/+", b"").await, Err(MqttError::Request));
    });
}

/// What a broker sends.
#[derive(Debug, Clone)]
enum Said {
    Message { topic: String, payload: Vec<u8>, is_at_least_once: bool },
    Pong,
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => ("[a-z/]{1,20}", prop::collection::vec(any::<u8>(), 0..300), any::<bool>())
            .prop_map(|(topic, payload, is_at_least_once)| Said::Message { topic, payload, is_at_least_once }),
        1 => Just(Said::Pong),
    ]
}

proptest! {
    /// Whatever the sizes, every message arrives whole, or its size is named; and each is acknowledged once, in order.
    #[test]
    fn messages_are_never_cut_short(
        said in prop::collection::vec(said(), 0..12),
        is_v5: bool,
        memory in 64_usize..400,
        ends in prop::collection::btree_set(0_usize..4_000, 0..40),
        write_max in 1_usize..20,
    ) {
        let version = BOTH[usize::from(is_v5)];
        let mut says = [connack(version), suback(version, 1)].concat();
        let (mut arrived, mut acknowledged) = (vec![Arrived::Acknowledged], Vec::new());
        for (number, said) in (1..).zip(said) {
            let Said::Message { topic, payload, is_at_least_once } = said else {
                says.extend(packet(0xD0, &[]));
                arrived.push(Arrived::Alive);
                continue;
            };
            let message = message(version, &topic, is_at_least_once.then_some(number), &payload);
            says.extend(&message);
            let is_large = message.len() > memory;
            arrived.push(if is_large { Arrived::TooLarge(message.len()) } else { Arrived::Message(topic, payload) });
            if is_at_least_once {
                acknowledged.extend(puback(number));
            }
        }
        let wire = Wire { ends: ends.into_iter().collect(), write_max, ..Wire::new(&says) };
        let (all, error) = run(&wire, version, memory).unwrap();
        prop_assert_eq!(error, MqttError::Closed);
        prop_assert_eq!(all, arrived);
        prop_assert!(wire.heard.borrow().ends_with(&acknowledged));
    }

    /// Bytes that no broker would send end in an error.
    #[test]
    fn any_bytes_end_in_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        is_v5: bool,
        memory in 0_usize..200,
        is_connected: bool,
    ) {
        let version = BOTH[usize::from(is_v5)];
        let says = if is_connected { [connack(version), bytes].concat() } else { bytes };
        let _ = run(&Wire::new(&says), version, memory);
    }
}

/// Errors are shown, and say the sizes that they carry.
#[test]
fn errors_say_what_is_needed() {
    let shown = |error: MqttError<Infallible>| error.to_string();
    assert_eq!(shown(MqttError::IncomingTooSmall { needed: 70 }), "the incoming memory is too small: 70 bytes needed");
    assert_eq!(shown(MqttError::Refused { code: 0x87 }), "the broker refused (reason code 0x87)");
}
