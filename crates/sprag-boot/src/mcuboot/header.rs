//! What of an image's header the hand-over depends on.
//!
//! Format: MCUboot, `boot/bootutil/include/bootutil/image.h`.

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::error::{Area, Error};
use crate::flash;

const MAGIC: u32 = 0x96f3_b83d;
/// `IMAGE_F_NON_BOOTABLE`, in the first byte of the flags.
const NON_BOOTABLE: u8 = 0x10;
const TLV_MAGIC: u16 = 0x6907;

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
        let mut bytes = [0; 32];
        flash::read(slot, area, 0, &mut bytes).await?;
        // Magic, load address, header size, protected TLVs' size, payload size, flags, version.
        let [m0, m1, m2, m3, _, _, _, _, h0, h1, p0, p1, s0, s1, s2, s3, f0, _, _, _, major, minor, r0, r1, ..] = bytes;
        if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC || f0 & NON_BOOTABLE != 0 {
            return Ok(None);
        }
        let body = u32::from_le_bytes([s0, s1, s2, s3]).checked_add(u16::from_le_bytes([h0, h1]).into());
        let body_end = body.and_then(|body| body.checked_add(u16::from_le_bytes([p0, p1]).into()));
        let capacity = flash::capacity(slot)?;
        let version = (major, minor, u16::from_le_bytes([r0, r1]));
        Ok(body_end.filter(|end| *end < capacity).map(|body_end| Self { body_end, version }))
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
        Ok(if u16::from_le_bytes([m0, m1]) == TLV_MAGIC { end } else { capacity })
    }
}
