//! The driver, the map and the hand-over to Infineon's MCUboot together: a whole update, and a power cut in each operation
//! that stages or confirms it. The bootloader is the test kit's model, on the same flash.

mod model;

use core::ops::Range;

use ed25519_dalek::SigningKey;
use embassy_embedded_hal::flash::partition::Partition;
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_storage_async::nor_flash::NorFlash;
use model::{Chip, PART, Time, array, serial};
use sprag::boot::mcuboot::PSOC6_INTERNAL;
use sprag::boot::{BootControl, Cypress, Error, State, Swap};
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::verify::{Ed25519Key, Policy, Version, mcuboot};
use sprag::{Outcome, Startup, Updater};
use sprag_psoc6::{Cores, ERASED, FLASH, Flash, Map, ROW};
use sprag_testkit::flash::{Region, SimFlash, Torn};
use sprag_testkit::http::{HttpServer, Timers};
use sprag_testkit::image::{self, McuBootImage};
use sprag_testkit::mcuboot::{Boot, Cypress as Bootloader, Swap as Did};

const MAP: Map = Map::PSOC62_2M_INT_SWAP;

type Shared = Mutex<NoopRawMutex, Flash<Chip<false>, Time<false>>>;

/// A device after its start: the driver over what lies in the flash.
fn start(flash: &SimFlash) -> Shared {
    let chip = Chip::new(flash.clone());
    let cores = Cores {
        cm4: FLASH + MAP.primary.start..FLASH + MAP.primary.start + 300 * 1024,
        cm0p: FLASH + MAP.bootloader.start..FLASH + MAP.bootloader.end,
    };
    Mutex::new(Flash::new(chip.clone(), chip.time(), PART, cores).unwrap())
}

fn part(device: &Shared, range: Range<u32>) -> Partition<'_, NoopRawMutex, Flash<Chip<false>, Time<false>>> {
    Partition::new(device, range.start, range.end - range.start)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn image(major: u8) -> Vec<u8> {
    let version = image::Version { major, minor: 0, revision: 0, build: 0 };
    McuBootImage { version, header_size: MAP.header as u16, payload: &[major; 20_000] }.sign(&key())
}

fn reset(flash: &SimFlash) -> Boot {
    reset_with(flash, flash.region(MAP.secondary))
}

/// A reset with the secondary slot somewhere else.
fn reset_with(flash: &SimFlash, secondary: Region) -> Boot {
    let [primary, status, scratch] = [MAP.primary, MAP.status, MAP.scratch].map(|range| flash.region(range));
    Bootloader::new(primary, secondary, status, scratch, MAP.layout().max_sectors).boot().unwrap()
}

/// One call of the hand-over, after a start of its own.
fn call<T>(flash: &SimFlash, call: impl AsyncFnOnce(&mut dyn Calls) -> Result<T, Error>) -> Result<T, Error> {
    let device = start(flash);
    let [primary, secondary, status] = [MAP.primary, MAP.secondary, MAP.status].map(|range| part(&device, range));
    let mut row = [0; ROW];
    let mut boot = Cypress::new(primary, secondary, status, MAP.layout(), &mut row);
    block_on(call(&mut boot))
}

/// The calls that are tried, whatever the parts are.
trait Calls {
    fn stage(&mut self) -> Result<(), Error>;
    fn confirm(&mut self) -> Result<(), Error>;
    fn state(&mut self) -> Result<State, Error>;
}

impl<B: BootControl> Calls for B {
    fn stage(&mut self) -> Result<(), Error> {
        block_on(BootControl::stage(self, Swap::Test))
    }

    fn confirm(&mut self) -> Result<(), Error> {
        block_on(BootControl::confirm(self))
    }

    fn state(&mut self) -> Result<State, Error> {
        block_on(BootControl::state(self))
    }
}

