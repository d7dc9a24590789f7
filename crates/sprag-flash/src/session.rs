//! What the journal remembers of an unfinished image.

use crate::error::Error;

/// Record kinds of the journal.
pub(crate) const SESSION: u8 = 1;
pub(crate) const PROGRESS: u8 = 2;
/// The record that belongs to the caller: what of a job must survive the reboot.
pub const JOB: u8 = 3;
/// A second record that belongs to the caller: what of the conversation with the cloud must survive the reboot.
pub const CONVERSATION: u8 = 4;

/// Size and place of the image, before its identity.
const FRONT: usize = 8;

/// The most bytes that an identity may have.
pub const IDENTITY_MAX: usize = 96;

/// Which image is being written: what must be the same for the bytes in the slot to be of use.
///
/// The journal keeps it as `total: u32`, `start: u32` (little-endian) and the bytes of `identity`; progress is a `u32` in
/// a record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Session {
    /// What tells this image from others, as the caller sees fit: job and ETag, say. Never a URL, which changes.
    pub identity: heapless::Vec<u8, IDENTITY_MAX>,
    /// Size of the image in bytes.
    pub total: u32,
    /// Where in the flash it begins, in bytes.
    pub start: u32,
    /// Bytes that are safely in flash: where to go on.
    pub written: u32,
}

/// The payload of a session record.
pub(crate) fn encode(
    identity: &[u8],
    total: u32,
    start: u32,
) -> Result<heapless::Vec<u8, { IDENTITY_MAX + FRONT }>, Error> {
    let mut record = heapless::Vec::new();
    for piece in [&total.to_le_bytes(), &start.to_le_bytes(), identity] {
        record.extend_from_slice(piece).map_err(|_| Error::Record)?;
    }
    Ok(record)
}

/// The session in a record, without its progress.
pub(crate) fn decode(record: &[u8]) -> Option<Session> {
    let ([t0, t1, t2, t3, s0, s1, s2, s3], identity) = record.split_first_chunk::<FRONT>()?;
    let identity = heapless::Vec::from_slice(identity).ok()?;
    let (total, start) = (u32::from_le_bytes([*t0, *t1, *t2, *t3]), u32::from_le_bytes([*s0, *s1, *s2, *s3]));
    Some(Session { identity, total, start, written: 0 })
}

/// The progress in a record.
pub(crate) fn written(record: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*record.first_chunk::<4>()?))
}
