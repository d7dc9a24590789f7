//! Units that can't be read are errors to whoever reads them, and no end of the update.

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use sprag_boot::{BootControl, McuBoot, State, Swap};
use sprag_stm32::{BASE, Flash, Map, Memory, Part, Tolerant, TolerantError, Unreadable};
use sprag_testkit::flash::{self, Region, SimFlash, SizedRegion, Torn};

/// The silicon's side: reads by address, with ECC.
struct Silicon(Region);

impl Memory for Silicon {
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), Unreadable> {
        let offset = address.checked_sub(BASE).expect("all of it is flash");
        block_on(ReadNorFlash::read(&mut self.0, offset, bytes)).map_err(|error| match error {
            flash::FlashError::Unreadable { .. } => Unreadable,
            error => panic!("{error}"),
        })
    }
}

/// A driver that knows no ECC: reading what can't be read is the end of it, as of embassy-stm32's.
struct Driver(SizedRegion<16, 8192>);

impl embedded_storage_async::nor_flash::ErrorType for Driver {
    type Error = flash::FlashError;
}

impl ReadNorFlash for Driver {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), Self::Error> {
        panic!("read past the ECC");
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl NorFlash for Driver {
    const WRITE_SIZE: usize = 16;
    const ERASE_SIZE: usize = 8192;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.erase(from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(offset, bytes).await
    }
}

const PART: Part = Part::STM32H563ZI;

fn tolerant(part: &SimFlash) -> Tolerant<Driver, Silicon> {
    let whole = part.region(0..PART.size());
    Tolerant::new(Driver(whole.clone().sized()), Silicon(whole))
}

#[test]
fn a_torn_unit_is_an_error_and_its_neighbours_are_not() {
    let part = SimFlash::of(flash::Part::stm32h5());
    let mut flash = tolerant(&part);
    block_on(async {
        flash.write(0x100, &[1; 16]).await.unwrap();
        part.cut_power_after(0, Torn::Unreadable(1));
        flash.write(0x110, &[2; 16]).await.unwrap_err();
        part.power_on();
        let mut bytes = [0; 16];
        flash.read(0x100, &mut bytes).await.unwrap();
        assert_eq!(bytes, [1; 16]);
        assert_eq!(flash.read(0x118, &mut bytes[..1]).await, Err(TolerantError::Unreadable));
        flash.read(0x120, &mut bytes).await.unwrap();
        assert_eq!(bytes, [0xFF; 16]);
        // Erased, it is as good as any.
        flash.erase(0, 8192).await.unwrap();
        flash.write(0x110, &[3; 16]).await.unwrap();
        flash.read(0x110, &mut bytes).await.unwrap();
        assert_eq!(bytes, [3; 16]);
        for offset in [PART.size() - 15, PART.size(), u32::MAX] {
            assert_eq!(flash.read(offset, &mut bytes).await, Err(TolerantError::OutOfBounds));
        }
    });
}

/// The power fails in each write of the hand-over, and what it tears can't be read: the next start stages all the same.
#[test]
fn a_hand_over_whose_cells_cannot_be_read_is_made_again() {
    let Map { active, update, .. } = Map::H563_MCUBOOT;
    let mut cuts = 0;
    for operation in 0.. {
        let part = SimFlash::of(flash::Part::stm32h5());
        let stage = async || {
            let shared = Flash::new(tolerant(&part), &PART, || {});
            let primary = shared.region::<8192>(active.clone()).unwrap();
            let secondary = shared.region::<8192>(update.clone()).unwrap();
            let mut boot = McuBoot::new(primary, secondary, Map::H563_MCUBOOT.mcuboot());
            boot.stage(Swap::Test).await?;
            boot.state().await
        };
        part.cut_power_after(operation, Torn::Unreadable(1));
        let first = block_on(stage());
        if !part.is_dead() {
            assert_eq!(first, Ok(State::Staged(Swap::Test)));
            break;
        }
        cuts += 1;
        part.power_on();
        assert_eq!(block_on(stage()), Ok(State::Staged(Swap::Test)), "cut in operation {operation}");
        assert_eq!(part.violations(), [], "cut in operation {operation}");
    }
    // The erase of the trailer, two cells.
    assert!(cuts >= 3, "{cuts}");
}
