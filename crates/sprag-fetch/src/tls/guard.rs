//! The filter below `embedded-tls` 0.19: it checks a server's records before `embedded-tls` sees them.
//!
//! `embedded-tls` panics at an encrypted record without content, and at a handshake message in the clear after the handshake.
//! Anybody on the way can send both. RFC 8446 ends the connection for them, and so does the filter. What is encrypted, the
//! [cipher](super::suite) checks, for which the filter marks records that come after the handshake.
//!
//! The filter also keeps the place of the last record, because `embedded-tls` does not report the number of an alert that
//! comes after the handshake. That is where a server says why it refuses a client's certificate.

use core::cell::Cell;

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

use super::suite::{VERSION, VERSION_AFTER_HANDSHAKE};

/// Type, version, length (RFC 8446, section 5.1).
const HEADER: usize = 5;
/// Types of content. A protected record has the type of application data in its header.
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const PROTECTED: u8 = 23;
const TAG: usize = 16;
/// A tag and at least the type of what is encrypted (section 5.2).
const PROTECTED_MIN: u16 = 17;

/// Follows the records of a server.
#[derive(Debug, Default)]
pub(crate) struct Records {
    header: heapless::Vec<u8, HEADER>,
    /// Bytes of the present record that are still to come.
    left: u16,
    /// The length of the present record, if it is an encrypted one.
    protected: Option<u16>,
    /// A handshake message came in the clear, the `ServerHello`: it was the last.
    greeted: bool,
}

impl Records {
    /// Follows the bytes that arrived. Returns `false` when a record has come that must not.
    ///
    /// Once `open` says that the handshake is over, encrypted records are marked for
    /// [`CheckedCipher`](super::suite::CheckedCipher).
    pub(crate) fn follow(&mut self, mut bytes: &mut [u8], open: bool) -> bool {
        loop {
            if self.left > 0 {
                let count = bytes.len().min(self.left.into());
                self.left = self.left.saturating_sub(u16::try_from(count).unwrap_or(u16::MAX));
                bytes = bytes.get_mut(count..).unwrap_or_default();
            }
            let Some((byte, rest)) = bytes.split_first_mut() else { return true };
            bytes = rest;
            let _ = self.header.push(*byte);
            match *self.header {
                [PROTECTED, version] | [PROTECTED, _, version] if version != VERSION => return false,
                [PROTECTED, _, _] if open => *byte = VERSION_AFTER_HANDSHAKE,
                [kind, _, _, high, low] => {
                    self.header.clear();
                    self.left = u16::from_be_bytes([high, low]);
                    self.protected = (kind == PROTECTED).then_some(self.left);
                    if !self.may_come(kind) {
                        return false;
                    }
                }
                _ => {}
            }
        }
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

/// What a session and its socket tell each other.
///
/// Of flushes: there are stacks that flush by waiting until all is acknowledged (`embassy-net`), and `embedded-tls` flushes
/// after each record, its `Finished` included: each would cost a round trip for nothing.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// The handshake is over.
    pub(super) open: Cell<bool>,
    /// Flush at once, and not before the next read.
    pub(super) at_once: Cell<bool>,
    /// A flush was put off.
    pub(super) owed: Cell<bool>,
    /// Nothing can be sent any more. No error at once, for what the server said before may still be there to be read.
    pub(super) broken: Cell<Option<ErrorKind>>,
    /// Bytes of a record have come, and not all: a read that is dropped now would lose them.
    pub(super) inside: Cell<bool>,
    /// The last record, if it was an encrypted one: the address of its end, and its length.
    last: Cell<Option<(usize, u16)>>,
}

impl Wire {
    /// The alert in the last record, which `embedded-tls` has decrypted where it lies in the read buffer.
    pub(super) fn alert(&self, buffer: &[u8]) -> Option<u8> {
        let (end, length) = self.last.get()?;
        let end = end.checked_sub(buffer.as_ptr().addr())?;
        let record = buffer.get(end.checked_sub(length.into())?..end)?;
        // The alert, its type, as many zeros as the server likes, and the tag (sections 5.2 and 5.4).
        let inner = record.get(..record.len().checked_sub(TAG)?)?;
        match inner.get(..=inner.iter().rposition(|byte| *byte != 0)?)? {
            [_, alert, ALERT] => Some(*alert),
            _ => None,
        }
    }

