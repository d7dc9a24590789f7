//! embassy-boot: its own bootloader, over a state partition of its own.

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sprag::boot::EmbassyBoot;
use sprag::boot::embassy::Layout;
use sprag_testkit::flash::{FlashError, Part, ProgramRule, Region};
use sprag_testkit::mcuboot::check_image;

use super::{Booted, Family, Slots};

/// embassy-boot. It takes whatever lies in its DFU partition: the images are MCUboot's, for the firmware to verify.
#[derive(Debug, Clone, Copy)]
pub(super) struct Embassy;

impl Family for Embassy {
    type Boot = EmbassyBoot<Region>;
    type Format = sprag::verify::McuBoot;

    fn name(&self) -> &'static str {
        "embassy-boot"
    }

    fn fits(&self, part: &Part) -> bool {
        // Words of 32 bytes at most are what it knows, and sectors of one size here. And after a cut in a confirm it programs
        // zeros over zeros, which parts with one program a unit refuse: it stops there, and boots nothing any more.
        part.write_size <= 32 && part.sectors.len() == 1 && part.rule != ProgramRule::Once
    }

    fn slot_size(&self, _: &Part, sector: u32, image: u32) -> u32 {
        // The DFU partition is a sector larger than the ACTIVE one, which begins where the other slot does.
        image.next_multiple_of(sector) + sector
    }

    /// Two, and as many as the progress of a swap takes in the smallest of them.
    fn state_sectors(&self) -> u32 {
        2
    }

    fn format(&self) -> Self::Format {
        sprag::verify::McuBoot
    }

    fn control(&self, slots: &Slots, _: Booted) -> Self::Boot {
        let geometry = slots.state.flash().geometry();
        let active = active(slots).range();
        let layout = Layout { active_size: active.end - active.start, dfu: geometry, state: geometry };
        EmbassyBoot::new(slots.state.clone(), layout)
    }

    fn boot(&self, slots: &Slots) -> Result<Booted, String> {
        let geometry = slots.state.flash().geometry();
        match (geometry.write_size, geometry.erase_size, geometry.erased) {
            (4, 256, 0xFF) => erased_to_ff::prepare::<4, 256>(slots),
            (8, 256, 0xFF) => erased_to_ff::prepare::<8, 256>(slots),
            (16, 256, 0xFF) => erased_to_ff::prepare::<16, 256>(slots),
            (32, 512, 0xFF) => erased_to_ff::prepare::<32, 512>(slots),
            (4, 0x2_0000, 0xFF) => erased_to_ff::prepare::<4, 0x2_0000>(slots),
            (8, 2048, 0xFF) => erased_to_ff::prepare::<8, 2048>(slots),
            (32, 0x2_0000, 0xFF) => erased_to_ff::prepare::<32, 0x2_0000>(slots),
            (4, 256, 0x00) => erased_to_zero::prepare::<4, 256>(slots),
            _ => Err(format!("embassy-boot is not built for {geometry:?}")),
        }?;
        let version = check_image(&active(slots).contents(), None)?;
        Ok(Booted { running: version.major, refused: false })
    }

    fn may_be_cut(&self) -> bool {
        true
    }
}

fn active(slots: &Slots) -> Region {
    let (flash, range) = (slots.primary.flash(), slots.primary.range());
    flash.region(range.start..range.end - flash.geometry().erase_size)
}

/// A region as a blocking flash whose sizes are known when it is compiled, read as a bootloader with a fault handler does.
struct Blocking<const WRITE: usize, const ERASE: usize>(Region);

impl<const WRITE: usize, const ERASE: usize> ErrorType for Blocking<WRITE, ERASE> {
    type Error = FlashError;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Blocking<WRITE, ERASE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.read_now(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.range().len()
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Blocking<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.0.erase_now(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut found = vec![0; bytes.len()];
        self.0.read_now(offset, &mut found)?;
        // Over a torn erase, too, a program that changes nothing does no harm; except where there is one program a unit.
        if found == bytes && self.0.flash().part().rule != ProgramRule::Once {
            return Ok(());
        }
        self.0.write_now(offset, bytes)
    }
}

/// One build of embassy-boot can't have both erased values: this is one release, and that another.
macro_rules! bootloader {
    ($name:ident, $embassy_boot:ident) => {
        mod $name {
            use $embassy_boot::{BootLoader, BootLoaderConfig};

            use super::{Blocking, Slots, active};

            /// Swaps, reverts, or leaves everything as it is.
            pub(super) fn prepare<const WRITE: usize, const ERASE: usize>(slots: &Slots) -> Result<(), String> {
                let mut loader = BootLoader::new(BootLoaderConfig {
                    active: Blocking::<WRITE, ERASE>(active(slots)),
                    dfu: Blocking::<WRITE, ERASE>(slots.secondary.clone()),
                    state: Blocking::<WRITE, ERASE>(slots.state.clone()),
                });
                loader.prepare_boot(&mut [0; ERASE]).map(drop).map_err(|error| format!("{error:?}"))
            }
        }
    };
}

bootloader!(erased_to_ff, embassy_boot_loader);
bootloader!(erased_to_zero, embassy_boot_loader_zero);
