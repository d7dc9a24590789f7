//! What of a job survives the reboot, as it lies in the journal.

use sprag_job::{Dialect, Job, Status};
use sprag_verify::Version;

use crate::wear::{Wear, WearLimits};

/// The longest job id that can be remembered: AWS's limit; IoTConnect's ids have 36 bytes.
pub const ID_MAX: usize = 64;
/// The longest reason, by contract of all `reason()` functions.
pub const REASON_MAX: usize = 24;
/// The longest name of a dialect.
const DIALECT_MAX: usize = 24;

/// The version of the layout below. A record of another version is ignored.
const VERSION: u8 = 2;
const SIZE_MAX: usize = 2 + 8 + 8 + 1 + Wear::SIZE + 3 + ID_MAX + REASON_MAX + DIALECT_MAX;

const REPORTED: u8 = 0x80;
const UPGRADE: u8 = 1;
const FORGOTTEN: u8 = 2;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Phase {
    /// Being downloaded.
    Started,
    /// Verified; the bootloader is being told.
    Staging,
    /// The bootloader was told.
    Staged,
    /// The device started without the bootloader having acted, and was asked to reset once more.
    Restarting,
    /// It came to its end.
    Ended(Status),
}

impl Phase {
    fn code(self) -> u8 {
        match self {
            Self::Started => 1,
            Self::Staging => 2,
            Self::Staged => 3,
            Self::Restarting => 4,
            Self::Ended(Status::Done) => 5,
            Self::Ended(Status::Rejected) => 7,
            Self::Ended(Status::Refused) => 8,
            Self::Ended(_) => 6,
        }
    }

    fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Started,
            2 => Self::Staging,
            3 => Self::Staged,
            4 => Self::Restarting,
            5 => Self::Ended(Status::Done),
            6 => Self::Ended(Status::Failed),
            7 => Self::Ended(Status::Rejected),
            8 => Self::Ended(Status::Refused),
            _ => return None,
        })
    }
}

/// A job, from its first byte to its final report and on: it also tells a second delivery of the same job.
///
/// | byte | what |
/// |---|---|
/// | 0 | version of this layout, 2 |
/// | 1 | phase 1 to 8; 0x80 is added when the final report was made |
/// | 2..10 | version of the image, as in an MCUboot header |
/// | 10..18 | identity of the job, `u64` little-endian |
/// | 18 | 1 when the image is newer than the firmware that staged it, 2 when the record no longer answers for its job |
/// | 19..27 | counters of wear: downloads of this job that began at byte 0; resets in a row after which it had not come further; the most bytes of the image that were ever safely in flash, `u32` little-endian; downloads that may still begin at byte 0, of this job and later ones, `u16` little-endian |
/// | 27.. | dialect, id, reason: each a length byte and its text |
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct JobRecord {
    /// Where the job stands.
    pub phase: Phase,
    /// Whether its final report was made.
    pub reported: bool,
    /// The version of its image; zeros until the image has been verified.
    pub version: Version,
    /// What stays the same when it is sent again: [`Job::identity`](sprag_job::Job::identity).
    pub identity: u64,
    /// The dialect that it came in.
    pub dialect: Dialect,
    /// Its id.
    pub id: heapless::String<ID_MAX>,
    /// Why it failed, as a stable word; empty unless it did.
    pub reason: heapless::String<REASON_MAX>,
    /// True when the image is newer than the firmware that staged it.
    pub(crate) is_upgrade: bool,
    /// True when the record is kept for the counters only, and the same job may begin again.
    pub(crate) is_forgotten: bool,
    pub(crate) wear: Wear,
}

impl JobRecord {
    /// Returns the record of a job that begins.
    pub(crate) fn of(job: &Job<'_>, id: heapless::String<ID_MAX>, wear: Wear) -> Self {
        Self {
            phase: Phase::Started,
            reported: false,
            version: Version::default(),
            identity: job.identity(),
            dialect: job.dialect(),
            id,
            reason: heapless::String::new(),
            is_upgrade: false,
            is_forgotten: false,
            wear,
        }
    }

