//! The host's network as the crates know one: `embedded-nal-async` sockets over tokio, TLS by rustls or, as on a device, by
//! `embedded-tls`.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use embedded_hal_async::delay::DelayNs;
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use sprag::fetch::{Connector, Scheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Sockets and names of the host. Counts the bytes on the wire, both ways, TLS and headers included.
#[derive(Debug, Clone, Default)]
pub struct HostStack {
    wire: Arc<AtomicU64>,
    /// Addresses to which no connection could be made, since one last could.
    dead: Arc<Mutex<HashSet<IpAddr>>>,
}

/// The time that an address has before the next one is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

impl HostStack {
    /// Bytes that went over all connections so far.
    pub fn wire_bytes(&self) -> u64 {
        self.wire.load(Ordering::Relaxed)
    }

    fn counted(&self, stream: TcpStream) -> io::Result<FromTokio<Counted>> {
        stream.set_nodelay(true)?;
        Ok(FromTokio::new(Counted { stream, wire: Arc::clone(&self.wire) }))
    }

    fn dead(&self) -> MutexGuard<'_, HashSet<IpAddr>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to whichever of the host's addresses answers first: each gets a head start before the next (RFC 8305).
    async fn dial(&self, host: &str, port: u16) -> io::Result<FromTokio<Counted>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses = by_turns(tokio::net::lookup_host((host, port)).await?).into_iter();
        let mut dials = JoinSet::new();
        let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        let mut is_first = true;
        loop {
            match addresses.next() {
                Some(address) => {
                    dials.spawn(TcpStream::connect(address));
                }
                None if dials.is_empty() => return Err(failed),
                None => {}
            }
            let joined = if addresses.len() > 0 {
                tokio::time::timeout(NEXT_ADDRESS_AFTER, dials.join_next()).await.ok()
            } else {
                Some(dials.join_next().await)
            };
            match joined.flatten() {
                Some(Ok(Ok(stream))) => return self.counted(stream),
                // What is told is why the best address could not be reached.
                Some(Ok(Err(error))) if is_first => (failed, is_first) = (error, false),
                _ => {}
            }
        }
    }
}

/// Addresses in the order in which they came, which is the system's (RFC 6724), but with the families by turns (RFC 8305,
/// section 4).
fn by_turns(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    let is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == is_v4);
    let mut turns = Vec::new();
    while !first.is_empty() || !second.is_empty() {
        turns.extend(first.pop_front());
        turns.extend(second.pop_front());
    }
    turns
}

impl TcpConnect for HostStack {
    type Error = io::Error;
    type Connection<'a> = FromTokio<Counted>;

    async fn connect<'a>(&'a self, remote: SocketAddr) -> io::Result<Self::Connection<'a>> {
        // Dead until it answers, so that it is also if this is given up.
        self.dead().insert(remote.ip());
        let stream = TcpStream::connect(remote).await?;
        self.dead().remove(&remote.ip());
        self.counted(stream)
    }
}

impl Dns for HostStack {
    type Error = io::Error;

    async fn get_host_by_name(&self, host: &str, wanted: AddrType) -> io::Result<IpAddr> {
        let found = by_turns(tokio::net::lookup_host((host, 0)).await?);
        let found: Vec<IpAddr> = found.into_iter().map(|address| address.ip()).collect();
        let wanted: Vec<IpAddr> = found
            .into_iter()
            .filter(|address| match wanted {
                AddrType::IPv4 => address.is_ipv4(),
                AddrType::IPv6 => address.is_ipv6(),
                AddrType::Either => true,
            })
            .collect();
        // The next of them each time, until one answers; then all over again.
        let mut dead = self.dead();
        if wanted.iter().all(|address| dead.contains(address)) {
            wanted.iter().for_each(|address| {
                dead.remove(address);
            });
        }
        let address = wanted.iter().find(|address| !dead.contains(*address)).copied();
        address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")))
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "no reverse look-ups"))
    }
}

/// A TCP stream whose bytes are counted.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    wire: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.wire.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        poll
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &poll {
            self.wire.fetch_add(*count as u64, Ordering::Relaxed);
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Dials `http` in the clear and `https` through rustls, which verifies chain and host name.
#[derive(Clone)]
pub struct HostConnector {
    stack: HostStack,
    tls: TlsConnector,
}

impl fmt::Debug for HostConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConnector").field("stack", &self.stack).finish_non_exhaustive()
    }
}

