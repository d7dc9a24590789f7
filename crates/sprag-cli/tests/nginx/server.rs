//! A real nginx over TLS 1.3, with a certificate of its own making, in a directory of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::common::{Nobody, Running, wait_until};

/// nginx as a package installs it: on Debian, that is not where everybody's PATH leads.
const NGINX: [&str; 3] = ["nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"];

pub(crate) struct Nginx {
    process: Running,
    port: u16,
    dir: TempDir,
}

/// One request as nginx logged it.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) connection: String,
    pub(crate) status: String,
    pub(crate) protocol: String,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("files")).expect("a directory");
        let (ca, certificate, key) = certificates();
        for (name, pem) in [("ca.pem", ca), ("certificate.pem", certificate), ("key.pem", key)] {
            fs::write(dir.path().join(name), pem).expect("a file");
        }
        // A free port may be somebody else's by the time nginx asks for it: then, another one.
        for _ in 0..5 {
            let port = Nobody::at(0).port();
            fs::write(dir.path().join("nginx.conf"), configuration(port, dir.path())).expect("a file");
            let mut process = Running(spawn(&dir));
            let mut there = false;
            wait_until("nginx listens", || {
                there = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                there || process.ended().is_some()
            });
            if there && process.ended().is_none() {
                return Self { process, port, dir };
            }
        }
        // What it complains of before it knows its configuration goes to stderr, the rest into its log.
        let said = ["said.log", "error.log"].map(|name| fs::read_to_string(dir.path().join(name)).unwrap_or_default());
        panic!("nginx does not start: {}", said.concat());
    }

    /// A path beside nginx's own files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Publishes a file that was last changed so many minutes ago: what nginx makes its ETag of.
    pub(crate) fn publish(&self, name: &str, bytes: &[u8], minutes: u64) {
        let path = self.path("files").join(name);
        fs::write(&path, bytes).expect("a file");
        let changed = SystemTime::now() - Duration::from_secs(60 * minutes);
        File::options().append(true).open(path).and_then(|file| file.set_modified(changed)).expect("a file's time");
    }

    pub(crate) fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority())
    }

    /// So many requests, as soon as nginx has logged them; it does so after the last byte of each.
    pub(crate) fn log(&mut self, requests: usize) -> Vec<Logged> {
        assert!(self.process.ended().is_none(), "nginx ended");
        let mut log = Vec::new();
        wait_until("nginx logs its requests", || {
            let text = fs::read_to_string(self.path("access.log")).expect("nginx's log");
            log = text.lines().map(Logged::of).collect();
            log.len() >= requests
        });
        log
    }
}

impl Logged {
    fn of(line: &str) -> Self {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("three words");
        Self { connection: word(), status: word(), protocol: word() }
    }
}

fn spawn(dir: &TempDir) -> Child {
    for program in NGINX {
        let mut command = Command::new(program);
        command.arg("-p").arg(dir.path()).args(["-c", "nginx.conf", "-e", "error.log"]);
        let said = File::create(dir.path().join("said.log")).expect("a file");
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn() {
            Ok(child) => return child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{program}: {error}"),
        }
    }
    panic!("nginx is not installed: this test needs it");
}

/// One process, so that its id is all that is to be ended; what nginx would write elsewhere lies in its own directory.
fn configuration(port: u16, dir: &Path) -> String {
    let busy = dir.join("busy").display().to_string();
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 64; }}
http {{
    log_format short '$connection $status $ssl_protocol';
    access_log access.log short;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name localhost;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        ssl_protocols TLSv1.3;
        keepalive_requests 100;
        location / {{ root files; }}
        location /slow/ {{ alias files/; limit_rate 256k; }}
        location /crawling/ {{ alias files/; limit_rate 200; }}
        location /whole/ {{ alias files/; max_ranges 0; }}
        location /slow-whole/ {{ alias files/; max_ranges 0; limit_rate 256k; }}
        location /idle/ {{ alias files/; keepalive_timeout 1s; }}
        location /busy/ {{
            alias files/;
            if (-f {busy}) {{ return 503; }}
            error_page 503 @busy;
        }}
        location @busy {{ add_header Retry-After 1 always; return 503; }}
    }}
}}
"
    )
}

/// An authority, and a certificate of it for `localhost` with its key: three PEM texts.
fn certificates() -> (String, String, String) {
    let mut ca = CertificateParams::new([]).expect("no names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.distinguished_name.push(DnType::CommonName, "A CA for one test");
    let ca_key = KeyPair::generate().expect("a key");
    let ca_pem = ca.self_signed(&ca_key).expect("an authority").pem();

    let server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate");
    (ca_pem, certificate.pem(), key.serialize_pem())
}
