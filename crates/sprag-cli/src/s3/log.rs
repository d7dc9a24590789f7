//! What the server has seen and sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the server has done since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// TCP connections accepted.
    pub connections: u64,
    /// Of these, the ones whose TLS handshake failed, for instance because the client does not trust the certificate.
    pub handshakes_failed: u64,
    /// Requests that arrived. One that comes after a connection's last answer is not read, and not counted.
    pub requests: u64,
    /// Bytes of bodies handed to connections. More than a client received, if it closed its end meanwhile.
    pub bytes_sent: u64,
    /// Every request, in the order of arrival. Kept until the server stops.
    pub log: Vec<RequestRecord>,
}

/// One request and its answer. It holds nothing of the query, where the signature is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestRecord {
    /// 1 for the server's first request.
    pub number: u64,
    /// The connection it came on: 1 for the server's first.
    pub connection: u64,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The path as in the URL: `/bucket/key`.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `If-Match` header.
    pub if_match: Option<String>,
    /// The answer's status; `None` when there is no answer (yet).
    pub status: Option<u16>,
    /// Bytes of the answer's body handed to the connection (so far).
    pub body_bytes: u64,
}

type Listener = Box<dyn FnMut(&RequestRecord) + Send>;

/// Collects [`Stats`].
#[derive(Default)]
pub(super) struct Log {
    stats: Mutex<Stats>,
    listener: Mutex<Option<Listener>>,
}

impl Log {
    pub(super) fn stats(&self) -> Stats {
        lock(&self.stats).clone()
    }

    pub(super) fn listen(&self, listener: Listener) {
        *lock(&self.listener) = Some(listener);
    }

    /// Returns the connection's number.
    pub(super) fn connected(&self) -> u64 {
        let mut stats = lock(&self.stats);
        stats.connections += 1;
        stats.connections
    }

    pub(super) fn handshake_failed(&self) {
        lock(&self.stats).handshakes_failed += 1;
    }

    /// Numbers and keeps a request; returns the number.
    pub(super) fn arrived(&self, mut record: RequestRecord) -> u64 {
        let mut stats = lock(&self.stats);
        stats.requests += 1;
        record.number = stats.requests;
        stats.log.push(record);
        stats.requests
    }

    pub(super) fn answered(&self, number: u64, status: u16) {
        self.update(number, |record| record.status = Some(status));
    }

    pub(super) fn sent(&self, number: u64, bytes: usize) {
        self.update(number, |record| record.body_bytes += bytes as u64);
        lock(&self.stats).bytes_sent += bytes as u64;
    }

    /// The request is over: tells the listener.
    pub(super) fn done(&self, number: u64) {
        if let Some(listener) = lock(&self.listener).as_mut() {
            let mut record = None;
            self.update(number, |known| record = Some(known.clone()));
            if let Some(record) = record {
                listener(&record);
            }
        }
    }

    fn update(&self, number: u64, change: impl FnOnce(&mut RequestRecord)) {
        let index = number.saturating_sub(1) as usize;
        if let Some(record) = lock(&self.stats).log.get_mut(index) {
            change(record);
        }
    }
}

/// A hook or a listener of the caller's may panic while it holds one of these locks; the server goes on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