    fn note<T>(&self, sent: Result<T, impl embedded_io_async::Error>) -> Option<T> {
        sent.map_err(|error| self.broken.set(Some(error.kind()))).ok()
    }
}

/// A connection whose incoming records are checked, whose flushes are put off until an answer is waited for, and which goes on
/// when nothing can be sent any more, until nothing is left to be read.
#[derive(Debug)]
pub(super) struct Guarded<'w, T> {
    socket: T,
    records: Records,
    wire: &'w Wire,
}

impl<'w, T> Guarded<'w, T> {
    pub(super) fn new(socket: T, wire: &'w Wire) -> Self {
        Self { socket, records: Records::default(), wire }
    }
}

impl<T: Write> Guarded<'_, T> {
    async fn flush_now(&mut self) {
        if self.wire.broken.get().is_none() && self.wire.note(self.socket.flush().await).is_some() {
            self.wire.owed.set(false);
        }
    }
}

impl<T: ErrorType> ErrorType for Guarded<'_, T> {
    type Error = ErrorKind;
}

impl<T: Read + Write> Read for Guarded<'_, T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.wire.owed.get() {
            self.flush_now().await;
        }
        let count = match (self.socket.read(buf).await, self.wire.broken.get()) {
            (Ok(0) | Err(_), Some(broken)) => return Err(broken),
            (result, _) => result.map_err(|error| error.kind())?,
        };
        let arrived = buf.get_mut(..count).ok_or(ErrorKind::Other)?;
        let inside = self.records.left > 0;
        if !self.records.follow(arrived, self.wire.open.get()) {
            return Err(ErrorKind::ConnectionAborted);
        }
        self.wire.inside.set(self.records.left > 0 || !self.records.header.is_empty());
        if inside && self.records.left == 0 {
            // No read goes beyond a record.
            let end = arrived.as_ptr_range().end.addr();
            self.wire.last.set(self.records.protected.map(|length| (end, length)));
        }
        Ok(count)
    }
}

