//! mosquitto, with TLS 1.3 and nobody let in without a certificate.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rumqttc::v5::MqttOptions;
use rumqttc::{TlsConfiguration, Transport};
use sprag_cli::net::HostConnector;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::certificates::{Authority, Identity};

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A broker of its own, which can be switched off and on.
#[allow(missing_debug_implementations)] // Its authority has none.
pub struct Mosquitto {
    dir: TempDir,
    /// Where it listens.
    pub port: u16,
    authority: Authority,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts it.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let authority = Authority::new()?;
        let server = authority.server()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for (name, text) in [("ca.pem", &authority.pem), ("cert.pem", &server.certificate), ("key.pem", &server.key)] {
            fs::write(dir.path().join(name), text)?;
        }
        // It gives up the rights of root where it is asked to, and could then not read its key.
        let user = if is_root() { "user root\n" } else { "" };
        let config = format!(
            "{user}listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\ntls_version tlsv1.3\n\
             require_certificate true\nuse_identity_as_username true\nallow_anonymous false\npersistence false\n",
            path("ca.pem"),
            path("cert.pem"),
            path("key.pem"),
        );
        fs::write(dir.path().join("mosquitto.conf"), config)?;
        let mut broker = Self { dir, port, authority, child: None };
        broker.switch_on()?;
        Ok(broker)
    }

    /// Switches it on; everything that it knew is gone.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn switch_on(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.dir.path().join("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("mosquitto is needed: `cargo xtask test --step setup` installs it")?;
        let child = self.child.insert(child);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("mosquitto ended with {status}");
            }
            ensure!(Instant::now() < deadline, "mosquitto does not come up");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Switches it off, as hard as can be.
    pub fn switch_off(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The certificate of who has issued its own and its clients', as PEM.
    pub fn root(&self) -> &str {
        &self.authority.pem
    }

    /// A certificate of that name, with its key.
    ///
    /// # Errors
    /// There is no randomness for a key.
    pub fn identity(&self, name: &str) -> anyhow::Result<Identity> {
        self.authority.client(name)
    }

    /// Sockets for a device that comes with a certificate of that name.
    ///
    /// # Errors
    /// There is no randomness for a key.
    pub fn connector(&self, name: &str) -> anyhow::Result<HostConnector> {
        let identity = self.identity(name)?;
        HostConnector::trusting_pem_as(&self.authority.pem, &identity.certificate, &identity.key)
    }

    /// Sockets for one that trusts the broker, but has no certificate to show.
    ///
    /// # Errors
    /// None in practice.
    pub fn anonymous(&self) -> anyhow::Result<HostConnector> {
        HostConnector::trusting_pem(&self.authority.pem)
    }

    /// Options for a cloud that comes with a certificate of that name.
    ///
    /// # Errors
    /// There is no randomness for a key.
    pub fn options(&self, name: &str) -> anyhow::Result<MqttOptions> {
        let identity = self.identity(name)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes())?)?;
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        let mut options = MqttOptions::new(name, "localhost", self.port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))));
        Ok(options)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.switch_off();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