    /// The job has come to its end. A reason that is too long is left out.
    pub(crate) fn end(&mut self, status: Status, reason: &str) {
        self.phase = Phase::Ended(status);
        self.reason = heapless::String::try_from(reason).unwrap_or_default();
    }

    /// Gives back the starts of a job whose image runs and is newer than the firmware before it.
    pub(crate) fn give_back(&mut self, limits: WearLimits) {
        if self.is_upgrade {
            self.wear.give_back(limits);
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether this is that job, delivered again. Some ids do not tell two jobs apart: ota-update's, and none at all.
    pub(crate) fn is_of(&self, job: &Job<'_>) -> bool {
        if self.is_forgotten {
            return false;
        }
        // IoTConnect's answer to a request need not name the job.
        let is_named = self.id.is_empty() || job.id().is_empty() || job.id() == self.id.as_str();
        is_named && self.dialect == job.dialect() && self.identity == job.identity()
    }

    pub(crate) fn encode(&self) -> heapless::Vec<u8, SIZE_MAX> {
        let mut bytes = heapless::Vec::new();
        let reported = if self.reported { REPORTED } else { 0 };
        let head = [VERSION, self.phase.code() | reported];
        let texts = [self.dialect.name(), &self.id, &self.reason];
        // Everything fits by the sizes of the types; were it not so, `decode` would not take the record.
        let _ = bytes.extend_from_slice(&head);
        let _ = bytes.extend_from_slice(&self.version.to_bytes());
        let _ = bytes.extend_from_slice(&self.identity.to_le_bytes());
        let flags = if self.is_upgrade { UPGRADE } else { 0 } | if self.is_forgotten { FORGOTTEN } else { 0 };
        let _ = bytes.push(flags);
        let _ = bytes.extend_from_slice(&self.wear.encode());
        for text in texts {
            let _ = bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            let _ = bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[layout, phase], rest) = bytes.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (identity, rest) = rest.split_first_chunk::<8>()?;
        let (&flags, rest) = rest.split_first()?;
        let (wear, rest) = rest.split_first_chunk()?;
        let (dialect, rest) = text(rest)?;
        let (id, rest) = text(rest)?;
        let (reason, rest) = text(rest)?;
        if layout != VERSION || !rest.is_empty() {
            return None;
        }
        Some(Self {
            phase: Phase::of(phase & !REPORTED)?,
            reported: phase & REPORTED != 0,
            version: Version::from_bytes(*version),
            identity: u64::from_le_bytes(*identity),
            dialect: Dialect::from_name(dialect)?,
            id: heapless::String::try_from(id).ok()?,
            reason: heapless::String::try_from(reason).ok()?,
            is_upgrade: flags & UPGRADE != 0,
            is_forgotten: flags & FORGOTTEN != 0,
            wear: Wear::decode(*wear),
        })
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(length.into())?;
    Some((core::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for code in 1..=8 {
            for reported in [false, true] {
                let record = JobRecord {
                    phase: Phase::of(code).unwrap(),
                    reported,
                    version: Version { major: 1, minor: 2, revision: 3, build: 4 },
                    identity: 0x0123_4567_89ab_cdef,
                    dialect: Dialect::IotConnect21,
                    id: heapless::String::try_from("x".repeat(ID_MAX).as_str()).unwrap(),
                    reason: heapless::String::try_from("r".repeat(REASON_MAX).as_str()).unwrap(),
                    is_upgrade: reported,
                    is_forgotten: code % 2 == 0,
                    wear: Wear::decode([3, 200, 4, 5, 6, 7, 8, 9]),
                };
                let bytes = record.encode();
                assert_eq!(JobRecord::decode(&bytes), Some(record));
                for cut in 0..bytes.len() {
                    assert_eq!(JobRecord::decode(&bytes[..cut]), None);
                }
            }
        }
        assert_eq!(JobRecord::decode(&[2; 40]), None);
    }
}