/// One life of a device, from a start to the next reset.
async fn live<S: NorFlash>(device: &Shared, server: &HttpServer, slots: [S; 2], geometry: FlashGeometry, life: u32) {
    let internal = FlashGeometry { write_size: ROW as u32, erase_size: ROW as u32, erased: ERASED };
    let layout = if geometry == PSOC6_INTERNAL { MAP.layout() } else { MAP.layout().external(geometry, 0) };
    let (mut page, mut record, mut row) = ([0; 1024], [0; ROW], [0; ROW]);
    let [written, staged] = slots;

    let running = mcuboot::version(&mut part(device, MAP.primary), &mut page).await.unwrap();
    let journal = Journal::new(part(device, MAP.journal), internal, &mut record);
    let slot = SlotWriter::new(written, geometry, journal, &mut page);
    let boot = Cypress::new(part(device, MAP.primary), staged, part(device, MAP.status), layout, &mut row);
    let fetch = Fetcher::new(TcpConnector::new(server, server), Timers);
    let public = Ed25519Key::new(key().verifying_key().to_bytes());
    let mut updater = Updater::new(fetch, slot, Policy::signed_by(&public).newer_than(running), boot);
    match (life, updater.start(running).await.unwrap()) {
        (0, Startup::Idle) => {
            assert_eq!(running, Version::new(1, 0, 0));
            let document = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"2.0","urls":[{"url":"http://h/a"}]}"#;
            let job = sprag::job::parse(document).unwrap();
            assert_eq!(updater.run(&job, &mut |_| {}).await, Ok(Outcome::RebootToTest));
        }
        (1, Startup::Trial) => {
            assert_eq!(running, Version::new(2, 0, 0));
            updater.confirm().await.unwrap();
        }
        (2, Startup::Idle) => assert_eq!(running, Version::new(2, 0, 0)),
        (life, startup) => panic!("life {life}: {startup:?}"),
    }
}

#[test]
fn a_whole_update_through_the_driver() {
    let flash = array();
    flash.load(MAP.primary.start, &image(1)).unwrap();
    let server = HttpServer::new(image(2));
    for life in 0..3 {
        let device = start(&flash);
        let slots = [(); 2].map(|()| part(&device, MAP.secondary));
        block_on(live(&device, &server, slots, PSOC6_INTERNAL, life));
        reset(&flash);
    }
    assert_eq!(flash.violations(), []);
}

#[test]
fn a_whole_update_with_the_slot_for_updates_in_serial_flash() {
    let flash = array();
    flash.load(MAP.primary.start, &image(1)).unwrap();
    let external = serial::array(MAP.primary.len() as u32 / serial::SECTOR as u32);
    let server = HttpServer::new(image(2));
    let geometry = FlashGeometry { write_size: 16, erase_size: serial::SECTOR as u32, erased: 0xFF };
    for life in 0..3 {
        let device = start(&flash);
        let chip = serial::Chip::new(external.clone());
        block_on(live(&device, &server, [chip.driver(), chip.driver()], geometry, life));
        reset_with(&flash, external.region(0..MAP.primary.len() as u32));
    }
    assert_eq!((flash.violations(), external.violations()), (vec![], vec![]));
}

/// Cuts the power in every operation of a call, in every way, and looks at what the bootloader and a second call make of it.
fn cut(prepared: &SimFlash, make: fn(&mut dyn Calls) -> Result<(), Error>, check: impl Fn(&SimFlash)) -> u32 {
    let mut cuts = 0;
    for operation in 0.. {
        for torn in Torn::WAYS {
            let flash = prepared.snapshot().power_on();
            flash.cut_power_after(operation, torn);
            if call(&flash, async |boot| make(boot)).is_ok() {
                return cuts;
            }
            cuts += 1;
            flash.power_on();
            check(&flash);
        }
    }
    unreachable!()
}