impl HostConnector {
    /// A connector that trusts the certificates in the PEM file `cacert` and no others; without one, those that the
    /// system trusts.
    ///
    /// # Errors
    /// The file can't be read or holds no certificate; the system's certificates can't be read.
    pub fn new(cacert: Option<&Path>) -> anyhow::Result<Self> {
        let mut store = RootCertStore::empty();
        let roots = roots(cacert)?;
        // Of the system's, those that can't be read are left out.
        let (_, unread) = store.add_parsable_certificates(roots);
        if let (Some(path), 1..) = (cacert, unread) {
            bail!("{}: a certificate in it can't be read", path.display());
        }
        Ok(Self::trusting(store))
    }

    /// A connector that trusts the certificates in a PEM text and no others.
    ///
    /// # Errors
    /// The text holds a certificate that can't be read.
    pub fn trusting_pem(pem: &str) -> anyhow::Result<Self> {
        Ok(Self::trusting(store(pem)?))
    }

    /// As [`trusting_pem`](Self::trusting_pem), for servers that want to see a certificate: a chain in PEM, and its key in
    /// PKCS#8.
    ///
    /// # Errors
    /// A certificate or the key can't be read, or they do not fit each other.
    pub fn trusting_pem_as(pem: &str, chain: &str, key: &str) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let config = ClientConfig::builder().with_root_certificates(store(pem)?).with_client_auth_cert(chain, key)?;
        Ok(Self::speaking(config))
    }

    fn trusting(roots: RootCertStore) -> Self {
        Self::speaking(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }

    fn speaking(config: ClientConfig) -> Self {
        Self { stack: HostStack::default(), tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Bytes that went over all connections so far.
    pub fn wire_bytes(&self) -> u64 {
        self.stack.wire_bytes()
    }
}

/// The certificates in a PEM text, as roots.
fn store(pem: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// The certificates in the file `cacert`, at least one, in PEM or one in DER; without a file, those that the system trusts.
///
/// # Errors
/// The file can't be read or holds no certificate.
pub fn roots(cacert: Option<&Path>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let Some(path) = cacert else { return Ok(rustls_native_certs::load_native_certs().certs) };
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    certificates(&bytes).with_context(|| format!("{}", path.display()))
}

/// The certificates in a file's bytes: PEM, also behind a byte order mark, or one in DER.
fn certificates(bytes: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    // An ASN.1 SEQUENCE with a length of two bytes.
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let pem = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!certificates.is_empty(), "no certificate in PEM or DER in it");
    Ok(certificates)
}

/// What could not be reached, and why.
#[derive(Debug)]
pub struct ConnectError {
    target: String,
    said: String,
    kind: ErrorKind,
}

impl ConnectError {
    fn new(host: &str, port: u16, error: &(impl embedded_io_async::Error + fmt::Display)) -> Self {
        Self { target: format!("{host}:{port}"), said: error.to_string(), kind: error.kind() }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.said)
    }
}

impl std::error::Error for ConnectError {}

impl embedded_io_async::Error for ConnectError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl Connector for HostConnector {
    type Error = ConnectError;
    type Connection<'c> = HostConnection;

    async fn connect(&self, scheme: Scheme, host: &str, port: u16) -> Result<HostConnection, ConnectError> {
        let failed = |error: io::Error| ConnectError::new(host, port, &error);
        let dial = async {
            let socket = self.stack.dial(host, port).await?;
            if scheme == Scheme::Http {
                return Ok(HostConnection::Plain(socket));
            }
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no host name that a certificate can have"))?;
            let tls = self.tls.connect(name, socket.into_inner()).await?;
            Ok(HostConnection::Tls(Box::new(FromTokio::new(tls))))
        };
        dial.await.map_err(failed)
    }
}

/// A connection in the clear or through TLS.
#[allow(missing_debug_implementations)] // What it is made of has none.
pub enum HostConnection {
    /// In the clear.
    Plain(FromTokio<Counted>),
    /// Through TLS.
    Tls(Box<FromTokio<TlsStream<Counted>>>),
}

impl ErrorType for HostConnection {
    type Error = io::Error;
}

impl Read for HostConnection {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf).await,
            Self::Tls(stream) => stream.read(buf).await,
        }
    }
}

impl Write for HostConnection {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf).await,
            Self::Tls(stream) => stream.write(buf).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush().await,
            Self::Tls(stream) => stream.flush().await,
        }
    }
}

