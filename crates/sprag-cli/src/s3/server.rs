//! The server: listens, accepts, ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::connection::{Shared, serve};
use super::log::{Log, lock};
use super::presign::{Access, Signer};
use super::store::Store;
use super::tls::Tls;
use super::{Config, Disturbance, RequestRecord, Stats};

/// A running server. It ends when it is dropped, and its connections with it; [`Server::stop`] waits for that.
pub struct Server {
    addr: SocketAddr,
    ca_pem: Option<String>,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the directory, the host name or the address to listen on cannot be used; the message names it.
    ///
    /// # Cancellation safety
    /// Nothing runs until it returns.
    pub async fn start(config: Config) -> Result<Self> {
        let store = Store::new(config.clone())?;
        let tls = config.tls.then(|| Tls::new(&config.host)).transpose()?;
        let listener =
            TcpListener::bind(config.bind).await.with_context(|| format!("cannot listen on {}", config.bind))?;
        let addr = listener.local_addr().with_context(|| format!("cannot listen on {}", config.bind))?;

        let scheme = if tls.is_some() { "https" } else { "http" };
        let host = match config.host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => config.host,
        };
        let endpoint = format!("{scheme}://{host}:{}", addr.port());
        let auth = SimpleAuth::from_single(&config.credentials.access_key, config.credentials.secret_key.as_str());
        let signer = Arc::new(Signer::new(endpoint, config.region, config.credentials)?);
        let mut service = S3ServiceBuilder::new(store.clone());
        service.set_auth(auth);
        service.set_access(Access(signer.clone()));

        let shared = Arc::new(Shared {
            service: service.build(),
            store,
            signer,
            log: Arc::new(Log::default()),
            hook: Mutex::new(None),
            requests_per_connection: config.requests_per_connection,
            close: config.close,
        });
        let (acceptor, ca_pem) = tls.map(|tls| (tls.acceptor, tls.ca_pem)).unzip();
        let accepting = tokio::spawn(accept(listener, acceptor, shared.clone()));
        Ok(Self { addr, ca_pem, shared, accepting })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its URLs start with, without a slash at the end: `https://localhost:54321`.
    pub fn url_base(&self) -> &str {
        self.shared.signer.endpoint()
    }

    /// The certificate authority to trust, as PEM; `None` without TLS. Every start makes a new one.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Puts or replaces an object, in one step for those who read it, and returns its ETag without the quotes. Makes
    /// the bucket if need be.
    ///
    /// For the sake of the ETag it leaves two small hidden files of `s3s-fs`, `.bucket-….json`, in the root.
    ///
    /// # Errors
    /// When the name is not one of a bucket and a key here, or the files cannot be written; the message names them.
    ///
    /// # Cancellation safety
    /// Dropped early, it may have replaced the content and not yet the ETag. Put again.
    pub async fn put(&self, bucket: &str, key: &str, bytes: impl Into<Vec<u8>>) -> Result<String> {
        self.shared.store.put(bucket, key, bytes.into()).await
    }

    /// All objects as (bucket, key), sorted: the files below the root whose names do not begin with a dot.
    ///
    /// # Errors
    /// When a directory cannot be read; the message names it.
    pub fn objects(&self) -> Result<Vec<(String, String)>> {
        self.shared.store.objects()
    }

    /// A URL to GET an object, signed with Version 4, valid from now on. S3 knows at most seven days.
    pub fn presign(&self, bucket: &str, key: &str, valid: Duration) -> String {
        self.presign_at(bucket, key, SystemTime::now(), valid)
    }

    /// The same, valid from `start` on: one that has expired, or is about to. Whole seconds count.
    pub fn presign_at(&self, bucket: &str, key: &str, start: SystemTime, valid: Duration) -> String {
        self.shared.signer.v4(bucket, key, start, valid)
    }

    /// A URL to GET an object, signed with Version 2. Whole seconds count.
    pub fn presign_v2(&self, bucket: &str, key: &str, expires: SystemTime) -> String {
        self.shared.signer.v2(bucket, key, expires)
    }

    /// From now on, the URLs presigned so far have expired; see [`Disturbance::ExpireUrls`].
    pub fn expire_urls(&self) {
        self.shared.signer.expire_urls();
    }

    /// Asks `hook` about each request before it is handled. It gets the request's number, 1 for the server's first,
    /// over all connections. A later hook takes the place of the former.
    pub fn on_request(&self, hook: impl FnMut(u64) -> Option<Disturbance> + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// Tells `listener` about each request when its answer is out, or has come to nothing. A later listener takes the
    /// place of the former.
    pub fn on_answer(&self, listener: impl FnMut(&RequestRecord) + Send + 'static) {
        self.shared.log.listen(Box::new(listener));
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.shared.log.stats()
    }

    /// Ends all connections, and waits until the port is free.
    ///
    /// # Cancellation safety
    /// Dropped early, it ends them all the same, without waiting.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Aborted on purpose: there is no other outcome.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts until aborted. The connections' tasks are its own: they end with it.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(greet(stream, tls.clone(), shared.clone()))),
            // Out of file handles, most likely: give connections time to end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let number = shared.log.connected();
    // Answers leave at once, small ones too. Failing that they are only late.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, shared, number).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve(stream, shared, number).await,
            Err(_) => shared.log.handshake_failed(),
        },
    }
}
