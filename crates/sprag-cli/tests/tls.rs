//! Who is believed to be who, by the desk's TLS and by the device's: `openssl s_server` with chains of every kind.

mod common;
#[path = "tls/pki.rs"]
#[allow(dead_code)] // Another test uses the rest.
mod pki;
#[path = "tls/server.rs"]
mod server;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;

use common::{Ran, bytes, sprag};
use embedded_nal_async::{AddrType, Dns};
use pki::{Authority, Kind, Leaf};
use rand_core::OsRng;
use rcgen::ExtendedKeyUsagePurpose;
use server::OpenSsl;
use sprag::fetch::{
    CertificateError, Error, Fetcher, READ_BUFFER_FULL, READ_BUFFER_MIN, RetryPolicy, Session, Tls, TlsConnectError,
    TlsConnector, TlsError, Trust, Url, WRITE_BUFFER_MIN,
};
use sprag_cli::net::{HostStack, TokioDelay, unix_seconds};

const WHOSE: [&str; 2] = ["rustls", "embedded"];
const SIZE: usize = 40_000;

/// Fetches from a server with this chain: what came of it.
fn fetched(whose: &str, server: &OpenSsl, root: &Authority, more: &[&str]) -> Ran {
    let (ca, output) = (server.path("ca.pem"), server.path("fetched.bin"));
    std::fs::write(&ca, root.pem()).expect("a file");
    let url = format!("https://localhost:{}/app.bin", server.port());
    let mut command = sprag(["fetch", &url, "--retries", "1", "--tls", whose, "--json"]);
    Ran::of(command.arg("-o").arg(output).arg("--cacert").arg(ca).args(more))
}

#[track_caller]
fn believed(whose: &str, chain: &[&dyn pki::Certified], root: &Authority, more: &[&str]) {
    let content = bytes(1, SIZE);
    let server = OpenSsl::start(chain, &content, &["-tls1_3"]);
    fetched(whose, &server, root, more).succeeded();
    assert!(std::fs::read(server.path("fetched.bin")).expect("a file") == content, "other bytes than were served");
}

#[track_caller]
fn refused(whose: &str, chain: &[&dyn pki::Certified], root: &Authority, embedded_says: &str) {
    let server = OpenSsl::start(chain, &bytes(1, SIZE), &["-tls1_3"]);
    let says = if whose == "embedded" { embedded_says } else { "certificate" };
    fetched(whose, &server, root, &[]).refused(3, &["can't connect", says]);
    assert!(!server.path("fetched.bin").exists());
}

/// As Amazon has them: an RSA-2048 leaf under an RSA-2048 intermediate, and the root once more, signed by an older one that
/// the device does not know.
#[test]
fn rsa_as_amazon_has_it() {
    let (root, older) = (Authority::root(Kind::Rsa(2048), "Root CA 1"), Authority::root(Kind::Rsa(2048), "Class 2"));
    let intermediate = root.intermediate(Kind::Rsa(2048), "RSA 2048 M01");
    let leaf = intermediate.leaf(Kind::Rsa(2048), &Leaf::default());
    let cross = older.cross_signed(&root);
    for whose in WHOSE {
        believed(whose, &[&leaf, &intermediate, &cross, &older], &root, &[]);
        // The chain as the leaf's owner should have it; and records of 4096 bytes, into which it fits.
        believed(whose, &[&leaf, &intermediate], &root, &["--tls-buffer", "4113"]);
    }
}

#[test]
fn chains_of_every_kind() {
    let kinds = [
        [Kind::P256, Kind::P256, Kind::P256],
        [Kind::P384, Kind::P384, Kind::P384],
        [Kind::Rsa(4096), Kind::Rsa(2048), Kind::P256],
        [Kind::P384, Kind::P256, Kind::Rsa(3072)],
        [Kind::P256, Kind::P384, Kind::P256],
    ];
    for [root, intermediate, leaf] in kinds {
        let root = Authority::root(root, "A root");
        let intermediate = root.intermediate(intermediate, "An intermediate");
        let leaf = intermediate.leaf(leaf, &Leaf::default());
        for whose in WHOSE {
            believed(whose, &[&leaf, &intermediate], &root, &[]);
        }
    }
}

