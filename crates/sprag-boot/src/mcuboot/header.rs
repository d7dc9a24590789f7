//! What of an image's header the hand-over depends on.
//!
//! Format: MCUboot, `boot/bootutil/include/bootutil/image.h`.

use embedded_storage_async::nor_flash::ReadNorFlash;
use sprag_core::mcuboot::{FLAG_NON_BOOTABLE, HEADER_SIZE, ImageHeader, TLV_INFO_MAGIC};

use crate::error::{Area, Error};
use crate::flash;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where header, payload and protected TLVs end.
    body_end: u32,
    /// Major, minor, revision: what MCUboot compares unless it is told to look at the build number too.
    pub(crate) version: (u8, u8, u16),
}

impl Header {
    /// `None` when what lies at the start of the slot is no header that MCUboot would take.
    pub(crate) async fn read<F: ReadNorFlash>(slot: &mut F, area: Area) -> Result<Option<Self>, Error> {
        let mut bytes = [0; HEADER_SIZE];
        flash::read(slot, area, 0, &mut bytes).await?;
        let header = ImageHeader::new(bytes);
        if !header.has_magic() || header.flags() & FLAG_NON_BOOTABLE != 0 {
            return Ok(None);
        }
        let capacity = flash::capacity(slot)?;
        let (major, minor, revision, _) = header.version();
        let body_end = header.tlv_offset().filter(|end| *end < capacity);
        Ok(body_end.map(|body_end| Self { body_end, version: (major, minor, revision) }))
    }

    /// Where the image ends, with its TLVs; all of the slot when it has none.
    pub(crate) async fn image_end<F: ReadNorFlash>(&self, slot: &mut F, area: Area) -> Result<u32, Error> {
        let capacity = flash::capacity(slot)?;
        if capacity.saturating_sub(self.body_end) < 4 {
            return Ok(capacity);
        }
        let mut info = [0; 4];
        flash::read(slot, area, self.body_end, &mut info).await?;
        let [m0, m1, s0, s1] = info;
        let end = self.body_end.saturating_add(u16::from_le_bytes([s0, s1]).into());
        Ok(if u16::from_le_bytes([m0, m1]) == TLV_INFO_MAGIC { end } else { capacity })
    }
}
