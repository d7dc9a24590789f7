//! Reads from flash through a small buffer of the caller's, aligned as the part wants it.

use embedded_storage_async::nor_flash::{NorFlashError, ReadNorFlash};

use crate::error::Error;

/// Room for the largest thing that is read at once, a 64-byte signature, and for its alignment.
pub(crate) const NEEDED: usize = 64 + 2 * 32;

pub(crate) struct Reader<'r, F> {
    flash: &'r mut F,
    buf: &'r mut [u8],
}

impl<'r, F: ReadNorFlash> Reader<'r, F> {
    pub(crate) fn new(flash: &'r mut F, buf: &'r mut [u8]) -> Result<Self, Error> {
        let needed = NEEDED.max(F::READ_SIZE.saturating_mul(3));
        if buf.len() < needed { Err(Error::Buffer { needed }) } else { Ok(Self { flash, buf }) }
    }

    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.flash.capacity()).unwrap_or(u32::MAX)
    }

    /// Up to `length` bytes from `at` on: as many as the buffer holds, and at least one.
    pub(crate) async fn some(&mut self, at: u32, length: u32) -> Result<&[u8], Error> {
        let malformed = Error::Malformed { at };
        let unit = F::READ_SIZE.max(1);
        let start = usize::try_from(at).map_err(|_| malformed)?;
        let skip = start.checked_rem(unit).unwrap_or(0);
        let whole_buf = self.buf.len().saturating_sub(self.buf.len().checked_rem(unit).unwrap_or(0));
        let wanted = usize::try_from(length).map_err(|_| malformed)?.saturating_add(skip);
        let read = wanted.checked_next_multiple_of(unit).unwrap_or(usize::MAX).min(whole_buf);
        let from = u32::try_from(start.saturating_sub(skip)).map_err(|_| malformed)?;
        let room = self.buf.get_mut(..read).ok_or(malformed)?;
        self.flash.read(from, room).await.map_err(|e| Error::Flash(e.kind()))?;
        room.get(skip..wanted.min(read)).filter(|bytes| !bytes.is_empty()).ok_or(malformed)
    }

    /// Exactly `N` bytes, at most a signature's worth.
    pub(crate) async fn exactly<const N: usize>(&mut self, at: u32) -> Result<[u8; N], Error> {
        let length = u32::try_from(N).unwrap_or(u32::MAX);
        self.some(at, length).await?.first_chunk().copied().ok_or(Error::Malformed { at })
    }
}