#[test]
fn whoever_is_somebody_else_is_refused() {
    for kind in [Kind::P256, Kind::Rsa(2048)] {
        let (root, stranger) = (Authority::root(kind, "A root"), Authority::root(kind, "A root"));
        let intermediate = root.intermediate(kind, "An intermediate");
        let leaf = |leaf| intermediate.leaf(kind, &leaf);
        let ca_expired = root.intermediate_that_expired(kind);
        for whose in WHOSE {
            let check = |leaf: &dyn pki::Certified, says| refused(whose, &[leaf, &intermediate], &root, says);
            check(&leaf(Leaf { days: (-30, -1), ..Leaf::default() }), "has expired");
            check(&leaf(Leaf { days: (1, 30), ..Leaf::default() }), "not valid yet");
            for name in ["localhost.example", "*.localhost", "127.0.0.1", "*"] {
                check(&leaf(Leaf { name, ..Leaf::default() }), "another host");
            }
            let usage = ExtendedKeyUsagePurpose::ClientAuth;
            check(&leaf(Leaf { usage, ..Leaf::default() }), "not one for a server");

            let leaf = leaf(Leaf::default());
            // By a root of the same name, but not the same key; and without the certificate between.
            refused(whose, &[&leaf, &intermediate], &stranger, "");
            refused(whose, &[&leaf], &root, "none of the authorities");
            refused(whose, &[&ca_expired.leaf(kind, &Leaf::default()), &ca_expired], &root, "has expired");
            // What is no authority's vouches for nobody.
            let minted = leaf.misused_as_authority().leaf(kind, &Leaf::default());
            refused(whose, &[&minted, &leaf, &intermediate], &root, "");
            let own = Authority::root(kind, "localhost");
            refused(whose, &[&own], &root, "");
        }
    }
}

#[test]
fn tls_1_2_is_not_spoken_by_a_device() {
    let root = Authority::root(Kind::P256, "A root");
    let leaf = root.leaf(Kind::P256, &Leaf::default());
    let server = OpenSsl::start(&[&leaf], &bytes(1, SIZE), &["-tls1_2"]);
    fetched("embedded", &server, &root, &[]).refused(3, &["refused the TLS handshake (alert 70)"]);
    fetched("rustls", &server, &root, &[]).succeeded();
}

/// Names resolve to this machine.
struct Here;

