//! The new image is copied over the old one: `boot_copy_image` in `boot/bootutil/src/loader.c`.

use super::run::Run;
use super::{BootError, Method};

impl Run<'_> {
    /// `boot_copy_image`: the whole slot with its trailer, or only the image, with a magic in the trailer. Then header and
    /// trailer are taken away from the secondary slot.
    pub(super) fn overwrite(&mut self) -> Result<(), BootError> {
        let fast = if self.loader.method == Method::OverwriteFast { Some(self.image_size(1)?) } else { None };
        let (primary, secondary, align) = (&self.primary, &self.secondary, self.fields.align);
        let mut size = 0;
        for sector in 0..primary.sector_count() {
            primary.erase(size, primary.sector_size(sector), false)?;
            match fast {
                Some(image) if size + primary.sector_size(sector) >= image => {
                    size = image + align - image % align;
                    break;
                }
                _ => size += primary.sector_size(sector),
            }
        }
        if fast.is_some() {
            let first =
                primary.first_of_last(self.fields.size()).map_or(Ok(0), |first| primary.sector_offset(first))?;
            primary.erase(first, primary.size() - first, false)?;
        }
        primary.copy_from(secondary, 0, 0, size)?;
        if fast.is_some() {
            self.fields.write_magic(primary)?;
        }
        secondary.erase(0, secondary.sector_size(0), false)?;
        let last = secondary.sector_count() - 1;
        secondary.erase(secondary.sector_offset(last)?, secondary.sector_size(last), false)?;
        Ok(())
    }
}