/// [`TlsConnector`](sprag::fetch::TlsConnector), TLS as a device has it, over the host's sockets; its errors say whom they
/// are about, as those of [`HostConnector`] do.
#[derive(Debug)]
pub struct EmbeddedConnector<'s, F>(sprag::fetch::TlsConnector<'s, HostStack, HostStack, F>);

impl<'s, F: Future<Output = Infallible>> EmbeddedConnector<'s, F> {
    /// Over a connector of the same.
    pub fn new(connector: sprag::fetch::TlsConnector<'s, HostStack, HostStack, F>) -> Self {
        Self(connector)
    }
}

impl<'s, F: Future<Output = Infallible>> Connector for EmbeddedConnector<'s, F> {
    type Error = ConnectError;
    type Connection<'c>
        = sprag::fetch::TlsConnection<'c, 's, HostStack, HostStack, F>
    where
        Self: 'c;

    async fn connect<'c>(
        &'c self,
        scheme: Scheme,
        host: &str,
        port: u16,
    ) -> Result<Self::Connection<'c>, ConnectError> {
        self.0.connect(scheme, host, port).await.map_err(|error| ConnectError::new(host, port, &error))
    }
}

/// Seconds since 1970, by the host's clock.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Time, as tokio keeps it.
#[derive(Debug, Clone, Copy)]
pub struct TokioDelay;

impl DelayNs for TokioDelay {
    async fn delay_ns(&mut self, ns: u32) {
        tokio::time::sleep(Duration::from_nanos(ns.into())).await;
    }

    async fn delay_ms(&mut self, ms: u32) {
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_nal_async::Dns;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| SocketAddr::new(address.parse().expect("an address"), 1)).collect()
    }

    /// Every form in which people have their certificates gives all of them.
    #[test]
    fn certificates_are_read_in_each_form() {
        let made: Vec<_> = ["a", "b"]
            .map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate").cert)
            .into();
        let pem: String = made.iter().map(rcgen::Certificate::pem).collect();
        let der: Vec<_> = made.iter().map(|made| made.der().clone()).collect();
        for (what, text) in [
            ("plain", pem.clone()),
            ("BOM", format!("\u{feff}{pem}")),
            ("CRLF", pem.replace('\n', "\r\n")),
            ("BOM and CRLF", format!("\u{feff}{}", pem.replace('\n', "\r\n"))),
            ("text before", format!("\u{feff}# our servers\n{pem}")),
        ] {
            assert_eq!(certificates(text.as_bytes()).expect(what), der, "{what}");
        }
        assert_eq!(certificates(&der[0]).expect("DER"), der[..1]);
        for none in [&b""[..], b"\xEF\xBB\xBF", b"no certificate"] {
            certificates(none).unwrap_err();
        }
    }

    #[test]
    fn families_take_turns_and_none_is_left_out() {
        for (found, turns) in [
            (&[][..], &[][..]),
            (&["1.0.0.1"], &["1.0.0.1"]),
            (&["::1", "1.0.0.1"], &["::1", "1.0.0.1"]),
            (&["::1", "::2", "::3", "1.0.0.1"], &["::1", "1.0.0.1", "::2", "::3"]),
            (&["1.0.0.1", "1.0.0.2", "::1", "::2", "::3"], &["1.0.0.1", "::1", "1.0.0.2", "::2", "::3"]),
        ] {
            assert_eq!(by_turns(addresses(found).into_iter()), addresses(turns));
        }
    }

    /// `localhost` has one address or two; whichever of them has a server, it is found.
    #[tokio::test]
    async fn whichever_address_serves_is_connected_to() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(bind).await else { continue };
            let port = listener.local_addr().expect("an address").port();
            let names: Vec<_> = tokio::net::lookup_host(("localhost", port)).await.expect("a name").collect();
            if !names.contains(&listener.local_addr().expect("an address")) {
                continue;
            }
            let stack = HostStack::default();
            assert!(stack.dial("localhost", port).await.is_ok(), "{bind}");
            // One address at a time, as the crates ask for them: after as many tries as there are addresses.
            let mut tries = 0;
            loop {
                tries += 1;
                assert!(tries <= names.len(), "{bind}");
                let address = stack.get_host_by_name("localhost", AddrType::Either).await.expect("an address");
                if stack.connect(SocketAddr::new(address, port)).await.is_ok() {
                    break;
                }
            }
        }
        let stack = HostStack::default();
        let unused =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let error = stack.dial("localhost", unused).await.err().expect("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
