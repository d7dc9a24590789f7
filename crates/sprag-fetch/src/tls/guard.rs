//! What of TLS's record layer `embedded-tls` 0.19 takes on trust, checked on the way to it.
//!
//! It panics at an encrypted record without content, and at a handshake message in the clear once the connection is up:
//! both can be sent by anybody on the way, whoever the server is. RFC 8446 has them end the connection.

use core::cell::Cell;

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

/// Type, version, length (RFC 8446, section 5.1).
const HEADER: usize = 5;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const PROTECTED: u8 = 23;
/// A tag of 16 bytes and at least the type of what is encrypted (section 5.2).
const PROTECTED_MIN: u16 = 17;

/// Follows the records of a server.
#[derive(Debug, Default)]
pub(crate) struct Records {
    header: heapless::Vec<u8, HEADER>,
    /// Bytes of the present record that are still to come.
    left: u16,
    /// A handshake message came in the clear, the `ServerHello`: it was the last.
    greeted: bool,
}

impl Records {
    /// Takes what arrived; `false` when a record has come that must not be.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = bytes.len().min(self.left.into());
                self.left = self.left.saturating_sub(u16::try_from(count).unwrap_or(u16::MAX));
                bytes = bytes.get(count..).unwrap_or_default();
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { break };
            bytes = rest;
            let _ = self.header.push(*byte);
            if let [kind, _, _, high, low] = *self.header {
                self.header.clear();
                self.left = u16::from_be_bytes([high, low]);
                if !self.may_come(kind) {
                    return false;
                }
            }
        }
        true
    }

    fn may_come(&mut self, kind: u8) -> bool {
        match kind {
            PROTECTED => self.left >= PROTECTED_MIN,
            ALERT => !self.greeted,
            HANDSHAKE => !core::mem::replace(&mut self.greeted, true),
            // `ChangeCipherSpec`, which means nothing: once or twice in a handshake.
            _ => true,
        }
    }
}

/// When the socket is flushed. There are stacks that flush by waiting until all is acknowledged (`embassy-net`), and
/// `embedded-tls` flushes after each record, its `Finished` included: each would cost a round trip for nothing.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// At once, and not before the next read.
    pub(super) at_once: Cell<bool>,
    /// One was put off.
    pub(super) owed: Cell<bool>,
}

/// A connection whose incoming records are checked, and whose flushes are put off until an answer is waited for.
#[derive(Debug)]
pub(super) struct Guarded<'f, T> {
    socket: T,
    records: Records,
    flushes: &'f Flushes,
}

impl<'f, T> Guarded<'f, T> {
    pub(super) fn new(socket: T, flushes: &'f Flushes) -> Self {
        Self { socket, records: Records::default(), flushes }
    }
}

impl<T: ErrorType> ErrorType for Guarded<'_, T> {
    type Error = ErrorKind;
}

impl<T: Read + Write> Read for Guarded<'_, T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.flushes.owed.get() {
            self.socket.flush().await.map_err(|error| error.kind())?;
            self.flushes.owed.set(false);
        }
        let count = self.socket.read(buf).await.map_err(|error| error.kind())?;
        let arrived = buf.get(..count).ok_or(ErrorKind::Other)?;
        if self.records.follow(arrived) { Ok(count) } else { Err(ErrorKind::ConnectionAborted) }
    }
}

impl<T: Write> Write for Guarded<'_, T> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.socket.write(buf).await.map_err(|error| error.kind())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.flushes.owed.set(true);
        if self.flushes.at_once.get() {
            self.socket.flush().await.map_err(|error| error.kind())?;
            self.flushes.owed.set(false);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [&[kind, 3, 3, high, low][..], &vec![0; length.into()]].concat()
    }

    fn may_come(records: &[Vec<u8>]) -> bool {
        let all = records.concat();
        let verdicts: Vec<bool> = (1..=all.len().min(40))
            .map(|piece| {
                let mut records = Records::default();
                all.chunks(piece).all(|piece| records.follow(piece))
            })
            .collect();
        assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "it depends on how they arrive");
        verdicts.first().copied().unwrap_or(true)
    }

    #[test]
    fn a_handshake_and_what_follows() {
        let hello = || record(HANDSHAKE, 90);
        let usual =
            vec![hello(), record(20, 1), record(PROTECTED, 17), record(PROTECTED, 16_401), record(PROTECTED, 300)];
        assert!(may_come(&usual));
        assert!(may_come(&[record(ALERT, 2)]), "it refuses the handshake");
        for bad in [record(PROTECTED, 16), record(PROTECTED, 0), hello(), record(ALERT, 2)] {
            assert!(!may_come(&[usual.clone(), vec![bad]].concat()));
        }
    }

    /// What was done to a socket: each word is one call.
    #[derive(Default)]
    struct Socket(Vec<&'static str>);

    impl ErrorType for &mut Socket {
        type Error = ErrorKind;
    }

    impl Read for &mut Socket {
        async fn read(&mut self, _: &mut [u8]) -> Result<usize, ErrorKind> {
            self.0.push("read");
            Ok(0)
        }
    }

    impl Write for &mut Socket {
        async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
            self.0.push("write");
            Ok(buf.len())
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            self.0.push("flush");
            Ok(())
        }
    }

    #[test]
    fn a_flush_is_put_off_until_an_answer_is_waited_for() {
        let (mut socket, flushes) = (Socket::default(), Flushes::default());
        let mut guarded = Guarded::new(&mut socket, &flushes);
        embassy_futures::block_on(async {
            for _ in 0..2 {
                guarded.write_all(&[1]).await.unwrap();
                guarded.flush().await.unwrap();
            }
            guarded.read(&mut [0]).await.unwrap();
            guarded.read(&mut [0]).await.unwrap();
            guarded.write_all(&[1]).await.unwrap();
            flushes.at_once.set(true);
            guarded.flush().await.unwrap();
            guarded.read(&mut [0]).await.unwrap();
        });
        assert_eq!(socket.0, ["write", "write", "flush", "read", "read", "write", "flush", "read"]);
    }
}
