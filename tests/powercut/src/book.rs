//! What the world outside has seen of a device: the oracle.

use sprag::job::Status;

use crate::case::{Case, Kind};

/// What the world outside has seen of a device, over all its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Book {
    /// Power cuts and dropped futures so far.
    pub cuts: u32,
    /// Bytes of the image that were fetched, however often.
    pub fetched: u32,
    /// Final reports that the cloud heard, by how the job ended.
    pub done: u32,
    /// The same for a failed job.
    pub failed: u32,
    /// The power failed between the last report and its record, so that it will be made once more.
    pub unrecorded: u32,
    /// A report is out, and its record is being written.
    pub recording: bool,
    /// The bootloader went back to the old image.
    pub reverted: bool,
}

impl Book {
    /// The cloud hears a final report.
    pub(crate) fn report(&mut self, status: Status) {
        match status {
            Status::Done => self.done += 1,
            _ => self.failed += 1,
        }
        self.recording = true;
    }

    /// The book as the device finds it after a cut.
    pub(crate) fn after_cut(mut self) -> Self {
        self.cuts += 1;
        self.unrecorded += u32::from(std::mem::take(&mut self.recording));
        self
    }

    /// What a flash leads to when nothing disturbs it any more, added.
    pub(crate) fn then(mut self, rest: &Rest) -> Self {
        self.fetched += rest.fetched;
        self.done += rest.done;
        self.failed += rest.failed;
        self.reverted |= rest.reverted;
        self
    }

    /// Whether everything that was promised came true.
    ///
    /// # Errors
    /// What did not.
    pub fn check(&self, case: &Case, running: u8) -> Result<(), String> {
        let heard = self.done + self.failed;
        if self.done > 0 && self.failed > 0 {
            return Err(format!("the cloud heard {} times done and {} times failed", self.done, self.failed));
        }
        // A report whose record was cut off is made again, with the same words; or the record had just been completed.
        if heard == 0 || heard > 1 + self.unrecorded {
            return Err(format!(
                "{heard} final reports, of which {} were cut off before their record",
                self.unrecorded
            ));
        }
        match (running, self.done > 0) {
            (2, _) if case.image.is_forged() => return Err("a forged image runs".to_owned()),
            (2, true) | (1, false) => {}
            (running, _) => return Err(format!("{running}.0.0 runs, and the cloud heard something else")),
        }
        if running == 1 && !case.image.is_forged() && !self.reverted {
            return Err("the update failed without having been tried".to_owned());
        }
        let sector = case.sector().max(2 * case.block()) + case.block();
        let again = match case.image.kind {
            Kind::Plain => 0,
            // What reads as erased leaves no trace in the sector that it begins or ends in.
            Kind::Blank => case.sector(),
            // A bad image that lay in the slot over a cut may have gone bad there: it is fetched once more, to be sure.
            Kind::Forged => case.image.length,
        };
        let limit = case.image.length + self.cuts * (sector + again);
        if self.fetched > limit {
            return Err(format!(
                "{} bytes were fetched for an image of {}, in {} cuts with sectors of {}",
                self.fetched,
                case.image.length,
                self.cuts,
                case.sector()
            ));
        }
        Ok(())
    }
}

/// What a flash with certain contents leads to when nothing disturbs it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rest {
    /// See [`Book::fetched`].
    pub fetched: u32,
    /// See [`Book::done`].
    pub done: u32,
    /// See [`Book::failed`].
    pub failed: u32,
    /// See [`Book::reverted`].
    pub reverted: bool,
    /// The first number of the version that runs in the end.
    pub running: u8,
}