impl<T: Write> Write for Guarded<'_, T> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        if self.wire.broken.get().is_some() {
            return Ok(buf.len());
        }
        let sent = self.socket.write(buf).await;
        Ok(self.wire.note(sent).unwrap_or(buf.len()))
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.wire.owed.set(true);
        if self.wire.at_once.get() {
            self.flush_now().await;
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
                all.clone().chunks_mut(piece).all(|piece| records.follow(piece, false))
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

    #[test]
    fn protected_records_after_the_handshake_are_marked() {
        let (hello, data) = (record(HANDSHAKE, 90), record(PROTECTED, 20));
        for piece in 1..40 {
            let mut records = Records::default();
            let mut follow = |bytes: &[u8], open| {
                let mut bytes = bytes.to_vec();
                bytes.chunks_mut(piece).all(|piece| records.follow(piece, open)).then_some(bytes)
            };
            assert_eq!(follow(&[&*hello, &data].concat(), false), Some([&*hello, &data].concat()));
            let ccs = record(20, 1);
            let mut marked = data.clone();
            marked[2] = VERSION_AFTER_HANDSHAKE;
            assert_eq!(follow(&[&*data, &ccs, &data].concat(), true), Some([&*marked, &ccs, &marked].concat()));
        }
        // The mark is nothing that a server can set, or keep from being set.
        for (at, open) in [(1, false), (2, false), (1, true), (2, true)] {
            for version in (0..=255).filter(|version| *version != VERSION) {
                let mut other = data.clone();
                other[at] = version;
                assert!(!Records::default().follow(&mut other, open), "{version}");
            }
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
        let (mut socket, wire) = (Socket::default(), Wire::default());
        let mut guarded = Guarded::new(&mut socket, &wire);
        embassy_futures::block_on(async {
            for _ in 0..2 {
                guarded.write_all(&[1]).await.unwrap();
                guarded.flush().await.unwrap();
            }
            guarded.read(&mut [0]).await.unwrap();
            guarded.read(&mut [0]).await.unwrap();
            guarded.write_all(&[1]).await.unwrap();
            wire.at_once.set(true);
            guarded.flush().await.unwrap();
            guarded.read(&mut [0]).await.unwrap();
        });
        assert_eq!(socket.0, ["write", "write", "flush", "read", "read", "write", "flush", "read"]);
    }

    /// Takes so much and then breaks, or does so when it is flushed, with an answer that is still there to be read.
    struct Breaks {
        takes: usize,
        flush: Result<(), ErrorKind>,
        answer: &'static [u8],
    }

    impl ErrorType for Breaks {
        type Error = ErrorKind;
    }

    impl Read for Breaks {
        async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
            self.answer.read(buf).await.map_err(|never| match never {})
        }
    }

    impl Write for Breaks {
        async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
            self.takes = self.takes.checked_sub(buf.len()).ok_or(ErrorKind::BrokenPipe)?;
            Ok(buf.len())
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            self.flush
        }
    }

    #[test]
    fn what_the_server_said_is_heard_after_the_connection_broke() {
        let wire = Wire::default();
        let mut guarded = Guarded::new(Breaks { takes: 4, flush: Ok(()), answer: &[20, 3, 3, 0, 1, 1] }, &wire);
        embassy_futures::block_on(async {
            guarded.write_all(&[1; 4]).await.unwrap();
            assert_eq!(wire.broken.get(), None);
            guarded.write_all(&[1; 4]).await.unwrap();
            guarded.flush().await.unwrap();
            assert_eq!(wire.broken.get(), Some(ErrorKind::BrokenPipe));
            let mut buf = [0; 6];
            guarded.read_exact(&mut buf[..5]).await.unwrap();
            guarded.read_exact(&mut buf[5..]).await.unwrap();
            assert_eq!(guarded.read(&mut buf).await, Err(ErrorKind::BrokenPipe));
        });
    }

    /// The flush that was put off fails in the middle of a read: what the server said comes first.
    #[test]
    fn what_the_server_said_is_heard_when_a_late_flush_fails() {
        let wire = Wire::default();
        let socket = Breaks { takes: 4, flush: Err(ErrorKind::ConnectionReset), answer: &[20, 3, 3, 0, 1, 1] };
        let mut guarded = Guarded::new(socket, &wire);
        embassy_futures::block_on(async {
            guarded.write_all(&[1; 4]).await.unwrap();
            guarded.flush().await.unwrap();
            let mut buf = [0; 6];
            guarded.read_exact(&mut buf).await.unwrap();
            assert_eq!(wire.broken.get(), Some(ErrorKind::ConnectionReset));
            assert_eq!(guarded.read(&mut buf).await, Err(ErrorKind::ConnectionReset));
        });
    }

    #[test]
    fn alerts_are_found_in_the_last_record_alone() {
        let wire = Wire::default();
        let mut buffer = [0; 64];
        let mut answer = Vec::new();
        let inners: [&[u8]; 5] = [&[2, 116, 21], &[2, 48, 21, 0, 0, 0], &[1, 2, 23], &[21], &[0, 0]];
        let alerts = inners.map(|inner| {
            answer.clear();
            answer.extend([PROTECTED, 3, 3, 0, (inner.len() + TAG) as u8]);
            answer.extend_from_slice(inner);
            answer.extend([0xee; TAG]);
            let mut guarded = Guarded::new(Breaks { takes: 0, flush: Ok(()), answer: answer.clone().leak() }, &wire);
            embassy_futures::block_on(async {
                guarded.read_exact(&mut [0; HEADER]).await.unwrap();
                // Not at the beginning, and in two pieces.
                let record = &mut buffer[7..7 + inner.len() + TAG];
                let (first, second) = record.split_at_mut(2);
                guarded.read_exact(first).await.unwrap();
                guarded.read_exact(second).await.unwrap();
            });
            wire.alert(&buffer)
        });
        assert_eq!(alerts, [Some(116), Some(48), None, None, None]);
        assert_eq!(wire.alert(&[0; 64]), None, "another buffer");
        wire.last.set(Some((buffer.as_ptr().addr() + 65, 19)));
        assert_eq!(wire.alert(&buffer), None, "beyond it");
    }
}
