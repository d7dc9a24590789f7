//! Raw images: any bytes. The job alone vouches for them, with a detached signature.

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::error::Error;
use crate::esp_idf;
use crate::format::Image;
use crate::policy::{Claims, Policy};
use crate::promised::{File, Promised};
use crate::reader::Reader;
use crate::version::Version;

/// Where the version of a raw image is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum VersionAt {
    /// In the job. No signature covers it: a policy that asks for a version refuses it, unless it says
    /// [`Policy::trusting_the_job`].
    Job,
    /// In the image, at this offset in bytes, as [`Version::to_bytes`] writes it: covered by the signature.
    Offset(u32),
}

/// Verifies what lies in a slot: length, signature, digest where one is promised, and what the policy asks for.
///
/// The signature that counts is [`Promised::signature`]. It names no key: each of the policy's that is of its algorithm is
/// tried. One pass over the flash is enough, but for Ed25519 signatures by another than the first Ed25519 key: those take
/// one more for each key that is tried.
///
/// A file that begins like an MCUboot or ESP-IDF image is refused with [`Error::NotAnImage`]. The signature inside such an
/// image is also one over the bytes before it, so that an image for another product, signed by the same key, would be
/// a raw image of any version and board.
///
/// # Errors
/// See [`Error`]: each refusal is its own, with a stable [`Error::reason`].
///
/// # Cancellation safety
/// Reads only.
pub async fn verify<F: ReadNorFlash>(
    slot: &mut F,
    promised: Promised<'_>,
    version: VersionAt,
    policy: &Policy<'_>,
    buf: &mut [u8],
) -> Result<Image, Error> {
    let mut reader = Reader::new(slot, buf)?;
    let size = promised.size;
    policy.check_size(size, reader.capacity())?;
    let mut file = File::new(&promised, policy, false)?;
    if is_of_another_format(&mut reader, size).await? {
        return Err(Error::NotAnImage);
    }
    reader.feed(0, size, &mut |bytes| file.update(bytes)).await?;
    file.judge(&mut reader).await?;

    let within = |at: u32, length: u32| at.checked_add(length).is_some_and(|end| end <= size);
    let version = match version {
        VersionAt::Job => promised.version.filter(|_| policy.takes_version_of_job()).ok_or(Error::NoVersion)?,
        VersionAt::Offset(at) if within(at, 8) => Version::from_bytes(reader.exactly(at).await?),
        VersionAt::Offset(_) => return Err(Error::NoVersion),
    };
    policy.check_no_chip()?;
    if !within(0, 8) {
        policy.check_no_vector()?;
    }
    policy.check_vector(&mut reader, 0).await?;
    let right_board = promised.board.filter(|_| policy.trusts_job()).map(|name| policy.is_board(name.as_bytes()));
    policy.check(&Claims { right_board, ..Claims::new(version) })?;
    Ok(Image { version, size, counter: None })
}

/// Returns whether the file begins like an image that carries its own signature.
async fn is_of_another_format<F: ReadNorFlash>(reader: &mut Reader<'_, F>, size: u32) -> Result<bool, Error> {
    const MCUBOOT: [u8; 4] = sprag_core::mcuboot::IMAGE_MAGIC.to_le_bytes();
    const DESCRIPTION: [u8; 4] = esp_idf::DESCRIPTION_MAGIC.to_le_bytes();
    if size < 4 {
        return Ok(false);
    }
    let begin: [u8; 4] = reader.exactly(0).await?;
    let described =
        size >= esp_idf::DESCRIPTION.saturating_add(4) && reader.exactly(esp_idf::DESCRIPTION).await? == DESCRIPTION;
    Ok(begin == MCUBOOT || (begin.first() == Some(&esp_idf::MAGIC) && described))
}
