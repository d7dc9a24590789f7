//! An HTTP client that knows as little as possible.

use std::sync::Arc;

use sprag_cli::s3::Server;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

pub(crate) struct Client {
    pub(crate) io: Box<dyn Stream>,
    server: String,
}

pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Status and code of an error.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status(), status, "{body}");
        assert!(body.contains(&format!("<Code>{code}</Code>")), "{body}");
    }
}

pub(crate) fn tls(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

impl Client {
    pub(crate) async fn connect(server: &Server) -> Self {
        let tcp = TcpStream::connect(server.addr()).await.unwrap();
        let io: Box<dyn Stream> = match server.ca_pem() {
            Some(ca) => Box::new(tls(ca).connect("localhost".try_into().unwrap(), tcp).await.unwrap()),
            None => Box::new(tcp),
        };
        Self { io, server: server.url_base().into() }
    }

    pub(crate) async fn send(&mut self, method: &str, url: &str, headers: &str) {
        let path = url.strip_prefix(&self.server).unwrap();
        let host = self.server.split_once("://").unwrap().1;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        // A server that has hung up may refuse it; the answer then shows that.
        let _ = self.io.write_all(head.as_bytes()).await;
    }

    /// The head, and the body as far as it comes; `None` when there is no answer.
    pub(crate) async fn receive(&mut self, has_body: bool) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.io.read_u8().await.ok()?);
        }
        let mut answer = Answer { head: String::from_utf8(head).unwrap(), body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |value| value.parse().unwrap());
        while has_body && answer.body.len() < length {
            match self.io.read_u8().await {
                Ok(byte) => answer.body.push(byte),
                Err(_) => break,
            }
        }
        Some(answer)
    }

    pub(crate) async fn get(&mut self, url: &str, headers: &str) -> Answer {
        self.send("GET", url, headers).await;
        self.receive(true).await.expect("an answer")
    }

    /// True at the end of the stream, regular or not; waits for one or the other.
    pub(crate) async fn is_at_end(&mut self) -> bool {
        !matches!(self.io.read(&mut [0]).await, Ok(1..))
    }
}
