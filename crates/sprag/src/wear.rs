//! Limits that keep a server, or a flood of jobs, from wearing the flash out.

use crate::error::Error;
use crate::record::JobRecord;

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
    /// 10 for a job and 100 in all. Together with the agent's one start for 10 hours, downloads that bring no newer
    /// firmware erase a sector at most 8,860 times in ten years: parts stand 10,000 erases or more.
    pub const DEFAULT: Self = Self { per_job: 10, total: 100 };

    /// Takes one of the downloads that may begin at byte 0.
    pub(crate) fn take<E>(&self, record: &mut JobRecord) -> Result<(), Error<E>> {
        if record.starts >= self.per_job {
            return Err(Error::TooManyStarts);
        }
        record.starts_left = record.starts_left.checked_sub(1).ok_or(Error::WearLimit)?;
        record.starts = record.starts.saturating_add(1);
        Ok(())
    }

    /// Gives back what a job took whose image runs and is of a higher version.
    pub(crate) fn give_back(&self, record: &mut JobRecord) {
        if record.is_upgrade {
            self.add(record, record.starts.into());
        }
    }

    /// Adds to the downloads that may begin at byte 0.
    pub(crate) fn add(&self, record: &mut JobRecord, starts: u16) {
        record.starts_left = record.starts_left.saturating_add(starts).min(self.total);
    }
}

impl Default for WearLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
