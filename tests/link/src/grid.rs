//! The cells, and who is measured in them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use sprag_fetch::READ_BUFFER_FULL;

use crate::authority::Authority;
use crate::board::Board;
use crate::device::Sockets;
use crate::object::Object;
use crate::run::{Case, Outcome, Trouble};
use crate::server::{RECORD, WINDOW_FIRST};
use crate::ways::Way;
use crate::ways::sprag::Buffers;
use crate::wire::Link;

/// What a socket may hold that was sent: room for a request with a presigned URL.
pub const SEND_BUFFER: usize = 2048;

/// Where packets get lost, it matters which: the median of so many runs is taken.
const RUNS_WITH_LOSS: u64 = 5;

/// One cell of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Of [`Board::all`].
    pub board: usize,
    /// The link.
    pub link: Link,
    /// Through TLS.
    pub tls: bool,
    /// The receive buffer of the device's socket, in bytes.
    pub receive: usize,
}

/// What was measured in it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Where.
    pub cell: Cell,
    /// Name of the flash part.
    pub part: &'static str,
    /// What link and flash allow at best.
    pub limit_ns: u64,
    /// The same for a socket with so large a receive buffer.
    pub window_limit_ns: u64,
    /// What each way took, and the RAM of its buffers.
    pub ways: Vec<(Way, Outcome, usize)>,
}

/// What all cells share.
#[derive(Debug)]
pub struct Bench {
    /// The devices.
    pub boards: [Board; 5],
    /// The server's certificates.
    pub authority: Authority,
    /// The image.
    pub object: Object,
    /// For loss, jitter and keys.
    pub seed: u64,
}

impl Bench {
    /// Measures all ways in a cell.
    ///
    /// # Errors
    /// A download that failed.
    pub fn measure(&self, cell: Cell) -> anyhow::Result<Measured> {
        let mut ways = Vec::new();
        let runs = if cell.link.loss_permille > 0 { RUNS_WITH_LOSS } else { 1 };
        for way in Way::ALL {
            let mut case = self.case(cell, way);
            let ram = case.ram();
            let mut outcomes = Vec::new();
            for run in 0..runs {
                case.seed = self.seed + run;
                outcomes.push(case.run().with_context(|| format!("{} in {cell:?}", way.name()))?);
            }
            ways.push((way, Outcome::median(outcomes).context("no run")?, ram));
        }
        let case = self.case(cell, Way::Sprag);
        let (part, limit_ns, window_limit_ns) = (case.board.part.name, case.limit_ns(), case.window_limit_ns());
        Ok(Measured { cell, part, limit_ns, window_limit_ns, ways })
    }

    /// One way in a cell, as it is by default.
    pub fn case(&self, cell: Cell, way: Way) -> Case<'_> {
        let board = &self.boards[cell.board];
        Case {
            link: cell.link,
            board,
            sockets: Sockets { receive: cell.receive, send: SEND_BUFFER, nagle: true },
            object: self.object.clone(),
            tls: cell.tls.then_some(&self.authority),
            record: RECORD,
            record_buffer: READ_BUFFER_FULL,
            server_window: WINDOW_FIRST,
            way,
            writer: Buffers { count: 2, size: board.block },
            seed: self.seed,
            trouble: Trouble::None,
        }
    }
}

/// The receive buffers of the grid, in bytes: 4, 12 and 44 full segments. (What is not whole segments is of little use: a
/// sender that avoids silly windows leaves the rest empty.)
pub const RECEIVE: [usize; 3] = [4 * 1460, 12 * 1460, 44 * 1460];
/// Its round trips, in milliseconds.
pub const RTTS: [u32; 4] = [1, 20, 80, 300];
/// Its rates, in bits per second.
pub const RATES: [u64; 3] = [250_000, 2_000_000, 20_000_000];

/// All cells: every part, round trip, rate, loss and receive buffer, in the clear and through TLS.
pub fn all() -> Vec<Cell> {
    cells(&[0, 1, 2, 3, 4], &RTTS, &RATES, &[0, 10], &RECEIVE)
}

/// A few.
pub fn short() -> Vec<Cell> {
    cells(&[1, 3], &[20, 300], &[2_000_000], &[0, 10], &RECEIVE[1..2])
}

fn cells(boards: &[usize], rtts: &[u32], rates: &[u64], losses: &[u32], receives: &[usize]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &receive in receives {
        for tls in [false, true] {
            for &loss_permille in losses {
                for &board in boards {
                    for &rtt_ms in rtts {
                        for &rate in rates {
                            cells.push(Cell { board, link: Link { rtt_ms, rate, loss_permille }, tls, receive });
                        }
                    }
                }
            }
        }
    }
    cells
}

/// Does the same with all of them, on all cores; the results in their order.
///
/// # Errors
/// The first one.
pub fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    act: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<anyhow::Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((item, place)) = {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    items.get(n).zip(results.get(n))
                } {
                    let result = act(item);
                    *place.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(result);
                }
            });
        }
    });
    let taken = results.into_iter().map(|place| place.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()));
    taken.map(|result| result.context("not measured")?).collect()
}
