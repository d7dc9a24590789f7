//! Why a download takes longer than the limit: one thing is changed at a time, and measured.

use crate::board::Board;
use crate::grid::{Bench, Cell, RECEIVE, in_parallel};
use crate::run::{Case, Trouble};
use crate::server::WINDOW_FIRST;
use crate::ways::Way;
use crate::wire::Link;

/// A series of measurements in one cell.
#[derive(Debug)]
pub struct Series {
    /// What is asked.
    pub title: &'static str,
    /// What stands in the first column.
    pub varied: &'static str,
    /// The cell.
    pub cell: Cell,
    /// What was changed, the time against the limit, and the RAM of the buffers.
    pub rows: Vec<(String, f64, usize)>,
}

type Change = (String, Box<dyn Fn(&mut Case<'_>) + Sync>);

struct Question {
    title: &'static str,
    varied: &'static str,
    cell: Cell,
    changes: Vec<Change>,
}

/// Asks all of them.
///
/// # Errors
/// A download that failed.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Series>> {
    let cell = |board, rtt_ms, rate, tls, receive| {
        let link = Link { rtt_ms, rate, loss_permille: 0 };
        Cell { board, link, tls, receive }
    };
    let [small, middle, large] = RECEIVE;
    let segments = |counts: &[usize]| counts.iter().map(|count| receive(count * 1460)).collect::<Vec<_>>();
    let questions = vec![
        Question {
            title: "A round trip of 300 ms at 20 Mbit/s holds 750 KB: how large a receive window does it take?",
            varied: "receive buffer",
            cell: cell(1, 300, 20_000_000, false, large),
            changes: segments(&[4, 12, 44, 88, 176, 352]),
        },
        Question {
            title: "The same through TLS, whose records of 16 KiB are taken from the socket at once: smoltcp tells the server \
                    of room when it has doubled",
            varied: "receive buffer",
            cell: cell(1, 300, 20_000_000, true, large),
            changes: segments(&[12, 44, 48, 56, 88, 176]),
        },
        Question {
            title: "Receive buffers that are not whole segments",
            varied: "receive buffer",
            cell: cell(1, 80, 2_000_000, false, small),
            changes: [2920, 4096, 4380, 5840, 8192, 8760].map(receive).into(),
        },
        Question {
            title: "Erases of a second (STM32F4) at 0.25 Mbit/s: how much must the receive window take in meanwhile?",
            varied: "receive buffer",
            cell: cell(0, 20, 250_000, false, small),
            changes: segments(&[4, 8, 12, 24, 44]),
        },
        Question {
            title: "Erases of half a second (S25FL) at 2 Mbit/s: the same",
            varied: "receive buffer",
            cell: cell(4, 20, 2_000_000, false, large),
            changes: segments(&[12, 44, 88, 176]),
        },
        Question {
            title: "A second of silence, then 128 KiB at the rate of the flash, and a round trip of 300 ms until they flow",
            varied: "receive buffer",
            cell: cell(0, 300, 2_000_000, false, large),
            changes: segments(&[12, 44, 88, 176]),
        },
        Question {
            title: "One buffer of the writer, or two, beside a receive buffer of four segments",
            varied: "buffers",
            cell: cell(0, 80, 2_000_000, false, small),
            changes: vec![buffers(1), buffers(2)],
        },
        Question {
            title: "The same beside twelve segments",
            varied: "buffers",
            cell: cell(0, 80, 2_000_000, false, middle),
            changes: vec![buffers(1), buffers(2)],
        },
        Question {
            title: "The same on PSoC 6, where every block is a sector, so that the second buffer is never used",
            varied: "buffers",
            cell: cell(3, 80, 250_000, false, small),
            changes: vec![buffers(1), buffers(2)],
        },
        Question {
            title: "What the writer takes from the socket at once, and the window that smoltcp opens for it",
            varied: "buffers of",
            cell: cell(2, 300, 20_000_000, false, middle),
            changes: [512, 1024, 2048, 4096].map(block).into(),
        },
        Question {
            title: "TLS records, of which one must be there as a whole before its first byte is",
            varied: "record",
            cell: cell(2, 80, 2_000_000, true, small),
            changes: [1400, 4096, 8192, 16384].map(record).into(),
        },
        Question {
            title: "The same with a larger receive window",
            varied: "record",
            cell: cell(2, 80, 2_000_000, true, middle),
            changes: [1400, 4096, 8192, 16384].map(record).into(),
        },
        Question {
            title: "The same RAM, split otherwise: where the server agrees to records of 4096 bytes (RFC 6066)",
            varied: "record buffer, receive buffer",
            cell: cell(2, 80, 2_000_000, true, small),
            changes: vec![split(16 * 1024, 4 * 1460), split(4096, 4 * 1460), split(4096, 12 * 1460)],
        },
        Question {
            title: "A send buffer that takes the whole request (of 1.3 KB), or not",
            varied: "send buffer",
            cell: cell(1, 300, 2_000_000, true, large),
            changes: [512, 1024, 2048].map(send).into(),
        },
        Question {
            title: "Nagle's algorithm in the device's stack, where connections die after 32 KiB: a request to go on has \
                    more than a segment",
            varied: "Nagle",
            cell: cell(1, 80, 2_000_000, true, middle),
            changes: [true, false].map(nagle).into(),
        },
        Question {
            title: "The server's slow start",
            varied: "first window",
            cell: cell(1, 80, 20_000_000, false, large),
            changes: [2 * 1460, WINDOW_FIRST, 4 * WINDOW_FIRST, 1 << 20].map(first_window).into(),
        },
    ];
    let flat: Vec<(usize, usize)> = questions
        .iter()
        .enumerate()
        .flat_map(|(q, question)| (0..question.changes.len()).map(move |c| (q, c)))
        .collect();
    let measured = in_parallel(&flat, |&(q, c)| {
        let question = &questions[q];
        let (name, change) = &question.changes[c];
        let mut case = bench.case(question.cell, Way::Sprag);
        change(&mut case);
        let time = case.run()?.time_ns.unwrap_or(u64::MAX);
        Ok((name.clone(), time as f64 / case.limit_ns() as f64, case.ram()))
    })?;
    let mut measured = measured.into_iter();
    Ok(questions
        .into_iter()
        .map(|Question { title, varied, cell, changes }| Series {
            title,
            varied,
            cell,
            rows: measured.by_ref().take(changes.len()).collect(),
        })
        .collect())
}

/// The link, the part and TLS in words.
pub fn where_(cell: &Cell, boards: &[Board]) -> String {
    let Link { rtt_ms, rate, loss_permille } = cell.link;
    let tls = if cell.tls { "TLS" } else { "HTTP" };
    let loss = if loss_permille > 0 { format!(", loss {} %", f64::from(loss_permille) / 10.0) } else { String::new() };
    format!("{}, {rtt_ms} ms, {} Mbit/s, {tls}{loss}", boards[cell.board].part.name, rate as f64 / 1e6)
}

fn receive(bytes: usize) -> Change {
    (bytes.to_string(), Box::new(move |case| case.sockets.receive = bytes))
}

fn send(bytes: usize) -> Change {
    (bytes.to_string(), Box::new(move |case| case.sockets.send = bytes))
}

fn record(bytes: usize) -> Change {
    (bytes.to_string(), Box::new(move |case| case.record = bytes))
}

fn split(record: usize, receive: usize) -> Change {
    // With the type of what is encrypted, and the tag.
    let buffer = record + 17;
    let change = move |case: &mut Case<'_>| {
        (case.record, case.record_buffer, case.sockets.receive) = (record, buffer, receive);
    };
    (format!("{buffer}, {receive}"), Box::new(change))
}

fn buffers(count: usize) -> Change {
    (count.to_string(), Box::new(move |case| case.writer.count = count))
}

fn block(bytes: usize) -> Change {
    (bytes.to_string(), Box::new(move |case| case.writer.size = bytes))
}

fn nagle(on: bool) -> Change {
    let change = move |case: &mut Case<'_>| {
        case.sockets.nagle = on;
        case.trouble = Trouble::ConnectionDies { after: 32 * 1024 };
    };
    (if on { "on" } else { "off" }.to_string(), Box::new(change))
}

fn first_window(bytes: usize) -> Change {
    (bytes.to_string(), Box::new(move |case| case.server_window = bytes))
}
