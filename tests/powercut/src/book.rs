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
    /// The same for a job that failed.
    pub failed: u32,
    /// The same for a job whose image was refused.
    pub refused: u32,
    /// How often the bootloader erased what lay in the slot for updates, or was cut off and may have been erasing it: as much
    /// of it as there was is fetched again.
    pub erased: u32,
    /// The power failed between the last report and its record, so that it will be made once more.
    pub unrecorded: u32,
    /// A report is out, and its record is being written.
    pub recording: bool,
    /// The bootloader is at work.
    pub booting: bool,
    /// The new image ran; or the power failed while the bootloader was about to start it, which may be all the trial that
    /// it gets.
    pub tried: bool,
}

impl Book {
    /// The cloud hears a final report.
    pub(crate) fn report(&mut self, status: Status) {
        match status {
            Status::Done => self.done += 1,
            Status::Failed => self.failed += 1,
            Status::Refused => self.refused += 1,
            // Not final, or not for a job that makes sense: the count of final reports shows it.
            _ => {}
        }
        self.recording = true;
    }

    /// The book as the device finds it after a cut.
    pub(crate) fn after_cut(mut self) -> Self {
        self.cuts += 1;
        self.unrecorded += u32::from(std::mem::take(&mut self.recording));
        let booting = std::mem::take(&mut self.booting);
        self.tried |= booting;
        self.erased += u32::from(booting);
        self
    }

    /// What a flash leads to when nothing disturbs it any more, added.
    pub(crate) fn then(mut self, rest: &Rest) -> Self {
        self.fetched += rest.fetched;
        self.done += rest.done;
        self.failed += rest.failed;
        self.refused += rest.refused;
        self.erased += rest.erased;
        self.tried |= rest.tried;
        self
    }

    /// Whether everything that was promised came true.
    ///
    /// # Errors
    /// What did not.
    pub fn check(&self, case: &Case, running: u8) -> Result<(), String> {
        // A report whose record was cut off is made again, with the same words; or the record had just been completed.
        let heard = self.done + self.failed + self.refused;
        if heard == 0 || heard > 1 + self.unrecorded {
            return Err(format!(
                "{heard} final reports, of which {} were cut off before their record",
                self.unrecorded
            ));
        }
        let (what, fitting) = match (running, case.image.is_forged()) {
            (2, false) => ("2.0.0 runs", self.done),
            (1, true) => ("an image was forged", self.refused),
            // Cut off on trial, the new image is given up; nothing else may end in a failure.
            (1, false) if self.tried => ("2.0.0 was tried, and 1.0.0 is back", self.failed),
            (1, false) => return Err("the update failed without having been tried".to_owned()),
            (2, true) => return Err("a forged image runs".to_owned()),
            _ => return Err(format!("{running}.0.0 runs, which was never promised")),
        };
        if fitting != heard {
            let Self { done, failed, refused, .. } = self;
            return Err(format!("{what}, and the cloud heard {done} done, {failed} failed, {refused} refused"));
        }
        let sector = case.sector.max(2 * case.block()) + case.block();
        let again = match case.image.kind {
            Kind::Plain => 0,
            // What reads as erased leaves no trace in the sector that it begins or ends in.
            Kind::Blank => case.sector,
            // A bad image that lay in the slot over a cut may have gone bad there: it is fetched once more, to be sure.
            Kind::Forged => case.image.length,
        };
        let limit = case.image.length * (1 + self.erased) + self.cuts * (sector + again);
        if self.fetched > limit {
            return Err(format!(
                "{} bytes were fetched for an image of {}, in {} cuts with sectors of {}",
                self.fetched, case.image.length, self.cuts, case.sector
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
    /// See [`Book::refused`].
    pub refused: u32,
    /// See [`Book::erased`].
    pub erased: u32,
    /// The new image ran.
    pub tried: bool,
    /// The first number of the version that runs in the end.
    pub running: u8,
}
