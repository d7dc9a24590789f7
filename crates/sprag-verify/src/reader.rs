//! Reads from flash through a small buffer of the caller's, aligned as the part wants it.

use embedded_storage_async::nor_flash::{NorFlashError, ReadNorFlash};

use crate::error::Error;

/// What every verification asks for: small enough for any stack, large enough for parts that read in units of 32 bytes.
const NEEDED: usize = 128;

pub(crate) struct Reader<'r, F> {
    flash: &'r mut F,
    buf: &'r mut [u8],
}

impl<'r, F: ReadNorFlash> Reader<'r, F> {
    pub(crate) fn new(flash: &'r mut F, buf: &'r mut [u8]) -> Result<Self, Error> {
        let needed = NEEDED.max(F::READ_SIZE);
        if buf.len() < needed { Err(Error::Buffer { needed }) } else { Ok(Self { flash, buf }) }
    }

    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.flash.capacity()).unwrap_or(u32::MAX)
    }

    /// Up to `length` bytes from `at` on: as many as the buffer holds, and at least one.
    async fn some(&mut self, at: u32, length: u32) -> Result<&[u8], Error> {
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

    /// Everything from `from` to `to`, in pieces of the buffer's size.
    pub(crate) async fn feed(&mut self, from: u32, to: u32, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let mut at = from;
        while at < to {
            let bytes = self.some(at, to.saturating_sub(at)).await?;
            sink(bytes);
            at = at.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// All of these bytes at once.
    pub(crate) async fn load(&mut self, at: u32, length: u32) -> Result<&[u8], Error> {
        let malformed = Error::Malformed { at };
        let wanted = usize::try_from(length).map_err(|_| malformed)?;
        let unit = F::READ_SIZE.max(1);
        let skip = usize::try_from(at).ok().and_then(|at| at.checked_rem(unit)).unwrap_or(0);
        let needed = skip.saturating_add(wanted).checked_next_multiple_of(unit).unwrap_or(usize::MAX);
        if self.buf.len() < needed {
            return Err(Error::Buffer { needed });
        }
        self.some(at, length).await
    }

    /// Exactly `N` bytes.
    pub(crate) async fn exactly<const N: usize>(&mut self, at: u32) -> Result<[u8; N], Error> {
        let length = u32::try_from(N).unwrap_or(u32::MAX);
        self.load(at, length).await?.first_chunk().copied().ok_or(Error::Malformed { at })
    }

    /// Whether these bytes lie there.
    pub(crate) async fn holds(&mut self, at: u32, expected: &[u8]) -> Result<bool, Error> {
        let length = u32::try_from(expected.len()).unwrap_or(u32::MAX);
        Ok(self.load(at, length).await? == expected)
    }
}
