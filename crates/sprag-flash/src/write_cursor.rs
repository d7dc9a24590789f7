//! The end of what is written of an image.

/// No sector begins here.
const NO_SECTOR: u32 = u32::MAX;

/// The end of what is written of an image: where the next block goes, which sectors are erased, and what is recorded.
///
/// While a sector is programmed, the next one is erased already. So what lies in the slot shows how far it came, see
/// [`recovery`](crate::recovery).
#[derive(Debug)]
pub(crate) struct WriteCursor {
    /// Where in the flash the next block goes.
    pub(crate) written: u32,
    /// Where the erased sectors end.
    pub(crate) erased_to: u32,
    /// Where the sectors end that may have been programmed before the last start of the device.
    pub(crate) stale_until: u32,
    /// Nothing but erased bytes was programmed into the sector at `written`.
    pub(crate) blank_so_far: bool,
    pub(crate) sectors_since_record: u32,
    /// The sector that was erased a second time, after something in it had failed.
    pub(crate) re_erased: u32,
}

impl WriteCursor {
    pub(crate) const fn new() -> Self {
        Self {
            written: 0,
            erased_to: 0,
            stale_until: 0,
            blank_so_far: true,
            sectors_since_record: 0,
            re_erased: NO_SECTOR,
        }
    }
}
