//! Who the device is: client certificates of its own TLS, before an `openssl s_server` that lets nobody in without one.

mod common;
#[path = "tls/pki.rs"]
#[allow(dead_code)] // Another test uses the rest.
mod pki;
#[path = "tls/server.rs"]
#[allow(dead_code)] // So it does of this.
mod server;

use std::pin::pin;
use std::time::Duration;

use common::bytes;
use embedded_io_async::{Read, Write};
use pki::{Authority, Kind, Leaf};
use rand_core::OsRng;
use rcgen::ExtendedKeyUsagePurpose;
use server::OpenSsl;
use sprag::fetch::{
    CertificateError, Connector, Identity, IdentityKey, P256IdentityKey, READ_BUFFER_FULL, Scheme, Tls,
    TlsConnectError, TlsConnector, TlsError, Trust, WRITE_BUFFER_MIN,
};
use sprag_cli::net::{HostStack, unix_seconds};
use tempfile::TempDir;

const SIZE: usize = 40_000;
/// Alerts (RFC 8446, section 6).
const UNKNOWN_CA: u8 = 48;
const DECRYPT_ERROR: u8 = 51;
const CERTIFICATE_EXPIRED: u8 = 45;
const CERTIFICATE_REQUIRED: u8 = 116;

/// A server that takes clients by one authority, which is also its own.
struct Bench {
    root: Authority,
    server: OpenSsl,
    content: Vec<u8>,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::of(Kind::P256)
    }

    fn of(kind: Kind) -> Self {
        let (root, content, dir) = (Authority::root(kind, "A root"), bytes(1, SIZE), tempfile::tempdir().unwrap());
        let ca = dir.path().join("clients.pem");
        std::fs::write(&ca, root.pem()).unwrap();
        let options = ["-tls1_3", "-Verify", "1", "-verify_return_error", "-CAfile", ca.to_str().unwrap()];
        let server = OpenSsl::start(&[&root.leaf(Kind::P256, &Leaf::default())], &content, &options);
        Self { root, server, content, _dir: dir }
    }

    /// What comes of some connections, one after the other through the same buffers.
    async fn answers<const N: usize>(
        &self,
        identity: Option<Identity<'_>>,
        write: usize,
    ) -> [Result<Vec<u8>, TlsError>; N] {
        self.answers_to(identity, READ_BUFFER_FULL, write, b"GET /app.bin HTTP/1.1\r\n\r\n").await
    }

    async fn answers_to<const N: usize>(
        &self,
        identity: Option<Identity<'_>>,
        read: usize,
        write: usize,
        request: &[u8],
    ) -> [Result<Vec<u8>, TlsError>; N] {
        let (stack, mut read, mut write) = (HostStack::default(), vec![0; read], vec![0; write]);
        let roots = [self.root.der()];
        let mut tls = Tls::new(&stack, &stack, Trust::new(&roots, &unix_seconds));
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
        let connector = TlsConnector::new(&tls, sessions);
        let mut answers = [const { Ok(Vec::new()) }; N];
        for answer in &mut answers {
            let asked = async {
                let connected = connector.connect(Scheme::Https, "localhost", self.server.port()).await;
                let mut connection = connected.map_err(|error| match error {
                    TlsConnectError::Tls(error) => error,
                    error => panic!("{error}"),
                })?;
                connection.write_all(request).await?;
                connection.flush().await?;
                let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
                while let count @ 1.. = connection.read(&mut buffer).await? {
                    bytes.extend(&buffer[..count]);
                }
                // The head is the server's own.
                Ok(bytes.split_off(bytes.len().saturating_sub(SIZE)))
            };
            *answer = asked.await;
        }
        answers
    }

    async fn answer(&self, identity: Option<Identity<'_>>, write: usize) -> Result<Vec<u8>, TlsError> {
        let [answer] = self.answers(identity, write).await;
        answer
    }
}

/// A client's certificate and key.
struct Client(pki::Server, P256IdentityKey);

impl Client {
    fn by(authority: &Authority, days: (i64, i64)) -> Self {
        Self::named("pump-7", authority, days)
    }

    fn named(name: &str, authority: &Authority, days: (i64, i64)) -> Self {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let leaf = authority.leaf(Kind::P256, &Leaf { name, days, usage });
        let key = P256IdentityKey::from_der(leaf.key().serialized_der()).unwrap();
        Self(leaf, key)
    }

    fn identity(&self) -> Identity<'_> {
        Identity::new(self.0.der(), &self.1)
    }
}

const VALID: (i64, i64) = (-1, 30);

/// A secure element that takes its time, or does nothing.
#[derive(Debug)]
struct Element<'k> {
    key: Option<&'k P256IdentityKey>,
    takes: Duration,
}

impl IdentityKey for Element<'_> {
    fn sign(&self, digest: &[u8; 32]) -> Option<[u8; 64]> {
        std::thread::sleep(self.takes);
        self.key?.sign(digest)
    }
}

#[tokio::test]
async fn who_has_a_certificate_is_served_again_and_again() {
    let bench = Bench::new();
    let client = Client::by(&bench.root, VALID);
    let identity = client.identity();
    let answers: [_; 4] = bench.answers(Some(identity), 2048).await;
    assert!(answers.into_iter().all(|answer| answer.as_ref() == Ok(&bench.content)));
}

