//! The wire between the two ends: rate, delay, a bounded queue, and what goes wrong on it, from a seed.

use std::collections::VecDeque;

/// What a link is like; the same both ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The round trip of an empty line, in milliseconds.
    pub rtt_ms: u32,
    /// Bits per second.
    pub rate: u64,
    /// Packets that get lost, in a thousand.
    pub loss_permille: u32,
}

impl Link {
    /// How long so many bytes take to go onto the wire, in nanoseconds.
    pub fn serialized_ns(&self, bytes: u64) -> u64 {
        bytes * 8 * 1_000_000_000 / self.rate
    }

    /// Half a round trip, in nanoseconds.
    fn delay_ns(&self) -> u64 {
        u64::from(self.rtt_ms) * 500_000
    }
}

/// What waits in front of the bottleneck, in bytes, before packets are dropped.
const QUEUE: u64 = 256 * 1024;
/// A packet comes later than the delay says by up to so much of it: a tenth.
const JITTER: u64 = 10;

/// One direction.
#[derive(Debug)]
pub struct Pipe {
    link: Link,
    random: fastrand::Rng,
    /// When the last packet has gone onto the wire.
    free_ns: u64,
    last_arrival_ns: u64,
    under_way: VecDeque<(u64, Vec<u8>)>,
    /// Bytes that were sent into it, IP headers included.
    pub bytes: u64,
}

impl Pipe {
    /// An empty one.
    pub fn new(link: Link, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { link, random, free_ns: 0, last_arrival_ns: 0, under_way: VecDeque::new(), bytes: 0 }
    }

    /// Sends a packet, which arrives or does not. Packets don't overtake each other.
    pub fn send(&mut self, now_ns: u64, packet: Vec<u8>) {
        let (length, waiting_ns) = (packet.len() as u64, self.free_ns.saturating_sub(now_ns));
        self.bytes += length;
        if waiting_ns * self.link.rate / 8 / 1_000_000_000 + length > QUEUE {
            return;
        }
        self.free_ns = self.free_ns.max(now_ns) + self.link.serialized_ns(length);
        let (delay, lost) = (self.link.delay_ns(), self.random.u32(0..1000) < self.link.loss_permille);
        let arrival = self.free_ns + delay + self.random.u64(0..=delay / JITTER);
        if !lost {
            self.last_arrival_ns = self.last_arrival_ns.max(arrival);
            self.under_way.push_back((self.last_arrival_ns, packet));
        }
    }

    /// When the next packet arrives.
    pub fn next_ns(&self) -> Option<u64> {
        self.under_way.front().map(|(arrival, _)| *arrival)
    }

    /// The next packet that has arrived by now.
    pub fn arrived(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let due = self.next_ns()? <= now_ns;
        if due { self.under_way.pop_front().map(|(_, packet)| packet) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { rtt_ms: 20, rate: 1_000_000, loss_permille: 0 };

    #[test]
    fn packets_take_their_time_and_keep_their_order() {
        let mut pipe = Pipe::new(LINK, 1);
        for n in 0..100 {
            pipe.send(0, vec![n; 1250]);
        }
        let mut last = 0;
        for n in 0..100 {
            let at = pipe.next_ns().unwrap();
            // 1250 bytes at 1 Mbit/s are 10 ms, half a round trip is another 10, jitter at most one more.
            let soonest = (u64::from(n) + 2) * 10_000_000;
            assert!(at >= soonest.max(last) && at <= soonest + 1_000_000, "{n}: {at}");
            assert!(pipe.arrived(at - 1).is_none());
            assert_eq!(pipe.arrived(at).unwrap()[0], n);
            last = at;
        }
    }

    #[test]
    fn the_queue_is_bounded_and_losses_are_as_many_as_asked_for() {
        let mut pipe = Pipe::new(LINK, 1);
        (0..1000).for_each(|_| pipe.send(0, vec![0; 1024]));
        assert_eq!(pipe.under_way.len(), 256);
        let mut pipe = Pipe::new(Link { loss_permille: 100, ..LINK }, 1);
        (0..1000).for_each(|n| pipe.send(n * 1_000_000_000, vec![0; 1024]));
        assert!((850..950).contains(&pipe.under_way.len()), "{}", pipe.under_way.len());
    }
}
