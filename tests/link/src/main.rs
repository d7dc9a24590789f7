//! scratch
use sprag_link_bench::{authority::Authority, board::Board, device::Buffers, object::{HOST, Object}, run::{Case, Trouble}, ways::Way, wire::Link};
fn main() {
    let boards = Board::all();
    let authority = Authority::new(HOST).unwrap();
    let object = Object::new(1 << 20, 1);
    let t = std::time::Instant::now();
    for tls in [None, Some(&authority)] {
    for board in &boards {
        for receive in [4096, 16384, 65535] {
            for (rtt_ms, rate) in [(1, 20_000_000), (80, 2_000_000), (300, 20_000_000), (300, 250_000)] {
            print!("{:8} {} {receive:6} {rtt_ms:4} {rate:9} ", board.part.name, tls.is_some());
            for way in Way::ALL {
                let case = Case { link: Link { rtt_ms, rate, loss_permille: 0 }, board, buffers: Buffers { receive, send: 2048 }, object: object.clone(), tls, record: 16384, way, writer_buffers: 2, seed: 1, trouble: Trouble::None };
                match case.run() {
                    Ok(o) => print!(" {:9} {:7.3} ({} {} {})", way.name(), o.time_ns.unwrap() as f64 / case.limit_ns() as f64, o.counts.connections, o.counts.requests, o.wire_bytes),
                    Err(e) => print!(" {:9} {e:#}", way.name()),
                }
            }
            println!();
            }
        }
    }
    }
    eprintln!("{:?}", t.elapsed());
}
