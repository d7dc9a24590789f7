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
use server::{After, Flight, Impostor};
use sprag::fetch::{
    CertificateError, Connector, READ_BUFFER_FULL, Scheme, Tls, TlsConnectError, TlsConnector, TlsError, Trust,
    WRITE_BUFFER_MIN,
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
    let result = bench.met(&bench.honest(), &[After::Empty]).await;
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
