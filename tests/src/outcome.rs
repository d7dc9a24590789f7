//! What came of a scenario, for people and for programs.

use serde::Serialize;

use crate::bench::Bench;

/// What came of a scenario, and what it cost.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: &'static str,
    /// Whether it ended as it should.
    pub ok: bool,
    /// How it ended, or what was wrong with that.
    pub result: String,
    /// The version that runs.
    pub running: Option<String>,
    /// Requests sent.
    pub requests: u64,
    /// Connections made.
    pub connections: u64,
    /// Bytes on the wire, both ways, headers and TLS included.
    pub wire_bytes: u64,
    /// Bytes of the image that arrived more than once.
    pub bytes_twice: u64,
    /// Sectors that the updater erased, in the slot and in its journal.
    pub sectors_erased: u64,
    /// What the device reported, as published.
    pub acks: Vec<String>,
}

impl Outcome {
    /// What a scenario on this bench came to. `bytes` is the size of the image that was to be fetched.
    pub fn of(scenario: &'static str, bench: &Bench, bytes: u64, verdict: anyhow::Result<String>) -> Self {
        let running = bench.device().ok().and_then(|device| {
            let boot = device.reset().ok()?;
            Some(format!("{}.{}.{}", boot.running.major, boot.running.minor, boot.running.revision))
        });
        Self {
            scenario,
            ok: verdict.is_ok(),
            result: verdict.unwrap_or_else(|error| format!("FAILED: {error:#}")),
            running,
            requests: bench.tally.requests,
            connections: bench.tally.connections,
            wire_bytes: bench.wire_bytes,
            bytes_twice: bench.tally.bytes.saturating_sub(bytes),
            sectors_erased: bench.erases,
            acks: bench.cloud.acks(),
        }
    }
}

/// The outcomes as a table.
pub fn table(outcomes: &[Outcome]) -> String {
    let head = ["scenario", "requests", "connections", "bytes on the wire", "bytes twice", "sectors erased", "result"];
    let rows = outcomes.iter().map(|o| {
        [
            o.scenario.to_owned(),
            o.requests.to_string(),
            o.connections.to_string(),
            o.wire_bytes.to_string(),
            o.bytes_twice.to_string(),
            o.sectors_erased.to_string(),
            o.result.clone(),
        ]
    });
    let mut text = String::new();
    for row in std::iter::once(head.map(str::to_owned)).chain(rows) {
        for (n, (cell, head)) in row.iter().zip(head).enumerate() {
            match n {
                0 => text.push_str(&format!("{cell:<16}")),
                6 => text.push_str(&format!("   {cell}\n")),
                _ => text.push_str(&format!("{cell:>width$}", width = head.len() + 2)),
            }
        }
    }
    text
}
