//! What the link allows at best.

use crate::port::{HEADERS, MTU};

/// The bytes that so many take on the wire, in full segments.
pub fn on_the_wire(bytes: u64) -> u64 {
    let segment = (MTU - HEADERS) as u64;
    bytes + bytes.div_ceil(segment) * HEADERS as u64
}