#[test]
fn a_power_cut_in_staging_leaves_an_image_that_boots_and_can_be_staged_again() {
    let flash = array();
    flash.load(MAP.primary.start, &image(1)).unwrap();
    flash.load(MAP.secondary.start, &image(2)).unwrap();
    let cuts = cut(
        &flash,
        |boot| boot.stage(),
        |flash| {
            let boot = reset(flash);
            match boot.swap {
                Did::Test => assert_eq!(boot.running.major, 2),
                Did::None => {
                    assert_eq!(boot.running.major, 1);
                    call(flash, async |boot| boot.stage()).unwrap();
                    assert_eq!(reset(flash).running.major, 2);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(call(flash, async |boot| boot.state()), Ok(State::Trial));
        },
    );
    assert!(cuts >= 2 * 8, "{cuts}");
}

/// The primary slot's last row is read, erased and written again: not atomic, and so not what is relied on.
#[test]
fn a_power_cut_in_confirming_leaves_the_new_image_confirmed_or_brings_the_old_one_back() {
    let flash = array();
    flash.load(MAP.primary.start, &image(1)).unwrap();
    flash.load(MAP.secondary.start, &image(2)).unwrap();
    call(&flash, async |boot| boot.stage()).unwrap();
    assert_eq!(reset(&flash).swap, Did::Test);
    let mut ends = [0; 2];
    let ends = &core::cell::RefCell::new(&mut ends);
    let cuts = cut(
        &flash,
        |boot| boot.confirm(),
        |flash| {
            // The firmware that was cut off starts again and confirms again; or the bootloader comes first.
            let again = flash.snapshot().power_on();
            call(&again, async |boot| boot.confirm()).unwrap();
            assert_eq!((reset(&again).running.major, call(&again, async |boot| boot.state())), (2, Ok(State::Settled)));
            reset(flash);
            let boot = reset(flash);
            ends.borrow_mut()[usize::from(boot.running.major - 1)] += 1;
            assert_eq!(call(flash, async |boot| boot.state()), Ok(State::Settled));
            assert_eq!(reset(flash).running.major, boot.running.major);
        },
    );
    assert!(cuts >= 2 * 8, "{cuts}");
    let ends = ends.borrow();
    assert!(ends[0] > 0 && ends[1] > 0, "both ends are seen: {ends:?}");
}

/// An image that reaches into the sector in which the secondary slot begins can't be updated while it runs from there: that
/// is told, and nothing is changed.
#[test]
fn an_image_too_long_for_the_map_is_told_so() {
    let flash = array();
    let chip = Chip::<false>::new(flash.clone());
    let cores = Cores { cm4: FLASH + MAP.primary.start..FLASH + 0x10_0001, cm0p: 0..0 };
    let mut driver = Flash::new(chip.clone(), chip.time(), PART, cores).unwrap();
    let start = MAP.secondary.start;
    assert_eq!(block_on(driver.erase(start, start + 512)), Err(sprag_psoc6::Error::Executing { sector: 4 }));
    assert_eq!(flash.stats().erases, 0);
}

/// The linker's map of the example firmware is the primary slot's, between the image's header and the trailer's row.
#[test]
fn the_firmwares_memory_map_is_the_primary_slot() {
    let text = include_str!("../firmware/memory.x");
    let number = |name: &str, field: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        let value = line.split(&format!("{field} = ")).nth(1).unwrap();
        let value: String = value.trim_start_matches("0x").chars().take_while(char::is_ascii_hexdigit).collect();
        u32::from_str_radix(&value, 16).unwrap()
    };
    let flash = number("FLASH", "ORIGIN");
    assert_eq!(flash, FLASH + MAP.primary.start + MAP.header);
    assert_eq!(flash + number("FLASH", "LENGTH"), FLASH + MAP.primary.end - ROW as u32);
    let ram = number("RAM", "ORIGIN");
    assert_eq!(ram + number("RAM", "LENGTH"), sprag_psoc6::SRAM + PART.sram - 2048);
}
