//! How the server makes good what got lost: as quickly as servers do, and smoltcp does not.
//!
//! smoltcp sends a segment again after three duplicate acknowledgements, or after a second at least. A device with a window
//! of a few segments hardly ever sends three, and one that reads meanwhile sends none at all, for its window moves. What
//! Linux and others do instead is RACK-TLP (RFC 8985), and this is the part of it that a link without reordering needs, in
//! front of smoltcp: a segment is lost when one that was sent later has arrived, by the acknowledgement's SACK option; and
//! when two round trips bring nothing.

use std::collections::BTreeMap;

use smoltcp_server::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};

/// What is added for a delayed acknowledgement of a single segment, in nanoseconds: Linux's least time-out.
const DELAYED_NS: u64 = 200_000_000;
/// Before a round trip was measured.
const FIRST_NS: u64 = 1_000_000_000;

/// All connections of a server, by the port of the other end.
#[derive(Debug, Default)]
pub struct Recovery(BTreeMap<u16, Flight>);

/// What is under way on a connection.
#[derive(Debug, Default)]
struct Flight {
    segments: Vec<Segment>,
    /// Where the bytes end that were sent.
    sent_to: Option<TcpSeqNumber>,
    /// The smoothed round trip.
    round_trip_ns: Option<u64>,
    /// Since when nothing has come.
    quiet_ns: u64,
    /// Time-outs since then.
    probes: u32,
    /// Segments sent so far.
    count: u64,
}

#[derive(Debug, Clone)]
struct Segment {
    from: TcpSeqNumber,
    to: TcpSeqNumber,
    packet: Vec<u8>,
    sent_ns: u64,
    /// The how manieth that was sent.
    number: u64,
    again: bool,
}

impl Recovery {
    /// Looks at a packet from the other end; what is to be sent again for it goes to `out`.
    pub fn hears(&mut self, now_ns: u64, packet: &[u8], out: &mut Vec<Vec<u8>>) {
        let Some(tcp) = tcp(packet) else { return };
        let flight = self.0.entry(tcp.src_port()).or_default();
        if tcp.syn() || tcp.rst() {
            *flight = Flight::default();
            return;
        }
        let sacks = tcp.selective_ack_ranges().unwrap_or_default();
        let edge = |edge| TcpSeqNumber(edge as i32);
        let latest = flight.delivered(now_ns, |segment| {
            segment.to <= tcp.ack_number()
                || sacks.iter().flatten().any(|(from, to)| edge(*from) <= segment.from && segment.to <= edge(*to))
        });
        // Sent before what has arrived, on a link that keeps the order.
        flight.send_again(now_ns, out, |segment| Some(segment.number) < latest);
    }

    /// Looks at a packet that smoltcp sends; whether it is to go.
    pub fn sends(&mut self, now_ns: u64, packet: &[u8]) -> bool {
        let Some(tcp) = tcp(packet) else { return true };
        let flight = self.0.entry(tcp.dst_port()).or_default();
        let (from, length) = (tcp.seq_number(), tcp.payload().len());
        if tcp.rst() {
            flight.segments.clear();
        }
        // One byte is a probe of a closed window.
        if length <= 1 {
            return true;
        }
        let to = from + length;
        // Whatever was sent before is sent again from here.
        if flight.sent_to.is_some_and(|sent_to| to <= sent_to) {
            return false;
        }
        flight.sent_to = Some(to);
        if flight.segments.is_empty() {
            (flight.quiet_ns, flight.probes) = (now_ns, 0);
        }
        flight.count += 1;
        let (packet, number) = (packet.to_vec(), flight.count);
        flight.segments.push(Segment { from, to, packet, sent_ns: now_ns, number, again: false });
        true
    }

