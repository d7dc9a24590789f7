//! `openssl s_server` with one file, in a directory of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::{Nobody, Running, wait_until};
use crate::pki::Certified;

pub(crate) struct OpenSsl {
    _process: Running,
    port: u16,
    dir: TempDir,
}

impl OpenSsl {
    /// Shows this chain, leaf first, and serves `content` as `/app.bin`.
    pub(crate) fn start(chain: &[&dyn Certified], content: &[u8], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (leaf, rest) = chain.split_first().expect("a leaf");
        let rest: String = rest.iter().map(|certificate| certificate.certificate_pem()).collect();
        // `-HTTP` sends a file as it is: it holds the whole answer.
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
        let answer = [head.as_bytes(), content].concat();
        let files = [("leaf.pem", leaf.certificate_pem()), ("key.pem", leaf.key_pem()), ("chain.pem", rest.clone())];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("a file");
        }
        fs::write(dir.path().join("app.bin"), answer).expect("a file");
        // A free port may be somebody else's by the time it is asked for: then, another one.
        for _ in 0..5 {
            let port = Nobody::at(0).port();
            let said = File::create(dir.path().join("said.log")).expect("a file");
            let mut command = Command::new("openssl");
            command.current_dir(dir.path()).args(["s_server", "-accept", &format!("127.0.0.1:{port}")]);
            command.args(["-cert", "leaf.pem", "-key", "key.pem", "-HTTP", "-quiet"]).args(options);
            if !rest.is_empty() {
                command.args(["-cert_chain", "chain.pem"]);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
            let mut process = Running::start(&mut command);
            let mut there = false;
            wait_until("openssl listens", || {
                there = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                there || process.ended().is_some()
            });
            if there && process.ended().is_none() {
                return Self { _process: process, port, dir };
            }
        }
        panic!("openssl does not start: {}", fs::read_to_string(dir.path().join("said.log")).unwrap_or_default());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A path beside its own files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