#[tokio::test]
async fn a_write_buffer_as_small_as_the_certificate_allows() {
    // As AWS has it: a key over P-256, and Amazon's signature by RSA.
    let bench = Bench::of(Kind::Rsa(2048));
    let client = Client::named(&"a".repeat(63), &bench.root, VALID);
    let identity = Some(client.identity());
    let needed = Identity::write_buffer(client.0.der());
    assert!(needed > WRITE_BUFFER_MIN, "{needed} bytes");
    assert_eq!(bench.answer(identity, needed).await, Ok(bench.content.clone()));
    assert_eq!(bench.answer(identity, needed - 1).await, Err(TlsError::Buffer { needed }));
    assert_eq!(Identity::write_buffer(&[]), WRITE_BUFFER_MIN);
}

/// A device that asks for short records keeps to them as well, with its certificate and with what it sends.
#[tokio::test]
async fn short_records_bind_both_sides() {
    let request = format!("GET /app.bin HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(3000));
    for kind in [Kind::P256, Kind::Rsa(2048)] {
        let bench = Bench::of(kind);
        for client in [Client::by(&bench.root, VALID), Client::named(&"a".repeat(63), &bench.root, VALID)] {
            let length = client.0.der().len() + 13;
            let enough = [512, 1024, 2048, 4096].into_iter().find(|fragment| length <= *fragment).unwrap() + 17;
            for read in [512, 1024, 2048, 4096].map(|fragment| fragment + 17) {
                let [answer] = bench.answers_to(Some(client.identity()), read, 8192, request.as_bytes()).await;
                match answer {
                    Err(TlsError::Buffer { needed }) if read < enough => assert_eq!(needed, enough),
                    // The server's own certificate has to fit as well.
                    Err(TlsError::Record) if read <= 1024 + 17 => {}
                    answer => assert!(answer == Ok(bench.content.clone()), "{length} bytes, {read}: {answer:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn who_has_none_or_a_wrong_one_hears_why() {
    let bench = Bench::new();
    let (client, other) = (Client::by(&bench.root, VALID), Client::by(&bench.root, VALID));
    let stranger = Client::by(&Authority::root(Kind::P256, "A root of theirs"), VALID);
    let expired = Client::by(&bench.root, (-30, -1));
    let refused = |alert| [Err(TlsError::Refused { alert }), Err(TlsError::Refused { alert })];
    for (identity, alert) in [
        (None, CERTIFICATE_REQUIRED),
        (Some(stranger.identity()), UNKNOWN_CA),
        (Some(expired.identity()), CERTIFICATE_EXPIRED),
        (Some(Identity::new(client.0.der(), &other.1)), DECRYPT_ERROR),
    ] {
        assert_eq!(bench.answers(identity, 2048).await, refused(alert), "{identity:?}");
    }
    // And is served next time.
    assert_eq!(bench.answer(Some(client.identity()), 2048).await, Ok(bench.content.clone()));
}

/// The server has refused the certificate and hung up (openssl: half a second later) while the device still signs: what it
/// said is told, not that the device could not go on.
#[tokio::test]
async fn a_refusal_outruns_a_slow_key() {
    let bench = Bench::new();
    let stranger = Client::by(&Authority::root(Kind::P256, "A root of theirs"), VALID);
    let slow = Element { key: Some(&stranger.1), takes: Duration::from_millis(900) };
    let identity = Identity::new(stranger.0.der(), &slow);
    for _ in 0..2 {
        assert_eq!(bench.answer(Some(identity), 2048).await, Err(TlsError::Refused { alert: UNKNOWN_CA }));
    }
    let client = Client::by(&bench.root, VALID);
    let slow = Element { key: Some(&client.1), ..slow };
    assert_eq!(bench.answer(Some(Identity::new(client.0.der(), &slow)), 2048).await, Ok(bench.content.clone()));
}

#[tokio::test]
async fn a_key_that_does_not_sign_is_an_error_and_nothing_more() {
    let bench = Bench::new();
    let client = Client::by(&bench.root, VALID);
    let dead = Element { key: None, takes: Duration::ZERO };
    let answers = bench.answers(Some(Identity::new(client.0.der(), &dead)), 2048).await;
    assert_eq!(answers, [Err(TlsError::Identity), Err(TlsError::Identity)]);
    assert_eq!(bench.answer(Some(client.identity()), 2048).await, Ok(bench.content.clone()));
}

/// A server that is not believed is not told who the device is; and one that does not ask, neither.
#[tokio::test]
async fn a_certificate_changes_nothing_for_others() {
    let mut bench = Bench::new();
    let client = Client::by(&bench.root, VALID);
    let leaf = bench.root.leaf(Kind::P256, &Leaf::default());
    bench.server = OpenSsl::start(&[&leaf], &bench.content, &["-tls1_3"]);
    assert_eq!(bench.answer(Some(client.identity()), 2048).await, Ok(bench.content.clone()));
    let leaf = bench.root.leaf(Kind::P256, &Leaf { name: "other.example", ..Leaf::default() });
    bench.server = OpenSsl::start(&[&leaf], &bench.content, &["-tls1_3", "-Verify", "1"]);
    let other = Err(TlsError::Certificate(CertificateError::OtherHost));
    assert_eq!(bench.answer(Some(client.identity()), 2048).await, other);
}
