//! TLS 1.3 from the server's side (RFC 8446), as far as it takes to misuse it: what is sent, and in which order, is the
//! test's choice.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use hkdf::hmac::{Hmac, Mac};
use p256_tls::PublicKey;
use p256_tls::ecdh::EphemeralSecret;
use p256_tls::elliptic_curve::sec1::ToEncodedPoint;
use rand_core::OsRng;
use rcgen::{KeyPair, SigningKey};
use sha2_tls::{Digest, Sha256};

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use embedded_io_async::ErrorType;
use embedded_nal_async::{AddrType, Dns, TcpConnect};

/// One message of the server's part of the handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flight<'a> {
    /// Nothing of this or what follows is sent after so many bytes of it.
    CutAfter(usize),
    /// A record with this content, its type at the end, by the keys of the handshake.
    Sealed(&'a [u8]),
    Extensions,
    Certificate(&'a [u8]),
    Signature(&'a KeyPair),
    Finished,
}

/// What comes once the handshake is over.
#[derive(Debug, Clone)]
pub(crate) enum After {
    Data(&'static [u8]),
    Ticket,
    CloseNotify,
    /// A record with this content, its type at the end.
    Sealed(Vec<u8>),
    /// As it is, without protection.
    Raw(Vec<u8>),
}

/// A server for one connection.
pub(crate) struct Impostor {
    port: u16,
    serving: Option<JoinHandle<()>>,
}

impl Impostor {
    pub(crate) fn start(flight: &[Flight<'_>], after: &[After]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (flight, after): (Vec<Owned>, _) = (flight.iter().map(Owned::of).collect(), after.to_vec());
        let serving = std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a connection");
            // The client may be gone at any time: that is what it is here for.
            let _ = serve(socket, &flight, &after);
        });
        Self { port, serving: Some(serving) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

/// A [`Flight`] that can go to another thread.
enum Owned {
    CutAfter(usize),
    Sealed(Vec<u8>),
    Extensions,
    Certificate(Vec<u8>),
    /// A key pair in PEM.
    Signature(String),
    Finished,
}

impl Owned {
    fn of(flight: &Flight<'_>) -> Self {
        match flight {
            Flight::CutAfter(at) => Self::CutAfter(*at),
            Flight::Sealed(content) => Self::Sealed(content.to_vec()),
            Flight::Extensions => Self::Extensions,
            Flight::Certificate(der) => Self::Certificate(der.to_vec()),
            Flight::Signature(key) => Self::Signature(key.serialize_pem()),
            Flight::Finished => Self::Finished,
        }
    }
}

fn serve(mut socket: TcpStream, flight: &[Owned], after: &[After]) -> std::io::Result<()> {
    let hello = record(&mut socket)?;
    let said = answer(hello, flight, after);
    socket.write_all(&said.handshake)?;
    if said.is_cut {
        return Ok(());
    }
    // The client's `Finished`, unread: it is the client who has to know whom it talks to.
    record(&mut socket)?;
    socket.write_all(&said.after)?;
    // Until the client has enough.
    while socket.read(&mut [0; 64])? > 0 {}
    Ok(())
}

/// All that a server says.
pub(crate) struct Said {
    pub(crate) handshake: Vec<u8>,
    is_cut: bool,
    pub(crate) after: Vec<u8>,
}

/// What a server says to a client that began with this `ClientHello`.
pub(crate) fn said(hello: &[u8], flight: &[Flight<'_>], after: &[After]) -> Said {
    let flight: Vec<Owned> = flight.iter().map(Owned::of).collect();
    answer(hello.to_vec(), &flight, after)
}

fn answer(hello: Vec<u8>, flight: &[Owned], after: &[After]) -> Said {
    // The one key share offered: P-256, uncompressed.
    let at = hello.windows(5).position(|five| five == [0x00, 0x17, 0x00, 0x41, 0x04]).expect("a key share");
    let theirs = PublicKey::from_sec1_bytes(&hello[at + 4..at + 69]).expect("a point");
    let ours = EphemeralSecret::random(&mut OsRng);
    let mut share = vec![0x00, 0x17, 0x00, 65];
    share.extend(ours.public_key().to_encoded_point(false).as_bytes());
    let mut body = [&[3, 3][..], &[7; 32], &[0, 0x13, 0x01, 0]].concat();
    let extensions = [extension(43, &[3, 4]), extension(51, &share)].concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let server_hello = message(2, &body);

    let mut transcript = [hello, server_hello.clone()].concat();
    let early = Hkdf::<Sha256>::extract(Some(&[0; 32]), &[0; 32]).0;
    let derived = expand(&early, b"derived", &Sha256::digest([]), 32);
    let handshake = Hkdf::<Sha256>::extract(Some(&derived), ours.diffie_hellman(&theirs).raw_secret_bytes()).0;
    let secret = expand(&handshake, b"s hs traffic", &Sha256::digest(&transcript), 32);

    let mut sent = plain(22, &server_hello);
    let (mut keys, mut cut) = (Keys::new(&secret), None);
    for part in flight {
        let message = match part {
            Owned::CutAfter(at) => {
                cut = Some(*at);
                continue;
            }
            Owned::Sealed(content) => {
                sent.extend(keys.seal_inner(content));
                continue;
            }
            Owned::Extensions => message(8, &[0, 0]),
            Owned::Certificate(der) => {
                let entry = [length24(der.len()), der.clone(), vec![0, 0]].concat();
                message(11, &[vec![0], length24(entry.len()), entry].concat())
            }
            Owned::Signature(key) => {
                let context = b"TLS 1.3, server CertificateVerify\0";
                let signed = [&[b' '; 64][..], context, &Sha256::digest(&transcript)].concat();
                let key = KeyPair::from_pem(key).expect("a key");
                let signature = key.sign(&signed).expect("a signature");
                message(15, &[&[4, 3][..], &(signature.len() as u16).to_be_bytes(), &signature].concat())
            }
            Owned::Finished => {
                let key = expand(&secret, b"finished", &[], 32);
                let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("a key");
                mac.update(&Sha256::digest(&transcript));
                message(20, &mac.finalize().into_bytes())
            }
        };
        transcript.extend(&message);
        sent.extend(keys.seal(22, &message));
    }
    if let Some(cut) = cut {
        sent.truncate(cut * (sent.len() - 1) / 1000);
    }
    let derived = expand(&handshake, b"derived", &Sha256::digest([]), 32);
    let master = Hkdf::<Sha256>::extract(Some(&derived), &[0; 32]).0;
    let mut keys = Keys::new(&expand(&master, b"s ap traffic", &Sha256::digest(&transcript), 32));
    let mut said = Said { handshake: sent, is_cut: cut.is_some(), after: Vec::new() };
    for part in after {
        said.after.extend(match part {
            After::Data(data) => keys.seal(23, data),
            After::Ticket => keys.seal(22, &message(4, &[0, 0, 0, 9, 1, 2, 3, 4, 1, 0, 0, 1, 5, 0, 0])),
            After::CloseNotify => keys.seal(21, &[1, 0]),
            After::Sealed(content) => keys.seal_inner(content),
            After::Raw(bytes) => bytes.clone(),
        });
    }
    said
}

/// The content of the next record.
fn record(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut header = [0; 5];
    socket.read_exact(&mut header)?;
    let mut content = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
    socket.read_exact(&mut content)?;
    Ok(content)
}

pub(crate) fn plain(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &(content.len() as u16).to_be_bytes(), content].concat()
}

pub(crate) fn length24(length: usize) -> Vec<u8> {
    (length as u32).to_be_bytes()[1..].to_vec()
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [vec![kind], length24(body.len()), body.to_vec()].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

/// HKDF-Expand-Label (section 7.1).
fn expand(secret: &[u8], label: &[u8], context: &[u8], length: usize) -> Vec<u8> {
    let full = [b"tls13 ", label].concat();
    let info =
        [&(length as u16).to_be_bytes()[..], &[full.len() as u8], &full, &[context.len() as u8], context].concat();
    let mut out = vec![0; length];
    Hkdf::<Sha256>::from_prk(secret).expect("a secret").expand(&info, &mut out).expect("a length");
    out
}

/// What protects the server's records.
struct Keys {
    cipher: Aes128Gcm,
    iv: Vec<u8>,
    sequence: u64,
}

impl Keys {
    fn new(secret: &[u8]) -> Self {
        let key = expand(secret, b"key", &[], 16);
        Self {
            cipher: Aes128Gcm::new_from_slice(&key).expect("a key"),
            iv: expand(secret, b"iv", &[], 12),
            sequence: 0,
        }
    }

    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.seal_inner(&[content, &[kind]].concat())
    }

    fn seal_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv.clone();
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        self.sequence += 1;
        let header = [&[23, 3, 3][..], &(inner.len() as u16 + 16).to_be_bytes()].concat();
        let payload = Payload { msg: inner, aad: &header };
        let sealed = self.cipher.encrypt(Nonce::from_slice(&nonce), payload).expect("room");
        [header, sealed].concat()
    }
}

/// A network in memory, on which one server is: it hears what the client said first, and says all that it will ever say.
pub(crate) struct Memory<'s> {
    pub(crate) server: &'s dyn Fn(&[u8]) -> Vec<u8>,
}

pub(crate) struct MemoryConnection<'s> {
    server: &'s dyn Fn(&[u8]) -> Vec<u8>,
    heard: Vec<u8>,
    says: Option<Vec<u8>>,
    at: usize,
}

impl TcpConnect for Memory<'_> {
    type Error = Infallible;
    type Connection<'a>
        = MemoryConnection<'a>
    where
        Self: 'a;

    async fn connect<'a>(&'a self, _: SocketAddr) -> Result<MemoryConnection<'a>, Infallible> {
        Ok(MemoryConnection { server: self.server, heard: Vec::new(), says: None, at: 0 })
    }
}

impl Dns for Memory<'_> {
    type Error = Infallible;

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> Result<IpAddr, Infallible> {
        Ok(Ipv4Addr::LOCALHOST.into())
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, Infallible> {
        Ok(0)
    }
}

impl ErrorType for MemoryConnection<'_> {
    type Error = Infallible;
}

impl embedded_io_async::Read for MemoryConnection<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        // Without the header of its record.
        let says = self.says.get_or_insert_with(|| (self.server)(&self.heard[5..]));
        let count = buf.len().min(says.len() - self.at);
        buf[..count].copy_from_slice(&says[self.at..][..count]);
        self.at += count;
        Ok(count)
    }
}

impl embedded_io_async::Write for MemoryConnection<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.heard.extend(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
