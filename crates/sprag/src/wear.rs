//! Limits that keep a server, or a flood of jobs, from wearing the flash out.

use crate::error::Error;

/// Limits of how often downloads may begin at byte 0: each of them erases the sectors of its image once more.
///
/// A download that is resumed costs nothing. An update to a version higher than the running one gives back what it took.
/// The job's record keeps the number that is left across resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct WearLimits {
    /// Downloads that may begin at byte 0 for one job. When there were as many, the job fails with the reason
    /// `too-many-starts`.
    pub per_job: u8,
    /// Downloads that may begin at byte 0 in all, until an update to a higher version succeeds or
    /// [`Updater::credit`](crate::Updater::credit) adds to them. When none is left, jobs fail with the reason
    /// `wear-limit` before anything is erased.
    pub total: u16,
}

impl WearLimits {
    /// 10 for a job and 100 in all. Together with the agent's one start for 10 hours, downloads that bring no newer firmware
    /// erase a sector at most 8,860 times in ten years: parts stand 10,000 erases or more.
    pub const DEFAULT: Self = Self { per_job: 10, total: 100 };
}

impl Default for WearLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// After how many resets in a row without progress a job is given up: a job that crashes the device must end.
const RESETS_MAX: u8 = 16;

/// The wear that jobs have caused, as far as it is counted; a part of the job's record.
///
/// | byte | what |
/// |---|---|
/// | 0 | downloads of this job that began at byte 0 |
/// | 1 | resets in a row after which the job had not come further |
/// | 2..6 | the most bytes of the image that were ever safely in flash, `u32` little-endian |
/// | 6..8 | downloads that may still begin at byte 0, of this job and later ones, `u16` little-endian |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Wear {
    starts: u8,
    resets: u8,
    furthest: u32,
    starts_left: u16,
}

impl Wear {
    pub(crate) const SIZE: usize = 8;

    /// Returns the counters of a device that has had no job.
    pub(crate) fn none(limits: WearLimits) -> Self {
        Self { starts: 0, resets: 0, furthest: 0, starts_left: limits.total }
    }

    /// Returns the counters at the beginning of the next job.
    pub(crate) fn next_job(self) -> Self {
        Self { starts: 0, resets: 0, furthest: 0, ..self }
    }

    /// Returns whether the job has not begun a download yet.
    pub(crate) fn is_first_start(&self) -> bool {
        self.starts == 0
    }

    /// Takes one of the downloads that may begin at byte 0.
    pub(crate) fn take_start<E>(&mut self, limits: WearLimits) -> Result<(), Error<E>> {
        if self.starts >= limits.per_job {
            return Err(Error::TooManyStarts);
        }
        self.starts_left = self.starts_left.checked_sub(1).ok_or(Error::WearLimit)?;
        self.starts = self.starts.saturating_add(1);
        Ok(())
    }

    /// Gives back the starts of a job that brought a newer firmware.
    pub(crate) fn give_back(&mut self, limits: WearLimits) {
        self.credit(self.starts.into(), limits);
    }

    /// Adds to the downloads that may begin at byte 0. Returns whether that changed something.
    pub(crate) fn credit(&mut self, starts: u16, limits: WearLimits) -> bool {
        let before = self.starts_left;
        self.starts_left = before.saturating_add(starts).min(limits.total.max(before));
        self.starts_left != before
    }

    /// Counts a reset that came when so many bytes of the image were safely in flash.
    pub(crate) fn count_reset<E>(&mut self, written: u32) -> Result<(), Error<E>> {
        if written > self.furthest {
            self.furthest = written;
            self.resets = 0;
            return Ok(());
        }
        self.resets = self.resets.saturating_add(1);
        if self.resets > RESETS_MAX { Err(Error::NoProgress) } else { Ok(()) }
    }

    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        let ([a, b, c, d], [low, high]) = (self.furthest.to_le_bytes(), self.starts_left.to_le_bytes());
        [self.starts, self.resets, a, b, c, d, low, high]
    }

    pub(crate) fn decode([starts, resets, a, b, c, d, low, high]: [u8; Self::SIZE]) -> Self {
        let (furthest, starts_left) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([low, high]));
        Self { starts, resets, furthest, starts_left }
    }
}
