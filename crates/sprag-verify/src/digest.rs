//! The digest of what lies in flash.

use embedded_storage_async::nor_flash::ReadNorFlash;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::reader::Reader;

/// SHA-256 of the first `length` bytes of a slot, whatever they are: for a digest that came with the job.
///
/// # Errors
/// [`Error::Flash`], [`Error::Buffer`]; [`Error::Malformed`] when the slot is shorter.
///
/// # Cancellation safety
/// Reads only.
pub async fn sha256<F: ReadNorFlash>(slot: &mut F, length: u32, buf: &mut [u8]) -> Result<[u8; 32], Error> {
    let mut reader = Reader::new(slot, buf)?;
    if length > reader.capacity() {
        return Err(Error::Malformed { at: reader.capacity() });
    }
    of(&mut reader, length).await
}

pub(crate) async fn of<F: ReadNorFlash>(reader: &mut Reader<'_, F>, length: u32) -> Result<[u8; 32], Error> {
    let mut hash = Sha256::new();
    let mut at = 0u32;
    while at < length {
        let bytes = reader.some(at, length.saturating_sub(at)).await?;
        hash.update(bytes);
        at = at.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    Ok(hash.finalize().into())
}
