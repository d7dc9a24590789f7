//! A TLS server that keeps to the protocol and is not who it says it is, or keeps to it until it is believed: by the device's
//! connector it is refused, and nothing panics.

#[path = "tls/pki.rs"]
#[allow(dead_code)] // It makes more than is needed here.
mod pki;
#[path = "impostor/server.rs"]
mod server;

use std::pin::pin;

use embedded_io_async::{Error as _, Read};
use pki::{Authority, Kind, Leaf};
use rand_core::OsRng;
use server::{After, Flight, Impostor, Memory, length24, message, said};
use sprag::fetch::{
    CertificateError, Connector, Error, READ_BUFFER_FULL, READ_BUFFER_MIN, Scheme, Tls, TlsConnectError, TlsConnector,
    TlsError, Trust, WRITE_BUFFER_MIN,
};
use sprag_cli::net::{HostStack, unix_seconds};

/// Connects once, and reads once: what came of it.
async fn met(flight: &[Flight<'_>], after: &[After], root: &Authority) -> Result<Vec<u8>, TlsError> {
    let impostor = Impostor::start(flight, after);
    let (stack, mut read, mut write) = (HostStack::default(), vec![0; READ_BUFFER_FULL], [0; WRITE_BUFFER_MIN]);
    let roots = [root.der()];
    let tls = Tls::new(&stack, &stack, Trust::new(&roots, &unix_seconds));
    let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
    let connector = TlsConnector::new(&tls, sessions);
    let mut connection = match connector.connect(Scheme::Https, "localhost", impostor.port()).await {
        Ok(connection) => connection,
        Err(TlsConnectError::Tls(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    };
    let mut buf = [0; 64];
    let count = connection.read(&mut buf).await?;
    Ok(buf[..count].to_vec())
}

struct Bench {
    root: Authority,
    leaf: pki::Server,
    other: pki::Server,
}

impl Bench {
    fn new() -> Self {
        let root = Authority::root(Kind::P256, "A root");
        let leaf = root.leaf(Kind::P256, &Leaf::default());
        // Good for another name only: what somebody else has at most.
        let other = root.leaf(Kind::P256, &Leaf { name: "other.example", ..Leaf::default() });
        Self { root, leaf, other }
    }

    async fn met(&self, flight: &[Flight<'_>], after: &[After]) -> Result<Vec<u8>, TlsError> {
        met(flight, after, &self.root).await
    }

    fn honest(&self) -> [Flight<'_>; 4] {
        [Flight::Extensions, Flight::Certificate(self.leaf.der()), Flight::Signature(self.leaf.key()), Flight::Finished]
    }
}

#[tokio::test]
async fn one_that_is_honest_is_believed() {
    let bench = Bench::new();
    assert_eq!(bench.met(&bench.honest(), &[After::Data(b"hello")]).await, Ok(b"hello".to_vec()));
    let tickets = [After::Ticket, After::Ticket, After::Data(b"hello")];
    assert_eq!(bench.met(&bench.honest(), &tickets).await, Ok(b"hello".to_vec()));
    assert_eq!(bench.met(&bench.honest(), &[After::CloseNotify]).await, Ok(vec![]));
}

/// `embedded-tls` 0.19 by itself takes the first three for good.
#[tokio::test]
async fn one_that_does_not_prove_who_it_is_is_refused() {
    use Flight::{Certificate, Extensions, Finished, Signature};
    let bench = Bench::new();
    let (leaf, other) = (Certificate(bench.leaf.der()), Certificate(bench.other.der()));
    let (signed, signed_by_other) = (Signature(bench.leaf.key()), Signature(bench.other.key()));
    let cases: [(&[Flight<'_>], CertificateError); 8] = [
        (&[Extensions, Finished], CertificateError::Missing),
        (&[Extensions, leaf, Finished], CertificateError::Missing),
        (&[Finished], CertificateError::Missing),
        (&[Extensions, signed_by_other, Finished], CertificateError::Missing),
        (&[Extensions, leaf, signed_by_other, Finished], CertificateError::Signature),
        (&[Extensions, other, signed_by_other, Finished], CertificateError::OtherHost),
        (&[Extensions, leaf, other, signed_by_other, Finished], CertificateError::Unfit),
        (&[Extensions, leaf, signed, other, Finished], CertificateError::Unfit),
    ];
    for (flight, error) in cases {
        let result = bench.met(flight, &[After::Data(b"hello")]).await;
        assert_eq!(result, Err(TlsError::Certificate(error)), "{flight:?}");
    }
}

/// What anybody on the way can send, and what `embedded-tls` 0.19 by itself panics at.
#[tokio::test]
async fn records_that_can_not_be_end_the_connection() {
    let bench = Bench::new();
    let finished = [&[22, 3, 3, 0, 36, 20, 0, 0, 32][..], &[0; 32]].concat();
    let hello_request = vec![22, 3, 3, 0, 4, 0, 0, 0, 0];
    let empty = [&[23, 3, 3, 0, 16][..], &[0; 16]].concat();
    let none = vec![23, 3, 3, 0, 0];
    let alert = vec![21, 3, 3, 0, 2, 1, 0];
    for record in
        [finished, hello_request, empty, none, alert, vec![99, 3, 3, 0, 1, 0], b"HTTP/1.1 200 OK\r\n".to_vec()]
    {
        let result = bench.met(&bench.honest(), &[After::Raw(record.clone())]).await;
        let error = result.expect_err("a record that can't be was taken");
        assert_eq!(error.kind(), embedded_io_async::ErrorKind::ConnectionAborted, "{record:?}: {error}");
    }
    // Encrypted with the right keys, and empty.
    let result = bench.met(&bench.honest(), &[After::Sealed(vec![])]).await;
    assert!(result.is_err(), "{result:?}");
}

/// Every byte of the handshake, cut there: an error that says so, and the same as if it were sent at once.
#[tokio::test]
async fn a_handshake_that_is_cut_anywhere_fails() {
    let bench = Bench::new();
    for cut in (0..1000).step_by(7) {
        let result = bench.met(&[&[Flight::CutAfter(cut)], &bench.honest()[..]].concat(), &[]).await;
        assert!(matches!(result, Err(TlsError::Io(_))), "cut at {cut}: {result:?}");
    }
}

/// Chances from a seed: the same client says the same each time, so that what a server said to it can be said again.
struct Dice(fastrand::Rng);

impl Dice {
    fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.0.u8(..)).collect()
    }
}

impl rand_core::CryptoRng for Dice {}

impl rand_core::RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        self.0.u32(..)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

/// Connects once to a server in memory, always with the same `ClientHello`, and reads until there is something.
async fn said_in_memory(
    server: &dyn Fn(&[u8]) -> Vec<u8>,
    root: &Authority,
    buffer: usize,
) -> Result<Vec<u8>, TlsError> {
    let stack = Memory { server };
    let (mut read, mut write) = (vec![0; buffer], [0; WRITE_BUFFER_MIN]);
    let roots = [root.der()];
    let tls = Tls::new(&stack, &stack, Trust::new(&roots, &unix_seconds));
    let sessions = pin!(tls.sessions(Dice::seeded(7), &mut read, &mut write));
    let connector = TlsConnector::new(&tls, sessions);
    let mut connection = match connector.connect(Scheme::Https, "localhost", 443).await {
        Ok(connection) => connection,
        Err(error) => {
            // A server that has not proved who it is can't end a job.
            let TlsConnectError::Tls(tls) = error else { panic!("{error}") };
            assert!(tls.is_retryable(), "{tls}");
            let error = Error::Connect(error);
            assert!(error.is_retryable(), "{error}");
            let error = sprag::Error::from(error);
            assert!(error.is_retryable(), "{error}");
            return Err(tls);
        }
    };
    let mut buf = [0; 64];
    let count = connection.read(&mut buf).await?;
    Ok(buf[..count].to_vec())
}

impl Bench {
    /// What an honest server says to the client that always says the same.
    async fn recorded(&self) -> Vec<u8> {
        let recorded = std::cell::RefCell::new(Vec::new());
        let server = |hello: &[u8]| {
            let said = said(hello, &self.honest(), &[After::Data(b"hello")]);
            recorded.replace(said.handshake.clone());
            [said.handshake, said.after].concat()
        };
        assert_eq!(said_in_memory(&server, &self.root, READ_BUFFER_FULL).await, Ok(b"hello".to_vec()));
        recorded.into_inner()
    }
}

/// What anybody on the way can do with what an honest server says.
#[tokio::test]
async fn a_flight_that_was_changed_or_cut_anywhere_fails_for_now() {
    let bench = Bench::new();
    let flight = bench.recorded().await;
    for cut in 0..flight.len() {
        let result = said_in_memory(&|_| flight[..cut].to_vec(), &bench.root, READ_BUFFER_FULL).await;
        assert!(matches!(result, Err(TlsError::Io(_))), "cut at {cut}: {result:?}");
    }
    let mut dice = Dice::seeded(1);
    for at in 0..flight.len() {
        for change in [0x01, 0x80, dice.0.u8(1..)] {
            let mut changed = flight.clone();
            changed[at] ^= change;
            let result = said_in_memory(&|_| changed.clone(), &bench.root, READ_BUFFER_FULL).await;
            // The version in the header of the `ServerHello`'s record counts for nothing, and nothing protects it: the
            // handshake is good then, and there is nothing to be read.
            let counts = !(1..=2).contains(&at);
            let good = result == Err(TlsError::Io(embedded_io_async::ErrorKind::ConnectionAborted));
            assert!(result.is_err() && (counts || good), "{change:#x} at {at}: {result:?}");
        }
    }
}

/// Records of every type and of all kinds of length, in the clear, in the place of the `ServerHello` and after it.
#[tokio::test]
async fn records_of_anybody_fail_for_now() {
    let bench = Bench::new();
    let flight = bench.recorded().await;
    let hello = &flight[..5 + usize::from(u16::from_be_bytes([flight[3], flight[4]]))];
    let mut dice = Dice::seeded(2);
    for kind in 0..=255 {
        let lengths = match kind {
            20..=24 => &[0, 1, 2, 4, 16, 17, 40, 529, 530, 16_401, 16_402, u16::MAX][..],
            _ => &[0, 40],
        };
        for &length in lengths {
            let header = [&[kind, 3, 3][..], &length.to_be_bytes()].concat();
            let record = [header, dice.bytes(usize::from(length).min(17_000))].concat();
            for before in [&[][..], hello] {
                for buffer in [READ_BUFFER_FULL, READ_BUFFER_MIN] {
                    let said = |_: &[u8]| [before, &record].concat();
                    let result = said_in_memory(&said, &bench.root, buffer).await;
                    assert!(result.is_err(), "{length} bytes of {kind}: {result:?}");
                }
            }
        }
    }
}

/// Handshake messages that some version of TLS knows. Of all other types fewer cases are tried.
const KNOWN: [u8; 20] = [0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 13, 14, 15, 16, 20, 21, 22, 24, 25, 254];

/// Everybody can encrypt to a client that it has not proved anything to yet: handshake messages of every type, with contents
/// and lengths that fit and that don't.
#[tokio::test]
async fn messages_of_anybody_fail_for_now() {
    let bench = Bench::new();
    let mut dice = Dice::seeded(3);
    let entry = [length24(bench.leaf.der().len()), bench.leaf.der().to_vec(), vec![0, 0]].concat();
    let certificate = message(11, &[vec![0], length24(entry.len()), entry].concat());
    let mut contents = Vec::new();
    for kind in 0..=255 {
        let lengths = if KNOWN.contains(&kind) { &[0, 2, 32, 200][..] } else { &[2] };
        for &length in lengths {
            let body = dice.bytes(length);
            contents.push([message(kind, &body), vec![22]].concat());
            contents.push([vec![kind], dice.bytes(3), body.clone(), vec![22]].concat());
            contents.push([certificate.clone(), message(kind, &body), vec![22]].concat());
        }
        contents.push([dice.bytes(40), vec![kind]].concat());
        contents.push([certificate.clone(), vec![kind]].concat());
    }
    // A `Certificate` message that goes on in the next record, and all of the lengths in it, and the first bytes of the
    // certificate, wrong.
    contents.extend((0..certificate.len()).map(|cut| [&certificate[..cut], &[22]].concat()));
    for at in 0..40 {
        for change in [0x01, 0x10, 0x80, 0xff, dice.0.u8(1..)] {
            let mut changed = [certificate.clone(), vec![22]].concat();
            changed[at] ^= change;
            contents.push(changed);
        }
    }
    for content in contents {
        let flight = [Flight::Extensions, Flight::Sealed(&content), Flight::Finished];
        let server = |hello: &[u8]| said(hello, &flight, &[]).handshake;
        let result = said_in_memory(&server, &bench.root, READ_BUFFER_FULL).await;
        assert!(result.is_err(), "{content:?}: {result:?}");
    }
}

/// A server that has proved who it is, and then sends what may not come after the handshake. `embedded-tls` 0.19 by itself
/// panics at six of the types.
#[tokio::test]
async fn after_the_handshake_nothing_but_tickets_data_and_alerts_is_taken() {
    let bench = Bench::new();
    let mut dice = Dice::seeded(4);
    let ticket = message(4, &[0, 0, 0, 9, 1, 2, 3, 4, 1, 0, 0, 1, 5, 0, 0]);
    let met = async |contents: &[Vec<u8>]| {
        let mut after: Vec<_> = contents.iter().cloned().map(After::Sealed).collect();
        after.push(After::Data(b"hello"));
        let server = |hello: &[u8]| {
            let said = said(hello, &bench.honest(), &after);
            [said.handshake, said.after].concat()
        };
        said_in_memory(&server, &bench.root, READ_BUFFER_FULL).await
    };
    let handshake = |parts: &[&[u8]]| [parts.concat(), vec![22]].concat();
    for kind in 0..=255 {
        // What each type is when it is right, as far as there is one of it, and what it is not.
        let finished = dice.bytes(32);
        let hello = [&[3, 3][..], &finished, &[0, 0x13, 0x01, 0, 0, 0]].concat();
        let bodies = [vec![], vec![0, 0], vec![0; 4], finished, hello, dice.bytes(100)];
        let bodies = if KNOWN.contains(&kind) { &bodies[..] } else { &bodies[2..3] };
        for body in bodies {
            let message = message(kind, body);
            let expected = if kind == 4 { Ok(b"hello".to_vec()) } else { Err(TlsError::Protocol) };
            for content in [handshake(&[&message]), handshake(&[&ticket, &message]), handshake(&[&message, &ticket])] {
                assert_eq!(met(&[content]).await, expected, "{kind}: {body:?}");
            }
            // In two records, the first of which ends anywhere.
            let cuts = if KNOWN.contains(&kind) { vec![1, 3, 4, message.len() - 1] } else { vec![4] };
            for cut in cuts.into_iter().filter(|cut| *cut < message.len()) {
                let (first, second) = message.split_at(cut);
                let result = met(&[handshake(&[first]), handshake(&[second])]).await;
                assert_eq!(result, Err(TlsError::Protocol), "{kind}, cut at {cut}: {body:?}");
            }
        }
        let result = met(&[[dice.bytes(2), vec![kind]].concat()]).await;
        match (kind, result) {
            (21, Err(TlsError::Refused { .. } | TlsError::Protocol)) | (_, Err(TlsError::Protocol)) => {}
            (23, Ok(data)) => assert_eq!(data.len(), 2),
            (_, result) => panic!("content of type {kind}: {result:?}"),
        }
    }
    assert_eq!(met(&[vec![1, 0, 21]]).await, Ok(vec![]));
    assert_eq!(met(&[vec![2, 40, 21, 0, 0]]).await, Err(TlsError::Refused { alert: 40 }));
    assert_eq!(met(&[vec![0; 40]]).await, Err(TlsError::Protocol));
}

/// What this device was set up with wrong ends the job, and nothing is connected to.
#[tokio::test]
async fn what_no_retry_mends_is_found_before_anything_is_sent() {
    let root = Authority::root(Kind::P256, "A root");
    let stack = Memory { server: &|_| panic!("it was connected to") };
    for (roots, buffer, expected) in [
        (&[][..], READ_BUFFER_FULL, TlsError::Certificate(CertificateError::Root)),
        (&[root.der(), b"not a certificate"], READ_BUFFER_FULL, TlsError::Certificate(CertificateError::Root)),
        (&[root.der()], READ_BUFFER_MIN - 1, TlsError::Buffer { needed: READ_BUFFER_MIN }),
    ] {
        let (mut read, mut write) = (vec![0; buffer], [0; WRITE_BUFFER_MIN]);
        let tls = Tls::new(&stack, &stack, Trust::without_clock(roots));
        let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
        let connector = TlsConnector::new(&tls, sessions);
        let error = connector.connect(Scheme::Https, "localhost", 443).await.err().expect("it connects");
        assert_eq!(error, TlsConnectError::Tls(expected));
        assert!(!sprag::Error::from(Error::Connect(error)).is_retryable());
    }
}