impl Dns for Here {
    type Error = io::Error;

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> io::Result<IpAddr> {
        Ok(IpAddr::from([127, 0, 0, 1]))
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

type FetchError = Error<TlsConnectError<io::Error, io::Error>>;

/// What the device's connector brings from `https://host/`, trusting so and with a read buffer of this size.
async fn device(host: &str, port: u16, trust: Trust<'_>, buffer: usize) -> Result<Vec<u8>, FetchError> {
    let (stack, mut read, mut write) = (HostStack::default(), vec![0; buffer], [0; WRITE_BUFFER_MIN]);
    let tls = Tls::new(&stack, &Here, trust);
    let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let mut fetcher = Fetcher::new(TlsConnector::new(&tls, sessions), TokioDelay).retry(once);
    let url = format!("https://{host}:{port}/app.bin");
    let mut download = fetcher.download(Url::parse(url.bytes()).expect("a URL"), Session::default());
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    while let count @ 1.. = download.read(&mut buffer, &mut |_| {}).await? {
        bytes.extend(&buffer[..count]);
    }
    Ok(bytes)
}

fn refusal(error: TlsError) -> Result<Vec<u8>, FetchError> {
    Err(Error::Connect(TlsConnectError::Tls(error)))
}

#[tokio::test]
async fn host_names_as_long_as_dns_has_them() {
    let label = |length| "a".repeat(length);
    let longest = format!("{}.{}.{}.{}", label(63), label(63), label(63), label(61));
    assert_eq!(longest.len(), 253);
    let root = Authority::root(Kind::P256, "A root");
    let (roots, content) = ([root.der()], bytes(1, SIZE));
    let trust = Trust::new(&roots, &unix_seconds);
    let wildcard = format!("*.{}.s3.dualstack.ap-southeast-2.amazonaws.example", label(63));
    let bucket = wildcard.replacen('*', &label(63), 1);
    let dotted = format!("{longest}.");
    for (name, host, good) in [
        (&longest, &longest, true),
        (&longest, &dotted, false),
        (&wildcard, &bucket, true),
        (&wildcard, &bucket.replacen('.', ".b.", 1), false),
        (&wildcard, &wildcard.replacen("*.", "", 1), false),
        (&longest, &longest.replacen('a', "b", 1), false),
        (&longest, &longest.to_uppercase(), true),
    ] {
        let leaf = root.leaf(Kind::P256, &Leaf { name, ..Leaf::default() });
        let server = OpenSsl::start(&[&leaf], &content, &["-tls1_3"]);
        if host.len() > 253 {
            assert!(Url::parse(format!("https://{host}/").bytes()).is_err(), "a name that DNS can't carry");
            continue;
        }
        let result = device(host, server.port(), trust, READ_BUFFER_FULL).await;
        let expected =
            if good { Ok(content.clone()) } else { refusal(TlsError::Certificate(CertificateError::OtherHost)) };
        assert!(same(&result, &expected), "{name} for {host}: {result:?}");
    }
    let leaf = root.leaf(Kind::P256, &Leaf { name: "127.0.0.1", ..Leaf::default() });
    let server = OpenSsl::start(&[&leaf], &content, &["-tls1_3"]);
    assert!(same(&device("127.0.0.1", server.port(), trust, READ_BUFFER_FULL).await, &Ok(content)));
}

/// The desk's errors are no values to compare: by what they say.
fn same(a: &Result<Vec<u8>, FetchError>, b: &Result<Vec<u8>, FetchError>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a == b,
        (Err(a), Err(b)) => a.to_string() == b.to_string(),
        _ => false,
    }
}

#[tokio::test]
async fn without_a_clock_dates_are_not_looked_at_and_all_else_is() {
    let (root, stranger) = (Authority::root(Kind::P256, "A root"), Authority::root(Kind::P256, "Another"));
    let content = bytes(1, SIZE);
    let (roots, strangers) = ([stranger.der(), root.der()], [stranger.der()]);
    let trust = Trust::without_clock(&roots);
    for days in [(-3000, -2000), (-1, 1), (2000, 3000)] {
        let leaf = root.leaf(Kind::P256, &Leaf { days, ..Leaf::default() });
        let server = OpenSsl::start(&[&leaf], &content, &["-tls1_3"]);
        let result = device("localhost", server.port(), trust, READ_BUFFER_FULL).await;
        assert!(same(&result, &Ok(content.clone())), "{days:?}: {result:?}");
        for (host, trust, error) in [
            ("other", trust, CertificateError::OtherHost),
            ("localhost", Trust::without_clock(&strangers), CertificateError::UnknownIssuer),
            ("localhost", Trust::without_clock(&[]), CertificateError::Root),
            ("localhost", Trust::without_clock(&[b"not a certificate"]), CertificateError::Root),
        ] {
            let result = device(host, server.port(), trust, READ_BUFFER_FULL).await;
            assert!(same(&result, &refusal(TlsError::Certificate(error))), "{error:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn buffers_as_small_as_the_handshake_allows() {
    let root = Authority::root(Kind::P256, "A root");
    let (roots, content) = ([root.der()], bytes(1, SIZE));
    let trust = Trust::new(&roots, &unix_seconds);
    // More than one record of 512, and less than one of 1024.
    let name = format!("{0}.{0}.{0}.example", "a".repeat(60));
    let leaf = root.leaf(Kind::P256, &Leaf { name: &name, ..Leaf::default() });
    let size = leaf.der().len();
    assert!((500..1000).contains(&size), "{size} bytes");
    let server = OpenSsl::start(&[&leaf], &content, &["-tls1_3"]);
    let get = async |buffer| device(&name, server.port(), trust, buffer).await;
    for (buffer, expected) in [
        (READ_BUFFER_FULL, Ok(content.clone())),
        (READ_BUFFER_FULL - 1, Ok(content.clone())),
        (4096 + 17, Ok(content.clone())),
        (2048 + 17, Ok(content.clone())),
        (1024 + 17, Ok(content.clone())),
        (READ_BUFFER_MIN, refusal(TlsError::Record)),
        (READ_BUFFER_MIN - 1, refusal(TlsError::Buffer { needed: READ_BUFFER_MIN })),
    ] {
        let result = get(buffer).await;
        assert!(same(&result, &expected), "{buffer} bytes: {result:?}");
    }
}

/// What a session leaves behind when it is dropped in the middle, its successor does not notice.
#[tokio::test]
async fn one_connection_after_the_other_through_the_same_buffers() {
    use sprag::fetch::{Connector, Scheme};
    let root = Authority::root(Kind::P256, "A root");
    let (roots, content) = ([root.der()], bytes(1, SIZE));
    let leaf = root.leaf(Kind::P256, &Leaf::default());
    let server = OpenSsl::start(&[&leaf], &content, &["-tls1_3"]);
    let (stack, mut read, mut write) = (HostStack::default(), vec![0; READ_BUFFER_FULL], [0; WRITE_BUFFER_MIN]);
    let tls = Tls::new(&stack, &Here, Trust::new(&roots, &unix_seconds));
    let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
    let connector = TlsConnector::new(&tls, sessions);
    for round in 0..8 {
        {
            // Dropped after so many polls: in the dial, in the handshake, or after it.
            let mut dial = pin!(connector.connect(Scheme::Https, "localhost", server.port()));
            let mut polls = 0;
            let _ = std::future::poll_fn(|context| {
                polls += 1;
                if polls > round {
                    return std::task::Poll::Ready(None::<Result<Infallible, ()>>);
                }
                match dial.as_mut().poll(context) {
                    std::task::Poll::Ready(_) => std::task::Poll::Ready(None),
                    std::task::Poll::Pending => std::task::Poll::Pending,
                }
            })
            .await;
        }
        let mut fetcher = Fetcher::new(&connector, TokioDelay);
        let url = format!("https://localhost:{}/app.bin", server.port());
        let mut download = fetcher.download(Url::parse(url.bytes()).expect("a URL"), Session::default());
        let (mut bytes, mut buffer) = (Vec::<u8>::new(), [0; 1024]);
        while let count @ 1.. = download.read(&mut buffer, &mut |_| {}).await.expect("bytes") {
            bytes.extend(&buffer[..count]);
        }
        assert!(bytes == content, "round {round}");
    }
}

/// As MQTT does it: a read that waits for whatever may come is dropped, for there is something to be said.
#[tokio::test]
async fn a_write_does_not_wait_for_a_read_that_was_dropped() {
    use embedded_io_async::{Read, Write};
    use sprag::fetch::{Connector, Scheme};
    use std::time::Duration;
    let root = Authority::root(Kind::P256, "A root");
    let roots = [root.der()];
    let leaf = root.leaf(Kind::P256, &Leaf::default());
    let server = OpenSsl::start(&[&leaf], &bytes(1, SIZE), &["-tls1_3"]);
    let (stack, mut read, mut write) = (HostStack::default(), vec![0; READ_BUFFER_FULL], [0; WRITE_BUFFER_MIN]);
    let tls = Tls::new(&stack, &Here, Trust::new(&roots, &unix_seconds));
    let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
    let connector = TlsConnector::new(&tls, sessions);
    let mut connection = connector.connect(Scheme::Https, "localhost", server.port()).await.expect("a connection");
    let mut buffer = [0; 16];
    for part in ["GET /app", ".bin HTTP/1.1\r\n\r\n"] {
        // The server's session tickets, and then nothing.
        let waits = tokio::time::timeout(Duration::from_millis(100), connection.read(&mut buffer));
        assert!(waits.await.is_err(), "it says something");
        let written = async {
            connection.write_all(part.as_bytes()).await.expect("sent");
            connection.flush().await.expect("sent");
        };
        tokio::time::timeout(Duration::from_secs(5), written).await.expect("it waits for the read");
    }
    connection.read_exact(&mut buffer).await.expect("an answer");
    assert_eq!(&buffer, b"HTTP/1.1 200 OK\r");
}

/// Reads through TLS that are dropped, at each of the first polls: the next ones go on, and no byte is lost or doubled.
#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    use std::task::Poll;
    let root = Authority::root(Kind::P256, "A root");
    let (roots, content) = ([root.der()], bytes(1, SIZE));
    let leaf = root.leaf(Kind::P256, &Leaf::default());
    let server = OpenSsl::start(&[&leaf], &content, &["-tls1_3"]);
    let (stack, mut read, mut write) = (HostStack::default(), vec![0; READ_BUFFER_FULL], [0; WRITE_BUFFER_MIN]);
    let tls = Tls::new(&stack, &Here, Trust::new(&roots, &unix_seconds));
    let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
    let connector = TlsConnector::new(&tls, sessions);
    let url = format!("https://localhost:{}/app.bin", server.port());
    for drop_at in 1..40 {
        // The server knows no ranges: what is there already comes again.
        let mut fetcher = Fetcher::new(&connector, TokioDelay).range_ignored(sprag::fetch::RangeIgnored::Skip);
        let mut download = fetcher.download(Url::parse(url.bytes()).expect("a URL"), Session::default());
        let (mut bytes, mut buffer, mut polls) = (Vec::<u8>::new(), [0; 1024], 0);
        loop {
            let count = {
                let mut events = |_| {};
                let mut read = pin!(download.read(&mut buffer, &mut events));
                std::future::poll_fn(|context| {
                    polls += 1;
                    if polls == drop_at {
                        return Poll::Ready(None);
                    }
                    read.as_mut().poll(context).map(|count| Some(count.expect("bytes")))
                })
                .await
            };
            match count {
                Some(0) => break,
                Some(count) => bytes.extend(&buffer[..count]),
                None => assert_eq!(download.session().offset, bytes.len() as u64),
            }
        }
        assert!(bytes == content, "dropped at poll {drop_at}");
    }
}

/// A name with an address of each family, IPv6 first.
struct Both;

impl Dns for Both {
    type Error = io::Error;

    async fn get_host_by_name(&self, _: &str, wanted: AddrType) -> io::Result<IpAddr> {
        Ok(match wanted {
            AddrType::IPv4 => IpAddr::from([127, 0, 0, 1]),
            _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
        })
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Over TLS: a family that takes no connection, or ends each one in the handshake, costs one try. Then the other one is stayed
/// with.
#[tokio::test]
async fn a_dead_family_costs_one_try() {
    use sprag::fetch::{Connector, Scheme};
    let root = Authority::root(Kind::P256, "A root");
    let roots = [root.der()];
    let leaf = root.leaf(Kind::P256, &Leaf::default());
    // On IPv4 alone.
    let server = OpenSsl::start(&[&leaf], &bytes(1, SIZE), &["-tls1_3"]);
    for takes_connections in [false, true] {
        let other = tokio::net::TcpListener::bind((Ipv6Addr::LOCALHOST, server.port())).await;
        let other = other.expect("IPv6 on the loopback interface, and the server on IPv4 alone");
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let task = takes_connections.then(|| {
            let ended = std::sync::Arc::clone(&ended);
            tokio::spawn(async move {
                while let Ok(connection) = other.accept().await {
                    ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    drop(connection);
                }
            })
        });
        let (stack, mut read, mut write) = (HostStack::default(), vec![0; READ_BUFFER_FULL], [0; WRITE_BUFFER_MIN]);
        let tls = Tls::new(&stack, &Both, Trust::new(&roots, &unix_seconds));
        let sessions = pin!(tls.sessions(OsRng, &mut read, &mut write));
        let connector = TlsConnector::new(&tls, sessions);
        for (attempt, reaches) in [false, true, true, true].into_iter().enumerate() {
            let connection = connector.connect(Scheme::Https, "localhost", server.port()).await;
            assert_eq!(connection.is_ok(), reaches, "attempt {attempt}, takes connections: {takes_connections}");
        }
        assert_eq!(ended.load(std::sync::atomic::Ordering::Relaxed), usize::from(takes_connections));
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }
}