    /// What has been under way for too long goes to `out`.
    pub fn times_out(&mut self, now_ns: u64, out: &mut Vec<Vec<u8>>) {
        for flight in self.0.values_mut() {
            if flight.next_ns().is_some_and(|next| next <= now_ns) {
                (flight.quiet_ns, flight.probes) = (now_ns, flight.probes + 1);
                let first = flight.segments.iter().map(|segment| segment.number).min();
                flight.send_again(now_ns, out, |segment| Some(segment.number) == first);
            }
        }
    }

    /// When something will have been under way for too long.
    pub fn next_ns(&self) -> Option<u64> {
        self.0.values().filter_map(Flight::next_ns).min()
    }
}

impl Flight {
    /// Forgets what has arrived; the last number among it.
    fn delivered(&mut self, now_ns: u64, arrived: impl Fn(&Segment) -> bool) -> Option<u64> {
        let (mut latest, mut round_trip) = (None, self.round_trip_ns);
        self.segments.retain(|segment| {
            let over = arrived(segment);
            if over {
                latest = latest.max(Some(segment.number));
                // Of one that was sent twice nobody knows which one it was.
                let sample = if segment.again { round_trip } else { Some(now_ns - segment.sent_ns) };
                round_trip = round_trip.zip(sample).map(|(old, sample)| (old * 7 + sample) / 8).or(sample);
            }
            !over
        });
        self.round_trip_ns = round_trip;
        if latest.is_some() {
            (self.quiet_ns, self.probes) = (now_ns, 0);
        }
        latest
    }

    fn send_again(&mut self, now_ns: u64, out: &mut Vec<Vec<u8>>, which: impl Fn(&Segment) -> bool) {
        for segment in self.segments.iter_mut().filter(|segment| which(segment)) {
            self.count += 1;
            (segment.sent_ns, segment.number, segment.again) = (now_ns, self.count, true);
            out.push(segment.packet.clone());
        }
    }

    fn next_ns(&self) -> Option<u64> {
        let delayed = match self.segments.len() {
            0 => return None,
            1 => DELAYED_NS,
            _ => 0,
        };
        let patience = self.round_trip_ns.map_or(FIRST_NS, |round_trip| 2 * round_trip + delayed + 10_000_000);
        Some(self.quiet_ns + (patience << self.probes.min(6)))
    }
}

fn tcp(packet: &[u8]) -> Option<TcpPacket<&[u8]>> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    TcpPacket::new_checked(ip.payload()).ok()
}

#[cfg(test)]
mod tests {
    use crate::authority::Authority;
    use crate::board::Board;
    use crate::grid::{Bench, Cell, RECEIVE};
    use crate::limit::on_the_wire;
    use crate::object::{HOST, Object};
    use crate::run::Outcome;
    use crate::ways::Way;
    use crate::wire::Link;

    fn run(rate: u64, loss_permille: u32, receive: usize) -> Outcome {
        let (boards, authority) = (Board::all(), Authority::new(HOST).unwrap());
        let bench = Bench { boards, authority, object: Object::new(1 << 20, 1), seed: 1 };
        let link = Link { rtt_ms: 20, rate, loss_permille };
        bench.case(Cell { board: 1, link, tls: false, receive }, Way::Sprag).run().unwrap()
    }

    /// One loss in a hundred, and a window of a few segments: not a second each.
    #[test]
    fn what_got_lost_comes_again_soon() {
        let [with, without] = [10, 0].map(|loss| run(2_000_000, loss, RECEIVE[0]).time_ns.unwrap());
        let lost = (1 << 20) / 1460 / 100;
        assert!(with < without + lost * 2 * 300_000_000, "{with} instead of {without}");
    }

    /// A queue that takes two seconds in front of the bottleneck: what is still under way does not come again.
    #[test]
    fn what_is_late_is_not_lost() {
        for loss in [0, 10] {
            let outcome = run(250_000, loss, RECEIVE[2]);
            let most = on_the_wire(1 << 20) * u64::from(1000 + 2 * loss) / 1000 + 4096;
            assert!(outcome.wire_bytes < most, "{} of at most {most}", outcome.wire_bytes);
        }
    }
}
